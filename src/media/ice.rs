//! ICE of one leg as a lite agent (RFC 8445 2.5): the peer checks, we answer; only an address from which a check
//! came that our password signed is the peer's. The pair that the peer nominated last is where its media goes, for
//! as long as it goes on checking (RFC 7675). Sans-IO.
//!
//! A check's signature does not cover the address that it comes from, and a lite agent asks nothing back: who sees a
//! check can send it again from anywhere. So, once there are keys, we go to another address only when something that
//! the peer's keys open has come from there too. A browser that changes its network sends from the new pair at once;
//! that consent is said again at the old address by a copy can't be told, and serves nobody.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::command::IceWords;
use super::stun::{self, Credentials, Read, Refusal};
use crate::base::quiet::quiet_debug;
use crate::base::stun::Writing;

/// Addresses of the peer that are kept: a browser has some interfaces, each perhaps behind a translator. Beyond, the
/// one that has been quiet for longest goes, and last those of which the keys have told that they are the peer's.
const MOST_SOURCES: usize = 8;
/// So long after its last check the peer no longer agrees to hear us (RFC 7675 5.1).
const CONSENT: Duration = Duration::from_secs(30);
/// DTLS a second of one address that is looked at; a handshake needs some dozens.
const MOST_RECORDS: u8 = 100;
/// Refusals a second that a stranger may make us send; a peer whose first check comes before our answer needs few.
const MOST_REFUSALS: u8 = 10;

pub struct Ice {
    words: IceWords,
    sources: Vec<Source>,
    selected: Option<Selected>,
    /// There are keys by which the peer can be told from who copies its checks.
    keyed: bool,
    /// Refusals since the second began.
    refusals: (Instant, u8),
    /// Datagrams like STUN of nobody who knows our password.
    strangers: u64,
}

#[derive(Clone, Copy)]
struct Source {
    address: SocketAddr,
    checked_at: Instant,
    /// When the peer last said there that it uses this pair.
    nominated_at: Option<Instant>,
    /// Something came from there that the peer's keys open.
    proven: bool,
    /// DTLS since the second began.
    records: (Instant, u8),
}

#[derive(Clone, Copy)]
struct Selected {
    address: SocketAddr,
    /// When the peer last said that it uses this pair, by the words of today. Before that it is the first that passed
    /// (RFC 8445 12.1 lets us use it).
    nominated_at: Option<Instant>,
    /// When the peer last agreed to hear us there, by the words of before a restart or of after it.
    checked_at: Instant,
    proven: bool,
}

impl Ice {
    pub fn new(now: Instant, words: IceWords) -> Self {
        Self { words, sources: Vec::new(), selected: None, keyed: false, refusals: (now, 0), strangers: 0 }
    }

    /// A later exchange: other words are a restart (RFC 8445 9). What was selected stays until the peer nominates
    /// by the new ones.
    pub fn set_words(&mut self, words: IceWords) {
        if self.words != words {
            self.words = words;
            self.sources.clear();
            if let Some(selected) = &mut self.selected {
                selected.nominated_at = None;
            }
        }
    }

    /// There are keys now; or others are being agreed on, and the old ones do not speak for who is to have them.
    pub fn set_keyed(&mut self, keyed: bool) {
        self.keyed = keyed;
        self.sources.iter_mut().for_each(|source| source.proven = false);
        if let Some(selected) = &mut self.selected {
            selected.proven = false;
        }
    }

    /// The peer's keys have opened what came from there: it is no copy of a check that lets us send there.
    pub fn prove(&mut self, address: SocketAddr) {
        let source = self.sources.iter_mut().find(|source| source.address == address);
        let source = source.map(|source| {
            source.proven = true;
            *source
        });
        if let Some(selected) = self.selected.as_mut().filter(|selected| selected.address == address) {
            selected.proven = true;
            return;
        }
        let Some(Source { nominated_at: Some(nominated_at), checked_at, .. }) = source else { return };
        // The later nomination of two that are proven; of one that is not, it may be a copy's.
        let stays = |s: Selected| s.proven && s.nominated_at.is_some_and(|before| before > nominated_at);
        if !self.selected.is_some_and(stays) {
            self.selected =
                Some(Selected { address, nominated_at: Some(nominated_at), checked_at, proven: true });
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

    /// Whether a record of a handshake is to be looked at: of whom we know, and not too many of each.
    pub fn admits_record(&mut self, now: Instant, from: SocketAddr) -> bool {
        let Some(source) = self.sources.iter_mut().find(|source| source.address == from) else {
            return false;
        };
        let (since, count) = &mut source.records;
        if now.saturating_duration_since(*since) >= Duration::from_secs(1) {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= MOST_RECORDS
    }

    fn is_selected(&self, address: SocketAddr) -> bool {
        self.selected.is_some_and(|selected| selected.address == address)
    }

    fn checked(&mut self, now: Instant, from: SocketAddr, nominates: bool) {
        let nominated_at = nominates.then_some(now);
        if let Some(known) = self.sources.iter_mut().find(|source| source.address == from) {
            known.checked_at = now;
            known.nominated_at = nominated_at.or(known.nominated_at);
        } else {
            self.make_room();
            let records = (now, 0);
            self.sources.push(Source {
                address: from,
                checked_at: now,
                nominated_at,
                proven: false,
                records,
            });
        }
        if let Some(selected) = self.selected.as_mut().filter(|selected| selected.address == from) {
            selected.checked_at = now;
            selected.nominated_at = nominated_at.or(selected.nominated_at);
        } else if self.may_move(now, nominates) {
            self.selected = Some(Selected { address: from, nominated_at, checked_at: now, proven: false });
        }
    }

    /// Whether a check from elsewhere than where we send is enough to send there.
    fn may_move(&self, now: Instant, nominates: bool) -> bool {
        match self.selected {
            None => true,
            Some(_) if self.keyed => false,
            Some(selected) => nominates || (selected.nominated_at.is_none() && self.selected(now).is_none()),
        }
    }

    fn make_room(&mut self) {
        if self.sources.len() < MOST_SOURCES {
            return;
        }
        let quiet = |(_, source): &(usize, &Source)| {
            (self.is_selected(source.address), source.proven, source.checked_at)
        };
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
#[path = "ice_tests.rs"]
mod tests;
