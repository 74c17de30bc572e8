//! How the name service is asked. Addresses come from the system's own resolver, so that `/etc/hosts` and
//! whatever else the system has counts; SRV and NAPTR, which it does not give, by `hickory-resolver` from the
//! name servers of `resolv.conf`. A configured server is asked for everything, `/etc/hosts` before it.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::dns::RECORDS;
use crate::sip::target::{Answer, Naptr, Question, Srv};

/// How long one packet is waited for, and how often it is sent again: a question has about two seconds.
const TRY: Duration = Duration::from_millis(600);
const TRIES: usize = 3;
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// As many as the system itself asks.
const SERVERS: usize = 3;
/// How long it counts as read.
const READ: Duration = Duration::from_secs(60);

/// See the head of the file.
pub(super) struct Library {
    server: Option<SocketAddr>,
    made: Mutex<Option<(Instant, TokioResolver)>>,
}

impl Library {
    pub(super) fn new(server: Option<SocketAddr>) -> Self {
        Self { server, made: Mutex::new(None) }
    }

    /// Asks for a name that was checked.
    pub(super) async fn ask(&self, question: Question, turn: OwnedSemaphorePermit) -> Answer {
        match (question, self.server) {
            (Question::Addresses(name), None) => ask_system(name, turn).await,
            (Question::Addresses(name), Some(_)) => self.addresses(&name).await,
            (Question::Services(name), _) => self.services(&name).await,
            (Question::Pointers(name), _) => self.pointers(&name).await,
        }
    }

    async fn addresses(&self, name: &str) -> Answer {
        let Some((resolver, name)) = self.resolver().zip(absolute(name)) else { return Answer::Failed };
        match resolver.lookup_ip(name).await {
            Ok(found) => Answer::Addresses(found.iter().take(RECORDS).collect()),
            Err(error) if is_none(&error) => Answer::Addresses(Vec::new()),
            Err(_) => Answer::Failed,
        }
    }

    async fn services(&self, name: &str) -> Answer {
        let service = |data: &RData| match data {
            RData::SRV(srv) => Some(Srv {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: bare(&srv.target),
            }),
            _ => None,
        };
        self.records(name, RecordType::SRV, service).await.map_or(Answer::Failed, Answer::Services)
    }

    async fn pointers(&self, name: &str) -> Answer {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let pointer = |data: &RData| match data {
            RData::NAPTR(naptr) => Some(Naptr {
                order: naptr.order,
                preference: naptr.preference,
                flags: text(&naptr.flags),
                services: text(&naptr.services),
                replacement: bare(&naptr.replacement),
            }),
            _ => None,
        };
        self.records(name, RecordType::NAPTR, pointer).await.map_or(Answer::Failed, Answer::Pointers)
    }

    /// Records of a kind; `None` when the name service fails.
    async fn records<T>(
        &self,
        name: &str,
        kind: RecordType,
        read: impl Fn(&RData) -> Option<T>,
    ) -> Option<Vec<T>> {
        let (resolver, name) = self.resolver().zip(absolute(name))?;
        match resolver.lookup(name, kind).await {
            Ok(found) => {
                Some(found.answers().iter().filter_map(|record| read(&record.data)).take(RECORDS).collect())
            }
            Err(error) => is_none(&error).then(Vec::new),
        }
    }

    /// The library's resolver; made anew from time to time, for a system whose name servers change. `None`: the
    /// system names none.
    fn resolver(&self) -> Option<TokioResolver> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, resolver)) = &*made {
            if self.server.is_some() || at.elapsed() < READ {
                return Some(resolver.clone());
            }
        }
        let servers = match self.server {
            Some(server) => vec![server],
            None => name_servers(&std::fs::read_to_string(RESOLV_CONF).ok()?),
        };
        if servers.is_empty() {
            return None;
        }
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.into_iter().map(server).collect());
        let provider = TokioRuntimeProvider::default();
        let mut builder = TokioResolver::builder_with_config(config, provider);
        tune(builder.options_mut());
        let resolver = builder.build().ok()?;
        *made = Some((Instant::now(), resolver.clone()));
        Some(resolver)
    }
}

/// The name servers of resolv.conf(5). Its other lines are about names without a dot and about patience; names are
/// asked for as they are written, and the patience is ours.
fn name_servers(conf: &str) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
        Some(SocketAddr::new(address.parse().ok()?, 53))
    };
    conf.lines().filter_map(server).take(SERVERS).collect()
}

fn server(at: SocketAddr) -> NameServerConfig {
    let at_port = |mut connection: ConnectionConfig| {
        connection.port = at.port();
        connection
    };
    let connections = vec![at_port(ConnectionConfig::udp()), at_port(ConnectionConfig::tcp())];
    NameServerConfig::new(at.ip(), true, connections)
}

fn tune(options: &mut ResolverOpts) {
    options.timeout = TRY;
    options.attempts = TRIES;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.use_hosts_file = ResolveHosts::Always;
    // `dns` remembers, also for the day when nobody answers.
    options.cache_size = 0;
}

/// The turn goes with the thread: a look-up that hangs past our patience still counts.
async fn ask_system(name: String, turn: OwnedSemaphorePermit) -> Answer {
    let found = tokio::task::spawn_blocking(move || {
        let found = (name.as_str(), 0).to_socket_addrs().map(Iterator::collect::<Vec<SocketAddr>>);
        drop(turn);
        found
    });
    match found.await {
        Ok(Ok(found)) => Answer::Addresses(found.iter().map(SocketAddr::ip).collect::<Vec<IpAddr>>()),
        // It does not say whether there is no such name or no answer.
        Ok(Err(_)) | Err(_) => Answer::Failed,
    }
}

/// The name does not exist, or has no such record: an answer.
fn is_none(error: &NetError) -> bool {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            matches!(none.response_code, ResponseCode::NoError | ResponseCode::NXDomain)
        }
        _ => false,
    }
}

/// The name as such, without the system's search list.
fn absolute(name: &str) -> Option<Name> {
    Name::from_ascii(format!("{name}.")).ok()
}

/// As a URI has it: without the dot at its end.
fn bare(name: &Name) -> String {
    let text = name.to_ascii();
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_servers_of_the_system_are_read() {
        let conf = "# comment\nsearch example.org\nnameserver 192.0.2.53\n nameserver\t2001:db8::53 # two\n\
                    nameserver fe80::1%eth0\nnameserver\nnameservers 192.0.2.1\noptions timeout:1\n\
                    nameserver 192.0.2.54\nnameserver 192.0.2.55\n";
        let found: Vec<String> = name_servers(conf).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.53:53", "[2001:db8::53]:53", "192.0.2.54:53"]);
        assert!(name_servers("").is_empty());
    }
}
