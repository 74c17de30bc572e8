//! What tests of the running binary share: a switch in a place of its own, raw SIP and RTP peers, prompts that
//! can be recognised by their bytes. Nothing here uses the product's own SIP or RTP code: one fault on both
//! sides would cancel itself out.

// Each test binary uses its own part of this.
#![allow(dead_code, unused_imports)]

pub mod certificates;
pub mod dialog;
pub mod digest;
pub mod dns;
pub mod message;
pub mod peer;
pub mod place;
pub mod prompts;
pub mod rtp;
pub mod server;
pub mod way;

pub use dialog::{Dialog, Sdp, reply};
pub use digest::{Algorithm, Challenge, Registration};
pub use message::Message;
pub use peer::Peer;
pub use place::Place;
pub use rtp::Rtp;
pub use server::{Server, Site};

use std::time::Duration;

/// How long a test waits for what must come. Only a failing test waits so long; generous, since the machine
/// may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);
