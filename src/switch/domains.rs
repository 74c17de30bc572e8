//! The host names of the configuration to which calls go over TLS. A call carries the key; whoever opens the
//! connection knows by it which name the certificate must have (RFC 5922 4).

use indexmap::IndexMap;

use crate::base::id::DomainKey;
use crate::config::raw::{Config, Reach};
use crate::sip::flow::Transport;
use crate::sip::target::{Plan, plan};
use crate::sip::uri::Uri;

/// Names with their keys. A name keeps its key over reloads, also once nothing leads there any more: a call may
/// still. Only the operator adds to it.
#[derive(Default)]
pub struct Domains(IndexMap<String, DomainKey>);

impl Domains {
    /// The names of `config`, and those that were there before.
    pub fn new(config: &Config, old: Option<&Self>) -> Self {
        let mut names = old.map(|old| old.0.clone()).unwrap_or_default();
        for uri in targets(config) {
            if let Some(Ok(Plan::Ask { host, transport: Transport::Tls, .. })) = uri.map(|uri| plan(&uri)) {
                let next = DomainKey(names.len() as u64 + 1);
                names.entry(host).or_insert(next);
            }
        }
        Self(names)
    }

    /// The key of a host's name.
    pub fn key(&self, host: &str) -> Option<DomainKey> {
        self.0.get(host).copied()
    }

    /// Every name.
    pub fn iter(&self) -> impl Iterator<Item = (DomainKey, &str)> {
        self.0.iter().map(|(name, key)| (*key, name.as_str()))
    }
}

fn targets(config: &Config) -> impl Iterator<Item = Option<Uri>> {
    let trunks = config.trunks.iter().filter_map(|trunk| trunk.target.as_ref());
    let lines = config.lines.iter().filter_map(|line| match &line.reach {
        Reach::Fixed { uri } => Some(uri),
        Reach::Registers { .. } | Reach::Telephone { .. } => None,
    });
    trunks.chain(lines).map(|uri| Uri::parse(&uri.value).ok())
}
