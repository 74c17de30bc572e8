//! Reads the config directory: every `*.toml` in the order of their names, merged, with all mistakes at once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::diagnostic::{Diagnostic, Severity};
use super::raw::{Config, Flow, Place};
use super::section::Reader;
use super::tree::{self, Node, Table, Value};
use super::{encryption, fields, names};
use crate::base::fault;

/// The largest file that is read, in bytes: a configuration of thousands of lines is a twentieth of it.
const MAX_FILE: u64 = 4 << 20;

/// What reading gave: the configuration if it may be used, and everything that there is to say about it.
pub struct Reading {
    /// `None` when one of the findings is an error.
    pub config: Option<Config>,
    /// The configuration also when names in it are wrong, so that other rooms can look for mistakes of theirs;
    /// `None` when a value could not be read.
    pub draft: Option<Config>,
    /// What could be read, to look for further mistakes only: it has empty values where one could not be read,
    /// and lacks the flows with such a value, since a step that is missing makes others look lost.
    pub partial: Option<Config>,
    /// Errors and warnings, by file and line.
    pub findings: Vec<Diagnostic>,
}

/// Reads the configuration of a directory. `Err` has every mistake, and the warnings among them.
pub fn load(dir: &Path) -> Result<Config, Vec<Diagnostic>> {
    load_with(dir, &|name| std::env::var(name).ok())
}

/// As [`load`], with the environment from outside.
pub fn load_with(dir: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, Vec<Diagnostic>> {
    let reading = read(dir, env);
    reading.config.ok_or(reading.findings)
}

/// As [`load`], for those who show warnings also when there is no error.
pub fn read(dir: &Path, env: &dyn Fn(&str) -> Option<String>) -> Reading {
    let mut findings = Vec::new();
    let Some(root) = merged(dir, &mut findings) else {
        return Reading { config: None, draft: None, partial: None, findings };
    };
    let mut reader = Reader { dir: dir.to_owned(), env, findings };
    let nowhere = Place { file: dir.display().to_string().into(), line: 0 };
    let mut config = reader.read(String::new(), &nowhere, &root, fields::config);
    let partial = partial(&config, &root, &reader.findings);
    config.site.data.value = dir.join(&config.site.data.value);
    config.site.prompts.value = dir.join(&config.site.prompts.value);
    let mut findings = reader.findings;
    let draft = (!broken(&findings)).then(|| config.clone());
    let partial = partial.map(|flows| Config { flows, ..config.clone() });
    findings.append(&mut names::check(&config));
    findings.append(&mut encryption::check(&config));
    // Only when all was read: a listener with a slip in it is no missing listener.
    if draft.is_some() {
        findings.append(&mut names::unserved(&config));
    }
    sort(&mut findings);
    Reading { config: (!broken(&findings)).then_some(config), draft, partial, findings }
}

/// The flows without a mistake in them; `None` when what all flows are held against could not be read.
fn partial(config: &Config, root: &Table, findings: &[Diagnostic]) -> Option<Vec<Flow>> {
    let helpline = &config.helpline;
    let unread = config.site.prompts.value.as_os_str().is_empty()
        || helpline.zone.value.is_empty()
        || helpline.languages.is_empty();
    let wrong = |node: &Node| {
        let lines = node.lines();
        let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
        errors
            .into_iter()
            .any(|e| lines.get(&e.place.file).is_some_and(|lines| lines.contains(&e.place.line)))
    };
    let flows = root.get("flow").map(|entry| &entry.node.value);
    let sound = |flow: &&Flow| match flows {
        Some(Value::Table(flows)) => flows.get(&flow.name.value).is_none_or(|entry| !wrong(&entry.node)),
        _ => false,
    };
    (!unread).then(|| config.flows.iter().filter(sound).cloned().collect())
}

fn broken(findings: &[Diagnostic]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Error)
}

/// All files in one table; `None` when one of them cannot be read or is no TOML, for then what the others
/// seem to lack may stand in it.
fn merged(dir: &Path, findings: &mut Vec<Diagnostic>) -> Option<Table> {
    let mut sound = true;
    let mut root = Table::default();
    let paths = match files(dir) {
        Ok(paths) => paths,
        Err(error) => {
            findings.push(unreadable(dir, &error).allowed(in_its_place(dir, &error)));
            return None;
        }
    };
    if paths.is_empty() {
        let place = Place { file: dir.display().to_string().into(), line: 0 };
        let what = "no file that ends in .toml";
        findings.push(Diagnostic::error(&place, what).allowed("at least one, such as site.toml"));
        return None;
    }
    for path in paths {
        match text(&path) {
            Ok(text) => {
                let document = tree::read(&path.display().to_string(), &text);
                sound &= document.sound;
                findings.extend(document.findings);
                tree::merge(&mut root, document.table, findings);
            }
            Err(error) => {
                sound = false;
                findings.push(unreadable(&path, &error));
            }
        }
    }
    sort(findings);
    sound.then_some(root)
}

/// What to name instead of a directory that can't be read.
fn in_its_place(dir: &Path, error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::PermissionDenied {
        return "a directory that whoever runs this may read".to_owned();
    }
    match dir.parent().filter(|_| dir.is_file()) {
        Some(parent) if parent.as_os_str().is_empty() => "its directory, as in `--config .`".to_owned(),
        Some(parent) => format!("its directory, as in `--config {}`", parent.display()),
        None => "a directory with files such as site.toml, named by `--config DIR`".to_owned(),
    }
}

/// The `*.toml` of the directory itself; names that begin with a dot are an editor's.
fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && path.extension().is_some_and(|ending| ending == "toml") && !path.is_dir() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn text(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > MAX_FILE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    fs::read_to_string(path)
}

fn unreadable(path: &Path, error: &io::Error) -> Diagnostic {
    let place = Place { file: path.display().to_string().into(), line: 0 };
    let why = fault::words(error.kind());
    Diagnostic::error(&place, format!("cannot be read: {why}"))
}

fn sort(findings: &mut [Diagnostic]) {
    findings.sort_by(|a, b| (&a.place.file, a.place.line).cmp(&(&b.place.file, b.place.line)));
}
