//! What stands between the sockets and the engine of an encrypted leg: opens what comes before anybody looks at it,
//! protects what goes, and takes new keys in the middle of a call.

use super::command::LegStats;
use super::keying::{Keying, Suite};
use super::srtp::{Inbound, Outbound, Refused};
use crate::base::quiet::quiet_debug;
use crate::base::secret::wipe_stack;

/// See the module. Of a leg in the clear it lets everything pass.
#[derive(Default)]
pub struct Guard {
    keys: Option<Box<Keys>>,
    /// What it was encrypted with at last.
    suite: Option<Suite>,
    forged: u64,
    replayed: u64,
    malformed: u64,
}

impl Guard {
    /// New keys, the same as before, or none any more. `None`: they can't be used, which is no reason to go on
    /// in the clear.
    pub fn set(&mut self, keying: Option<&Keying>) -> Option<()> {
        self.suite = keying.map(Keying::suite);
        let set = self.renew(keying);
        wipe_stack();
        set
    }

    #[inline(never)]
    fn renew(&mut self, keying: Option<&Keying>) -> Option<()> {
        match (keying, &mut self.keys) {
            (None, keys) => *keys = None,
            (Some(keying), Some(keys)) => keys.renew(keying)?,
            (Some(keying), None) => self.keys = Some(Keys::new(keying)?),
        }
        Some(())
    }

    /// Whether it has keys.
    pub fn is_keyed(&self) -> bool {
        self.keys.is_some()
    }

    /// Opens an RTP packet in place. What is no packet of the peer's is counted.
    pub fn open_rtp<'a>(&mut self, bytes: &'a mut [u8]) -> Option<&'a [u8]> {
        let Some(keys) = &mut self.keys else { return Some(bytes) };
        let opened = keys.open_rtp(bytes);
        self.count(opened)
    }

    /// Opens an RTCP packet in place.
    pub fn open_rtcp<'a>(&mut self, bytes: &'a mut [u8]) -> Option<&'a [u8]> {
        let Some(keys) = &mut self.keys else { return Some(bytes) };
        let opened = keys.open_rtcp(bytes);
        self.count(opened)
    }

    /// Protects the RTP packet of that length at the beginning of a buffer that has [`RTP_TRAILER`] bytes of room
    /// after it. `None`: it may not be sent.
    ///
    /// [`RTP_TRAILER`]: super::srtp::RTP_TRAILER
    pub fn protect_rtp<'a>(&mut self, buffer: &'a mut [u8], length: usize) -> Option<&'a [u8]> {
        let length = match &mut self.keys {
            Some(keys) => keys.protect_rtp(buffer, length)?,
            None => length,
        };
        buffer.get(..length)
    }

    /// The same for RTCP, with [`RTCP_TRAILER`](super::srtp::RTCP_TRAILER) bytes of room.
    pub fn protect_rtcp<'a>(&mut self, buffer: &'a mut [u8], length: usize) -> Option<&'a [u8]> {
        let length = match &mut self.keys {
            Some(keys) => keys.protect_rtcp(buffer, length)?,
            None => length,
        };
        buffer.get(..length)
    }

    /// The leg is over.
    pub fn wipe(&mut self) {
        self.keys = None;
    }

    /// Writes what it has counted.
    pub fn tell(&self, stats: &mut LegStats) {
        (stats.forged, stats.replayed, stats.security) = (self.forged, self.replayed, self.suite);
        stats.malformed += self.malformed;
    }

    fn count<T>(&mut self, opened: Result<T, Refused>) -> Option<T> {
        match opened {
            Ok(opened) => return Some(opened),
            Err(Refused::Replayed) => self.replayed += 1,
            Err(Refused::Forged | Refused::Clear) => self.forged += 1,
            Err(Refused::Malformed) => self.malformed += 1,
        }
        None
    }
}

/// The keys of a leg at work; they are wiped with it.
struct Keys {
    keying: Keying,
    out: Outbound,
    inn: Inbound,
    /// Under the peer's key before: what it sent until it took up the new one. Ends with its first packet under
    /// that.
    before: Option<Inbound>,
}

impl Keys {
    /// On the heap, so that moving a leg leaves no keys behind. `None` when a key has not its suite's length.
    fn new(keying: &Keying) -> Option<Box<Self>> {
        Some(Box::new(Self {
            keying: keying.clone(),
            out: Outbound::new(keying.suite(), keying.ours())?,
            inn: Inbound::new(keying.suite(), keying.theirs())?,
            before: None,
        }))
    }

    /// Another exchange: a key that stays goes on where it was (RFC 3711 9.1: no index twice), a new one begins.
    fn renew(&mut self, keying: &Keying) -> Option<()> {
        let other_suite = keying.suite() != self.keying.suite();
        if other_suite || keying.ours() != self.keying.ours() {
            self.out = Outbound::new(keying.suite(), keying.ours())?;
        }
        if other_suite || keying.theirs() != self.keying.theirs() {
            let next = self.inn.successor(keying.suite(), keying.theirs())?;
            self.before = Some(std::mem::replace(&mut self.inn, next));
        }
        self.keying = keying.clone();
        Some(())
    }

    /// Opens an RTP packet in place.
    fn open_rtp<'a>(&mut self, bytes: &'a mut [u8]) -> Result<&'a [u8], Refused> {
        let length = self.open(bytes, Inbound::open_rtp)?;
        bytes.get(..length).ok_or(Refused::Malformed)
    }

    /// Opens an RTCP packet in place.
    fn open_rtcp<'a>(&mut self, bytes: &'a mut [u8]) -> Result<&'a [u8], Refused> {
        let length = self.open(bytes, Inbound::open_rtcp)?;
        bytes.get(..length).ok_or(Refused::Malformed)
    }

    /// Protects the RTP packet at the beginning of a buffer that has room for it; gives its new length.
    fn protect_rtp(&mut self, buffer: &mut [u8], length: usize) -> Option<usize> {
        self.out.protect_rtp(buffer, length)
    }

    fn protect_rtcp(&mut self, buffer: &mut [u8], length: usize) -> Option<usize> {
        self.out.protect_rtcp(buffer, length)
    }

    fn open(
        &mut self,
        bytes: &mut [u8],
        open: impl Fn(&mut Inbound, &mut [u8]) -> Result<usize, Refused>,
    ) -> Result<usize, Refused> {
        let opened = open(&mut self.inn, bytes);
        match (&opened, &mut self.before) {
            (Ok(_), Some(_)) => self.before = None,
            (Err(Refused::Forged), Some(before)) => return open(before, bytes),
            _ => {}
        }
        opened
    }
}

quiet_debug!(Guard => "Guard");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::Rng;
    use crate::base::secret::Secret;
    use crate::media::srtp::RTP_TRAILER;

    fn secret(suite: Suite, number: u64) -> Secret {
        Secret::random(&mut Rng::from_number(number), suite.master_length())
    }

    fn keying(suite: Suite, ours: u64, theirs: u64) -> Keying {
        Keying::new(suite, secret(suite, ours), secret(suite, theirs)).expect("of the right length")
    }

    fn guard(suite: Suite, ours: u64, theirs: u64) -> Box<Keys> {
        Keys::new(&keying(suite, ours, theirs)).expect("of the right length")
    }

    fn sealed(guard: &mut Keys, sequence: u8) -> Vec<u8> {
        let mut buffer =
            [&[0x80, 8, 0, sequence, 0, 0, 0, 0, 0, 0, 0, 7][..], &[9; 20 + RTP_TRAILER]].concat();
        let length = guard.protect_rtp(&mut buffer, 32).expect("may be sent");
        buffer.truncate(length);
        buffer
    }

    fn opens(guard: &mut Keys, bytes: &[u8]) -> Result<usize, Refused> {
        guard.open_rtp(&mut bytes.to_vec()).map(<[u8]>::len)
    }

    #[test]
    fn each_direction_has_a_key_of_its_own() {
        let (mut a, mut b) = (guard(Suite::AeadAes128Gcm, 1, 2), guard(Suite::AeadAes128Gcm, 2, 1));
        let sent = sealed(&mut a, 1);
        assert_eq!(opens(&mut b, &sent), Ok(32));
        assert_eq!(opens(&mut a, &sent), Err(Refused::Forged), "our own packet, sent back");
    }

    #[test]
    fn rfc4568_7_1_4_a_new_key_of_the_peer_and_its_last_packets_under_the_old() {
        let suite = Suite::AesCm128Sha1_80;
        let (mut us, mut old) = (guard(suite, 1, 2), guard(suite, 2, 1));
        assert_eq!(opens(&mut us, &sealed(&mut old, 1)), Ok(32));
        us.renew(&keying(Suite::AeadAes256Gcm, 5, 6)).expect("of the right length");
        let mut new = guard(Suite::AeadAes256Gcm, 6, 5);
        assert_eq!(opens(&mut us, &sealed(&mut old, 2)), Ok(32), "on its way when the key changed");
        assert_eq!(opens(&mut us, &sealed(&mut new, 3)), Ok(32));
        assert_eq!(opens(&mut us, &sealed(&mut old, 4)), Err(Refused::Forged), "the old key has ended");
        let back = sealed(&mut us, 9);
        assert_eq!(opens(&mut new, &back), Ok(32));
    }

    #[test]
    fn a_key_that_stays_goes_on_where_it_was() {
        let suite = Suite::AesCm128Sha1_32;
        let (mut us, mut peer) = (guard(suite, 1, 2), guard(suite, 2, 1));
        let first = sealed(&mut peer, 1);
        assert_eq!(opens(&mut us, &first), Ok(32));
        assert_eq!(opens(&mut peer, &sealed(&mut us, 1)), Ok(32));
        us.renew(&keying(suite, 1, 2)).expect("of the right length");
        assert_eq!(opens(&mut us, &first), Err(Refused::Replayed));
        let mut buffer = [&[0x80, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7][..], &[9; 40]].concat();
        assert_eq!(us.protect_rtp(&mut buffer, 32), None, "no index twice");
    }
}
