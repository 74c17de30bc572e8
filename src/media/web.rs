//! How a browser's leg comes to its keys: ICE and DTLS on the port of its RTP (RFC 7983). The leg gives it what is
//! neither RTP nor RTCP, and takes from it where the browser is and what to encrypt with. Sans-IO.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::command::{Insecure, WebRtc};
use super::dtls::{Dtls, DtlsFault, Identity, ROOM, Step};
use super::ice::Ice;
use super::keying::Keying;
use crate::base::quiet::quiet_debug;

/// From the answer of the call to the keys. A browser on a bad network needs some seconds.
const SECURE_WITHIN: Duration = Duration::from_secs(15);
/// Datagrams of ours that wait to be taken: a flight has a handful.
const MOST_WAITING: usize = 32;

/// What a datagram is by its first octet (RFC 7983 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Stun,
    Dtls,
    /// RTP or RTCP, which its second octet says (RFC 5761 4).
    Media,
    Other,
}

impl Kind {
    pub fn of(datagram: &[u8]) -> Self {
        match datagram.first() {
            Some(0..=3) => Self::Stun,
            Some(20..=63) => Self::Dtls,
            Some(128..=191) => Self::Media,
            Some(_) | None => Self::Other,
        }
    }
}

/// See the module.
pub struct Web {
    identity: Arc<Identity>,
    agreed: WebRtc,
    ice: Ice,
    dtls: Dtls,
    keying: Option<Keying>,
    is_keyed: bool,
    secure_until: Instant,
    waiting: VecDeque<(SocketAddr, Vec<u8>)>,
    /// There will be no call; `true` once that is told.
    fault: Option<(Insecure, bool)>,
    strangers: u64,
}

impl Web {
    pub fn new(now: Instant, identity: Arc<Identity>, agreed: WebRtc) -> Self {
        Self {
            ice: Ice::new(now, agreed.ice.clone()),
            dtls: Dtls::new(now, &identity, agreed.role, agreed.fingerprint),
            identity,
            agreed,
            keying: None,
            is_keyed: false,
            secure_until: now + SECURE_WITHIN,
            waiting: VecDeque::new(),
            fault: None,
            strangers: 0,
        }
    }

    /// A later exchange. Another certificate or role is another association (RFC 8842 3.1). Where only the role is
    /// another, the old keys serve until it has new ones; to another certificate's owner the leg begins anew.
    pub fn agree(&mut self, now: Instant, agreed: WebRtc) {
        self.ice.set_words(agreed.ice.clone());
        if (agreed.role, agreed.fingerprint) != (self.agreed.role, self.agreed.fingerprint) {
            self.dtls = Dtls::new(now, &self.identity, agreed.role, agreed.fingerprint);
            (self.is_keyed, self.secure_until) = (false, now + SECURE_WITHIN);
            self.ice.set_keyed(false);
        }
        self.agreed = agreed;
        self.drain(now, None);
    }

    /// Takes a datagram that is no media.
    pub fn handle(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        match Kind::of(datagram) {
            Kind::Stun => {
                if let Some(answer) = self.ice.handle(now, from, datagram) {
                    say(&mut self.waiting, from, answer.bytes());
                }
                // When we open the association, this is the first that we know of where to.
                self.drain(now, None);
            }
            Kind::Dtls => self.on_record(now, from, datagram),
            Kind::Media | Kind::Other => self.strangers += 1,
        }
    }

    /// The clock: what was lost is said again; what takes too long is given up.
    pub fn on_time(&mut self, now: Instant) {
        self.dtls.on_time(now);
        self.drain(now, None);
        if !self.is_keyed && now >= self.secure_until {
            self.fail(Insecure::Late);
        }
    }

    /// Whether the peer checks from there: from nowhere else is its media.
    pub fn knows(&self, address: SocketAddr) -> bool {
        self.ice.knows(address)
    }

    /// The keys have opened what came from there.
    pub fn prove(&mut self, address: SocketAddr) {
        self.ice.prove(address);
    }

    /// Where to send to now.
    pub fn place(&self, now: Instant) -> Option<SocketAddr> {
        self.ice.selected(now)
    }

    /// New keys; given out once.
    pub fn take_keying(&mut self) -> Option<Keying> {
        self.keying.take()
    }

    /// Datagrams of our own, in their order.
    pub fn poll_datagram(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.waiting.pop_front()
    }

    /// Why there will be no call; told once.
    pub fn poll_fault(&mut self) -> Option<Insecure> {
        let (fault, told) = self.fault.as_mut()?;
        (!std::mem::replace(told, true)).then_some(*fault)
    }

    /// Datagrams of nobody whom we know.
    pub fn strangers(&self) -> u64 {
        self.strangers + self.ice.strangers()
    }

    /// DTLS of whom ICE has not let in is not even looked at.
    fn on_record(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        if !self.ice.admits_record(now, from) {
            self.strangers += 1;
            return;
        }
        self.dtls.handle(now, datagram);
        self.drain(now, Some(from));
    }

    /// Does what the handshake asks for. What it says goes to where the peer spoke from, else to where it is.
    fn drain(&mut self, now: Instant, from: Option<SocketAddr>) {
        let Some(to) = from.or_else(|| self.ice.selected(now)) else { return };
        let mut out = [0; ROOM];
        loop {
            match self.dtls.poll(&mut out) {
                Step::Send(bytes) => say(&mut self.waiting, to, bytes),
                Step::Keys(keying) => {
                    (self.keying, self.is_keyed) = (Some(keying), true);
                    self.ice.set_keyed(true);
                    // Who ends the handshake is who began it.
                    if let Some(from) = from {
                        self.ice.prove(from);
                    }
                }
                Step::Failed(DtlsFault::Fingerprint) => self.fail(Insecure::Certificate),
                Step::Failed(DtlsFault::Handshake) => self.fail(Insecure::Handshake),
                Step::Wait => return,
            }
        }
    }

    fn fail(&mut self, why: Insecure) {
        self.fault.get_or_insert((why, false));
    }
}

fn say(waiting: &mut VecDeque<(SocketAddr, Vec<u8>)>, to: SocketAddr, bytes: &[u8]) {
    // Beyond, it is lost as on a wire, and said again.
    if waiting.len() < MOST_WAITING {
        waiting.push_back((to, bytes.to_vec()));
    }
}

quiet_debug!(Web => "Web");

#[cfg(test)]
#[path = "web_tests.rs"]
mod tests;
