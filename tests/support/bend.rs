//! Real messages, and how they are bent: for tests of what reads them. No part of `support/mod.rs`, since it draws
//! on the product's own seeded generator.

use std::path::Path;

use hulplijn::base::id::Rng;

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

/// What randomness begins with; `FUZZ_SEED=n` runs one again.
pub fn seed() -> u64 {
    let given = std::env::var("FUZZ_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or(1712)
}

/// Every RFC 4475 and 5118 message.
pub fn messages() -> Vec<Vec<u8>> {
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
pub fn conversations() -> Vec<Vec<u8>> {
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

/// Bends an input one to four times.
pub fn bend(rng: &mut Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
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
