//! What must hold after every step of the virtual world, and what must be left at its end: nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::media::Media;
use super::text::{Text, parameter};
use crate::base::id::{CallKey, LegKey};
use crate::config::raw::{Config, Reach};
use crate::switch::Snapshot;
use crate::switch::io::Output;
use crate::telemetry::notice::{Level, Notice};

/// 64*T1: how long a message of SIP is waited for.
const WAIT: Duration = Duration::from_secs(32);
const SLACK: Duration = Duration::from_secs(1);
/// Nobody hears nothing for so long. An answered caller waits for the script up to 64*T1, until the ACK.
const LONGEST_SILENCE: Duration = Duration::from_secs(45);

/// An INVITE of the switch, by its branch.
struct OurInvite {
    sent: Instant,
    heard: bool,
    failed: bool,
    cancelled: Option<Instant>,
    accepted: Option<Instant>,
}

/// A 200 of the switch to an INVITE, by Call-ID and number.
struct OurAnswer {
    sent: Instant,
    first: bool,
    /// Acknowledged, or the dialog is over.
    settled: bool,
}

/// The checker. It sees the same messages as the network, and never asks the switch about itself but for
/// the size of its tables.
#[derive(Default)]
pub struct Check {
    pub broken: Vec<String>,
    /// Faults are made on purpose: errors that are told are no surprise.
    pub faults_expected: bool,
    capacity: BTreeMap<String, u32>,
    invites: BTreeMap<String, OurInvite>,
    answers: BTreeMap<(String, u32), OurAnswer>,
    /// Tags that the switch made, with their Call-ID.
    our_tags: BTreeMap<String, String>,
    /// Tags that came from peers, with their Call-ID.
    their_tags: BTreeSet<(String, String)>,
    attempts: BTreeMap<LegKey, String>,
    alive: BTreeSet<CallKey>,
    quiet: BTreeMap<LegKey, Instant>,
    /// A 2xx came in with this step: its Call-ID and number must be acknowledged in the same step.
    owed: Option<(String, u32)>,
}

impl Check {
    /// The lines as these can be told from Request-URIs. A line keeps the higher capacity of two configs.
    pub fn learn(&mut self, config: &Config) {
        for line in &config.lines {
            let user = match &line.reach {
                Reach::Registers { .. } => line.name.value.clone(),
                Reach::Fixed { uri } => user_of(&uri.value),
                Reach::Telephone { number, .. } => number.value.clone(),
            };
            let known = self.capacity.entry(user).or_default();
            *known = (*known).max(line.capacity.value);
        }
    }

    /// A message that is given to the switch.
    pub fn arrives(&mut self, now: Instant, bytes: &[u8]) {
        let Some(text) = Text::read(bytes) else { return };
        let id = text.get("Call-ID").to_owned();
        for name in ["From", "To"] {
            if let Some(tag) = parameter(text.get(name), "tag") {
                self.their_tags.insert((id.clone(), tag.to_owned()));
            }
        }
        match (text.status(), text.method()) {
            (None, "ACK") => {
                self.settle(&id, |number| number == text.cseq());
            }
            (None, "BYE") => self.settle(&id, |_| true),
            // A new INVITE proves that the answer to the one before has arrived.
            (None, "INVITE") => self.settle(&id, |number| number != text.cseq()),
            (Some(status), "INVITE") => self.invite_answered(now, status, &text),
            _ => {}
        }
    }

    fn settle(&mut self, id: &str, which: impl Fn(u32) -> bool) {
        let found = self.answers.iter_mut().filter(|((call, number), _)| call == id && which(*number));
        found.for_each(|(_, answer)| answer.settled = true);
    }

    fn invite_answered(&mut self, now: Instant, status: u16, text: &Text) {
        let Some(invite) = self.invites.get_mut(text.branch()) else { return };
        let late = |since: Instant| now.saturating_duration_since(since) >= WAIT;
        let forgotten = invite.failed
            || invite.accepted.is_some_and(late)
            || (invite.accepted.is_none() && invite.cancelled.is_some_and(late))
            || (!invite.heard && late(invite.sent));
        if forgotten {
            return;
        }
        match status {
            0..=199 => invite.heard = true,
            200..=299 => {
                invite.heard = true;
                invite.accepted.get_or_insert(now);
                self.owed = Some((text.get("Call-ID").to_owned(), text.cseq()));
            }
            _ if invite.accepted.is_none() => invite.failed = true,
            _ => {}
        }
    }

    /// Something that the switch wants done.
    pub fn leaves(&mut self, now: Instant, output: &Output, media: &Media) {
        match output {
            Output::Transmit { bytes, .. } => {
                if let Some(text) = Text::read(bytes) {
                    self.sent(now, &text, media);
                } else {
                    self.broken.push("the switch wrote a message that a phone can't read".to_owned());
                }
            }
            Output::Notice(notice) => self.told(notice),
            Output::Resolve { .. }
            | Output::Media(_)
            | Output::Store(_)
            | Output::Proven { .. }
            | Output::Drained => {}
        }
    }

    fn sent(&mut self, now: Instant, text: &Text, media: &Media) {
        let id = text.get("Call-ID").to_owned();
        self.look_at_tags(text, &id);
        match (text.status(), text.method()) {
            (None, "INVITE") => self.invite_sent(now, text, media),
            (None, "ACK") => self.owed = self.owed.take().filter(|owed| *owed != (id, text.cseq())),
            (None, "CANCEL") => {
                if let Some(invite) = self.invites.get_mut(text.branch()) {
                    invite.cancelled.get_or_insert(now);
                }
            }
            (None, "BYE") => {
                let young =
                    |a: &OurAnswer| a.first && !a.settled && now.saturating_duration_since(a.sent) < WAIT;
                if self.answers.iter().any(|((call, _), a)| *call == id && young(a)) {
                    self.broken.push("BYE before the ACK to our 200 (RFC 3261 15)".to_owned());
                }
                self.settle(&id, |_| true);
            }
            (Some(200..=299), "INVITE") => {
                let first = !self.answers.keys().any(|(call, _)| *call == id);
                let key = (id, text.cseq());
                self.answers.entry(key).or_insert(OurAnswer { sent: now, first, settled: false });
            }
            _ => {}
        }
    }

    fn invite_sent(&mut self, now: Instant, text: &Text, media: &Media) {
        let new = OurInvite { sent: now, heard: false, failed: false, cancelled: None, accepted: None };
        self.invites.entry(text.branch().to_owned()).or_insert(new);
        if parameter(text.get("To"), "tag").is_some() || !self.capacity.contains_key(text.user()) {
            return;
        }
        let leg = text.audio().and_then(|audio| media.legs().find(|(_, side)| side.local == audio));
        if let Some((leg, _)) = leg {
            self.attempts.insert(leg, text.user().to_owned());
        }
    }

    /// A tag of one call never stands in a message of another.
    fn look_at_tags(&mut self, text: &Text, id: &str) {
        let tag = |name| parameter(text.get(name), "tag").map(str::to_owned);
        let (ours, theirs) =
            if text.status().is_some() { (tag("To"), tag("From")) } else { (tag("From"), tag("To")) };
        if let Some(ours) = ours {
            let theirs_too = self.their_tags.contains(&(id.to_owned(), ours.clone()));
            let known = self.our_tags.get(&ours);
            if known.is_some_and(|call| call != id) && !(text.status().is_some() && theirs_too) {
                self.broken.push("a tag of one call in a message of another".to_owned());
            } else if known.is_none() && !theirs_too {
                self.our_tags.insert(ours, id.to_owned());
            }
        }
        if let Some(theirs) = theirs {
            if !self.their_tags.contains(&(id.to_owned(), theirs)) {
                self.broken.push("a peer's tag that this peer never gave".to_owned());
            }
        }
    }

    fn told(&mut self, notice: &Notice) {
        match notice {
            Notice::CallArrived { call } => {
                self.alive.insert(*call);
            }
            Notice::Ended { call, .. } if !self.alive.remove(call) => {
                self.broken.push(format!("call {call} ended twice or never began"));
            }
            _ => {}
        }
        let fault = match notice {
            Notice::MediaFailed | Notice::StoreFailed | Notice::DiskFull => !self.faults_expected,
            Notice::ConfigRefused { .. } => false,
            other => other.level() == Level::Error,
        };
        if fault {
            self.broken.push(format!("an error is told: {notice:?}"));
        }
    }

    /// After every step.
    pub fn step(&mut self, now: Instant, snapshot: &Snapshot, media: &mut Media, limits: &Limits) {
        if let Some((_, number)) = self.owed.take() {
            self.broken.push(format!("a 2xx (CSeq {number}) was not acknowledged"));
        }
        self.broken.append(&mut media.faults);
        self.look_at_answers(now);
        self.look_at_lines(media);
        self.look_at_silence(now, media);
        if self.alive.len() > snapshot.calls {
            self.broken.push("a caller is lost without an end".to_owned());
        }
        for (what, size, bound) in [
            ("calls", snapshot.calls, limits.calls),
            ("legs", snapshot.legs, limits.calls * 3),
            ("dialogs", snapshot.sip.dialogs, limits.calls * 3),
            (
                "transactions",
                snapshot.sip.transactions,
                limits.calls * 12 + limits.registrations + limits.subscriptions * 2,
            ),
            ("subscriptions", snapshot.sip.subscriptions, limits.subscriptions),
            ("takes", snapshot.takes, limits.calls),
            ("lookups", snapshot.lookups, limits.calls * 3),
        ] {
            if size > bound {
                self.broken.push(format!("{size} {what}, more than {bound}"));
            }
        }
    }

    fn look_at_answers(&mut self, now: Instant) {
        let late = |a: &&mut OurAnswer| !a.settled && now.saturating_duration_since(a.sent) > WAIT + SLACK;
        for answer in self.answers.values_mut().filter(late) {
            answer.settled = true;
            self.broken.push("a 200 without ACK and without BYE after 64*T1".to_owned());
        }
    }

    /// No line has more calls than it can take.
    fn look_at_lines(&mut self, media: &Media) {
        self.attempts.retain(|leg, _| media.side(*leg).is_some());
        let mut load: BTreeMap<&str, u32> = BTreeMap::new();
        for user in self.attempts.values() {
            *load.entry(user).or_default() += 1;
        }
        let over: Vec<String> = load
            .into_iter()
            .filter(|(user, load)| self.capacity.get(*user).is_some_and(|most| load > most))
            .map(|(user, load)| format!("line {user} has {load} calls at a time"))
            .collect();
        self.broken.extend(over);
        // Nobody stands in a room twice, and who is in one is in no bridge.
        let mut there = BTreeSet::new();
        for (leg, side) in media.legs() {
            let Some(room) = side.room else { continue };
            if side.bridged.is_some() {
                self.broken.push(format!("leg {leg} is in a room and in a bridge"));
            }
            let remote = side.stream.as_ref().map(|stream| stream.remote);
            if remote.is_some_and(|remote| !there.insert((room, remote))) {
                self.broken.push(format!("somebody is in room {room} twice"));
            }
        }
    }

    /// A caller must never meet silence.
    fn look_at_silence(&mut self, now: Instant, media: &Media) {
        let quiet = |side: &super::media::Side| {
            side.stream.as_ref().is_some_and(|s| s.direction.sends())
                && side.playing.is_none()
                && side.bridged.is_none()
                && side.room.is_none_or(|room| media.in_room(room).count() < 2)
                && !side.records()
        };
        self.quiet.retain(|leg, _| media.side(*leg).is_some_and(quiet));
        for (leg, _) in media.legs().filter(|(_, side)| quiet(side)) {
            let since = *self.quiet.entry(leg).or_insert(now);
            if now.saturating_duration_since(since) > LONGEST_SILENCE {
                self.broken.push(format!("leg {leg} hears nothing for {} s", LONGEST_SILENCE.as_secs()));
                self.quiet.insert(leg, now);
            }
        }
    }

    /// At the end: what is left, in words.
    pub fn left(&self, snapshot: &Snapshot, media: &Media, registered: usize) -> Vec<String> {
        let sip = &snapshot.sip;
        let table = [
            ("calls", snapshot.calls),
            ("legs", snapshot.legs),
            ("calls waiting", snapshot.waiting),
            ("recordings", snapshot.takes),
            ("lookups", snapshot.lookups),
            ("codes", snapshot.codes),
            ("consultations", snapshot.consultations),
            ("dialogs of calls", snapshot.dialogs),
            ("dialogs", sip.dialogs),
            ("transactions", sip.transactions),
            ("subscriptions", sip.subscriptions),
            ("timers of SIP", sip.timers),
            // The one timer that stays looks after registrations.
            ("timers", snapshot.timers.saturating_sub(usize::from(registered > 0))),
            ("media legs", media.legs().count()),
            ("media recordings", media.takes()),
            ("callers without an end", self.alive.len()),
            ("busy lines", snapshot.loads.iter().filter(|(_, load)| *load > 0).count()),
        ];
        table.into_iter().filter(|(_, n)| *n > 0).map(|(what, n)| format!("{n} {what}")).collect()
    }
}

/// Bounds from the config.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub calls: usize,
    pub registrations: usize,
    pub subscriptions: usize,
}

fn user_of(uri: &str) -> String {
    uri.trim_start_matches("sip:").split(['@', ';']).next().unwrap_or("").to_owned()
}
