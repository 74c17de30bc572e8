//! What encryption costs a relayed packet: one leg's engine hears it and the other sends it on, without sockets, in
//! the clear, with SRTP on one leg and on both; beside it the ciphers alone, on the same packets in the same run and
//! in turns. All by time on the processor.
//!
//! `PACKETS` of a round (200000) and `ROUNDS` (5) can be set in the environment.

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use hulplijn::base::id::{LegKey, Rng};
use hulplijn::base::secret::Secret;
use hulplijn::base::time::Now;
use hulplijn::media::command::{Codec, Direction, Origin, Payloads, Stream};
use hulplijn::media::keying::{Keying, Suite};
use hulplijn::media::leg::{MAX_PACKET, MediaLeg};
use hulplijn::media::srtp::{Inbound, Outbound, RTP_TRAILER};
use rustix::time::{ClockId, clock_gettime};
use support::number;

/// 20 ms of G.711 with its header.
const PACKET: usize = 172;

fn main() {
    if !support::is_asked_for() {
        return;
    }
    let (packets, rounds) = (number("PACKETS", 200_000), number("ROUNDS", 5));
    println!("nanoseconds of CPU a relayed packet, median of {rounds} rounds of {packets}");
    println!(
        "{:<26}{:>10}{:>12}{:>12}{:>16}{:>8}",
        "", "clear", "one leg", "both legs", "ciphers alone", "ratio"
    );
    for suite in [Suite::AesCm128Sha1_80, Suite::AesCm128Sha1_32, Suite::AeadAes128Gcm, Suite::AeadAes256Gcm]
    {
        let mut results: [Vec<f64>; 4] = Default::default();
        for _ in 0..rounds {
            results[0].push(bridge(packets, None, None));
            results[1].push(bridge(packets, Some(suite), None));
            results[2].push(bridge(packets, Some(suite), Some(suite)));
            results[3].push(ciphers(packets, suite));
        }
        let [clear, one, both, alone] = results.map(|mut nanos| {
            nanos.sort_by(f64::total_cmp);
            support::quantile(&nanos, 0.5)
        });
        // Beyond the relay in the clear, against opening and protecting alone.
        let ratio = (both - clear) / alone;
        println!("{:<26}{clear:>10.0}{one:>12.0}{both:>12.0}{alone:>16.0}{ratio:>8.2}", format!("{suite:?}"));
    }
}

/// A call: what comes to `a` goes out of `b`.
fn bridge(packets: usize, a: Option<Suite>, b: Option<Suite>) -> f64 {
    let now = Now::read();
    let (caller, line) = (address(4000), address(6000));
    let (mut a_leg, mut b_leg) = (leg(now, 1, caller, a), leg(now, 2, line, b));
    let mut out = [0; MAX_PACKET];
    let (mut nanos, mut sent) = (0.0, 0);
    for mut batch in batches(packets, a) {
        let begin = cpu();
        for (index, packet) in batch.iter_mut().enumerate() {
            // No more than a phone sends.
            let now = now.plus(Duration::from_millis(20) * (sent + index as u32));
            if let Some(heard) = a_leg.handle_rtp(now, caller, packet) {
                assert!(b_leg.relay(now, &heard, &mut out).is_some(), "it goes out");
            }
        }
        nanos += cpu() - begin;
        sent += batch.len() as u32;
    }
    assert_eq!(a_leg.stats().received, u64::from(sent), "each packet is heard");
    assert_eq!(b_leg.stats().sent, u64::from(sent), "each packet is sent");
    nanos / f64::from(sent)
}

/// Opening what comes and protecting what goes, and nothing else.
fn ciphers(packets: usize, suite: Suite) -> f64 {
    let mut inbound = Inbound::new(suite, &key(suite, 2)).expect("a key");
    let mut outbound = Outbound::new(suite, &key(suite, 1)).expect("a key");
    let (mut nanos, mut sent) = (0.0, 0);
    for mut batch in batches(packets, Some(suite)) {
        let begin = cpu();
        for packet in &mut batch {
            let length = inbound.open_rtp(packet).expect("genuine");
            outbound.protect_rtp(packet, length).expect("it goes out");
        }
        nanos += cpu() - begin;
        sent += batch.len();
    }
    nanos / sent as f64
}

/// Packets of a phone in portions, made before the clock runs.
fn batches(packets: usize, suite: Option<Suite>) -> impl Iterator<Item = Vec<Vec<u8>>> {
    const PORTION: usize = 1000;
    let mut phone = suite.map(|suite| Outbound::new(suite, &key(suite, 2)).expect("a key"));
    (0..packets / PORTION).map(move |portion| {
        let packet = |index: usize| {
            let number = (portion * PORTION + index) as u32;
            let mut bytes = vec![0x80, 8, (number >> 8) as u8, number as u8];
            bytes.extend(number.wrapping_mul(160).to_be_bytes());
            bytes.extend([1, 2, 3, 4]);
            bytes.resize(PACKET + RTP_TRAILER, 0xd5);
            let length = match &mut phone {
                Some(phone) => phone.protect_rtp(&mut bytes, PACKET).expect("in order"),
                None => PACKET,
            };
            bytes.truncate(length);
            bytes
        };
        (0..PORTION).map(packet).collect()
    })
}

fn leg(now: Now, index: u64, remote: SocketAddr, suite: Option<Suite>) -> MediaLeg {
    let origin = Origin { ssrc: index as u32, sequence: 1, timestamp: 1, cname: index };
    let mut leg = MediaLeg::new(now, LegKey(index), origin);
    leg.connect(Stream {
        remote,
        remote_rtcp: SocketAddr::new(remote.ip(), remote.port() + 1),
        signalling: remote.ip(),
        codec: Codec::Pcma,
        payloads: Payloads::g711(),
        rtcp_mux: false,
        direction: Direction::SendRecv,
        web: None,
        keying: suite
            .map(|suite| Keying::new(suite, key(suite, 1), key(suite, 2)).expect("of the suite's length")),
    });
    leg.bridge();
    leg
}

fn key(suite: Suite, seed: u64) -> Secret {
    Secret::random(&mut Rng::from_number(seed), suite.key_length() + suite.salt_length())
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

/// Nanoseconds that this thread has had of the processor.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}
