//! The running binary against real programs over loopback: SIPp, baresip and Linphone. `install.sh` installs them; a test
//! fails when its program is missing.

#[path = "../support/mod.rs"]
mod support;

mod baresip;
mod linphone;
mod sipp;
