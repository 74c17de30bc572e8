//! The switch of these tests: the helpline of the others, with speech in place of some prompts and a line for each codec
//! pair.

use super::support::server::{HELPLINE, repository};
use super::support::{Server, Site};

/// The switch with `lines` lines more: `p0` at NET.10, `p1` at NET.11 and so on, each with a number of its name.
pub fn start(lines: usize) -> Server {
    let more: String = (0..lines).map(line).collect();
    let codecs = "[helpline]\ncodecs = [\"pcma\", \"pcmu\", \"g722\", \"opus\"]";
    let helpline = HELPLINE.replace("[helpline]", codecs).replace("calls = 50", "calls = 100");
    let site = Site::new(&format!("{helpline}{more}{WAY}"));
    let speech = repository("prompts/en/welcome.wav");
    std::fs::copy(speech, site.dir.join("prompts/nl/welcome.wav")).expect("copied");
    let music = repository("prompts/music.wav");
    std::fs::copy(music, site.dir.join("prompts/music.wav")).expect("copied");
    site.start()
}

/// A prompt, music while a line rings, a person.
const WAY: &str = r#"
[[number]]
dial = "way"
flow = "way"
[flow.way]
start = "welcome"
step.welcome = { do = "play", prompts = ["welcome"], next = "queue" }
step.queue = { do = "queue", queue = "fixed", full = "nobody", nobody = "nobody", too-long = "nobody" }
step.nobody = { do = "hangup", prompts = ["nobody-there"] }
"#;

fn line(n: usize) -> String {
    let host = 10 + n;
    format!(
        r#"
[[line]]
name = "p{n}"
uri = "sip:p{n}@NET.{host}:5060"
logged-in = true
[queue.p{n}]
lines = ["p{n}"]
ring = "20s"
wrap-up = "0s"
misses = 0
[[number]]
dial = "p{n}"
flow = "p{n}"
[flow.p{n}]
start = "queue"
step.queue = {{ do = "queue", queue = "p{n}", full = "nobody", nobody = "nobody", too-long = "nobody" }}
step.nobody = {{ do = "hangup", prompts = ["nobody-there"] }}
"#
    )
}
