//! Two sides of a handshake, what is lost between them, and who speaks in between.

use super::*;
use crate::base::time::Now;

/// What came of a side.
#[derive(Default)]
struct Outcome {
    keying: Option<Keying>,
    fault: Option<DtlsFault>,
}

fn named(identity: &Identity) -> Fingerprint {
    Fingerprint::new(Hash::Sha256, &identity.fingerprint()).expect("a fingerprint")
}

/// Lets both speak until nothing is left to say. `lose`: which datagrams are lost, by their number.
fn converse(sides: &mut [Dtls; 2], lose: impl Fn(usize) -> bool) -> [Outcome; 2] {
    converse_with(sides, lose, |_| Vec::new())
}

/// The same; `forge`: what somebody sends to whom a datagram is for, right before it.
fn converse_with(
    sides: &mut [Dtls; 2],
    lose: impl Fn(usize) -> bool,
    forge: impl Fn(usize) -> Vec<Vec<u8>>,
) -> [Outcome; 2] {
    let mut now = Now::read().at;
    let mut outcomes = [Outcome::default(), Outcome::default()];
    let mut sent = 0;
    for _ in 0..200 {
        for (from, to) in [(0, 1), (1, 0)] {
            let mut out = [0; ROOM];
            loop {
                match sides[from].poll(&mut out) {
                    Step::Send(bytes) => {
                        sent += 1;
                        let bytes = bytes.to_vec();
                        assert!(bytes.len() <= MTU, "{} octets", bytes.len());
                        forge(sent).iter().for_each(|forged| sides[to].handle(now, forged));
                        if !lose(sent) {
                            sides[to].handle(now, &bytes);
                        }
                    }
                    Step::Keys(keying) => outcomes[from].keying = Some(keying),
                    Step::Failed(fault) => outcomes[from].fault = Some(fault),
                    Step::Wait => break,
                }
            }
        }
        now += Duration::from_millis(100);
        sides.iter_mut().for_each(|side| side.on_time(now));
    }
    outcomes
}

fn pair() -> (Identity, Identity) {
    (Identity::generate().expect("a certificate"), Identity::generate().expect("a certificate"))
}

fn sides(browser: &Identity, us: &Identity, expected: Fingerprint) -> [Dtls; 2] {
    let now = Now::read().at;
    [Dtls::new(now, browser, DtlsRole::Client, named(us)), Dtls::new(now, us, DtlsRole::Server, expected)]
}

#[test]
fn rfc_5764_4_2_both_sides_draw_the_same_keys_though_every_fifth_datagram_is_lost() {
    let (browser, us) = pair();
    for lose in [|_| false, |number: usize| number.is_multiple_of(5)] {
        let [theirs, ours] = converse(&mut sides(&browser, &us, named(&browser)), lose);
        let (Some(theirs), Some(ours)) = (theirs.keying, ours.keying) else { panic!("no keys") };
        assert!(theirs.ours() == ours.theirs() && theirs.theirs() == ours.ours());
        assert!(ours.ours() != ours.theirs() && theirs.suite() == ours.suite());
    }
}

#[test]
fn rfc_8122_another_certificate_than_the_named_one_gets_no_keys() {
    let (browser, us) = pair();
    let [_, ours] = converse(&mut sides(&browser, &us, named(&us)), |_| false);
    assert_eq!((ours.keying.is_some(), ours.fault), (false, Some(DtlsFault::Fingerprint)));
    for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
        let value = match hash {
            Hash::Sha256 => Sha256::digest(b"certificate").to_vec(),
            Hash::Sha384 => Sha384::digest(b"certificate").to_vec(),
            Hash::Sha512 => Sha512::digest(b"certificate").to_vec(),
        };
        let fingerprint = Fingerprint::new(hash, &value).expect("a fingerprint");
        assert!(fingerprint.matches(b"certificate") && !fingerprint.matches(b"another"));
        assert!(Fingerprint::new(hash, &value[1..]).is_none());
    }
}

#[test]
fn junk_changes_nothing_and_silence_ends_it() {
    let (browser, us) = pair();
    let mut sides = sides(&browser, &us, named(&browser));
    let now = Now::read().at;
    for junk in [&[22u8, 254, 253][..], &[23; 600], &[63], &[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
        sides[1].handle(now, junk);
    }
    let [_, ours] = converse(&mut sides, |_| false);
    assert!(ours.keying.is_some() && ours.fault.is_none());

    let mut lonely = self::sides(&browser, &us, named(&browser));
    let [theirs, ours] = converse(&mut lonely, |number| number > 1);
    assert_eq!((theirs.fault, ours.fault), (Some(DtlsFault::Handshake), Some(DtlsFault::Handshake)));
}

/// A record in the clear: its kind, its epoch, what it carries.
fn record(kind: u8, epoch: u8, number: usize, content: &[u8]) -> Vec<u8> {
    let header = [kind, 254, 253, 0, epoch, 0, 0, 0, 0, 0, number as u8, 0, content.len() as u8];
    [&header[..], content].concat()
}

#[test]
fn rfc_6347_4_1_2_7_a_forged_alert_at_any_step_of_the_handshake_ends_nothing() {
    let (browser, us) = pair();
    let forged = |number: usize| {
        let fatal = record(21, 0, number, &[2, 40]);
        let closing = record(21, 0, number, &[1, 0]);
        let empty = record(22, 0, number, &[1, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0]);
        // Alone, as a second record, after junk that is none of a handshake's, an acknowledgement; cut short.
        vec![
            fatal.clone(),
            closing,
            [&empty[..], &fatal].concat(),
            [&fatal[..], &fatal].concat(),
            record(26, 0, number, &[0, 0]),
            [&fatal[..], &empty[..20]].concat(),
        ]
    };
    for step in 1..=12 {
        let [theirs, ours] = converse_with(
            &mut sides(&browser, &us, named(&browser)),
            |_| false,
            |number| if number == step { forged(number) } else { Vec::new() },
        );
        assert_eq!((theirs.fault, ours.fault), (None, None), "step {step}");
        assert!(theirs.keying.is_some() && ours.keying.is_some(), "step {step}");
    }
    let [theirs, ours] =
        converse_with(&mut sides(&browser, &us, named(&browser)), |n| n.is_multiple_of(4), forged);
    assert!(theirs.keying.is_some() && ours.keying.is_some(), "all the time");
}

#[test]
fn a_datagram_is_looked_at_record_by_record() {
    let hello = record(22, 0, 0, &[1; 9]);
    let sealed = [&[0x2f, 0, 1, 0, 3][..], &[9; 3]].concat();
    for (records, is_1_3, plausible) in [
        (&[&hello[..]][..], false, true),
        (&[&hello, &hello], false, true),
        (&[&hello, &record(20, 0, 0, &[1]), &record(22, 1, 0, &[7; 40])], false, true),
        (&[&hello, &record(21, 1, 0, &[7; 30])], false, true),
        (&[&hello, &record(21, 0, 0, &[2, 40])], false, false),
        (&[&hello, &hello[..12]], false, false),
        (&[&hello, &hello[..14]], false, false),
        (&[&record(22, 0, 0, &[])], false, false),
        (&[&record(22, 2, 0, &[1])], false, false),
        (&[&sealed], false, false),
        (&[&hello, &sealed, &sealed], true, true),
        (&[&hello, &sealed, &sealed], false, true),
        (&[&sealed, &record(21, 0, 0, &[2, 40])], true, false),
        (&[&sealed[..7]], true, false),
        (&[&[0x2f, 0, 1, 0][..]], true, false),
        (&[&[0x20, 7, 1, 2, 3][..]], true, true),
        (&[], false, false),
    ] {
        assert_eq!(is_plausible(&records.concat(), is_1_3), plausible, "{records:?}");
    }
}
