//! Scripted user agents: callers behind the trunk and counsellors' phones, honest and not.
//!
//! A phone is itself sans-IO: bytes and time in, bytes out. It retransmits as RFC 3261 17 asks, so it
//! gets through a lossy network; what it does beyond that is its [`Script`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use md5::Digest as _;

use super::text::{Text, parameter, uri_of};
use crate::base::id::Rng;

const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
const SESSION: &str = "Content-Type: application/sdp\r\n";

/// What somebody at a phone does with a call that has been set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// A key by RFC 4733; the world hands it to the media room.
    Press(char),
    /// A key by SIP INFO (`application/dtmf-relay`).
    PressByInfo(char),
    /// re-INVITE with this direction (`sendonly` is hold).
    Reinvite(&'static str),
    /// re-INVITE from another RTP port.
    MoveMedia,
    /// REFER to this URI.
    Refer(String),
    HangUp,
    /// Stops to answer anything, as a phone whose battery is empty.
    Vanish,
}

/// How a phone takes an incoming call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Rings and answers after this time.
    Answers(Duration),
    /// Rings for ever.
    NeverAnswers,
    Busy,
    Declines,
    /// Does not say a word.
    Dead,
    /// Answers, and hangs up before the ACK can arrive.
    AnswersAndHangsUp(Duration),
}

/// What a phone does in its life.
#[derive(Debug, Clone)]
pub struct Script {
    pub manner: Manner,
    /// Deeds, each so long after the call was answered.
    pub deeds: Vec<(Duration, Deed)>,
    /// Registers under this name and password when it starts.
    pub registers: Option<(String, String)>,
    /// A caller that gives up before an answer, so long after dialling.
    pub cancels_after: Option<Duration>,
    /// Sends CANCEL in the very moment in which the 200 comes.
    pub cancels_at_answer: bool,
    /// Never acknowledges a 200.
    pub never_acks: bool,
    /// Sends BYE before the ACK.
    pub bye_before_ack: bool,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            manner: Manner::Busy,
            deeds: Vec::new(),
            registers: None,
            cancels_after: None,
            cancels_at_answer: false,
            never_acks: false,
            bye_before_ack: false,
        }
    }
}

/// All by which a phone could be recognised. Two phones that differ in nothing else must look the
/// same from a counsellor's side.
#[derive(Debug, Clone)]
pub struct Identity {
    pub user: String,
    pub display: String,
    pub host: String,
    pub user_agent: String,
    /// More header lines for every request, complete with CR LF.
    pub headers: String,
    /// Lines put into the session description after `t=`.
    pub sdp_session: String,
    /// The `o=` line's user and session name.
    pub sdp_origin: String,
}

impl Identity {
    pub fn plain(user: &str) -> Self {
        Self {
            user: user.into(),
            display: String::new(),
            host: "phone.invalid".into(),
            user_agent: "phone".into(),
            headers: String::new(),
            sdp_session: String::new(),
            sdp_origin: "-".into(),
        }
    }
}

/// What became of the phone's call, for the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    Ringing,
    /// As UAC: a 2xx; as UAS: the ACK for our 200.
    Up,
    Refused(u16),
    /// The other side said BYE.
    ByePeer,
    /// Our BYE was answered (or given up).
    ByeOurs,
    Cancelled,
    Registered,
    NotRegistered(u16),
    /// No final response at all.
    TimedOut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    Retransmit(u64),
    Answer(u64),
    Cancel(u64),
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
    stops: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Dialling,
    RingingHere,
    AnsweredHere,
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
    invite: String,
    invite_text: Option<Text>,
    last_response: Option<Vec<u8>>,
    last_ack: Option<Vec<u8>>,
    cancelled: bool,
    rtp_port: u16,
    remote_audio: Option<SocketAddr>,
}

/// One user agent at one address.
pub struct Phone {
    pub address: SocketAddr,
    /// Where it sends everything.
    pub switch: SocketAddr,
    pub identity: Identity,
    pub script: Script,
    pub seen: Vec<(Instant, Seen)>,
    /// Keys to hand to the media room: the RTP address of the switch and the key.
    pub keys: VecDeque<(SocketAddr, char)>,
    rng: Rng,
    talks: BTreeMap<u64, Talk>,
    pending: BTreeMap<u64, Pending>,
    alarms: BTreeSet<(Instant, Alarm)>,
    out: VecDeque<Vec<u8>>,
    serial: u64,
    register_cseq: u32,
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
            identity,
            script,
            seen: Vec::new(),
            keys: VecDeque::new(),
            rng,
            talks: BTreeMap::new(),
            pending: BTreeMap::new(),
            alarms: BTreeSet::new(),
            out: VecDeque::new(),
            serial: 0,
            register_cseq: 0,
            vanished: false,
        }
    }

    /// Switches the phone on: a line that registers does so.
    pub fn start(&mut self, now: Instant) {
        if self.script.registers.is_some() {
            self.register(now, None);
        }
    }

    /// Calls a number of the switch.
    pub fn dial(&mut self, now: Instant, number: &str) {
        let key = self.next_key();
        let uri = format!("sip:{number}@{}", self.switch);
        let display = if self.identity.display.is_empty() {
            String::new()
        } else {
            format!("\"{}\" ", self.identity.display)
        };
        let tag = self.rng.token(10);
        let talk = Talk {
            id: format!("{}@{}", self.rng.token(16), self.identity.host),
            local: format!("{display}<sip:{}@{}>;tag={tag}", self.identity.user, self.identity.host),
            remote: format!("<{uri}>"),
            target: uri,
            cseq: 1,
            invite_cseq: 1,
            stage: Stage::Dialling,
            outgoing: true,
            invite: String::new(),
            invite_text: None,
            last_response: None,
            last_ack: None,
            cancelled: false,
            rtp_port: 30_000 + (key as u16 % 1000) * 2,
            remote_audio: None,
        };
        self.talks.insert(key, talk);
        let body = self.session(key, "sendrecv");
        self.send_request(now, key, "INVITE", SESSION, &body);
        if let Some(after) = self.script.cancels_after {
            self.alarm(now + after, Alarm::Cancel(key));
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
                Alarm::Retransmit(key) => self.retransmit(now, key),
                Alarm::Answer(key) => self.answer(now, key),
                Alarm::Cancel(key) => self.cancel(now, key),
                Alarm::Deed(key, index) => self.do_deed(now, key, index),
                Alarm::Register => self.register(now, None),
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
        if self.vanished { 0 } else { self.talks.values().filter(|t| t.stage != Stage::Gone).count() }
    }

    /// RTP addresses of the switch that this phone's calls send to.
    pub fn audio_peers(&self) -> Vec<SocketAddr> {
        let up = self.talks.values().filter(|t| t.stage == Stage::Up);
        up.filter_map(|t| t.remote_audio).collect()
    }

    pub fn saw(&self, what: Seen) -> bool {
        self.seen.iter().any(|(_, s)| *s == what)
    }

    // --- requests of ours -------------------------------------------------------------------------

    fn register(&mut self, now: Instant, authorization: Option<String>) {
        let Some((name, _)) = self.script.registers.clone() else { return };
        self.register_cseq += 1;
        let key = self.next_key();
        let branch = format!("z9hG4bK{}", self.rng.token(12));
        let registrar = self.switch;
        let authorization = authorization.map(|a| format!("Authorization: {a}\r\n")).unwrap_or_default();
        let text = format!(
            "REGISTER sip:{registrar} SIP/2.0\r\nVia: SIP/2.0/UDP {me};branch={branch};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:{name}@{registrar}>;tag={tag}\r\nTo: <sip:{name}@{registrar}>\r\nCall-ID: reg-{name}@{host}\r\n\
             CSeq: {cseq} REGISTER\r\nContact: <sip:{name}@{me}>\r\nExpires: 3600\r\n{authorization}Content-Length: 0\r\n\r\n",
            me = self.address,
            tag = self.rng.token(8),
            host = self.identity.host,
            cseq = self.register_cseq,
        );
        self.track(now, key, 0, "REGISTER", branch, text.into_bytes());
    }

    fn send_request(&mut self, now: Instant, key: u64, method: &'static str, extra: &str, body: &str) {
        let branch = format!("z9hG4bK{}", self.rng.token(12));
        let Some(talk) = self.talks.get_mut(&key) else { return };
        if method == "INVITE" {
            talk.invite_cseq = talk.cseq;
            talk.invite = branch.clone();
        }
        let cseq = talk.cseq;
        talk.cseq += 1;
        let text = self.request_text(key, method, cseq, &branch, extra, body);
        let slot = self.next_key();
        self.track(now, slot, key, method, branch, text);
    }

    fn request_text(
        &self,
        key: u64,
        method: &str,
        cseq: u32,
        branch: &str,
        extra: &str,
        body: &str,
    ) -> Vec<u8> {
        let Some(talk) = self.talks.get(&key) else { return Vec::new() };
        let id = &self.identity;
        format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {me};branch={branch};rport\r\nMax-Forwards: 70\r\n\
             From: {local}\r\nTo: {remote}\r\nCall-ID: {call}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:{user}@{me}>\r\nUser-Agent: {agent}\r\n{headers}{extra}Content-Length: {length}\r\n\r\n{body}",
            target = talk.target,
            me = self.address,
            local = talk.local,
            remote = talk.remote,
            call = talk.id,
            user = id.user,
            agent = id.user_agent,
            headers = id.headers,
            length = body.len(),
        )
        .into_bytes()
    }

    fn track(
        &mut self,
        now: Instant,
        slot: u64,
        call: u64,
        method: &'static str,
        branch: String,
        bytes: Vec<u8>,
    ) {
        self.out.push_back(bytes.clone());
        let pending = Pending {
            bytes,
            method,
            call,
            branch,
            interval: T1,
            until: now + 64 * T1,
            proceeding: false,
            stops: false,
        };
        self.pending.insert(slot, pending);
        self.alarm(now + T1, Alarm::Retransmit(slot));
    }

    fn retransmit(&mut self, now: Instant, slot: u64) {
        if let Some(key) = self.talks.iter().find_map(|(k, _)| (*k == slot).then_some(*k)) {
            self.repeat_answer(now, key);
            return;
        }
        let Some(pending) = self.pending.get_mut(&slot) else { return };
        if now >= pending.until && !(pending.method == "INVITE" && pending.proceeding) {
            let (call, method) = (pending.call, pending.method);
            self.pending.remove(&slot);
            self.gave_up(now, call, method);
            return;
        }
        if pending.method == "INVITE" && pending.proceeding {
            // A caller's own patience, so that a lost final response does not leave it for ever.
            if now >= pending.until + Duration::from_secs(7200) {
                let call = pending.call;
                self.pending.remove(&slot);
                self.gave_up(now, call, "INVITE");
            } else {
                self.alarm(now + Duration::from_secs(60), Alarm::Retransmit(slot));
            }
            return;
        }
        if !pending.stops {
            self.out.push_back(pending.bytes.clone());
        }
        let doubled = pending.interval * 2;
        pending.interval = if pending.method == "INVITE" { doubled } else { doubled.min(T2) };
        let next = now + pending.interval;
        self.alarm(next, Alarm::Retransmit(slot));
    }

    fn gave_up(&mut self, now: Instant, call: u64, method: &str) {
        match method {
            "REGISTER" => self.alarm(now + Duration::from_secs(5), Alarm::Register),
            "BYE" | "INVITE" => {
                let what = if method == "BYE" { Seen::ByeOurs } else { Seen::TimedOut };
                self.see(now, what);
                self.end(call);
            }
            _ => {}
        }
    }

    fn cancel(&mut self, now: Instant, key: u64) {
        let Some(talk) = self.talks.get_mut(&key) else { return };
        if talk.stage != Stage::Dialling || talk.cancelled {
            return;
        }
        let (branch, cseq) = (talk.invite.clone(), talk.invite_cseq);
        // RFC 3261 9.1: not before a provisional response.
        let proceeding = self.pending.values().any(|p| p.branch == branch && p.proceeding);
        if !proceeding {
            self.alarm(now + Duration::from_millis(200), Alarm::Cancel(key));
            return;
        }
        if let Some(talk) = self.talks.get_mut(&key) {
            talk.cancelled = true;
        }
        let text = self.request_text(key, "CANCEL", cseq, &branch, "", "");
        let slot = self.next_key();
        self.track(now, slot, key, "CANCEL", branch, text);
    }

    // --- responses to us --------------------------------------------------------------------------

    fn handle_response(&mut self, now: Instant, status: u16, text: &Text) {
        let method = text.method().to_owned();
        let branch = text.branch().to_owned();
        let slot =
            self.pending.iter().find(|(_, p)| p.branch == branch && p.method == method).map(|(s, _)| *s);
        if status < 200 {
            if let Some(pending) = slot.and_then(|s| self.pending.get_mut(&s)) {
                pending.proceeding = true;
                if status > 100 {
                    self.see(now, Seen::Ringing);
                }
            }
            return;
        }
        let call = slot.and_then(|s| self.pending.remove(&s)).map(|p| p.call);
        match method.as_str() {
            "INVITE" => self.invite_answered(now, call, status, text),
            "REGISTER" if call.is_some() => self.registered(now, status, text),
            "BYE" => {
                if let Some(call) = call {
                    self.see(now, Seen::ByeOurs);
                    self.end(call);
                }
            }
            _ => {}
        }
    }

    fn invite_answered(&mut self, now: Instant, call: Option<u64>, status: u16, text: &Text) {
        let known = self.talks.iter().find(|(_, t)| t.id == text.get("Call-ID")).map(|(k, _)| *k);
        let Some(key) = call.or(known) else { return };
        if (200..300).contains(&status) {
            self.acknowledge_2xx(now, key, call.is_some(), text);
            return;
        }
        self.acknowledge_failure(key, text);
        let Some(talk) = self.talks.get_mut(&key) else { return };
        if call.is_none() || talk.stage != Stage::Dialling {
            return; // a retransmission, or a re-INVITE that was refused
        }
        let cancelled = talk.cancelled && status == 487;
        self.see(now, if cancelled { Seen::Cancelled } else { Seen::Refused(status) });
        self.end(key);
    }

    fn acknowledge_failure(&mut self, key: u64, text: &Text) {
        let to = text.get("To").to_owned();
        let branch = text.branch().to_owned();
        let cseq = text.cseq();
        let Some(talk) = self.talks.get_mut(&key) else { return };
        let remote = std::mem::replace(&mut talk.remote, to);
        let ack = self.request_text(key, "ACK", cseq, &branch, "", "");
        self.out.push_back(ack);
        if let Some(talk) = self.talks.get_mut(&key) {
            talk.remote = remote;
        }
    }

    fn acknowledge_2xx(&mut self, now: Instant, key: u64, first: bool, text: &Text) {
        let Some(talk) = self.talks.get_mut(&key) else { return };
        if !first {
            if let (Some(ack), false) = (talk.last_ack.clone(), self.script.never_acks) {
                self.out.push_back(ack);
            }
            return;
        }
        talk.remote = text.get("To").to_owned();
        if !text.contact().is_empty() {
            talk.target = text.contact().to_owned();
        }
        talk.remote_audio = text.audio().or(talk.remote_audio);
        let dialling = talk.stage == Stage::Dialling;
        let leaving = matches!(talk.stage, Stage::Leaving | Stage::Gone);
        let cancelled = talk.cancelled;
        if dialling && self.script.bye_before_ack {
            self.bye(now, key);
        }
        let branch = format!("z9hG4bK{}", self.rng.token(12));
        let ack = self.request_text(key, "ACK", text.cseq(), &branch, "", "");
        if !self.script.never_acks {
            self.out.push_back(ack.clone());
        }
        let Some(talk) = self.talks.get_mut(&key) else { return };
        talk.last_ack = Some(ack);
        if leaving || talk.stage != Stage::Dialling {
            return;
        }
        talk.stage = Stage::Up;
        self.see(now, Seen::Up);
        if cancelled {
            self.bye(now, key);
        } else {
            if self.script.cancels_at_answer {
                self.cancel_late(now, key);
            }
            self.plan_deeds(now, key);
        }
    }

    /// A CANCEL for an INVITE that has been answered must change nothing (RFC 3261 9.2).
    fn cancel_late(&mut self, now: Instant, key: u64) {
        let Some(talk) = self.talks.get(&key) else { return };
        let (branch, cseq) = (talk.invite.clone(), talk.invite_cseq);
        let text = self.request_text(key, "CANCEL", cseq, &branch, "", "");
        let slot = self.next_key();
        self.track(now, slot, key, "CANCEL", branch, text);
    }

    fn registered(&mut self, now: Instant, status: u16, text: &Text) {
        match status {
            200 => {
                self.see(now, Seen::Registered);
                self.alarm(now + Duration::from_secs(1800), Alarm::Register);
            }
            401 => {
                let challenge =
                    text.all("WWW-Authenticate").into_iter().find(|c| c.contains("MD5")).map(str::to_owned);
                match challenge {
                    Some(challenge) if self.register_cseq % 2 == 1 => {
                        let answer = self.digest(&challenge);
                        self.register(now, Some(answer));
                    }
                    _ => self.see(now, Seen::NotRegistered(status)),
                }
            }
            _ => {
                self.see(now, Seen::NotRegistered(status));
                self.alarm(now + Duration::from_secs(5), Alarm::Register);
            }
        }
    }

    /// RFC 2617 with MD5 and qop=auth, written out by hand.
    fn digest(&mut self, challenge: &str) -> String {
        let (name, password) = self.script.registers.clone().unwrap_or_default();
        let field = |key: &str| {
            let at = challenge.find(&format!("{key}=\"")).map(|i| i + key.len() + 2);
            at.and_then(|i| challenge.get(i..)).and_then(|r| r.split('"').next()).unwrap_or("").to_owned()
        };
        let (realm, nonce) = (field("realm"), field("nonce"));
        let cnonce = self.rng.token(8);
        let uri = format!("sip:{}", self.switch);
        let hex = |text: String| {
            use std::fmt::Write as _;
            md5::Md5::digest(text.as_bytes()).iter().fold(String::new(), |mut s, b| {
                let _ = write!(s, "{b:02x}");
                s
            })
        };
        let ha1 = hex(format!("{name}:{realm}:{password}"));
        let ha2 = hex(format!("REGISTER:{uri}"));
        let response = hex(format!("{ha1}:{nonce}:00000001:{cnonce}:auth:{ha2}"));
        format!(
            "Digest username=\"{name}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\", \
             algorithm=MD5, qop=auth, nc=00000001, cnonce=\"{cnonce}\""
        )
    }

    // --- requests to us ---------------------------------------------------------------------------

    fn handle_request(&mut self, now: Instant, text: &Text) {
        let key = self.talks.iter().find(|(_, t)| t.id == text.get("Call-ID")).map(|(k, _)| *k);
        match (text.method(), key) {
            ("INVITE", None) => self.incoming(now, text),
            ("INVITE", Some(key)) => self.invited_again(now, key, text),
            ("ACK", Some(key)) => self.acknowledged(now, key),
            ("ACK", None) => {}
            ("BYE", Some(key)) => {
                self.reply(text, 200, "", "");
                let alive = self.talks.get(&key).is_some_and(|t| t.stage != Stage::Gone);
                if alive {
                    self.see(now, Seen::ByePeer);
                    self.end(key);
                }
            }
            ("CANCEL", Some(key)) => {
                self.reply(text, 200, "", "");
                self.cancelled_by_peer(now, key);
            }
            ("OPTIONS" | "INFO" | "NOTIFY", _) => self.reply(text, 200, "", ""),
            (_, None) => self.reply(text, 481, "", ""),
            (_, Some(_)) => self.reply(text, 200, "", ""),
        }
    }

    fn incoming(&mut self, now: Instant, text: &Text) {
        let key = self.next_key();
        let tag = self.rng.token(10);
        let talk = Talk {
            id: text.get("Call-ID").to_owned(),
            local: format!("{};tag={tag}", text.get("To")),
            remote: text.get("From").to_owned(),
            target: text.contact().to_owned(),
            cseq: 1,
            invite_cseq: text.cseq(),
            stage: Stage::RingingHere,
            outgoing: false,
            invite: text.branch().to_owned(),
            invite_text: Some(text.clone()),
            last_response: None,
            last_ack: None,
            cancelled: false,
            rtp_port: 40_000 + (key as u16 % 1000) * 2,
            remote_audio: text.audio(),
        };
        self.talks.insert(key, talk);
        match self.script.manner {
            Manner::Dead => {
                self.end(key);
            }
            Manner::Busy => self.refuse(key, 486),
            Manner::Declines => self.refuse(key, 603),
            Manner::NeverAnswers => self.respond_invite(key, 180, ""),
            Manner::Answers(after) | Manner::AnswersAndHangsUp(after) => {
                self.respond_invite(key, 180, "");
                self.alarm(now + after, Alarm::Answer(key));
            }
        }
    }

    fn refuse(&mut self, key: u64, status: u16) {
        self.respond_invite(key, status, "");
        if let Some(talk) = self.talks.get_mut(&key) {
            talk.stage = Stage::Gone;
        }
    }

    fn answer(&mut self, now: Instant, key: u64) {
        if self.talks.get(&key).is_none_or(|t| t.stage != Stage::RingingHere) {
            return;
        }
        let body = self.session(key, "sendrecv");
        self.respond_invite(key, 200, &body);
        if let Some(talk) = self.talks.get_mut(&key) {
            talk.stage = Stage::AnsweredHere;
        }
        self.alarm(now + T1, Alarm::Retransmit(key));
        self.alarm(now + 64 * T1, Alarm::Answer(key));
        if matches!(self.script.manner, Manner::AnswersAndHangsUp(_)) {
            self.bye(now, key);
        }
    }

    /// RFC 3261 13.3.1.4: the 200 is repeated until the ACK; without one the call ends.
    fn repeat_answer(&mut self, now: Instant, key: u64) {
        let Some(talk) = self.talks.get(&key) else { return };
        if talk.stage != Stage::AnsweredHere {
            return;
        }
        if self.alarms.iter().any(|(_, a)| *a == Alarm::Answer(key)) {
            if let Some(bytes) = talk.last_response.clone() {
                self.out.push_back(bytes);
            }
            self.alarm(now + T2, Alarm::Retransmit(key));
        } else {
            self.bye(now, key);
        }
    }

    fn invited_again(&mut self, now: Instant, key: u64, text: &Text) {
        let Some(talk) = self.talks.get_mut(&key) else { return };
        if talk.invite == text.branch() && !talk.outgoing {
            if let Some(bytes) = talk.last_response.clone() {
                self.out.push_back(bytes);
            }
            return;
        }
        if matches!(talk.stage, Stage::Gone | Stage::Leaving) {
            self.reply(text, 481, "", "");
            return;
        }
        talk.remote_audio = text.audio().or(talk.remote_audio);
        let body = self.session(key, "sendrecv");
        self.reply(text, 200, SESSION, &body);
        let _ = now;
    }

    fn acknowledged(&mut self, now: Instant, key: u64) {
        let Some(talk) = self.talks.get_mut(&key) else { return };
        if talk.stage == Stage::AnsweredHere {
            talk.stage = Stage::Up;
            self.see(now, Seen::Up);
            self.plan_deeds(now, key);
        }
    }

    fn cancelled_by_peer(&mut self, now: Instant, key: u64) {
        if self.talks.get(&key).is_some_and(|t| t.stage == Stage::RingingHere) {
            self.respond_invite(key, 487, "");
            self.see(now, Seen::Cancelled);
            self.end(key);
        }
    }

    // --- deeds ------------------------------------------------------------------------------------

    fn plan_deeds(&mut self, now: Instant, key: u64) {
        for (index, after) in self.script.deeds.iter().map(|(d, _)| *d).enumerate().collect::<Vec<_>>() {
            self.alarm(now + after, Alarm::Deed(key, index));
        }
    }

    fn do_deed(&mut self, now: Instant, key: u64, index: usize) {
        let Some(talk) = self.talks.get_mut(&key) else { return };
        if talk.stage != Stage::Up {
            return;
        }
        let Some((_, deed)) = self.script.deeds.get(index).cloned() else { return };
        match deed {
            Deed::Press(digit) => {
                if let Some(peer) = talk.remote_audio {
                    self.keys.push_back((peer, digit));
                }
            }
            Deed::PressByInfo(digit) => {
                let body = format!("Signal={digit}\r\nDuration=160\r\n");
                self.send_request(now, key, "INFO", "Content-Type: application/dtmf-relay\r\n", &body);
            }
            Deed::Reinvite(direction) => self.reinvite(now, key, direction),
            Deed::MoveMedia => {
                talk.rtp_port += 500;
                self.reinvite(now, key, "sendrecv");
            }
            Deed::Refer(target) => {
                let extra = format!("Refer-To: <{target}>\r\n");
                self.send_request(now, key, "REFER", &extra, "");
            }
            Deed::HangUp => self.bye(now, key),
            Deed::Vanish => self.vanished = true,
        }
    }

    fn reinvite(&mut self, now: Instant, key: u64, direction: &str) {
        let body = self.session(key, direction);
        self.send_request(now, key, "INVITE", SESSION, &body);
    }

    fn bye(&mut self, now: Instant, key: u64) {
        if let Some(talk) = self.talks.get_mut(&key) {
            talk.stage = Stage::Leaving;
        }
        self.send_request(now, key, "BYE", "", "");
    }

    // --- words ------------------------------------------------------------------------------------

    fn respond_invite(&mut self, key: u64, status: u16, body: &str) {
        let Some(invite) = self.talks.get(&key).and_then(|t| t.invite_text.clone()) else { return };
        let kind = if body.is_empty() { "" } else { SESSION };
        let bytes = self.response_text(&invite, status, kind, body);
        if let Some(talk) = self.talks.get_mut(&key) {
            talk.last_response = Some(bytes.clone());
        }
        self.out.push_back(bytes);
    }

    fn reply(&mut self, request: &Text, status: u16, extra: &str, body: &str) {
        let bytes = self.response_text(request, status, extra, body);
        self.out.push_back(bytes);
    }

    fn response_text(&self, request: &Text, status: u16, extra: &str, body: &str) -> Vec<u8> {
        let talk = self.talks.values().find(|t| t.id == request.get("Call-ID") && !t.outgoing);
        let to = match talk {
            Some(talk) if parameter(request.get("To"), "tag").is_none() => talk.local.clone(),
            _ => request.get("To").to_owned(),
        };
        let mut text = format!("SIP/2.0 {status} Said\r\n");
        for via in request.all("Via") {
            text.push_str(&format!("Via: {via}\r\n"));
        }
        for route in request.all("Record-Route") {
            text.push_str(&format!("Record-Route: {route}\r\n"));
        }
        text.push_str(&format!(
            "From: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: <sip:{}@{}>\r\n{extra}Content-Length: {}\r\n\r\n{body}",
            request.get("From"),
            request.get("Call-ID"),
            request.get("CSeq"),
            self.identity.user,
            self.address,
            body.len(),
        ));
        text.into_bytes()
    }

    fn session(&self, key: u64, direction: &str) -> String {
        let (port, version) = self.talks.get(&key).map_or((30_000, 1), |t| (t.rtp_port, t.cseq));
        let ip = self.address.ip();
        let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
        let id = &self.identity;
        format!(
            "v=0\r\no={} 1 {version} IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n{}m=audio {port} RTP/AVP 8 0 101\r\n\
             a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na={direction}\r\n",
            id.sdp_origin, id.sdp_session,
        )
    }

    fn end(&mut self, key: u64) {
        if let Some(talk) = self.talks.get_mut(&key) {
            talk.stage = Stage::Gone;
        }
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

/// The URI in a header value, for tests that look at what a phone got.
pub fn uri_in(value: &str) -> &str {
    uri_of(value)
}
