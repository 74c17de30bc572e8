//! The running binary against real programs over loopback: SIPp and baresip. `install.sh` installs them; a test
//! fails when its program is missing.

#[path = "../support/mod.rs"]
mod support;

mod baresip;
mod sipp;
