//! What `check` warns of beyond the configuration itself: the calendar of today, the folders around it. A start and
//! a reload do without, since nothing of it keeps the switch from its work.

use std::path::{Path, PathBuf};

use super::{audio, data_folder, prompts};
use crate::base::time::Now;
use crate::calendar::doubts;
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::raw::{At, Config};
use crate::config::source;

/// All warnings; none while a value of the configuration can't be read.
pub fn find(dir: &Path) -> Vec<Diagnostic> {
    let Some(config) = source::read(dir, &|name| std::env::var(name).ok()).draft else { return Vec::new() };
    let mut found = doubts::find(&config.helpline, &config.hours, Now::read().utc);
    found.extend(data(&config.site.data));
    found.extend(texts(&config));
    // It may be checked on another machine than it is for.
    found.extend(
        audio::not_here(&config).into_iter().map(|it| Diagnostic { severity: Severity::Warning, ..it }),
    );
    found
}

fn data(data: &At<PathBuf>) -> Option<Diagnostic> {
    let why = data_folder::trouble(&data.value)?;
    let user = data_folder::user();
    let what =
        format!("{user}, who runs this, can't write the data folder, so no message can be left: {why}");
    let allowed = format!(
        "{}; if the switch runs as another user, check as that one: `sudo -u USER hulplijn check`",
        data_folder::remedy(&data.value)
    );
    Some(Diagnostic::warning(&data.place, what).allowed(allowed))
}

/// Texts are needed only to make the recordings, so callers hear nothing of it yet.
fn texts(config: &Config) -> Vec<Diagnostic> {
    let languages = config.helpline.languages.iter();
    let paths = languages.map(|language| prompts::texts_path(&config.site.prompts.value, &language.value));
    let read = paths.filter(|path| path.exists()).map(|path| prompts::texts(&path));
    let mistakes = read.filter_map(Result::err);
    mistakes.map(|mistake| Diagnostic { severity: Severity::Warning, ..mistake }).collect()
}
