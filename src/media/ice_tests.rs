//! A lite agent and its browser, which moves, starts anew and falls silent; and who copies its checks.

use super::*;
use crate::base::secret::Secret;
use crate::base::stun::{BINDING_ERROR, BINDING_SUCCESS, Message};
use crate::base::time::Now;

const PASSWORD: &[u8] = b"a password of two dozen octets";
const NOMINATE: (u16, &[u8]) = (0x0025, &[]);

fn words(ours: &str) -> IceWords {
    IceWords { ours: ours.into(), password: Secret::copy_of(PASSWORD), theirs: "peer".into() }
}

fn check(ours: &str, password: &[u8], attributes: &[(u16, &[u8])]) -> Vec<u8> {
    stun::ask(&Credentials { ours: ours.as_bytes(), theirs: b"peer", password }, attributes)
}

fn at(port: u16) -> SocketAddr {
    ([192, 0, 2, 7], port).into()
}

fn kind(answer: Option<&Writing>) -> Option<u16> {
    Message::parse(answer?.bytes()).map(|message| message.kind)
}

#[test]
fn rfc_8445_the_first_pair_that_is_checked_serves_until_another_is_nominated() {
    let now = Now::read().at;
    let mut ice = Ice::new(now, words("us"));
    assert_eq!((ice.selected(now), ice.knows(at(1))), (None, false));
    for (port, attributes, selected) in
        [(1, &[][..], 1), (2, &[], 1), (2, &[NOMINATE], 2), (1, &[], 2), (3, &[NOMINATE], 3)]
    {
        let answer = ice.handle(now, at(port), &check("us", PASSWORD, attributes));
        assert_eq!(kind(answer.as_ref()), Some(BINDING_SUCCESS));
        assert_eq!((ice.selected(now), ice.knows(at(port))), (Some(at(selected)), true));
    }
}

#[test]
fn forged_checks_latch_nothing_and_are_refused_seldom_and_briefly() {
    let now = Now::read().at;
    let mut ice = Ice::new(now, words("us"));
    let forged = check("us", b"guessed", &[NOMINATE]);
    let answers: Vec<Writing> = (0..50).filter_map(|_| ice.handle(now, at(9), &forged)).collect();
    assert_eq!(answers.len(), usize::from(MOST_REFUSALS));
    assert!(answers.iter().all(|a| kind(Some(a)) == Some(BINDING_ERROR) && a.bytes().len() <= forged.len()));
    assert_eq!((ice.selected(now), ice.knows(at(9)), ice.strangers()), (None, false, 50));
    // One that asks us by the name of another stream, and the next second.
    let later = now + Duration::from_secs(1);
    assert_eq!(kind(ice.handle(later, at(9), &check("me", PASSWORD, &[])).as_ref()), Some(BINDING_ERROR));
    assert!(ice.handle(later, at(9), &forged[..20]).is_none());
    assert_eq!((ice.selected(later), ice.knows(at(9))), (None, false));
}

#[test]
fn rfc_7675_who_ceases_to_check_is_sent_nothing_until_it_checks_again() {
    let now = Now::read().at;
    let mut ice = Ice::new(now, words("us"));
    let bytes = check("us", PASSWORD, &[NOMINATE]);
    assert!(ice.handle(now, at(1), &bytes).is_some());
    assert_eq!(ice.selected(now + CONSENT / 2), Some(at(1)));
    assert_eq!(ice.selected(now + CONSENT), None);
    assert!(ice.handle(now + CONSENT * 2, at(1), &bytes).is_some());
    assert_eq!(ice.selected(now + CONSENT * 2), Some(at(1)));
}

#[test]
fn rfc_8445_9_after_a_restart_the_old_pair_serves_until_the_new_words_nominate() {
    let now = Now::read().at;
    let mut ice = Ice::new(now, words("us"));
    assert!(ice.handle(now, at(1), &check("us", PASSWORD, &[NOMINATE])).is_some());
    ice.set_words(words("us"));
    ice.set_words(words("we"));
    let old = ice.handle(now, at(2), &check("us", PASSWORD, &[NOMINATE]));
    assert_eq!((kind(old.as_ref()), ice.selected(now)), (Some(BINDING_ERROR), Some(at(1))));
    assert_eq!(ice.selected(now + CONSENT), None, "nor for ever without checks");
    assert!(ice.handle(now, at(2), &check("we", PASSWORD, &[NOMINATE])).is_some());
    assert_eq!((ice.selected(now), ice.knows(at(1))), (Some(at(2)), false));
}

#[test]
fn many_addresses_of_the_peer_never_drive_out_the_selected_one() {
    let now = Now::read().at;
    let mut ice = Ice::new(now, words("us"));
    assert!(ice.handle(now, at(1), &check("us", PASSWORD, &[NOMINATE])).is_some());
    for port in 2..100 {
        let later = now + Duration::from_millis(u64::from(port));
        assert!(ice.handle(later, at(port), &check("us", PASSWORD, &[])).is_some());
    }
    assert!(ice.sources.len() <= MOST_SOURCES && ice.knows(at(1)) && ice.knows(at(99)));
    assert_eq!(ice.selected(now + Duration::from_secs(1)), Some(at(1)));
}

/// A browser that nominated the first address, and has keys.
fn keyed(now: Instant) -> Ice {
    let mut ice = Ice::new(now, words("us"));
    nominate(&mut ice, now, 1);
    ice.set_keyed(true);
    ice.prove(at(1));
    ice
}

fn nominate(ice: &mut Ice, now: Instant, port: u16) {
    let answer = ice.handle(now, at(port), &check("us", PASSWORD, &[NOMINATE]));
    assert_eq!(kind(answer.as_ref()), Some(BINDING_SUCCESS), "a lite agent can't tell a copy");
}

#[test]
fn a_copied_check_from_elsewhere_moves_nothing_however_often_and_late_it_comes() {
    let now = Now::read().at;
    let mut ice = keyed(now);
    for tenths in 1..600 {
        let now = now + Duration::from_millis(100 * tenths);
        nominate(&mut ice, now, 9);
        // The browser goes on for as long as it has consent, then is gone.
        if tenths < 200 {
            nominate(&mut ice, now, 1);
        }
        let expected = (tenths < 199 + CONSENT.as_millis() as u64 / 100).then(|| at(1));
        assert_eq!(ice.selected(now), expected, "after {tenths} tenths");
    }
}

#[test]
fn a_browser_that_moves_is_followed_with_its_first_packet_though_copies_of_its_checks_rain() {
    let now = Now::read().at;
    let mut ice = keyed(now);
    let mut at_ms = 0;
    let mut later = |ms| {
        at_ms += ms;
        now + Duration::from_millis(at_ms)
    };
    // Its media may come before it nominates.
    nominate(&mut ice, later(0), 1);
    assert!(ice.handle(later(10), at(2), &check("us", PASSWORD, &[])).is_some());
    ice.prove(at(2));
    assert_eq!(ice.selected(later(0)), Some(at(1)));
    nominate(&mut ice, later(10), 2);
    (20..40).for_each(|port| nominate(&mut ice, later(1), port));
    assert_eq!(ice.selected(later(0)), Some(at(1)));
    ice.prove(at(2));
    assert_eq!(ice.selected(later(0)), Some(at(2)));
    // Neither what was still on its way nor a copy as if from the old address takes it back.
    ice.prove(at(1));
    nominate(&mut ice, later(10), 1);
    assert_eq!(ice.selected(later(0)), Some(at(2)));
    assert_eq!(ice.selected(later(CONSENT.as_millis() as u64)), None);
}

#[test]
fn a_copy_that_came_before_the_keys_loses_to_the_first_packet_that_they_open() {
    let now = Now::read().at;
    let mut ice = Ice::new(now, words("us"));
    nominate(&mut ice, now, 1);
    nominate(&mut ice, now + Duration::from_secs(1), 9);
    assert_eq!(ice.selected(now), Some(at(9)));
    ice.set_keyed(true);
    ice.prove(at(1));
    assert_eq!(ice.selected(now), Some(at(1)));
    nominate(&mut ice, now + Duration::from_secs(2), 9);
    assert_eq!(ice.selected(now), Some(at(1)));
    // A packet from nobody who checked proves nothing.
    ice.prove(at(77));
    assert_eq!((ice.selected(now), ice.knows(at(77))), (Some(at(1)), false));
}

#[test]
fn rfc_8445_9_after_a_restart_with_keys_the_new_pair_serves_with_the_first_packet_from_it() {
    let now = Now::read().at;
    let mut ice = keyed(now);
    ice.set_words(words("we"));
    let bytes = check("we", PASSWORD, &[NOMINATE]);
    assert!(ice.handle(now, at(2), &bytes).is_some());
    assert_eq!(ice.selected(now), Some(at(1)));
    ice.prove(at(2));
    assert_eq!((ice.selected(now), ice.knows(at(1))), (Some(at(2)), false));
    // Another certificate is another browser: its handshake needs to be led to where it is.
    ice.set_keyed(false);
    assert!(ice.handle(now, at(3), &bytes).is_some());
    assert_eq!(ice.selected(now), Some(at(3)));
}

#[test]
fn copies_of_checks_drive_out_no_address_that_the_keys_have_proven_and_take_nobodys_records() {
    let now = Now::read().at;
    let mut ice = keyed(now);
    nominate(&mut ice, now, 2);
    ice.prove(at(2));
    (10..200).for_each(|port| nominate(&mut ice, now, port));
    assert!(ice.knows(at(1)) && ice.knows(at(2)) && ice.sources.len() <= MOST_SOURCES);
    assert!((0..200).filter(|_| ice.admits_record(now, at(199))).count() == usize::from(MOST_RECORDS));
    assert!(ice.admits_record(now, at(2)) && !ice.admits_record(now, at(5)));
    assert!(ice.admits_record(now + Duration::from_secs(1), at(199)));
}
