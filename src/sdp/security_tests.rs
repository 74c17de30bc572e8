//! Offers and answers with keys (RFC 4568).

use super::*;
use crate::base::id::Rng;

fn side(srtp: Srtp, confidential: bool, seed: u64) -> Negotiation {
    let local = Local {
        address: IpAddr::from([192, 0, 2, 1]),
        port: 20_000,
        session_id: 7,
        codecs: vec![Codec::Pcma],
        dtmf: true,
        noise: false,
        rtcp_mux: false,
        security: Security::new(srtp, confidential, &[], &mut Rng::from_number(seed)),
        web: None,
        own_ports: 30_000..=30_999,
    };
    Negotiation::new(local, "192.0.2.1".parse().expect("an address"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Both sides' keys, crossed; `None`: in the clear.
fn exchange(a: &mut Negotiation, b: &mut Negotiation) -> Result<Option<Keys>, SdpError> {
    let (offer, pending) = a.offer(Way::SendRecv);
    let (answer, there) = b.answer(&offer)?;
    let here = a.accept_answer(pending, &answer)?;
    match (&here.keys, there.keys) {
        (Some(here), Some(there)) => {
            assert!(here.suite == there.suite && here.ours == there.theirs && here.theirs == there.ours);
            assert!(here.ours != here.theirs, "one key a direction");
        }
        (None, None) => {}
        _ => panic!("one side encrypts and the other does not"),
    }
    Ok(here.keys)
}

fn offer_of(media: &str) -> Vec<u8> {
    format!("v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n{media}").into_bytes()
}

const KEY: &str = "inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR";

#[test]
fn what_two_sides_want_comes_to_encrypted_clear_or_no_call() {
    use Srtp::{Mandatory, Never, Optional};
    const ENCRYPTED: Option<bool> = Some(true);
    const CLEAR: Option<bool> = Some(false);
    for (offers, private, answers, comes_to) in [
        (Never, true, Never, CLEAR),
        (Never, true, Optional, CLEAR),
        (Never, true, Mandatory, None),
        (Optional, true, Never, CLEAR),
        (Optional, true, Optional, ENCRYPTED),
        (Optional, true, Mandatory, ENCRYPTED),
        (Optional, false, Optional, CLEAR),
        (Optional, false, Mandatory, None),
        (Mandatory, true, Never, None),
        (Mandatory, true, Optional, ENCRYPTED),
        (Mandatory, false, Optional, ENCRYPTED),
        (Mandatory, true, Mandatory, ENCRYPTED),
    ] {
        let (mut a, mut b) = (side(offers, private, 1), side(answers, false, 2));
        let found = exchange(&mut a, &mut b);
        let word = match &found {
            Ok(keys) => Some(keys.is_some()),
            Err(error) => {
                assert_eq!(*error, SdpError::Security);
                None
            }
        };
        assert_eq!(word, comes_to, "{offers:?} {private} to {answers:?}");
        if word.is_some() {
            // A later offer, of whichever side, leaves it as it was.
            assert!(exchange(&mut b, &mut a).is_ok_and(|keys| keys.is_some() == word.unwrap_or_default()));
            let again = exchange(&mut a, &mut b).ok().flatten();
            assert!(again == found.ok().flatten(), "with the same keys");
        }
    }
}

#[test]
fn mandatory_offers_savp_and_optional_avp_with_keys_as_rfc8643_has_it() {
    let (mandatory, _) = side(Srtp::Mandatory, true, 1).offer(Way::SendRecv);
    let (optional, _) = side(Srtp::Optional, true, 1).offer(Way::SendRecv);
    assert!(text(&mandatory).contains("m=audio 20000 RTP/SAVP 8 101\r\n"));
    assert!(text(&optional).contains("m=audio 20000 RTP/AVP 8 101\r\n"));
    for offer in [text(&mandatory), text(&optional)] {
        let lines: Vec<&str> = offer.lines().filter_map(|line| line.strip_prefix("a=crypto:")).collect();
        let heads: Vec<&str> = lines.iter().filter_map(|line| line.split(" inline:").next()).collect();
        assert_eq!(heads, ["1 AEAD_AES_256_GCM", "2 AEAD_AES_128_GCM", "3 AES_CM_128_HMAC_SHA1_80"]);
    }
}

#[test]
fn rfc4568_5_1_2_the_first_line_that_can_be_taken_is_answered_by_its_tag() {
    let lines = format!(
        "a=crypto:1 F8_128_HMAC_SHA1_80 {KEY}\r\na=crypto:2 AES_CM_128_HMAC_SHA1_80 {KEY} UNENCRYPTED_SRTP\r\n\
         a=crypto:7 AES_CM_128_HMAC_SHA1_32 {KEY}|2^31\r\na=crypto:8 AES_CM_128_HMAC_SHA1_80 {KEY}\r\n"
    );
    for profile in ["RTP/SAVP", "RTP/AVP"] {
        let offer = offer_of(&format!("m=audio 4000 {profile} 8\r\n{lines}"));
        let Ok((answer, agreed)) = side(Srtp::Optional, false, 1).answer(&offer) else { panic!() };
        let answer = text(&answer);
        assert!(answer.contains(&format!("m=audio 20000 {profile} 8\r\n")), "{answer}");
        assert!(answer.contains("a=crypto:7 AES_CM_128_HMAC_SHA1_32 inline:"), "{answer}");
        assert_eq!(answer.matches("a=crypto").count(), 1);
        assert!(!answer.contains(KEY) && agreed.keys.is_some_and(|k| k.suite == Suite::AesCm128Sha1_32));
    }
}

#[test]
fn rfc4568_an_encrypted_offer_with_nothing_that_can_be_taken_is_refused() {
    for lines in [String::new(), format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 {KEY}|2^20|1:1\r\n")] {
        let offer = offer_of(&format!("m=audio 4000 RTP/SAVP 8\r\n{lines}"));
        for srtp in [Srtp::Never, Srtp::Optional, Srtp::Mandatory] {
            assert_eq!(side(srtp, true, 1).answer(&offer).err(), Some(SdpError::Security));
        }
    }
}

#[test]
fn a_phone_that_offers_the_same_encrypted_and_in_the_clear_gets_one_of_them() {
    let crypto = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 {KEY}\r\n");
    for sections in [
        format!("m=audio 4000 RTP/SAVP 8\r\n{crypto}m=audio 4002 RTP/AVP 8\r\n"),
        format!("m=audio 4002 RTP/AVP 8\r\nm=audio 4000 RTP/SAVP 8\r\n{crypto}"),
    ] {
        let savp_first = sections.starts_with("m=audio 4000");
        for (srtp, encrypted) in [(Srtp::Never, false), (Srtp::Optional, true), (Srtp::Mandatory, true)] {
            let Ok((answer, agreed)) = side(srtp, true, 1).answer(&offer_of(&sections)) else { panic!() };
            assert_eq!((agreed.keys.is_some(), agreed.remote.port() == 4000), (encrypted, encrypted));
            let answer = text(&answer);
            let ports: Vec<&str> =
                answer.lines().filter_map(|line| line.strip_prefix("m=audio ")?.split(' ').next()).collect();
            assert_eq!(ports, if encrypted == savp_first { ["20000", "0"] } else { ["0", "20000"] });
        }
    }
}

#[test]
fn rfc4568_5_1_3_an_answer_must_be_one_of_our_lines() {
    let answer = |profile: &str, lines: &str| offer_of(&format!("m=audio 4000 {profile} 8\r\n{lines}"));
    let ours = format!("a=crypto:3 AES_CM_128_HMAC_SHA1_80 {KEY}\r\n");
    let others = [
        String::new(),
        format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 {KEY}\r\n"),
        format!("a=crypto:4 AES_CM_128_HMAC_SHA1_32 {KEY}\r\n"),
    ];
    let taken = |srtp, profile: &str, lines: &str| {
        let mut us = side(srtp, true, 1);
        let (_, pending) = us.offer(Way::SendRecv);
        us.accept_answer(pending, &answer(profile, lines)).map(|agreed| agreed.keys.is_some())
    };
    for profile in ["RTP/AVP", "RTP/SAVP"] {
        assert_eq!(taken(Srtp::Mandatory, profile, &ours), Ok(true));
        assert_eq!(taken(Srtp::Optional, profile, &ours), Ok(true));
    }
    for lines in &others {
        assert_eq!(taken(Srtp::Mandatory, "RTP/SAVP", lines), Err(SdpError::Security), "{lines}");
        assert_eq!(taken(Srtp::Optional, "RTP/SAVP", lines), Err(SdpError::Security), "{lines}");
        assert_eq!(taken(Srtp::Optional, "RTP/AVP", lines), Ok(false), "{lines}");
    }
}

#[test]
fn rfc4568_7_1_4_a_new_key_of_the_peer_is_taken_and_ours_stays() {
    let mut us = side(Srtp::Optional, true, 1);
    let offer = |key: &str| {
        offer_of(&format!("m=audio 4000 RTP/SAVP 8\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 {key}\r\n"))
    };
    let Ok((first, before)) = us.answer(&offer(KEY)) else { panic!() };
    let other = "inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";
    let Ok((second, after)) = us.answer(&offer(other)) else { panic!() };
    assert_eq!(text(&first), text(&second), "our description has not changed");
    let (Some(before), Some(after)) = (before.keys, after.keys) else { panic!() };
    assert!(before.ours == after.ours && before.theirs != after.theirs);
    let (again, _) = us.offer(Way::SendRecv);
    let again = text(&again);
    assert!(again.contains("RTP/SAVP") && again.matches("a=crypto").count() == 1, "{again}");
}

#[test]
fn rfc3711_9_1_what_was_encrypted_stays_so_with_the_same_suite_until_the_dialog_ends() {
    let mut ours = side(Srtp::Optional, true, 1);
    let line = |suite: &str| format!("a=crypto:1 {suite} {KEY}\r\n");
    let offer = |profile: &str, lines: &str| offer_of(&format!("m=audio 4000 {profile} 8\r\n{lines}"));
    assert!(
        ours.answer(&offer("RTP/SAVP", &line("AES_CM_128_HMAC_SHA1_80")))
            .is_ok_and(|(_, a)| a.keys.is_some())
    );
    // In the clear, or by a suite whose key would later begin anew.
    for refused in [offer("RTP/AVP", ""), offer("RTP/SAVP", &line("AES_CM_128_HMAC_SHA1_32"))] {
        assert!(ours.answer(&refused).is_err_and(|error| error == SdpError::Security));
    }
    let both = line("AES_CM_128_HMAC_SHA1_32") + &line("AES_CM_128_HMAC_SHA1_80").replace(":1 ", ":2 ");
    assert!(ours.answer(&offer("RTP/SAVP", &both)).is_ok_and(|(_, a)| a.keys.is_some()));
    // Nor does an answer to an offer of ours lead into the clear.
    let (_, pending) = ours.offer(Way::SendRecv);
    assert!(ours.accept_answer(pending, &offer("RTP/AVP", "")).is_err());
    // Another dialog begins with what it wants.
    ours.set_security(Security::new(Srtp::Optional, true, &[], &mut Rng::from_number(9)));
    assert!(ours.answer(&offer("RTP/AVP", "")).is_ok_and(|(_, a)| a.keys.is_none()));
}

#[test]
fn another_call_has_other_keys() {
    let mut rng = Rng::from_number(1);
    let mut us = side(Srtp::Mandatory, true, 1);
    let lines = |us: &mut Negotiation| {
        let (offer, _pending) = us.offer(Way::SendRecv);
        text(&offer)
            .lines()
            .filter(|line| line.starts_with("a=crypto"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    us.set_security(Security::new(Srtp::Mandatory, true, &[], &mut rng));
    let first = lines(&mut us);
    us.set_security(Security::new(Srtp::Mandatory, true, &[], &mut rng));
    let second = lines(&mut us);
    assert!(first.len() == 3 && first.iter().all(|line| !second.contains(line)));
}
