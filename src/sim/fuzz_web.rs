//! What the fuzz target `stun` does with bytes: a browser's leg among strangers, and a browser that signs anything. It
//! panics only when a promise is broken; see `sim::fuzz`.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::base::secret::Secret;
use crate::base::stun::Message;
use crate::media::command::{Fingerprint, Hash, IceWords, WebRtc};
use crate::media::dtls::Identity;
use crate::media::keying::DtlsRole;
use crate::media::stun::{self, Credentials};
use crate::media::web::{Kind, Web};

const PASSWORD: &[u8] = b"of two dozen octets and more";
/// Refusals that strangers get at most, in the one second that all of this takes.
const MOST_REFUSALS: usize = 10;

/// Datagrams: `[whence][length][bytes]…`. What is not signed by our password moves nothing and is answered by no more than
/// came; whatever a browser signs, it is the only one that is sent to.
pub fn stun(bytes: &[u8]) {
    if let Some(message) = Message::parse(bytes) {
        let whole: usize = message.attributes().map(|a| 4 + a.value.len().next_multiple_of(4)).sum();
        assert!(whole + 20 == bytes.len(), "attributes that are not there");
    }
    let Some(mut web) = web() else { return };
    let now = super::fuzz::beginning().at;
    let (mut refusals, mut checked) = (0, false);
    let mut rest = bytes;
    while let [whence, length, tail @ ..] = rest {
        let (datagram, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = tail;
        let from = if whence & 1 == 0 { browser() } else { stranger() };
        if whence & 3 == 2 {
            let signed = signed(datagram);
            web.handle(now, browser(), &signed);
            checked |= web.place(now).is_some();
            while let Some((to, _)) = web.poll_datagram() {
                assert!(to == browser(), "another is answered");
            }
        } else if Kind::of(datagram) != Kind::Media {
            web.handle(now, from, datagram);
            while let Some((to, answer)) = web.poll_datagram() {
                assert!(to == from || checked, "another is answered");
                if Kind::of(&answer) == Kind::Stun {
                    refusals += 1;
                    assert!(answer.len() <= datagram.len(), "an answer is longer than what came");
                }
            }
        }
        assert!(!web.knows(stranger()), "a stranger is believed");
        assert!(
            web.place(now).is_none_or(|place| checked && place == browser()),
            "an unsigned check moves us"
        );
    }
    assert!(refusals <= MOST_REFUSALS, "strangers make us talk");
    web.on_time(now + Duration::from_secs(60));
    assert!(web.poll_fault().is_some() && web.poll_fault().is_none(), "a leg without keys ends once");
    assert!(web.take_keying().is_none(), "keys of nowhere");
}

/// A leg that waits for a browser whose certificate nobody has.
fn web() -> Option<Web> {
    static IDENTITY: OnceLock<Option<Arc<Identity>>> = OnceLock::new();
    let identity = IDENTITY.get_or_init(|| Identity::generate().ok().map(Arc::new)).clone()?;
    let ice = IceWords { ours: "us".into(), password: Secret::copy_of(PASSWORD), theirs: "peer".into() };
    let fingerprint = Fingerprint::new(Hash::Sha256, &[7; 32])?;
    Some(Web::new(super::fuzz::beginning().at, identity, WebRtc { ice, role: DtlsRole::Server, fingerprint }))
}

/// A check with attributes of the fuzzer's choice: `[kind][length][value]…`.
fn signed(bytes: &[u8]) -> Vec<u8> {
    let mut attributes = Vec::new();
    let mut rest = bytes;
    while let [kind, length, tail @ ..] = rest {
        let (value, tail) = tail.split_at(usize::from(*length % 16).min(tail.len()));
        rest = tail;
        // Those of ICE are among the first of either half.
        attributes.push((u16::from(kind & 0x80) << 8 | u16::from(kind & 0x7f), value));
    }
    stun::ask(&Credentials { ours: b"us", theirs: b"peer", password: PASSWORD }, &attributes)
}

fn browser() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 4000))
}

fn stranger() -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 7], 4000))
}
