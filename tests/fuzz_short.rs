//! The fuzz targets on real messages, bent and broken at random. A failure prints the seed and the input;
//! `FUZZ_SEED=n cargo test --test fuzz_short` runs that seed again. Long runs with coverage: `make fuzz`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use hulplijn::base::id::Rng;
use hulplijn::sim::fuzz;

/// Inputs for each target.
const ROUNDS: u64 = 2_000;

/// Pieces that have broken parsers before.
const PIECES: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n ",
    b"\r\n\r\n",
    b"\0",
    b"\xe9",
    b"\xff\xfe",
    b"\"",
    b"<",
    b">",
    b",",
    b";",
    b"=",
    b"%00",
    b"%31",
    b"%",
    b"@",
    b":",
    b"[::1]",
    b"[",
    b"sip:",
    b"tel:",
    b"4294967296",
    b"18446744073709551616",
    b"-1",
    b"+5",
    b"5;x",
    b"Content-Length: 5\r\n",
    b"l: 0\r\n",
    b"Via: SIP/2.0/UDP h\r\n",
    b";tag=x",
    b";branch=z9hG4bK",
    b"SIP/2.0",
    b"INVITE",
    b"ACK",
    b"CANCEL",
    b"*",
    b"?",
    b"a=rtpmap:8 PCMA/8000\r\n",
    b"m=audio 0 RTP/AVP 8\r\n",
    b"c=IN IP6 ::\r\n",
];

fn seed() -> u64 {
    let given = std::env::var("FUZZ_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or(1712)
}

/// Every RFC 4475 and 5118 message.
fn messages() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture");
    let mut found = Vec::new();
    for folder in ["rfc4475", "rfc5118"] {
        let mut paths: Vec<_> =
            std::fs::read_dir(root.join(folder)).unwrap().map(|e| e.unwrap().path()).collect();
        paths.sort();
        found.extend(paths.iter().map(|path| std::fs::read(path).unwrap()));
    }
    assert!(found.len() > 60);
    found
}

/// A call's messages in a row, as a stream brings them.
fn conversations() -> Vec<Vec<u8>> {
    let sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.2\r\ns=-\r\nc=IN IP4 127.0.0.2\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8 101\r\n\
               a=rtpmap:101 telephone-event/8000\r\n";
    let message = |method: &str, cseq: u32, body: &str| {
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} sip:1712@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.2;branch=z9hG4bK{method}{cseq}\r\n\
             From: \"A\" <sip:a@127.0.0.2>;tag=1\r\nTo: <sip:1712@127.0.0.1>\r\nCall-ID: one\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:a@127.0.0.2>\r\nMax-Forwards: 70\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let rows: [&[(&str, u32, &str)]; 3] = [
        &[("INVITE", 1, sdp), ("ACK", 1, ""), ("INVITE", 2, sdp), ("BYE", 3, "")],
        &[("INVITE", 1, sdp), ("CANCEL", 1, ""), ("ACK", 1, ""), ("INVITE", 1, sdp)],
        &[
            ("REGISTER", 1, ""),
            ("OPTIONS", 2, ""),
            ("REFER", 3, ""),
            ("SUBSCRIBE", 4, ""),
            ("UPDATE", 5, sdp),
        ],
    ];
    rows.iter()
        .map(|row| row.iter().map(|(m, n, b)| message(m, *n, b)).collect::<String>().into_bytes())
        .collect()
}

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

/// Bends an input one to four times.
fn bend(rng: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let pick = |rng: &mut Rng| seeds[rng.below(seeds.len() as u64) as usize].clone();
    let mut bytes = pick(rng);
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len() as u64 + 1) as usize;
        let until = (at + rng.below(40) as usize).min(bytes.len());
        match rng.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            1 => drop(bytes.drain(at..until)),
            2 => drop(bytes.splice(at..at, PIECES[rng.below(PIECES.len() as u64) as usize].iter().copied())),
            3 => {
                let copy = bytes[at..until].to_vec();
                drop(bytes.splice(at..at, copy));
            }
            4 => {
                let other = pick(rng);
                let from = rng.below(other.len() as u64 + 1) as usize;
                bytes.truncate(at);
                bytes.extend(&other[from..]);
            }
            5 => drop(bytes.splice(at..at, vec![b'A'; rng.below(3000) as usize])),
            _ => bytes.truncate(at),
        }
    }
    bytes
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
fn whole_conversations() {
    let seeds: Vec<Vec<u8>> = conversations().into_iter().chain(messages()).collect();
    run(fuzz::endpoint, &seeds, ROUNDS / 2);
}
