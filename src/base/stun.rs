//! The form of STUN messages (RFC 8489 5, 14): read and written for keep-alives of SIP and for the checks of ICE.
//! What a message means stands where it is used.

use std::net::{IpAddr, SocketAddr};

pub const HEADER: usize = 20;
pub const BINDING_REQUEST: u16 = 0x0001;
pub const BINDING_SUCCESS: u16 = 0x0101;
pub const BINDING_ERROR: u16 = 0x0111;
pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
/// From here on an attribute that is not understood may be passed over (RFC 8489 14).
pub const OPTIONAL: u16 = 0x8000;

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// Room for any message that we write.
const MOST: usize = 128;

/// Whether a datagram is STUN: the first two bits and the cookie say so (RFC 8489 6.3).
pub fn is_stun(datagram: &[u8]) -> bool {
    datagram.len() >= HEADER
        && datagram.first().is_some_and(|b| *b < 4)
        && datagram.get(4..8) == Some(&COOKIE)
}

/// A message whose length and attributes are whole.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    /// Method and class together.
    pub kind: u16,
    /// The twelve octets that tell one exchange from the next.
    pub transaction: &'a [u8],
    whole: &'a [u8],
}

/// One attribute without its padding.
#[derive(Clone, Copy)]
pub struct Attribute<'a> {
    pub kind: u16,
    pub value: &'a [u8],
    /// Where in the message it begins.
    pub at: usize,
}

impl<'a> Message<'a> {
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        if !is_stun(datagram) {
            return None;
        }
        let length = usize::from(number(datagram.get(2..4)?)?);
        let kind = number(datagram.get(..2)?)?;
        let message = Self { kind, transaction: datagram.get(8..HEADER)?, whole: datagram };
        let whole: usize = message.attributes().map(|a| 4 + a.value.len().next_multiple_of(4)).sum();
        (length == whole && HEADER + whole == datagram.len()).then_some(message)
    }

    /// In their order. They end early where the message is broken, which `parse` has excluded.
    pub fn attributes(&self) -> impl Iterator<Item = Attribute<'a>> + use<'a> {
        let (whole, mut at) = (self.whole, HEADER);
        std::iter::from_fn(move || {
            let rest = whole.get(at..)?;
            let (kind, length) = (number(rest.get(..2)?)?, usize::from(number(rest.get(2..4)?)?));
            rest.get(4..4 + length.next_multiple_of(4))?;
            let attribute = Attribute { kind, value: rest.get(4..4 + length)?, at };
            at += 4 + length.next_multiple_of(4);
            Some(attribute)
        })
    }

    /// What came before an attribute that begins there.
    pub fn before(&self, at: usize) -> &'a [u8] {
        self.whole.get(..at).unwrap_or(self.whole)
    }
}

/// A message that is being written. An attribute for which there is no room is left out; ours are short.
pub struct Writing {
    bytes: [u8; MOST],
    length: usize,
}

impl Writing {
    /// Answers a transaction, or begins one.
    pub fn new(kind: u16, transaction: &[u8]) -> Self {
        let mut bytes = [0; MOST];
        let head = kind.to_be_bytes().into_iter().chain([0, 0]).chain(COOKIE);
        let head = head.chain(transaction.iter().copied().take(HEADER - 8));
        bytes.iter_mut().zip(head).for_each(|(to, from)| *to = from);
        Self { bytes, length: HEADER }
    }

    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        let end = self.length + 4 + value.len().next_multiple_of(4);
        let Some(room) = self.bytes.get_mut(self.length..end) else { return };
        let written = kind.to_be_bytes().into_iter().chain((value.len() as u16).to_be_bytes());
        let written = written.chain(value.iter().copied());
        room.iter_mut().zip(written).for_each(|(to, from)| *to = from);
        self.length = end;
        self.announce(0);
    }

    pub fn xor_mapped_address(&mut self, peer: SocketAddr) {
        let mut mask = [0; HEADER - 4];
        mask.iter_mut().zip(self.bytes.iter().skip(4)).for_each(|(to, from)| *to = *from);
        let (value, length) = xor_address(peer, &mask);
        self.attribute(XOR_MAPPED_ADDRESS, value.get(..length).unwrap_or_default());
    }

    /// Lets the header say that so many more octets follow: checksums are taken over that (RFC 8489 14.5).
    pub fn announce(&mut self, more: usize) {
        let length = (self.length - HEADER + more) as u16;
        if let Some(place) = self.bytes.get_mut(2..4) {
            place.copy_from_slice(&length.to_be_bytes());
        }
    }

    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// The value of XOR-MAPPED-ADDRESS and its length; `mask` is cookie and transaction (RFC 8489 14.2).
fn xor_address(peer: SocketAddr, mask: &[u8; 16]) -> ([u8; 20], usize) {
    let mut value = [0; 20];
    let port = peer.port().to_be_bytes();
    let (family, v4, v6);
    let octets: &[u8] = match peer.ip().to_canonical() {
        IpAddr::V4(ip) => {
            (family, v4) = (1, ip.octets());
            &v4
        }
        IpAddr::V6(ip) => {
            (family, v6) = (2, ip.octets());
            &v6
        }
    };
    let masked = |plain: &[u8]| -> [u8; 16] {
        std::array::from_fn(|i| plain.get(i).copied().unwrap_or(0) ^ mask.get(i).copied().unwrap_or(0))
    };
    let (port, address) = (masked(&port), masked(octets));
    let written = [0, family].into_iter().chain(port.into_iter().take(2));
    let written = written.chain(address.into_iter().take(octets.len()));
    value.iter_mut().zip(written).for_each(|(to, from)| *to = from);
    (value, 4 + octets.len())
}

fn number(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The transaction of the examples of RFC 5769.
    const TRANSACTION: [u8; 12] = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];

    #[test]
    fn rfc_5769_2_2_and_2_3_the_addresses_of_the_examples() {
        for (peer, value) in [
            ("192.0.2.1:32853", &[0x00u8, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43][..]),
            (
                "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
                &[
                    0x00, 0x02, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25, 0xf4,
                    0xb5, 0xbe, 0xd2, 0xb9, 0xd9,
                ],
            ),
        ] {
            let mut writing = Writing::new(BINDING_SUCCESS, &TRANSACTION);
            writing.xor_mapped_address(peer.parse().expect("address"));
            let message = Message::parse(writing.bytes()).expect("a message");
            assert_eq!((message.kind, message.transaction), (BINDING_SUCCESS, &TRANSACTION[..]));
            let attribute = message.attributes().next().expect("an attribute");
            assert_eq!((attribute.kind, attribute.value, attribute.at), (XOR_MAPPED_ADDRESS, value, HEADER));
        }
    }

    #[test]
    fn rfc_8489_14_attributes_are_padded_and_a_broken_message_is_none() {
        let mut writing = Writing::new(BINDING_REQUEST, &TRANSACTION);
        writing.attribute(0x8022, b"abc");
        writing.attribute(0x0025, b"");
        let bytes = writing.bytes().to_vec();
        let read: Vec<(u16, usize)> = Message::parse(&bytes)
            .expect("a message")
            .attributes()
            .map(|a| (a.kind, a.value.len()))
            .collect();
        assert_eq!((read, bytes.len()), (vec![(0x8022, 3), (0x0025, 0)], HEADER + 12));
        for (at, octet) in [(3, 8), (23, 9), (0, 0x40), (4, 0x22)] {
            let mut broken = bytes.clone();
            broken[at] = octet;
            assert!(Message::parse(&broken).is_none(), "octet {at}");
        }
        assert!(Message::parse(&bytes[..bytes.len() - 1]).is_none());
        assert!(!is_stun(b"OPTIONS sip:h SIP/2.0\r\n\r\n") && !is_stun(&bytes[..19]));
    }

    proptest::proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64)) {
            let mut marked = bytes.clone();
            marked.splice(0..0, [0, 1, 0, bytes.len() as u8].into_iter().chain(COOKIE).chain(TRANSACTION));
            for bytes in [&bytes, &marked] {
                let _ = Message::parse(bytes).map(|m| m.attributes().count());
            }
        }
    }
}
