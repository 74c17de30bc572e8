//! The STUN that keeps a flow of datagrams alive (RFC 5626 4.4.2, RFC 8489 5 and 14): a Binding request gets the
//! address that we see, and with it a phone notices that its translator has given it another one.

use std::net::{IpAddr, SocketAddr};

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const HEADER: usize = 20;
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
const XOR_MAPPED_ADDRESS: [u8; 2] = [0x00, 0x20];
/// From here on an attribute that is not understood may be passed over (RFC 8489 14).
const OPTIONAL: u16 = 0x8000;

/// Whether a datagram is STUN and not SIP: SIP begins with a letter (RFC 5626 4.4.2).
pub(super) fn is_stun(datagram: &[u8]) -> bool {
    datagram.len() >= HEADER && datagram[0] < 4 && datagram.get(4..8) == Some(&COOKIE)
}

/// The answer to a Binding request from there. `None` for anything else, and for a request that wants more
/// than keeping alive: no answer is the cheapest refusal, and its sender takes the flow for dead.
pub(super) fn answer(datagram: &[u8], peer: SocketAddr) -> Option<Vec<u8>> {
    let (header, attributes) = datagram.split_at_checked(HEADER)?;
    let length = usize::from(u16::from_be_bytes([*header.get(2)?, *header.get(3)?]));
    if header.get(..2) != Some(&BINDING_REQUEST) || length != attributes.len() || !all_optional(attributes) {
        return None;
    }
    let transaction = header.get(4..HEADER)?;
    let value = xor_address(peer, transaction);
    let mut out = Vec::with_capacity(HEADER + 4 + value.len());
    out.extend(BINDING_SUCCESS);
    out.extend((4 + value.len() as u16).to_be_bytes());
    out.extend(transaction);
    out.extend(XOR_MAPPED_ADDRESS);
    out.extend((value.len() as u16).to_be_bytes());
    out.extend(value);
    Some(out)
}

fn all_optional(mut attributes: &[u8]) -> bool {
    while let Some((head, rest)) = attributes.split_at_checked(4) {
        let kind = u16::from_be_bytes([head[0], head[1]]);
        let length = usize::from(u16::from_be_bytes([head[2], head[3]])).next_multiple_of(4);
        let Some(next) = rest.get(length..).filter(|_| kind >= OPTIONAL) else { return false };
        attributes = next;
    }
    attributes.is_empty()
}

/// The value of XOR-MAPPED-ADDRESS; `mask` is cookie and transaction (RFC 8489 14.2).
fn xor_address(peer: SocketAddr, mask: &[u8]) -> Vec<u8> {
    let ip = peer.ip().to_canonical();
    let (family, octets) = match ip {
        IpAddr::V4(v4) => (1, v4.octets().to_vec()),
        IpAddr::V6(v6) => (2, v6.octets().to_vec()),
    };
    let mut value = vec![0, family];
    let plain = peer.port().to_be_bytes();
    value.extend(plain.iter().zip(mask).map(|(a, b)| a ^ b));
    value.extend(octets.iter().zip(mask).map(|(a, b)| a ^ b));
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The transaction of the examples of RFC 5769.
    const TRANSACTION: [u8; 12] = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];

    fn request(attributes: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 1];
        bytes.extend((attributes.len() as u16).to_be_bytes());
        bytes.extend(COOKIE);
        bytes.extend(TRANSACTION);
        bytes.extend(attributes);
        bytes
    }

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
            let bytes = request(&[]);
            assert!(is_stun(&bytes));
            let answer = answer(&bytes, peer.parse().expect("address")).expect("an answer");
            assert_eq!(answer[..2], BINDING_SUCCESS);
            assert_eq!(answer[4..20], bytes[4..20], "cookie and transaction");
            assert_eq!(answer[20..24], [0x00, 0x20, 0x00, value.len() as u8]);
            assert_eq!(&answer[24..], value, "{peer}");
            assert_eq!(usize::from(answer[3]) + HEADER, answer.len());
        }
    }

    #[test]
    fn rfc_8489_14_what_must_be_understood_and_is_not_gets_no_answer() {
        let here = "192.0.2.1:1".parse().expect("address");
        let software = [0x80, 0x22, 0x00, 0x03, b'a', b'b', b'c', 0];
        assert!(answer(&request(&software), here).is_some());
        for attributes in [&[0x00u8, 0x06, 0x00, 0x00][..], &[0x80, 0x22, 0x00, 0x09], &[0x80, 0x22, 0x00]] {
            assert_eq!(answer(&request(attributes), here), None, "{attributes:?}");
        }
        let mut indication = request(&[]);
        indication[1] = 0x11;
        assert_eq!(answer(&indication, here), None);
        let mut short = request(&[]);
        short[3] = 8;
        assert_eq!(answer(&short, here), None);
        assert!(!is_stun(b"OPTIONS sip:h SIP/2.0\r\n\r\n") && !is_stun(&request(&[])[..19]));
    }

    proptest::proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64)) {
            let _ = (is_stun(&bytes), answer(&bytes, "[::1]:1".parse().expect("address")));
        }
    }
}
