//! Session timers (RFC 4028) of the endpoint's calls: what requests and answers say of them, the refresh, and
//! the end of a session that nobody refreshed.

use std::time::{Duration, Instant};

use super::call::{Exchange, Stage};
use super::{DialogKey, Endpoint, Event, Headers, Method, Now, Owner, Response, User, What};
use crate::sip::dialog::session_timer::{LEAST, Refresher, SessionTimer, TooBrief, in_request, min_se};
use crate::sip::header::split_list;

/// When a refresh that could not be sent, or was refused, is tried again: this part of the interval.
const AGAIN: u32 = 8;

/// What one call knows of its session timer.
pub(super) struct Session {
    /// What our answer to the peer's request will say.
    asked: Option<SessionTimer>,
    /// In force, and when the session is over without another refresh.
    running: Option<(SessionTimer, Instant)>,
    /// The least interval that the way to the peer takes (422).
    least: Duration,
    /// The peer takes UPDATE, which needs no new offer.
    by_update: bool,
}

impl Session {
    pub(super) fn new() -> Self {
        Self { asked: None, running: None, least: LEAST, by_update: false }
    }

    /// As with a peer that does not take UPDATE.
    #[cfg(test)]
    pub(super) fn without_update(interval: Duration, now: Instant) -> Self {
        let timer = SessionTimer { interval, refresher: Refresher::Us };
        Self { running: Some((timer, now + interval)), ..Self::new() }
    }

    /// Notes what a request of the peer asks for. `wish`: see `Config`.
    pub(super) fn hear(&mut self, headers: &Headers, wish: Duration) -> Result<(), TooBrief> {
        self.hear_allow(headers);
        self.asked = if wish.is_zero() { None } else { SessionTimer::of_request(headers, wish)? };
        Ok(())
    }

    fn hear_allow(&mut self, headers: &Headers) {
        if headers.get("Allow").is_some() {
            let mut methods = headers.all("Allow").flat_map(split_list);
            self.by_update = methods.any(|method| method.trim() == "UPDATE");
        }
    }
}

/// What a refusal of `TooBrief` says beside 422 (RFC 4028 6).
pub(super) fn too_brief(brief: TooBrief) -> (&'static str, String) {
    ("Min-SE", brief.least.as_secs().to_string())
}

impl Endpoint {
    /// What an INVITE, re-INVITE or UPDATE of ours says of session timers.
    pub(super) fn session_request(&self, session: Option<&Session>) -> Vec<(&'static str, String)> {
        let wish = self.config.session;
        if wish.is_zero() {
            return Vec::new();
        }
        let running = session.and_then(|s| s.running).map(|(timer, _)| timer.refresher);
        in_request(wish, session.map_or(LEAST, |s| s.least), running)
    }

    /// What our 2xx to the peer's request says; from here on it is in force.
    pub(super) fn session_answer(&mut self, now: Now, key: DialogKey) -> Vec<(&'static str, String)> {
        let Some(call) = self.calls.get_mut(&key) else { return Vec::new() };
        let asked = call.session.asked.take();
        self.run_session(now, key, asked);
        asked.map(|timer| timer.in_response()).unwrap_or_default()
    }

    /// The peer's 2xx to a request of ours.
    pub(super) fn session_answered(&mut self, now: Now, key: DialogKey, headers: &Headers) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        call.session.hear_allow(headers);
        let agreed = if self.config.session.is_zero() { None } else { SessionTimer::of_response(headers) };
        self.run_session(now, key, agreed);
    }

    fn run_session(&mut self, now: Now, key: DialogKey, timer: Option<SessionTimer>) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        call.session.running = timer.map(|timer| (timer, now.at + timer.interval));
        match timer {
            Some(timer) => self.timers.set(Owner::Call(key), What::Session, now.at + timer.due()),
            None => self.timers.cancel(Owner::Call(key), What::Session),
        }
    }

    pub(super) fn session_due(&mut self, now: Now, key: DialogKey) {
        let Some(call) = self.calls.get(&key) else { return };
        let Some((timer, over)) = call.session.running else { return };
        if timer.refresher == Refresher::Them || now.at >= over {
            return self.peer_gone(now, key);
        }
        let again = (now.at + timer.interval / AGAIN).min(over);
        self.timers.set(Owner::Call(key), What::Session, again);
        let free = matches!(call.stage, Stage::Up)
            && matches!(call.exchange, Exchange::Idle)
            && call.ok.is_none()
            && !call.silent;
        if free {
            self.refresh(now, key);
        }
    }

    /// By UPDATE without an offer where the peer takes it, else the user is asked for an offer (7.4).
    fn refresh(&mut self, now: Now, key: DialogKey) {
        let Some(call) = self.calls.get(&key) else { return };
        if !call.session.by_update {
            return self.events.push_back(Event::RefreshDue { dialog: key });
        }
        let mut fields = vec![("Contact", call.contact.clone()), ("Supported", self.supported().to_owned())];
        fields.extend(self.session_request(Some(&call.session)));
        self.send_within(now, key, Method::UPDATE, &fields, None, User::Refresh(key));
    }

    pub(super) fn refresh_answered(&mut self, now: Now, key: DialogKey, status: u16, headers: &Headers) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        match status {
            100..=199 => {}
            200..=299 => {
                if let Some(dialog) = call.dialog.as_mut() {
                    dialog.refresh_target(headers);
                }
                self.session_answered(now, key, headers);
            }
            408 | 481 => self.peer_gone(now, key),
            405 | 501 => {
                call.session.by_update = false;
                self.refresh(now, key);
            }
            // The timer tries again, and ends the session when its time is over.
            _ => {}
        }
    }

    /// A 422 to a request of ours: the same again with the interval that it names. False: it says nothing new.
    pub(super) fn heard_too_brief(&mut self, key: DialogKey, response: &Response) -> bool {
        let Some(call) = self.calls.get_mut(&key) else { return false };
        let least = min_se(&response.headers);
        let more = least > call.session.least && !self.config.session.is_zero();
        call.session.least = call.session.least.max(least);
        more
    }
}
