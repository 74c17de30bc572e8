//! Bindings of lines (RFC 3261 10, Path of RFC 3327, flows of RFC 5626): who is where, until when. Authentication is
//! done before; a line's name here is already proven.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::flow::Flow;
use super::header::{CSeq, NameAddr, Params, number_below, split_list};
use super::uri::{Host, Scheme, Uri};
use super::wire::message::Request;
use crate::base::bounded::BoundedMap;
use crate::base::id::FlowKey;

/// Contacts of one line.
const MAX_CONTACTS: usize = 5;
/// Characters of a device's name: a URN with a UUID has 48 with its brackets.
const MAX_INSTANCE: usize = 200;
/// Path values that one binding may have.
const MAX_PATH: usize = 8;

/// Bounds from the config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub min_expires: Duration,
    pub max_expires: Duration,
}

/// Why a REGISTER is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// 400: broken Contact, Expires or `*` with company.
    Malformed,
    /// 423 with Min-Expires.
    TooBrief,
    /// 403: a Contact that points at the switch itself, a multicast or an unusable address.
    BadContact,
    /// 500: an older CSeq than one seen (10.3 step 7).
    OutOfOrder,
    /// 503: no room.
    Full,
}

impl Refusal {
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::TooBrief => 423,
            Self::BadContact => 403,
            Self::OutOfOrder => 500,
            Self::Full => 503,
        }
    }
}

/// One contact of a line.
#[derive(Clone, PartialEq, Eq)]
pub struct Binding {
    pub contact: Uri,
    /// Where the REGISTER came from: requests go back over it, which also gets through NAT.
    pub flow: Flow,
    /// Through whom requests go to it, as `Route` (RFC 3327).
    pub path: Vec<String>,
    pub expires: Instant,
    /// The device and which of its flows this is, when it says so: it stays the same wherever the device is (RFC 5626).
    instance: Option<(String, u32)>,
    call_id: String,
    cseq: u32,
}

/// What the 200 to a REGISTER says.
#[derive(PartialEq, Eq)]
pub struct Registered {
    /// `Contact` values (10.3 step 8).
    pub contacts: Vec<String>,
    /// At least one binding is a flow that is to be kept alive (RFC 5626 6).
    pub outbound: bool,
}

/// All bindings.
pub struct Registrar {
    /// The bindings of each line in the order of their last update.
    lines: BoundedMap<String, Vec<Binding>>,
    limits: Limits,
    /// When something of a line runs out first.
    due: BTreeSet<(Instant, String)>,
    /// Lines by their connections.
    streams: BTreeMap<FlowKey, BTreeSet<String>>,
    /// Lines by the sources of their flows.
    sources: BTreeMap<IpAddr, BTreeSet<String>>,
}

impl Registrar {
    /// `capacity`: lines that may have a binding.
    pub fn new(capacity: usize, limits: Limits) -> Self {
        Self {
            lines: BoundedMap::new(capacity),
            limits,
            due: BTreeSet::new(),
            streams: BTreeMap::new(),
            sources: BTreeMap::new(),
        }
    }

    /// Carries out a REGISTER of a proven line. `ours` are the addresses that the switch listens on.
    pub fn register(
        &mut self,
        now: Instant,
        line: &str,
        request: &Request,
        flow: Flow,
        ours: &[SocketAddr],
    ) -> Result<Registered, Refusal> {
        let headers = &request.headers;
        let cseq = headers.get("CSeq").and_then(|v| CSeq::parse(v).ok()).ok_or(Refusal::Malformed)?.number;
        let call_id = headers.get("Call-ID").ok_or(Refusal::Malformed)?.to_owned();
        let values: Vec<&str> = headers.all("Contact").flat_map(split_list).take(MAX_CONTACTS + 1).collect();
        if values.len() > MAX_CONTACTS {
            return Err(Refusal::Full);
        }
        let mut bindings = self.lines.get(line).cloned().unwrap_or_default();
        bindings.retain(|b| b.expires > now);
        if values.contains(&"*") {
            remove_all(&values, headers.get("Expires"), &mut bindings, &call_id, cseq)?;
        } else {
            let path = read_path(request)?;
            let flows = headers.all("Supported").flat_map(split_list).any(|tag| tag.trim() == "outbound");
            // All or nothing: bindings change only when every Contact is fine (10.3 step 7).
            for value in values {
                let contact = NameAddr::parse(value).map_err(|_| Refusal::Malformed)?;
                check_contact(&contact.uri, ours)?;
                let life = self.life(&contact, headers.get("Expires"))?;
                let binding = Binding {
                    contact: contact.uri.clone(),
                    flow,
                    path: path.clone(),
                    expires: now + life,
                    instance: instance(&contact.params).filter(|_| flows),
                    call_id: call_id.clone(),
                    cseq,
                };
                update(&mut bindings, binding, life)?;
            }
        }
        let outbound = bindings.iter().any(|b| b.instance.is_some());
        self.store(line, bindings)?;
        Ok(Registered { contacts: self.contacts(line, now), outbound })
    }

    /// Puts back a binding of an earlier run. What it can't take is left out: the phone comes by itself.
    pub fn restore(&mut self, line: &str, contact: &str, path: Vec<String>, flow: Flow, expires: Instant) {
        let Ok(contact) = Uri::parse(contact) else { return };
        let mut bindings = self.lines.get(line).cloned().unwrap_or_default();
        if bindings.len() < MAX_CONTACTS && path.len() <= MAX_PATH {
            let (call_id, cseq) = (String::new(), 0);
            bindings.push(Binding { contact, flow, path, expires, instance: None, call_id, cseq });
            let _ = self.store(line, bindings);
        }
    }

    /// Whether a phone is registered from there.
    pub fn is_bound_at(&self, now: Instant, source: IpAddr) -> bool {
        let lines = self.sources.get(&source).into_iter().flatten();
        let mut all = lines.filter_map(|line| self.lines.get(line)).flatten();
        all.any(|b| b.expires > now && b.flow.source() == source)
    }

    /// Where a line is reached, the binding that was updated last first: a phone that has started anew is where it
    /// said last, however long its former address may stand.
    pub fn bindings(&self, line: &str, now: Instant) -> Vec<Binding> {
        let all = self.lines.get(line).map_or(&[][..], Vec::as_slice);
        all.iter().rev().filter(|b| b.expires > now).cloned().collect()
    }

    /// Takes out what has run out; gives the lines that are no longer reachable.
    pub fn expire(&mut self, now: Instant) -> Vec<String> {
        let over = self.due.iter().take_while(|(at, _)| *at <= now).map(|(_, line)| line.clone()).collect();
        self.sweep(over, |b| b.expires > now)
    }

    /// A stream was closed: bindings over it are dead (RFC 5626 4.2). Gives the lines left without any.
    pub fn flow_closed(&mut self, flow: FlowKey) -> Vec<String> {
        let lines = self.streams.get(&flow).cloned().unwrap_or_default();
        self.sweep(lines, |b| !(b.flow.transport.is_reliable() && b.flow.key == flow))
    }

    /// When the next binding runs out.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    pub fn len(&self) -> usize {
        self.lines.len()
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn life(&self, contact: &NameAddr, header: Option<&str>) -> Result<Duration, Refusal> {
        let asked = contact.params.get("expires").or(header);
        // An unreadable value counts as 3600 (20.19); none at all gets the longest.
        let seconds = asked.map(|v| number_below(v, 1 << 32).unwrap_or(3600));
        let life = seconds.map_or(self.limits.max_expires, Duration::from_secs);
        if life.is_zero() {
            return Ok(life);
        }
        if life < self.limits.min_expires {
            return Err(Refusal::TooBrief);
        }
        Ok(life.min(self.limits.max_expires))
    }

    fn store(&mut self, line: &str, bindings: Vec<Binding>) -> Result<(), Refusal> {
        if self.lines.is_full() && !self.lines.contains_key(line) {
            return Err(Refusal::Full);
        }
        self.unlist(line);
        if bindings.is_empty() {
            self.lines.remove(line);
            return Ok(());
        }
        for flow in bindings.iter().map(|b| b.flow) {
            self.sources.entry(flow.source()).or_default().insert(line.to_owned());
            if flow.transport.is_reliable() {
                self.streams.entry(flow.key).or_default().insert(line.to_owned());
            }
        }
        self.due.extend(bindings.iter().map(|b| b.expires).min().map(|at| (at, line.to_owned())));
        self.lines.insert(line.to_owned(), bindings).map(|_| ()).map_err(|_| Refusal::Full)
    }

    /// Takes a line out of what is found by time and by connection.
    fn unlist(&mut self, line: &str) {
        for binding in self.lines.get(line).into_iter().flatten() {
            self.due.remove(&(binding.expires, line.to_owned()));
            take_out(&mut self.streams, &binding.flow.key, line);
            take_out(&mut self.sources, &binding.flow.source(), line);
        }
    }

    fn contacts(&self, line: &str, now: Instant) -> Vec<String> {
        let value = |b: Binding| {
            let left = b.expires.saturating_duration_since(now).as_secs();
            format!("<{}>;expires={left}", b.contact)
        };
        self.bindings(line, now).into_iter().map(value).collect()
    }

    /// Keeps these lines' bindings of a kind; gives those that have none any more.
    fn sweep(&mut self, lines: BTreeSet<String>, keep: impl Fn(&Binding) -> bool) -> Vec<String> {
        let mut gone = Vec::new();
        for line in lines {
            let kept = self.lines.get(&line).into_iter().flatten().filter(|b| keep(b)).cloned().collect();
            let _ = self.store(&line, kept);
            if !self.lines.contains_key(&line) {
                gone.push(line);
            }
        }
        gone
    }
}

fn take_out<K: Ord>(index: &mut BTreeMap<K, BTreeSet<String>>, key: &K, line: &str) {
    if let Some(lines) = index.get_mut(key) {
        lines.remove(line);
        if lines.is_empty() {
            index.remove(key);
        }
    }
}

/// `Contact: *` takes `Expires: 0` and no other contact (10.2.2).
fn remove_all(
    values: &[&str],
    expires: Option<&str>,
    bindings: &mut Vec<Binding>,
    call_id: &str,
    cseq: u32,
) -> Result<(), Refusal> {
    if values.len() != 1 || expires.map(str::trim) != Some("0") {
        return Err(Refusal::Malformed);
    }
    if bindings.iter().any(|b| b.call_id == call_id && b.cseq >= cseq) {
        return Err(Refusal::OutOfOrder);
    }
    bindings.clear();
    Ok(())
}

/// Each update goes to the end. A new contact beyond the bound takes the place of the one that was updated longest
/// ago: a phone that often starts anew behind NAT must not lock itself out.
fn update(bindings: &mut Vec<Binding>, binding: Binding, life: Duration) -> Result<(), Refusal> {
    // A flow is known by its device and number; the address is where it is today (RFC 5626 6).
    let same = |b: &Binding| match (&b.instance, &binding.instance) {
        (Some(old), Some(new)) => old == new,
        _ => b.contact.equivalent(&binding.contact),
    };
    let known = bindings.iter().position(same);
    match known {
        Some(at) => {
            let old =
                bindings.get(at).is_some_and(|b| b.call_id == binding.call_id && b.cseq >= binding.cseq);
            if old {
                return Err(Refusal::OutOfOrder);
            }
            bindings.remove(at);
        }
        None if bindings.len() >= MAX_CONTACTS && !life.is_zero() => {
            bindings.remove(0);
        }
        None => {}
    }
    if !life.is_zero() {
        bindings.push(binding);
    }
    Ok(())
}

/// `+sip.instance` and `reg-id` of a Contact (RFC 5626 4.2).
fn instance(params: &Params) -> Option<(String, u32)> {
    let number = number_below(params.get("reg-id")?, 1 << 31).ok().filter(|number| *number > 0)?;
    let device = params.get("+sip.instance").filter(|device| device.len() <= MAX_INSTANCE)?;
    Some((device.to_owned(), number as u32))
}

fn read_path(request: &Request) -> Result<Vec<String>, Refusal> {
    let values: Vec<String> =
        request.headers.all("Path").flat_map(split_list).take(MAX_PATH + 1).map(str::to_owned).collect();
    let sound = values.len() <= MAX_PATH && values.iter().all(|v| NameAddr::parse(v).is_ok());
    if sound { Ok(values) } else { Err(Refusal::Malformed) }
}

/// A Contact at the switch itself would make a loop; one at a multicast or unspecified address a flood.
fn check_contact(uri: &Uri, ours: &[SocketAddr]) -> Result<(), Refusal> {
    if !matches!(uri.scheme, Scheme::Sip | Scheme::Sips) {
        return Err(Refusal::BadContact);
    }
    let Some(Host::Address(address)) = uri.host() else { return Ok(()) };
    let broadcast = matches!(address, std::net::IpAddr::V4(v4) if v4.is_broadcast());
    let port = uri.port.unwrap_or(5060);
    let own = ours.iter().any(|o| o.port() == port && o.ip() == *address);
    if own || broadcast || address.is_multicast() || address.is_unspecified() {
        return Err(Refusal::BadContact);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::flow::Transport;
    use super::super::wire::message::{Headers, Method};
    use super::*;
    use crate::base::id::FlowKey;
    use crate::base::time::Now;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn registrar() -> Registrar {
        Registrar::new(10, Limits { min_expires: S(60), max_expires: S(3600) })
    }

    fn flow(transport: Transport) -> Flow {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Flow { key: FlowKey(4), transport, local: at(5060), peer: at(9999) }
    }

    fn register(
        r: &mut Registrar,
        now: Instant,
        cseq: u32,
        lines: &[(&str, &str)],
    ) -> Result<Vec<String>, u16> {
        let mut headers = Headers::new();
        headers.push("Call-ID", "c");
        headers.push("CSeq", format!("{cseq} REGISTER"));
        for (name, value) in lines {
            headers.push(name, *value);
        }
        let request = Request { method: Method::REGISTER, uri: "sip:h".into(), headers, body: Vec::new() };
        let ours = [SocketAddr::from(([127, 0, 0, 1], 5060))];
        let listed = r.register(now, "an", &request, flow(Transport::Udp), &ours);
        listed.map(|listed| listed.contacts).map_err(Refusal::status)
    }

    #[test]
    fn rfc3261_10_register_refresh_query_and_unregister() {
        let (now, mut r) = (Now::read().at, registrar());
        let contact = ("Contact", "<sip:an@192.0.2.5:5066>");
        let ok = |seconds: u64| Ok(vec![format!("<sip:an@192.0.2.5:5066>;expires={seconds}")]);
        assert_eq!(register(&mut r, now, 1, &[contact, ("Expires", "600")]), ok(600));
        assert_eq!(register(&mut r, now + S(100), 2, &[contact]), ok(3600));
        assert_eq!(register(&mut r, now + S(200), 3, &[]), ok(3500), "a query");
        assert_eq!(register(&mut r, now + S(300), 4, &[contact, ("Expires", "0")]), Ok(vec![]));
        assert!(r.is_empty());
    }

    #[test]
    fn what_is_refused_and_changes_nothing() {
        let (now, mut r) = (Now::read().at, registrar());
        let good = ("Contact", "<sip:an@192.0.2.5>;expires=600");
        assert!(register(&mut r, now, 5, &[good]).is_ok());
        for (lines, status) in [
            (vec![good], 500),
            (vec![("Contact", "<sip:an@192.0.2.6>;expires=5")], 423),
            (vec![("Contact", "*")], 400),
            (vec![("Contact", "*"), good, ("Expires", "0")], 400),
            (vec![("Contact", "<sip:an@127.0.0.1:5060>")], 403),
            (vec![("Contact", "<sip:an@224.0.0.1>")], 403),
            (vec![("Contact", "<sip:an@255.255.255.255>")], 403),
            (vec![("Contact", "<sip:an@0.0.0.0>")], 403),
            (vec![("Contact", "<tel:+32>")], 403),
            (vec![("Contact", "\"x <sip:a@h>")], 400),
            (vec![("Contact", "<sip:1@h>,<sip:2@h>,<sip:3@h>,<sip:4@h>,<sip:5@h>,<sip:6@h>")], 503),
        ] {
            assert_eq!(register(&mut r, now, 5, &lines).err(), Some(status), "{lines:?}");
        }
        assert_eq!(r.bindings("an", now).len(), 1);
        assert_eq!(register(&mut r, now, 6, &[("Contact", "*"), ("Expires", "0")]), Ok(vec![]));
    }

    #[test]
    fn several_devices_and_the_newest_first() {
        let (now, mut r) = (Now::read().at, registrar());
        for (cseq, contact) in [(1, "<sip:an@192.0.2.1>;expires=600"), (2, "<sip:an@192.0.2.2>;expires=900")]
        {
            assert!(register(&mut r, now, cseq, &[("Contact", contact)]).is_ok());
        }
        let found: Vec<String> = r.bindings("an", now).iter().map(|b| b.contact.to_string()).collect();
        assert_eq!(found, ["sip:an@192.0.2.2", "sip:an@192.0.2.1"]);
        // A refresh, shorter than what the other has left.
        assert!(register(&mut r, now, 3, &[("Contact", "<sip:an@192.0.2.1>;expires=60")]).is_ok());
        let first = r.bindings("an", now).first().map(|b| b.contact.to_string());
        assert_eq!(first.as_deref(), Some("sip:an@192.0.2.1"), "by update, not by expiry");
    }

    #[test]
    fn a_phone_that_starts_anew_again_and_again_does_not_lock_itself_out() {
        let (now, mut r) = (Now::read().at, registrar());
        for port in 1..=9 {
            let contact = format!("<sip:an@192.0.2.1:{port}>;expires=3600");
            let listed = register(&mut r, now, port, &[("Contact", &contact)]);
            assert_eq!(listed.map(|l| l.len()), Ok(5.min(port as usize)), "start {port}");
        }
        let found: Vec<Option<u16>> = r.bindings("an", now).iter().map(|b| b.contact.port).collect();
        assert_eq!(found, [9, 8, 7, 6, 5].map(Some));
    }

    #[test]
    fn rfc_5626_6_a_device_that_moves_keeps_its_flow_and_has_another_by_another_number() {
        let (now, mut r) = (Now::read().at, registrar());
        let flow = |cseq: u32, id: u32, device: char, address: u32| {
            let contact = format!(
                "<sip:an@192.0.2.{address}>;reg-id={id};+sip.instance=\"<urn:uuid:{device}>\";expires=600"
            );
            (cseq, contact)
        };
        for ((cseq, contact), expected) in [
            (flow(1, 1, 'a', 1), vec![1]),
            (flow(2, 1, 'a', 2), vec![2]),
            (flow(3, 2, 'a', 3), vec![3, 2]),
            (flow(4, 1, 'b', 4), vec![4, 3, 2]),
            (flow(5, 1, 'a', 5), vec![5, 4, 3]),
        ] {
            let fields = [("Supported", "path, outbound"), ("Contact", contact.as_str())];
            assert!(register(&mut r, now, cseq, &fields).is_ok());
            let at = |b: &Binding| b.contact.to_string().rsplit('.').next().and_then(|n| n.parse().ok());
            let found: Vec<u32> = r.bindings("an", now).iter().filter_map(at).collect();
            assert_eq!(found, expected, "{contact}");
        }
        // Without the option tag it is a contact like any other.
        let (_, contact) = flow(6, 1, 'a', 6);
        assert!(register(&mut r, now, 6, &[("Contact", &contact)]).is_ok_and(|listed| listed.len() == 4));
    }

    #[test]
    fn bindings_run_out_and_a_closed_stream_takes_its_own() {
        let (now, mut r) = (Now::read().at, registrar());
        assert!(register(&mut r, now, 1, &[("Contact", "<sip:an@192.0.2.1>;expires=600")]).is_ok());
        let here = flow(Transport::Udp).source();
        assert!(r.is_bound_at(now, here) && !r.is_bound_at(now + S(600), here));
        assert_eq!(r.flow_closed(FlowKey(4)), Vec::<String>::new(), "datagrams have no connection to lose");
        assert_eq!(r.next_expiry(), Some(now + S(600)));
        assert_eq!((r.expire(now + S(599)), r.expire(now + S(600))), (vec![], vec!["an".to_owned()]));
        assert!(r.is_empty() && !r.is_bound_at(now, here) && r.sources.is_empty() && r.due.is_empty());
    }
}
