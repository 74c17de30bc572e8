//! The phone's registration with the switch: made, refreshed, taken back (RFC 3261 10).

use std::time::Duration;

use super::happening::Happening;
use super::io::{Account, Ending};
use super::{Course, Owner, Phone, What};
use crate::base::id::Rng;
use crate::base::time::Now;
use crate::sip::digest::Credentials;
use crate::sip::endpoint::OutRequest;
use crate::sip::flow::Transport;
use crate::sip::header::{NameAddr, number_below};
use crate::sip::header_ext::seconds;
use crate::sip::uri::{Host, Uri};
use crate::sip::wire::message::{Headers, Method};

/// How long a registration is asked to hold.
const EXPIRES: Duration = Duration::from_secs(300);
/// The pause before a lost registration is tried again; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

pub(super) struct Registration {
    account: Account,
    call_id: String,
    cseq: u32,
    expires: Duration,
    state: State,
    pause: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not yet, or no longer.
    Without,
    Asking {
        number: u64,
        /// It holds meanwhile.
        refresh: bool,
    },
    Held,
    Leaving {
        number: u64,
    },
}

impl Account {
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
        format!("<{uri}>")
    }
}

impl Registration {
    pub(super) fn new(account: Account, rng: &mut Rng) -> Self {
        Self {
            account,
            call_id: rng.token(28),
            cseq: 1,
            expires: EXPIRES,
            state: State::Without,
            pause: FIRST_PAUSE,
        }
    }

    /// Nothing is asked and nothing held.
    pub(super) fn is_over(&self) -> bool {
        self.state == State::Without
    }

    fn request(&mut self, expires: Duration) -> OutRequest {
        let account = &self.account;
        let aor = format!("<{}>", account.aor());
        let cseq = self.cseq;
        // The answer to a challenge takes the next number.
        self.cseq += 2;
        OutRequest {
            to: account.switch.to,
            local: account.switch.local,
            method: Method::REGISTER,
            request_uri: format!("sip:{}", account.switch.host),
            from: aor.clone(),
            to_header: aor,
            call_id: self.call_id.clone(),
            cseq,
            extra: vec![("Contact", account.contact()), ("Expires", expires.as_secs().to_string())],
            credentials: Some(Credentials {
                username: account.name.clone(),
                password: account.password.clone(),
                realm: None,
            }),
        }
    }

    /// For how long the registrar holds it (10.2.1.1): our Contact says it, else the header.
    fn granted(&self, headers: &Headers) -> Duration {
        let ours = NameAddr::parse(&self.account.contact()).ok();
        let contacts = headers.all("Contact").flat_map(crate::sip::header::split_list);
        let mut contacts = contacts.filter_map(|value| NameAddr::parse(value).ok());
        let own = contacts.find(|c| ours.as_ref().is_some_and(|o| c.uri.equivalent(&o.uri)));
        let of_contact = own.and_then(|c| number_below(c.params.get("expires")?, 1 << 32).ok());
        let of_header = headers.get("Expires").and_then(|v| seconds(v).ok()).map(u64::from);
        of_contact.or(of_header).map_or(self.expires, Duration::from_secs)
    }
}

impl Phone {
    pub(super) fn register(&mut self, now: Now) {
        let Some(registration) = &mut self.registration else { return };
        let refresh = registration.state == State::Held;
        let request = registration.request(registration.expires);
        // A full table answers like a busy registrar.
        match self.endpoint.request(now, request) {
            Ok(number) => registration.state = State::Asking { number, refresh },
            Err(_) => self.not_registered(now, 503),
        }
    }

    pub(super) fn registrar_replied(&mut self, now: Now, number: u64, status: u16, headers: &Headers) {
        let Some(registration) = &mut self.registration else { return };
        match registration.state {
            State::Asking { number: asked, refresh } if asked == number => match status {
                200..=299 => self.registered(now, refresh, headers),
                423 => self.too_brief(now, headers),
                status => self.not_registered(now, status),
            },
            State::Leaving { number: asked } if asked == number => {
                registration.state = State::Without;
                if status < 300 {
                    self.tell(Happening::Unregistered);
                }
            }
            State::Without | State::Held | State::Asking { .. } | State::Leaving { .. } => {}
        }
    }

    fn registered(&mut self, now: Now, refresh: bool, headers: &Headers) {
        let Some(registration) = &mut self.registration else { return };
        let granted = registration.granted(headers);
        (registration.state, registration.pause) = (State::Held, FIRST_PAUSE);
        let line = registration.account.name.clone();
        if self.course == Course::Ending {
            return self.unregister(now);
        }
        self.timers.set(Owner::Phone, What::Refresh, now.at + granted.mul_f64(0.8).max(FIRST_PAUSE));
        if !refresh {
            self.tell(Happening::Registered { line, seconds: granted.as_secs() });
        }
        self.run(now);
    }

    /// The registrar wants fewer refreshes (10.3 step 7); asked for its own least, it must be content.
    fn too_brief(&mut self, now: Now, headers: &Headers) {
        let least = headers.get("Min-Expires").and_then(|v| seconds(v).ok()).map(u64::from);
        let Some(registration) = &mut self.registration else { return };
        match least.map(Duration::from_secs).filter(|least| *least > registration.expires) {
            Some(least) => {
                registration.expires = least;
                self.register(now);
            }
            None => self.not_registered(now, 423),
        }
    }

    /// At the start this is the end; later it is tried again.
    fn not_registered(&mut self, now: Now, status: u16) {
        let Some(registration) = &mut self.registration else { return };
        registration.state = State::Without;
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
                let again_in = registration.pause;
                registration.pause = (again_in * 2).min(LONGEST_PAUSE);
                self.tell(Happening::RegistrationLost { again_in });
                self.timers.set(Owner::Phone, What::Refresh, now.at + again_in);
            }
            Course::Ending | Course::Done => {}
        }
    }

    /// A connection is gone, and with it the way over which the switch reached us (RFC 5626 4.2).
    pub(super) fn connection_lost(&mut self, now: Now) {
        let over_stream = |r: &Registration| r.account.switch.to.transport().is_reliable();
        let held = |r: &Registration| r.state == State::Held;
        if self.registration.as_ref().is_some_and(|r| over_stream(r) && held(r)) {
            self.not_registered(now, 503);
        }
    }

    pub(super) fn unregister(&mut self, now: Now) {
        self.timers.cancel(Owner::Phone, What::Refresh);
        let Some(registration) = &mut self.registration else { return };
        match registration.state {
            State::Held => {
                let request = registration.request(Duration::ZERO);
                registration.state = match self.endpoint.request(now, request) {
                    Ok(number) => State::Leaving { number },
                    Err(_) => State::Without,
                };
            }
            // It is taken back as soon as it is there.
            State::Asking { .. } | State::Without | State::Leaving { .. } => {}
        }
    }
}

/// A line's name as a URI writes it.
fn user_part(name: &str) -> String {
    let uri = Uri::sip(name, Host::Name("x".into()), None).to_string();
    uri.strip_prefix("sip:").and_then(|u| u.strip_suffix("@x")).unwrap_or(name).to_owned()
}
