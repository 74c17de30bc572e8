//! The running binary against real programs over loopback: SIPp, baresip, Linphone, and JsSIP in Chromium.
//! `install.sh` installs them; a test fails when its program is missing.

#[path = "../support/mod.rs"]
mod support;

mod baresip;
mod baresip_wide;
mod browser;
mod encrypted;
mod jssip;
mod linphone;
mod sipp;
mod sipp_tls;
mod tunnel;

use support::prompts;
use support::rtp::{FRAME, Rtp, find};

/// What the phones of the counsellors say: 30 s. Linphone says it over and over; at its end baresip hangs up.
fn spoken() -> Vec<u8> {
    prompts::noise("counsellor", 1500 * FRAME)
}

/// Whether the last frame heard is the counsellor's voice.
fn hears_counsellor(ear: &Rtp) -> bool {
    ear.heard.last().is_some_and(|p| p.payload.len() == FRAME && find(&spoken(), &p.payload).is_some())
}

fn linear(alaw: &[u8]) -> Vec<i16> {
    alaw.iter().map(|octet| prompts::linear(*octet)).collect()
}

/// The configuration for programs that have no SHA-256 and give up when it is offered, as `config/site.toml` says:
/// baresip 1.0 and SIPp 3.6.
fn with_md5_only(toml: &str) -> String {
    toml.replace("realm = \"test\"", "realm = \"test\"\nalgorithms = [\"md5\"]")
}
