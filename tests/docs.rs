//! What README and docs say holds: examples compile, commands parse, tables and metrics are those of the
//! program, links lead somewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hulplijn::base::id::{CallKey, LineKey};
use hulplijn::cli;
use hulplijn::config::source;
use hulplijn::privacy::redact;
use hulplijn::telemetry::export::{Metrics, Names, PARTS, RTP_KINDS};
use hulplijn::telemetry::journal;
use hulplijn::telemetry::notice::{Drop as Dropped, LineWord, Miss, Notice, Outcome, Security, WebFault};

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

/// Every family of the program with its kind, as `export` registers it: a family without labels yet is not served.
fn families() -> BTreeMap<String, &'static str> {
    let source = fs::read_to_string(root().join("src/telemetry/export.rs")).unwrap();
    let makers = ["counter", "counters", "gauge", "gauges", "histogram", "histograms"];
    let made = makers.into_iter().flat_map(|maker| {
        let kind = maker.trim_end_matches('s');
        let call = format!(" {maker}(");
        let rests: Vec<&str> = source.split(call.as_str()).skip(1).collect();
        let names =
            rests.into_iter().filter_map(|rest| rest.trim_start().strip_prefix("r,")?.split('"').nth(1));
        names.map(|name| (format!("hulplijn_{name}"), kind)).collect::<Vec<_>>()
    });
    made.collect()
}

/// The first cells of a table's rows, without back-ticks, and the cells after them.
fn rows(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | ")).collect()
}

#[test]
fn docs_metrics_has_every_family_with_its_kind_and_no_other() {
    let page = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let table = page.split("\n## ").next().unwrap();
    let documented: BTreeMap<String, &str> = rows(table)
        .into_iter()
        .map(|(name, rest)| (name.to_owned(), rest.split(" | ").next().unwrap()))
        .collect();
    let families = families();
    assert!(families.len() > 20, "{families:?}");
    assert_eq!(documented, families);
}

#[test]
fn docs_metrics_explains_every_outcome_and_every_other_word_of_a_label() {
    let page = fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let misses: BTreeSet<&str> = Miss::ALL.into_iter().map(Miss::word).collect();
    let words: [(&str, BTreeSet<&str>); 8] = [
        ("hulplijn_calls_total", Outcome::ALL.into_iter().map(Outcome::word).collect()),
        ("hulplijn_missed_total", misses),
        ("hulplijn_lines", LineWord::ALL.into_iter().map(LineWord::word).collect()),
        ("hulplijn_dropped_total", Dropped::ALL.into_iter().map(Dropped::word).collect()),
        ("hulplijn_rtp_packets_total", BTreeSet::from(RTP_KINDS)),
        ("hulplijn_web_failures_total", WebFault::ALL.into_iter().map(WebFault::word).collect()),
        ("hulplijn_media_legs_total", Security::ALL.into_iter().map(Security::word).collect()),
        ("hulplijn_failures_total", BTreeSet::from(PARTS)),
    ];
    for (family, words) in words {
        let heading = format!("`{family}`");
        let mut sections = page.split("\n## ").skip(1);
        let section = sections.find(|section| section.lines().next().unwrap().contains(&heading));
        let documented: BTreeSet<&str> = rows(section.expect(family)).into_keys().collect();
        assert_eq!(documented, words, "{family}");
    }
}

#[test]
fn every_metric_in_the_docs_is_served() {
    let families = families();
    let served = Metrics::new().unwrap().text();
    assert!(served.lines().filter_map(|l| l.strip_prefix("# TYPE ")).all(|family| {
        let (name, kind) = family.split_once(' ').unwrap();
        families.get(name) == Some(&kind)
    }));
    let mut seen = 0;
    for (path, page) in pages() {
        for word in quoted(&page).iter().filter(|word| word.starts_with("hulplijn_")) {
            let name = word.split('{').next().unwrap();
            assert!(families.contains_key(name), "{}: `{name}` is no metric", path.display());
            seen += 1;
        }
    }
    assert!(seen > 3, "{seen} metrics");
}

#[test]
fn the_log_of_the_docs_is_what_the_switch_writes() {
    let page = fs::read_to_string(root().join("docs/operating.md")).unwrap();
    let [example] = &blocks(&page, "text")[..] else { panic!("one example") };
    let (call, line, names) = (
        CallKey(12),
        LineKey(1),
        Names { lines: BTreeMap::from([(LineKey(1), "anna".to_owned())]), ..Names::default() },
    );
    let ms = Duration::from_millis;
    let file = tempfile::NamedTempFile::new().unwrap();
    let subscriber = redact::subscriber("info", false, file.reopen().unwrap()).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        for notice in [
            Notice::CallArrived { call },
            Notice::Answered { call },
            Notice::Queued { call, length: 1 },
            Notice::Offered { call, line },
            Notice::Joined { call, line, waited: ms(4003), rang: ms(4003) },
            Notice::Ended { call, outcome: Outcome::Joined, lasted: ms(643_143), talked: ms(600_003) },
            Notice::AuthFailed { line: Some(line) },
            Notice::AuthFailed { line: None },
        ] {
            journal::log(&notice, &names);
        }
    });
    let written = fs::read_to_string(file.path()).unwrap();
    let timeless = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split_once("Z ").expect("a time").1.trim().to_owned()).collect()
    };
    assert_eq!(timeless(example), timeless(&written));
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
