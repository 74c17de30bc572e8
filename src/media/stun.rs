//! The STUN of ICE: a connectivity check is read and proven (RFC 8489 9.1 with short-term credentials, 14.7;
//! RFC 8445 7.1), and an answer is signed. Who is checked and what follows is `ice`'s.

use std::net::SocketAddr;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use subtle::ConstantTimeEq as _;

use crate::base::stun::{self, Attribute, BINDING_ERROR, BINDING_REQUEST, BINDING_SUCCESS, Message, Writing};

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
/// Of agents that know RFC 8489; ICE proves itself by the SHA-1 beside it.
const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLED: u16 = 0x8029;

/// The fingerprint is the CRC-32 with this over it (RFC 8489 14.7).
const OVER_CRC: u32 = 0x5354_554e;
/// What MESSAGE-INTEGRITY and FINGERPRINT take in a message.
const INTEGRITY: usize = 24;
const FINGER: usize = 8;
/// Attributes that we name in a 420; beyond that many a message is junk.
const MOST_UNKNOWN: usize = 8;

/// The name and the password of a media stream for its checks (RFC 8445 5.3).
pub struct Credentials<'a> {
    /// Ours, which stands before the colon.
    pub ours: &'a [u8],
    /// The peer's, after it.
    pub theirs: &'a [u8],
    /// Our password, by which the peer signs what it asks us.
    pub password: &'a [u8],
}

/// A Binding request that was signed by our password.
#[derive(Clone, Copy)]
pub struct Check<'a> {
    pub transaction: &'a [u8],
    /// The peer, which controls (RFC 8445 5.1.1: we are lite), uses this pair for its media.
    pub nominates: bool,
}

/// Why a request is not answered by success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// 400: not signed at all, or not for ICE.
    Unsigned,
    /// 401: signed by something else than our password, or for another stream.
    Unknown,
    /// 420: wants what we do not know.
    Unsupported([u16; MOST_UNKNOWN], usize),
    /// 487: the peer believes that we control, which a lite agent never does (RFC 8445 7.3.1.1).
    Role,
}

/// What a datagram is that begins as STUN does.
pub enum Read<'a> {
    Check(Check<'a>),
    Refused(&'a [u8], Refusal),
    /// No request, or broken: nothing to answer.
    Junk,
}

/// Reads a datagram. Nothing is believed of it before its signature is proven, in constant time.
pub fn read<'a>(datagram: &'a [u8], credentials: &Credentials<'_>) -> Read<'a> {
    let Some(message) = Message::parse(datagram).filter(|m| m.kind == BINDING_REQUEST) else {
        return Read::Junk;
    };
    // RFC 8445 7.1: every check ends in a fingerprint.
    let Some(finger) = message.attributes().last().filter(|a| a.kind == FINGERPRINT) else {
        return Read::Junk;
    };
    if fingerprint(message.before(finger.at)).as_slice() != finger.value {
        return Read::Junk;
    }
    match prove(&message, credentials) {
        Ok(nominates) => Read::Check(Check { transaction: message.transaction, nominates }),
        Err(refusal) => Read::Refused(message.transaction, refusal),
    }
}

/// Whether the check nominates, once all of it holds.
fn prove(message: &Message<'_>, credentials: &Credentials<'_>) -> Result<bool, Refusal> {
    let find = |kind| message.attributes().find(|a| a.kind == kind);
    let (Some(name), Some(signature)) = (find(USERNAME), find(MESSAGE_INTEGRITY)) else {
        return Err(Refusal::Unsigned);
    };
    let named = is_name(name.value, credentials);
    let signed = sign(credentials.password, message.before(signature.at))
        .is_some_and(|mac| mac.verify_slice(signature.value).is_ok());
    if !named || !signed {
        return Err(Refusal::Unknown);
    }
    // What comes after the signature is not signed and does not count (RFC 8489 14.5).
    let signed = || message.attributes().take_while(|a| a.at < signature.at);
    let unknown = signed().filter(|a| is_unknown(a)).map(|a| a.kind);
    let mut kinds = [0; MOST_UNKNOWN];
    let count = unknown.zip(&mut kinds).map(|(kind, place)| *place = kind).count();
    if count > 0 {
        return Err(Refusal::Unsupported(kinds, count));
    }
    if signed().any(|a| a.kind == ICE_CONTROLLED) {
        return Err(Refusal::Role);
    }
    Ok(signed().any(|a| a.kind == USE_CANDIDATE))
}

/// Whether the name is `ours:theirs`.
fn is_name(name: &[u8], credentials: &Credentials<'_>) -> bool {
    let Credentials { ours, theirs, .. } = credentials;
    let expected = [*ours, b":", *theirs].concat();
    name.ct_eq(&expected).into()
}

fn is_unknown(attribute: &Attribute<'_>) -> bool {
    let known = [USERNAME, MESSAGE_INTEGRITY, MESSAGE_INTEGRITY_SHA256, PRIORITY, USE_CANDIDATE];
    attribute.kind < stun::OPTIONAL && !known.contains(&attribute.kind)
}

/// The answer to a check from there.
pub fn success(check: &Check<'_>, from: SocketAddr, password: &[u8]) -> Writing {
    let mut writing = Writing::new(BINDING_SUCCESS, check.transaction);
    writing.xor_mapped_address(from);
    seal(&mut writing, Some(password));
    writing
}

/// The answer to a request that is refused. Only who has proven to know our password gets a signed one
/// (RFC 8489 9.1.4).
pub fn refuse(transaction: &[u8], refusal: Refusal, password: &[u8]) -> Writing {
    let mut writing = Writing::new(BINDING_ERROR, transaction);
    let (code, proven) = match refusal {
        Refusal::Unsigned => ([0, 0, 4, 0], false),
        Refusal::Unknown => ([0, 0, 4, 1], false),
        Refusal::Unsupported(..) => ([0, 0, 4, 20], true),
        Refusal::Role => ([0, 0, 4, 87], true),
    };
    writing.attribute(ERROR_CODE, &code);
    if let Refusal::Unsupported(kinds, count) = refusal {
        let listed: Vec<u8> = kinds.iter().take(count).flat_map(|kind| kind.to_be_bytes()).collect();
        writing.attribute(UNKNOWN_ATTRIBUTES, &listed);
    }
    seal(&mut writing, proven.then_some(password));
    writing
}

/// Signature and fingerprint end a message; each counts itself into the length that it covers.
fn seal(writing: &mut Writing, password: Option<&[u8]>) {
    if let Some(password) = password {
        if let Some(mac) = sign(password, writing.bytes()) {
            writing.attribute(MESSAGE_INTEGRITY, &mac.finalize().into_bytes());
        }
    }
    writing.announce(FINGER);
    let finger = fingerprint(writing.bytes());
    writing.attribute(FINGERPRINT, &finger);
}

/// The signature over what came before it, with a length that counts it in and nothing after it.
fn sign(password: &[u8], before: &[u8]) -> Option<Hmac<Sha1>> {
    let mut mac = Hmac::<Sha1>::new_from_slice(password).ok()?;
    let length = (before.len().checked_sub(stun::HEADER)? + INTEGRITY) as u16;
    mac.update(before.get(..2)?);
    mac.update(&length.to_be_bytes());
    mac.update(before.get(4..)?);
    Some(mac)
}

fn fingerprint(before: &[u8]) -> [u8; 4] {
    (crc32(before) ^ OVER_CRC).to_be_bytes()
}

/// CRC-32 of ISO-HDLC, which ITU-T V.42 has; a check has some hundred octets, so bit by bit is fast enough.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

/// A check as a full agent sends it. We never do; tests and the fuzz targets play the browser.
pub fn ask(credentials: &Credentials<'_>, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut writing = Writing::new(BINDING_REQUEST, b"twelve bytes");
    writing.attribute(USERNAME, &[credentials.ours, b":", credentials.theirs].concat());
    attributes.iter().for_each(|(kind, value)| writing.attribute(*kind, value));
    seal(&mut writing, Some(credentials.password));
    writing.bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Credentials<'_> =
        Credentials { ours: b"evtj", theirs: b"h6vY", password: b"VOkJxbRl1RmTxUk/WvJxBt" };

    /// RFC 5769 2.1: a request of ICE with all that it may have.
    const SAMPLE: &[u8] = &[
        0x00, 0x01, 0x00, 0x58, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa,
        0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x10, 0x53, 0x54, 0x55, 0x4e, 0x20, 0x74, 0x65, 0x73, 0x74, 0x20,
        0x63, 0x6c, 0x69, 0x65, 0x6e, 0x74, 0x00, 0x24, 0x00, 0x04, 0x6e, 0x00, 0x01, 0xff, 0x80, 0x29, 0x00,
        0x08, 0x93, 0x2f, 0xf9, 0xb1, 0x51, 0x26, 0x3b, 0x36, 0x00, 0x06, 0x00, 0x09, 0x65, 0x76, 0x74, 0x6a,
        0x3a, 0x68, 0x36, 0x76, 0x59, 0x20, 0x20, 0x20, 0x00, 0x08, 0x00, 0x14, 0x9a, 0xea, 0xa7, 0x0c, 0xbf,
        0xd8, 0xcb, 0x56, 0x78, 0x1e, 0xf2, 0xb5, 0xb2, 0xd3, 0xf2, 0x49, 0xc1, 0xb5, 0x71, 0xa2, 0x80, 0x28,
        0x00, 0x04, 0xe5, 0x7a, 0x3b, 0xcf,
    ];

    fn refusal(bytes: &[u8], credentials: &Credentials<'_>) -> Option<Refusal> {
        match read(bytes, credentials) {
            Read::Refused(transaction, refusal) => {
                assert_eq!(transaction, &bytes[8..20]);
                Some(refusal)
            }
            Read::Check(_) | Read::Junk => None,
        }
    }

    #[test]
    fn rfc_5769_2_1_the_request_of_the_examples_is_proven() {
        // It says that its sender is controlled, which is the last thing to be looked at.
        assert_eq!(refusal(SAMPLE, &OURS), Some(Refusal::Role));
        for wrong in [
            Credentials { password: b"VOkJxbRl1RmTxUk/WvJxBu", ..OURS },
            Credentials { ours: b"evtk", ..OURS },
            Credentials { theirs: b"h6v", ..OURS },
        ] {
            assert_eq!(refusal(SAMPLE, &wrong), Some(Refusal::Unknown));
        }
        for at in 0..SAMPLE.len() {
            let mut bent = SAMPLE.to_vec();
            bent[at] ^= 1;
            assert!(matches!(read(&bent, &OURS), Read::Junk), "octet {at} is under the fingerprint");
        }
    }

    #[test]
    fn a_check_is_proven_and_says_whether_it_nominates() {
        let priority = (PRIORITY, &[0x6e, 0, 1, 0xff][..]);
        for (attributes, nominates) in [
            (vec![priority], false),
            (vec![priority, (USE_CANDIDATE, &[])], true),
            (vec![priority, (0xc057, &[0; 4]), (0x802a, &[0; 8])], false),
        ] {
            let bytes = ask(&OURS, &attributes);
            let Read::Check(check) = read(&bytes, &OURS) else { panic!("a check") };
            assert_eq!((check.nominates, check.transaction), (nominates, &b"twelve bytes"[..]));
        }
    }

    #[test]
    fn rfc_8489_6_3_what_must_be_understood_and_is_not_is_named_in_a_420() {
        let bytes = ask(&OURS, &[(0x0031, &[]), (0x0032, b"x")]);
        let Some(refusal) = refusal(&bytes, &OURS) else { panic!("refused") };
        assert!(matches!(refusal, Refusal::Unsupported(_, 2)));
        let answer = refuse(b"twelve bytes", refusal, OURS.password);
        let message = Message::parse(answer.bytes()).expect("a message");
        let attributes: Vec<(u16, Vec<u8>)> =
            message.attributes().map(|a| (a.kind, a.value.to_vec())).collect();
        assert_eq!(attributes[0], (ERROR_CODE, vec![0, 0, 4, 20]));
        assert_eq!(attributes[1], (UNKNOWN_ATTRIBUTES, vec![0, 0x31, 0, 0x32]));
        assert_eq!((attributes[2].0, attributes[3].0), (MESSAGE_INTEGRITY, FINGERPRINT));
    }

    #[test]
    fn rfc_8489_9_1_3_without_a_signature_400_and_what_stands_after_one_does_not_count() {
        let mut unsigned = Writing::new(BINDING_REQUEST, b"twelve bytes");
        unsigned.attribute(USERNAME, b"evtj:h6vY");
        seal(&mut unsigned, None);
        assert_eq!(refusal(unsigned.bytes(), &OURS), Some(Refusal::Unsigned));

        let mut late = Writing::new(BINDING_REQUEST, b"twelve bytes");
        late.attribute(USERNAME, b"evtj:h6vY");
        let mac = sign(OURS.password, late.bytes()).expect("a signature").finalize();
        late.attribute(MESSAGE_INTEGRITY, &mac.into_bytes());
        late.attribute(USE_CANDIDATE, &[]);
        seal(&mut late, None);
        assert!(matches!(read(late.bytes(), &OURS), Read::Check(Check { nominates: false, .. })));
    }

    #[test]
    fn an_answer_bears_the_peers_address_and_our_signature() {
        let check = Check { transaction: b"twelve bytes", nominates: false };
        let answer = success(&check, "192.0.2.1:32853".parse().expect("address"), OURS.password);
        let message = Message::parse(answer.bytes()).expect("a message");
        let kinds: Vec<u16> = message.attributes().map(|a| a.kind).collect();
        assert_eq!(kinds, [stun::XOR_MAPPED_ADDRESS, MESSAGE_INTEGRITY, FINGERPRINT]);
        let signature = message.attributes().nth(1).expect("a signature");
        let mac = sign(OURS.password, message.before(signature.at)).expect("a signature");
        assert!(mac.verify_slice(signature.value).is_ok());
        let finger = message.attributes().nth(2).expect("a fingerprint");
        assert_eq!(fingerprint(message.before(finger.at)), finger.value);
    }
}
