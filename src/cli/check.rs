//! `hulplijn check`: every mistake of a configuration at once.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::certificates;
use super::doubts;
use super::exit::Exit;
use crate::base::time::Now;
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::raw::{Config, Place};
use crate::config::source;
use crate::media::prompt_bank::{PromptBank, PromptFault, PromptTrouble};
use crate::net::tls::Security;
use crate::switch::policy::Policy;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Directory of the configuration.
    #[arg(long, value_name = "DIR", default_value = "config")]
    config: PathBuf,
}

/// Runs the command.
pub fn run(arguments: &Arguments, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let mut findings = examine(&arguments.config, None).map_or_else(|found| found, |ready| ready.warnings);
    findings.extend(doubts::find(&arguments.config));
    report(&mut findings, out)
}

/// A configuration that can be used.
pub struct Ready {
    pub policy: Policy,
    pub security: Security,
    /// When the first certificate runs out, in seconds since 1970.
    pub certificates_until: Option<u64>,
    pub warnings: Vec<Diagnostic>,
}

/// Reads and compiles a configuration with its prompts and certificates: what `check`, the start and a reload do
/// alike. Every mistake, if there is one. `old` is the policy of the running switch, whose lines keep their keys.
pub fn examine(dir: &Path, old: Option<&Policy>) -> Result<Ready, Vec<Diagnostic>> {
    let reading = source::read(dir, &|name| std::env::var(name).ok());
    let mut findings = reading.findings;
    let sound = reading.config.is_some();
    // What could be read still shows what is wrong with hours and flows.
    let Some(config) = reading.config.or(reading.partial) else { return Err(findings) };
    let security = certificates::read(&config).map_err(|mistakes| findings.extend(mistakes));
    let now = u64::try_from(Now::read().utc.timestamp()).unwrap_or_default();
    let (certificates_until, old_ones) = certificates::expiry(&config, now);
    findings.extend(old_ones);
    let generation = old.map_or(1, |p| p.generation + 1);
    // Prompts that were missing at the start and still are: no reason to refuse what else changes, such as a closing.
    let spare = old.filter(|old| old.prompts.is_forgiving()).map(|_| config.clone());
    let (policy, more) = match compile(config, generation, old) {
        Ok((policy, warnings)) => (Some(policy), warnings),
        Err(mistakes) => {
            let anew =
                spare.and_then(|config| compile_with(config, generation, old, PromptBank::forgiving).ok());
            (anew.map(|(policy, _)| policy), mistakes)
        }
    };
    findings.extend(more);
    match (policy, security) {
        (Some(policy), Ok(security)) if sound => {
            let security = certificates::with_names(security, policy.domains());
            Ok(Ready { policy, security, certificates_until, warnings: findings })
        }
        _ => Err(findings),
    }
}

/// Compiles a configuration with its prompts, as `serve` does: the policy with warnings, or all mistakes.
/// `old` is the policy of the running switch, whose lines keep their keys.
pub fn compile(
    config: Config,
    generation: u64,
    old: Option<&Policy>,
) -> Result<(Policy, Vec<Diagnostic>), Vec<Diagnostic>> {
    let folder = &config.site.prompts;
    if !folder.value.is_dir() {
        // One mistake, and not one for each prompt that is in no folder.
        let what = format!("the folder of prompts `{}` is not there", folder.value.display());
        let allowed = "a folder with one folder a language, relative to this file";
        return Err(vec![Diagnostic::error(&folder.place, what).allowed(allowed)]);
    }
    let languages = &config.helpline.languages;
    if let Some(language) = languages
        .first()
        .filter(|_| languages.iter().all(|language| !folder.value.join(&language.value).is_dir()))
    {
        // The same: one mistake.
        let what = format!("there is no folder `{}`", folder.value.join(&language.value).display());
        let there = std::fs::read_dir(&folder.value).into_iter().flatten().flatten();
        let mut there: Vec<String> = there
            .filter(|entry| entry.path().is_dir())
            .map(|entry| format!("`{}`", entry.file_name().display()))
            .collect();
        there.sort();
        let allowed = format!("a language that is there ({}), or `hulplijn prompts make`", there.join(", "));
        return Err(vec![Diagnostic::error(&language.place, what).allowed(allowed)]);
    }
    compile_with(config, generation, old, |prompts| prompts)
}

/// The same, also when prompts are missing: others, or the built-in words, take their place.
pub fn compile_without_prompts(config: Config) -> Option<Ready> {
    let security = certificates::read(&config).ok()?;
    let (certificates_until, _) = certificates::expiry(&config, 0);
    let (policy, warnings) = compile_with(config, 1, None, PromptBank::forgiving).ok()?;
    let security = certificates::with_names(security, policy.domains());
    Some(Ready { policy, security, certificates_until, warnings })
}

fn compile_with(
    config: Config,
    generation: u64,
    old: Option<&Policy>,
    adapt: impl FnOnce(PromptBank) -> PromptBank,
) -> Result<(Policy, Vec<Diagnostic>), Vec<Diagnostic>> {
    let languages: Vec<String> = config.helpline.languages.iter().map(|at| at.value.clone()).collect();
    let (prompts, troubles) = PromptBank::load(&config.site.prompts.value, &languages);
    let trouble = |trouble: &PromptTrouble| {
        let place = Place { file: trouble.path.display().to_string().into(), line: 0 };
        let found = Diagnostic::warning(&place, format!("this prompt can't be used: {}", trouble.fault));
        match trouble.fault {
            PromptFault::Audio(_) => found.allowed(
                "WAV of 8000 or 16000 Hz, 16 bit, mono, as `sox own.wav -r 8000 -c 1 -b 16 new.wav` makes it",
            ),
            PromptFault::Directory(_) | PromptFault::TooMany => found,
        }
    };
    let mut findings: Vec<Diagnostic> = troubles.iter().map(trouble).collect();
    match Policy::compile(config, Arc::new(adapt(prompts)), generation, old) {
        Ok((policy, more)) => {
            findings.extend(more);
            Ok((policy, findings))
        }
        Err(more) => {
            findings.extend(more);
            Err(findings)
        }
    }
}

/// Writes all findings in the order of the files; any error makes the configuration wrong.
pub fn report(findings: &mut [Diagnostic], out: &mut dyn Write) -> anyhow::Result<Exit> {
    findings.sort_by(|a, b| (&a.place.file, a.place.line).cmp(&(&b.place.file, b.place.line)));
    for finding in &*findings {
        writeln!(out, "{finding}")?;
    }
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let warnings = findings.len() - errors;
    writeln!(out, "{}, {}", counted(errors, "error"), counted(warnings, "warning"))?;
    Ok(if errors == 0 { Exit::Fine } else { Exit::Wrong })
}

/// `1 error`, `2 errors`.
pub(super) fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::raw::Place;

    #[test]
    fn findings_come_in_the_order_of_the_files_and_a_warning_is_no_mistake() {
        let place = |line| Place { file: "config/a.toml".into(), line };
        let warning = Diagnostic::warning(&place(9), "odd");
        let error = Diagnostic::error(&place(2), "wrong").allowed("right");
        let mut out = Vec::new();
        let exit = report(&mut [warning.clone(), error], &mut out).expect("written");
        assert_eq!(exit, Exit::Wrong);
        let text = String::from_utf8(out).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "config/a.toml:2: error: wrong; allowed: right",
                "config/a.toml:9: warning: odd",
                "1 error, 1 warning"
            ]
        );
        assert_eq!(report(&mut [warning], &mut Vec::new()).expect("written"), Exit::Fine);
    }

    #[test]
    fn a_directory_that_is_not_there_is_a_mistake_with_its_name() {
        let arguments = Arguments { config: PathBuf::from("/no/such/config") };
        let mut out = Vec::new();
        assert_eq!(run(&arguments, &mut out).expect("written"), Exit::Wrong);
        assert!(String::from_utf8(out).expect("text").contains("/no/such/config"));
    }
}
