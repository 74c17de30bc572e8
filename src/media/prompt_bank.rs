//! All prompts in memory, decoded once at load. Whatever is asked for, something can be played: the prompt,
//! its translation, or the built-in words that name 101, 112 and 106.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::audio::{self, AudioError};
use super::command::Clip;
use super::g711::Law;

/// Prompts of one directory at most; the names beyond are reported and not loaded.
const MAX_PROMPTS: usize = 2000;

/// Compiled in, so that a lost directory does not leave a caller in silence.
const LAST_RESORT: [(&str, &[u8]); 3] = [
    ("nl", include_bytes!("../../prompts/nl/last-resort.wav")),
    ("fr", include_bytes!("../../prompts/fr/last-resort.wav")),
    ("en", include_bytes!("../../prompts/en/last-resort.wav")),
];

/// A prompt that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {fault}", path.display())]
pub struct PromptTrouble {
    pub path: PathBuf,
    pub fault: PromptFault,
}

#[derive(Debug, thiserror::Error)]
pub enum PromptFault {
    #[error("{0}")]
    Audio(#[from] AudioError),
    #[error("can't be listed: {0}")]
    Directory(#[from] std::io::Error),
    #[error("is one too many; at most 2000 prompts are loaded from a directory")]
    TooMany,
}

/// The prompts of one configuration generation.
#[derive(Debug)]
pub struct PromptBank {
    /// In the order in which they stand in for each other.
    languages: Vec<Voice>,
    /// Files beside the language directories, and tones.
    common: Clips,
    last_resort: Vec<(&'static str, Arc<Clip>)>,
    forgiving: bool,
}

type Clips = BTreeMap<String, Arc<Clip>>;

#[derive(Debug)]
struct Voice {
    language: String,
    clips: Clips,
}

impl PromptBank {
    /// Loads `dir/LANGUAGE/*.wav` and `dir/*.wav`. What can't be used is told and left out.
    pub fn load(dir: &Path, languages: &[String]) -> (Self, Vec<PromptTrouble>) {
        let mut troubles = Vec::new();
        let mut common = load_directory(dir, "", &mut troubles);
        for (name, make) in [
            ("beep", audio::beep as fn() -> _),
            ("join", audio::join_tone),
            ("leave", audio::leave_tone),
            ("music", audio::music),
        ] {
            common.entry(name.to_owned()).or_insert_with(make);
        }
        let languages = languages
            .iter()
            .map(|language| Voice {
                language: language.clone(),
                clips: load_directory(&dir.join(language), language, &mut troubles),
            })
            .collect();
        (Self { languages, common, last_resort: last_resort(), forgiving: false }, troubles)
    }

    /// What to play: the language's own, the file without a language, another language's, the last resort.
    pub fn clip(&self, language: &str, name: &str) -> Arc<Clip> {
        self.find(language, name)
            .or_else(|| self.languages.iter().find_map(|voice| voice.clips.get(name)))
            .cloned()
            .unwrap_or_else(|| self.last_resort(language))
    }

    /// A piece of music; where it is not, the soft chord that is built in.
    pub fn music(&self, language: &str, name: &str) -> Arc<Clip> {
        self.find(language, name).cloned().unwrap_or_else(audio::music)
    }

    /// Whether a prompt is there in this language, or needs none.
    pub fn has(&self, language: &str, name: &str) -> bool {
        self.forgiving || self.find(language, name).is_some()
    }

    /// From now on nothing counts as missing: what is not there is stood in for.
    #[must_use]
    pub fn forgiving(self) -> Self {
        Self { forgiving: true, ..self }
    }

    pub fn is_forgiving(&self) -> bool {
        self.forgiving
    }

    fn find(&self, language: &str, name: &str) -> Option<&Arc<Clip>> {
        let own = self.languages.iter().find(|voice| voice.language == language);
        own.and_then(|voice| voice.clips.get(name)).or_else(|| self.common.get(name))
    }

    fn last_resort(&self, language: &str) -> Arc<Clip> {
        let own = self.last_resort.iter().find(|(l, _)| *l == language);
        own.or(self.last_resort.first()).map_or_else(audio::beep, |(_, clip)| Arc::clone(clip))
    }
}

fn last_resort() -> Vec<(&'static str, Arc<Clip>)> {
    let decode = |(language, bytes): (&'static str, &[u8])| {
        let samples = audio::read_wav_bytes(bytes).ok()?;
        Some((language, audio::clip(&format!("{language}/last-resort"), &samples)))
    };
    LAST_RESORT.into_iter().filter_map(decode).collect()
}

fn load_directory(dir: &Path, language: &str, troubles: &mut Vec<PromptTrouble>) -> Clips {
    let mut clips = Clips::new();
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => {
            troubles.push(PromptTrouble { path: dir.to_owned(), fault: error.into() });
            return clips;
        }
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "wav"));
    paths.sort();
    for path in paths {
        let Some(name) = path.file_stem().and_then(|s| s.to_str()) else { continue };
        if clips.len() >= MAX_PROMPTS {
            troubles.push(PromptTrouble { path, fault: PromptFault::TooMany });
            break;
        }
        let full = if language.is_empty() { name.to_owned() } else { format!("{language}/{name}") };
        match audio::load(&full, &path) {
            Ok(clip) => {
                clips.insert(name.to_owned(), clip);
            }
            Err(error) => troubles.push(PromptTrouble { path, fault: error.into() }),
        }
    }
    clips
}

impl Clip {
    /// The samples that a listener of PCMA hears; for checks.
    pub fn samples(&self) -> Vec<i16> {
        self.pcma.iter().map(|b| Law::A.decode(*b)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn languages(all: &[&str]) -> Vec<String> {
        all.iter().map(|l| (*l).to_owned()).collect()
    }

    #[test]
    fn the_shipped_prompts_are_all_there() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("prompts");
        let (bank, troubles) = PromptBank::load(&dir, &languages(&["nl", "fr", "en"]));
        assert!(troubles.is_empty(), "{troubles:?}");
        for (language, name) in [("nl", "welcome"), ("fr", "welcome"), ("nl", "music"), ("en", "beep")] {
            assert!(bank.has(language, name), "{language}/{name}");
        }
        assert_eq!(bank.clip("fr", "welcome").name, "fr/welcome");
        assert_eq!(bank.clip("nl", "music").name, "music");
        assert_eq!(bank.clip("de", "welcome").name, "nl/welcome");
        assert!(!bank.has("nl", "no-such") && !bank.has("de", "welcome"));
        assert_eq!(bank.clip("fr", "no-such").name, "fr/last-resort");
    }

    #[test]
    fn without_any_file_there_are_still_the_last_resort_and_the_tones() {
        let (bank, troubles) = PromptBank::load(Path::new("/nonexistent"), &languages(&["nl"]));
        assert_eq!(troubles.len(), 2);
        assert!(troubles[0].to_string().starts_with("/nonexistent: can't be listed"));
        assert_eq!(bank.clip("en", "welcome").name, "en/last-resort");
        assert_eq!(bank.clip("de", "welcome").name, "nl/last-resort");
        assert!(bank.clip("nl", "welcome").duration().as_secs() >= 5);
        assert_eq!(bank.clip("nl", "beep").name, "tone/beep");
        assert_eq!(bank.clip("nl", "music").name, "tone/music");
    }

    #[test]
    fn a_broken_prompt_is_told_and_the_next_language_steps_in() {
        let dir = std::env::temp_dir().join(format!("hulplijn-bank-{}", std::process::id()));
        for language in ["nl", "fr"] {
            std::fs::create_dir_all(dir.join(language)).expect("made");
        }
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("prompts/fr/closed.wav");
        std::fs::copy(shipped, dir.join("fr/closed.wav")).expect("copied");
        std::fs::write(dir.join("nl/closed.wav"), b"no sound").expect("written");
        let (bank, troubles) = PromptBank::load(&dir, &languages(&["nl", "fr"]));
        std::fs::remove_dir_all(&dir).expect("removed");
        assert_eq!(troubles.len(), 1);
        assert!(troubles[0].to_string().contains("nl/closed.wav: can't be read as WAV"));
        assert_eq!(bank.clip("nl", "closed").name, "fr/closed");
    }
}
