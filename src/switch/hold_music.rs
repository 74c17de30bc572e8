//! Which files the waiting hear, by the configuration: those of the helpline, and of each queue that has its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{At, Config};
use crate::media::command::Music;
use crate::media::prompt_bank::PromptBank;

/// Files that are named and not there.
pub fn check(config: &Config, prompts: &PromptBank) -> Vec<Diagnostic> {
    let queues = config.queues.iter().flat_map(|queue| &queue.music);
    let missing = |name: &&At<String>| !prompts.has(language(config), &name.value);
    let fault = |name: &At<String>| {
        let what = format!("there is no music `{}`", name.value);
        let place = config.site.prompts.value.display();
        Diagnostic::error(&name.place, what).allowed(format!("the name of a WAV in {place}, without `.wav`"))
    };
    config.helpline.music.iter().chain(queues).filter(missing).map(fault).collect()
}

/// What is heard by who is held, and in every queue without its own.
pub fn of_the_helpline(config: &Config, prompts: &PromptBank) -> Arc<Music> {
    music(config, prompts, &config.helpline.music)
}

/// Queues with the same files share them.
pub fn of_the_queues(config: &Config, prompts: &PromptBank) -> BTreeMap<String, Arc<Music>> {
    let mut made: BTreeMap<Vec<&str>, Arc<Music>> = BTreeMap::new();
    let own = config.queues.iter().filter(|queue| !queue.music.is_empty());
    own.map(|queue| {
        let names = queue.music.iter().map(|name| name.value.as_str()).collect();
        let music = made.entry(names).or_insert_with(|| music(config, prompts, &queue.music));
        (queue.name.value.clone(), Arc::clone(music))
    })
    .collect()
}

fn music(config: &Config, prompts: &PromptBank, names: &[At<String>]) -> Arc<Music> {
    let clips: Vec<_> = names.iter().map(|name| prompts.music(language(config), &name.value)).collect();
    Arc::new(Music::new(&clips, f64::from(config.helpline.music_level_dbov.value)))
}

fn language(config: &Config) -> &str {
    config.helpline.languages.first().map_or("", |language| language.value.as_str())
}
