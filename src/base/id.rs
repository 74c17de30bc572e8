//! Keys that are never reused, and the seeded generator that mints everything random.

use std::fmt;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

macro_rules! keys {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    )*};
}

keys! {
    /// One caller's matter in the switch. A serial number, so a late event for a gone call finds nothing.
    CallKey,
    /// One side of a call: a dialog plus its media.
    LegKey,
    /// A counsellor's line.
    LineKey,
    /// One SIP dialog (INVITE usage) in the endpoint.
    DialogKey,
    /// One subscription of which we are the notifier (RFC 6665).
    SubscriptionKey,
    /// One server transaction that waits for the switch's answer.
    ServerTxKey,
    /// A network flow (RFC 5626): a stream connection, or a listener for datagrams.
    FlowKey,
    /// One playing of prompts on one leg.
    PlayKey,
    /// One recording.
    TakeKey,
    /// Where three or more legs are mixed.
    RoomKey,
    /// One question to DNS.
    QueryKey,
    /// A host name of the configuration to which calls go over TLS, and for which the certificate must be (RFC 5922).
    DomainKey,
}

/// Hands out keys in order, beginning at 1.
#[derive(Debug, Default)]
pub struct Serial(u64);

impl Serial {
    pub fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

/// The seeded cryptographic generator of the core: tags, branches, Call-IDs, SSRCs, nonces.
pub struct Rng(ChaCha20Rng);

impl Rng {
    /// The seed comes from the operating system in production and from the test in a simulation.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ChaCha20Rng::from_seed(seed))
    }

    /// For simulations: a small number as seed.
    pub fn from_number(seed: u64) -> Self {
        Self(ChaCha20Rng::seed_from_u64(seed))
    }

    /// An independent generator, so that one part's use does not steer another's.
    pub fn fork(&mut self) -> Self {
        let mut seed = [0; 32];
        self.fill(&mut seed);
        Self::from_seed(seed)
    }

    /// Goes on from a seed of its own making: from what it is now nobody can find what it gave before.
    pub fn forget(&mut self) {
        *self = self.fork();
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    pub fn u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform below `bound` (0 for a bound of 0).
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { ((u128::from(self.u64()) * u128::from(bound)) >> 64) as u64 }
    }

    /// A random token of `length` characters from a 32-letter alphabet (5 bits each), safe in every
    /// SIP header, URI and file name.
    pub fn token(&mut self, length: usize) -> String {
        const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
        let mut bytes = vec![0; length];
        self.fill(&mut bytes);
        bytes.iter().map(|b| char::from(ALPHABET[usize::from(b & 31)])).collect()
    }
}

impl fmt::Debug for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rng")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_history() {
        let (mut a, mut b) = (Rng::from_number(7), Rng::from_number(7));
        assert_eq!(a.token(20), b.token(20));
        assert_ne!(a.token(20), a.token(20));
        assert!((0..1000).all(|_| a.below(3) < 3));
    }
}
