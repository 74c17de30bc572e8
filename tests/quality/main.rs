//! How good it sounds: speech goes through the running switch on every way that it may take, and PESQ (ITU-T P.862)
//! says what is left of it. G.711 by itself costs this speech 0.5 of the 4.5 that can be had, twice 0.7.
//!
//! The calls are real, so each takes as long as what is said. A peer puts what it hears where the timestamps put it: when
//! packets arrive does not matter. Loss and delay come from a seed. `tests/interop/install.sh` installs PESQ.

#[path = "../support/mod.rs"]
mod support;

mod codec;
mod engine;
mod helpline;
mod joined;
mod marks;
mod message;
mod prompt;

use std::time::Duration;

use support::prompts::read_wav;
use support::server::repository;
use support::way::Way;

/// The least mark of a path that loses nothing, and of one that loses 5 % and conceals it.
const CLEAR: f64 = 3.7;
const CONCEALED: f64 = 2.8;
/// The same where G.722 or Opus take part, which by themselves leave 3.9 and 4.3, before another codec takes its share.
const CLEAR_AFTER_WIDE: f64 = 3.3;
const CONCEALED_AFTER_WIDE: f64 = 2.6;

/// One packet in twenty is lost, and many overtake the one before.
const BAD: Way = Way { loss: 50, jitter: Duration::from_millis(30), seed: 1712 };

/// Ten seconds of speech.
fn speech() -> Vec<i16> {
    read_wav(&repository("prompts/en/welcome.wav"))
}
