//! The phone's registration with the switch: made, refreshed, taken back.

use std::time::Duration;

use super::happening::Happening;
use super::io::{self, Ending};
use super::{Course, Owner, Phone, What};
use crate::base::id::Rng;
use crate::base::time::Now;
use crate::sip::digest::Credentials;
use crate::sip::flow::Transport;
use crate::sip::registration::{Account, Registration, Reply};
use crate::sip::uri::{Host, Uri};
use crate::sip::wire::message::Headers;

/// How long a registration is asked to hold.
const EXPIRES: Duration = Duration::from_secs(300);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

impl io::Account {
    /// The address of record.
    pub(super) fn aor(&self) -> String {
        format!("sip:{}@{}", user_part(&self.name), self.switch.host)
    }

    fn contact(&self) -> String {
        let local = self.switch.local;
        let mut uri = Uri::sip(&self.name, Host::Address(local.ip()), Some(local.port()));
        if self.switch.to.transport() == Transport::Tcp {
            uri.params.set("transport", Some("tcp"));
        }
        uri.to_string()
    }
}

pub(super) fn registration(account: &io::Account, rng: &mut Rng) -> Registration {
    let account = Account {
        registrar: format!("sip:{}", account.switch.host),
        aor: account.aor(),
        contact: account.contact(),
        to: account.switch.to,
        local: account.switch.local,
        credentials: Some(Credentials {
            username: account.name.clone(),
            password: account.password.clone(),
            realm: None,
        }),
    };
    Registration::new(account, EXPIRES, LONGEST_PAUSE, rng)
}

impl Phone {
    pub(super) fn register(&mut self, now: Now) {
        let Some(registration) = &mut self.registration else { return };
        let request = registration.ask();
        // A full table answers like a busy registrar.
        let sent = self.endpoint.request(now, request);
        registration.asked(sent.as_ref().ok().copied());
        if sent.is_err() {
            self.not_registered(now, 503);
        }
    }

    pub(super) fn registrar_replied(&mut self, now: Now, number: u64, status: u16, headers: &Headers) {
        let Some(registration) = &mut self.registration else { return };
        match registration.replied(number, status, headers) {
            Reply::NotOurs | Reply::Left { said: false } => {}
            Reply::Held { granted, first } => self.registered(now, granted, first),
            Reply::Again => self.register(now),
            Reply::Refused { status } => self.not_registered(now, status),
            Reply::Left { said: true } => self.tell(Happening::Unregistered),
        }
    }

    fn registered(&mut self, now: Now, granted: Duration, first: bool) {
        if self.course == Course::Ending {
            return self.unregister(now);
        }
        self.timers.set(Owner::Phone, What::Refresh, now.at + Registration::refresh_in(granted));
        if first {
            let line = self.plan.account.as_ref().map(|account| account.name.clone()).unwrap_or_default();
            self.tell(Happening::Registered { line, seconds: granted.as_secs() });
        }
        self.run(now);
    }

    /// At the start this is the end; later it is tried again.
    fn not_registered(&mut self, now: Now, status: u16) {
        let Some(registration) = &mut self.registration else { return };
        let again_in = registration.lost();
        match self.course {
            Course::Starting => {
                if self.replied {
                    self.tell(Happening::RegistrationRefused { status });
                    self.judge(Ending::NotRegistered);
                } else {
                    self.tell(Happening::NoReply);
                    self.judge(Ending::NoReply);
                }
                self.end(now);
            }
            Course::Running => {
                self.tell(Happening::RegistrationLost { again_in });
                self.timers.set(Owner::Phone, What::Refresh, now.at + again_in);
            }
            Course::Ending | Course::Done => {}
        }
    }

    /// A connection is gone, and with it the way over which the switch reached us (RFC 5626 4.2).
    pub(super) fn connection_lost(&mut self, now: Now) {
        let over_stream = |r: &Registration| r.account().to.transport().is_reliable();
        if self.registration.as_ref().is_some_and(|r| over_stream(r) && r.is_held()) {
            self.not_registered(now, 503);
        }
    }

    /// One that is asked for now is taken back as soon as it is there.
    pub(super) fn unregister(&mut self, now: Now) {
        self.timers.cancel(Owner::Phone, What::Refresh);
        let Some(registration) = &mut self.registration else { return };
        if let Some(request) = registration.leave() {
            let sent = self.endpoint.request(now, request).ok();
            registration.left(sent);
        }
    }
}

/// A line's name as a URI writes it.
fn user_part(name: &str) -> String {
    let uri = Uri::sip(name, Host::Name("x".into()), None).to_string();
    uri.strip_prefix("sip:").and_then(|u| u.strip_suffix("@x")).unwrap_or(name).to_owned()
}
