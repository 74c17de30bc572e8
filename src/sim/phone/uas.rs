//! Requests that a phone gets.

use std::time::Instant;

use super::words::SESSION;
use super::{Alarm, Manner, Phone, Seen, Stage, T1, T2};
use crate::sim::text::{Text, parameter};

impl Phone {
    pub(super) fn handle_request(&mut self, now: Instant, text: &Text) {
        let key = self.talk_of(text);
        match (text.method(), key) {
            ("INVITE", None) => self.incoming(now, text),
            ("INVITE", Some(key)) => self.invited_again(now, key, text),
            ("ACK", Some(key)) => self.acknowledged(now, key),
            ("ACK", None) => {}
            ("BYE", Some(key)) => {
                self.reply(text, 200, "", "");
                if self.talks.get(&key).is_some_and(|t| t.stage != Stage::Gone) {
                    self.see(now, Seen::ByePeer);
                    self.end(key);
                }
            }
            ("CANCEL", Some(key)) => {
                self.reply(text, 200, "", "");
                self.cancelled_by_peer(now, key);
            }
            ("NOTIFY", Some(_)) => {
                self.reply(text, 200, "", "");
                if let Some(status) = Text::fragment_status(&text.body) {
                    self.see(now, Seen::Notified(status));
                }
            }
            ("OPTIONS" | "INFO", Some(key))
                if self.talks.get(&key).is_some_and(|t| t.stage != Stage::Gone) =>
            {
                self.reply(text, 200, "", "");
                if let Some(key) = text.body.lines().find_map(|l| l.strip_prefix("Signal=")?.chars().next()) {
                    self.see(now, Seen::Info(key));
                }
            }
            (_, _) => self.reply(text, 481, "", ""),
        }
    }

    fn incoming(&mut self, now: Instant, text: &Text) {
        if parameter(text.get("To"), "tag").is_some() {
            return self.reply(text, 481, "", "");
        }
        let tag = self.rng.token(10);
        let local = format!("{};tag={tag}", text.get("To"));
        let (id, remote, target) = (text.get("Call-ID"), text.get("From"), text.contact());
        let key =
            self.add_talk(id.to_owned(), local, remote.to_owned(), target.to_owned(), Stage::RingingHere);
        if let Some(talk) = self.talks.get_mut(&key) {
            talk.invite_cseq = text.cseq();
            talk.invite = text.branch().to_owned();
            talk.invite_text = Some(text.clone());
            talk.remote_audio = text.audio();
        }
        self.see(now, Seen::Invited);
        let ring = |phone: &mut Self| phone.respond_invite(key, 180, "");
        match self.script.manner {
            Manner::Dead => self.end(key),
            Manner::Busy => self.refuse(now, key, 486),
            Manner::Declines => self.refuse(now, key, 603),
            Manner::Refuses(status) => self.refuse(now, key, status),
            Manner::NeverAnswers => ring(self),
            Manner::RingsThenDeclines(after) => {
                ring(self);
                self.alarm(now + after, Alarm::Decline(key));
            }
            Manner::Answers(after) | Manner::AnswersAndHangsUp(after) | Manner::AnswersBadly(after) => {
                ring(self);
                self.alarm(now + after, Alarm::Answer(key));
            }
        }
    }

    pub(super) fn refuse(&mut self, now: Instant, key: u64, status: u16) {
        if self.talks.get(&key).is_none_or(|t| t.stage != Stage::RingingHere) {
            return;
        }
        self.respond_invite(key, status, "");
        self.wait_for_ack(now, key, Stage::RefusedHere);
    }

    pub(super) fn answer(&mut self, now: Instant, key: u64) {
        if self.talks.get(&key).is_none_or(|t| t.stage != Stage::RingingHere) {
            return;
        }
        let body = match self.script.manner {
            Manner::AnswersBadly(_) => "v=0\r\nm=video 9 RTP/AVP 31\r\n".to_owned(),
            _ => self.session(key, "sendrecv"),
        };
        self.respond_invite(key, 200, &body);
        self.wait_for_ack(now, key, Stage::AnsweredHere);
        if matches!(self.script.manner, Manner::AnswersAndHangsUp(_)) {
            self.bye(now, key);
        }
    }

    fn wait_for_ack(&mut self, now: Instant, key: u64, stage: Stage) {
        if let Some(talk) = self.talks.get_mut(&key) {
            talk.stage = stage;
            talk.interval = T1;
            talk.until = Some(now + 64 * T1);
        }
        self.alarm(now + T1, Alarm::Repeat(key));
    }

    /// RFC 3261 13.3.1.4 and 17.2.1: a final response is repeated until its ACK; an answered call without
    /// one ends.
    pub(super) fn repeat_answer(&mut self, now: Instant, key: u64) {
        let Some(talk) = self.talks.get_mut(&key) else { return };
        if !matches!(talk.stage, Stage::AnsweredHere | Stage::RefusedHere) {
            return;
        }
        if talk.until.is_some_and(|until| now < until) {
            talk.interval = (talk.interval * 2).min(T2);
            let next = now + talk.interval;
            self.out.extend(talk.last_response.clone());
            return self.alarm(next, Alarm::Repeat(key));
        }
        match talk.stage {
            Stage::AnsweredHere => self.bye(now, key),
            _ => self.end(key),
        }
    }

    fn invited_again(&mut self, now: Instant, key: u64, text: &Text) {
        let Some(talk) = self.talks.get_mut(&key) else { return };
        if talk.invite == text.branch() && !talk.outgoing {
            self.out.extend(talk.last_response.clone());
            return;
        }
        if matches!(talk.stage, Stage::Gone | Stage::Leaving) {
            return self.reply(text, 481, "", "");
        }
        talk.remote_audio = text.audio().or(talk.remote_audio);
        let body = self.session(key, "sendrecv");
        self.reply(text, 200, SESSION, &body);
        let _ = now;
    }

    fn acknowledged(&mut self, now: Instant, key: u64) {
        let Some(talk) = self.talks.get_mut(&key) else { return };
        match talk.stage {
            Stage::AnsweredHere => {
                talk.stage = Stage::Up;
                self.see(now, Seen::Up);
                self.plan_deeds(now, key);
            }
            Stage::RefusedHere => self.end(key),
            Stage::Dialling | Stage::RingingHere | Stage::Up | Stage::Leaving | Stage::Gone => {}
        }
    }

    fn cancelled_by_peer(&mut self, now: Instant, key: u64) {
        if self.talks.get(&key).is_some_and(|t| t.stage == Stage::RingingHere) {
            self.see(now, Seen::Cancelled);
            self.refuse(now, key, 487);
        }
    }

    fn respond_invite(&mut self, key: u64, status: u16, body: &str) {
        let Some(invite) = self.talks.get(&key).and_then(|t| t.invite_text.clone()) else { return };
        let kind = if body.is_empty() { "" } else { SESSION };
        let bytes = self.response_text(&invite, status, kind, body);
        if let Some(talk) = self.talks.get_mut(&key) {
            talk.last_response = Some(bytes.clone());
        }
        self.out.push_back(bytes);
    }

    /// Answers at once; a repetition of the request gets the same again (17.2.2).
    fn reply(&mut self, request: &Text, status: u16, extra: &str, body: &str) {
        let word = format!("{} {}", request.method(), request.branch());
        let key = self.talk_of(request);
        let known = key.and_then(|k| self.talks.get(&k)).and_then(|t| t.answers.get(&word).cloned());
        let bytes = known.unwrap_or_else(|| self.response_text(request, status, extra, body));
        if let Some(talk) = key.and_then(|k| self.talks.get_mut(&k)) {
            talk.answers.insert(word, bytes.clone());
        }
        self.out.push_back(bytes);
    }
}
