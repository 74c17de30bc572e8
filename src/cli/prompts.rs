//! `hulplijn prompts`: `check` holds every prompt to the house's format and level; `make` is in its own
//! file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, Subcommand};
use sha2::{Digest as _, Sha256};

use super::check::counted;
use super::exit::Exit;
use super::make;
use super::site::Site;
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::Place;
use crate::media::audio::{Measure, RATE, measure, read_wav};

/// Level of speech, in dBov: the aim, and what is taken.
pub const LEVEL: f64 = -26.0;
pub const LEVELS: std::ops::RangeInclusive<f64> = -29.0..=-23.0;
/// No sample may be higher, in dB below full scale.
pub const PEAK: f64 = -3.0;
/// A prompt in words that is longer tries a caller's patience; one that is shorter says nothing.
const SECONDS: std::ops::RangeInclusive<f64> = 0.1..=45.0;
/// Texts of one language.
pub const TEXTS: &str = "texts.toml";

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Directory of the configuration, which names the prompts' directory and the languages.
    #[arg(long, global = true, value_name = "DIR", default_value = "config")]
    config: PathBuf,
    /// The prompts' directory itself, with one folder a language.
    #[arg(long, global = true, value_name = "DIR")]
    prompts: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Speaks the texts that are new or changed (needs espeak-ng and sox).
    Make(make::Arguments),
    /// Reports format, level, clipping and length of each prompt, and what is missing.
    Check {
        /// Shows length, level and peak of every prompt too.
        #[arg(long)]
        all: bool,
    },
}

/// Runs the command.
pub fn run(arguments: &Arguments, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let (root, languages) = if let Some(root) = &arguments.prompts {
        (root.clone(), Vec::new())
    } else {
        let site = Site::read(&arguments.config)?;
        (site.prompts, site.languages)
    };
    let languages = if languages.is_empty() { folders(&root)? } else { languages };
    match &arguments.command {
        Command::Make(arguments) => make::run(arguments, &root, &languages, out),
        Command::Check { all } => {
            let report = check(&root, &languages)?;
            write!(out, "{}", if *all { report.table() } else { String::new() })?;
            write!(out, "{report}")?;
            Ok(if report.errors() == 0 { Exit::Fine } else { Exit::Wrong })
        }
    }
}

/// Everything that `check` found.
#[derive(Debug, Default)]
pub struct Report {
    pub measured: BTreeMap<String, Measure>,
    pub findings: Vec<Finding>,
    pub languages: usize,
}

/// One thing that is wrong with a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub error: bool,
    /// The prompt, such as `nl/welcome`.
    pub prompt: String,
    pub what: String,
}

impl Report {
    pub fn errors(&self) -> usize {
        self.findings.iter().filter(|finding| finding.error).count()
    }

    fn table(&self) -> String {
        let line = |(name, m): (&String, &Measure)| {
            let seconds = m.samples as f64 / f64::from(RATE);
            format!(
                "{name:32} {seconds:6.1} s  level {:6.1} dBov  peak {:6.1} dBFS\n",
                m.level_dbov, m.peak_dbfs
            )
        };
        self.measured.iter().map(line).collect()
    }

    fn error(&mut self, prompt: &str, what: impl Into<String>) {
        self.findings.push(Finding { error: true, prompt: prompt.to_owned(), what: what.into() });
    }

    fn warning(&mut self, prompt: &str, what: impl Into<String>) {
        self.findings.push(Finding { error: false, prompt: prompt.to_owned(), what: what.into() });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { error, prompt, what } in &self.findings {
            writeln!(f, "{prompt}: {}: {what}", if *error { "error" } else { "warning" })?;
        }
        let (errors, all) = (self.errors(), self.findings.len());
        let (prompts, languages) = (self.measured.len(), self.languages);
        let (errors, warnings) = (counted(errors, "error"), counted(all - errors, "warning"));
        let (prompts, languages) = (counted(prompts, "prompt"), counted(languages, "language"));
        writeln!(f, "{prompts}, {languages}: {errors}, {warnings}")
    }
}

/// Checks all prompts of these languages and those without a language.
pub fn check(root: &Path, languages: &[String]) -> anyhow::Result<Report> {
    let mut report = Report { languages: languages.len(), ..Report::default() };
    let shared = wavs(root)?;
    for name in &shared {
        check_sound(&mut report, root, name, false);
    }
    let mut texts = BTreeMap::new();
    for language in languages {
        match read_texts(root, language) {
            Ok(found) => {
                texts.insert(language.as_str(), found);
            }
            Err(error) if texts_path(root, language).exists() => report.error(language, error.to_string()),
            Err(_) => {
                let path = texts_path(root, language);
                report.error(language, format!("the language is missing: there is no {}", path.display()));
            }
        }
    }
    let names: BTreeSet<&str> = texts.values().flat_map(BTreeMap::keys).map(String::as_str).collect();
    for (language, texts) in &texts {
        check_language(&mut report, root, language, texts, &names, &shared)?;
    }
    Ok(report)
}

fn check_language(
    report: &mut Report,
    root: &Path,
    language: &str,
    texts: &BTreeMap<String, String>,
    names: &BTreeSet<&str>,
    shared: &BTreeSet<String>,
) -> anyhow::Result<()> {
    let folder = root.join(language);
    let sounds = wavs(&folder)?;
    let made = make::Made::read(&folder);
    for (name, text) in texts {
        let prompt = format!("{language}/{name}");
        if !is_name(name) {
            report.error(&prompt, "a name has only small letters, digits and `-`");
        } else if text.trim().is_empty() {
            report.error(&prompt, "the text is empty");
        } else if !sounds.contains(name) {
            report.error(&prompt, "there is a text but no WAV: run `hulplijn prompts make`");
        } else if let Some(advice) = made.says_otherwise(language, name, text, &folder) {
            report.warning(&prompt, format!("the text was changed after the WAV was made: {advice}"));
        }
    }
    for name in &sounds {
        if !texts.contains_key(name) {
            report.warning(&format!("{language}/{name}"), format!("there is a WAV but no text in {TEXTS}"));
        }
        check_sound(report, root, &format!("{language}/{name}"), true);
    }
    for name in names {
        if !texts.contains_key(*name) && !sounds.contains(*name) && !shared.contains(*name) {
            report.error(&format!("{language}/{name}"), "other languages have it, this one has not");
        }
    }
    Ok(())
}

fn check_sound(report: &mut Report, root: &Path, prompt: &str, speech: bool) {
    let samples = match read_wav(&root.join(format!("{prompt}.wav"))) {
        Ok(samples) => samples,
        Err(error) => return report.error(prompt, error.to_string()),
    };
    let m = measure(&samples);
    let seconds = m.samples as f64 / f64::from(RATE);
    report.measured.insert(prompt.to_owned(), m);
    if m.clipped > 0 {
        report.error(prompt, format!("{} samples are clipped", m.clipped));
    }
    if m.peak_dbfs > PEAK {
        report.error(prompt, format!("peak {:.1} dBFS; allowed: at most {PEAK}", m.peak_dbfs));
    }
    if speech && !LEVELS.contains(&m.level_dbov) {
        let (from, to) = (LEVELS.start(), LEVELS.end());
        report.error(prompt, format!("level {:.1} dBov; allowed: {from} to {to}", m.level_dbov));
    }
    if speech && !SECONDS.contains(&seconds) {
        report.warning(prompt, format!("{seconds:.1} s long; usual: {SECONDS:?} s"));
    }
}

/// The texts of a language by name.
pub fn read_texts(root: &Path, language: &str) -> anyhow::Result<BTreeMap<String, String>> {
    texts(&texts_path(root, language)).map_err(|mistake| anyhow!("{mistake}"))
}

/// Where the texts of a language stand.
pub fn texts_path(root: &Path, language: &str) -> PathBuf {
    root.join(language).join(TEXTS)
}

/// The texts of a file, or its mistake with its line.
pub fn texts(path: &Path) -> Result<BTreeMap<String, String>, Diagnostic> {
    let place = |line| Place { file: path.display().to_string().into(), line };
    let text = fs::read_to_string(path).map_err(|error| {
        let what = format!("the texts of the prompts can't be read: {error}");
        Diagnostic::error(&place(0), what).allowed("a file with a text for each prompt")
    })?;
    toml::from_str(&text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() as u32 + 1;
        let what = format!("the texts of the prompts can't be read: {}", error.message());
        let allowed = "lines such as welcome = \"Goedendag.\", each name once, a quote within a text as \\\"";
        Diagnostic::error(&place(line), what).allowed(allowed)
    })
}

/// A name that can be a file's name without leaving the folder.
pub fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// The first half of SHA-256 in hexadecimal digits: enough to see a change.
pub fn fingerprint(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Folders of the prompts' directory that have texts.
fn folders(root: &Path) -> anyhow::Result<Vec<String>> {
    let folder = fs::read_dir(root).with_context(|| format!("prompts in {}", root.display()))?;
    let with_texts = folder.flatten().filter(|entry| entry.path().join(TEXTS).is_file());
    let mut names: Vec<String> =
        with_texts.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    if names.is_empty() {
        bail!("{} has no folder with {TEXTS}", root.display());
    }
    Ok(names)
}

/// Names of the WAV files of a folder.
fn wavs(folder: &Path) -> anyhow::Result<BTreeSet<String>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names.filter_map(|name| name.strip_suffix(".wav").map(str::to_owned)).collect())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::store::sqlite::tests::Scratch;

    /// Half a second of a tone.
    pub fn sound(path: &Path, rate: u32, amplitude: f64) {
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: rate,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(path, spec).expect("writable");
        for n in 0..4000 {
            let sample = (f64::from(n) * 0.4).sin() * amplitude * 32767.0;
            writer.write_sample(sample as i16).expect("written");
        }
        writer.finalize().expect("whole");
    }

    #[test]
    fn the_shipped_prompts_pass() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("prompts");
        let languages = folders(&root).expect("languages");
        assert_eq!(languages, ["en", "fr", "nl"]);
        let report = check(&root, &languages).expect("readable");
        assert_eq!(report.findings, [], "{report}");
        assert!(report.measured.len() > 400);
    }

    #[test]
    fn each_fault_is_told() {
        let scratch = Scratch::new();
        let file = |name: &str| scratch.path().join(name);
        let (good, loud, quiet) = (0.07, 1.0, 0.001);
        sound(&file("nl/good.wav"), 8000, good);
        sound(&file("nl/loud.wav"), 8000, loud);
        sound(&file("nl/quiet.wav"), 8000, quiet);
        sound(&file("nl/wide.wav"), 11_025, good);
        sound(&file("nl/stray.wav"), 8000, good);
        sound(&file("fr/good.wav"), 8000, good);
        sound(&file("music.wav"), 8000, quiet);
        let texts = "good = \"a\"\nloud = \"b\"\nquiet = \"c\"\nwide = \"d\"\nmute = \"e\"\nmusic = \"f\"\n\"../x\" = \"g\"";
        fs::write(file("nl/texts.toml"), texts).expect("written");
        fs::write(file("fr/texts.toml"), "good = \"a\"").expect("written");
        let languages = ["nl", "fr", "de"].map(str::to_owned);
        let text = check(scratch.path(), &languages).expect("readable").to_string();
        for wanted in [
            "de: error: the language is missing",
            "fr/loud: error: other languages have it",
            "nl/loud: error: peak -0.0 dBFS; allowed: at most -3",
            "nl/loud: error: level",
            "nl/quiet: error: level -63.",
            "nl/wide: error: has 1 channels, 11025 Hz",
            "nl/mute: error: there is a text but no WAV",
            "nl/stray: warning: there is a WAV but no text",
            "nl/../x: error: a name has only",
        ] {
            assert!(text.lines().any(|line| line.starts_with(wanted)), "{wanted} is not in\n{text}");
        }
        assert!(!text.contains("fr/music") && !text.contains("nl/good"), "{text}");
    }

    #[test]
    fn the_exit_code_tells_whether_all_is_well() {
        let scratch = Scratch::new();
        fs::create_dir(scratch.path().join("nl")).expect("made");
        fs::write(scratch.path().join("nl/texts.toml"), "good = \"a\"").expect("written");
        let arguments = |all| Arguments {
            command: Command::Check { all },
            config: "none".into(),
            prompts: Some(scratch.path().to_owned()),
        };
        assert_eq!(run(&arguments(false), &mut Vec::new()).expect("done"), Exit::Wrong);
        sound(&scratch.path().join("nl/good.wav"), 8000, 0.07);
        let mut out = Vec::new();
        assert_eq!(run(&arguments(true), &mut out).expect("done"), Exit::Fine);
        let text = String::from_utf8(out).expect("text");
        assert!(text.contains("nl/good") && text.ends_with("1 language: 0 errors, 0 warnings\n"), "{text}");
    }
}
