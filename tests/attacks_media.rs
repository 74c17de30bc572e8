//! Attacks on audio by name, each against the running switch: what the attacker gets, that a call in progress sounds octet
//! for octet as it does without him, and that it is counted. On encrypted legs: `srtp` and the browser's tests.
//!
//! | attack | where, when not here |
//! |---|---|
//! | junk to ports where no call is | `bad_input::datagrams_to_the_ports_of_audio…` |
//! | RTP from elsewhere while both speak | `bad_input::rtp_from_elsewhere…` |
//! | whatever bytes in whatever order | `fuzz_short::rtp_of_peers_and_strangers`, `rtcp_of…`, `audio_ports` |
//! | a source that changes without a re-INVITE | `media::lock` |
//! | a browser's check, copied and sent from elsewhere | `privacy::sealed`, `media::ice`, `media::leg` |
//! | a DTLS alert that nobody has signed | `media::dtls` |
//!
//! On loopback every address is this machine's, and whoever proves himself before the named peer speaks would be
//! believed (RFC 6890); so the attackers who know everything come when it has spoken, as everywhere else they may sooner.

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use support::prompts::{alaw, noise};
use support::rtp::{FRAME, SILENCE, in_order};
use support::server::wait_until;
use support::{Dialog, PATIENCE, Peer, Rtp, Sdp, Server};

const STRANGER: u8 = 66;
/// Frames that each side says.
const WORDS: usize = 100;
const TICK: Duration = Duration::from_millis(20);
/// All ports of `[media] ports`.
const PORTS: std::ops::Range<u16> = 20_000..20_400;

/// A caller and a counsellor who hear each other.
struct Joined {
    carrier: Peer,
    dialog: Dialog,
    phone: Peer,
    line: Dialog,
    /// The caller's side and the counsellor's.
    ears: [Rtp; 2],
    /// Where the switch takes audio of each.
    to: [SocketAddr; 2],
}

impl Joined {
    fn new(server: &Server) -> Self {
        let (mut carrier, mut phone) = (server.carrier_on_another_port(), server.phone(3));
        let ears = [2, 3].map(|last| Rtp::bind(server.place().host(last)));
        let (dialog, to) = Dialog::call(&mut carrier, "fixed", &Sdp::pcma(ears[0].local));
        let (line, _, line_to) = Dialog::answer(&mut phone, &Sdp::pcma(ears[1].local));
        let mut joined = Self { carrier, dialog, phone, line, ears, to: [to, line_to] };
        // The tone that tells them is over, and each has been heard.
        (0..50).for_each(|_| joined.say([&[SILENCE; FRAME]; 2]));
        joined
    }

    /// Both say a frame and hear for as long.
    fn say(&mut self, frames: [&[u8]; 2]) {
        let begin = Instant::now();
        for ((ear, to), frame) in self.ears.iter_mut().zip(self.to).zip(frames) {
            ear.send(to, frame);
        }
        for (ear, share) in self.ears.iter_mut().zip([1, 2]) {
            while ear.hear(begin + TICK * share / 2) {}
        }
    }

    /// Hangs up; what each side heard from the other's first word on but silence, packet by packet.
    fn end(mut self) -> [Vec<Vec<u8>>; 2] {
        self.dialog.bye(&mut self.carrier);
        self.line.await_bye(&mut self.phone);
        let [caller, counsellor] = self.ears;
        let first = words().map(|words| words[..FRAME].to_vec());
        [(caller, &first[1]), (counsellor, &first[0])].map(|(ear, first)| {
            let sounds = ear.heard.into_iter().map(|packet| packet.payload);
            let sounds = sounds.skip_while(|payload| payload != first);
            sounds.filter(|payload| payload.iter().any(|octet| *octet != SILENCE)).collect()
        })
    }
}

/// Two seconds of talk while `attack` does what it does before each frame; what each side heard of it but
/// silence.
fn talk(server: &Server, mut attack: impl FnMut(&Joined, usize)) -> [Vec<Vec<u8>>; 2] {
    let mut joined = Joined::new(server);
    let words = words();
    for n in 0..WORDS {
        attack(&joined, n);
        let frame = n * FRAME..(n + 1) * FRAME;
        joined.say([&words[0][frame.clone()], &words[1][frame]]);
    }
    let deadline = Instant::now() + PATIENCE;
    let has_all = |joined: &Joined| {
        let [caller, counsellor] = &joined.ears;
        in_order(&caller.audio(), &words[1]) && in_order(&counsellor.audio(), &words[0])
    };
    while !has_all(&joined) {
        assert!(Instant::now() < deadline, "not all that was said was heard");
        (0..10).for_each(|_| joined.say([&[SILENCE; FRAME]; 2]));
    }
    joined.end()
}

/// What the caller and the counsellor say.
fn words() -> [Vec<u8>; 2] {
    ["caller", "counsellor"].map(|name| noise(name, WORDS * FRAME))
}

/// What is heard with the attack is what is heard without, octet for octet; the attacker hears nothing.
fn changes_nothing(server: &Server, stranger: &mut Rtp, mut attack: impl FnMut(&mut Rtp, &Joined, usize)) {
    let undisturbed = talk(server, |_, _| {});
    assert!(undisturbed.iter().all(|heard| heard.len() >= WORDS));
    let attacked = talk(server, |joined, n| attack(stranger, joined, n));
    assert!(attacked == undisturbed, "somebody heard something else");
    assert!(!stranger.hear(Instant::now() + Duration::from_millis(1)), "the attacker was sent something");
}

fn stranger(server: &Server) -> Rtp {
    Rtp::bind(server.place().host(STRANGER))
}

/// A packet as the peer's next would be, but for what it says: somebody who sees everything wrote it.
fn forged(peer: &Rtp, payload: &[u8]) -> Vec<u8> {
    peer.packet(8, false, payload)
}

const FOREIGN: &str = r#"hulplijn_rtp_packets_total{kind="foreign"}"#;
const MALFORMED: &str = r#"hulplijn_rtp_packets_total{kind="malformed"}"#;

#[test]
fn a_spray_over_all_ports_before_and_during_a_call_gets_nothing_back_and_changes_nothing() {
    let server = Server::helpline("");
    let mut attacker = stranger(&server);
    let switch = server.place().host(1);
    let lies = noise("lies", 50 * FRAME);
    let spray = |attacker: &mut Rtp, n: usize| {
        for port in PORTS {
            attacker.ssrc = attacker.ssrc.wrapping_mul(0x9e37_79b1).wrapping_add(n as u32);
            attacker.send((switch, port).into(), &lies[n % 50 * FRAME..][..FRAME]);
        }
    };
    (0..5).for_each(|n| spray(&mut attacker, n));
    changes_nothing(&server, &mut attacker, |attacker, joined, n| {
        if n % 10 == 0 {
            spray(attacker, n);
        }
        // And to the right ports what the peers' next packets would be.
        for (ear, to) in joined.ears.iter().zip(joined.to) {
            attacker.send_raw(to, &forged(ear, &lies[n % 50 * FRAME..][..FRAME]));
        }
    });
    server.wait_metric(FOREIGN, 2.0 * WORDS as f64);
}

#[test]
fn forged_keys_from_elsewhere_press_nothing_and_the_callers_own_are_heard() {
    let server = Server::helpline("");
    let mut carrier = server.carrier();
    let mut caller = Rtp::bind(server.place().host(2));
    let (dialog, to) = Dialog::call(&mut carrier, "menu", &Sdp::pcma(caller.local));
    caller.say(to, &[SILENCE; 10 * FRAME]);
    let mut attacker = stranger(&server);
    // 1 leads to `queue-enter`, 2 to `goodbye`.
    for _ in 0..10 {
        (attacker.ssrc, attacker.sequence, attacker.timestamp) =
            (caller.ssrc, caller.sequence, caller.timestamp);
        attacker.press(to, '1');
        caller.say(to, &[SILENCE; FRAME]);
    }
    caller.press(to, '2');
    let [right, wrong] = ["goodbye", "queue-enter"].map(|name| alaw("nl", name));
    caller.stay_until(to, "what key 2 leads to", |ear| ear.has_heard(&right));
    dialog.await_bye(&mut carrier);
    assert!(!caller.has_heard(&wrong), "the forged key was heard");
    server.wait_metric(FOREIGN, 60.0);
}

/// A sender report and a BYE of this source (RFC 3550 6.4, 6.6), and a compound packet whose lengths are wild.
fn goodbyes(ssrc: u32) -> Vec<Vec<u8>> {
    let [a, b, c, d] = ssrc.to_be_bytes();
    let report = [0x80, 201, 0, 1, a, b, c, d];
    let bye = [0x81, 203, 0, 1, a, b, c, d];
    let wild = [0x9f, 200, 0xff, 0xff, a, b, c, d, 0x81, 203, 0xff, 0xff, a, b, c, d];
    vec![[report, bye].concat(), bye.to_vec(), wild.to_vec(), [&report[..], &wild[8..]].concat()]
}

#[test]
fn rtcp_bye_from_elsewhere_and_from_the_peer_itself_ends_no_call_and_changes_nothing() {
    let server = Server::helpline("");
    let mut attacker = stranger(&server);
    changes_nothing(&server, &mut attacker, |attacker, joined, _| {
        for (ear, to) in joined.ears.iter().zip(joined.to) {
            let control = SocketAddr::new(to.ip(), to.port() + 1);
            for packet in goodbyes(ear.ssrc) {
                attacker.send_raw(control, &packet);
                attacker.send_raw(to, &packet);
                // A call is ended by SIP.
                ear.send_raw(control, &packet);
                ear.send_raw(to, &packet);
            }
        }
    });
    server.wait_metric(FOREIGN, WORDS as f64);
    server.wait_metric(MALFORMED, WORDS as f64);
}

#[test]
fn all_rtcp_of_a_stranger_is_foreign_be_it_readable_or_not_and_his_goodbye_ends_nothing() {
    let server = Server::helpline("");
    let mut attacker = stranger(&server);
    changes_nothing(&server, &mut attacker, |attacker, joined, _| {
        for (ear, to) in joined.ears.iter().zip(joined.to) {
            let control = SocketAddr::new(to.ip(), to.port() + 1);
            for packet in goodbyes(ear.ssrc) {
                attacker.send_raw(control, &packet);
                attacker.send_raw(to, &packet);
            }
        }
    });
    let sent = 2 * 2 * goodbyes(0).len() * WORDS;
    server.wait_metric_is(FOREIGN, sent as f64);
    assert!(server.metric(MALFORMED) == 0.0, "the peers' own reports are whole");
}

#[test]
fn srtp_dtls_and_stun_on_a_plain_leg_get_no_answer_and_change_nothing() {
    let server = Server::helpline("");
    let mut attacker = stranger(&server);
    let junk = noise("junk", 170);
    // A ClientHello in a DTLS 1.2 record, and a Binding request.
    let hello =
        [&[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 120, 1, 0, 0, 108, 0, 0][..], &junk[..115]].concat();
    let binding = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &junk[..12]].concat();
    let mut peers_heard = [0; 2];
    changes_nothing(&server, &mut attacker, |attacker, joined, _| {
        for (side, (ear, to)) in joined.ears.iter().zip(joined.to).enumerate() {
            // Ten octets of tag follow what would be a frame.
            for packet in [&forged(ear, &junk), &hello, &binding] {
                attacker.send_raw(to, packet);
                attacker.send_raw(SocketAddr::new(to.ip(), to.port() + 1), packet);
            }
            ear.send_raw(to, &hello);
            ear.send_raw(to, &binding);
            peers_heard[side] = ear.heard.len();
        }
    });
    assert!(peers_heard.iter().all(|heard| *heard > WORDS));
    server.wait_metric(FOREIGN, 6.0 * WORDS as f64);
    server.wait_metric(MALFORMED, 4.0 * WORDS as f64);
}

#[test]
fn packets_of_any_size_and_sequence_jumps_between_a_peers_own_change_nothing() {
    let server = Server::helpline("");
    let mut attacker = stranger(&server);
    changes_nothing(&server, &mut attacker, |_, joined, n| {
        for (ear, to) in joined.ears.iter().zip(joined.to) {
            for length in [0, 1, 2, 11, 1413, 2047, 2048, 2049, 9000, 60_000] {
                let mut packet = forged(ear, &vec![0x2a; 60_000]);
                packet.truncate(length);
                ear.send_raw(to, &packet);
            }
            // A jump that no second packet confirms (RFC 3550 A.1), and one that came before.
            for far in [20_000 + n as u16 * 97, 0u16.wrapping_sub(20)] {
                let mut packet = forged(ear, &[0x2a; FRAME]);
                packet[2..4].copy_from_slice(&ear.sequence.wrapping_add(far).to_be_bytes());
                ear.send_raw(to, &packet);
            }
        }
    });
    server.wait_metric(MALFORMED, 8.0 * WORDS as f64);
}

#[test]
fn a_flood_of_a_peer_with_ever_new_sources_and_types_is_cut_off_and_others_talk_on() {
    let more = "[[line]]\nname = \"second\"\nuri = \"sip:second@NET.9:5060\"\nlogged-in = true\n\
        [queue.second]\nlines = [\"second\"]\nring = \"20s\"\nwrap-up = \"0s\"\nmisses = 0\n\
        [[number]]\ndial = \"second\"\nflow = \"second\"\n[flow.second]\nstart = \"queue\"\n\
        step.queue = { do = \"queue\", queue = \"second\", full = \"bye\", nobody = \"bye\", too-long = \"bye\" }\n\
        step.bye = { do = \"hangup\", prompts = [\"goodbye\"] }\n";
    let server = Server::helpline(more);
    let undisturbed = talk(&server, |_, _| {});
    // Who floods is joined with another line.
    let (mut carrier, mut phone) = (server.carrier_on_another_port(), server.phone(9));
    let [mut flooder, mut victim] = [2, 9].map(|last| Rtp::bind(server.place().host(last)));
    let (mut dialog, to) = Dialog::call(&mut carrier, "second", &Sdp::pcma(flooder.local));
    let (line, _, line_to) = Dialog::answer(&mut phone, &Sdp::pcma(victim.local));
    victim.say(line_to, &[SILENCE; 10 * FRAME]);
    flooder.say(to, &[SILENCE; 10 * FRAME]);
    let before = memory(server.pid());
    let mut count = 0u32;
    let begin = Instant::now();
    let attacked = talk(&server, |_, _| {
        // 200 packets each 20 ms.
        for _ in 0..200 {
            count += 1;
            flooder.ssrc = count.wrapping_mul(0x9e37_79b1);
            flooder.sequence = (flooder.ssrc >> 7) as u16;
            flooder.timestamp = flooder.ssrc.rotate_left(9);
            let kind = [8, 0, 101, 13, 96, 8, 127, 18][count as usize % 8];
            let length = [160, 0, 4, 1400, 80][count as usize % 5];
            flooder.send_raw(to, &flooder.packet(kind, count.is_multiple_of(3), &vec![count as u8; length]));
        }
    });
    let lasted = begin.elapsed().as_secs_f64();
    assert!(attacked == undisturbed, "others heard something else");
    let grown = memory(server.pid()).saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB more after {count} packets");
    while victim.hear(Instant::now() + Duration::from_millis(100)) {}
    // What a phone may send a second, and not more, comes to the other side.
    let heard = victim.heard.len() as f64;
    assert!(heard < 500.0 + 300.0 * (lasted + 2.0), "{heard} packets of {count} in {lasted} s");
    dialog.bye(&mut carrier);
    line.await_bye(&mut phone);
    server.wait_metric(MALFORMED, f64::from(count) / 8.0);
    server.wait_metric(r#"hulplijn_rtp_packets_total{kind="flood"}"#, f64::from(count) / 8.0);
}

/// Resident memory of a process, in KiB.
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().split(' ').next().and_then(|kib| kib.parse().ok()).expect("a number")
}

#[test]
fn what_comes_before_the_ack_is_not_heard_and_gets_nothing_and_then_the_prompt_is_whole() {
    let server = Server::helpline("");
    let mut carrier = server.carrier();
    let mut caller = Rtp::bind(server.place().host(2));
    let mut dialog = Dialog::to(&carrier, "say");
    carrier.send(&dialog.invite(&Sdp::pcma(caller.local)));
    let answer = dialog.await_final(&mut carrier, "INVITE");
    dialog.learn(&answer);
    let to = Sdp::address(answer.body());
    let early = UdpSocket::bind((server.place().host(STRANGER), 0)).expect("a socket");
    for _ in 0..20 {
        caller.say(to, &noise("early", FRAME));
        early.send_to(&forged(&caller, &noise("early", FRAME)), to).expect("sent");
    }
    carrier.options();
    assert_eq!(caller.heard.len(), 0, "audio before the ACK");
    carrier.send(&dialog.ack(None));
    let prompt = alaw("nl", "goodbye");
    caller.stay_until(to, "the prompt", |ear| ear.has_heard(&prompt));
    dialog.await_bye(&mut carrier);
}

#[test]
fn another_port_is_believed_after_a_re_invite_that_names_it_and_not_before() {
    let server = Server::helpline("");
    let mut carrier = server.carrier();
    let [mut first, mut second] = [2, 2].map(|last| Rtp::bind(server.place().host(last)));
    second.ssrc = 0x77;
    let (mut dialog, to) = Dialog::call(&mut carrier, "menu", &Sdp::pcma(first.local));
    first.say(to, &[SILENCE; 10 * FRAME]);
    // The peer's own host, in sequence and with a key, again and again: it is not who was named.
    for _ in 0..10 {
        second.press(to, '1');
        second.say(to, &[SILENCE; FRAME]);
        first.say(to, &[SILENCE; FRAME]);
    }
    assert!(second.heard.is_empty(), "another port was sent audio");
    let sdp = Sdp { version: 2, ..Sdp::pcma(second.local) };
    carrier.send(&dialog.invite(&sdp));
    let answer = dialog.await_final(&mut carrier, "INVITE");
    assert_eq!((answer.status(), Sdp::address(answer.body())), (Some(200), to));
    carrier.send(&dialog.ack(None));
    second.stay_until(to, "audio where it was asked for", |ear| ear.heard.len() > 10);
    let until_now = first.heard.len();
    // What the old port sends from now on is a stranger's.
    for _ in 0..10 {
        first.press(to, '1');
        second.say(to, &[SILENCE; FRAME]);
    }
    second.press(to, '2');
    let right = alaw("nl", "goodbye");
    second.stay_until(to, "what key 2 leads to", |ear| ear.has_heard(&right));
    dialog.await_bye(&mut carrier);
    while first.hear(Instant::now() + Duration::from_millis(1)) {}
    // What was on its way when the address changed may have come.
    assert!(first.heard.len() <= until_now + 50, "the old port was sent audio");
    assert!(!second.has_heard(&alaw("nl", "queue-enter")), "a key of a port that was not named was heard");
    wait_until(|| server.metric(FOREIGN) >= 100.0, || "not counted as foreign".to_owned());
}
