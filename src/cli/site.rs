//! The few words of a configuration that the operator's commands need. Read leniently: messages must be
//! reachable also when the configuration has a mistake elsewhere.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use chrono_tz::Tz;

/// Where things are, as the configuration says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    pub data: PathBuf,
    pub prompts: PathBuf,
    pub zone: Tz,
    pub languages: Vec<String>,
}

impl Site {
    /// Reads `[site]` and `[helpline]` from the `*.toml` of a directory. A file that is no TOML is
    /// passed over as long as another one has what is needed.
    pub fn read(config: &Path) -> anyhow::Result<Self> {
        let tables = tables(config)?;
        let find = |section: &str, key: &str| {
            tables.iter().find_map(|table| table.get(section)?.as_table()?.get(key).cloned())
        };
        let path = |key: &str| match find("site", key) {
            Some(toml::Value::String(path)) => Ok(config.join(path)),
            Some(_) => bail!("`{key}` of `[site]` in {} is no text", config.display()),
            None => bail!("`{key}` of `[site]` is not in {}/*.toml", config.display()),
        };
        let zone = find("helpline", "zone").and_then(|zone| zone.as_str()?.parse().ok());
        let languages = find("helpline", "languages").and_then(|list| list.try_into().ok());
        Ok(Self {
            data: path("data")?,
            prompts: path("prompts")?,
            zone: zone.unwrap_or(Tz::UTC),
            languages: languages.unwrap_or_default(),
        })
    }
}

fn tables(config: &Path) -> anyhow::Result<Vec<toml::Table>> {
    let folder = fs::read_dir(config).with_context(|| {
        format!("there is no configuration in {}; name its directory by --config DIR", config.display())
    })?;
    let mut paths: Vec<PathBuf> = folder.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "toml"));
    paths.sort();
    Ok(paths.iter().filter_map(|path| fs::read_to_string(path).ok()?.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::tests::Scratch;

    #[test]
    fn the_places_are_found_in_spite_of_a_mistake_elsewhere() {
        let scratch = Scratch::new();
        let write = |name: &str, text: &str| fs::write(scratch.path().join(name), text).expect("written");
        assert!(Site::read(scratch.path()).is_err());
        write("a.toml", "[broken");
        write("site.toml", "[site]\ndata = \"../data\"\nprompts = \"/srv/prompts\"\n");
        write("helpline.toml", "[helpline]\nzone = \"Europe/Brussels\"\nlanguages = [\"nl\", \"fr\"]\n");
        let site = Site::read(scratch.path()).expect("found");
        assert_eq!(site.data, scratch.path().join("../data"));
        assert_eq!(site.prompts, Path::new("/srv/prompts"));
        assert_eq!((site.zone, site.languages.len()), (Tz::Europe__Brussels, 2));
    }
}
