//! A browser of ours against a browser's leg: checks, a handshake, and who tries to come between.

use super::*;
use crate::base::secret::Secret;
use crate::base::stun::Message;
use crate::base::time::Now;
use crate::media::command::{Fingerprint, Hash, IceWords};
use crate::media::keying::DtlsRole;
use crate::media::stun::{self, Credentials};

const PASSWORD: &[u8] = b"of two dozen octets and more";
const NOMINATE: (u16, &[u8]) = (0x0025, &[]);

fn here() -> SocketAddr {
    ([192, 0, 2, 7], 4000).into()
}

fn elsewhere() -> SocketAddr {
    ([198, 51, 100, 9], 4000).into()
}

fn identity() -> Arc<Identity> {
    Arc::new(Identity::generate().expect("a certificate"))
}

fn named(identity: &Identity) -> Fingerprint {
    Fingerprint::new(Hash::Sha256, &identity.fingerprint()).expect("a fingerprint")
}

fn agreed(role: DtlsRole, peer: &Identity) -> WebRtc {
    let ice = IceWords { ours: "us".into(), password: Secret::copy_of(PASSWORD), theirs: "peer".into() };
    WebRtc { ice, role, fingerprint: named(peer) }
}

fn check(attributes: &[(u16, &[u8])]) -> Vec<u8> {
    stun::ask(&Credentials { ours: b"us", theirs: b"peer", password: PASSWORD }, attributes)
}

/// The browser's side of the handshake, and a leg of ours.
struct Scene {
    now: Instant,
    browser: Dtls,
    web: Web,
    theirs: Option<Keying>,
}

impl Scene {
    fn new(our_role: DtlsRole, expects: impl Fn(&Identity, &Identity) -> Fingerprint) -> Self {
        let now = Now::read().at;
        let (us, them) = (identity(), identity());
        let role = if our_role == DtlsRole::Server { DtlsRole::Client } else { DtlsRole::Server };
        let browser = Dtls::new(now, &them, role, named(&us));
        let mut agreed = agreed(our_role, &them);
        agreed.fingerprint = expects(&us, &them);
        Self { now, browser, web: Web::new(now, us, agreed), theirs: None }
    }

    /// Both speak for so many tenths of a second; the browser from there.
    fn speak(&mut self, from: SocketAddr, tenths: u32) {
        for _ in 0..tenths {
            let mut out = [0; ROOM];
            loop {
                match self.browser.poll(&mut out) {
                    Step::Send(bytes) => self.web.handle(self.now, from, bytes),
                    Step::Keys(keying) => self.theirs = Some(keying),
                    Step::Failed(_) | Step::Wait => break,
                }
            }
            while let Some((to, bytes)) = self.web.poll_datagram() {
                assert_eq!(to, from, "nobody else hears us");
                if Kind::of(&bytes) == Kind::Dtls {
                    self.browser.handle(self.now, &bytes);
                }
            }
            self.now += Duration::from_millis(100);
            self.browser.on_time(self.now);
            self.web.on_time(self.now);
        }
    }
}

#[test]
fn rfc_8445_and_5764_a_browser_is_found_and_both_have_the_same_keys_whoever_begins() {
    for role in [DtlsRole::Server, DtlsRole::Client] {
        let mut scene = Scene::new(role, |_, them| named(them));
        scene.web.handle(scene.now, here(), &check(&[NOMINATE]));
        scene.speak(here(), 20);
        let (Some(theirs), Some(ours)) = (scene.theirs.take(), scene.web.take_keying()) else {
            panic!("no keys: {role:?}")
        };
        assert!(theirs.ours() == ours.theirs() && theirs.theirs() == ours.ours());
        assert_eq!((scene.web.place(scene.now), scene.web.knows(here())), (Some(here()), true));
        assert!(scene.web.take_keying().is_none() && scene.web.poll_fault().is_none());
    }
}

#[test]
fn a_hello_from_elsewhere_gets_no_answer_and_hinders_nobody() {
    let mut scene = Scene::new(DtlsRole::Server, |_, them| named(them));
    scene.speak(elsewhere(), 10);
    assert!(scene.web.strangers() > 0 && scene.web.poll_datagram().is_none() && scene.theirs.is_none());
    scene.web.handle(scene.now, here(), &check(&[NOMINATE]));
    scene.speak(here(), 30);
    assert!(scene.theirs.is_some() && scene.web.take_keying().is_some());
    // And in the middle of the call.
    let mut stranger = Dtls::new(scene.now, &identity(), DtlsRole::Client, named(&identity()));
    let mut out = [0; ROOM];
    let Step::Send(hello) = stranger.poll(&mut out) else { panic!("a hello") };
    scene.web.handle(scene.now, elsewhere(), hello);
    assert!(scene.web.poll_datagram().is_none() && scene.web.poll_fault().is_none());
}

#[test]
fn another_certificate_than_the_sdp_names_ends_it_and_gives_no_keys() {
    let mut scene = Scene::new(DtlsRole::Server, |us, _| named(us));
    scene.web.handle(scene.now, here(), &check(&[NOMINATE]));
    scene.speak(here(), 20);
    assert_eq!(scene.web.poll_fault(), Some(Insecure::Certificate));
    assert!(scene.web.take_keying().is_none() && scene.web.poll_fault().is_none(), "told once");
}

#[test]
fn a_browser_that_never_comes_is_given_up_in_time() {
    let mut scene = Scene::new(DtlsRole::Server, |_, them| named(them));
    let seconds = SECURE_WITHIN.as_secs();
    scene.web.on_time(scene.now + Duration::from_secs(seconds - 1));
    assert_eq!(scene.web.poll_fault(), None);
    scene.web.on_time(scene.now + Duration::from_secs(seconds));
    assert_eq!(scene.web.poll_fault(), Some(Insecure::Late));
}

#[test]
fn rfc_8842_another_certificate_in_a_later_exchange_is_another_association() {
    let mut scene = Scene::new(DtlsRole::Server, |_, them| named(them));
    scene.web.handle(scene.now, here(), &check(&[NOMINATE]));
    scene.speak(here(), 20);
    let first = scene.web.take_keying().expect("keys");
    // The same again, as of a hold, changes nothing.
    let same = scene.web.agreed.clone();
    scene.web.agree(scene.now, same);
    scene.speak(here(), 20);
    assert!(scene.web.take_keying().is_none());
    let them = identity();
    scene.browser = Dtls::new(scene.now, &them, DtlsRole::Client, named(&scene.web.identity));
    scene.web.agree(scene.now, agreed(DtlsRole::Server, &them));
    scene.speak(here(), 20);
    let second = scene.web.take_keying().expect("new keys");
    assert!(first != second);
}

#[test]
fn rfc_7983_each_datagram_is_told_by_its_first_octet() {
    for (octets, kind) in [
        (0..=3, Kind::Stun),
        (4..=19, Kind::Other),
        (20..=63, Kind::Dtls),
        (64..=127, Kind::Other),
        (128..=191, Kind::Media),
        (192..=255, Kind::Other),
    ] {
        octets.for_each(|octet: u8| assert_eq!(Kind::of(&[octet, 0]), kind, "{octet}"));
    }
    assert_eq!(Kind::of(&[]), Kind::Other);
    assert!(Message::parse(&check(&[])).is_some());
}
