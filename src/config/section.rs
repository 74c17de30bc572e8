//! A table while it is read: each key is asked for once with its parser and default, mistakes are collected,
//! and what nobody asked for is unknown.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::diagnostic::Diagnostic;
use super::raw::{At, Place, Secret};
use super::tree::{Entry, Node, Table, Value};
use super::value::{Parsed, Wrong, check_key, check_name};
use crate::base::fault;

/// The largest secret that is read from a file, in bytes.
const MAX_SECRET: u64 = 4096;

/// What reading needs beside the tables.
pub(super) struct Reader<'e> {
    /// The config directory: relative paths start here.
    pub dir: PathBuf,
    pub env: &'e dyn Fn(&str) -> Option<String>,
    pub findings: Vec<Diagnostic>,
}

/// One table while it is read.
pub(super) struct Section<'a, 'r, 'e> {
    /// As the operator writes it: `[[line]]`, `[queue.1712]`; empty for what stands outside all tables.
    title: String,
    place: Place,
    table: &'a Table,
    asked: Vec<&'static str>,
    reader: &'r mut Reader<'e>,
}

impl<'e> Reader<'e> {
    /// Reads a table by `fill`; keys that `fill` did not ask for are mistakes.
    pub fn read<T>(
        &mut self,
        title: String,
        place: &Place,
        table: &Table,
        fill: impl FnOnce(&mut Section<'_, '_, 'e>) -> T,
    ) -> T {
        let mut section = Section { title, place: place.clone(), table, asked: Vec::new(), reader: self };
        let filled = fill(&mut section);
        section.refuse_unknown();
        filled
    }
}

impl<'a, 'e> Section<'a, '_, 'e> {
    /// Where the table begins.
    pub fn place(&self) -> &Place {
        &self.place
    }

    pub fn report(&mut self, finding: Diagnostic) {
        self.reader.findings.push(finding);
    }

    /// A key that may be left out.
    pub fn optional<T>(&mut self, key: &'static str, parse: impl Fn(&Node) -> Parsed<T>) -> Option<At<T>> {
        let entry = self.entry(key)?;
        self.parsed(&format!("`{key}`"), &entry.node, parse)
    }

    /// A path that may be left out, joined to the config directory.
    pub fn file(
        &mut self,
        key: &'static str,
        parse: impl Fn(&Node) -> Parsed<PathBuf>,
    ) -> Option<At<PathBuf>> {
        let found = self.optional(key, parse)?;
        Some(At { value: self.reader.dir.join(found.value), place: found.place })
    }

    /// A key with a default.
    pub fn or<T>(&mut self, key: &'static str, parse: impl Fn(&Node) -> Parsed<T>, default: T) -> At<T> {
        self.optional(key, parse).unwrap_or_else(|| At { value: default, place: self.place.clone() })
    }

    /// A key that must be there; after the mistake reading goes on with an empty value.
    pub fn required<T: Default>(&mut self, key: &'static str, parse: impl Fn(&Node) -> Parsed<T>) -> At<T> {
        self.must(key, parse, T::default())
    }

    /// A key that must be there; after the mistake reading goes on with `standin`.
    pub fn must<T>(&mut self, key: &'static str, parse: impl Fn(&Node) -> Parsed<T>, standin: T) -> At<T> {
        if self.table.get(key).is_none() {
            let what = format!("{} has no `{key}`", self.title);
            self.report(Diagnostic::error(&self.place, what));
        }
        self.or(key, parse, standin)
    }

    /// A list; empty when it is left out.
    pub fn list<T>(&mut self, key: &'static str, parse: impl Fn(&Node) -> Parsed<T>) -> Vec<At<T>> {
        let Some(entry) = self.entry(key) else { return Vec::new() };
        let label = format!("an entry of `{key}`");
        match &entry.node.value {
            Value::List(nodes) => nodes.iter().filter_map(|node| self.parsed(&label, node, &parse)).collect(),
            other => {
                let what = format!("`{key}` is {}", other.kind());
                self.report(Diagnostic::error(&entry.node.place, what).allowed("a list in square brackets"));
                Vec::new()
            }
        }
    }

    /// One value, or a list of them; empty when it is left out.
    pub fn one_or_more<T>(&mut self, key: &'static str, parse: impl Fn(&Node) -> Parsed<T>) -> Vec<At<T>> {
        match self.table.get(key).map(|entry| &entry.node.value) {
            Some(Value::List(_)) => self.some(key, parse),
            Some(_) | None => self.optional(key, parse).into_iter().collect(),
        }
    }

    /// A list that must be there and have an entry.
    pub fn some<T>(&mut self, key: &'static str, parse: impl Fn(&Node) -> Parsed<T>) -> Vec<At<T>> {
        let place = self.table.get(key).map(|entry| entry.place.clone());
        let list = self.list(key, parse);
        match place {
            None => {
                let what = format!("{} has no `{key}`", self.title);
                self.report(Diagnostic::error(&self.place, what));
            }
            Some(place) if self.empty_list(key) => {
                self.report(Diagnostic::error(&place, format!("`{key}` is empty")).allowed("at least one"));
            }
            Some(_) => {}
        }
        list
    }

    fn empty_list(&self, key: &str) -> bool {
        self.table.get(key).is_some_and(|e| matches!(&e.node.value, Value::List(list) if list.is_empty()))
    }

    /// `keys = { 1 = "…", "*" = "…" }`: keys of the telephone and what they lead to.
    pub fn keys<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&Node) -> Parsed<T>,
    ) -> Vec<(At<char>, At<T>)> {
        let Some(entry) = self.entry(key) else { return Vec::new() };
        let Value::Table(table) = &entry.node.value else {
            let what = format!("`{key}` is {}", entry.node.value.kind());
            self.report(Diagnostic::error(&entry.node.place, what).allowed(r#"{ 1 = "…", 2 = "…" }"#));
            return Vec::new();
        };
        let mut pairs = Vec::new();
        for inner in &table.entries {
            let digit = check_key(&inner.key).map_err(|wrong| self.wrong("a key", &inner.place, wrong)).ok();
            let value = self.parsed(&format!("what key `{}` leads to", inner.key), &inner.node, &parse);
            if let (Some(digit), Some(value)) = (digit, value) {
                pairs.push((At { value: digit, place: inner.place.clone() }, value));
            }
        }
        pairs
    }

    /// `password = "…"`, `{ env = "NAME" }` or `{ file = "path" }`.
    pub fn secret(&mut self, key: &'static str) -> Option<At<Secret>> {
        let entry = self.entry(key)?;
        let place = &entry.node.place;
        let found = match &entry.node.value {
            Value::Text(text) => Ok(text.clone()),
            Value::Table(table) => self.fetch_secret(table),
            other => Err(other.kind().to_owned()),
        };
        let found = found.and_then(|secret| {
            if secret.is_empty() {
                Err("empty".to_owned())
            } else if secret.chars().any(char::is_control) {
                Err("of several lines".to_owned())
            } else {
                Ok(secret)
            }
        });
        match found {
            Ok(secret) => Some(At { value: Secret(secret), place: place.clone() }),
            Err(found) => {
                let allowed = r#""…", { env = "NAME" } or { file = "path" }"#;
                let what = format!("`{key}` is {found}");
                self.report(Diagnostic::error(place, what).allowed(allowed));
                None
            }
        }
    }

    fn fetch_secret(&self, table: &Table) -> Result<String, String> {
        let [entry] = table.entries.as_slice() else {
            return Err("a table without exactly one key".to_owned());
        };
        match (entry.key.as_str(), &entry.node.value) {
            ("env", Value::Text(name)) => (self.reader.env)(name).ok_or_else(|| {
                format!("in the environment variable {}, which is not set", name.escape_debug())
            }),
            ("file", Value::Text(path)) => {
                let path = self.reader.dir.join(path);
                read_secret(&path).map_err(|why| format!("in {}, {why}", path.display()))
            }
            ("env" | "file", other) => Err(format!("a table whose `{}` is {}", entry.key, other.kind())),
            (key, _) => Err(format!("a table with the unknown key `{}`", key.escape_debug())),
        }
    }

    /// `[key]`: a table that may be left out; then its defaults hold.
    pub fn table<T>(&mut self, key: &'static str, fill: impl FnOnce(&mut Section<'_, '_, 'e>) -> T) -> T {
        let empty = Table::default();
        let (place, table) = match self.entry(key) {
            None => (self.place.clone(), &empty),
            Some(entry) => match &entry.node.value {
                Value::Table(table) => (entry.place.clone(), table),
                Value::List(_) => {
                    let what = format!("[[{key}]] is written as one of several");
                    self.report(Diagnostic::error(&entry.place, what).allowed(format!("[{key}], once")));
                    return self.reader.read(format!("[{key}]"), &entry.place, &empty, fill);
                }
                other => {
                    let what = format!("`{key}` is {}", other.kind());
                    self.report(Diagnostic::error(&entry.place, what).allowed(format!("a table [{key}]")));
                    (entry.place.clone(), &empty)
                }
            },
        };
        self.reader.read(format!("[{key}]"), &place, table, fill)
    }

    /// Whether a key or table is there at all.
    pub fn has(&self, key: &str) -> bool {
        self.table.get(key).is_some()
    }

    /// `[[key]]`: any number of tables.
    pub fn each<T>(
        &mut self,
        key: &'static str,
        mut fill: impl FnMut(&mut Section<'_, '_, 'e>) -> T,
    ) -> Vec<T> {
        let Some(entry) = self.entry(key) else { return Vec::new() };
        let title = format!("[[{key}]]");
        let nodes = match &entry.node.value {
            Value::List(nodes) => nodes.as_slice(),
            other => {
                let what = format!("`{key}` is {}", other.kind());
                let allowed = format!("{title} with double brackets, once for each");
                self.report(Diagnostic::error(&entry.place, what).allowed(allowed));
                return Vec::new();
            }
        };
        let mut filled = Vec::new();
        for node in nodes {
            match &node.value {
                Value::Table(table) => {
                    filled.push(self.reader.read(title.clone(), &node.place, table, &mut fill));
                }
                other => {
                    let what = format!("an entry of `{key}` is {}", other.kind());
                    self.report(Diagnostic::error(&node.place, what).allowed(title.clone()));
                }
            }
        }
        filled
    }

    /// `[key.NAME]`: tables with names of the operator's. `within` is what stands before `key` in a heading.
    pub fn named<T>(
        &mut self,
        within: &str,
        key: &'static str,
        mut fill: impl FnMut(&mut Section<'_, '_, 'e>, At<String>) -> T,
    ) -> Vec<T> {
        let Some(entry) = self.entry(key) else { return Vec::new() };
        let prefix = format!("{within}{key}");
        let Value::Table(names) = &entry.node.value else {
            let what = format!("`{key}` is {}", entry.node.value.kind());
            let allowed = format!("tables with a name, such as [{prefix}.NAME]");
            self.report(Diagnostic::error(&entry.place, what).allowed(allowed));
            return Vec::new();
        };
        let mut filled = Vec::new();
        for inner in &names.entries {
            if let Err(wrong) = check_name(&inner.key) {
                self.wrong(&format!("the name in [{prefix}.…]"), &inner.place, wrong);
            }
            let Value::Table(table) = &inner.node.value else {
                let what = format!("`{}` of [{prefix}] is {}", inner.key, inner.node.value.kind());
                let allowed = format!("a table with a name, such as [{prefix}.NAME]");
                self.report(Diagnostic::error(&inner.place, what).allowed(allowed));
                continue;
            };
            let name = At { value: inner.key.clone(), place: inner.place.clone() };
            let title = format!("[{prefix}.{}]", inner.key);
            let section = |section: &mut Section<'_, '_, 'e>| fill(section, name);
            filled.push(self.reader.read(title, &inner.place, table, section));
        }
        filled
    }

    /// Takes every key as known, when a mistake leaves open which ones are.
    pub fn ask_nothing_more(&mut self) {
        self.table = const { &Table { entries: Vec::new() } };
    }

    fn entry(&mut self, key: &'static str) -> Option<&'a Entry> {
        self.asked.push(key);
        self.table.get(key)
    }

    fn parsed<T>(&mut self, label: &str, node: &Node, parse: impl Fn(&Node) -> Parsed<T>) -> Option<At<T>> {
        match parse(node) {
            Ok(value) => Some(At { value, place: node.place.clone() }),
            Err(wrong) => {
                self.wrong(label, &node.place, wrong);
                None
            }
        }
    }

    fn wrong(&mut self, label: &str, place: &Place, wrong: Wrong) {
        let what = format!("{label} is {}", wrong.found);
        let mut finding = Diagnostic::error(place, what).allowed(wrong.allowed);
        if let Some((found, words)) = wrong.words {
            finding = finding.nearest(&found, words.iter().copied());
        }
        self.report(finding);
    }

    fn refuse_unknown(&mut self) {
        let mut unknown = Vec::new();
        for entry in self.table.entries.iter().filter(|entry| !self.asked.contains(&entry.key.as_str())) {
            let key = entry.key.escape_debug();
            let what = match (&entry.node.value, self.title.as_str()) {
                (Value::Table(_), "") => format!("unknown table [{key}]"),
                (Value::List(_), "") => format!("unknown table [[{key}]]"),
                (_, "") => format!("unknown key `{key}` outside of every table"),
                (_, title) => format!("unknown key `{key}` in {title}"),
            };
            // In a table a slip is meant for a key that is not there yet; outside, tables may come again.
            let free = |asked: &&str| self.title.is_empty() || self.table.get(asked).is_none();
            let free = self.asked.iter().copied().filter(free);
            unknown.push(Diagnostic::error(&entry.place, what).nearest(&entry.key, free));
        }
        self.reader.findings.append(&mut unknown);
    }
}

/// A secret from a file, without the line end.
fn read_secret(path: &Path) -> Result<String, String> {
    let file =
        File::open(path).map_err(|error| format!("which cannot be read ({})", fault::words(error.kind())))?;
    let mut text = String::new();
    file.take(MAX_SECRET + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("which cannot be read ({})", fault::words(error.kind())))?;
    if text.len() as u64 > MAX_SECRET {
        return Err(format!("which is longer than {MAX_SECRET} bytes"));
    }
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
