//! The rules of the house, read from the source itself: imports point down only, the core reads no clock and
//! does no I/O, nothing panics on purpose, no file grows without end, and none lies about unused. Each fault is
//! told as `file:line` with the rule that it breaks. `TABLE` below is the house file by file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

// --- the rules ----------------------------------------------------------------------------------------

/// A file, or a folder with all that has no row of its own. The longest path holds.
struct Row {
    path: &'static str,
    layer: u8,
    /// What it may import besides itself; `None`: whatever is in a lower layer.
    may: Option<&'static [&'static str]>,
}

const fn row(path: &'static str, layer: u8, may: &'static [&'static str]) -> Row {
    Row { path, layer, may: Some(may) }
}

const fn assembly(path: &'static str, layer: u8) -> Row {
    Row { path, layer, may: None }
}

/// Only lists its files, so it belongs to no layer.
const NAMES: u8 = u8::MAX;

/// The words of the operator's configuration, without its readers.
const RAW: &str = "config/raw.rs";
const DIAGNOSTIC: &str = "config/diagnostic.rs";
const NOTICE: &str = "telemetry/notice.rs";

const TABLE: &[Row] = &[
    row("lib.rs", NAMES, &[]),
    // 0 base
    row("base/", 0, &[]),
    // 1 words
    row("config/", 1, &["base/fault.rs"]),
    row(NOTICE, 1, &["base/"]),
    // 2 pure
    row("sip/", 2, &["base/"]),
    row("sdp/", 2, &["base/"]),
    row("media/mod.rs", NAMES, &[]),
    row("media/keying.rs", 2, &["base/"]),
    row("media/command.rs", 2, &["base/", "media/keying.rs"]),
    row("media/", 2, &["base/", "media/command.rs", "media/keying.rs"]),
    row("calendar/", 2, &["base/", RAW, DIAGNOSTIC]),
    // The state of a line and the reason of a miss are words of the reports.
    row("routing/", 2, &["base/", RAW, DIAGNOSTIC, NOTICE]),
    // Speaks the next opening, and asks the mailbox what a callback number is.
    row("callflow/", 2, &["base/", RAW, DIAGNOSTIC, "calendar/schedule.rs", "voicemail/mailbox.rs"]),
    row("store/request.rs", 2, &["base/"]),
    // Decides over the rows of the one schema.
    row("voicemail/", 2, &["base/", RAW, DIAGNOSTIC, "store/request.rs"]),
    // 3 the door
    row("privacy/mod.rs", NAMES, &[]),
    row("privacy/identity.rs", 3, &["base/"]),
    row("privacy/screen.rs", 3, &["base/", "sip/", "privacy/identity.rs"]),
    // 4 the core: of rooms with a shell it knows the contract only
    row(
        "switch/",
        4,
        &[
            "base/",
            RAW,
            DIAGNOSTIC,
            NOTICE,
            "sip/",
            "sdp/",
            "media/command.rs",
            "media/keying.rs",
            "media/audio.rs",
            "media/prompt_bank.rs",
            "calendar/",
            "routing/",
            "callflow/",
            "voicemail/",
            "store/request.rs",
            "privacy/identity.rs",
            "privacy/screen.rs",
        ],
    ),
    // The built-in phone, beside the switch. How the words of sdp become those of media is written once.
    row(
        "phone/",
        4,
        &["base/", "sip/", "sdp/", "media/command.rs", "media/keying.rs", "media/dtmf.rs", "switch/leg.rs"],
    ),
    // 5 shells; none knows another, nor the core
    row("net/", 5, &["base/", "sip/", NOTICE]),
    row("media/batch.rs", 5, PLANE),
    row("media/courier.rs", 5, PLANE),
    row("media/level.rs", 5, PLANE),
    row("media/plane.rs", 5, PLANE),
    row("media/plane_rooms.rs", 5, PLANE),
    row("media/plane_thread.rs", 5, PLANE),
    row("media/ports.rs", 5, PLANE),
    row("media/thread_setup.rs", 5, PLANE),
    row("media/uring.rs", 5, PLANE),
    row("media/writer.rs", 5, PLANE),
    row("store/mod.rs", NAMES, &[]),
    row("store/", 5, &["base/", "store/request.rs"]),
    row("telemetry/mod.rs", NAMES, &[]),
    row("telemetry/", 5, &["base/", NOTICE]),
    row("privacy/redact.rs", 5, &[]),
    row("privacy/memory.rs", 5, &[]),
    // 6 assembly
    assembly("sim/", 6),
    assembly("console/", 6),
    assembly("cli/", 7),
    assembly("main.rs", 8),
];

const PLANE: &[&str] = &[
    "base/",
    "media/",
    "media/batch.rs",
    "media/command.rs",
    "media/courier.rs",
    "media/level.rs",
    "media/plane.rs",
    "media/plane_rooms.rs",
    "media/plane_thread.rs",
    "media/ports.rs",
    "media/thread_setup.rs",
    "media/uring.rs",
    "media/writer.rs",
];

/// Within `sip`: what stands in one line knows the lines above. Only the first line's files know each other.
const SIP: &[&[&str]] = &[
    &["sip/flow.rs", "sip/wire/", "sip/uri.rs", "sip/header.rs", "sip/header_ext.rs", "sip/event.rs"],
    &["sip/digest.rs"],
    &["sip/transaction/"],
    &["sip/dialog/"],
    &["sip/registrar.rs", "sip/target.rs"],
    &["sip/endpoint/"],
    &["sip/registration.rs"],
];

/// Words that may not stand in a file of this layer or a lower one.
struct Banned {
    /// Tokens, parted by spaces.
    words: &'static str,
    layer: u8,
    in_tests: bool,
    why: &'static str,
    except: &'static [&'static str],
}

const CORE: u8 = 4;
const SHELLS: u8 = 5;
const EVERYWHERE: u8 = 8;

const CLOCK: &str = "time is an argument: take a `Now`";
const IO: &str = "no I/O below the shells: say it as an `Output`";
const ORDER: &str = "the same seed must give the same history: BTreeMap, IndexMap or a bounded table";
const PANIC: &str = "nothing that comes from outside may panic: return an error, or `let … else`";
const REPORT: &str = "the core reports by `Notice` only, so that no free text can leak";
const RANDOM: &str = "randomness comes from the `Rng` that was given";
const BOUND: &str = "every queue has a bound";

/// Read the files of a configuration before the core sees any of it.
const READERS: &[&str] = &["config/source.rs", "config/section.rs", "media/prompt_bank.rs"];

const BANNED: &[Banned] = &[
    ban("Instant :: now", CORE, CLOCK).except(&["base/time.rs"]),
    ban("Utc :: now", CORE, CLOCK).except(&["base/time.rs"]),
    ban("Local :: now", EVERYWHERE, "the helpline's zone is configured, not the machine's"),
    ban("SystemTime", CORE, CLOCK),
    ban("Now :: read", CORE, CLOCK),
    ban("thread :: sleep", SHELLS, "wait for an event, or move the clock").also_in_tests(),
    ban("thread :: spawn", CORE, "the core has one owner"),
    ban("Mutex", CORE, "the core has one owner"),
    ban("async", CORE, "the core never waits"),
    ban(". await", CORE, "the core never waits"),
    ban("tokio", CORE, IO),
    ban("std :: fs", CORE, IO).except(READERS),
    ban("fs ::", CORE, IO).except(READERS),
    ban("UdpSocket", CORE, IO),
    ban("TcpStream", CORE, IO),
    ban("TcpListener", CORE, IO),
    ban("HashMap", CORE, ORDER),
    ban("HashSet", CORE, ORDER),
    ban("thread_rng", EVERYWHERE, RANDOM),
    ban("rand :: rng", EVERYWHERE, RANDOM),
    ban("tracing", CORE, REPORT),
    ban("println !", SHELLS, REPORT),
    // The log's last gate has nothing behind it.
    ban("eprintln !", SHELLS, REPORT).except(&["privacy/redact.rs"]),
    ban("dbg !", EVERYWHERE, "left behind"),
    ban(". unwrap ( )", SHELLS, PANIC),
    ban(". expect (", SHELLS, PANIC),
    ban("panic !", SHELLS, PANIC),
    ban("unreachable !", SHELLS, PANIC),
    ban("todo !", EVERYWHERE, PANIC),
    ban("unimplemented !", EVERYWHERE, PANIC),
    ban("unbounded_channel", EVERYWHERE, BOUND),
    ban("disallowed_methods", CORE, "only shells and assembly may do what clippy.toml disallows")
        .except(&["base/time.rs"]),
];

const fn ban(words: &'static str, layer: u8, why: &'static str) -> Banned {
    Banned { words, layer, in_tests: false, why, except: &[] }
}

impl Banned {
    const fn also_in_tests(mut self) -> Self {
        self.in_tests = true;
        self
    }

    const fn except(mut self, files: &'static [&'static str]) -> Self {
        self.except = files;
        self
    }
}

/// Names that say nothing of what a type is.
const EMPTY_WORDS: &[&str] = &["Manager", "Service", "Helper", "Util", "Inner", "Context", "Handler"];

/// Lines of a file without its tests: beyond, it has two subjects.
const LONGEST_FILE: usize = 600;

/// Longer for now, and not to grow.
const LONGER: &[(&str, usize)] = &[];

// --- the tests ----------------------------------------------------------------------------------------

#[test]
fn the_house_keeps_its_rules() {
    let faults = faults(&read_house());
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_row_of_the_table_has_a_file() {
    let house = read_house();
    for row in TABLE {
        let lives = house.keys().any(|file| row_of(file).is_some_and(|r| r.path == row.path));
        assert!(lives, "{}: no file lives by this row", row.path);
        assert_eq!(TABLE.iter().filter(|r| r.path == row.path).count(), 1, "{}: two rows", row.path);
    }
    for (path, _) in LONGER {
        let lines = house.get(*path).map_or(0, |source| source.lines);
        assert!(lines > LONGEST_FILE, "{path} has {lines} lines; it needs no exception");
    }
    let files = SIP.concat().into_iter().chain(BANNED.iter().flat_map(|b| b.except.iter().copied()));
    for path in files {
        assert!(house.keys().any(|file| within(file, path)), "{path} is gone");
    }
}

/// Each rule broken once, so that the rules themselves can be seen to work.
#[test]
fn each_broken_rule_is_found_where_it_is_broken() {
    let cases = [
        ("base/time.rs", "use crate::config::raw::At;", Some(1), "layer 0"),
        ("base/id.rs", "\nfn f() -> crate::switch::Switch {}", Some(2), "layer 0"),
        (
            "sip/uri.rs",
            "use crate::{base::id::Rng,\n sdp::session::{Session, Way}};",
            Some(2),
            "sdp/session.rs",
        ),
        ("sip/uri.rs", "use super::header::Params;", None, ""),
        ("sip/header.rs", "use super::digest;", Some(1), "sip/digest.rs"),
        ("sip/dialog/mod.rs", "use super::transaction::Key;", None, ""),
        ("sip/transaction/mod.rs", "use super::dialog::Dialog;", Some(1), "sip/dialog/mod.rs"),
        ("sip/registrar.rs", "use super::target::plan;", Some(1), "sip/target.rs"),
        ("media/leg.rs", "use super::plane::Plane;", Some(1), "media/plane.rs"),
        ("media/command.rs", "use super::leg::MediaLeg;", Some(1), "media/leg.rs"),
        ("switch/call.rs", "fn f(x: crate::store::sqlite::Store) {}", Some(1), "store/sqlite.rs"),
        ("switch/call.rs", "use crate::{media::command::{self, Clip}, telemetry::notice};", None, ""),
        ("net/udp.rs", "use crate::switch::io::Input;", Some(1), "switch/io.rs"),
        ("switch/call.rs", "fn f() { let x = Instant::now(); }", Some(1), "Instant :: now"),
        ("switch/call.rs", "// Instant::now()\nfn f() { g(\"Instant::now()\"); }", None, ""),
        ("switch/call.rs", "#[cfg(test)]\nmod tests { fn f() { x.unwrap(); Now::read(); } }", None, ""),
        (
            "sip/uri.rs",
            "#[cfg(test)]\nmod tests {\n fn f() { thread::sleep(x); } }",
            Some(3),
            "thread :: sleep",
        ),
        ("net/udp.rs", "fn f() {\n x.expect(\"y\"); }", Some(2), "panic"),
        ("net/udp.rs", "fn f() { x.unwrap_or_else(y); }", None, ""),
        ("switch/call.rs", "#[cfg(test)] fn f() {}\nfn g() { todo!() }", Some(2), "todo !"),
        ("switch/call.rs", "use std::collections::{BTreeMap, HashMap};", Some(1), "HashMap"),
        ("switch/call.rs", "\nstruct CallManager;", Some(2), "Manager"),
        ("media/mod.rs", "mod leg;\nfn f() {}", Some(2), "only lists"),
        ("unknown/new.rs", "", Some(1), "no row"),
    ];
    let mut house = read_house();
    for (file, text, line, rule) in cases {
        let own = house.insert(file.to_owned(), read(file, text));
        let found = faults_of(&house, file, false);
        match own {
            Some(own) => drop(house.insert(file.to_owned(), own)),
            None => drop(house.remove(file)),
        }
        match line {
            None => assert!(found.is_empty(), "{file}: {text}: {found:?}"),
            Some(line) => {
                let start = format!("src/{file}:{line}: ");
                let told = found.iter().any(|f| f.starts_with(&start) && f.contains(rule));
                assert!(told, "{file}: {text}: {found:?}");
            }
        }
    }
}

#[test]
fn a_file_that_nobody_names_and_one_that_is_too_long_are_found() {
    let mut house = read_house();
    house.insert("switch/lost.rs".into(), read("switch/lost.rs", ""));
    house.insert("sip/uri.rs".into(), read("sip/uri.rs", &"\n".repeat(LONGEST_FILE + 1)));
    house.insert("net/udp.rs".into(), read("net/udp.rs", "mod gone;"));
    let found = faults(&house).join("\n");
    for start in ["src/switch/lost.rs:1: no `mod`", "src/sip/uri.rs:1: 601", "src/net/udp.rs:1: `mod gone`"] {
        assert!(found.contains(start), "{start}: {found}");
    }
}

// --- judging ------------------------------------------------------------------------------------------

type House = BTreeMap<String, Source>;

fn faults(house: &House) -> Vec<String> {
    let tests = files_of_tests(house);
    let mut faults = lost_files(house);
    for file in house.keys() {
        faults.extend(faults_of(house, file, tests.contains(file)));
    }
    faults
}

fn faults_of(house: &House, file: &str, is_test: bool) -> BTreeSet<String> {
    let mut faults = BTreeSet::new();
    let mut tell = |line: usize, what: String| {
        faults.insert(format!("src/{file}:{line}: {what}"));
    };
    let (Some(source), Some(row)) = (house.get(file), row_of(file)) else {
        tell(1, "no row of the table in tests/layers.rs holds for it".into());
        return faults;
    };
    judge_words(source, file, row, is_test, &mut tell);
    if is_test {
        return faults;
    }
    for import in source.imports.iter().filter(|i| !i.in_test) {
        judge_import(house, file, row, import, &mut tell);
    }
    judge_names(source, row, &mut tell);
    let longest = LONGER.iter().find(|(path, _)| *path == file).map_or(LONGEST_FILE, |(_, lines)| *lines);
    if source.lines > longest {
        tell(1, format!("{} lines without tests; over {longest} it has two subjects", source.lines));
    }
    faults
}

fn judge_import(house: &House, file: &str, row: &Row, import: &Import, tell: &mut impl FnMut(usize, String)) {
    let Some(target) = file_of(house, &import.path) else { return };
    let Some(its) = row_of(&target) else { return };
    if row.layer == NAMES || its.layer == NAMES || target == file {
        return;
    }
    let own = its.path == row.path;
    let allowed = match row.may {
        Some(may) => {
            own || may.iter().any(|m| within(&target, m) && (*m == its.path || its.path.len() <= m.len()))
        }
        None => own || its.layer < row.layer,
    };
    if !allowed {
        let path = import.path.join("::");
        let rule = match row.may {
            Some(may) => format!("{} (layer {}) may import {}", row.path, row.layer, list(may)),
            None => format!("{} (layer {}) may import lower layers only", row.path, row.layer),
        };
        return tell(import.line, format!("imports {path} of {target} (layer {}); {rule}", its.layer));
    }
    if let (Some(mine), Some(theirs)) = (place_in_sip(file), place_in_sip(&target)) {
        let same = mine.0 == theirs.0 && (mine.0 == 0 || mine.1 == theirs.1);
        if theirs.0 >= mine.0 && !same {
            tell(import.line, format!("imports {target}; within sip: {}", sip_in_words()));
        }
    }
}

fn judge_names(source: &Source, row: &Row, tell: &mut impl FnMut(usize, String)) {
    if row.layer == NAMES {
        for token in
            source.tokens.windows(1).filter(|t| matches!(&*t[0].text, "fn" | "struct" | "enum" | "impl"))
        {
            tell(token[0].line, "it only lists the files of its room".into());
        }
    }
    for pair in source.tokens.windows(2) {
        let [word, name] = pair else { continue };
        if !matches!(&*word.text, "struct" | "enum" | "trait") {
            continue;
        }
        if let Some(empty) = EMPTY_WORDS.iter().find(|w| name.text.ends_with(**w)) {
            tell(name.line, format!("{}: `{empty}` says nothing of what it is", name.text));
        }
    }
}

fn judge_words(source: &Source, file: &str, row: &Row, is_test: bool, tell: &mut impl FnMut(usize, String)) {
    let banned = BANNED.iter().filter(|b| row.layer <= b.layer && !b.except.contains(&file));
    for ban in banned {
        let words: Vec<&str> =
            ban.words.split(' ').flat_map(|w| if w == "::" { vec![":", ":"] } else { vec![w] }).collect();
        for window in source.tokens.windows(words.len()) {
            let here = window.iter().zip(&words).all(|(token, word)| token.text == *word);
            let in_test = is_test || window.iter().any(|token| token.in_test);
            if here && (ban.in_tests || !in_test) {
                let line = window.first().map_or(1, |token| token.line);
                tell(line, format!("`{}` in layer {}: {}", ban.words, row.layer, ban.why));
            }
        }
    }
}

/// Files without a `mod` that names them, and names without a file.
fn lost_files(house: &House) -> Vec<String> {
    let mut faults = Vec::new();
    let mut named: BTreeSet<String> = ["lib.rs", "main.rs"].map(str::to_owned).into();
    for (file, source) in house {
        for module in &source.modules {
            match module.file(house) {
                Some(child) => drop(named.insert(child)),
                None => faults.push(format!("src/{file}:{}: `mod {}` has no file", module.line, module.name)),
            }
        }
    }
    let lost = house.keys().filter(|file| !named.contains(*file));
    faults.extend(lost.map(|file| format!("src/{file}:1: no `mod` names this file; it is never compiled")));
    faults
}

/// Files that are compiled for tests only, with those that they name in turn.
fn files_of_tests(house: &House) -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    loop {
        let before = tests.len();
        for (file, source) in house {
            let is_test = tests.contains(file);
            for module in source.modules.iter().filter(|m| m.in_test || is_test) {
                tests.extend(module.file(house));
            }
        }
        if tests.len() == before {
            return tests;
        }
    }
}

fn row_of(file: &str) -> Option<&'static Row> {
    TABLE.iter().filter(|row| within(file, row.path)).max_by_key(|row| row.path.len())
}

fn within(file: &str, path: &str) -> bool {
    file == path || (path.ends_with('/') && file.starts_with(path))
}

/// The line of `SIP` and the place in it.
fn place_in_sip(file: &str) -> Option<(usize, usize)> {
    SIP.iter().enumerate().find_map(|(line, paths)| {
        let place = paths.iter().position(|path| within(file, path))?;
        Some((line, place))
    })
}

fn sip_in_words() -> String {
    SIP.iter().map(|line| line.join(", ")).collect::<Vec<_>>().join(" → ")
}

fn list(may: &[&str]) -> String {
    if may.is_empty() { "nothing of ours".into() } else { format!("only {}", may.join(", ")) }
}

/// The file in which a path ends: that of its longest beginning that is a module.
fn file_of(house: &House, path: &[String]) -> Option<String> {
    (1..=path.len()).rev().find_map(|length| {
        let base = path.get(..length)?.join("/");
        [format!("{base}.rs"), format!("{base}/mod.rs")].into_iter().find(|file| house.contains_key(file))
    })
}

// --- reading ------------------------------------------------------------------------------------------

#[derive(Default)]
struct Source {
    /// Lines outside of tests.
    lines: usize,
    tokens: Vec<Token>,
    imports: Vec<Import>,
    modules: Vec<Module>,
}

struct Token {
    text: String,
    line: usize,
    in_test: bool,
}

/// A path into the crate, wherever it stands.
struct Import {
    path: Vec<String>,
    line: usize,
    in_test: bool,
}

/// `mod name;`
struct Module {
    name: String,
    line: usize,
    in_test: bool,
    /// Files that it may stand for.
    candidates: Vec<String>,
}

impl Module {
    fn file(&self, house: &House) -> Option<String> {
        self.candidates.iter().find(|file| house.contains_key(*file)).cloned()
    }
}

fn read_house() -> House {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut house, mut folders) = (House::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").map(|e| e.expect("an entry").path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|e| e == "rs") {
                let name = entry.strip_prefix(&root).expect("within").to_str().expect("text").to_owned();
                let source = read(&name, &std::fs::read_to_string(&entry).expect("text"));
                house.insert(name, source);
            }
        }
    }
    house
}

fn read(file: &str, text: &str) -> Source {
    let stream: TokenStream = text.parse().unwrap_or_else(|e| panic!("src/{file}: {e}"));
    let mut source = Source { lines: text.lines().count(), ..Source::default() };
    let module: Vec<String> = match file {
        "lib.rs" | "main.rs" => Vec::new(),
        _ => file.trim_end_matches(".rs").trim_end_matches("/mod").split('/').map(str::to_owned).collect(),
    };
    let trees: Vec<TokenTree> = stream.into_iter().collect();
    source.scan(&trees, file, &module, false);
    source
}

impl Source {
    fn scan(&mut self, trees: &[TokenTree], file: &str, module: &[String], in_test: bool) {
        let mut at = 0;
        while let Some(tree) = trees.get(at) {
            if !in_test && is_cfg_test(trees, at) {
                let end = end_of_item(trees, at + 2);
                let item = trees.get(at..end).unwrap_or_default();
                self.lines = self.lines.saturating_sub(height(item));
                self.scan(item, file, module, true);
                at = end;
                continue;
            }
            if let Some(inline) = self.module(trees, at, file, module, in_test) {
                let inner: Vec<TokenTree> = inline.stream().into_iter().collect();
                let name = trees.get(at + 1).map(ToString::to_string).unwrap_or_default();
                self.scan(&inner, file, &[module, &[name]].concat(), in_test);
                at += 3;
                continue;
            }
            if begins_path(trees, at) {
                self.import(trees, at, module, in_test);
            }
            match tree {
                TokenTree::Group(group) => self.group(group, file, module, in_test),
                _ => self.push(tree.to_string(), line_of(tree), in_test),
            }
            at += 1;
        }
    }

    fn group(&mut self, group: &Group, file: &str, module: &[String], in_test: bool) {
        let (open, close) = match group.delimiter() {
            Delimiter::Parenthesis => ("(", ")"),
            Delimiter::Brace => ("{", "}"),
            Delimiter::Bracket => ("[", "]"),
            Delimiter::None => ("", ""),
        };
        let inner: Vec<TokenTree> = group.stream().into_iter().collect();
        self.push(open.into(), group.span_open().start().line, in_test);
        self.scan(&inner, file, module, in_test);
        self.push(close.into(), group.span_close().end().line, in_test);
    }

    fn push(&mut self, text: String, line: usize, in_test: bool) {
        self.tokens.push(Token { text, line, in_test });
    }

    /// Notes `mod name;`; gives the group of `mod name { … }`.
    fn module(
        &mut self,
        trees: &[TokenTree],
        at: usize,
        file: &str,
        module: &[String],
        in_test: bool,
    ) -> Option<Group> {
        let (Some(word), Some(TokenTree::Ident(name)), Some(end)) =
            (trees.get(at), trees.get(at + 1), trees.get(at + 2))
        else {
            return None;
        };
        if !matches!(word, TokenTree::Ident(i) if i == "mod") {
            return None;
        }
        if let TokenTree::Group(group) = end {
            return Some(group.clone());
        }
        let folder = module.join("/");
        let within = |leaf: String| if folder.is_empty() { leaf } else { format!("{folder}/{leaf}") };
        let candidates = match path_attribute(trees, at) {
            Some(path) => {
                let parent = file.rsplit_once('/').map_or("", |(parent, _)| parent);
                vec![format!("{parent}/{path}")]
            }
            None => vec![within(format!("{name}.rs")), within(format!("{name}/mod.rs"))],
        };
        self.modules.push(Module { name: name.to_string(), line: line_of(word), in_test, candidates });
        None
    }

    /// Notes every path that begins here: one, or as many as its braces hold.
    fn import(&mut self, trees: &[TokenTree], at: usize, module: &[String], in_test: bool) {
        let mut path = module.to_vec();
        let mut at = at;
        while let Some(TokenTree::Ident(word)) = trees.get(at) {
            match word.to_string().as_str() {
                "crate" | "hulplijn" => path.clear(),
                "super" => drop(path.pop()),
                "self" => {}
                _ => break,
            }
            at += 3;
        }
        self.expand(trees.get(at..).unwrap_or_default(), path, in_test);
    }

    fn expand(&mut self, trees: &[TokenTree], mut path: Vec<String>, in_test: bool) {
        let (mut at, mut line) = (0, trees.first().map_or(1, line_of));
        loop {
            match trees.get(at) {
                Some(TokenTree::Ident(word)) => {
                    path.push(word.to_string());
                    line = word.span().start().line;
                }
                Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                    let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                    for part in inner.split(|tree| is_punct(tree, ',')).filter(|part| !part.is_empty()) {
                        self.expand(part, path.clone(), in_test);
                    }
                    return;
                }
                _ => break,
            }
            if !is_colons(trees, at + 1) {
                break;
            }
            at += 3;
        }
        self.imports.push(Import { path, line, in_test });
    }
}

fn begins_path(trees: &[TokenTree], at: usize) -> bool {
    let Some(TokenTree::Ident(word)) = trees.get(at) else { return false };
    let first = ["crate", "super", "self", "hulplijn"].iter().any(|w| word == w);
    let goes_on = at >= 2 && is_colons(trees, at - 2);
    first && !goes_on && is_colons(trees, at + 1)
}

fn is_colons(trees: &[TokenTree], at: usize) -> bool {
    [at, at + 1].iter().all(|at| trees.get(*at).is_some_and(|tree| is_punct(tree, ':')))
}

fn is_punct(tree: &TokenTree, char: char) -> bool {
    matches!(tree, TokenTree::Punct(punct) if punct.as_char() == char)
}

/// `#[cfg(test)]`, alone or with more that must hold.
fn is_cfg_test(trees: &[TokenTree], at: usize) -> bool {
    let (Some(hash), Some(TokenTree::Group(group))) = (trees.get(at), trees.get(at + 1)) else {
        return false;
    };
    let text: String = group.stream().to_string().split_whitespace().collect();
    is_punct(hash, '#') && (text == "cfg(test)" || text.starts_with("cfg(all(test,"))
}

fn path_attribute(trees: &[TokenTree], at: usize) -> Option<String> {
    let before = trees.get(..at)?.iter().rev();
    // `pub`, `pub(super)` and other attributes may stand between.
    let mut groups = before.take_while(|tree| !is_punct(tree, ';')).filter_map(|tree| match tree {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Bracket => {
            Some(group.stream().to_string())
        }
        _ => None,
    });
    let text = groups.find(|text| text.starts_with("path"))?;
    text.split('"').nth(1).map(str::to_owned)
}

/// Where the item, statement or field ends whose attributes begin at `at`.
fn end_of_item(trees: &[TokenTree], mut at: usize) -> usize {
    while trees.get(at).is_some_and(|tree| is_punct(tree, '#')) {
        at += 2;
    }
    let items = ["fn", "mod", "impl", "use", "struct", "enum", "const", "static", "type", "trait", "async"];
    let rest = trees.get(at..).unwrap_or_default();
    let head = rest.iter().find(|t| !matches!(t, TokenTree::Group(_)) && t.to_string() != "pub");
    let is_item = head.is_some_and(|tree| items.contains(&tree.to_string().as_str()));
    let ends = |tree: &TokenTree| match tree {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        _ => is_punct(tree, ';') || (!is_item && is_punct(tree, ',')),
    };
    rest.iter().position(ends).map_or(trees.len(), |place| at + place + 1)
}

fn height(trees: &[TokenTree]) -> usize {
    let (Some(first), Some(last)) = (trees.first(), trees.last()) else { return 0 };
    last.span().end().line + 1 - line_of(first)
}

fn line_of(tree: &TokenTree) -> usize {
    tree.span().start().line
}
