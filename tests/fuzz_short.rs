//! The fuzz targets on real messages, bent and broken at random. A failure prints the seed and the input;
//! `FUZZ_SEED=n cargo test --test fuzz_short` runs that seed again. Long runs with coverage: `make fuzz`.

#[path = "support/bend.rs"]
mod bend;

use std::panic::{AssertUnwindSafe, catch_unwind};

use hulplijn::base::id::Rng;
use hulplijn::sim::{fuzz, fuzz_media, fuzz_web};

use bend::{bend, conversations, messages, seed};

/// Inputs for each target.
const ROUNDS: u64 = 2_000;

fn descriptions() -> Vec<Vec<u8>> {
    let body = |message: &Vec<u8>| {
        let at = message.windows(5).position(|w| w == b"\r\nv=0")?;
        Some(message[at + 2..].to_vec())
    };
    messages().iter().chain(&conversations()).filter_map(body).collect()
}

fn headers() -> Vec<Vec<u8>> {
    let values = |message: &Vec<u8>| -> Vec<Vec<u8>> {
        let lines = message.split(|b| *b == b'\n');
        lines.filter_map(|l| l.iter().position(|b| *b == b':').map(|at| l[at + 1..].to_vec())).collect()
    };
    messages().iter().flat_map(values).collect()
}

fn credentials() -> Vec<Vec<u8>> {
    vec![
        b"Digest username=\"anna\", realm=\"hulplijn\", nonce=\"00\", uri=\"sip:h\", qop=auth, nc=00000001, \
           cnonce=\"x\", response=\"00\", algorithm=SHA-256"
            .to_vec(),
    ]
}

/// RTP, keys, RTCP, each behind its length and whence.
fn packets() -> Vec<Vec<u8>> {
    let rtp = |payload_type: u8, sequence: u8, payload: &[u8]| {
        let mut packet = vec![0x80, payload_type, 0, sequence, 0, 0, sequence, 0, 0, 0, 0, 9];
        packet.extend(payload);
        packet
    };
    let report =
        [0x81, 201, 0, 7, 0, 0, 0, 9, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut stream = Vec::new();
    for sequence in 0..20u8 {
        for packet in
            [rtp(8, sequence, &[0xd5; 160]), rtp(101, sequence, &[5, 0x8a, 3, 0x20]), report.to_vec()]
        {
            stream.push(packet.len() as u8);
            stream.push(if packet[1] == 201 { 2 } else { 80 });
            stream.extend(packet);
        }
    }
    vec![stream]
}

/// The same for the targets that take `[whence][length][bytes]…`: a peer's packets, each fourth a stranger's.
fn between(wanted: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
    let mut stream = Vec::new();
    let all = packets().concat();
    let mut rest = &all[..];
    let mut count = 0;
    while let [length, _, tail @ ..] = rest {
        let (packet, tail) = tail.split_at(usize::from(*length));
        rest = tail;
        if wanted(packet) {
            count += 1;
            stream.extend([if count % 4 == 0 { 5 } else { 4 }, *length]);
            stream.extend(packet);
        }
    }
    assert!(count >= 20);
    vec![stream]
}

fn run(target: fn(&[u8]), seeds: &[Vec<u8>], rounds: u64) {
    seeds.iter().for_each(|bytes| target(bytes));
    let seed = seed();
    let mut rng = Rng::from_number(seed);
    for round in 0..rounds {
        let bytes = bend(&mut rng, seeds);
        let held = catch_unwind(AssertUnwindSafe(|| target(&bytes)));
        assert!(held.is_ok(), "FUZZ_SEED={seed}, round {round}: {}", bytes.escape_ascii());
    }
}

#[test]
fn a_message_with_as_many_fields_as_may_be_is_printed_and_read_again() {
    let fields = "X: 1\r\n".repeat(200);
    fuzz::datagram(format!("SIP/2.0 100 Trying\r\n{fields}\r\n").as_bytes());
}

#[test]
fn datagrams() {
    run(fuzz::datagram, &messages(), ROUNDS);
}

#[test]
fn streams_cut_anywhere() {
    let mut seeds: Vec<Vec<u8>> = messages().into_iter().chain(conversations()).collect();
    seeds.iter_mut().for_each(|bytes| drop(bytes.splice(0..0, [3, 17])));
    run(fuzz::stream, &seeds, ROUNDS / 4);
}

#[test]
fn header_values() {
    run(fuzz::header, &headers(), ROUNDS * 4);
}

#[test]
fn addresses_with_names() {
    run(fuzz::name_addr, &headers(), ROUNDS * 4);
}

#[test]
fn uris() {
    let words = |value: &Vec<u8>| -> Vec<Vec<u8>> {
        value.split(|b| b"<> \r".contains(b)).filter(|w| w.contains(&b':')).map(<[u8]>::to_vec).collect()
    };
    let seeds: Vec<Vec<u8>> = headers().iter().flat_map(words).collect();
    assert!(seeds.len() > 100);
    run(fuzz::uri, &seeds, ROUNDS * 4);
}

#[test]
fn session_descriptions() {
    run(fuzz::sdp, &descriptions(), ROUNDS * 2);
}

#[test]
fn credentials_of_strangers() {
    run(fuzz::digest, &credentials(), ROUNDS);
}

#[test]
fn audio_ports() {
    run(fuzz::media, &packets(), ROUNDS);
}

#[test]
fn rtp_of_peers_and_strangers() {
    run(fuzz_media::rtp, &between(|packet| packet[1] != 201), ROUNDS / 2);
}

#[test]
fn rtcp_of_peers_and_strangers() {
    run(fuzz_media::rtcp, &between(|packet| packet[1] == 201), ROUNDS);
}

#[test]
fn payloads_to_decode() {
    // Every codec, comfort noise, and a frame to play after each packet; the numbers jump back and forth.
    let packets = (0..60u8).flat_map(|n| {
        let payload: Vec<u8> = (0..40 + n).map(|k| k.wrapping_mul(n) ^ 0x55).collect();
        let what = (n / 8) & 3 | u8::from(n % 8 == 7) << 2 | 0x10;
        [vec![what, n.wrapping_mul(3), payload.len() as u8], payload].concat()
    });
    run(fuzz_media::decode, &[packets.collect()], ROUNDS / 40);
}

#[test]
fn whole_conversations() {
    let seeds: Vec<Vec<u8>> = conversations().into_iter().chain(messages()).collect();
    run(fuzz::endpoint, &seeds, ROUNDS / 2);
}

/// Checks of browsers and of strangers, and the beginning of a handshake.
fn checks() -> Vec<Vec<u8>> {
    let mut request = vec![0, 1, 0, 40, 0x21, 0x12, 0xa4, 0x42];
    request.extend(b"twelve bytes");
    request.extend([0, 6, 0, 7]);
    request.extend(b"us:peer\0");
    request
        .extend([0, 0x24, 0, 4, 0x6e, 0, 1, 0xff, 0, 0x25, 0, 0, 0x80, 0x2a, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
    let attributes = vec![0x24, 4, 0x6e, 0, 1, 0xff, 0x25, 0, 0xaa, 8, 1, 2, 3, 4, 5, 6, 7, 8];
    let mut hello =
        vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 53, 1, 0, 0, 41, 0, 0, 0, 0, 0, 0, 0, 0, 41, 254, 253];
    hello.extend([7; 38]);
    let datagrams = [(0u8, &request), (1, &request), (2, &attributes), (0, &hello), (1, &hello)];
    let told = |(whence, bytes): (u8, &Vec<u8>)| [&[whence, bytes.len() as u8][..], bytes].concat();
    vec![datagrams.into_iter().flat_map(told).collect(), request]
}

#[test]
fn checks_of_browsers_and_strangers() {
    run(fuzz_web::stun, &checks(), ROUNDS);
}

/// A browser's frame: masked (RFC 6455 5.2).
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [7, 1, 200, 99];
    let mut bytes = vec![0x80 | opcode];
    match payload.len() {
        short @ ..=125 => bytes.push(0x80 | short as u8),
        long => bytes.extend([0xfe, (long >> 8) as u8, long as u8]),
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

#[test]
fn websockets_cut_anywhere() {
    let request = b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nOrigin: https://phone.example\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Protocol: sip\r\n\r\n";
    let message = |message: &Vec<u8>| {
        let frames = [frame(9, b"x"), frame(1, b"\r\n\r\n"), frame(1, message), frame(2, message)].concat();
        [vec![3, 17], frames, frame(8, &[3, 232])].concat()
    };
    let mut seeds: Vec<Vec<u8>> = messages().iter().map(message).collect();
    let behind: Vec<Vec<u8>> =
        seeds.iter().take(9).map(|seed| [&[0, 9], &request[..], &seed[2..]].concat()).collect();
    seeds.extend(behind);
    run(fuzz::websocket, &seeds, ROUNDS / 4);
}

/// Presses by telephone-event, and a tone.
fn keys() -> Vec<Vec<u8>> {
    let mut events = Vec::new();
    for key in 0..16u8 {
        for (index, end) in [0, 0, 0, 0, 0x80, 0x80, 0x80].into_iter().enumerate() {
            let time = if index == 0 { 50 } else { 0 };
            events.extend([time, key, end | 0x0a, index.min(4) as u8, 0x20]);
        }
    }
    let mut tone = [0i16; 1600];
    if let Some(mut writer) = hulplijn::media::inband::ToneWriter::new('5') {
        writer.fill(&mut tone, 1600);
    }
    vec![events, hulplijn::media::g711::Law::A.encode_all(&tone)]
}

#[test]
fn dtmf() {
    run(fuzz_media::dtmf, &keys(), ROUNDS / 2);
}
