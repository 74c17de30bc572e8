//! One TOML file as an owned tree in which every key and value knows its line, and the merging of trees.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::diagnostic::Diagnostic;
use super::raw::Place;

/// A value and where it stands.
pub(super) struct Node {
    pub place: Place,
    pub value: Value,
}

pub(super) enum Value {
    Text(String),
    /// `None`: larger than 64 bits.
    Number(Option<i64>),
    Fraction,
    Truth(bool),
    /// A TOML date or time, as it is printed.
    Moment(String),
    List(Vec<Node>),
    Table(Table),
}

impl Value {
    /// The kind, for "is a …". Never the content: it may be a secret in the wrong place.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Number(_) => "a number",
            Self::Fraction => "a fraction",
            Self::Truth(_) => "true or false",
            Self::Moment(_) => "a date or time",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

impl Node {
    /// From the first line to the last, in each file that it has parts in.
    pub fn lines(&self) -> BTreeMap<Arc<str>, RangeInclusive<u32>> {
        let mut lines = BTreeMap::new();
        self.add_lines(&mut lines);
        lines
    }

    fn add_lines(&self, lines: &mut BTreeMap<Arc<str>, RangeInclusive<u32>>) {
        let line = self.place.line;
        let known = lines.entry(self.place.file.clone()).or_insert(line..=line);
        *known = line.min(*known.start())..=line.max(*known.end());
        match &self.value {
            Value::List(nodes) => nodes.iter().for_each(|node| node.add_lines(lines)),
            Value::Table(table) => table.entries.iter().for_each(|entry| entry.node.add_lines(lines)),
            Value::Text(_) | Value::Number(_) | Value::Fraction | Value::Truth(_) | Value::Moment(_) => {}
        }
    }
}

/// The keys of a table, in the order of the file.
#[derive(Default)]
pub(super) struct Table {
    pub entries: Vec<Entry>,
}

pub(super) struct Entry {
    pub key: String,
    /// Of the key; for a table from its heading, the heading's line.
    pub place: Place,
    pub node: Node,
}

impl Table {
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

/// What reading one file gave. With a syntax error the table is not to be relied on.
pub(super) struct Document {
    pub table: Table,
    pub findings: Vec<Diagnostic>,
    pub sound: bool,
}

/// Reads the text of one file.
pub(super) fn read(file: &str, text: &str) -> Document {
    let lines = Lines::new(file, text);
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut sound = true;
    let mut findings = Vec::new();
    for error in errors {
        let place = error.span().map_or_else(|| lines.place(0), |span| lines.place(span.start));
        if error.message() == "duplicate key" {
            let what = "the same key or table is written twice";
            findings.push(Diagnostic::error(&place, what).allowed("each once"));
        } else if std::mem::replace(&mut sound, false) {
            // One forgotten quote makes all that follows look wrong: only the first place is true for certain.
            let what = format!(
                "not readable as TOML: {}; what follows in this file was not judged",
                error.message()
            );
            findings.push(
                Diagnostic::error(&place, what).allowed("often a quote, bracket or comma is missing here"),
            );
        }
    }
    Document { table: lines.table(root.get_ref()), findings, sound }
}

/// Tables whose entries have names of the operator's: they may be spread over the files.
const NAMED: [&str; 3] = ["queue", "flow", "destination"];

/// Adds a file's tables to those of the files before.
pub(super) fn merge(into: &mut Table, from: Table, findings: &mut Vec<Diagnostic>) {
    for entry in from.entries {
        match into.entries.iter_mut().find(|known| known.key == entry.key) {
            None => into.entries.push(entry),
            Some(known) => merge_entry(known, entry, findings),
        }
    }
}

fn merge_entry(known: &mut Entry, entry: Entry, findings: &mut Vec<Diagnostic>) {
    let named = NAMED.contains(&entry.key.as_str());
    match (&mut known.node.value, entry.node.value) {
        (Value::List(list), Value::List(more)) => list.extend(more),
        (Value::Table(table), Value::Table(more)) if named => {
            for inner in more.entries {
                match table.get(&inner.key) {
                    Some(first) => {
                        let title = format!("[{}.{}]", entry.key, inner.key);
                        findings.push(twice(&title, &first.place, &inner.place));
                    }
                    None => table.entries.push(inner),
                }
            }
        }
        (_, value) => {
            let title = if matches!(value, Value::Table(_) | Value::List(_)) {
                format!("[{}]", entry.key)
            } else {
                format!("`{}`", entry.key)
            };
            findings.push(twice(&title, &known.place, &entry.place));
        }
    }
}

fn twice(title: &str, first: &Place, second: &Place) -> Diagnostic {
    let what = format!("{title} is already written in {}:{}", first.file, first.line);
    Diagnostic::error(second, what).allowed("each once, in one file")
}

/// Where the lines of a file begin.
struct Lines {
    file: Arc<str>,
    /// Offset just behind every line end.
    starts: Vec<usize>,
}

impl Lines {
    fn new(file: &str, text: &str) -> Self {
        let starts = text.match_indices('\n').map(|(at, _)| at + 1).collect();
        Self { file: file.into(), starts }
    }

    fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= offset) + 1;
        Place { file: self.file.clone(), line: line as u32 }
    }

    fn table(&self, table: &DeTable<'_>) -> Table {
        let mut spans: Vec<(usize, Entry)> = table
            .iter()
            .map(|(key, value)| {
                let node = self.node(value);
                let place = self.place(key.span().start);
                (key.span().start, Entry { key: key.get_ref().to_string(), place, node })
            })
            .collect();
        spans.sort_by_key(|(start, _)| *start);
        Table { entries: spans.into_iter().map(|(_, entry)| entry).collect() }
    }

    fn node(&self, value: &Spanned<DeValue<'_>>) -> Node {
        let place = self.place(value.span().start);
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => Value::Number(integer(number)),
            DeValue::Float(_) => Value::Fraction,
            DeValue::Boolean(truth) => Value::Truth(*truth),
            DeValue::Datetime(moment) => Value::Moment(moment.to_string()),
            DeValue::Array(list) => Value::List(list.iter().map(|value| self.node(value)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        Node { place, value }
    }
}

fn integer(number: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}
