//! An immutable picture of the switch, for metrics, the console and the leak checks of the tests.

use super::Switch;
use super::call::Phase;
use crate::base::id::LineKey;
use crate::base::time::Now;
use crate::sip::endpoint::Counts;
use crate::telemetry::notice::LineWord;

/// How things stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub calls: usize,
    /// Calls whose caller is joined with somebody.
    pub joined: usize,
    pub legs: usize,
    pub waiting: usize,
    pub takes: usize,
    pub lookups: usize,
    /// Dialogs that belong to a leg.
    pub dialogs: usize,
    /// `*` codes that are being served.
    pub codes: usize,
    /// Lines that call a colleague.
    pub consultations: usize,
    pub sip: Counts,
    /// Timers of calls, legs and lines.
    pub timers: usize,
    pub lines: Vec<(LineKey, LineWord)>,
    /// Calls that ring or talk, by line.
    pub loads: Vec<(LineKey, u32)>,
}

impl Switch {
    pub fn snapshot(&self, now: Now) -> Snapshot {
        Snapshot {
            calls: self.calls.len(),
            joined: self
                .calls
                .iter()
                .filter(|(_, c)| matches!(c.phase, Phase::Together(_)) && c.number.is_some())
                .count(),
            legs: self.legs.len(),
            waiting: self.floor.waiting(),
            takes: self.takes.len(),
            lookups: self.places.searches(),
            dialogs: self.dialogs.len(),
            codes: self.state.codes.len(),
            consultations: self.state.consultations.len(),
            sip: self.endpoint.counts(),
            timers: self.timers.len(),
            lines: self.floor.lines().map(|l| (l.settings.key, l.word(now.at))).collect(),
            loads: self.floor.lines().map(|l| (l.settings.key, l.load())).collect(),
        }
    }
}
