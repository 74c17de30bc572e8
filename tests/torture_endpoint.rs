//! The messages of RFC 4475 and RFC 5118, octet for octet, to the running switch from the carrier's address: the
//! reaction is one that the manifest allows, and after each the switch is alive.
//!
//! Nobody here is called `user` or `vivekg`, so a good INVITE gets 404; nothing is sent beyond loopback.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use support::server::repository;
use support::{Dialog, Message, PATIENCE, Peer, Rtp, Sdp, Server};

#[derive(Debug, Clone, serde::Deserialize)]
struct Entry {
    file: String,
    kind: String,
    method_or_code: String,
    expected: String,
    also_ok: String,
    must_not: String,
}

impl Entry {
    fn name(&self) -> &str {
        self.file.rsplit('/').next().unwrap_or("").trim_end_matches(".dat")
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(repository("tests/torture").join(&self.file)).expect("every file of the manifest")
    }

    /// Statuses that the manifest names in what it expects and in what it also takes.
    fn statuses(&self) -> BTreeSet<u16> {
        let text = format!("{} {}", self.expected, self.also_ok);
        let words = text.split(|c: char| !c.is_ascii_digit()).filter(|w| w.len() == 3);
        let mut statuses: BTreeSet<u16> = words.filter_map(|w| w.parse().ok()).collect();
        // What is good gets what its method gets here: nobody is called so, nobody may register so.
        let good =
            ["accept", "process", "normal", "parse", "OPTIONS:"].iter().any(|word| text.contains(word));
        if good {
            statuses.extend(match self.method_or_code.as_str() {
                "INVITE" => [404, 488].as_slice(),
                "OPTIONS" => &[200],
                "REGISTER" => &[401],
                "BYE" => &[481],
                _ => &[405, 501],
            });
        }
        statuses.retain(|s| (200..700).contains(s));
        if self.must_not.contains("must not 400") || self.must_not.contains("no 400") {
            statuses.remove(&400);
        }
        statuses
    }

    /// Whether silence is what the manifest expects or takes.
    fn may_be_silent(&self) -> bool {
        self.kind == "resp" || self.expected.contains("drop") || self.also_ok.contains("drop")
    }
}

fn manifest() -> Vec<Entry> {
    let text = std::fs::read_to_string(repository("tests/torture/manifest.json")).expect("the manifest");
    let entries: Vec<Entry> = serde_json::from_str(&text).expect("readable");
    assert_eq!(entries.len(), 62);
    entries
}

/// Messages with the same branch, sent-by and method are retransmissions to a strict server (RFC 3261 17.2.3):
/// each round of a new switch has every transaction but once.
fn rounds() -> Vec<Vec<Entry>> {
    let mut rounds: Vec<(BTreeSet<String>, Vec<Entry>)> = Vec::new();
    for entry in manifest() {
        let text = String::from_utf8_lossy(&entry.bytes()).into_owned();
        let via = text.lines().find(|l| l.to_ascii_lowercase().starts_with("via")).unwrap_or("").to_owned();
        let branch = via.split("branch=").nth(1).unwrap_or("").trim().to_owned();
        let sent_by = via.split([';', ' ']).nth(2).unwrap_or("").to_owned();
        let key = format!("{branch} {sent_by} {}", entry.method_or_code);
        match rounds.iter_mut().find(|(keys, _)| !keys.contains(&key)) {
            Some((keys, round)) => {
                keys.insert(key);
                round.push(entry);
            }
            None => rounds.push((BTreeSet::from([key]), vec![entry])),
        }
    }
    rounds.into_iter().map(|(_, round)| round).collect()
}

/// The carrier's ears at every port that a Via of these messages names (RFC 3261 18.2.2: the answer goes to
/// the source's address and the port of Via).
struct Ears {
    peers: Vec<Peer>,
    /// Answers that came before: the same again is a repetition that nobody acknowledged.
    done: BTreeSet<String>,
}

impl Ears {
    fn new(server: &Server) -> Self {
        let host = server.place().host(2);
        let ports = [5060, 5061, 5050, 5070, 6050, 19823];
        let peers = ports.iter().map(|port| Peer::udp((host, *port).into(), server.sip())).collect();
        Self { peers, done: BTreeSet::new() }
    }

    /// Sends and gathers what comes: up to a final answer when there must be one, else all that has come
    /// once the switch has answered another question.
    fn react(&mut self, bytes: &[u8], waits: bool) -> Vec<Message> {
        self.peers[0].send_bytes(bytes);
        let mut came = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while waits && Instant::now() < deadline && !came.iter().any(is_final) {
            came.extend(
                self.peers.iter_mut().filter_map(|p| p.wait_for(Duration::from_millis(5), &|_| true)),
            );
        }
        // The switch takes one after the other: what it had to say is on its way when this is answered.
        for peer in &mut self.peers {
            came.extend(peer.options());
        }
        came.retain(|m| !self.done.contains(&m.text));
        self.done.extend(came.iter().map(|m| m.text.clone()));
        came
    }
}

fn is_final(message: &Message) -> bool {
    message.status().is_some_and(|s| s >= 200)
}

/// What is wrong with a reaction, if anything.
fn verdict(entry: &Entry, came: &[Message]) -> Option<String> {
    let shown: Vec<&str> = came.iter().map(Message::start_line).collect();
    let finals: BTreeSet<u16> = came.iter().filter(|m| is_final(m)).filter_map(Message::status).collect();
    let allowed = entry.statuses();
    if came.iter().any(|m| m.method().is_some()) {
        return Some(format!("{}: a request was sent: {shown:?}", entry.file));
    }
    if entry.kind == "resp" {
        return (!came.is_empty()).then(|| format!("{}: a response was answered: {shown:?}", entry.file));
    }
    match finals.len() {
        0 if entry.may_be_silent() && came.is_empty() => None,
        1 if finals.is_subset(&allowed) => None,
        _ => Some(format!("{}: {shown:?}, allowed {allowed:?} ({})", entry.file, entry.expected)),
    }
}

/// A good call goes through, with sound.
fn a_call_works(server: &Server, ears: &mut Ears) {
    let mut ear = Rtp::bind(server.place().host(2));
    let (dialog, _) = Dialog::call(&mut ears.peers[0], "say", &Sdp::pcma(ear.local));
    ear.hear_until("a prompt", |ear| !ear.heard.is_empty());
    dialog.await_bye(&mut ears.peers[0]);
}

#[test]
fn every_message_on_udp_gets_what_the_manifest_allows() {
    let mut wrong = Vec::new();
    let mut reactions: BTreeMap<String, Vec<Message>> = BTreeMap::new();
    for round in rounds() {
        let mut server = Server::helpline("");
        let mut ears = Ears::new(&server);
        for entry in round {
            let came = ears.react(&entry.bytes(), !entry.may_be_silent());
            wrong.extend(verdict(&entry, &came));
            reactions.insert(entry.name().to_owned(), came);
        }
        a_call_works(&server, &mut ears);
        assert!(server.is_running());
        assert_eq!(server.err.count(|l| l.contains("panic")), 0, "{}", server.err.text());
        assert!(server.metric("hulplijn_lines_registered") < 1.0);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    what_the_answers_must_hold(&reactions);
}

/// Beyond the status: what RFC 3261 and RFC 4475 ask of some answers.
fn what_the_answers_must_hold(reactions: &BTreeMap<String, Vec<Message>>) {
    let answer = |name: &str| {
        let came = reactions.get(name).unwrap_or_else(|| panic!("no {name}"));
        came.iter().find(|m| is_final(m)).unwrap_or_else(|| panic!("{name} was not answered"))
    };
    // 3.3.3: the extensions that are not known are listed.
    let unsupported = answer("bext01").all("Unsupported").join(",");
    for tag in ["nothingSupportsThis", "nothingSupportsThisEither"] {
        assert!(unsupported.contains(tag), "{unsupported}");
    }
    assert!(!unsupported.contains("noProxiesSupportThis"), "an endpoint ignores Proxy-Require");
    for unknown in ["intmeth", "esc02"] {
        assert!(answer(unknown).header("Allow").contains("INVITE"), "{}", answer(unknown).text);
    }
    // 3.1.1.2, 3.1.1.7: echoed octet for octet.
    assert_eq!(answer("intmeth").call_id(), "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{");
    assert!(answer("longreq").call_id().starts_with("longreq.onereallyreally"));
    assert!(answer("longreq").call_id().len() > 100);
    // 3.1.1.10, RFC 5118 4.6: every Via in its order.
    let vias = answer("transports").all("Via").join(",");
    let places: Vec<Option<usize>> = (1..=5).map(|n| vias.find(&format!("t{n}.example.com"))).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{vias}");
    let vias = answer("mult-ip-in-header").all("Via").join(",");
    assert!(vias.contains("[2001:db8::9:1]:6050") && vias.contains("192.0.2.1"), "{vias}");
    // 3.1.1.8: what follows the body is no second message.
    for message in reactions.values().flatten() {
        assert!(!message.call_id().starts_with("dblreq.0ha0isndda977644900765"), "{}", message.text);
    }
    assert!(answer("sdp01").body().is_empty());
}

/// What a stream makes of these octets, judged apart from the product (RFC 3261 18.3, 20.14).
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone, Copy)]
enum Cut {
    /// One message, and this much behind it.
    Whole(usize),
    /// More is to come: no end of the header, or of the body.
    Unfinished,
    /// Nobody can say where it ends.
    Never,
}

fn cut(bytes: &[u8]) -> Cut {
    let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { return Cut::Unfinished };
    let head = String::from_utf8_lossy(&bytes[..end]).replace("\r\n ", " ").replace("\r\n\t", " ");
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let is_length = |name: &str| ["l", "content-length"].contains(&name.trim().to_ascii_lowercase().as_str());
    let lengths: Vec<&str> =
        fields.filter(|(name, _)| is_length(name)).map(|(_, value)| value.trim()).collect();
    match lengths[..] {
        [one] if one.bytes().all(|b| b.is_ascii_digit()) => {
            let body = one.parse::<usize>().expect("a length");
            (bytes.len() - end - 4).checked_sub(body).map_or(Cut::Unfinished, Cut::Whole)
        }
        _ => Cut::Never,
    }
}

#[test]
fn every_message_on_tcp_that_can_be_cut_gets_what_the_manifest_allows_and_the_others_nothing() {
    let mut wrong = Vec::new();
    let mut cuts: BTreeMap<Cut, usize> = BTreeMap::new();
    for round in rounds() {
        let mut server = Server::helpline("");
        let mut ears = Ears::new(&server);
        for entry in round {
            let bytes = entry.bytes();
            let cut = cut(&bytes);
            *cuts.entry(cut).or_default() += 1;
            let mut stream = Peer::tcp(server.place().host(2), server.sip());
            stream.send_bytes(&bytes);
            match cut {
                Cut::Whole(0) => wrong.extend(judge_stream(&entry, &mut stream)),
                // On a stream what follows is the next message; in these it ends in what can't be cut, and the
                // connection with it, perhaps before its first message was answered.
                Cut::Whole(_) => {
                    stream.wait_closed();
                    let first = stream.wait_for(Duration::ZERO, &is_final).and_then(|m| m.status());
                    assert!(first.is_none_or(|s| entry.statuses().contains(&s)), "{}: {first:?}", entry.file);
                }
                Cut::Never => {
                    stream.wait_closed();
                    let came = stream.wait_for(Duration::ZERO, &|_| true);
                    assert_eq!(came, None, "{}: it can't be cut and was answered", entry.file);
                }
                Cut::Unfinished => {}
            }
            // Everybody else is served, and is told nothing of it.
            for peer in &mut ears.peers {
                assert_eq!(peer.options(), [], "{}", entry.file);
            }
            if cut == Cut::Unfinished {
                let came = stream.wait_for(Duration::ZERO, &|_| true);
                assert_eq!(came, None, "{}: it is not whole and was answered", entry.file);
            }
        }
        a_call_works(&server, &mut ears);
        assert!(server.is_running());
        assert_eq!(server.err.count(|l| l.contains("panic")), 0, "{}", server.err.text());
        assert!(server.metric("hulplijn_lines_registered") < 1.0);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Most can be cut: the RFCs wrote Content-Length into nearly all.
    assert_eq!(cuts.values().sum::<usize>(), 62);
    assert!(cuts[&Cut::Whole(0)] >= 45 && cuts[&Cut::Never] >= 3, "{cuts:?}");
}

/// Answered on the connection that it came by, whatever Via says; what comes behind it is still understood.
fn judge_stream(entry: &Entry, stream: &mut Peer) -> Option<String> {
    let mut came = Vec::new();
    if !entry.may_be_silent() {
        came.push(stream.wait(&entry.file, is_final));
    }
    came.extend(stream.options());
    verdict(entry, &came)
}

#[test]
fn rfc4475_3_1_2_2_a_content_length_past_what_comes_leaves_the_connection_waiting_not_the_switch() {
    let server = Server::helpline("");
    let entry = manifest().into_iter().find(|e| e.name() == "clerr").expect("it is there");
    let mut stream = Peer::tcp(server.place().host(2), server.sip());
    stream.send_bytes(&entry.bytes());
    // Others are served meanwhile; then the unfinished message costs its sender the connection.
    let mut other = Peer::tcp(server.place().host(2), server.sip());
    assert_eq!(other.options(), []);
    stream.wait_closed();
    assert_eq!(other.options(), []);
    server.wait_metric(r#"hulplijn_dropped_total{reason="bad_start"}"#, 1.0);
}

#[test]
fn rfc4475_3_1_2_4_an_overlong_or_negative_length_on_tcp_ends_the_connection() {
    let server = Server::helpline("");
    for name in ["ncl", "mcl01"] {
        let entry = manifest().into_iter().find(|e| e.name() == name).expect("it is there");
        let mut stream = Peer::tcp(server.place().host(2), server.sip());
        stream.send_bytes(&entry.bytes());
        stream.wait_closed();
    }
    assert_eq!(server.carrier().options(), []);
}
