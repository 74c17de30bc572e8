//! `hulplijn check`: every mistake of a configuration at once.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::exit::Exit;
use crate::config::diagnostic::{Diagnostic, Severity};

#[derive(Debug, Args)]
pub struct Arguments {
    /// Directory of the configuration.
    #[arg(long, value_name = "DIR", default_value = "config")]
    config: PathBuf,
}

/// Writes all findings in the order of the files; any error makes the configuration wrong.
pub fn report(findings: &mut [Diagnostic], out: &mut dyn Write) -> anyhow::Result<Exit> {
    findings.sort_by(|a, b| (&a.place.file, a.place.line).cmp(&(&b.place.file, b.place.line)));
    for finding in &*findings {
        writeln!(out, "{finding}")?;
    }
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let warnings = findings.len() - errors;
    writeln!(out, "{errors} errors, {warnings} warnings")?;
    Ok(if errors == 0 { Exit::Fine } else { Exit::Wrong })
}
