//! A tiny name server on a loopback address: it knows a few records and answers over UDP (RFC 1035).

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const A: u16 = 1;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const NAPTR: u16 = 35;

/// One record a line: `host A address`, `host AAAA address`, `name SRV priority weight port target`,
/// `name NAPTR order preference service replacement`, `name SERVFAIL`.
pub struct NameServer {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    silent: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
}

impl NameServer {
    pub fn start(at: SocketAddr, records: &str) -> Self {
        let socket = UdpSocket::bind(at).unwrap_or_else(|e| panic!("{at}: {e}"));
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a socket");
        let address = socket.local_addr().expect("bound");
        let records: Vec<Vec<String>> = records
            .lines()
            .map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .filter(|words| !words.is_empty())
            .collect();
        let server = Self {
            address,
            asked: Arc::default(),
            silent: Arc::new(AtomicBool::new(false)),
            over: Arc::new(AtomicBool::new(false)),
        };
        let (asked, silent, over) = (server.asked.clone(), server.silent.clone(), server.over.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !over.load(Ordering::SeqCst) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                let Some((name, kind, end)) = question(&buffer[..length]) else { continue };
                asked.lock().expect("not poisoned").push(format!("{} {name}", word(kind)));
                if !silent.load(Ordering::SeqCst) {
                    let _ = socket.send_to(&answer(&buffer[..end], &name, kind, &records), from);
                }
            }
        });
        server
    }

    /// From now on it answers nothing, or again.
    pub fn silence(&self, silent: bool) {
        self.silent.store(silent, Ordering::SeqCst);
    }

    /// Kinds and names that were asked for, in turn.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("not poisoned").clone()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
    }
}

/// Name and kind of the first question, and where it ends.
fn question(packet: &[u8]) -> Option<(String, u16, usize)> {
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let length = *packet.get(at)? as usize;
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(packet.get(at..at + length)?).to_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]);
    Some((labels.join("."), kind, at + 4))
}

fn answer(asked: &[u8], name: &str, kind: u16, records: &[Vec<String>]) -> Vec<u8> {
    let of_name: Vec<_> = records.iter().filter(|record| record[0] == name).collect();
    let fitting: Vec<_> = of_name.iter().filter(|record| record[1] == word(kind)).collect();
    let code = if of_name.iter().any(|record| record[1] == "SERVFAIL") {
        2
    } else if of_name.is_empty() {
        3
    } else {
        0
    };
    let mut packet = asked.to_vec();
    // A response, authoritative, to one question; recursion as it was wanted, and available.
    packet[2] = 0x84 | (asked[2] & 1);
    packet[3] = 0x80 | code;
    packet[4..12].copy_from_slice(&[0, 1, 0, fitting.len() as u8, 0, 0, 0, 0]);
    for record in fitting {
        let data = data(record);
        packet.extend([0xC0, 12]);
        packet.extend(kind.to_be_bytes());
        packet.extend([0, 1, 0, 0, 0, 60]);
        packet.extend((data.len() as u16).to_be_bytes());
        packet.extend(data);
    }
    packet
}

fn data(record: &[String]) -> Vec<u8> {
    let number = |at: usize| record[at].parse::<u16>().expect("a number").to_be_bytes().to_vec();
    let text = |text: &str| [vec![text.len() as u8], text.as_bytes().to_vec()].concat();
    match record[1].as_str() {
        "A" | "AAAA" => match record[2].parse().expect("an address") {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        },
        "SRV" => [number(2), number(3), number(4), labels(&record[5])].concat(),
        "NAPTR" => [number(2), number(3), text("s"), text(&record[4]), text(""), labels(&record[5])].concat(),
        _ => Vec::new(),
    }
}

fn labels(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        out.push(label.len() as u8);
        out.extend(label.as_bytes());
    }
    out.push(0);
    out
}

fn word(kind: u16) -> &'static str {
    match kind {
        A => "A",
        AAAA => "AAAA",
        SRV => "SRV",
        NAPTR => "NAPTR",
        _ => "?",
    }
}
