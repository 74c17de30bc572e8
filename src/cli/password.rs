//! `hulplijn password`: what can stand in the configuration in place of a line's password.

use std::io::{BufRead as _, Write};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;

use super::exit::Exit;
use crate::config::source;
use crate::sip::digest::{Algorithm, HA1, ha1};

/// Makes what can stand in place of a line's password (its HA1, RFC 7616): who reads it in the configuration can be
/// that line here, but has no password for anything else. The password is read from standard input.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The line's name.
    line: String,
    /// Directory of the configuration, for its `realm` and `algorithms`.
    #[arg(long, value_name = "DIR", default_value = "config")]
    config: PathBuf,
}

/// Runs the command.
pub fn run(arguments: &Arguments, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let draft = source::read(&arguments.config, &|name| std::env::var(name).ok()).draft;
    let config = draft.with_context(|| {
        format!("{} can't be read: `hulplijn check` says why", arguments.config.display())
    })?;
    let mut password = String::new();
    std::io::stdin().lock().read_line(&mut password).context("no password on standard input")?;
    let password = password.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        bail!("no password on standard input: type it, or `hulplijn password {} < FILE`", arguments.line);
    }
    let registrar = &config.registrar;
    let parts = registrar.algorithms.iter().filter_map(|word| {
        let algorithm = Algorithm::from_name(&word.value)?;
        Some(format!("{}:{}", word.value, ha1(algorithm, &arguments.line, &registrar.realm.value, password)))
    });
    let parts: Vec<String> = parts.collect();
    writeln!(out, "password = \"{HA1}{}\"", parts.join(" "))?;
    Ok(Exit::Fine)
}
