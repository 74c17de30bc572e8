//! The operator's certificates, keys and authorities: read from their files, with every mistake at its line.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::sign::CertifiedKey;

use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{At, Certificate, Config, Listen, Reach};
use crate::net::tls::{self, Door, Fault, Kind, Security, Why};
use crate::sip::flow::Transport;
use crate::sip::target::{Plan, plan};
use crate::sip::uri::Uri;
use crate::switch::domains::Domains;

/// In seconds.
const DAY: u64 = 24 * 3600;
/// Before it runs out a certificate is warned of.
const MONTH: u64 = 30 * DAY;

/// All that the configuration shows and trusts over TLS, without the names of those whom it calls.
pub fn read(config: &Config) -> Result<Security, Vec<Diagnostic>> {
    let mut found = Vec::new();
    let doors = config.listen.iter().map(|listen| door(listen, &mut found)).collect();
    let client = client(config, &mut found);
    if found.is_empty() { Ok(Security { doors, client, ..Security::default() }) } else { Err(found) }
}

/// When the first of the certificates that we show runs out, in seconds since 1970, and a warning for each that does so
/// within a month of `now`.
pub fn expiry(config: &Config, now: u64) -> (Option<u64>, Vec<Diagnostic>) {
    let doors = config.listen.iter().flat_map(|listen| listen.shown.iter().chain(&listen.also));
    let files = doors.chain(&config.tls.shown).map(|shown| &shown.certificate);
    let ends: Vec<(&At<PathBuf>, u64)> =
        files.filter_map(|file| Some((file, tls::runs_out(&file.value)?))).collect();
    let warning = |(file, end): &(&At<PathBuf>, u64)| {
        let left = end.saturating_sub(now);
        let when = match left.div_ceil(DAY) {
            0 => "has run out".to_owned(),
            1 => "runs out within a day".to_owned(),
            days => format!("runs out in {days} days"),
        };
        let what = format!("the certificate `{}`, or one of its chain, {when}", file.value.display());
        let found = Diagnostic::warning(&file.place, what).allowed("a new one, which a reload reads");
        (left < MONTH).then_some(found)
    };
    (ends.iter().map(|(_, end)| *end).min(), ends.iter().filter_map(warning).collect())
}

/// The same with the names.
pub fn with_names(security: Security, domains: &Domains) -> Security {
    let domains = domains.iter().filter_map(|(key, name)| Some((key, tls::domain(name)?))).collect();
    Security { domains, ..security }
}

fn door(listen: &Listen, found: &mut Vec<Diagnostic>) -> Door {
    let origins = listen.origins.iter().map(|origin| origin.value.clone()).collect();
    if !listen.transport.value.is_tls() {
        return Door { tls: None, origins };
    }
    let shown = listen.shown.iter().chain(&listen.also).filter_map(|shown| certified(shown, found)).collect();
    let ca = listen.client_ca.as_ref();
    let server = tls::server(shown, ca.map(|ca| ca.value.as_path()));
    Door { tls: server.map_err(|fault| found.push(finding(&fault, None, ca))).ok(), origins }
}

fn certified(shown: &Certificate, found: &mut Vec<Diagnostic>) -> Option<Arc<CertifiedKey>> {
    let read = tls::certified(&shown.certificate.value, &shown.key.value);
    read.map_err(|fault| found.push(finding(&fault, Some(shown), None))).ok()
}

fn client(config: &Config, found: &mut Vec<Diagnostic>) -> Option<Arc<ClientConfig>> {
    let section = &config.tls;
    let target = targets(config).find(|target| is_tls(target));
    let written = section.ca.is_some() || section.shown.is_some();
    if target.is_none() && !written && !config.listen.iter().any(|listen| listen.transport.value.is_tls()) {
        return None;
    }
    let own = section.shown.as_ref().and_then(|shown| certified(shown, found));
    match tls::client(section.ca.as_ref().map(|ca| ca.value.as_path()), own) {
        Ok(client) => Some(client),
        Err(Fault { why: Why::NoAuthorities, .. }) => {
            // Of no account where nobody is called over TLS.
            if let Some(target) = target {
                let what =
                    "this is called over TLS, and nobody is there by whom its certificate could be trusted";
                let allowed = "the system's authorities (the package ca-certificates), or `ca` in [tls]";
                found.push(Diagnostic::error(&target.place, what).allowed(allowed));
            }
            None
        }
        Err(fault) => {
            found.push(finding(&fault, None, section.ca.as_ref()));
            None
        }
    }
}

/// Where calls go by the configuration.
fn targets(config: &Config) -> impl Iterator<Item = &At<String>> {
    let lines = config.lines.iter().filter_map(|line| match &line.reach {
        Reach::Fixed { uri } => Some(uri),
        Reach::Registers { .. } | Reach::Telephone { .. } => None,
    });
    config.trunks.iter().filter_map(|trunk| trunk.target.as_ref()).chain(lines)
}

fn is_tls(target: &At<String>) -> bool {
    let plan = Uri::parse(&target.value).ok().and_then(|uri| plan(&uri, &[Transport::Udp]).ok());
    match plan {
        Some(Plan::Known(to)) => to.transport() == Transport::Tls,
        Some(Plan::Search(search)) => search.is_secure(),
        None => false,
    }
}

fn finding(fault: &Fault, shown: Option<&Certificate>, ca: Option<&At<PathBuf>>) -> Diagnostic {
    let (word, file, allowed) = match fault.file {
        Kind::Certificate => (
            "certificate",
            shown.map(|shown| &shown.certificate),
            "a PEM file with the certificate first and then its chain, as fullchain.pem of Let's Encrypt, that this user may read",
        ),
        Kind::Key => (
            "private key",
            shown.map(|shown| &shown.key),
            "the PEM file of the key for which the certificate was made, without a passphrase, that this user may read",
        ),
        Kind::Authorities => {
            ("authorities", ca, "a PEM file with the certificates of those who sign, that this user may read")
        }
    };
    let place = file.map(|file| file.place.clone()).unwrap_or_default();
    let path = file.map(|file| file.value.display().to_string()).unwrap_or_default();
    Diagnostic::error(&place, format!("{word} `{path}`: {}", fault.why)).allowed(allowed)
}
