//! What the types allow: the seal can't be printed, copied or opened; what holds a caller's words prints none of
//! them; and no type that could may come to be printed without being looked at here.

use std::fmt::Debug;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hulplijn::base::id::{FlowKey, LegKey};
use hulplijn::base::time::Now;
use hulplijn::callflow::machine::{Act, FlowEvent, HungUp};
use hulplijn::media::command::{MediaCommand, MediaEvent, Origin, Stream};
use hulplijn::media::leg::MediaLeg;
use hulplijn::media::lock::SourceLock;
use hulplijn::media::rtp;
use hulplijn::net::NetInput;
use hulplijn::privacy::identity::{PseudonymKey, ReleaseOrder, Released, SealedIdentity};
use hulplijn::privacy::screen::CallFacts;
use hulplijn::sip::dialog::{Dialog, DialogId};
use hulplijn::sip::digest::Credentials;
use hulplijn::sip::endpoint::{Endpoint, Event, Invite, Transmit};
use hulplijn::sip::flow::{Destination, Flow, Transport};
use hulplijn::sip::header::{NameAddr, Params, Via};
use hulplijn::sip::uri::{Host, Uri};
use hulplijn::sip::wire::frame::{Frame, StreamFramer};
use hulplijn::sip::wire::message::{Headers, Message, Method, Request, Response};
use hulplijn::store::request::{MessageRow, StoreRequest};
use hulplijn::switch::Switch;
use hulplijn::switch::io::{Input, Output};
use hulplijn::switch::leg::{Leg, Target};

/// Does not compile as soon as the type has the trait: then two impls fit and `_` is ambiguous.
macro_rules! assert_lacks {
    ($($type:ty),+ ; $bound:path) => {$({
        trait Ambiguous<A> {
            fn check() {}
        }
        impl<T: ?Sized> Ambiguous<()> for T {}
        struct Has;
        impl<T: ?Sized + $bound> Ambiguous<Has> for T {}
        <$type as Ambiguous<_>>::check();
    })+};
}

#[test]
fn the_sealed_identity_has_no_trait_by_which_it_could_get_out() {
    assert_lacks!(SealedIdentity, Released, PseudonymKey, ReleaseOrder; std::fmt::Debug);
    assert_lacks!(SealedIdentity, Released, PseudonymKey, ReleaseOrder; std::fmt::Display);
    assert_lacks!(SealedIdentity, Released, PseudonymKey, ReleaseOrder; std::string::ToString);
    assert_lacks!(SealedIdentity, Released, PseudonymKey, ReleaseOrder; serde::Serialize);
    assert_lacks!(SealedIdentity, Released, PseudonymKey, ReleaseOrder; Clone);
    assert_lacks!(SealedIdentity, Released, PseudonymKey, ReleaseOrder; std::ops::Deref);
    assert_lacks!(SealedIdentity, Released, PseudonymKey; PartialEq);
    assert_lacks!(SealedIdentity, Released, PseudonymKey; PartialOrd);
    assert_lacks!(SealedIdentity, Released, PseudonymKey; std::hash::Hash);
    assert_lacks!(SealedIdentity; std::fmt::LowerHex);
    assert_lacks!(SealedIdentity; AsRef<[u8]>);
    assert_lacks!(SealedIdentity; AsRef<str>);
    assert_lacks!(SealedIdentity; std::borrow::Borrow<[u8]>);
    assert_lacks!(SealedIdentity; Into<String>);
    assert_lacks!(SealedIdentity; Into<Vec<u8>>);
    assert_lacks!(SealedIdentity; IntoIterator);
    // By `Default`, tests and stubs would come to hold an empty one.
    assert_lacks!(SealedIdentity; Default);
}

#[test]
fn what_holds_a_message_or_a_callers_number_can_not_be_printed() {
    assert_lacks!(Request, Response, Message, Headers, Uri, NameAddr, Via, Params, Host; std::fmt::Debug);
    assert_lacks!(Dialog, DialogId, Credentials, Event, Invite, Transmit, Endpoint; std::fmt::Debug);
    assert_lacks!(Switch, Input, Output, Leg, Target, MessageRow, StoreRequest; std::fmt::Debug);
    assert_lacks!(Request, Response, Message, Headers, Input, Output, MessageRow; serde::Serialize);
    assert_lacks!(Request, Response, Message, Headers, CallFacts, Flow, Destination; std::fmt::Display);
}

/// A word, number and address that no program text holds, as a caller's.
const SECRET: &str = "qzxjvw";
const KEY: char = '7';
const SSRC: u32 = 0x7a78_7a78;

fn secret_address() -> SocketAddr {
    "203.0.113.217:61217".parse().expect("an address")
}

/// Nothing of the secrets in either form of `Debug`.
fn prints_nothing(what: &str, value: &dyn Debug) {
    for text in [format!("{value:?}"), format!("{value:#?}")] {
        let ssrc = SSRC.to_string();
        // Bytes print as decimal numbers; this is `qzx`.
        for needle in [SECRET, "203.0.113.217", "61217", "113, 122, 120", "113,\n", &ssrc, "'7'", "\"7"] {
            assert!(!text.contains(needle), "{what} prints {needle}: {text}");
        }
    }
}

#[test]
fn what_can_be_printed_prints_no_word_address_key_or_voice_of_a_caller() {
    let peer = secret_address();
    let flow = Flow { key: FlowKey(1), transport: Transport::Udp, local: peer, peer };
    let bytes = SECRET.as_bytes().to_vec();
    let facts = CallFacts { dialled: SECRET.into(), zone: Some(SECRET.into()), wants_privacy: true };
    prints_nothing("CallFacts", &facts);
    prints_nothing("Flow", &flow);
    for to in [Destination::Flow(flow), Destination::address(Transport::Tcp, peer)] {
        prints_nothing("Destination", &to);
        prints_nothing("NetInput::Failed", &NetInput::Failed { to });
    }
    prints_nothing("NetInput::Message", &NetInput::Message { flow, bytes: bytes.clone() });
    prints_nothing("Frame", &Frame::Message(bytes.clone()));
    let mut framer = StreamFramer::new(1000);
    framer.push(&bytes);
    prints_nothing("StreamFramer", &framer);
    prints_nothing("Method", &Method::Other(SECRET.into()));
    prints_nothing("FlowEvent", &FlowEvent::Digit(KEY));
    prints_nothing("Act", &Act::KeepTake { callback: Some(SECRET.into()) });
    prints_nothing("HungUp", &HungUp::KeepTake { callback: Some(SECRET.into()) });
}

#[test]
fn media_prints_no_address_source_or_key() {
    let (remote, leg) = (secret_address(), LegKey(1));
    let stream = Stream { remote_rtcp: remote, ..Stream::g711(remote) };
    prints_nothing("Stream", &stream);
    prints_nothing("MediaCommand::Connect", &MediaCommand::Connect { leg, stream: stream.clone() });
    let press = MediaCommand::SendDigit { leg, digit: KEY, duration: Duration::from_millis(160) };
    prints_nothing("MediaCommand::SendDigit", &press);
    prints_nothing("MediaEvent::Digit", &MediaEvent::Digit { leg, digit: KEY });
    prints_nothing("SourceLock", &SourceLock::new(remote, remote.ip()));
    let packet = rtp::Packet {
        ssrc: SSRC,
        sequence: 61217,
        timestamp: SSRC,
        marker: false,
        payload_type: 8,
        payload: SECRET.as_bytes(),
    };
    prints_nothing("Packet", &packet);
    let mut engine = MediaLeg::new(Now::read(), leg, Origin { ssrc: 1, sequence: 1, timestamp: 1, cname: 1 });
    engine.connect(stream);
    let mut datagram = vec![0x80, 8, 0, 1, 0, 0, 0, 1];
    datagram.extend(SSRC.to_be_bytes());
    datagram.extend(SECRET.as_bytes());
    engine.bridge();
    let heard = engine.handle_rtp(Now::read(), remote, &mut datagram);
    assert!(heard.is_some(), "the packet counts");
    prints_nothing("Heard", &heard);
    prints_nothing("MediaLeg", &engine);
}

// --- no type comes to be printed unseen -------------------------------------------------------------------

/// What a derived `Debug` could print of a caller: words, addresses, bytes, keys, voice, sources.
const RISKY: [&str; 13] = [
    "String",
    "Box<str>",
    "Arc<str>",
    "SocketAddr",
    "IpAddr",
    "Uri",
    "NameAddr",
    "Headers",
    "u8>",
    "[u8",
    "Bytes",
    "char",
    "ssrc",
];

/// Types with a derived `Debug` and such a field, and why that is no caller's. A new one belongs here only
/// with its reason; else it gets `quiet_debug!` or no `Debug` at all.
const LOOKED_AT: &[(&str, &str)] = &[
    ("base/network.rs Network", "a network of the configuration"),
    ("callflow/machine.rs Say", "names of prompts and languages"),
    ("callflow/machine.rs Machine", "the language; its mode prints no number"),
    ("callflow/program.rs Program", "the configuration"),
    ("callflow/program.rs Voicemail", "the finishing key of the configuration"),
    ("callflow/program.rs Step", "the configuration"),
    ("cli/call.rs Arguments", "arguments of the test caller"),
    ("cli/phone.rs Arguments", "arguments of the built-in phone"),
    ("cli/password.rs Arguments", "a line's name"),
    ("cli/make.rs Made", "prompts"),
    ("cli/make.rs Entry", "prompts"),
    ("cli/messages.rs Command", "arguments of the operator"),
    ("cli/prompts.rs Report", "prompts"),
    ("cli/prompts.rs Finding", "prompts"),
    ("cli/site.rs Site", "the configuration"),
    ("console/server.rs Request", "the operator's HTTP"),
    ("media/batch.rs IoChoice", "the configuration"),
    ("media/command.rs Origin", "our own stream"),
    ("media/prompt_bank.rs Voice", "names of languages"),
    ("media/rtcp.rs Reporter", "our own CNAME and SSRC"),
    ("media/thread_setup.rs Place", "the configuration"),
    ("media/thread_setup.rs Started", "the configuration"),
    ("net/mod.rs ListenAt", "our own addresses"),
    ("net/mod.rs LocalAddress", "our own addresses"),
    ("net/place.rs Place", "our own addresses"),
    ("net/place.rs Places", "our own addresses"),
    ("net/tls.rs Why", "the operator's files"),
    ("privacy/redact.rs LogError", "the configured level"),
    ("privacy/screen.rs ZoneTable", "the configured zones"),
    ("routing/line.rs LineSettings", "the configured line"),
    ("routing/queue.rs Waiting", "the configured zone"),
    ("sdp/offer_answer.rs Local", "our own address"),
    ("sdp/session.rs Written", "our own address"),
    ("sip/digest.rs Verdict", "the name of an account that exists"),
    ("sip/header.rs HeaderError", "a fixed error of `uri`"),
    ("sdp/session.rs WrittenMedia", "our own formats"),
    ("store/database.rs StoreError", "an id that the operator typed"),
    ("store/request.rs StoreReply", "a random id"),
    ("telemetry/export.rs Names", "configured lines and queues"),
];

/// `config` holds what the operator wrote, `sim` invents its callers, the built-in phone is its user's own and
/// no part of the switch; test code prints what it likes.
fn is_exempt(path: &str) -> bool {
    ["config/", "sim/", "phone/"].iter().any(|room| path.starts_with(room)) || path.contains("tests")
}

#[test]
fn no_type_with_words_or_addresses_derives_debug_unless_it_was_looked_at() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = Vec::new();
    for file in sources(&src) {
        let name = file.strip_prefix(&src).expect("below src").to_string_lossy().into_owned();
        if !is_exempt(&name) {
            let text = fs::read_to_string(&file).expect("a source");
            seen.extend(printed_types(&text).into_iter().map(|t| format!("{name} {t}")));
        }
    }
    let known: Vec<&str> = LOOKED_AT.iter().map(|(at, _)| *at).collect();
    let unseen: Vec<&String> = seen.iter().filter(|t| !known.contains(&t.as_str())).collect();
    assert!(unseen.is_empty(), "these derive Debug and may hold a caller's words: {unseen:?}");
    assert!(seen.len() >= 20, "the search finds what is known: {seen:?}");
}

#[test]
fn the_search_for_printed_types_sees_them() {
    let source = "#[derive(Debug, Clone)]\n/// Words.\npub struct A {\n    from: String,\n}\n\
                  #[derive(Clone)]\nstruct B(String);\n#[derive(PartialEq, Debug)]\nenum C {\n    X { at: SocketAddr },\n}\n\
                  #[derive(Debug)]\nstruct D {\n    // A String is not here.\n    n: u32,\n}\n#[derive(Debug)]\nstruct E(Vec<u8>);\n\
                  #[cfg(test)]\nmod tests {\n    #[derive(Debug)]\n    struct F(String);\n}\n";
    assert_eq!(printed_types(source), ["A", "C", "E"]);
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Names of the types of a source that derive `Debug` and have a risky field.
fn printed_types(source: &str) -> Vec<String> {
    let shipped = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or("");
    let code: Vec<&str> = shipped.lines().filter(|l| !l.trim_start().starts_with("//")).collect();
    let mut found = Vec::new();
    for (at, line) in code.iter().enumerate() {
        if !(line.trim_start().starts_with("#[derive(") && line.contains("Debug")) {
            continue;
        }
        let item: Vec<&str> =
            code[at + 1..].iter().skip_while(|l| l.trim_start().starts_with("#[")).copied().collect();
        let Some(name) = item.first().and_then(|head| type_name(head)) else { continue };
        let body = body_of(&item).replace(&name, "");
        if RISKY.iter().any(|risky| body.contains(risky)) {
            found.push(name);
        }
    }
    found
}

fn type_name(head: &str) -> Option<String> {
    let mut words = head.split(' ').skip_while(|w| !matches!(*w, "struct" | "enum"));
    let name = words.nth(1)?;
    Some(name.split(['<', '(', ';', '{']).next()?.to_owned())
}

/// An item to its closing brace, or its semicolon.
fn body_of(item: &[&str]) -> String {
    let (mut depth, mut text) = (0_i32, String::new());
    for line in item.iter().filter(|l| !l.trim_start().starts_with("#[")) {
        text += line;
        text.push('\n');
        depth += line.matches('{').count() as i32 - line.matches('}').count() as i32;
        if depth <= 0 && (line.contains('}') || line.trim_end().ends_with(';')) {
            break;
        }
    }
    text
}
