//! The running binary against real programs over loopback: SIPp, baresip, Linphone, and JsSIP in Chromium.
//! `install.sh` installs them; a test fails when its program is missing.

#[path = "../support/mod.rs"]
mod support;

mod baresip;
mod jssip;
mod linphone;
mod sipp;

/// The configuration for programs that have no SHA-256 and give up when it is offered, as `config/site.toml` says:
/// baresip 1.0 and SIPp 3.6.
fn with_md5_only(toml: &str) -> String {
    toml.replace("realm = \"test\"", "realm = \"test\"\nalgorithms = [\"md5\"]")
}
