//! Requests that a phone makes, and the answers to them.

use std::time::{Duration, Instant};

use super::words::{SESSION, display};
use super::{Alarm, PATIENCE, Pending, Phone, Seen, Stage, T1, T2, Talk};
use crate::sim::text::Text;
use crate::sip::flow::Transport;

impl Phone {
    /// Calls a number of the switch.
    pub fn dial(&mut self, now: Instant, number: &str) {
        let uri = format!("sip:{number}@{}", self.switch);
        let tag = self.rng.token(10);
        let id = format!("{}@{}", self.rng.token(16), self.identity.host);
        let local = format!(
            "{}<sip:{}@{}>;tag={tag}",
            display(&self.identity),
            self.identity.user,
            self.identity.host
        );
        let remote = format!("<{uri}>");
        let key = self.add_talk(id, local, remote, uri, Stage::Dialling);
        self.send_invite(now, key, None);
        if let Some(after) = self.script.cancels_after {
            self.alarm(now + after, Alarm::Cancel(key));
        }
        self.alarm(now + PATIENCE, Alarm::Patience(key));
    }

    pub(super) fn add_talk(
        &mut self,
        id: String,
        local: String,
        remote: String,
        target: String,
        stage: Stage,
    ) -> u64 {
        let key = self.next_key();
        let talk = Talk {
            id,
            local,
            remote,
            target,
            cseq: 1,
            invite_cseq: 1,
            stage,
            outgoing: stage == Stage::Dialling,
            invite: String::new(),
            invite_text: None,
            last_response: None,
            interval: T1,
            until: None,
            acks: std::collections::BTreeMap::new(),
            acks_lost: self.script.acks_lost,
            cancelled: false,
            gives_up: false,
            rtp_port: self.rtp_base + (key as u16 % 200) * 2,
            remote_audio: None,
            answers: std::collections::BTreeMap::new(),
        };
        self.talks.insert(key, talk);
        key
    }

    fn send_invite(&mut self, now: Instant, key: u64, authorization: Option<String>) {
        let body = if self.script.late_offer { String::new() } else { self.session(key, "sendrecv") };
        let kind = if body.is_empty() { "" } else { SESSION };
        let extra = authorization
            .as_ref()
            .map_or_else(|| kind.to_owned(), |a| format!("Authorization: {a}\r\n{kind}"));
        let slot = self.send_request(now, key, "INVITE", &extra, &body);
        if let Some(pending) = self.pending.get_mut(&slot) {
            pending.authorized = authorization.is_some();
        }
        if let (Some(talk), Some(pending)) = (self.talks.get_mut(&key), self.pending.get(&slot)) {
            talk.invite = pending.branch.clone();
            talk.invite_cseq = talk.cseq - 1;
        }
    }

    pub(super) fn reinvite(&mut self, now: Instant, key: u64, direction: &str) {
        let body = self.session(key, direction);
        self.send_request(now, key, "INVITE", SESSION, &body);
    }

    pub(super) fn register(&mut self, now: Instant, authorization: Option<String>, expires: u32) {
        let Some((name, _)) = self.script.registers.clone() else { return };
        self.register_cseq += 1;
        let branch = format!("z9hG4bK{}", self.rng.token(12));
        let text = self.register_text(&name, &branch, authorization.as_deref(), expires);
        let slot = self.track(now, 0, "REGISTER", branch, text);
        if let Some(pending) = self.pending.get_mut(&slot) {
            pending.authorized = authorization.is_some();
        }
    }

    pub(super) fn send_request(
        &mut self,
        now: Instant,
        key: u64,
        method: &'static str,
        extra: &str,
        body: &str,
    ) -> u64 {
        let branch = format!("z9hG4bK{}", self.rng.token(12));
        let Some(talk) = self.talks.get_mut(&key) else { return 0 };
        let cseq = talk.cseq;
        talk.cseq += 1;
        let text = self.request_text(key, method, cseq, &branch, extra, body);
        self.track(now, key, method, branch, text)
    }

    fn track(
        &mut self,
        now: Instant,
        call: u64,
        method: &'static str,
        branch: String,
        bytes: Vec<u8>,
    ) -> u64 {
        let slot = self.next_key();
        self.out.push_back(bytes.clone());
        let until = now + 64 * T1;
        let pending = Pending {
            bytes,
            method,
            call,
            branch,
            interval: T1,
            until,
            proceeding: false,
            authorized: false,
        };
        self.pending.insert(slot, pending);
        self.alarm(now + T1, Alarm::Retransmit(slot));
        slot
    }

    pub(super) fn retransmit(&mut self, now: Instant, slot: u64) {
        let reliable = self.transport != Transport::Udp;
        let Some(pending) = self.pending.get_mut(&slot) else { return };
        let rings = pending.method == "INVITE" && pending.proceeding;
        if rings {
            return; // patience and CANCEL look after it
        }
        if now >= pending.until {
            let (call, method) = (pending.call, pending.method);
            self.pending.remove(&slot);
            return self.gave_up(now, call, method);
        }
        if !reliable {
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
            "CANCEL" => self.end(call),
            _ => {
                self.see(now, if method == "BYE" { Seen::ByeOurs } else { Seen::TimedOut });
                self.end(call);
            }
        }
    }

    pub(super) fn cancel(&mut self, now: Instant, key: u64) {
        let Some(talk) = self.talks.get_mut(&key) else { return };
        if talk.stage != Stage::Dialling {
            return;
        }
        if talk.cancelled {
            // No final response long after the CANCEL (9.1).
            return self.end(key);
        }
        talk.gives_up = true;
        let branch = talk.invite.clone();
        let Some(pending) = self.pending.values().find(|p| p.branch == branch && p.method == "INVITE") else {
            return;
        };
        if !pending.proceeding {
            // RFC 3261 9.1: not before a provisional response.
            return self.alarm(now + Duration::from_millis(200), Alarm::Cancel(key));
        }
        if let Some(talk) = self.talks.get_mut(&key) {
            talk.cancelled = true;
        }
        self.alarm(now + 64 * T1, Alarm::Cancel(key));
        self.send_cancel(now, key);
    }

    /// A CANCEL for an INVITE that has been answered must change nothing (RFC 3261 9.2).
    pub(super) fn cancel_late(&mut self, now: Instant, key: u64) {
        if self.talks.get(&key).is_some_and(|t| t.outgoing) {
            self.send_cancel(now, key);
        }
    }

    fn send_cancel(&mut self, now: Instant, key: u64) {
        let Some(talk) = self.talks.get(&key) else { return };
        let (branch, cseq) = (talk.invite.clone(), talk.invite_cseq);
        let text = self.request_text(key, "CANCEL", cseq, &branch, "", "");
        self.track(now, key, "CANCEL", branch, text);
    }

    pub(super) fn bye(&mut self, now: Instant, key: u64) {
        if let Some(talk) = self.talks.get_mut(&key) {
            talk.stage = Stage::Leaving;
        }
        self.send_request(now, key, "BYE", "", "");
    }

    // --- responses --------------------------------------------------------------------------------

    pub(super) fn handle_response(&mut self, now: Instant, status: u16, text: &Text) {
        let (method, branch) = (text.method().to_owned(), text.branch().to_owned());
        let found = self.pending.iter().find(|(_, p)| p.branch == branch && p.method == method);
        let slot = found.map(|(slot, _)| *slot);
        if status < 200 {
            if let Some(pending) = slot.and_then(|s| self.pending.get_mut(&s)) {
                pending.proceeding = true;
                if status > 100 {
                    self.see(now, Seen::Ringing);
                }
            }
            return;
        }
        let pending = slot.and_then(|s| self.pending.remove(&s));
        match (method.as_str(), pending) {
            ("INVITE", pending) => self.invite_answered(now, pending.as_ref(), status, text),
            ("REGISTER", Some(pending)) => self.registered(now, &pending, status, text),
            ("BYE", Some(pending)) => {
                self.see(now, Seen::ByeOurs);
                self.end(pending.call);
            }
            ("CANCEL", _) | (_, None) => {}
            (_, Some(pending)) => {
                self.see(now, Seen::Replied(status));
                if matches!(status, 408 | 481) {
                    self.end(pending.call);
                }
            }
        }
    }

    fn invite_answered(&mut self, now: Instant, pending: Option<&Pending>, status: u16, text: &Text) {
        let Some(key) = pending.map(|p| p.call).or_else(|| self.talk_of(text)) else { return };
        if (200..300).contains(&status) {
            return self.acknowledge_2xx(now, key, pending.is_some(), text);
        }
        self.acknowledge_failure(key, text);
        let stage = self.talks.get(&key).map(|t| (t.stage, t.cancelled));
        let (Some(pending), Some((stage, taken_back))) = (pending, stage) else { return };
        if stage != Stage::Dialling {
            self.see(now, Seen::Replied(status));
            if matches!(status, 408 | 481) {
                self.end(key);
            }
            return;
        }
        if status == 401 && !pending.authorized {
            let challenge = text.all("WWW-Authenticate").into_iter().find(|c| c.contains("MD5"));
            let answer = challenge.and_then(|c| self.digest("INVITE", &format!("sip:{}", uri_user(text)), c));
            if let Some(answer) = answer {
                return self.send_invite(now, key, Some(answer));
            }
        }
        self.see(now, if taken_back && status == 487 { Seen::Cancelled } else { Seen::Refused(status) });
        self.end(key);
    }

    fn acknowledge_failure(&mut self, key: u64, text: &Text) {
        let to = text.get("To").to_owned();
        let (branch, cseq) = (text.branch().to_owned(), text.cseq());
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
            return self.send_ack(key, text.cseq());
        }
        talk.remote = text.get("To").to_owned();
        if !text.contact().is_empty() {
            talk.target = text.contact().to_owned();
        }
        talk.remote_audio = text.audio().or(talk.remote_audio);
        let (dialling, cancelled) = (talk.stage == Stage::Dialling, talk.gives_up);
        if dialling && self.script.bye_before_ack {
            self.bye(now, key);
        }
        self.write_ack(key, text);
        self.send_ack(key, text.cseq());
        if !dialling || self.script.bye_before_ack {
            return;
        }
        if let Some(talk) = self.talks.get_mut(&key) {
            talk.stage = Stage::Up;
        }
        self.see(now, Seen::Up);
        if cancelled {
            return self.bye(now, key);
        }
        if self.script.cancels_at_answer {
            self.cancel_late(now, key);
        }
        self.plan_deeds(now, key);
    }

    /// The ACK; it answers when our INVITE had no offer (RFC 3261 13.2.1).
    fn write_ack(&mut self, key: u64, text: &Text) {
        let branch = format!("z9hG4bK{}", self.rng.token(12));
        let offered_late = self.asked_for_offer(key, text.cseq()) && !self.script.forgets_answer;
        let body = if offered_late { self.session(key, "sendrecv") } else { String::new() };
        let kind = if offered_late { SESSION } else { "" };
        let ack = self.request_text(key, "ACK", text.cseq(), &branch, kind, &body);
        if let Some(talk) = self.talks.get_mut(&key) {
            talk.acks.insert(text.cseq(), ack);
        }
    }

    /// Whether the INVITE of that number went out without a description.
    fn asked_for_offer(&self, key: u64, cseq: u32) -> bool {
        let first = self.talks.get(&key).is_some_and(|t| t.invite_cseq == cseq && t.outgoing);
        if first { self.script.late_offer } else { self.offerless.contains(&(key, cseq)) }
    }

    fn send_ack(&mut self, key: u64, cseq: u32) {
        let Some(talk) = self.talks.get_mut(&key) else { return };
        let Some(ack) = talk.acks.get(&cseq).cloned() else { return };
        if self.script.never_acks {
            return;
        }
        if talk.acks_lost > 0 {
            talk.acks_lost -= 1;
            return;
        }
        self.out.push_back(ack);
    }

    fn registered(&mut self, now: Instant, pending: &Pending, status: u16, text: &Text) {
        match status {
            200 => {
                self.see(now, Seen::Registered);
                if !text.all("Contact").is_empty() {
                    self.alarm(now + Duration::from_secs(1800), Alarm::Register);
                }
            }
            401 => {
                let challenge = text.all("WWW-Authenticate").into_iter().find(|c| c.contains("MD5"));
                let fresh = !pending.authorized || challenge.is_some_and(|c| c.contains("stale=true"));
                let uri = format!("sip:{}", self.switch);
                let answer = challenge.filter(|_| fresh).and_then(|c| self.digest("REGISTER", &uri, c));
                if answer.is_some() {
                    let leaves = pending.bytes.windows(12).any(|w| w == b"Expires: 0\r\n");
                    return self.register(now, answer, if leaves { 0 } else { 3600 });
                }
                self.see(now, Seen::NotRegistered(status));
                self.alarm(now + Duration::from_secs(60), Alarm::Register);
            }
            _ => {
                self.see(now, Seen::NotRegistered(status));
                self.alarm(now + Duration::from_secs(5), Alarm::Register);
            }
        }
    }
}

/// `user@host` that was dialled, from To.
fn uri_user(text: &Text) -> String {
    crate::sim::text::uri_of(text.get("To")).trim_start_matches("sip:").to_owned()
}
