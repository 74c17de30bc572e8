//! From whom a leg takes packets (against RTP Bleed and injection). The address that the SDP named always
//! counts. Behind NAT it is another port of that host, or the host whence the signalling comes (RFC 7362): the
//! first of these that sends valid RTP, and then that one alone. No third host is ever believed.

use std::net::{IpAddr, SocketAddr};

use super::rtp::Packet;
use crate::base::quiet::quiet_debug;

/// Packets in a row that another source than the named one must send before it is believed.
const PROBATION: u8 = 3;
/// After a new description a source that was held, and still sends, has shown by so many packets that it is the one.
const STILL_THERE: u8 = 50;

/// The lock of one leg; a new one is made when the SDP names another address, and it is opened once more when the SDP
/// comes again: a phone behind NAT that has moved names the same address as before (RFC 3264 8).
#[derive(Clone)]
pub struct SourceLock {
    named: SocketAddr,
    signalling: IpAddr,
    held: Option<SocketAddr>,
    /// Of so many more packets of the held source another may take its place, if they do not come.
    open: u8,
    candidate: Option<Candidate>,
    /// Where the peer's RTCP came from.
    control: Option<SocketAddr>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Candidate {
    from: SocketAddr,
    ssrc: u32,
    next: u16,
    count: u8,
}

impl SourceLock {
    /// `named` by the SDP; `signalling` is the host that the SDP came from.
    pub fn new(named: SocketAddr, signalling: IpAddr) -> Self {
        Self { named, signalling, held: None, open: 0, candidate: None, control: None }
    }

    /// A new offer and answer named the same address: who was held is, until another proves itself while it is silent.
    pub fn reopen(&mut self, signalling: IpAddr) {
        (self.signalling, self.open, self.candidate) = (signalling, STILL_THERE, None);
    }

    /// Whether a valid packet is from the peer. May lock to its source.
    pub fn admit(&mut self, from: SocketAddr, packet: &Packet<'_>) -> bool {
        if self.is_known(from) {
            self.open = self.open.saturating_sub(1);
        }
        let may_lock = self.held.is_none() || self.open > 0;
        if self.is_known(from) || (may_lock && self.is_proven(from, packet)) {
            if !self.is_known(from) {
                self.open = 0;
            }
            // The named address takes the lock back from one that was only guessed.
            self.held = Some(from);
            self.candidate = None;
            return true;
        }
        false
    }

    /// Whether a source is the named or the held one.
    pub fn is_known(&self, from: SocketAddr) -> bool {
        from == self.named || self.held == Some(from)
    }

    /// RTCP is taken from the peer's host only.
    pub fn is_control(&self, from: SocketAddr) -> bool {
        from.ip() == self.held.unwrap_or(self.named).ip()
    }

    /// The peer's reports come from there.
    pub fn hold_control(&mut self, from: SocketAddr) {
        self.control = Some(from);
    }

    /// Where to send RTP: back to the source (RFC 4961), before that to the named address.
    pub fn target(&self) -> Option<SocketAddr> {
        usable(self.held.unwrap_or(self.named))
    }

    /// Where to send RTCP; `named` is what the SDP says.
    pub fn control_target(&self, named: SocketAddr) -> Option<SocketAddr> {
        match self.held {
            Some(held) if held != self.named => {
                let next = SocketAddr::new(held.ip(), held.port().checked_add(1)?);
                usable(self.control.unwrap_or(next))
            }
            _ => usable(named),
        }
    }

    /// Another port of the named host, or the host of the signalling, is believed after some packets in a row.
    fn is_proven(&mut self, from: SocketAddr, packet: &Packet<'_>) -> bool {
        let from_host = from.ip().to_canonical();
        if ![self.named.ip(), self.signalling].iter().any(|host| is_same_host(*host, from_host)) {
            return false;
        }
        let count = match self.candidate {
            Some(c) if (c.from, c.ssrc, c.next) == (from, packet.ssrc, packet.sequence) => c.count + 1,
            _ => 1,
        };
        let next = packet.sequence.wrapping_add(1);
        self.candidate = Some(Candidate { from, ssrc: packet.ssrc, next, count });
        count >= PROBATION
    }
}

/// All loopback addresses are this machine (RFC 6890): a phone on it may send from another than it names.
fn is_same_host(a: IpAddr, b: IpAddr) -> bool {
    a == b || (a.is_loopback() && b.is_loopback())
}

/// `0.0.0.0` and port 0 mean "nowhere" (RFC 3264 8.4, 6).
fn usable(address: SocketAddr) -> Option<SocketAddr> {
    (!address.ip().is_unspecified() && address.port() != 0).then_some(address)
}

quiet_debug!(SourceLock => "SourceLock");

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn lock(named: &str, signalling: &str) -> SourceLock {
        SourceLock::new(at(named), signalling.parse().expect("an address"))
    }

    fn packet(ssrc: u32, sequence: u16) -> Packet<'static> {
        Packet { ssrc, sequence, timestamp: 0, marker: false, payload_type: 8, payload: &[] }
    }

    #[test]
    fn the_named_address_holds_and_nobody_else_gets_in() {
        let mut lock = lock("192.0.2.1:4000", "192.0.2.9");
        assert_eq!(lock.target(), Some(at("192.0.2.1:4000")));
        assert!(lock.admit(at("192.0.2.1:4000"), &packet(1, 1)));
        for sequence in 0..50 {
            assert!(!lock.admit(at("198.51.100.7:4000"), &packet(1, sequence)));
            assert!(!lock.admit(at("192.0.2.1:4002"), &packet(1, sequence)));
        }
        assert!(!lock.is_control(at("198.51.100.7:4001")) && lock.is_control(at("192.0.2.1:9")));
        lock.hold_control(at("192.0.2.1:9"));
        assert_eq!(lock.control_target(at("192.0.2.1:4001")), Some(at("192.0.2.1:4001")));
    }

    #[test]
    fn behind_nat_the_first_that_proves_itself_until_the_named_one_speaks() {
        let mut lock = lock("10.0.0.5:4000", "203.0.113.9");
        let (phone, thief) = (at("203.0.113.9:61000"), at("198.51.100.7:4000"));
        assert!(!lock.admit(phone, &packet(1, 7)) && !lock.admit(phone, &packet(1, 8)));
        assert_eq!(lock.target(), Some(at("10.0.0.5:4000")));
        assert!(lock.admit(phone, &packet(1, 9)));
        assert!(!(0..9).any(|n| lock.admit(thief, &packet(2, n))));
        assert_eq!(lock.target(), Some(phone));
        assert_eq!(lock.control_target(at("10.0.0.5:4001")), Some(at("203.0.113.9:61001")));
        assert!(lock.admit(at("10.0.0.5:4000"), &packet(3, 1)));
        assert!(!lock.admit(phone, &packet(1, 10)));
    }

    #[test]
    fn after_a_re_invite_with_the_same_address_a_phone_that_moved_is_believed_when_the_old_port_is_silent() {
        let mut lock = lock("10.0.0.5:4000", "203.0.113.9");
        let (old, new, thief) = (at("203.0.113.9:61000"), at("203.0.113.9:62000"), at("198.51.100.7:4000"));
        let admits = |lock: &mut SourceLock, from, first: u16, count| {
            (first..first + count).filter(|n| lock.admit(from, &packet(1, *n))).count()
        };
        assert_eq!(admits(&mut lock, old, 1, 10), 8);
        assert_eq!(admits(&mut lock, new, 11, 10), 0, "no re-INVITE, no other port");
        lock.reopen("203.0.113.9".parse().expect("an address"));
        assert_eq!((admits(&mut lock, thief, 11, 10), lock.target()), (0, Some(old)));
        // The old one still sends in between: there are two, and the first stays.
        for n in 0..20 {
            assert_eq!(admits(&mut lock, new, 11 + n * 2, 2), 0);
            assert_eq!(admits(&mut lock, old, 11 + n, 1), 1);
        }
        assert_eq!((admits(&mut lock, new, 60, 9), lock.target()), (7, Some(new)));
        assert_eq!(admits(&mut lock, old, 70, 9), 0, "and it is shut again");
        lock.reopen("203.0.113.9".parse().expect("an address"));
        assert_eq!(admits(&mut lock, new, 80, 50), 50);
        assert_eq!(admits(&mut lock, old, 130, 9), 0, "who was held has gone on for a second");
    }

    #[test]
    fn a_third_host_is_never_believed_however_it_tries() {
        let mut lock = lock("192.0.2.1:4000", "192.0.2.9");
        assert!(!(0..99).any(|n| lock.admit(at("198.51.100.7:4000"), &packet(1, n))));
        assert_eq!(lock.target(), Some(at("192.0.2.1:4000")));
    }

    #[test]
    fn rfc6890_a_phone_on_this_machine_may_send_from_another_of_its_addresses() {
        let mut lock = lock("127.0.0.4:4000", "127.0.0.4");
        let admitted: Vec<bool> = (1..5).map(|n| lock.admit(at("127.0.0.1:4000"), &packet(1, n))).collect();
        assert_eq!(admitted, [false, false, true, true]);
        assert!(!(0..9).any(|n| lock.admit(at("192.0.2.1:4000"), &packet(2, n))));
    }

    #[test]
    fn a_spray_without_sequence_proves_nothing_and_the_named_host_may_change_its_port() {
        let mut lock = lock("192.0.2.1:4000", "192.0.2.9");
        assert!(!(0..99).any(|n| lock.admit(at("192.0.2.9:4000"), &packet(n, (n * 7) as u16))));
        let admitted: Vec<bool> = (1..4).map(|n| lock.admit(at("192.0.2.1:5000"), &packet(1, n))).collect();
        assert_eq!(admitted, [false, false, true]);
        let nowhere = self::lock("0.0.0.0:4000", "192.0.2.9");
        assert_eq!((nowhere.target(), nowhere.control_target(at("0.0.0.0:4001"))), (None, None));
    }
}
