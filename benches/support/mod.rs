//! What the benches share: a core of its own for what is measured, the running switch, SIP as text, and far
//! ends that speak RTP. Each bench uses a part of it.
#![allow(dead_code)]

pub mod cpu;
#[path = "../../tests/support/message.rs"]
pub mod message;
pub mod peers;
pub mod server;
pub mod sip;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A number from the environment.
pub fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// As many open files as this user may have; children inherit it.
pub fn open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// `cargo bench` hands on arguments of its own, and `cargo test --benches` runs benches, too: then there is
/// nothing to measure.
pub fn is_asked_for() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// The value below which this part of the sorted values lies.
pub fn quantile(sorted: &[f64], part: f64) -> f64 {
    let at = (sorted.len().saturating_sub(1) as f64 * part).round() as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, 0.5)
}

/// Says whether a figure keeps below its mark.
pub fn mark(what: &str, is: f64, unit: &str, at_most: f64) {
    let word = if is <= at_most { "ok" } else { "MISSED" };
    println!("mark: {what}: {is:.2}{unit}, at most {at_most}{unit}: {word}");
}

/// The same of a range that must lie within another.
pub fn mark_within(what: &str, (low, high): (f64, f64), unit: &str, (least, most): (f64, f64)) {
    let word = if low >= least && high <= most { "ok" } else { "MISSED" };
    println!("mark: {what}: {low:.2} to {high:.2}{unit}, within {least} to {most}{unit}: {word}");
}
