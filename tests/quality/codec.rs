//! The codecs in which peers of these tests speak: G.711 by tables of these tests, the others by FFmpeg (`codec.py`).
//! Nothing of the product's, or one fault on both sides would cancel itself out.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::support::prompts::{linear, ulaw_linear, write_linear};
use super::support::rtp::FRAME;
use super::support::server::repository;

/// A codec by which a peer may be called; a row more is a codec more in every test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    Pcma,
    Pcmu,
    G722,
    Opus,
}

impl Codec {
    pub const ALL: [Self; 4] = [Self::Pcma, Self::Pcmu, Self::G722, Self::Opus];

    /// As the `m=` line has it.
    pub fn format(self) -> &'static str {
        match self {
            Self::Pcma => "8",
            Self::Pcmu => "0",
            Self::G722 => "9",
            Self::Opus => "111",
        }
    }

    pub fn payload_type(self) -> u8 {
        self.format().parse().expect("a number")
    }

    /// Timestamp units of 20 ms.
    pub fn step(self) -> u32 {
        match self {
            // RFC 3551 4.5.2: the clock of G.722 is 8 kHz by an old mistake. RFC 7587 4.1: that of Opus is 48 kHz.
            Self::Pcma | Self::Pcmu | Self::G722 => 160,
            Self::Opus => 960,
        }
    }

    pub fn is_g711(self) -> bool {
        self.law().is_some()
    }

    /// The payloads of 20 ms each of something said at 8 kHz. `dir` is for files on the way.
    pub fn encode(self, dir: &Path, said: &[i16]) -> Vec<Vec<u8>> {
        let Some(table) = self.table() else { return self.encode_elsewhere(dir, said) };
        let octets: Vec<u8> = said.iter().map(|sample| table[usize::from(sample.cast_unsigned())]).collect();
        octets.chunks(FRAME).map(<[u8]>::to_vec).collect()
    }

    /// What G.711 payloads say, at 8 kHz; silence for those that never came. `None` for another codec.
    pub fn decode(self, payloads: &[Vec<u8>]) -> Option<Vec<i16>> {
        let law = self.law()?;
        let frame = |payload: &Vec<u8>| {
            if payload.is_empty() {
                vec![0; FRAME]
            } else {
                payload.iter().map(|octet| law(*octet)).collect()
            }
        };
        Some(payloads.iter().flat_map(frame).collect())
    }

    /// As `codec.py` calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Pcma => "pcma",
            Self::Pcmu => "pcmu",
            Self::G722 => "g722",
            Self::Opus => "opus",
        }
    }

    fn law(self) -> Option<fn(u8) -> i16> {
        match self {
            Self::Pcma => Some(linear),
            Self::Pcmu => Some(ulaw_linear),
            Self::G722 | Self::Opus => None,
        }
    }

    /// The nearest octet to each 16-bit value.
    fn table(self) -> Option<&'static [u8]> {
        static TABLES: [OnceLock<Vec<u8>>; 2] = [const { OnceLock::new() }; 2];
        let law = self.law()?;
        Some(TABLES[usize::from(self == Self::Pcmu)].get_or_init(|| nearest(law)))
    }

    fn encode_elsewhere(self, dir: &Path, said: &[i16]) -> Vec<Vec<u8>> {
        let wav = dir.join(format!("to-{}.wav", self.name()));
        write_linear(&wav, said);
        let output = codec_py().args(["encode", self.name()]).arg(wav).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let octet = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| line.chunks(2).map(|pair| octet(pair).expect("hexadecimal")).collect()).collect()
    }
}

/// Streams of other codecs than G.711 become WAVs.
pub fn decode_elsewhere(streams: &[(Codec, &Path, &[Vec<u8>])]) {
    if streams.is_empty() {
        return;
    }
    let mut text = String::new();
    for (codec, wav, payloads) in streams {
        text += &format!("{} {}\n", codec.name(), wav.display());
        for payload in *payloads {
            text += &payload.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
            text.push('\n');
        }
        text += ".\n";
    }
    let mut child = codec_py().arg("decode").stdin(Stdio::piped()).spawn().expect("it runs");
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("read");
    assert!(child.wait().expect("it ends").success(), "codec.py failed");
}

fn codec_py() -> Command {
    let mut command = python();
    command.arg(repository("tests/quality/codec.py"));
    command
}

/// Python with what `requirements.txt` names.
pub fn python() -> Command {
    let python = repository("tests/quality/venv/bin/python");
    assert!(python.exists(), "{} is missing: run tests/interop/install.sh", python.display());
    Command::new(python)
}

fn nearest(law: fn(u8) -> i16) -> Vec<u8> {
    let mut octets: Vec<u8> = (0..=255).collect();
    octets.sort_by_key(|octet| law(*octet));
    let mut at = 0;
    let mut nearest = vec![0; 1 << 16];
    for value in i16::MIN..=i16::MAX {
        let distance = |at: usize| (i32::from(law(octets[at])) - i32::from(value)).abs();
        while at + 1 < octets.len() && distance(at + 1) <= distance(at) {
            at += 1;
        }
        nearest[usize::from(value.cast_unsigned())] = octets[at];
    }
    nearest
}
