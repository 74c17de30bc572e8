//! ICE of one leg as a lite agent (RFC 8445 2.5): the peer checks, we answer; only an address from which a check
//! came that our password signed is the peer's. The pair that the peer nominated last is where its media goes, for
//! as long as it goes on checking (RFC 7675). Sans-IO.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::command::IceWords;
use super::stun::{self, Credentials, Read, Refusal};
use crate::base::quiet::quiet_debug;
use crate::base::stun::Writing;

/// Addresses of the peer that are kept: a browser has some interfaces, each perhaps behind a translator. Beyond,
/// the one that has been quiet for longest goes.
const MOST_SOURCES: usize = 8;
/// So long after its last check the peer no longer agrees to hear us (RFC 7675 5.1).
const CONSENT: Duration = Duration::from_secs(30);
/// Refusals a second that a stranger may make us send; a peer whose first check comes before our answer needs few.
const MOST_REFUSALS: u8 = 10;

pub struct Ice {
    words: IceWords,
    sources: Vec<Source>,
    selected: Option<Selected>,
    /// Refusals since the second began.
    refusals: (Instant, u8),
    /// Datagrams like STUN of nobody who knows our password.
    strangers: u64,
}

#[derive(Clone, Copy)]
struct Source {
    address: SocketAddr,
    checked_at: Instant,
}

#[derive(Clone, Copy)]
struct Selected {
    address: SocketAddr,
    /// Before that it is the first that passed (RFC 8445 12.1 lets us use it).
    nominated: bool,
    /// When the peer last agreed to hear us there, by the words of before a restart or of after it.
    checked_at: Instant,
}

impl Ice {
    pub fn new(now: Instant, words: IceWords) -> Self {
        Self { words, sources: Vec::new(), selected: None, refusals: (now, 0), strangers: 0 }
    }

    /// A later exchange: other words are a restart (RFC 8445 9). What was selected stays until the peer nominates
    /// by the new ones.
    pub fn set_words(&mut self, words: IceWords) {
        if self.words != words {
            self.words = words;
            self.sources.clear();
            if let Some(selected) = &mut self.selected {
                selected.nominated = false;
            }
        }
    }

    /// Takes a datagram that begins as STUN does; what comes back goes to where it came from.
    pub fn handle(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Option<Writing> {
        let password = self.words.password.expose();
        let credentials =
            Credentials { ours: self.words.ours.as_bytes(), theirs: self.words.theirs.as_bytes(), password };
        match stun::read(datagram, &credentials) {
            Read::Check(check) => {
                let answer = stun::success(&check, from, password);
                self.checked(now, from, check.nominates);
                Some(answer)
            }
            Read::Refused(transaction, refusal) => {
                let answer = stun::refuse(transaction, refusal, password);
                self.may_refuse(now, refusal, datagram.len(), &answer).then_some(answer)
            }
            Read::Junk => {
                self.strangers += 1;
                None
            }
        }
    }

    /// Whether a check of the peer came from there.
    pub fn knows(&self, address: SocketAddr) -> bool {
        self.sources.iter().any(|source| source.address == address) || self.is_selected(address)
    }

    /// Where to send. `None` before the first check, and when the peer has ceased to check.
    pub fn selected(&self, now: Instant) -> Option<SocketAddr> {
        // After a restart the old pair lives on until another is there, but not without consent.
        let Selected { address, checked_at, .. } = self.selected?;
        (now.saturating_duration_since(checked_at) < CONSENT).then_some(address)
    }

    /// What came of no peer's; counted as the leg's other packets from elsewhere are.
    pub fn strangers(&self) -> u64 {
        self.strangers
    }

    fn is_selected(&self, address: SocketAddr) -> bool {
        self.selected.is_some_and(|selected| selected.address == address)
    }

    fn checked(&mut self, now: Instant, from: SocketAddr, nominates: bool) {
        let fresh = Source { address: from, checked_at: now };
        if let Some(known) = self.sources.iter_mut().find(|source| source.address == from) {
            *known = fresh;
        } else {
            self.make_room();
            self.sources.push(fresh);
        }
        let replaces = match self.selected {
            None => true,
            Some(selected) => nominates || (!selected.nominated && self.selected(now).is_none()),
        };
        if replaces {
            self.selected = Some(Selected { address: from, nominated: nominates, checked_at: now });
        } else if let Some(selected) = self.selected.as_mut().filter(|s| s.address == from) {
            selected.checked_at = now;
        }
    }

    fn make_room(&mut self) {
        if self.sources.len() < MOST_SOURCES {
            return;
        }
        let quiet = |(_, source): &(usize, &Source)| (self.is_selected(source.address), source.checked_at);
        if let Some((index, _)) = self.sources.iter().enumerate().min_by_key(quiet) {
            self.sources.swap_remove(index);
        }
    }

    /// No stranger makes us send more than came, or often (RFC 8445 19.5 on the use of checks in attacks).
    fn may_refuse(&mut self, now: Instant, refusal: Refusal, asked: usize, answer: &Writing) -> bool {
        match refusal {
            // Proven to be the peer.
            Refusal::Unsupported(..) | Refusal::Role => return true,
            Refusal::Unsigned | Refusal::Unknown => self.strangers += 1,
        }
        let (since, count) = &mut self.refusals;
        if now.saturating_duration_since(*since) >= Duration::from_secs(1) {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= MOST_REFUSALS && answer.bytes().len() <= asked
    }
}

quiet_debug!(Ice => "Ice");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;
    use crate::base::stun::{BINDING_ERROR, BINDING_SUCCESS, Message};
    use crate::base::time::Now;

    const PASSWORD: &[u8] = b"a password of two dozen octets";
    const NOMINATE: (u16, &[u8]) = (0x0025, &[]);

    fn words(ours: &str) -> IceWords {
        IceWords { ours: ours.into(), password: Secret::copy_of(PASSWORD), theirs: "peer".into() }
    }

    fn check(ours: &str, password: &[u8], attributes: &[(u16, &[u8])]) -> Vec<u8> {
        stun::ask(&Credentials { ours: ours.as_bytes(), theirs: b"peer", password }, attributes)
    }

    fn at(port: u16) -> SocketAddr {
        ([192, 0, 2, 7], port).into()
    }

    fn kind(answer: Option<&Writing>) -> Option<u16> {
        Message::parse(answer?.bytes()).map(|message| message.kind)
    }

    #[test]
    fn rfc_8445_the_first_pair_that_is_checked_serves_until_another_is_nominated() {
        let now = Now::read().at;
        let mut ice = Ice::new(now, words("us"));
        assert_eq!((ice.selected(now), ice.knows(at(1))), (None, false));
        for (port, attributes, selected) in
            [(1, &[][..], 1), (2, &[], 1), (2, &[NOMINATE], 2), (1, &[], 2), (3, &[NOMINATE], 3)]
        {
            let answer = ice.handle(now, at(port), &check("us", PASSWORD, attributes));
            assert_eq!(kind(answer.as_ref()), Some(BINDING_SUCCESS));
            assert_eq!((ice.selected(now), ice.knows(at(port))), (Some(at(selected)), true));
        }
    }

    #[test]
    fn forged_checks_latch_nothing_and_are_refused_seldom_and_briefly() {
        let now = Now::read().at;
        let mut ice = Ice::new(now, words("us"));
        let forged = check("us", b"guessed", &[NOMINATE]);
        let answers: Vec<Writing> = (0..50).filter_map(|_| ice.handle(now, at(9), &forged)).collect();
        assert_eq!(answers.len(), usize::from(MOST_REFUSALS));
        assert!(
            answers.iter().all(|a| kind(Some(a)) == Some(BINDING_ERROR) && a.bytes().len() <= forged.len())
        );
        assert_eq!((ice.selected(now), ice.knows(at(9)), ice.strangers()), (None, false, 50));
        // One that asks us by the name of another stream, and the next second.
        let later = now + Duration::from_secs(1);
        assert_eq!(kind(ice.handle(later, at(9), &check("me", PASSWORD, &[])).as_ref()), Some(BINDING_ERROR));
        assert!(ice.handle(later, at(9), &forged[..20]).is_none());
        assert_eq!((ice.selected(later), ice.knows(at(9))), (None, false));
    }

    #[test]
    fn rfc_7675_who_ceases_to_check_is_sent_nothing_until_it_checks_again() {
        let now = Now::read().at;
        let mut ice = Ice::new(now, words("us"));
        let bytes = check("us", PASSWORD, &[NOMINATE]);
        assert!(ice.handle(now, at(1), &bytes).is_some());
        assert_eq!(ice.selected(now + CONSENT / 2), Some(at(1)));
        assert_eq!(ice.selected(now + CONSENT), None);
        assert!(ice.handle(now + CONSENT * 2, at(1), &bytes).is_some());
        assert_eq!(ice.selected(now + CONSENT * 2), Some(at(1)));
    }

    #[test]
    fn rfc_8445_9_after_a_restart_the_old_pair_serves_until_the_new_words_nominate() {
        let now = Now::read().at;
        let mut ice = Ice::new(now, words("us"));
        assert!(ice.handle(now, at(1), &check("us", PASSWORD, &[NOMINATE])).is_some());
        ice.set_words(words("us"));
        ice.set_words(words("we"));
        let old = ice.handle(now, at(2), &check("us", PASSWORD, &[NOMINATE]));
        assert_eq!((kind(old.as_ref()), ice.selected(now)), (Some(BINDING_ERROR), Some(at(1))));
        assert_eq!(ice.selected(now + CONSENT), None, "nor for ever without checks");
        assert!(ice.handle(now, at(2), &check("we", PASSWORD, &[NOMINATE])).is_some());
        assert_eq!((ice.selected(now), ice.knows(at(1))), (Some(at(2)), false));
    }

    #[test]
    fn many_addresses_of_the_peer_never_drive_out_the_selected_one() {
        let now = Now::read().at;
        let mut ice = Ice::new(now, words("us"));
        assert!(ice.handle(now, at(1), &check("us", PASSWORD, &[NOMINATE])).is_some());
        for port in 2..100 {
            let later = now + Duration::from_millis(u64::from(port));
            assert!(ice.handle(later, at(port), &check("us", PASSWORD, &[])).is_some());
        }
        assert!(ice.sources.len() <= MOST_SOURCES && ice.knows(at(1)) && ice.knows(at(99)));
        assert_eq!(ice.selected(now + Duration::from_secs(1)), Some(at(1)));
    }
}
