//! What the tables say about one another: names that must exist, names and addresses that must differ.
//! Names within steps and prompts are the concern of `callflow`, hours that overlap of `calendar`.
//!
//! A value that could not be read is empty here; its mistake is reported already, so it is passed over.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::diagnostic::Diagnostic;
use super::raw::{Action, At, Config, Helpline, Line, Listen, ListenTransport, Network, Place, Reach, Trunk};
use super::sip_address::{self, Address, Way};

/// Everything wrong or doubtful, in no order.
pub fn check(config: &Config) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    listeners(config, &mut found);
    media(config, &mut found);
    trunks(config, &mut found);
    helpline(config, &mut found);
    numbers(config, &mut found);
    lines(config, &mut found);
    queues(config, &mut found);
    steps(config, &mut found);
    destinations(config, &mut found);
    unused(config, &mut found);
    found
}

/// Reports every value that was there before, under the same `key`.
fn distinct<'a, K: Ord, T>(
    values: impl IntoIterator<Item = &'a At<T>>,
    key: impl Fn(&T) -> Option<K>,
    what: impl Fn(&T) -> String,
    found: &mut Vec<Diagnostic>,
) where
    T: 'a,
{
    let mut seen: BTreeMap<K, &Place> = BTreeMap::new();
    for value in values {
        let Some(key) = key(&value.value) else { continue };
        if let Some(first) = seen.get(&key) {
            let what = format!("{} is already in {}:{}", what(&value.value), first.file, first.line);
            found.push(Diagnostic::error(&value.place, what).allowed("each once"));
        } else {
            seen.insert(key, &value.place);
        }
    }
}

#[expect(clippy::ptr_arg, reason = "it is a key of `distinct` over strings")]
fn unless_empty(text: &String) -> Option<String> {
    (!text.is_empty()).then(|| text.clone())
}

/// Reports a name that is not among those of its kind.
fn exists(wanted: &At<String>, kind: &str, names: &[&str], found: &mut Vec<Diagnostic>) {
    let unread = wanted.value.is_empty() || names.contains(&"");
    if unread || names.contains(&wanted.value.as_str()) {
        return;
    }
    let allowed = match names {
        [] => format!("a {kind} of yours; there is none yet"),
        names => names.join(", "),
    };
    let what = format!("there is no {kind} `{}`", wanted.value);
    let finding = Diagnostic::error(&wanted.place, what).allowed(allowed);
    found.push(finding.nearest(&wanted.value, names.iter().copied()));
}

fn names<'a, T>(list: &'a [T], name: impl Fn(&'a T) -> &'a At<String>) -> Vec<&'a str> {
    list.iter().map(|item| name(item).value.as_str()).collect()
}

fn listeners(config: &Config, found: &mut Vec<Diagnostic>) {
    // All but UDP are TCP to the system.
    for datagrams in [true, false] {
        let same = config.listen.iter().filter(|l| (l.transport.value == ListenTransport::Udp) == datagrams);
        let key = |address: &SocketAddr| (address.port() != 0).then_some(*address);
        distinct(same.map(|l| &l.address), key, |a| format!("the listener `{a}`"), found);
    }
    one_for_the_rest(&config.listen, found);
    if let Some(metrics) = &config.metrics.listen {
        let is_same =
            |l: &&Listen| l.address.value == metrics.value && l.transport.value != ListenTransport::Udp;
        if let Some(listen) = config.listen.iter().find(is_same).filter(|l| l.address.value.port() != 0) {
            let place = &listen.address.place;
            let what = format!(
                "`{}` is where a [[listen]] takes SIP ({}:{})",
                metrics.value, place.file, place.line
            );
            found.push(Diagnostic::error(&metrics.place, what).allowed("a port of its own, such as 9712"));
        }
    }
    for listen in &config.listen {
        let address = listen.address.value;
        if address.ip().is_unspecified() && address.port() != 0 && listen.external.is_none() {
            let what =
                format!("`{}` is every address of this machine, which phones cannot call back", address.ip());
            let allowed = "one address, or `external` beside it with the address that phones reach";
            found.push(Diagnostic::error(&listen.address.place, what).allowed(allowed));
        }
        if let Some(external) = &listen.external {
            one_family(address.ip(), external.value.ip(), &external.place, found);
            if address.ip().is_unspecified() && !config.site.local_networks.is_empty() {
                let what = format!(
                    "`{}` is every address of this machine, and who is in `local-networks` is told no `external`",
                    address.ip()
                );
                let allowed = "one address: a [[listen]] for each";
                found.push(Diagnostic::error(&listen.address.place, what).allowed(allowed));
            }
        }
    }
}

/// Via, Contact and SDP name the listener that a call goes out by: of several addresses it must be said who has which.
/// One of this machine alone is for this machine.
fn one_for_the_rest(listens: &[Listen], found: &mut Vec<Diagnostic>) {
    // A browser's calls take the way that it came.
    let calls_out = |l: &&Listen| !matches!(l.transport.value, ListenTransport::Ws | ListenTransport::Wss);
    let anywhere = |l: &&Listen| l.networks.is_empty() && !l.address.value.ip().is_loopback();
    let rest: Vec<&Listen> = listens.iter().filter(calls_out).filter(anywhere).collect();
    for (position, listen) in rest.iter().enumerate() {
        let address = &listen.address;
        let kind = |l: &Listen| (l.transport.value, l.address.value.is_ipv4());
        let earlier = rest.iter().take(position).find(|before| kind(before) == kind(listen));
        let Some(before) = earlier.map(|before| &before.address) else { continue };
        if before.value.ip() != address.value.ip() {
            let what = format!(
                "`{}` and `{}` ({}:{}) have one transport, and neither says whom it is for",
                address.value, before.value, before.place.file, before.place.line
            );
            let allowed = "`networks` in all of them but one, which has who belongs to no other";
            found.push(Diagnostic::error(&address.place, what).allowed(allowed));
        }
    }
}

/// A target over TLS needs a listener of its kind and family: Via and Contact name it.
fn listens_for(config: &Config, target: &At<String>, address: &Address, found: &mut Vec<Diagnostic>) {
    if address.transport != Way::Tls {
        return;
    }
    let fits = |listen: &Listen| {
        let ip = listen.address.value.ip();
        let other_family = if ip.is_ipv4() {
            address.host.starts_with('[')
        } else {
            address.host.parse::<Ipv4Addr>().is_ok()
        };
        listen.transport.value == ListenTransport::Tls && !other_family
    };
    if !config.listen.iter().any(fits) {
        let what =
            format!("`{}` is called over TLS, and no listener has it", sip_address::shown(&target.value));
        let allowed = "a [[listen]] with transport = \"tls\" in its family of addresses, where the answers and calls of that side come";
        found.push(Diagnostic::error(&target.place, what).allowed(allowed));
    }
}

/// A number, or a SIP address with a host.
fn is_identity(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    is_number || sip_address::parse(text).is_ok()
}

fn one_family(inside: IpAddr, outside: IpAddr, place: &Place, found: &mut Vec<Diagnostic>) {
    if inside.is_ipv4() != outside.is_ipv4() {
        let what = format!("`external` is `{outside}`, but the address beside it is `{inside}`");
        found.push(Diagnostic::error(place, what).allowed("both IPv4 or both IPv6"));
    }
}

fn media(config: &Config, found: &mut Vec<Diagnostic>) {
    let media = &config.media;
    let family = |address: &IpAddr| Some(address.is_ipv4());
    let what = |address: &IpAddr| format!("an {} address", if address.is_ipv4() { "IPv4" } else { "IPv6" });
    distinct(&media.addresses, family, what, found);
    for address in media.addresses.iter().filter(|address| address.value.is_unspecified()) {
        if !address.value.is_ipv4() || media.external.is_none() {
            let what =
                format!("`{}` is every address of this machine, where nobody can send audio", address.value);
            found.push(Diagnostic::error(&address.place, what).allowed("one address of each family"));
        }
    }
    if media.addresses.is_empty() {
        listeners_of_every_address(config, found);
    }
    if let Some(external) = media.external.as_ref().filter(|external| !external.value.is_ipv4()) {
        let what = format!("`external` of [media] is `{}`", external.value);
        let allowed = "an IPv4 address: it is for address translation";
        found.push(Diagnostic::error(&external.place, what).allowed(allowed));
    }
    ports(config, found);
}

/// Audio takes the listeners' addresses when it has none of its own.
fn listeners_of_every_address(config: &Config, found: &mut Vec<Diagnostic>) {
    let every = |listen: &&Listen| {
        let ip = listen.address.value.ip();
        let stated = ip.is_ipv4() && config.media.external.is_some();
        ip.is_unspecified() && listen.external.is_some() && !stated
    };
    if let Some(listen) = config.listen.iter().find(every) {
        let what = "this listener has every address of the machine, so audio has no address of its own";
        let allowed = "`addresses` in [media], or `external` there";
        found.push(Diagnostic::error(&listen.address.place, what).allowed(allowed));
    }
}

/// One side of a call takes an even port for RTP and the odd one above it for RTCP (RFC 3550, 11).
fn ports(config: &Config, found: &mut Vec<Diagnostic>) {
    let ports = &config.media.ports;
    let (first, last) = ports.value;
    if first % 2 == 1 {
        let what = format!("`ports` begin with the odd {first}");
        found.push(Diagnostic::error(&ports.place, what).allowed("an even first port"));
    }
    let sides = (u32::from(last) + 1).saturating_sub(first.into()) / 2;
    let calls = config.limits.calls.value;
    if sides < 4 {
        let what = format!("`ports` {first}-{last} are too few");
        found.push(Diagnostic::error(&ports.place, what).allowed("at least 8 ports, 4 for a call"));
    } else if sides < calls {
        let what =
            format!("`ports` {first}-{last} are enough for {sides} callers, `calls` in [limits] is {calls}");
        found.push(Diagnostic::warning(&ports.place, what).allowed("4 ports for each call"));
    }
    for listen in config.listen.iter().filter(|listen| listen.transport.value == ListenTransport::Udp) {
        let port = listen.address.value.port();
        if (first..=last).contains(&port) {
            let what = format!("port {port} of this listener is among the `ports` of [media]");
            found.push(Diagnostic::error(&listen.address.place, what).allowed("a port outside of them"));
        }
    }
}

/// Networks shorter than this hold more than one organisation's addresses.
const OPEN_V4: u8 = 8;
const OPEN_V6: u8 = 16;

fn trunks(config: &Config, found: &mut Vec<Diagnostic>) {
    distinct(config.trunks.iter().map(|t| &t.name), unless_empty, |n| format!("the trunk `{n}`"), found);
    let sources = || config.trunks.iter().flat_map(|trunk| &trunk.sources);
    let key = |network: &Network| Some((network.address, network.prefix));
    distinct(sources(), key, |n| format!("the source `{}/{}`", n.address, n.prefix), found);
    for source in sources() {
        let least = if source.value.address.is_ipv4() { OPEN_V4 } else { OPEN_V6 };
        if source.value.prefix < least {
            let what = format!(
                "the source `{}/{}` lets a large part of the internet call as your carrier",
                source.value.address, source.value.prefix
            );
            found.push(Diagnostic::warning(&source.place, what).allowed("the carrier's own addresses"));
        }
    }
    backups(config, found);
    for identity in config.trunks.iter().filter_map(|trunk| trunk.identity.as_ref()) {
        if !is_identity(&identity.value) {
            let what = "`identity` is no SIP address and no number".to_owned();
            let allowed = "such as sip:+3221712@carrier.example, or +3221712";
            found.push(Diagnostic::error(&identity.place, what).allowed(allowed));
        }
    }
    for name in config.trunks.iter().filter_map(|trunk| trunk.certificate_name.as_ref()) {
        if !config.listen.iter().any(|listen| listen.client_ca.is_some()) {
            let what = "no [[listen]] asks who comes for a certificate";
            found.push(Diagnostic::error(&name.place, what).allowed("a [[listen]] with TLS and `client-ca`"));
        }
    }
    for target in config.trunks.iter().filter_map(|trunk| trunk.target.as_ref()) {
        match sip_address::parse(&target.value) {
            Ok(address) if address.user.is_none() => listens_for(config, target, &address, found),
            Ok(_) => {
                let what = format!("the target `{}` has a user part", sip_address::shown(&target.value));
                found.push(
                    Diagnostic::error(&target.place, what)
                        .allowed("host and port, such as sip:192.0.2.1:5060"),
                );
            }
            Err(allowed) => {
                let what = format!("the target `{}` is no SIP address", sip_address::shown(&target.value));
                found.push(Diagnostic::error(&target.place, what).allowed(allowed));
            }
        }
    }
}

/// Each backup must take calls out, and none may lead back to where one came from.
fn backups(config: &Config, found: &mut Vec<Diagnostic>) {
    for trunk in &config.trunks {
        let Some(backup) = &trunk.backup else { continue };
        calls_out(config, backup, found);
        let mut seen = vec![trunk.name.value.as_str()];
        let mut next = Some(backup);
        while let Some(name) = next {
            if seen.contains(&name.value.as_str()) {
                let what = format!("the backup `{}` leads back to a trunk that was tried before", name.value);
                found.push(Diagnostic::error(&name.place, what).allowed("the last one without `backup`"));
                return;
            }
            seen.push(&name.value);
            let named = config.trunks.iter().find(|t| t.name.value == name.value);
            next = named.and_then(|t| t.backup.as_ref());
        }
    }
}

/// A trunk that must exist and take calls out.
fn calls_out(config: &Config, trunk: &At<String>, found: &mut Vec<Diagnostic>) {
    exists(trunk, "trunk", &names(&config.trunks, |t| &t.name), found);
    let named = |candidate: &&Trunk| candidate.name.value == trunk.value;
    if let Some(silent) = config.trunks.iter().find(named).filter(|trunk| trunk.target.is_none()) {
        let what = format!("the trunk `{}` has no `target`, so nothing can be called over it", trunk.value);
        let allowed = format!(
            "a trunk with a `target`; this one is in {}:{}",
            silent.name.place.file, silent.name.place.line
        );
        found.push(Diagnostic::error(&trunk.place, what).allowed(allowed));
    }
}

fn helpline(config: &Config, found: &mut Vec<Diagnostic>) {
    let helpline = &config.helpline;
    distinct(&helpline.languages, unless_empty, |l| format!("the language `{l}`"), found);
    let lines = config.lines.iter().map(|line| &line.codecs);
    let trunks = config.trunks.iter().map(|trunk| &trunk.codecs);
    for codecs in std::iter::once(&helpline.codecs).chain(lines).chain(trunks) {
        distinct(codecs, unless_empty, |c| format!("the codec `{c}`"), found);
    }
    // Codes that were left out stand where the table begins; a clash is shown at the one that was written.
    let Helpline { log_in, log_out, pause, resume, conference, .. } = helpline;
    let mut codes = [log_in, log_out, pause, resume, conference];
    codes.sort_by_key(|code| code.place.line);
    distinct(codes, unless_empty, |c| format!("the code `{c}`"), found);
}

fn numbers(config: &Config, found: &mut Vec<Diagnostic>) {
    distinct(config.numbers.iter().map(|n| &n.dial), unless_empty, |n| format!("the number `{n}`"), found);
    let flows = names(&config.flows, |flow| &flow.name);
    for number in &config.numbers {
        exists(&number.flow, "flow", &flows, found);
    }
}

fn lines(config: &Config, found: &mut Vec<Diagnostic>) {
    distinct(config.lines.iter().map(|l| &l.name), unless_empty, |n| format!("the line `{n}`"), found);
    let uris = || {
        config.lines.iter().filter_map(|line| match &line.reach {
            Reach::Fixed { uri } if !uri.value.is_empty() => Some(uri),
            Reach::Fixed { .. } | Reach::Registers { .. } | Reach::Telephone { .. } => None,
        })
    };
    for uri in uris() {
        match sip_address::parse(&uri.value) {
            Ok(address) => listens_for(config, uri, &address, found),
            Err(allowed) => {
                let what = format!("`{}` is no SIP address", sip_address::shown(&uri.value));
                found.push(Diagnostic::error(&uri.place, what).allowed(allowed));
            }
        }
    }
    let key = |uri: &String| sip_address::parse(uri).ok();
    distinct(uris(), key, |uri| format!("a line with the address `{uri}`"), found);
    let telephones = config.lines.iter().filter_map(|line| match &line.reach {
        Reach::Telephone { number, .. } => Some(number),
        Reach::Registers { .. } | Reach::Fixed { .. } => None,
    });
    distinct(telephones, unless_empty, |number| format!("a line with the telephone `{number}`"), found);
    for line in &config.lines {
        if let Reach::Telephone { trunk, .. } = &line.reach {
            calls_out(config, trunk, found);
        }
    }
}

/// Addresses that are called and that no listener can call: requests leave by the listener of the same transport
/// and family, which is where answers come back to.
pub fn unserved(config: &Config) -> Vec<Diagnostic> {
    let lines = config.lines.iter().filter_map(|line| match &line.reach {
        Reach::Fixed { uri } => Some(uri),
        Reach::Registers { .. } | Reach::Telephone { .. } => None,
    });
    let targets = config.trunks.iter().filter_map(|trunk| trunk.target.as_ref());
    lines.chain(targets).filter_map(|uri| no_listener_for(config, uri)).collect()
}

fn no_listener_for(config: &Config, uri: &At<String>) -> Option<Diagnostic> {
    let Address { host, transport, .. } = sip_address::parse(&uri.value).ok()?;
    let transport = match transport {
        Way::Udp => ListenTransport::Udp,
        Way::Tcp => ListenTransport::Tcp,
        // `listens_for` has told.
        Way::Tls => return None,
    };
    let is_open = sip_address::is_open(&uri.value);
    // Of a name only the name service knows the family.
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    let serves = |listen: &Listen| {
        let family = address.is_none_or(|to| listen.address.value.is_ipv4() == to.is_ipv4());
        // The name service may name any transport that there is a listener for.
        let open = is_open && !listen.transport.value.is_websocket();
        (listen.transport.value == transport || open) && family
    };
    if config.listen.iter().any(serves) {
        return None;
    }
    let word = if transport == ListenTransport::Udp { "udp" } else { "tcp" };
    let family = address.map_or("", |to| if to.is_ipv4() { " and IPv4" } else { " and IPv6" });
    let what = format!("no [[listen]] has {word}{family}, so `{}` can't be called", uri.value);
    let allowed = format!(
        "a [[listen]] with `transport = \"{word}\"`{}",
        match address {
            Some(IpAddr::V4(_)) => " and an IPv4 address",
            Some(IpAddr::V6(_)) => " and an IPv6 address",
            None => "",
        }
    );
    Some(Diagnostic::error(&uri.place, what).allowed(allowed))
}

fn queues(config: &Config, found: &mut Vec<Diagnostic>) {
    let lines = names(&config.lines, |line| &line.name);
    for queue in &config.queues {
        for line in &queue.lines {
            exists(line, "line", &lines, found);
        }
        distinct(&queue.lines, unless_empty, |n| format!("the line `{n}` of this queue"), found);
    }
}

/// Hours must be written for a step that asks for them. Names within steps are checked by `callflow`.
fn steps(config: &Config, found: &mut Vec<Diagnostic>) {
    if config.hours.place.line != 0 {
        return;
    }
    for step in config.flows.iter().flat_map(|flow| &flow.steps) {
        if matches!(step.action, Action::Hours { .. } | Action::NextOpening { .. }) {
            let what = "this step asks for opening hours, and there is no [hours]";
            found.push(Diagnostic::error(&step.name.place, what).allowed("[hours] in one of the files"));
        }
    }
}

fn destinations(config: &Config, found: &mut Vec<Diagnostic>) {
    for destination in &config.destinations {
        calls_out(config, &destination.trunk, found);
    }
}

/// What is written and never comes into play: allowed, but hardly meant.
fn unused(config: &Config, found: &mut Vec<Diagnostic>) {
    if config.numbers.is_empty() {
        let what = "there is no [[number]], so every call is refused";
        found.push(Diagnostic::warning(&config.helpline.name.place, what));
    }
    let actions = || config.flows.iter().flat_map(|flow| &flow.steps).map(|step| &step.action);
    for flow in &config.flows {
        if !config.numbers.iter().any(|number| number.flow.value == flow.name.value) {
            let what = format!("no number leads to the flow `{}`", flow.name.value);
            found.push(Diagnostic::warning(&flow.name.place, what));
        }
    }
    for queue in &config.queues {
        let used =
            |action: &Action| matches!(action, Action::Queue { queue: q, .. } if q.value == queue.name.value);
        if !actions().any(used) {
            let what = format!("no step leads to the queue `{}`", queue.name.value);
            found.push(Diagnostic::warning(&queue.name.place, what));
        }
    }
    for line in config.lines.iter().filter(|line| !line.name.value.is_empty()) {
        let queued =
            config.queues.iter().flat_map(|queue| &queue.lines).any(|name| name.value == line.name.value);
        if !queued && !actions().any(|action| rings(action, line)) {
            let what =
                format!("the line `{}` is in no queue and no step, so it never rings", line.name.value);
            found.push(Diagnostic::warning(&line.name.place, what));
        }
    }
}

fn rings(action: &Action, line: &Line) -> bool {
    matches!(action, Action::Line { line: name, .. } if name.value == line.name.value)
}
