//! The caller's identity under seal. There are three ways out, each named for its purpose; who uses
//! one reports it. Everything else (print, copy, compare, serialise) is absent by construction.

use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

/// Bytes of a number; longer ones are cut.
const NUMBER: usize = 64;
/// Bytes of a name and of an origin; longer ones are cut.
const TEXT: usize = 128;

/// Who called. Always the same size, so that not even its length tells anything; wiped on drop.
/// No `Debug`, `Display`, `Clone`, `PartialEq` or field access: see the test below.
pub struct SealedIdentity {
    number: Field<NUMBER>,
    name: Field<TEXT>,
    origin: Field<TEXT>,
}

/// The key of pseudonyms: one a site, changed as often as the site wants callers to be forgotten.
pub struct PseudonymKey(Zeroizing<[u8; 32]>);

impl PseudonymKey {
    pub fn new(key: [u8; 32]) -> Self {
        Self(Zeroizing::new(key))
    }
}

/// Two people who order a release together; neither can do it alone.
pub struct ReleaseOrder(());

impl ReleaseOrder {
    /// `None` unless two different people are named.
    pub fn by_two(first: &str, second: &str) -> Option<Self> {
        let (first, second) = (first.trim(), second.trim());
        let apart = !first.is_empty() && !second.is_empty() && !first.eq_ignore_ascii_case(second);
        apart.then_some(Self(()))
    }
}

/// What a release gives: wiped on drop, and no more printable than the seal.
pub struct Released {
    pub number: Zeroizing<String>,
    pub name: Zeroizing<String>,
    /// Address that the call came from.
    pub origin: Zeroizing<String>,
}

impl SealedIdentity {
    /// Seals what `screen` read. Empty texts mean unknown.
    pub(super) fn seal(number: &str, name: &str, origin: &str) -> Self {
        Self { number: Field::new(number), name: Field::new(name), origin: Field::new(origin) }
    }

    /// A keyed pseudonym (HMAC-SHA-256, 128 bits in hexadecimal) for blocking abuse: the same number
    /// gives the same word under the same key. `None` without a number: callers who withhold it must
    /// not be blocked together.
    pub fn danger_pseudonym(&self, key: &PseudonymKey) -> Option<String> {
        let number = self.number.bytes();
        if number.is_empty() {
            return None;
        }
        Some(hmac_sha256(&key.0[..], number).iter().take(16).map(|b| format!("{b:02x}")).collect())
    }

    /// The number, for a callback that the switch itself dials; it must not be shown or stored.
    pub fn danger_callback_number(&self) -> Option<Zeroizing<String>> {
        Some(self.number.text()).filter(|number| !number.is_empty())
    }

    /// Everything, under the threat-to-life procedure.
    pub fn danger_release(&self, _order: &ReleaseOrder) -> Released {
        Released { number: self.number.text(), name: self.name.text(), origin: self.origin.text() }
    }
}

/// Text of fixed room on the heap (moving the owner leaves no copy behind), wiped on drop.
struct Field<const ROOM: usize> {
    bytes: Box<[u8; ROOM]>,
    length: usize,
}

impl<const ROOM: usize> Field<ROOM> {
    fn new(text: &str) -> Self {
        let mut length = text.len().min(ROOM);
        while !text.is_char_boundary(length) {
            length -= 1;
        }
        let mut bytes = Box::new([0; ROOM]);
        bytes.iter_mut().zip(text.bytes().take(length)).for_each(|(to, from)| *to = from);
        Self { bytes, length }
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&[])
    }

    fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(std::str::from_utf8(self.bytes()).unwrap_or("").to_owned())
    }
}

impl<const ROOM: usize> Field<ROOM> {
    fn wipe(&mut self) {
        self.bytes.zeroize();
        self.length.zeroize();
    }
}

impl<const ROOM: usize> Drop for Field<ROOM> {
    fn drop(&mut self) {
        self.wipe();
    }
}

/// RFC 2104 with SHA-256; keys of at most one block (64 bytes).
fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = Zeroizing::new([0_u8; 64]);
    block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    let pad = |byte: u8| Zeroizing::new(block.map(|b| b ^ byte));
    let inner = Sha256::new().chain_update(&pad(0x36)[..]).chain_update(message).finalize();
    Sha256::new().chain_update(&pad(0x5c)[..]).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails to compile as soon as the type has the trait: then two impls fit and `_` is ambiguous.
    macro_rules! assert_lacks {
        ($type:ty: $($bound:path),+ $(,)?) => {$({
            trait Ambiguous<A> {
                fn check() {}
            }
            impl<T: ?Sized> Ambiguous<()> for T {}
            struct Has;
            impl<T: ?Sized + $bound> Ambiguous<Has> for T {}
            <$type as Ambiguous<_>>::check();
        })+};
    }

    #[test]
    fn the_seal_has_no_way_out_but_its_three_exits() {
        assert_lacks!(SealedIdentity: std::fmt::Debug, std::fmt::Display, Clone, Copy, PartialEq, Default);
        assert_lacks!(SealedIdentity: std::hash::Hash, PartialOrd, serde::Serialize, std::ops::Deref, AsRef<[u8]>, AsRef<str>);
        assert_lacks!(SealedIdentity: Into<String>, Into<Vec<u8>>, std::borrow::Borrow<str>);
        assert_lacks!(Released: std::fmt::Debug, std::fmt::Display, Clone, serde::Serialize);
        assert_lacks!(PseudonymKey: std::fmt::Debug, Clone, serde::Serialize);
        assert_lacks!(ReleaseOrder: Clone, Copy, Default);
    }

    #[test]
    fn a_field_is_always_as_long_and_nothing_is_left_when_it_is_wiped() {
        let (mut short, long) = (Field::<8>::new("0470"), Field::<8>::new("04701234567"));
        assert_eq!((long.bytes(), short.bytes.len()), (&b"04701234"[..], long.bytes.len()));
        short.wipe();
        assert_eq!((*short.bytes, short.length), ([0; 8], 0));
    }

    #[test]
    fn rfc4231_4_hmac_sha256_of_known_messages() {
        let hex = |bytes: [u8; 32]| bytes.map(|b| format!("{b:02x}")).concat();
        assert_eq!(
            hex(hmac_sha256(&[0x0b; 20], b"Hi There")),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
        assert_eq!(
            hex(hmac_sha256(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_pseudonym_depends_on_number_and_key_only() {
        let (one, two) = (PseudonymKey::new([1; 32]), PseudonymKey::new([2; 32]));
        let an = SealedIdentity::seal("+3291234567", "An", "192.0.2.1");
        let again = SealedIdentity::seal("+3291234567", "Other", "192.0.2.2");
        let bo = SealedIdentity::seal("+3291234568", "An", "192.0.2.1");
        let pseudonym = an.danger_pseudonym(&one);
        assert_eq!(pseudonym.as_ref().map(String::len), Some(32));
        assert_eq!(pseudonym, again.danger_pseudonym(&one));
        assert_ne!(pseudonym, bo.danger_pseudonym(&one));
        assert_ne!(pseudonym, an.danger_pseudonym(&two));
        assert_eq!(SealedIdentity::seal("", "An", "192.0.2.1").danger_pseudonym(&one), None);
    }

    #[test]
    fn the_exits_give_what_was_sealed_and_a_release_needs_two_people() {
        let long = "é".repeat(200);
        let sealed = SealedIdentity::seal("+3291234567", &long, "192.0.2.1");
        assert_eq!(sealed.danger_callback_number().as_ref().map(|n| n.as_str()), Some("+3291234567"));
        for (first, second) in [("an", "an"), ("An", " an "), ("", "bo"), ("an", " ")] {
            assert!(ReleaseOrder::by_two(first, second).is_none(), "{first} {second}");
        }
        let Some(order) = ReleaseOrder::by_two("an", "bo") else { panic!("two people") };
        let released = sealed.danger_release(&order);
        assert_eq!(released.origin.as_str(), "192.0.2.1");
        assert_eq!(released.name.chars().count(), TEXT / 2);
        assert!(SealedIdentity::seal("", "", "").danger_callback_number().is_none());
    }
}
