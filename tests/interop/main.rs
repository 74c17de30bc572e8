//! The running binary against real programs over loopback: SIPp, baresip, Linphone, and JsSIP in Chromium.
//! `install.sh` installs them; a test fails when its program is missing.

#[path = "../support/mod.rs"]
mod support;

mod baresip;
mod jssip;
mod linphone;
mod sipp;
