//! Exchanges with browsers: what Chromium and Firefox write, cut to what counts.

use super::*;
use crate::sdp::offer_answer::{Agreed, Codec, Format, Local, Negotiation, Security};
use crate::sdp::session::Way;

const CHROMIUM: &str = "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
    a=group:BUNDLE 0\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS secret\r\n\
    m=audio 49203 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126\r\nc=IN IP4 0.0.0.0\r\n\
    a=rtcp:9 IN IP4 0.0.0.0\r\na=candidate:1 1 udp 2113937151 secret.local 49203 typ host\r\n\
    a=ice-ufrag:secR\r\na=ice-pwd:secretsecretsecretsecret\r\na=ice-options:trickle\r\n\
    a=fingerprint:sha-256 0F:74:31:25:CB:A2:13:EC:28:6F:6D:2C:61:FF:5D:C2:BC:B9:DB:3D:98:14:8D:1A:BB:EA:33:0C:A4:60:A8:8E\r\n\
    a=setup:actpass\r\na=mid:0\r\na=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=sendrecv\r\n\
    a=msid:secret secret\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
    a=rtpmap:13 CN/8000\r\na=rtpmap:110 telephone-event/48000\r\na=rtpmap:126 telephone-event/8000\r\n\
    a=ssrc:1 cname:secret\r\n";

/// Firefox says its fingerprint once for the whole session, and offers a picture beside.
const FIREFOX: &str = "v=0\r\no=mozilla 1 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n\
    a=fingerprint:sha-384 not:hex\r\n\
    a=fingerprint:sha-256 0F:74:31:25:CB:A2:13:EC:28:6F:6D:2C:61:FF:5D:C2:BC:B9:DB:3D:98:14:8D:1A:BB:EA:33:0C:A4:60:A8:8E\r\n\
    a=group:BUNDLE a1 v1\r\na=ice-options:trickle\r\n\
    m=video 9 UDP/TLS/RTP/SAVPF 120\r\nc=IN IP4 0.0.0.0\r\na=mid:v1\r\na=ice-pwd:x\r\na=ice-ufrag:aaaa\r\na=setup:actpass\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 8 101\r\nc=IN IP4 0.0.0.0\r\na=sendrecv\r\na=ice-pwd:9b1e2f\r\na=ice-ufrag:d62d6eb6\r\n\
    a=mid:a1\r\na=rtcp-mux\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000/1\r\na=setup:actpass\r\n";

fn ours(seed: u8) -> OurWeb {
    OurWeb { fingerprint: [0xab; 32], seed: Secret::copy_of(&[seed; 32]) }
}

fn negotiation(web: Option<OurWeb>) -> Negotiation {
    let local = Local {
        address: [192, 0, 2, 1].into(),
        port: 20_000,
        session_id: 7,
        codecs: vec![Codec::Pcma, Codec::Pcmu],
        dtmf: true,
        noise: false,
        rtcp_mux: false,
        security: Security::default(),
        web,
        own_ports: 30_000..=30_999,
    };
    Negotiation::new(local, [198, 51, 100, 9].into())
}

fn answered(negotiation: &mut Negotiation, offer: &str) -> (Vec<String>, Agreed, AgreedWeb) {
    let Ok((answer, agreed)) = negotiation.answer(offer.as_bytes()) else { panic!("refused: {offer}") };
    let Some(web) = agreed.web.clone() else { panic!("no browser: {offer}") };
    (lines(&answer), agreed, web)
}

fn lines(bytes: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect()
}

fn value<'a>(lines: &'a [String], prefix: &str) -> &'a str {
    let found: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix(prefix)).collect();
    let [value] = found[..] else { panic!("{prefix}: {lines:?}") };
    value
}

#[test]
fn rfc_8829_an_offer_of_chromium_is_answered_as_it_needs_it() {
    let (lines, agreed, web) = answered(&mut negotiation(Some(ours(1))), CHROMIUM);
    assert_eq!(value(&lines, "m="), "audio 20000 UDP/TLS/RTP/SAVPF 8 0 126");
    for line in [
        "a=ice-lite",
        "a=group:BUNDLE 0",
        "a=mid:0",
        "a=rtcp-mux",
        "a=setup:passive",
        "a=candidate:1 1 udp 2130706431 192.0.2.1 20000 typ host",
        "a=end-of-candidates",
        "a=sendrecv",
    ] {
        assert!(lines.iter().any(|l| l == line), "{line}: {lines:?}");
    }
    assert_eq!(value(&lines, "a=fingerprint:"), format!("sha-256 {}", ["AB"; 32].join(":")));
    assert_eq!(value(&lines, "a=ice-ufrag:"), web.ours);
    assert_eq!(value(&lines, "a=ice-pwd:").as_bytes(), web.password.expose());
    assert!(!lines.iter().any(|l| l.contains("sec") && !l.starts_with("a=ice-")), "{lines:?}");
    assert_eq!((web.theirs.as_str(), web.we_are_client, web.hash), ("secR", false, Hash::Sha256));
    assert_eq!((web.fingerprint.first(), web.fingerprint.last()), (Some(&0x0f), Some(&0x8e)));
    // Where it is, its checks say; that it names no address is no hold.
    assert_eq!((agreed.remote, agreed.rtcp_mux, agreed.way), (([0, 0, 0, 0], 9).into(), true, Way::SendRecv));
    assert!(agreed.keys.is_none() && agreed.formats.iter().any(|m| m.format == Format::Keys { clock: 8000 }));
}

#[test]
fn an_offer_of_firefox_with_a_picture_is_answered_by_its_names_of_the_sections() {
    let (lines, _, web) = answered(&mut negotiation(Some(ours(1))), FIREFOX);
    let sections: Vec<&str> =
        lines.iter().filter(|l| l.starts_with("m=") || l.starts_with("a=mid")).map(String::as_str).collect();
    assert_eq!(
        sections,
        ["m=video 0 UDP/TLS/RTP/SAVPF 0", "a=mid:v1", "m=audio 20000 UDP/TLS/RTP/SAVPF 8 101", "a=mid:a1"]
    );
    assert_eq!((value(&lines, "a=group:"), web.theirs.as_str()), ("BUNDLE a1", "d62d6eb6"));
}

#[test]
fn rfc_8839_4_4_3_other_words_of_the_peer_are_a_restart_and_the_same_are_none() {
    let mut n = negotiation(Some(ours(1)));
    let (_, _, first) = answered(&mut n, CHROMIUM);
    let (held, _, same) = answered(&mut n, &CHROMIUM.replace("a=sendrecv", "a=sendonly"));
    assert!(held.iter().any(|l| l == "a=recvonly") && same == first);
    let (_, _, restarted) = answered(&mut n, &CHROMIUM.replace("secR", "othR"));
    assert!(restarted.ours != first.ours && restarted.password != first.password);
    assert_eq!(restarted.theirs, "othR");
    let (_, _, other) = answered(&mut negotiation(Some(ours(2))), CHROMIUM);
    assert!(other.ours != first.ours && other.password != first.password, "of each stream its own");
}

#[test]
fn rfc_8842_5_the_roles_follow_the_peer_and_stay_where_it_leaves_the_choice() {
    let mut n = negotiation(Some(ours(1)));
    for (offered, answer, client) in
        [("passive", "active", true), ("actpass", "active", true), ("active", "passive", false)]
    {
        let offer = CHROMIUM.replace("setup:actpass", &format!("setup:{offered}"));
        let (lines, _, web) = answered(&mut n, &offer);
        assert_eq!((value(&lines, "a=setup:"), web.we_are_client), (answer, client), "{offered}");
    }
}

/// The browser's answer to this offer of ours, as Chromium writes it.
fn answer_to(offer: &[String], changes: &[(&str, &str)]) -> String {
    let mid = value(offer, "a=mid:");
    let text =
        CHROMIUM.replace("a=setup:actpass", "a=setup:active").replace("a=mid:0", &format!("a=mid:{mid}"));
    changes.iter().fold(text, |text, (from, to)| text.replace(from, to))
}

#[test]
fn a_browser_is_called_with_an_offer_that_it_can_take_and_may_hold_later() {
    let mut n = negotiation(None);
    n.set_web(Some(ours(1)), true);
    let (bytes, pending) = n.offer(Way::SendRecv);
    let offer = lines(&bytes);
    assert_eq!(value(&offer, "m="), "audio 20000 UDP/TLS/RTP/SAVPF 8 0 101");
    assert_eq!(
        (value(&offer, "a=setup:"), value(&offer, "a=group:"), value(&offer, "a=mid:")),
        ("actpass", "BUNDLE 0", "0")
    );
    let Ok(agreed) = n.accept_answer(pending, answer_to(&offer, &[]).as_bytes()) else { panic!("refused") };
    let Some(web) = agreed.web else { panic!("no browser") };
    assert_eq!((value(&offer, "a=ice-ufrag:"), web.we_are_client), (web.ours.as_str(), false));

    // It holds by an offer of its own, and a later one of ours is still a browser's.
    let (held, _, again) = answered(&mut n, &CHROMIUM.replace("a=sendrecv", "a=sendonly"));
    assert!(again == web && held.iter().any(|l| l == "a=recvonly"));
    let (bytes, pending) = n.offer(Way::SendRecv);
    let offer = lines(&bytes);
    assert_eq!((value(&offer, "a=ice-ufrag:"), value(&offer, "a=setup:")), (web.ours.as_str(), "actpass"));
    assert!(n.accept_answer(pending, answer_to(&offer, &[]).as_bytes()).is_ok());
}

#[test]
fn what_is_not_whole_is_refused_and_never_taken_in_the_clear() {
    for (from, to) in [
        ("a=rtcp-mux\r\n", ""),
        ("a=ice-ufrag:secR\r\n", ""),
        ("a=ice-ufrag:secR", "a=ice-ufrag:a:b"),
        ("a=ice-ufrag:secR", "a=ice-ufrag:abc"),
        ("a=ice-pwd:secretsecretsecretsecret\r\n", ""),
        ("a=setup:actpass", "a=setup:holdconn"),
        ("sha-256 0F:", "sha-256 "),
        ("sha-256 0F:", "sha-256 +F:"),
        ("sha-256", "sha-1"),
        ("a=fingerprint", "a=fingerprints"),
        ("UDP/TLS/RTP/SAVPF", "TCP/TLS/RTP/SAVPF"),
    ] {
        assert!(CHROMIUM.contains(from));
        let offer = CHROMIUM.replace(from, to);
        assert!(negotiation(Some(ours(1))).answer(offer.as_bytes()).is_err(), "{from} -> {to}");
        let mut n = negotiation(None);
        n.set_web(Some(ours(1)), true);
        let (bytes, pending) = n.offer(Way::SendRecv);
        let answer = answer_to(&lines(&bytes), &[(from, to)]);
        assert!(
            n.accept_answer(pending, answer.as_bytes()).is_err() || from.contains("actpass"),
            "{from} -> {to}"
        );
    }
    assert!(negotiation(None).answer(CHROMIUM.as_bytes()).is_err(), "without a certificate");
    let mut n = negotiation(Some(ours(1)));
    let (bytes, pending) = n.offer(Way::SendRecv);
    assert!(value(&lines(&bytes), "m=").contains("RTP/AVP"));
    assert!(
        n.accept_answer(pending, CHROMIUM.as_bytes()).is_err(),
        "a browser's answer to a telephone's offer"
    );
    n.set_web(Some(ours(1)), true);
    let (_, pending) = n.offer(Way::SendRecv);
    let clear = "v=0\r\nc=IN IP4 198.51.100.9\r\nm=audio 4000 RTP/AVP 8\r\n";
    assert!(n.accept_answer(pending, clear.as_bytes()).is_err(), "a telephone's answer to a browser's offer");
}

#[test]
fn a_name_of_a_section_that_means_more_than_itself_is_not_written_back() {
    for mid in ["0 a=x", "\u{e9}", "", "0123456789012345678901234567890123", "a/b"] {
        let (lines, _, _) =
            answered(&mut negotiation(Some(ours(1))), &CHROMIUM.replace("a=mid:0", &format!("a=mid:{mid}")));
        assert!(
            !lines.iter().any(|l| l.starts_with("a=mid") || l.starts_with("a=group")),
            "{mid}: {lines:?}"
        );
    }
}

#[test]
fn the_words_hold_the_bits_that_rfc_8445_5_3_asks_for_and_print_nothing() {
    let web = Web::default();
    let mut names: Vec<String> = Vec::new();
    for seed in 0..50 {
        let (name, password) = web.words(&ours(seed));
        assert!(is_name(&name) && name.len() * 5 >= 24 && password.expose().len() * 5 >= 128);
        names.push(name);
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 50);
    let written = web.offer(&ours(1));
    assert!(!format!("{written:?}").contains(std::str::from_utf8(written.password.expose()).unwrap()));
}

#[test]
fn an_answer_without_keys_to_an_offer_for_a_browser_is_refused_though_our_certificate_is_gone_meanwhile() {
    let mut n = negotiation(None);
    n.set_web(Some(ours(1)), true);
    let (bytes, pending) = n.offer(Way::SendRecv);
    let answer = answer_to(&lines(&bytes), &[]);
    n.set_web(None, false);
    assert!(matches!(n.accept_answer(pending, answer.as_bytes()), Err(SdpError::Security)));
}
