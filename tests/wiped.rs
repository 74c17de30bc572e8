//! What is left in the memory of the running switch of the keys of a call that is over, and of who called: nothing. It
//! is searched from outside, as somebody would who has taken over the machine, while the call lasts (where it must be
//! found) and after it.

mod support;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use support::prompts::noise;
use support::server::{HELPLINE, Site};
use support::{Dialog, Message, Peer, Rtp, Sdp, Server};

/// Nothing else in the process has these digits.
const NUMBER: &str = "+32470918273";
/// Until no transaction has to answer a repetition any more: 64 times T1 (RFC 3261 17), and some room.
const FORGETS_WITHIN: Duration = Duration::from_secs(60);

/// What is searched for, by a name.
type Shape = (String, Vec<u8>);

/// A master key with its salt from a description, as it is written and as it is; half of it is as bad.
fn key(whose: &str, description: &str) -> [Shape; 2] {
    let inline = description.lines().find_map(|line| line.split_once(" inline:")).map(|(_, key)| key);
    let text = inline.and_then(|key| key.split(['|', ' ']).next()).unwrap_or_else(|| panic!("{description}"));
    let raw = BASE64.decode(text.trim()).expect("a key");
    [
        (format!("{whose} as text"), text.as_bytes()[..text.len() / 2].to_vec()),
        (format!("{whose} raw"), raw[..raw.len() / 2].to_vec()),
    ]
}

/// All that the process can write to, piece by piece.
fn memory(server: &Server, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let folder = format!("/proc/{}", server.pid());
    let (maps, file) =
        (std::fs::read_to_string(format!("{folder}/maps"))?, File::open(format!("{folder}/mem"))?);
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(range), Some(rights)) = (words.next(), words.next()) else { continue };
        let Some((from, to)) = range.split_once('-').filter(|_| rights.starts_with("rw")) else { continue };
        let at = |text| u64::from_str_radix(text, 16).expect("an address");
        let mut bytes = vec![0; (at(to) - at(from)) as usize];
        // It may be gone again.
        if file.read_exact_at(&mut bytes, at(from)).is_ok() {
            each(&bytes);
        }
    }
    Ok(())
}

/// Which of the shapes stand in its memory, as often as they do. `None`: this user may not look.
fn found(server: &Server, shapes: &[Shape]) -> Option<Vec<String>> {
    let mut found = Vec::new();
    let looked = memory(server, |bytes| {
        for (name, shape) in shapes {
            found.extend(memchr::memmem::find_iter(bytes, shape).map(|_| name.clone()));
        }
    });
    if looked.is_err() {
        println!("this user may not look into the memory of the switch: not tried");
    }
    looked.is_ok().then_some(found)
}

/// Waits until none of them is there.
fn wait_gone(server: &Server, shapes: &[Shape]) {
    let deadline = Instant::now() + FORGETS_WITHIN;
    loop {
        let left = found(server, shapes).expect("as before");
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "left: {left:?}");
        std::thread::yield_now();
    }
}

fn encrypting() -> Server {
    let carrier = "sources = [\"NET.2\"]\n";
    assert_eq!(HELPLINE.matches(carrier).count(), 1);
    Site::new(&HELPLINE.replace(carrier, &format!("{carrier}srtp = \"optional\"\n"))).start()
}

/// An offer with a key of its own.
fn offer(name: &str, rtp: &Rtp) -> String {
    let key = BASE64.encode(&noise(name, 30)[..30]);
    let crypto = format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}\r\n");
    Sdp::pcma(rtp.local).text().replace("RTP/AVP", "RTP/SAVP") + &crypto
}

/// A call with keys, and what is to be forgotten of them.
fn call(carrier: &mut Peer, name: &str, rtp: &Rtp) -> (Dialog, Vec<Shape>) {
    let mut dialog = Dialog::to(carrier, "1712");
    dialog.local = dialog.local.replace("sip:peer@", &format!("sip:{NUMBER}@"));
    let offer = offer(name, rtp);
    carrier.send(&dialog.request("INVITE", &["Content-Type: application/sdp"], &offer));
    let answer: Message = dialog.await_final(carrier, "INVITE");
    assert_eq!(answer.status(), Some(200), "{}", answer.text);
    dialog.learn(&answer);
    carrier.send(&dialog.ack(None));
    let keys = [key("the caller's", &offer), key("ours", answer.body())].concat();
    (dialog, keys)
}

/// By datagrams and by a stream.
fn calls(server: &Server, rtp: &Rtp) -> (Vec<(Peer, Dialog)>, Vec<Shape>) {
    let ways = [("udp", server.carrier()), ("tcp", Peer::tcp(server.place().host(2), server.sip()))];
    let mut all = Vec::new();
    let calls = ways.into_iter().map(|(name, mut carrier)| {
        let (dialog, keys) = call(&mut carrier, name, rtp);
        all.extend(keys);
        (carrier, dialog)
    });
    (calls.collect(), all)
}

#[test]
fn of_the_keys_of_a_call_that_is_over_nothing_is_left_in_memory() {
    let server = encrypting();
    let rtp = Rtp::bind(server.place().host(2));
    let (calls, keys) = calls(&server, &rtp);
    let Some(during) = found(&server, &keys) else { return };
    for whose in ["the caller's raw", "ours raw"] {
        assert!(during.iter().filter(|name| *name == whose).count() >= 2, "{during:?}");
    }
    for (mut carrier, mut dialog) in calls {
        dialog.bye(&mut carrier);
    }
    wait_gone(&server, &keys);
}

#[test]
fn of_who_called_nothing_is_left_in_memory_once_no_message_may_be_repeated() {
    let server = encrypting();
    let rtp = Rtp::bind(server.place().host(2));
    let (calls, _) = calls(&server, &rtp);
    let mut who: Vec<Shape> = vec![("the number".into(), NUMBER.into())];
    who.extend(calls.iter().map(|(_, dialog)| ("a Call-ID".into(), dialog.call_id.clone().into())));
    let Some(during) = found(&server, &who) else { return };
    assert!(who.iter().all(|(name, _)| during.contains(name)), "{during:?}");
    for (mut carrier, mut dialog) in calls {
        dialog.bye(&mut carrier);
    }
    wait_gone(&server, &who);
}
