//! The host names of the configuration to which calls go over TLS, and those by which carriers prove themselves. A
//! call carries the key; whoever opens the connection knows by it which name the certificate must have (RFC 5922 4).

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
        let spoken = super::policy::spoken(config);
        for uri in targets(config) {
            let Some(Ok(Plan::Search(search))) = uri.map(|uri| plan(&uri, &spoken)) else { continue };
            // A name without a transport may turn out to be called over TLS, too.
            if search.transports().contains(&Transport::Tls) {
                let next = DomainKey(names.len() as u64 + 1);
                names.entry(search.host().to_owned()).or_insert(next);
            }
        }
        for name in config.trunks.iter().filter_map(|trunk| trunk.certificate_name.as_ref()) {
            let next = DomainKey(names.len() as u64 + 1);
            names.entry(name.value.clone()).or_insert(next);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::story::policy;

    #[test]
    fn a_name_keeps_its_key_over_reloads_and_only_tls_needs_one() {
        let calls = |target: &str| {
            let target = target.to_owned();
            move |config: &mut Config| {
                for trunk in &mut config.trunks {
                    trunk.target.get_or_insert_default().value.clone_from(&target);
                }
            }
        };
        let first = policy(1, None, calls("sip:one.example;transport=tls"));
        assert_eq!(first.domains().key("one.example"), Some(DomainKey(1)));
        let second = policy(2, Some(&first), calls("sips:two.example"));
        let all: Vec<_> = second.domains().iter().collect();
        // A call may still go to the first.
        assert_eq!(all, [(DomainKey(1), "one.example"), (DomainKey(2), "two.example")]);
        let plain = policy(1, None, calls("sip:one.example;transport=tcp"));
        let address = policy(1, None, calls("sips:192.0.2.1"));
        assert_eq!((plain.domains().key("one.example"), address.domains().iter().count()), (None, 0));
    }
}
