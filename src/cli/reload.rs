//! A reload: the configuration is read and compiled beside the running switch, and what can't be changed while it
//! runs is named.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::audio;
use super::check::{self, Ready};
use crate::config::diagnostic::Diagnostic;
use crate::config::raw;
use crate::switch::policy::Policy;

/// The new configuration, or its mistakes.
pub type Reloaded = Result<Ready, Vec<Diagnostic>>;

/// Reads and compiles in the background; the loop goes on meanwhile.
pub fn start(dir: &Path, old: &Arc<Policy>, to: &mpsc::Sender<Reloaded>) {
    let (dir, old, to) = (dir.to_owned(), old.clone(), to.clone());
    tokio::task::spawn_blocking(move || {
        let result = check::examine(&dir, Some(&old)).and_then(|ready| {
            let mut needs = needs_restart(&old.config, &ready.policy.config);
            needs.extend(audio::not_here(&ready.policy.config));
            if needs.is_empty() {
                return Ok(ready);
            }
            let mut findings = ready.warnings;
            findings.extend(needs);
            Err(findings)
        });
        let _ = to.blocking_send(result);
    });
}

/// Sockets, directories and table sizes are made once; changing them by half would be worse than not at all.
fn needs_restart(old: &raw::Config, new: &raw::Config) -> Vec<Diagnostic> {
    let listeners = |config: &raw::Config| -> Vec<_> {
        config
            .listen
            .iter()
            .map(|l| {
                let networks: Vec<raw::Network> = l.networks.iter().map(|each| each.value).collect();
                (
                    l.transport.value,
                    l.address.value,
                    l.external.as_ref().map(|e| e.value),
                    networks,
                    l.dscp.value,
                )
            })
            .collect()
    };
    let media = |config: &raw::Config| {
        let raw::Media { ports, threads, quarantine, io, dscp, cpus, realtime_priority, .. } = &config.media;
        let cpus: Vec<u32> = cpus.iter().map(|cpu| cpu.value).collect();
        let priority = realtime_priority.as_ref().map(|priority| priority.value);
        (ports.value, threads.value, quarantine.value, io.value, dscp.value, cpus, priority)
    };
    let limits = |config: &raw::Config| {
        let l = &config.limits;
        let numbers = [
            l.calls.value,
            l.registrations.value,
            l.subscriptions.value,
            l.connections.value,
            l.connections_per_address.value,
            l.message_size.value,
            l.headers.value,
            l.header_length.value,
            l.transactions.as_ref().map_or(0, |most| most.value),
        ];
        (numbers, l.session_expires.value)
    };
    let registrar = |config: &raw::Config| {
        let r = &config.registrar;
        (
            r.realm.value.clone(),
            r.algorithms.iter().map(|a| a.value.clone()).collect::<Vec<_>>(),
            r.min_expires.value,
            r.max_expires.value,
            r.nonce_lifetime.value,
            r.auth_int.value,
        )
    };
    let local = |config: &raw::Config| -> Vec<raw::Network> {
        config.site.local_networks.iter().map(|each| each.value).collect()
    };
    let metrics = |config: &raw::Config| config.metrics.listen.as_ref().map(|l| l.value);
    let dns = |config: &raw::Config| config.dns.server.as_ref().map(|server| server.value);
    let log = |config: &raw::Config| (config.log.level.value.clone(), config.log.json.value);
    let place =
        |config: &raw::Config| config.listen.first().map(|l| l.address.place.clone()).unwrap_or_default();
    let changes = [
        (listeners(old) != listeners(new), "[[listen]]", place(new)),
        (
            media(old) != media(new),
            "[media] but addresses, external and srtp-suites",
            new.media.ports.place.clone(),
        ),
        (limits(old) != limits(new), "[limits]", new.limits.calls.place.clone()),
        (registrar(old) != registrar(new), "[registrar]", new.registrar.realm.place.clone()),
        (
            metrics(old) != metrics(new),
            "[metrics]",
            new.metrics.listen.as_ref().map(|l| l.place.clone()).unwrap_or_default(),
        ),
        (
            dns(old) != dns(new),
            "[dns]",
            new.dns.server.as_ref().map(|server| server.place.clone()).unwrap_or_default(),
        ),
        (log(old) != log(new), "[log]", new.log.level.place.clone()),
        (local(old) != local(new), "[site] local-networks", new.site.data.place.clone()),
        (old.site.data.value != new.site.data.value, "[site] data", new.site.data.place.clone()),
    ];
    let changed = changes.into_iter().filter(|(changed, _, _)| *changed);
    changed
        .map(|(_, what, place)| {
            Diagnostic::error(
                &place,
                format!(
                    "a change of {what} needs a restart: restart the switch, or undo the change and reload"
                ),
            )
        })
        .collect()
}
