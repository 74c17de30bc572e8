//! The STUN that keeps a flow of datagrams alive (RFC 5626 4.4.2, RFC 8489 5 and 14): a Binding request gets the
//! address that we see, and with it a phone notices that its translator has given it another one.

use std::net::SocketAddr;

use crate::base::stun::{BINDING_REQUEST, BINDING_SUCCESS, Message, OPTIONAL, Writing};

/// Whether a datagram is STUN and not SIP: SIP begins with a letter (RFC 5626 4.4.2).
pub(super) use crate::base::stun::is_stun;

/// The answer to a Binding request from there. `None` for anything else, and for a request that wants more
/// than keeping alive: no answer is the cheapest refusal, and its sender takes the flow for dead.
pub(super) fn answer(datagram: &[u8], peer: SocketAddr) -> Option<Writing> {
    let message = Message::parse(datagram)?;
    if message.kind != BINDING_REQUEST || message.attributes().any(|a| a.kind < OPTIONAL) {
        return None;
    }
    let mut answer = Writing::new(BINDING_SUCCESS, message.transaction);
    answer.xor_mapped_address(peer);
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::stun::HEADER;

    fn request(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut writing = Writing::new(kind, b"twelve bytes");
        attributes.iter().for_each(|(kind, value)| writing.attribute(*kind, value));
        writing.bytes().to_vec()
    }

    #[test]
    fn a_binding_request_gets_the_address_that_we_see() {
        let bytes = request(BINDING_REQUEST, &[]);
        assert!(is_stun(&bytes));
        let answer = answer(&bytes, "192.0.2.1:32853".parse().expect("address")).expect("an answer");
        let answer = answer.bytes();
        assert_eq!(answer[..2], BINDING_SUCCESS.to_be_bytes());
        assert_eq!(answer[4..20], bytes[4..20], "cookie and transaction");
        assert_eq!(answer[20..26], [0x00, 0x20, 0x00, 8, 0x00, 0x01]);
        assert_eq!(usize::from(answer[3]) + HEADER, answer.len());
    }

    #[test]
    fn rfc_8489_14_what_must_be_understood_and_is_not_gets_no_answer() {
        let here = "192.0.2.1:1".parse().expect("address");
        assert!(answer(&request(BINDING_REQUEST, &[(0x8022, b"abc")]), here).is_some());
        assert!(answer(&request(BINDING_REQUEST, &[(0x0006, b"")]), here).is_none());
        assert!(answer(&request(0x0011, &[]), here).is_none(), "an indication");
        let mut short = request(BINDING_REQUEST, &[]);
        short[3] = 8;
        assert!(answer(&short, here).is_none());
    }
}
