//! Scripted user agents: callers behind the trunk and counsellors' phones, honest and not.
//!
//! A phone is itself sans-IO: bytes and time in, bytes out. It retransmits as RFC 3261 17 asks, so it
//! gets through a lossy network; what it does beyond that is its [`Script`]. `uac` has the requests that
//! it makes, `uas` those that it gets, `words` writes them as text.

mod script;
mod uac;
mod uas;
mod words;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub use script::{Deed, Identity, Manner, Script, Seen};

use super::text::{Text, parameter};
use crate::base::id::Rng;
use crate::sip::flow::Transport;

const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
/// How long a caller lets it ring without a final response.
const PATIENCE: Duration = Duration::from_secs(180);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    /// A request of ours once more.
    Retransmit(u64),
    /// Our final response to an INVITE once more.
    Repeat(u64),
    Answer(u64),
    Decline(u64),
    Cancel(u64),
    Patience(u64),
    Deed(u64, usize),
    Register,
}

/// A request of ours that waits for its final response.
struct Pending {
    bytes: Vec<u8>,
    method: &'static str,
    call: u64,
    branch: String,
    interval: Duration,
    until: Instant,
    proceeding: bool,
    authorized: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Dialling,
    RingingHere,
    AnsweredHere,
    /// A refusal of ours waits for its ACK.
    RefusedHere,
    Up,
    Leaving,
    Gone,
}

/// One call of this phone.
struct Talk {
    id: String,
    local: String,
    remote: String,
    target: String,
    cseq: u32,
    invite_cseq: u32,
    stage: Stage,
    outgoing: bool,
    /// Branch of the first INVITE.
    invite: String,
    invite_text: Option<Text>,
    last_response: Option<Vec<u8>>,
    interval: Duration,
    /// Until when a final response of ours is repeated.
    until: Option<Instant>,
    /// ACKs by the number of their INVITE.
    acks: BTreeMap<u32, Vec<u8>>,
    acks_lost: u32,
    cancelled: bool,
    /// Gave up before anything was heard: CANCEL as soon as it may be, or BYE.
    gives_up: bool,
    rtp_port: u16,
    remote_audio: Option<SocketAddr>,
    /// Method and number of requests that came, with our answers: a repetition gets the same again.
    answers: BTreeMap<String, Vec<u8>>,
}

/// One user agent at one address.
pub struct Phone {
    pub address: SocketAddr,
    /// Where it sends everything.
    pub switch: SocketAddr,
    pub transport: Transport,
    pub identity: Identity,
    pub script: Script,
    pub seen: Vec<(Instant, Seen)>,
    /// Keys to hand to the media room: the RTP address of the switch and the key.
    pub keys: VecDeque<(SocketAddr, char)>,
    /// To the media room too: the RTP address of the switch, and whether it speaks.
    pub voices: VecDeque<(SocketAddr, bool)>,
    /// Its audio does not get through.
    pub mute: bool,
    rng: Rng,
    talks: BTreeMap<u64, Talk>,
    pending: BTreeMap<u64, Pending>,
    alarms: BTreeSet<(Instant, Alarm)>,
    out: VecDeque<Vec<u8>>,
    serial: u64,
    register_cseq: u32,
    /// re-INVITEs without a description: call and number.
    offerless: BTreeSet<(u64, u32)>,
    /// Its RTP ports begin here.
    rtp_base: u16,
    vanished: bool,
}

impl Phone {
    pub fn new(
        address: SocketAddr,
        switch: SocketAddr,
        identity: Identity,
        script: Script,
        rng: Rng,
    ) -> Self {
        Self {
            address,
            switch,
            transport: Transport::Udp,
            identity,
            script,
            seen: Vec::new(),
            keys: VecDeque::new(),
            voices: VecDeque::new(),
            mute: false,
            rng,
            talks: BTreeMap::new(),
            pending: BTreeMap::new(),
            alarms: BTreeSet::new(),
            out: VecDeque::new(),
            serial: 0,
            register_cseq: 0,
            offerless: BTreeSet::new(),
            rtp_base: 30_000,
            vanished: false,
        }
    }

    /// Several phones at one address send their audio from different ports.
    pub fn with_rtp_base(mut self, port: u16) -> Self {
        self.rtp_base = port;
        self
    }

    pub fn over(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// Switches the phone on: a line that registers does so.
    pub fn start(&mut self, now: Instant) {
        if self.script.registers.is_some() {
            self.register(now, None, 3600);
        }
    }

    /// Takes the registration back.
    pub fn unregister(&mut self, now: Instant) {
        self.alarms.retain(|(_, alarm)| *alarm != Alarm::Register);
        self.register(now, None, 0);
    }

    /// Does something with the newest call that lives.
    pub fn act(&mut self, now: Instant, deed: Deed) {
        if deed == Deed::Vanish {
            self.vanished = true;
        }
        let newest = self.talks.iter().rev().find(|(_, t)| t.stage != Stage::Gone).map(|(key, _)| *key);
        if let Some(key) = newest {
            self.do_deed(now, key, deed);
        }
    }

    /// Does something with the oldest call that lives.
    pub fn act_on_first(&mut self, now: Instant, deed: Deed) {
        let oldest = self.talks.iter().find(|(_, t)| t.stage != Stage::Gone).map(|(key, _)| *key);
        if let Some(key) = oldest {
            self.do_deed(now, key, deed);
        }
    }

    /// Hangs up everything.
    pub fn hang_up_all(&mut self, now: Instant) {
        let keys: Vec<u64> =
            self.talks.iter().filter(|(_, t)| t.stage != Stage::Gone).map(|(k, _)| *k).collect();
        for key in keys {
            self.do_deed(now, key, Deed::HangUp);
        }
    }

    /// Takes what the network brought.
    pub fn handle(&mut self, now: Instant, bytes: &[u8]) {
        if self.vanished {
            return;
        }
        let Some(text) = Text::read(bytes) else { return };
        match text.status() {
            Some(status) => self.handle_response(now, status, &text),
            None => self.handle_request(now, &text),
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(at, alarm)) = self.alarms.first() {
            if at > now {
                break;
            }
            self.alarms.remove(&(at, alarm));
            if self.vanished {
                continue;
            }
            match alarm {
                Alarm::Retransmit(slot) => self.retransmit(now, slot),
                Alarm::Repeat(key) => self.repeat_answer(now, key),
                Alarm::Answer(key) => self.answer(now, key),
                Alarm::Decline(key) => self.refuse(now, key, 603),
                Alarm::Cancel(key) | Alarm::Patience(key) => self.cancel(now, key),
                Alarm::Deed(key, index) => {
                    if let Some((_, deed)) = self.script.deeds.get(index).cloned() {
                        self.do_deed(now, key, deed);
                    }
                }
                Alarm::Register => self.register(now, None, 3600),
            }
        }
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        self.alarms.first().map(|(at, _)| *at)
    }

    /// The next datagram to send.
    pub fn poll(&mut self) -> Option<Vec<u8>> {
        self.out.pop_front()
    }

    /// Calls that are up at this moment.
    pub fn calls_up(&self) -> usize {
        self.talks.values().filter(|t| matches!(t.stage, Stage::Up | Stage::AnsweredHere)).count()
    }

    /// Calls that are not over, as seen from here.
    pub fn calls_alive(&self) -> usize {
        let over = |t: &&Talk| matches!(t.stage, Stage::Gone | Stage::RefusedHere);
        if self.vanished { 0 } else { self.talks.values().filter(|t| !over(t)).count() }
    }

    /// Whether RTP sent there reaches this phone.
    pub fn owns_audio(&self, address: SocketAddr) -> bool {
        address.ip() == self.address.ip() && self.talks.values().any(|t| t.rtp_port == address.port())
    }

    /// Where the newest call that is up expects its audio.
    pub fn is_sending_audio(&self) -> bool {
        !self.vanished && !self.mute
    }

    pub fn own_audio(&self) -> Option<SocketAddr> {
        let up = self.talks.values().rev().find(|t| matches!(t.stage, Stage::Up | Stage::AnsweredHere))?;
        Some(SocketAddr::new(self.address.ip(), up.rtp_port))
    }

    /// Whether this message belongs to a call of this phone, or may begin one.
    pub fn is_for(&self, bytes: &[u8]) -> bool {
        let Some(text) = Text::read(bytes) else { return false };
        let id = text.get("Call-ID");
        if self.talks.values().any(|t| t.id == id) {
            return true;
        }
        if text.status().is_some() {
            return self.pending.values().any(|p| p.branch == text.branch());
        }
        self.script.takes.as_ref().is_none_or(|user| text.user() == *user)
    }

    pub fn saw(&self, what: Seen) -> bool {
        self.seen.iter().any(|(_, s)| *s == what)
    }

    /// How often it saw that.
    pub fn times(&self, what: Seen) -> usize {
        self.seen.iter().filter(|(_, s)| *s == what).count()
    }

    // --- deeds ------------------------------------------------------------------------------------

    fn plan_deeds(&mut self, now: Instant, key: u64) {
        let deeds: Vec<Duration> = self.script.deeds.iter().map(|(after, _)| *after).collect();
        for (index, after) in deeds.into_iter().enumerate() {
            self.alarm(now + after, Alarm::Deed(key, index));
        }
    }

    fn do_deed(&mut self, now: Instant, key: u64, deed: Deed) {
        match deed {
            Deed::Vanish => self.vanished = true,
            Deed::HangUp => self.hang_up(now, key),
            Deed::LateCancel => self.cancel_late(now, key),
            _ if self.talks.get(&key).is_none_or(|t| t.stage != Stage::Up) => {}
            Deed::Press(digit) => {
                let peer = self.talks.get(&key).and_then(|t| t.remote_audio);
                self.keys.extend(peer.map(|peer| (peer, digit)));
            }
            Deed::Speak(speaks) => {
                let peer = self.talks.get(&key).and_then(|t| t.remote_audio);
                self.voices.extend(peer.map(|peer| (peer, speaks)));
            }
            Deed::PressByInfo(digit) => {
                let body = format!("Signal={digit}\r\nDuration=160\r\n");
                self.send_request(now, key, "INFO", "Content-Type: application/dtmf-relay\r\n", &body);
            }
            Deed::Reinvite(direction) => self.reinvite(now, key, direction),
            Deed::AskForOffer => {
                let number = self.talks.get(&key).map_or(0, |t| t.cseq);
                self.offerless.insert((key, number));
                self.send_request(now, key, "INVITE", "", "");
            }
            Deed::MoveMedia => {
                if let Some(talk) = self.talks.get_mut(&key) {
                    talk.rtp_port += 500;
                }
                self.reinvite(now, key, "sendrecv");
            }
            Deed::Refer(target) => {
                let extra = format!("Refer-To: <{target}>\r\n");
                self.send_request(now, key, "REFER", &extra, "");
            }
            Deed::HandOver(target) => {
                let up = |(other, talk): &(&u64, &Talk)| **other != key && talk.stage == Stage::Up;
                let Some((_, other)) = self.talks.iter().rev().find(up) else { return };
                let tag = |value: &str| parameter(value, "tag").unwrap_or("").to_owned();
                let named = format!(
                    "{}%3Bto-tag%3D{}%3Bfrom-tag%3D{}",
                    other.id.replace('@', "%40"),
                    tag(&other.remote),
                    tag(&other.local)
                );
                let extra = format!("Refer-To: <{target}?Replaces={named}>\r\n");
                self.send_request(now, key, "REFER", &extra, "");
            }
        }
    }

    fn hang_up(&mut self, now: Instant, key: u64) {
        match self.talks.get(&key).map(|t| t.stage) {
            Some(Stage::Dialling) => self.cancel(now, key),
            Some(Stage::RingingHere) => self.refuse(now, key, 603),
            Some(Stage::AnsweredHere | Stage::Up) => self.bye(now, key),
            Some(Stage::RefusedHere | Stage::Leaving | Stage::Gone) | None => {}
        }
    }

    fn end(&mut self, key: u64) {
        if let Some(talk) = self.talks.get_mut(&key) {
            talk.stage = Stage::Gone;
        }
        self.pending.retain(|_, p| p.call != key || p.method == "BYE" || p.method == "CANCEL");
    }

    fn talk_of(&self, text: &Text) -> Option<u64> {
        self.talks.iter().find(|(_, t)| t.id == text.get("Call-ID")).map(|(key, _)| *key)
    }

    fn see(&mut self, now: Instant, what: Seen) {
        self.seen.push((now, what));
    }

    fn alarm(&mut self, at: Instant, alarm: Alarm) {
        self.alarms.insert((at, alarm));
    }

    fn next_key(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }
}
