//! A log line for each notice: an event's name, what it means, and typed fields. Nothing in it is text
//! from outside; names of lines and queues come from the configuration.

use super::export::Names;
use super::notice::{Level, Notice, TrunkWord};

/// The fields that a line can have; what does not apply is left out.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Fields<'a> {
    call: Option<u64>,
    line: Option<&'a str>,
    queue: Option<&'a str>,
    trunk: Option<&'a str>,
    /// The outcome, miss, drop or line state.
    what: Option<&'static str>,
    status: Option<u16>,
    length: Option<u32>,
    waited_ms: Option<u64>,
    rang_ms: Option<u64>,
    lasted_ms: Option<u64>,
    talked_ms: Option<u64>,
    generation: Option<u64>,
    count: Option<u64>,
    lost: Option<u64>,
    late: Option<u64>,
    foreign: Option<u64>,
    malformed: Option<u64>,
    flood: Option<u64>,
    forged: Option<u64>,
    replayed: Option<u64>,
}

/// Writes the log line of a notice.
pub fn log(notice: &Notice, names: &Names) {
    let entry = notice.entry();
    let f = fields(notice, names);
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                event = entry.event,
                call = f.call,
                line = f.line,
                queue = f.queue,
                trunk = f.trunk,
                what = f.what,
                status = f.status,
                length = f.length,
                waited_ms = f.waited_ms,
                rang_ms = f.rang_ms,
                lasted_ms = f.lasted_ms,
                talked_ms = f.talked_ms,
                generation = f.generation,
                count = f.count,
                lost = f.lost,
                late = f.late,
                foreign = f.foreign,
                malformed = f.malformed,
                flood = f.flood,
                forged = f.forged,
                replayed = f.replayed,
                "{}",
                entry.help
            )
        };
    }
    match entry.level {
        Level::Debug => line!(debug),
        Level::Info => line!(info),
        Level::Warn => line!(warn),
        Level::Error => line!(error),
    }
}

fn fields<'a>(notice: &Notice, names: &'a Names) -> Fields<'a> {
    let ms = |duration: &std::time::Duration| u64::try_from(duration.as_millis()).ok();
    let none = Fields::default();
    match notice {
        Notice::Started { generation } | Notice::ConfigApplied { generation } => {
            Fields { generation: Some(*generation), ..none }
        }
        Notice::CallArrived { call } | Notice::Answered { call } | Notice::CallPanicked { call } => {
            Fields { call: Some(call.0), ..none }
        }
        Notice::Refused { status } => Fields { status: Some(*status), ..none },
        Notice::Queued { call, length } => Fields { call: Some(call.0), length: Some(*length), ..none },
        Notice::Offered { call, line }
        | Notice::Consulted { call, line }
        | Notice::HandedOver { call, line }
        | Notice::BroughtTogether { call, line } => {
            Fields { call: Some(call.0), line: Some(names.line(*line)), ..none }
        }
        Notice::Missed { call, line, miss, rang } => Fields {
            call: Some(call.0),
            line: Some(names.line(*line)),
            what: Some(miss.word()),
            rang_ms: ms(rang),
            ..none
        },
        Notice::Joined { call, line, waited, rang } => Fields {
            call: Some(call.0),
            line: Some(names.line(*line)),
            waited_ms: ms(waited),
            rang_ms: ms(rang),
            ..none
        },
        Notice::Ended { call, outcome, lasted, talked } => Fields {
            call: Some(call.0),
            what: Some(outcome.word()),
            lasted_ms: ms(lasted),
            talked_ms: ms(talked),
            ..none
        },
        Notice::QueueLength { queue, length } => {
            Fields { queue: Some(names.queue(*queue)), length: Some(*length), ..none }
        }
        Notice::Subscriptions { open } => Fields { length: Some(*open), ..none },
        Notice::LineState { line, state } => {
            Fields { line: Some(names.line(*line)), what: Some(state.word()), ..none }
        }
        Notice::Trunk { trunk, state } => {
            let status = match state {
                TrunkWord::Refused { status } => Some(*status),
                TrunkWord::Up | TrunkWord::NoAnswer | TrunkWord::NotFound | TrunkWord::NoRoom => None,
            };
            Fields { trunk: Some(names.trunk(*trunk)), what: Some(state.word()), status, ..none }
        }
        Notice::SetAside { places } => Fields { count: Some(u64::from(*places)), ..none },
        Notice::LineCode { line, code } => {
            Fields { line: Some(names.line(*line)), what: Some(code.word()), ..none }
        }
        Notice::MessageTaken { length } => Fields { lasted_ms: ms(length), ..none },
        Notice::MediaStats {
            received,
            lost,
            late,
            foreign,
            malformed,
            flood,
            forged,
            replayed,
            security,
        } => Fields {
            what: Some(security.word()),
            count: Some(*received),
            lost: Some(*lost),
            late: Some(*late),
            foreign: Some(*foreign),
            malformed: Some(*malformed),
            flood: Some(*flood),
            forged: Some(*forged),
            replayed: Some(*replayed),
            ..none
        },
        Notice::WebFailed { line, why } => {
            Fields { line: line.map(|line| names.line(line)), what: Some(why.word()), ..none }
        }
        Notice::Quality { mos } => Fields { count: Some(u64::from(*mos)), ..none },
        Notice::OneWay { call } => Fields { call: Some(call.0), ..none },
        Notice::Dropped { reason, count } => {
            Fields { what: Some(reason.word()), count: Some(*count), ..none }
        }
        Notice::Registered { line } | Notice::Unregistered { line } => {
            Fields { line: Some(names.line(*line)), ..none }
        }
        // Never the name that was given: it is free text from outside.
        Notice::AuthFailed { line } => {
            Fields { line: Some(line.map_or("unknown", |line| names.line(line))), ..none }
        }
        Notice::ConfigRefused { mistakes } => Fields { count: Some(u64::from(*mistakes)), ..none },
        Notice::Draining { calls } => Fields { count: Some(u64::from(*calls)), ..none },
        Notice::MessageInterrupted
        | Notice::StoreFailed
        | Notice::DiskFull
        | Notice::MediaFailed
        | Notice::PromptMissing
        | Notice::Overload => none,
    }
}
