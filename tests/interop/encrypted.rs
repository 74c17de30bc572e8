//! Audio encrypted with keys in SDP (RFC 4568): baresip and Linphone as counsellors' phones, in every suite that
//! each has. The caller's side is in the clear, and both hear each other.

use crate::support::rtp::{FRAME, SILENCE, in_order};
use crate::support::server::HELPLINE;
use crate::support::{Dialog, Rtp, Sdp, Server, prompts};
use crate::{baresip, hears_counsellor, linear, linphone};

/// The helpline whose line `anna` has this `srtp`.
fn helpline(srtp: &str) -> String {
    let line = "name = \"anna\"\n";
    assert_eq!(HELPLINE.matches(line).count(), 1);
    HELPLINE.replace(line, &format!("{line}srtp = \"{srtp}\"\n"))
}

/// That helpline with this one suite.
fn with_suite(srtp: &str, suite: &str) -> String {
    helpline(srtp)
        .replace("quarantine = \"1s\"\n", &format!("quarantine = \"1s\"\nsrtp-suites = [\"{suite}\"]\n"))
}

const SUITES: [(&str, &str); 4] = [
    ("AEAD_AES_256_GCM", "aead_aes_256_gcm"),
    ("AEAD_AES_128_GCM", "aead_aes_128_gcm"),
    ("AES_CM_128_HMAC_SHA1_80", "aes_cm_128_hmac_sha1_80"),
    ("AES_CM_128_HMAC_SHA1_32", "aes_cm_128_hmac_sha1_32"),
];

/// So many sides of calls were encrypted that way.
fn wait_legs(server: &Server, security: &str, count: f64) {
    server.wait_metric(&format!("hulplijn_media_legs_total{{security=\"{security}\"}}"), count);
}

fn rtp_kind(server: &Server, kind: &str) -> f64 {
    server.metric(&format!("hulplijn_rtp_packets_total{{kind=\"{kind}\"}}"))
}

/// With the short tag both programs shorten that of their reports, too, which RFC 4568 6.2.2 does not: so those are
/// not read.
fn is_clean(security: &str) -> bool {
    security != "aes_cm_128_hmac_sha1_32"
}

/// baresip is called, heard, hears sample by sample, holds and resumes.
fn baresip_serves(helpline: &str, transport: &str, encryption: &str, security: &str) {
    let account = baresip::Account { transport, encryption, ..baresip::USUAL };
    let (server, mut phone) = baresip::with_phone_of(helpline, &account);
    server.wait_metric("hulplijn_lines_registered", 1.0);
    let (mut carrier, mut caller, mut dialog, to) = baresip::joined(&server);
    let said = prompts::noise("caller", 50 * FRAME);
    caller.say(to, &said);
    caller.say(to, &[SILENCE; 50 * FRAME]);
    phone.command("hold", "");
    caller.stay_until(to, "something else than the counsellor", |ear| !hears_counsellor(ear));
    phone.command("resume", "");
    caller.stay_until(to, "the counsellor again", hears_counsellor);
    dialog.bye(&mut carrier);
    wait_legs(&server, security, 1.0);
    wait_legs(&server, "none", if security == "none" { 2.0 } else { 1.0 });
    assert!(rtp_kind(&server, "replayed") < 1.0);
    if is_clean(security) && transport == "tls" {
        assert!(rtp_kind(&server, "forged") < 1.0, "{security}");
    }
    assert!(in_order(&phone.heard(), &linear(&said)), "{security}: the counsellor misses samples");
}

#[test]
fn baresip_in_every_suite_with_a_line_that_must_be_encrypted_over_tls() {
    for (suite, security) in SUITES {
        baresip_serves(&with_suite("mandatory", suite), "tls", "srtp-mand", security);
    }
}

#[test]
fn baresip_with_a_line_that_may_be_encrypted_over_tls() {
    baresip_serves(&helpline("optional"), "tls", "srtp", "aead_aes_256_gcm");
    baresip_serves(&helpline("optional"), "tls", "srtp-mand", "aead_aes_256_gcm");
    baresip_serves(&helpline("optional"), "tls", "", "none");
}

#[test]
fn over_udp_no_keys_are_offered_unless_they_must_be_but_those_of_the_phone_are_taken() {
    // It begins in the clear; baresip offers keys when it holds the caller.
    baresip_serves(&helpline("optional"), "udp", "srtp", "aes_cm_128_hmac_sha1_80");
    baresip_serves(&helpline("mandatory"), "udp", "srtp-mand", "aead_aes_256_gcm");
}

#[test]
fn a_phone_without_srtp_is_not_joined_where_the_line_must_be_encrypted() {
    let account = baresip::Account { transport: "tls", ..baresip::USUAL };
    let (server, _phone) = baresip::with_phone_of(&helpline("mandatory"), &account);
    server.wait_metric("hulplijn_lines_registered", 1.0);
    let mut carrier = server.carrier();
    let caller = Rtp::bind(server.place().host(2));
    let (mut dialog, _) = Dialog::call(&mut carrier, "1712", &Sdp::pcma(caller.local));
    server.wait_log("event=\"missed\"");
    dialog.bye(&mut carrier);
    server.wait_metric(r#"hulplijn_calls_total{outcome="abandoned"}"#, 1.0);
}

/// A `*` code that baresip dials: it offers, we answer.
#[test]
fn baresip_that_offers_keys_is_answered_with_one_and_a_line_that_must_not_be_encrypted_refuses() {
    let account = baresip::Account { transport: "tls", encryption: "srtp-mand", ..baresip::USUAL };
    let (server, mut phone) = baresip::with_phone_of(&helpline("optional"), &account);
    server.wait_metric("hulplijn_lines_registered", 1.0);
    let secure = server.place().host(1);
    phone.command("dial", &format!("sip:*72@{secure}:5061;transport=tls"));
    server.wait_metric_is(r#"hulplijn_lines{state="logged_out"}"#, 1.0);
    server.wait_log("media_stats");
    assert!(server.metric(r#"hulplijn_media_legs_total{security="none"}"#) < 1.0);
    let beginning = &linear(&prompts::alaw("nl", "line-logged-out"))[..5 * FRAME];
    assert!(baresip::contains(&phone.heard(), beginning), "the prompt was not heard");

    let (server, mut phone) = baresip::with_phone_of(&helpline("never"), &account);
    server.wait_metric("hulplijn_lines_registered", 1.0);
    let secure = server.place().host(1);
    phone.command("dial", &format!("sip:*72@{secure}:5061;transport=tls"));
    server.wait_metric(r#"hulplijn_sip_refused_total{status="488"}"#, 1.0);
}

/// Linphone is called, heard and hears, and hangs up.
fn linphone_serves(helpline: &str, transport: &str, settings: &str, security: &str) {
    let (server, mut phone) = linphone::with_phone_of(helpline, transport, settings);
    let (mut carrier, mut caller, dialog, to) = linphone::joined(&server, &mut phone);
    let said = prompts::noise("caller", 100 * FRAME);
    caller.say(to, &said);
    caller.say(to, &[SILENCE; 50 * FRAME]);
    phone.command("terminate");
    dialog.await_bye(&mut carrier);
    wait_legs(&server, security, 1.0);
    assert!(!is_clean(security) || rtp_kind(&server, "forged") < 1.0, "{security}");
    let (said, heard) = (linear(&said), phone.heard());
    let whole = said.chunks(FRAME).filter(|frame| heard.windows(FRAME).any(|w| w == *frame)).count();
    assert!(whole >= 50, "{security}: of the caller's 100 frames the counsellor hears {whole}");
}

const LINPHONE_MANDATORY: &str = "media_encryption=srtp\nmedia_encryption_mandatory=1\n";

#[test]
fn linphone_that_takes_encrypted_calls_only_over_tls() {
    for suite in [SUITES[2], SUITES[3]] {
        linphone_serves(&with_suite("mandatory", suite.0), "tls", LINPHONE_MANDATORY, suite.1);
    }
}

#[test]
fn linphone_and_a_line_that_may_be_encrypted_over_tls() {
    // It refuses RTP/AVP, and is asked once more.
    linphone_serves(&helpline("optional"), "tls", LINPHONE_MANDATORY, "aes_cm_128_hmac_sha1_80");
    // In RTP/AVP it does not see the keys.
    linphone_serves(&helpline("optional"), "tls", "media_encryption=srtp\n", "none");
}
