//! Key material: no door to print it by, wiped when its last holder lets go.

use std::sync::Arc;

use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

use super::id::Rng;
use super::quiet::quiet_debug;

/// Bytes that nobody may see. Clones share the one copy, so that moving them about leaves none behind.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<Vec<u8>>>);

impl Secret {
    /// Copies; what the bytes came in is the caller's to wipe.
    pub fn copy_of(bytes: &[u8]) -> Self {
        Self(Arc::new(Zeroizing::new(bytes.to_vec())))
    }

    /// Takes the bytes as they are.
    pub fn of(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Zeroizing::new(bytes)))
    }

    /// A new key of so many bytes.
    pub fn random(rng: &mut Rng, length: usize) -> Self {
        let mut bytes = Zeroizing::new(vec![0; length]);
        rng.fill(&mut bytes);
        rng.forget();
        Self(Arc::new(bytes))
    }

    /// The bytes, for a cipher or for the peer whose they are.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// In constant time (for secrets of one length).
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

/// Wipes what the functions that were called before left on the stack: a cipher that is made from a key lays it there,
/// and its parts. Some 64 KiB, far more than these take.
#[inline(never)]
#[allow(clippy::large_stack_arrays)]
pub fn wipe_stack() {
    let mut deep = [0u8; 64 * 1024];
    deep.zeroize();
}

quiet_debug!(Secret => "Secret");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_compared_by_value_and_print_nothing() {
        let (mut a, mut b) = (Rng::from_number(1), Rng::from_number(1));
        let (first, same) = (Secret::random(&mut a, 30), Secret::random(&mut b, 30));
        assert!(first == same && first == Secret::copy_of(same.expose()) && first.expose().len() == 30);
        assert!(first != Secret::random(&mut a, 30) && first != Secret::copy_of(&first.expose()[..29]));
        assert_eq!(format!("{first:?}"), "Secret");
    }
}
