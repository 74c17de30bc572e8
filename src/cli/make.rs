//! `hulplijn prompts make`: speaks the texts that are new or changed. A recording of a real voice is
//! never overwritten unless asked.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command as Program, Stdio};

use anyhow::{Context as _, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::exit::Exit;
use super::prompts::{LEVEL, LEVELS, PEAK, fingerprint, is_name, read_texts};
use crate::media::audio::{RATE, measure, read_wav};

/// What the file says that remembers how each WAV was made.
const HEAD: &str = "# Kept by `hulplijn prompts make`: from which text each WAV was made, and which bytes came out, so that\n\
    # only what changed is made again and a voice of your own is left alone.\n";
/// The way out when a text was changed that an own recording says.
pub const OWN: &str = "when the recording says the new text, run `hulplijn prompts make --take-as-is`; to have it spoken by \
    the synthesiser, delete its WAV and run `hulplijn prompts make`";
/// A switch has its prompts in memory.
const RELOAD: &str =
    "a running switch takes them at its next reload: kill -HUP its process, or systemctl reload";
const MADE: &str = "made.toml";
/// Pace in words a minute and the pause between words in 10 ms, of the synthesiser.
const VOICE: [&str; 4] = ["-s", "150", "-g", "4"];

#[derive(Debug, Args)]
pub struct Arguments {
    /// Speaks every text again, also where a recording of your own stands.
    #[arg(long)]
    all: bool,
    /// Makes nothing, but takes the present WAVs as saying the present texts: after you recorded what was changed.
    #[arg(long, conflicts_with = "all")]
    take_as_is: bool,
}

/// Makes what has to be made in each language.
pub fn run(
    arguments: &Arguments,
    root: &Path,
    languages: &[String],
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let (mut exit, mut all) = (Exit::Fine, 0);
    for language in languages {
        let texts = read_texts(root, language)?;
        let folder = root.join(language);
        let mut made = Made::read(&folder);
        let gone = made.forget_all_but(&texts);
        let mut count = 0;
        for (name, text) in &texts {
            if !is_name(name) {
                writeln!(out, "{language}/{name}: a name has only small letters, digits and `-`")?;
                exit = Exit::Wrong;
                continue;
            }
            let wav = folder.join(format!("{name}.wav"));
            let present = fs::read(&wav).ok().map(|bytes| fingerprint(&bytes));
            if arguments.take_as_is {
                made.note(language, name, text, present);
                continue;
            }
            match made.work(language, name, text, present.as_deref(), arguments.all) {
                Work::Nothing => {}
                Work::Leave => writeln!(
                    out,
                    "{language}/{name}: the text was changed, and your own recording is left as it is; {OWN}"
                )?,
                Work::Speak => {
                    speak(language, text, &wav).with_context(|| format!("{language}/{name}"))?;
                    made.note(language, name, text, fs::read(&wav).ok().map(|bytes| fingerprint(&bytes)));
                    // After each one, so that an interrupted run remembers what it has made.
                    made.write(&folder)?;
                    writeln!(out, "{language}/{name}.wav")?;
                    count += 1;
                }
            }
        }
        if gone || arguments.take_as_is {
            made.write(&folder)?;
        }
        writeln!(out, "{language}: {count} of {} prompts made", texts.len())?;
        all += count;
    }
    if all > 0 {
        writeln!(out, "{RELOAD}")?;
    }
    Ok(exit)
}

/// What there is to do for one text.
#[derive(Debug, PartialEq, Eq)]
enum Work {
    Nothing,
    /// The text changed, but the WAV is not one that we made.
    Leave,
    Speak,
}

/// How each WAV of a language was made.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made(BTreeMap<String, Entry>);

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    /// Fingerprint of the text and the voice.
    text: String,
    /// Fingerprint of the WAV that came out.
    wav: String,
}

impl Made {
    /// What an earlier run wrote; nothing when there is no such file or it is damaged.
    pub fn read(folder: &Path) -> Self {
        let text = fs::read_to_string(folder.join(MADE)).unwrap_or_default();
        toml::from_str(&text).unwrap_or_default()
    }

    /// What is to be done when the WAV was made from another text than this one.
    pub fn says_otherwise(&self, language: &str, name: &str, text: &str, folder: &Path) -> Option<String> {
        let entry = self.0.get(name).filter(|entry| entry.text != spoken(language, text))?;
        let present = fs::read(folder.join(format!("{name}.wav"))).ok().map(|bytes| fingerprint(&bytes));
        let ours = present.is_none_or(|present| present == entry.wav);
        let make = "run `hulplijn prompts make`";
        // `make` first: what is noted as said anew would else hide the others that are not.
        Some(if ours {
            make.to_owned()
        } else {
            format!("{make}; then, since the recording is your own: {OWN}")
        })
    }

    /// Forgets WAVs whose texts are gone; tells whether there were any.
    fn forget_all_but(&mut self, texts: &BTreeMap<String, String>) -> bool {
        let before = self.0.len();
        self.0.retain(|name, _| texts.contains_key(name));
        self.0.len() < before
    }

    fn work(&self, language: &str, name: &str, text: &str, present: Option<&str>, all: bool) -> Work {
        let Some(present) = present else {
            return Work::Speak;
        };
        match self.0.get(name) {
            _ if all => Work::Speak,
            Some(entry) if entry.text == spoken(language, text) => Work::Nothing,
            Some(entry) if entry.wav == present => Work::Speak,
            Some(_) => Work::Leave,
            // Someone's own WAV from the start.
            None => Work::Nothing,
        }
    }

    fn note(&mut self, language: &str, name: &str, text: &str, wav: Option<String>) {
        if let Some(wav) = wav {
            self.0.insert(name.to_owned(), Entry { text: spoken(language, text), wav });
        }
    }

    fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let line = |(name, entry): (&String, &Entry)| {
            format!("{name} = {{ text = \"{}\", wav = \"{}\" }}\n", entry.text, entry.wav)
        };
        let lines: String = self.0.iter().map(line).collect();
        let path = folder.join(MADE);
        let half = path.with_extension("half");
        fs::write(&half, format!("{HEAD}{lines}")).with_context(|| half.display().to_string())?;
        fs::rename(&half, &path).with_context(|| path.display().to_string())
    }
}

fn spoken(language: &str, text: &str) -> String {
    fingerprint(format!("{} {VOICE:?} {text}", voice(language)).as_bytes())
}

/// The synthesiser's voice for a language.
fn voice(language: &str) -> &str {
    match language {
        "fr" => "fr-fr",
        "en" => "en-gb",
        other => other,
    }
}

/// Speaks a text to a WAV: espeak-ng for the voice, sox for 8 kHz, the level by our own measure.
fn speak(language: &str, text: &str, wav: &Path) -> anyhow::Result<()> {
    let raw = Removed(wav.with_extension("spoken.wav-half"));
    let narrow = Removed(wav.with_extension("narrow.wav-half"));
    let mut synthesiser = start(
        Program::new("espeak-ng")
            .args(["-v", voice(language)])
            .args(VOICE)
            .arg("--stdin")
            .arg("-w")
            .arg(&raw.0),
    )?;
    if let Some(mut input) = synthesiser.stdin.take() {
        input.write_all(text.as_bytes())?;
    }
    finish(synthesiser, "espeak-ng")?;
    // -D: no dither, so that the same text gives the same bytes; the band of a telephone begins at 150 Hz.
    let format = ["-r", "8000", "-c", "1", "-b", "16", "-t", "wav"];
    let converter = start(
        Program::new("sox")
            .args(["-D", "-t", "wav"])
            .arg(&raw.0)
            .args(format)
            .arg(&narrow.0)
            .args(["highpass", "150"]),
    )?;
    finish(converter, "sox")?;
    let samples = level(&trim(&read_wav(&narrow.0)?));
    let reached = measure(&samples).level_dbov;
    if !LEVELS.contains(&reached) {
        bail!("the level became {reached:.1} dBov");
    }
    write_wav(wav, &samples)
}

fn start(program: &mut Program) -> anyhow::Result<std::process::Child> {
    let name = program.get_program().to_string_lossy().into_owned();
    match program.stdin(Stdio::piped()).stdout(Stdio::null()).spawn() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("`{name}` is not installed; on Debian: apt-get install espeak-ng sox")
        }
        result => result.with_context(|| name),
    }
}

fn finish(mut program: std::process::Child, name: &str) -> anyhow::Result<()> {
    let status = program.wait()?;
    if status.success() { Ok(()) } else { bail!("{name} ended with {status}") }
}

/// A file in between, removed at the end whatever happens.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Leaves 40 ms of the silence before and 80 ms of that after the speech, so that numbers join well.
fn trim(samples: &[i16]) -> Vec<i16> {
    let floor = samples.iter().map(|s| s.unsigned_abs()).max().unwrap_or(0) / 100;
    let loud = |s: &i16| s.unsigned_abs() > floor;
    let rate = RATE as usize;
    let (Some(first), Some(last)) = (samples.iter().position(loud), samples.iter().rposition(loud)) else {
        return samples.to_vec();
    };
    let (from, to) = (first.saturating_sub(rate / 25), (last + rate * 2 / 25).min(samples.len()));
    samples.get(from..to).unwrap_or(samples).to_vec()
}

/// Brings speech to the aim. What would pass the knee is bent, so that no peak is above the limit; what
/// that takes from the level is given back by going over it again.
fn level(samples: &[i16]) -> Vec<i16> {
    let full = f64::from(i16::MAX);
    let (knee, limit) = (10f64.powf((PEAK - 4.0) / 20.0) * full, 10f64.powf((PEAK - 0.1) / 20.0) * full);
    let bent = |x: f64| {
        let over = x.abs() - knee;
        if over <= 0.0 { x } else { x.signum() * (knee + (limit - knee) * (over / (limit - knee)).tanh()) }
    };
    (0..4).fold(samples.to_vec(), |samples, _| {
        let gain = 10f64.powf((LEVEL - measure(&samples).level_dbov) / 20.0);
        samples.iter().map(|s| bent(f64::from(*s) * gain) as i16).collect()
    })
}

/// Writes a prompt: it appears whole or not at all.
fn write_wav(path: &Path, samples: &[i16]) -> anyhow::Result<()> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: RATE,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let half = Removed(path.with_extension("wav-half"));
    let mut writer = hound::WavWriter::create(&half.0, spec)?;
    samples.iter().try_for_each(|sample| writer.write_sample(*sample))?;
    writer.finalize()?;
    Ok(fs::rename(&half.0, path)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::tests::Scratch;

    fn command(all: bool, take_as_is: bool, root: &Path) -> String {
        let mut out = Vec::new();
        run(&Arguments { all, take_as_is }, root, &["nl".to_owned()], &mut out).expect("made");
        String::from_utf8(out).expect("text")
    }

    fn installed() -> bool {
        let there = |name| Program::new(name).arg("--version").stdout(Stdio::null()).status().is_ok();
        let all = there("espeak-ng") && there("sox");
        if !all {
            eprintln!("skipped: espeak-ng and sox are not installed");
        }
        all
    }

    #[test]
    fn only_what_changed_is_made_and_an_own_voice_is_left_alone() {
        if !installed() {
            return;
        }
        let scratch = Scratch::new();
        let folder = scratch.path().join("nl");
        fs::create_dir(&folder).expect("made");
        let texts = |one: &str, two: &str| {
            fs::write(folder.join("texts.toml"), format!("one = \"{one}\"\ntwo = \"{two}\""))
                .expect("written");
        };
        texts("Goedendag.", "-v is geen optie.");
        assert_eq!(
            command(false, false, scratch.path()),
            format!("nl/one.wav\nnl/two.wav\nnl: 2 of 2 prompts made\n{RELOAD}\n")
        );
        assert_eq!(command(false, false, scratch.path()), "nl: 0 of 2 prompts made\n");
        let report = super::super::prompts::check(scratch.path(), &["nl".to_owned()]).expect("readable");
        assert_eq!(report.findings, []);
        texts("Goedenavond.", "-v is geen optie.");
        let report = super::super::prompts::check(scratch.path(), &["nl".to_owned()]).expect("readable");
        assert_eq!((report.errors(), report.findings.len()), (0, 1), "the text is newer");
        assert_eq!(
            command(false, false, scratch.path()),
            format!("nl/one.wav\nnl: 1 of 2 prompts made\n{RELOAD}\n")
        );
        fs::copy(folder.join("one.wav"), folder.join("two.wav")).expect("a voice of our own");
        texts("Goedenavond.", "Iets anders.");
        let said = command(false, false, scratch.path());
        assert!(
            said.starts_with("nl/two: the text was changed, and your own recording is left as it is"),
            "{said}"
        );
        assert_eq!(
            command(true, false, scratch.path()),
            format!("nl/one.wav\nnl/two.wav\nnl: 2 of 2 prompts made\n{RELOAD}\n")
        );
        let left = fs::read_dir(&folder).expect("folder").count();
        assert_eq!(left, 4, "two WAVs, the texts and what was made");
    }

    #[test]
    fn what_is_there_can_be_taken_as_it_is() {
        let scratch = Scratch::new();
        let folder = scratch.path().join("nl");
        fs::create_dir(&folder).expect("made");
        fs::write(folder.join("texts.toml"), "one = \"a\"").expect("written");
        fs::write(folder.join("one.wav"), "whatever").expect("written");
        assert_eq!(command(false, true, scratch.path()), "nl: 0 of 1 prompts made\n");
        let made = Made::read(&folder);
        let present = fingerprint(b"whatever");
        assert_eq!(made.work("nl", "one", "a", Some(&present), false), Work::Nothing);
        assert_eq!(made.work("nl", "one", "b", Some(&present), false), Work::Speak);
        assert_eq!(made.work("nl", "one", "b", Some("another"), false), Work::Leave);
        assert_eq!(made.work("nl", "two", "b", Some("own"), false), Work::Nothing);
        assert_eq!(made.work("nl", "two", "b", None, false), Work::Speak);
    }

    #[test]
    fn the_advice_for_an_own_recording_of_a_changed_text_leads_to_the_end_of_the_matter() {
        let scratch = Scratch::new();
        let folder = scratch.path().join("nl");
        super::super::prompts::tests::sound(&folder.join("one.wav"), 8000, 0.07);
        fs::write(folder.join("texts.toml"), "one = \"a\"").expect("written");
        command(false, true, scratch.path());
        fs::write(folder.join("texts.toml"), "one = \"b\"").expect("written");
        super::super::prompts::tests::sound(&folder.join("one.wav"), 8000, 0.08);
        let check = || {
            let report = super::super::prompts::check(scratch.path(), &["nl".to_owned()]).expect("readable");
            report.findings.into_iter().map(|finding| finding.what).collect::<Vec<_>>()
        };
        let [warning] = &check()[..] else { panic!("one warning: {:?}", check()) };
        assert!(warning.ends_with(OWN), "{warning}");
        assert!(command(false, false, scratch.path()).contains(OWN));
        assert!(OWN.contains("make --take-as-is"));
        command(false, true, scratch.path());
        assert_eq!(check(), [""; 0]);
        assert_eq!(command(false, false, scratch.path()), "nl: 0 of 1 prompts made\n");
    }

    #[test]
    fn speech_is_trimmed_and_brought_to_its_level() {
        let wave = |n: i32| (f64::from(n) * 0.4).sin();
        let mut samples = vec![0; 8000];
        samples.extend((0..8000).map(|n| (wave(n) * if n % 800 == 4 { 30000.0 } else { 500.0 }) as i16));
        samples.extend([0; 8000]);
        let trimmed = trim(&samples);
        assert!((8800..9000).contains(&trimmed.len()), "{}", trimmed.len());
        let m = measure(&level(&trimmed));
        assert!(m.peak_dbfs <= PEAK && LEVELS.contains(&m.level_dbov), "{m:?}");
    }
}
