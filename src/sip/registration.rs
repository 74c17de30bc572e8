//! Registering with a registrar (RFC 3261 10.2): one contact of ours, asked for, refreshed and taken back.

use std::time::Duration;

use super::digest::Credentials;
use super::endpoint::OutRequest;
use super::flow::Destination;
use super::header::{NameAddr, number_below, split_list};
use super::header_ext::seconds;
use super::wire::message::{Headers, Method};
use crate::base::id::Rng;
use std::net::SocketAddr;

/// The pause before a registration that was lost or refused is tried again; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// What is registered, and where. No `Debug`: it has a password.
#[derive(Clone)]
pub struct Account {
    /// Request-URI: the registrar's domain.
    pub registrar: String,
    /// Address of record, a URI.
    pub aor: String,
    /// Our Contact, a URI.
    pub contact: String,
    pub to: Destination,
    /// Host and port written in Via.
    pub local: SocketAddr,
    pub credentials: Option<Credentials>,
}

/// What became of a request of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// The answer to something else.
    NotOurs,
    /// It holds for so long. `first`: it did not before.
    Held {
        granted: Duration,
        first: bool,
    },
    /// The registrar wants it asked for longer, or anew: `ask` again now.
    Again,
    Refused {
        status: u16,
    },
    /// Taken back; `said`: the registrar has confirmed it.
    Left {
        said: bool,
    },
}

/// One registration. See the head of the file.
pub struct Registration {
    account: Account,
    call_id: String,
    cseq: u32,
    expires: Duration,
    state: State,
    pause: Duration,
    longest_pause: Duration,
    /// The registrar has had its longer time since it last took us.
    raised: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not yet, or no longer.
    Without,
    /// `refresh`: it holds meanwhile.
    Asking {
        number: u64,
        refresh: bool,
    },
    Held,
    Leaving {
        number: u64,
    },
}

impl Registration {
    /// `expires`: for how long it is asked each time. `longest_pause`: bound of the pause after a failure.
    pub fn new(account: Account, expires: Duration, longest_pause: Duration, rng: &mut Rng) -> Self {
        Self {
            account,
            call_id: rng.token(28),
            cseq: 1,
            expires,
            state: State::Without,
            pause: FIRST_PAUSE,
            longest_pause,
            raised: false,
        }
    }

    /// The same at another place: the registrar's next machine.
    pub fn move_to(&mut self, account: Account) {
        self.account = account;
    }

    /// The request that asks for it or refreshes it; say with `asked` what number it was sent under.
    pub fn ask(&mut self) -> OutRequest {
        self.request(self.expires)
    }

    /// `None`: there was no room for the request.
    pub fn asked(&mut self, number: Option<u64>) {
        let refresh = self.is_held();
        self.state = number.map_or(State::Without, |number| State::Asking { number, refresh });
    }

    /// The request that takes it back, when there is something to take back; say with `left` what number it has.
    pub fn leave(&mut self) -> Option<OutRequest> {
        (self.state == State::Held).then(|| self.request(Duration::ZERO))
    }

    pub fn left(&mut self, number: Option<u64>) {
        self.state = number.map_or(State::Without, |number| State::Leaving { number });
    }

    /// An answer has come.
    pub fn replied(&mut self, number: u64, status: u16, headers: &Headers) -> Reply {
        match self.state {
            State::Asking { number: asked, refresh } if asked == number => match status {
                200..=299 => {
                    (self.state, self.pause, self.raised) = (State::Held, FIRST_PAUSE, false);
                    Reply::Held { granted: self.granted(headers), first: !refresh }
                }
                423 if self.takes_longer(headers) => Reply::Again,
                status => {
                    self.state = State::Without;
                    Reply::Refused { status }
                }
            },
            State::Leaving { number: asked } if asked == number => {
                self.state = State::Without;
                Reply::Left { said: status < 300 }
            }
            State::Without | State::Held | State::Asking { .. } | State::Leaving { .. } => Reply::NotOurs,
        }
    }

    /// It no longer holds. The pause after which it is asked for again.
    pub fn lost(&mut self) -> Duration {
        self.state = State::Without;
        let pause = self.pause;
        self.pause = (pause * 2).min(self.longest_pause);
        pause
    }

    /// When to refresh one that was granted for so long.
    pub fn refresh_in(granted: Duration) -> Duration {
        granted.mul_f64(0.8).max(FIRST_PAUSE)
    }

    /// It holds, as far as we know: also while it is refreshed.
    pub fn is_held(&self) -> bool {
        matches!(self.state, State::Held | State::Asking { refresh: true, .. })
    }

    /// Nothing is asked and nothing held.
    pub fn is_over(&self) -> bool {
        self.state == State::Without
    }

    pub fn account(&self) -> &Account {
        &self.account
    }

    fn request(&mut self, expires: Duration) -> OutRequest {
        let account = &self.account;
        let aor = format!("<{}>", account.aor);
        let cseq = self.cseq;
        // The answer to a challenge takes the next number.
        self.cseq += 2;
        OutRequest {
            to: account.to,
            local: account.local,
            method: Method::REGISTER,
            request_uri: account.registrar.clone(),
            from: aor.clone(),
            to_header: aor,
            call_id: self.call_id.clone(),
            cseq,
            extra: vec![
                ("Contact", format!("<{}>", account.contact)),
                ("Expires", expires.as_secs().to_string()),
            ],
            credentials: account.credentials.clone(),
        }
    }

    /// The registrar wants fewer refreshes (10.3 step 7); asked for its own least, it must be content.
    fn takes_longer(&mut self, headers: &Headers) -> bool {
        let least = headers.get("Min-Expires").and_then(|v| seconds(v).ok()).map(u64::from);
        let longer = least.map(Duration::from_secs).filter(|least| *least > self.expires && !self.raised);
        self.expires = longer.unwrap_or(self.expires);
        self.raised |= longer.is_some();
        longer.is_some()
    }

    /// For how long the registrar holds it (10.2.1.1): our Contact says it, else the header.
    fn granted(&self, headers: &Headers) -> Duration {
        let ours = NameAddr::parse(&format!("<{}>", self.account.contact)).ok();
        let mut contacts =
            headers.all("Contact").flat_map(split_list).filter_map(|value| NameAddr::parse(value).ok());
        let own = contacts.find(|c| ours.as_ref().is_some_and(|o| c.uri.equivalent(&o.uri)));
        let of_contact = own.and_then(|c| number_below(c.params.get("expires")?, 1 << 32).ok());
        let of_header = headers.get("Expires").and_then(|v| seconds(v).ok()).map(u64::from);
        of_contact.or(of_header).map_or(self.expires, Duration::from_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::flow::Transport;

    fn registration() -> Registration {
        let at: SocketAddr = ([192, 0, 2, 1], 5060).into();
        let account = Account {
            registrar: "sip:carrier.example".into(),
            aor: "sip:u@carrier.example".into(),
            contact: "sip:u@192.0.2.9:5060".into(),
            to: Destination::address(Transport::Udp, at),
            local: at,
            credentials: None,
        };
        Registration::new(
            account,
            Duration::from_secs(600),
            Duration::from_secs(60),
            &mut Rng::from_number(1),
        )
    }

    fn headers(fields: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::new();
        fields.iter().for_each(|(name, value)| headers.push(name, *value));
        headers
    }

    #[test]
    fn rfc_3261_10_2_asked_held_refreshed_and_taken_back() {
        let mut r = registration();
        let first = r.ask();
        r.asked(Some(1));
        assert!(!r.is_held() && r.replied(9, 200, &Headers::new()) == Reply::NotOurs);
        let listed = headers(&[("Contact", "<sip:x@h>;expires=9, <sip:u@192.0.2.9:5060>;expires=300")]);
        let granted = Duration::from_secs(300);
        assert_eq!(r.replied(1, 200, &listed), Reply::Held { granted, first: true });
        let second = r.ask();
        assert!(
            first.call_id == second.call_id && second.cseq > first.cseq + 1,
            "room for the answer to a challenge"
        );
        r.asked(Some(2));
        assert!(r.is_held(), "it holds while it is refreshed");
        assert_eq!(r.replied(2, 200, &listed), Reply::Held { granted, first: false });
        let last = r.leave();
        assert!(last.is_some_and(|last| last.extra.contains(&("Expires", "0".to_owned()))));
        r.left(Some(3));
        assert_eq!(r.replied(3, 200, &Headers::new()), Reply::Left { said: true });
        assert!(r.is_over() && r.leave().is_none());
    }

    #[test]
    fn rfc_3261_10_3_a_registrar_has_its_own_least_once_and_is_then_refused() {
        let mut r = registration();
        r.ask();
        for (number, least, reply) in [
            (1, "900", Reply::Again),
            (2, "901", Reply::Refused { status: 423 }),
            (3, "902", Reply::Refused { status: 423 }),
        ] {
            r.asked(Some(number));
            assert_eq!(r.replied(number, 423, &headers(&[("Min-Expires", least)])), reply, "{least}");
        }
        assert!(r.ask().extra.contains(&("Expires", "900".to_owned())));
    }

    #[test]
    fn the_pauses_after_failures_grow_to_their_bound_and_begin_anew_once_it_holds() {
        let mut r = registration();
        let pauses: Vec<u64> = (0..7).map(|_| r.lost().as_secs()).collect();
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60]);
        r.asked(Some(1));
        assert!(matches!(r.replied(1, 200, &Headers::new()), Reply::Held { .. }));
        assert_eq!(r.lost().as_secs(), 2);
    }
}
