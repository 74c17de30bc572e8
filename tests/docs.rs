//! What README and docs say holds: examples compile, commands parse, tables and metrics are those of the
//! program, links lead somewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use hulplijn::cli;
use hulplijn::config::source;
use hulplijn::telemetry::export::Metrics;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// README and every page of `docs/`, with its path.
fn pages() -> Vec<(PathBuf, String)> {
    let mut paths = vec![root().join("README.md")];
    paths.extend(fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "md"));
    paths.sort();
    assert!(paths.len() > 4);
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// The fenced blocks of a language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    page.split(fence.as_str()).skip(1).map(|rest| rest.split("\n```").next().unwrap().to_owned()).collect()
}

/// What stands between single back-ticks.
fn quoted(page: &str) -> BTreeSet<String> {
    let lines = page.lines().filter(|line| !line.starts_with("```"));
    lines.flat_map(|line| line.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

#[test]
fn the_other_helpline_of_the_docs_is_a_whole_configuration() {
    let page = fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let [example] = &blocks(&page, "toml")[..] else { panic!("one example") };
    let dir = tempfile::tempdir().unwrap();
    let prompts = root().join("prompts");
    let example = example.replace("\"../prompts\"", &format!("{:?}", prompts.to_str().unwrap()));
    fs::write(dir.path().join("site.toml"), example).unwrap();
    let reading = source::read(dir.path(), &|name| (name == "DESK_PASSWORD").then(|| "secret".to_owned()));
    let findings: Vec<String> = reading.findings.iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "{findings:#?}");
    let compiled = cli::check::compile(reading.config.unwrap(), 1, None);
    let warnings = compiled.map_or_else(|found| found, |(_, warnings)| warnings);
    assert!(warnings.is_empty(), "{warnings:#?}");
}

#[test]
fn every_command_in_the_docs_is_one() {
    let mut seen = 0;
    for (path, page) in pages() {
        for line in blocks(&page, "sh").iter().flat_map(|block| block.lines()) {
            let words = line.split(" #").next().unwrap().trim();
            // Commands that prepare the machine only name the program.
            let words = words.strip_prefix("sudo -u hulplijn ").unwrap_or(words);
            let Some(at) = words.find("hulplijn ").filter(|_| !words.starts_with("sudo ")) else { continue };
            let words = words[at..].split_whitespace().map(|word| word.trim_matches(['\'', '"']));
            let parsed = cli::command().try_get_matches_from(words);
            assert!(parsed.is_ok(), "{}: {line}\n{}", path.display(), parsed.unwrap_err());
            seen += 1;
        }
    }
    assert!(seen > 3, "{seen} commands");
}

#[test]
fn the_table_of_keys_has_every_key_of_the_configuration() {
    let page = fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    let documented = quoted(&page);
    let sources = ["src/config/fields.rs", "src/config/steps.rs"]
        .map(|file| fs::read_to_string(root().join(file)).unwrap());
    let source = sources.concat();
    let asked = [
        "s.or(\"",
        "s.optional(\"",
        "s.required(\"",
        "s.must(\"",
        "s.list(\"",
        "s.some(\"",
        "s.secret(\"",
        "s.file(\"",
        "s.keys(\"",
    ];
    let keys: BTreeSet<&str> = asked
        .iter()
        .flat_map(|call| source.split(*call).skip(1).map(|rest| rest.split('"').next().unwrap()))
        .collect();
    assert!(keys.len() > 60, "{keys:?}");
    let missing: Vec<&&str> = keys.iter().filter(|key| !documented.contains(**key)).collect();
    assert!(missing.is_empty(), "not in docs/configuration.md: {missing:?}");
}

#[test]
fn every_metric_in_the_docs_is_served() {
    let served = Metrics::new().unwrap().text();
    let mut seen = 0;
    for (path, page) in pages() {
        for word in quoted(&page).iter().filter(|word| word.starts_with("hulplijn_")) {
            let name = word.split('{').next().unwrap();
            assert!(served.contains(name), "{}: `{name}` is no metric", path.display());
            seen += 1;
        }
    }
    assert!(seen > 3, "{seen} metrics");
}

#[test]
fn links_and_named_files_are_there() {
    for (path, page) in pages() {
        let dir = path.parent().unwrap();
        for target in page.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            let file = target.split('#').next().unwrap();
            let outside = file.is_empty() || file.contains("://");
            assert!(outside || dir.join(file).exists(), "{}: no {file}", path.display());
        }
        for word in quoted(&page) {
            let ours = ["src/", "tests/", "config/", "docs/", "prompts/", "benches/"]
                .iter()
                .any(|top| word.starts_with(top));
            let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
            assert!(
                !ours || !plain || root().join(Path::new(&word)).exists(),
                "{}: no {word}",
                path.display()
            );
        }
    }
}
