//! Marks of what was heard, given by PESQ, and the steps between its samples.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use super::codec::{Codec, decode_elsewhere, python};
use super::support::prompts::write_linear;
use super::support::server::repository;

/// By how much a path may change the level.
const LEVEL_DB: f64 = 1.0;
/// A speaker or a listener who was held up for longer has heard the machine, not the switch.
const HELD_UP: Duration = Duration::from_millis(60);
/// So often it is tried on a machine that holds them up.
const TRIES: usize = 4;

/// Something said and what was heard of it.
pub struct Take {
    /// Who heard it how.
    pub what: String,
    pub said: Vec<i16>,
    pub heard: Heard,
    /// The least mark.
    pub least: f64,
}

pub enum Heard {
    Samples(Vec<i16>),
    /// Payloads of 20 ms; an empty one never came.
    Payloads(Codec, Vec<Vec<u8>>),
}

/// Takes of a try, and for how long a speaker or a listener was held up at most.
pub struct Try {
    pub takes: Vec<Take>,
    pub held_up: Duration,
}

/// Every take of a try has its mark and its level. When a try fails in which the machine stood still, it says nothing
/// about the switch and there is another.
pub fn hold(dir: &Path, attempt: impl Fn() -> Try) {
    for left in (0..TRIES).rev() {
        let Try { takes, held_up } = attempt();
        let (good, table) = judge(dir, &takes);
        println!("{table}");
        if good {
            return;
        }
        assert!(left > 0 && held_up > HELD_UP, "held up for {held_up:?} at most:\n{table}");
        eprintln!("once more: this machine held somebody up for {held_up:?}:\n{table}");
    }
}

/// Whether all are good enough, and the table that says so.
fn judge(dir: &Path, takes: &[Take]) -> (bool, String) {
    let mut good = true;
    let mut table = String::new();
    for (take, (mark, level)) in takes.iter().zip(marks(dir, takes)) {
        let fine = mark >= take.least && level.abs() <= LEVEL_DB;
        good &= fine;
        let verdict = if fine { "" } else { "  <- not good enough" };
        table += &format!("{mark:.2} (of {:.1})  {level:+.2} dB  {}{verdict}\n", take.least, take.what);
    }
    (good, table)
}

/// PESQ and the level against what was said, in dB, of each.
fn marks(dir: &Path, takes: &[Take]) -> Vec<(f64, f64)> {
    let lines = files(dir, takes);
    let mut child = python()
        .arg(repository("tests/quality/marks.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    // Dropped, so that it knows the end.
    child.stdin.take().expect("piped").write_all(lines.as_bytes()).expect("read");
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout);
    let number = |word: Option<&str>| word.and_then(|w| w.parse().ok()).expect("a number");
    let rows: Vec<(f64, f64)> = text
        .lines()
        .map(|line| {
            let mut words = line.split(' ');
            (number(words.next()), number(words.next()))
        })
        .collect();
    assert!(output.status.success() && rows.len() == takes.len(), "marks.py failed:\n{text}");
    rows
}

/// Writes both sides of each as WAVs; their lines.
fn files(dir: &Path, takes: &[Take]) -> String {
    let name = |side: &str, n: usize| dir.join(format!("{side}-{n}.wav"));
    let wavs: Vec<[PathBuf; 2]> = (0..takes.len()).map(|n| [name("said", n), name("heard", n)]).collect();
    let mut elsewhere = Vec::new();
    for ([said, heard], take) in wavs.iter().zip(takes) {
        write_linear(said, &take.said);
        match &take.heard {
            Heard::Samples(samples) => write_linear(heard, samples),
            Heard::Payloads(codec, payloads) => match codec.decode(payloads) {
                Some(samples) => write_linear(heard, &samples),
                None => elsewhere.push((*codec, heard.as_path(), &payloads[..])),
            },
        }
    }
    decode_elsewhere(&elsewhere);
    wavs.iter().map(|[said, heard]| format!("{}\t{}\n", said.display(), heard.display())).collect()
}

/// The largest step from one sample to the next.
pub fn largest_step(samples: &[i16]) -> i32 {
    samples.windows(2).map(|pair| step(pair[0], pair[1])).max().unwrap_or(0)
}

pub fn step(a: i16, b: i16) -> i32 {
    (i32::from(a) - i32::from(b)).abs()
}
