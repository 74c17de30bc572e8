//! Non-interference: one seed is lived through twice, by two callers who agree in `CallFacts` (what they dial, the
//! zone of their number, whether they want privacy) and in their codecs, and differ in all else: number, name,
//! address, Call-ID, tags, branches, Contact, User-Agent, further headers, session lines, ports. All that does not
//! go back to the caller must be the same byte for byte: what lines and other callers are sent, and when; commands
//! to media; notices, the log at TRACE, metrics; what is stored, and under which names; the snapshot.
//!
//! It catches what no search for marks can: a length, a hash, an order, a timer, a random number that depends on
//! who calls. The allowed differences are two: where the caller's own media goes, and what the caller is sent.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hulplijn::base::id::Rng;
use hulplijn::config::raw::{At, Config};
use hulplijn::media::command::{MediaCommand, Stream};
use hulplijn::privacy::redact;
use hulplijn::sim::link::Weather;
use hulplijn::sim::phone::{Deed, Identity, Manner, Phone, Script, Seen};
use hulplijn::sim::story::{SUNDAY, TUESDAY, policy};
use hulplijn::sim::world::{SWITCH, Setup, World};
use hulplijn::store::request::StoreRequest;
use hulplijn::switch::Snapshot;
use hulplijn::telemetry::export::{Metrics, Names};
use hulplijn::telemetry::journal;
use hulplijn::telemetry::notice::Notice;

const SEEDS: u64 = 150;

/// A caller: who it is, where, and what only the generator of the own phone decides (tags, branches, Call-ID).
struct Who {
    identity: Identity,
    at: &'static str,
    rtp_base: u16,
    seed: u64,
}

/// A bare caller from Ghent. A phone that knows session timers is refreshed on its own side (RFC 4028), so both do.
fn x() -> Who {
    let identity = Identity {
        user: "+3291234567".to_owned(),
        sdp_origin: "x".to_owned(),
        headers: "Supported: timer\r\n".to_owned(),
        ..Identity::plain("x")
    };
    Who { identity, at: "10.0.1.50:5060", rtp_base: 30_000, seed: 1 }
}

/// Another one from Ghent, of whom the network says all that it can.
fn y() -> Who {
    let long = "a".repeat(900);
    let identity = Identity {
        user: "092228888".to_owned(),
        display: "Ytje van den Y\u{e9}\u{20ac} <sip:+3231111111@elsewhere>".to_owned(),
        host: "[2001:db8::77]".to_owned(),
        user_agent: format!("Phone {long}"),
        headers: format!(
            "P-Asserted-Identity: \"Y\" <tel:+32-9-222-88-88>\r\nP-Asserted-Identity: <sip:y@h>\r\nDiversion: <tel:+3232>\r\n\
             History-Info: <sip:{long}@h>;index=1\r\nUser-to-User: 00;encoding=hex\r\nSubject: help\r\n\
             P-Access-Network-Info: 3GPP;utran-cell-id-3gpp=1\r\nOrganization: Y\r\nX-Y: {long}\r\nPriority: emergency\r\n\
             Supported: 100rel, timer, replaces\r\nAllow: INVITE\r\nDate: Sat, 13 Nov 2010 23:29:00 GMT\r\nTimestamp: 54\r\n"
        ),
        sdp_session: format!("a=tool:{long}\r\na=x-y:1\r\n"),
        sdp_origin: "y-origin".to_owned(),
    };
    Who { identity, at: "10.0.1.177:5093", rtp_base: 41_000, seed: 9_999_999 }
}

/// All that has left the caller's side in one life of the world.
struct Life {
    /// What was sent to everybody else: when, where to, what.
    wire: Vec<(Duration, SocketAddr, Vec<u8>)>,
    /// When the caller was sent something, and of what kind.
    beats: Vec<(Duration, String)>,
    commands: Vec<(Duration, MediaCommand)>,
    notices: Vec<String>,
    log: Vec<String>,
    metrics: String,
    stored: Vec<StoreRequest>,
    files: Vec<String>,
    snapshots: Vec<Snapshot>,
    /// What went on inside, without the caller's own messages.
    trace: Vec<String>,
    /// How the caller fared, so that the test knows what it has seen.
    joined: bool,
    message: bool,
    /// A third was brought to a caller.
    together: bool,
}

impl Life {
    /// The first thing in which two lives differ.
    fn difference(&self, other: &Self) -> Option<String> {
        let text = |wire: &[(Duration, SocketAddr, Vec<u8>)]| -> Vec<String> {
            let line = |(at, to, bytes): &(Duration, SocketAddr, Vec<u8>)| {
                format!("{at:?} {to} {}", String::from_utf8_lossy(bytes))
            };
            wire.iter().map(line).collect()
        };
        let debug = |commands: &[(Duration, MediaCommand)]| -> Vec<String> {
            commands.iter().map(|c| format!("{c:?}")).collect()
        };
        let first = |what: &str, one: &[String], two: &[String]| {
            let at = (0..one.len().max(two.len())).find(|at| one.get(*at) != two.get(*at));
            at.map(|at| format!("{what} {at}:\n  {:?}\n  {:?}", one.get(at), two.get(at)))
        };
        let snapshots = |life: &Self| life.snapshots.iter().map(|s| format!("{s:?}")).collect::<Vec<_>>();
        first("wire", &text(&self.wire), &text(&other.wire))
            .or_else(|| first("command", &debug(&self.commands), &debug(&other.commands)))
            .or_else(|| first("argument", &arguments(&self.commands), &arguments(&other.commands)))
            .or_else(|| (self.commands != other.commands).then(|| "an argument of a command".to_owned()))
            .or_else(|| first("notice", &self.notices, &other.notices))
            .or_else(|| first("log", &self.log, &other.log))
            .or_else(|| first("metrics", &lines(&self.metrics), &lines(&other.metrics)))
            .or_else(|| (self.stored != other.stored).then(|| "what is stored".to_owned()))
            .or_else(|| first("file", &self.files, &other.files))
            .or_else(|| first("snapshot", &snapshots(self), &snapshots(other)))
            .or_else(|| first("trace", &self.trace, &other.trace))
            .or_else(|| {
                let beats = |life: &Self| life.beats.iter().map(|b| format!("{b:?}")).collect::<Vec<_>>();
                first("time at which the caller is answered", &beats(self), &beats(other))
            })
    }
}

/// What `Debug` leaves out of a command.
fn arguments(commands: &[(Duration, MediaCommand)]) -> Vec<String> {
    let argument = |(_, command): &(Duration, MediaCommand)| match command {
        MediaCommand::Open { leg, local, origin } => format!("{leg} {local} {origin:?}"),
        MediaCommand::Connect { leg, stream: s } => {
            format!("{leg} {s:?} {:?} {} {} {}", s.payloads, s.rtcp_mux, s.remote, s.remote_rtcp)
        }
        MediaCommand::PlayFile { leg, path, .. } => format!("{leg} {}", path.display()),
        MediaCommand::Discard { path } => path.display().to_string(),
        MediaCommand::SendDigit { leg, digit, .. } => format!("{leg} {digit}"),
        MediaCommand::Record { leg, path, finish_key, .. } => {
            format!("{leg} {} {finish_key:?}", path.display())
        }
        other => format!("{other:?}"),
    };
    commands.iter().map(argument).collect()
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// A log in memory.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl io::Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Paper {
    /// The lines without the time at which this test wrote them.
    fn lines(&self) -> Vec<String> {
        let bytes = self.0.lock().expect("not poisoned");
        let untimed = |line: &str| {
            let mut value: serde_json::Value = serde_json::from_str(line).expect("JSON");
            value.as_object_mut().expect("an object").remove("timestamp");
            value.to_string()
        };
        String::from_utf8_lossy(&bytes).lines().map(untimed).collect()
    }
}

/// Lives through a seed with this caller in it.
fn live(seed: u64, who: &Who, number: Option<&str>) -> Life {
    let paper = Paper::default();
    let pen = paper.clone();
    let subscriber = redact::subscriber("trace", true, move || pen.clone()).expect("a level");
    tracing::subscriber::with_default(subscriber, || {
        let mut rng = Rng::from_number(seed);
        let start = [TUESDAY, TUESDAY, TUESDAY, SUNDAY][rng.below(4) as usize];
        let weather = Weather::draw(&mut rng);
        let policy = policy(1, None, regions);
        let start = start.parse().expect("a time");
        let setup = Setup { policy, start, seed: rng.u64(), weather, traced: true, wired: true };
        let mut world = World::new(setup);
        world.know_names();
        let snapshots = go(&mut world, &mut rng, who, number);
        let caller: SocketAddr = who.at.parse().expect("an address");
        told(&world, caller, snapshots, &paper)
    })
}

/// Callers of Ghent go to bart and the centre first.
fn regions(config: &mut Config) {
    for line in &mut config.lines {
        let zone = match line.name.value.as_str() {
            "bart" | "centre" => "09",
            _ => "03",
        };
        line.zones = vec![At { value: zone.to_owned(), ..At::default() }];
    }
}

/// People, the caller among them, and what happens; all of it drawn from the seed.
fn go(world: &mut World, rng: &mut Rng, who: &Who, number: Option<&str>) -> Vec<Snapshot> {
    for name in ["anna", "bart", "cleo", "centre", "eva"] {
        if rng.below(4) > 0 {
            let script = counsellor(rng);
            world.line(name, script);
        }
    }
    for number in ["106", "+32470000000"] {
        let script = counsellor(rng).then(2, Deed::Press('1'));
        world.carried(number, number, script);
    }
    world.run(Duration::from_secs(3));
    let numbers = ["1712", "1712", "direct", "all", "mobile", "order", "named", "vm", "0", "*71"];
    let drawn = numbers[rng.below(numbers.len() as u64) as usize];
    let script = caller(rng);
    let at = who.at.parse().expect("an address");
    let switch = SWITCH.parse().expect("an address");
    // Its own generator: what it draws must not matter.
    let phone = Phone::new(at, switch, who.identity.clone(), script, Rng::from_number(who.seed));
    world.add("caller", phone.with_rtp_base(who.rtp_base));
    world.dial("caller", number.unwrap_or(drawn));
    let mut snapshots = Vec::new();
    for n in 0..40 {
        world.run(Duration::from_millis(500 + rng.below(4000)));
        snapshots.push(world.snapshot());
        if n % 4 == 1 {
            third(world, rng);
        }
        if n % 8 == 2 {
            let (number, script) = (["1712", "all", "vm"][rng.below(3) as usize], caller(rng));
            world.calls(&format!("other-{n}"), number, script);
        }
    }
    world.finish();
    snapshots.push(world.snapshot());
    snapshots
}

/// A counsellor who talks asks somebody, and brings in who answers; later one of them may leave.
fn third(world: &mut World, rng: &mut Rng) {
    let whom = ["anna", "bart", "cleo", "106"][rng.below(4) as usize];
    let asks = ["anna", "bart"][rng.below(2) as usize];
    let (wait, leaves) = (within(rng, 12), rng.below(4) == 0);
    let Some(index) = world.phones.iter().position(|(name, _)| name == asks) else { return };
    if world.phones[index].1.calls_up() == 0 {
        return;
    }
    world.dial(asks, whom);
    world.run(Duration::from_secs(3) + wait);
    for key in "*75".chars() {
        world.does(asks, Deed::Press(key));
    }
    world.run(Duration::from_secs(2));
    if leaves {
        world.does(asks, Deed::HangUp);
    }
}

fn within(rng: &mut Rng, most: u64) -> Duration {
    Duration::from_millis(rng.below(most * 1000))
}

fn counsellor(rng: &mut Rng) -> Script {
    let manner = match rng.below(10) {
        0..=5 => Manner::Answers(within(rng, 10)),
        6 => Manner::NeverAnswers,
        7 => Manner::Busy,
        8 => Manner::RingsThenDeclines(within(rng, 15)),
        _ => Manner::AnswersAndHangsUp(within(rng, 10)),
    };
    let mut script = Script::manner(manner);
    for _ in 0..rng.below(4) {
        let to = ["anna", "cleo", "106", "tele-onthaal", "0900"][rng.below(5) as usize];
        let deed = match rng.below(5) {
            0 => Deed::Reinvite("sendonly"),
            1 => Deed::Reinvite("sendrecv"),
            2 | 3 => Deed::Refer(format!("sip:{to}@10.0.0.1")),
            _ => Deed::HangUp,
        };
        script.deeds.push((within(rng, 40), deed));
    }
    script
}

fn caller(rng: &mut Rng) -> Script {
    let mut script = Script { speaks: within(rng, 20), ..Script::default() };
    match rng.below(16) {
        0 => script.cancels_after = Some(within(rng, 2)),
        1 => script.cancels_at_answer = true,
        2 => script.bye_before_ack = true,
        3 => script.late_offer = true,
        4 => script.acks_lost = 1 + rng.below(4) as u32,
        _ => {}
    }
    for _ in 0..rng.below(12) {
        let key = ['1', '1', '2', '#', '4', '7', '0'][rng.below(7) as usize];
        let deed = match rng.below(12) {
            0 => Deed::Reinvite("sendonly"),
            1 => Deed::Reinvite("sendrecv"),
            2 => Deed::AskForOffer,
            3 => Deed::MoveMedia,
            4 => Deed::HangUp,
            5 => Deed::PressByInfo(key),
            6 => Deed::Refer("sip:anna@10.0.0.1".to_owned()),
            _ => Deed::Press(key),
        };
        script.deeds.push((within(rng, 90), deed));
    }
    script
}

/// Gathers what the world knows of a life.
fn told(world: &World, caller: SocketAddr, snapshots: Vec<Snapshot>, paper: &Paper) -> Life {
    let names = Names {
        lines: world.policy.lines().map(|(key, line)| (key, line.name.value.clone())).collect(),
        queues: world.policy.config.queues.iter().map(|q| q.name.value.clone()).collect(),
        trunks: world.policy.config.trunks.iter().map(|t| t.name.value.clone()).collect(),
        watched: Vec::new(),
    };
    let metrics = Metrics::new().expect("metrics");
    for (_, notice) in &world.notices {
        metrics.record(notice, &names);
        journal::log(notice, &names);
    }
    let (own, others): (Vec<_>, Vec<_>) = world.wire.iter().partition(|wire| wire.to == caller);
    let kind = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        // The method, or `SIP/2.0` and the status.
        let words = if text.starts_with("SIP") { 2 } else { 1 };
        text.split(' ').take(words).collect::<Vec<_>>().join(" ")
    };
    let phone = world.at_phone("caller");
    Life {
        wire: others.iter().map(|w| (w.at, w.to, w.bytes.clone())).collect(),
        beats: own.iter().map(|w| (w.at, kind(&w.bytes))).collect(),
        commands: world.commands.iter().map(|(at, c)| (*at, faceless(c.clone(), caller))).collect(),
        notices: world.notices.iter().map(|n| format!("{n:?}")).collect(),
        log: paper.lines(),
        metrics: metrics.text(),
        stored: world.stored.clone(),
        files: world.media.files.keys().map(|path| path.display().to_string()).collect(),
        snapshots,
        trace: world.trace.text().lines().filter(|l| !is_callers(l)).map(str::to_owned).collect(),
        joined: phone.saw(Seen::Up) && world.told(|n| matches!(n, Notice::Joined { .. })) > 0,
        together: world.told(|n| matches!(n, Notice::BroughtTogether { .. })) > 0,
        message: !world.messages().is_empty(),
    }
}

/// A line of the trace about a message from or to the caller.
fn is_callers(line: &str) -> bool {
    line.split_whitespace().nth(1) == Some("caller")
}

/// The command, without the place where the caller's own audio goes to and comes from.
fn faceless(command: MediaCommand, caller: SocketAddr) -> MediaCommand {
    match command {
        MediaCommand::Connect { leg, stream } if stream.remote.ip() == caller.ip() => {
            let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
            let stream = Stream { remote: nowhere, remote_rtcp: nowhere, signalling: nowhere.ip(), ..stream };
            MediaCommand::Connect { leg, stream }
        }
        other => other,
    }
}

#[test]
fn two_callers_who_differ_only_in_who_they_are_can_not_be_told_apart() {
    let seeds = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).map_or(0..SEEDS, |s: u64| s..s + 1);
    let (mut joined, mut messages, mut out, mut together) = (0, 0, 0, 0);
    for seed in seeds.clone() {
        let (one, other) = (live(seed, &x(), None), live(seed, &y(), None));
        if let Some(difference) = one.difference(&other) {
            panic!("SEED={seed}: {difference}");
        }
        joined += u32::from(one.joined);
        messages += u32::from(one.message);
        together += u32::from(one.together);
        out += u32::from(one.wire.iter().any(|(_, _, bytes)| bytes.starts_with(b"INVITE sip:106@")));
    }
    if seeds.end - seeds.start > 1 {
        // The seeds have seen talks, messages, calls to 106 and thirds.
        assert!(
            joined >= 20 && messages >= 10 && out >= 5 && together >= 5,
            "{joined} joined, {messages} messages, {out} to 106, {together} with a third"
        );
    }
}

/// The comparison sees what may differ by right: another number dialled, another zone. So it can fail.
#[test]
fn callers_who_differ_in_what_may_be_known_of_them_are_told_apart() {
    let antwerp = || Who { identity: Identity { user: "+3231234567".to_owned(), ..x().identity }, ..x() };
    let zones = (0..20).filter(|seed| {
        let (one, other) = (live(*seed, &x(), Some("all")), live(*seed, &antwerp(), Some("all")));
        one.difference(&other).is_some()
    });
    assert!(zones.count() > 0, "the zone decides who is rung");
    let (one, other) = (live(3, &x(), Some("1712")), live(3, &x(), Some("vm")));
    assert!(one.difference(&other).is_some());
    let (one, again) = (live(3, &x(), None), live(3, &x(), None));
    assert_eq!(one.difference(&again), None);
}
