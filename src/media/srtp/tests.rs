use super::*;
use crate::base::id::Rng;

fn master(suite: Suite, number: u64) -> Secret {
    Secret::random(&mut Rng::from_number(number), suite.master_length())
}

fn pair(suite: Suite) -> (Outbound, Inbound) {
    let key = master(suite, 1);
    (Outbound::new(suite, &key).expect("a key"), Inbound::new(suite, &key).expect("a key"))
}

fn rtp(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut bytes = vec![0x80, 8];
    bytes.extend(sequence.to_be_bytes());
    bytes.extend([0, 0, 1, 2]);
    bytes.extend(ssrc.to_be_bytes());
    bytes.extend([0xd5; 160]);
    bytes
}

fn rtcp(ssrc: u32) -> Vec<u8> {
    let mut bytes = vec![0x81, 201, 0, 1];
    bytes.extend(ssrc.to_be_bytes());
    bytes.extend([0x81, 203, 0, 1]);
    bytes.extend(ssrc.to_be_bytes());
    bytes
}

impl Outbound {
    fn sealed(&mut self, ssrc: u32, sequence: u16) -> Vec<u8> {
        let plain = rtp(ssrc, sequence);
        let mut buffer = [plain.clone(), vec![0; RTP_TRAILER]].concat();
        let length = self.protect_rtp(&mut buffer, plain.len()).expect("may be sent");
        buffer.truncate(length);
        assert!(buffer[..12] == plain[..12] && buffer[12..172] != plain[12..]);
        buffer
    }

    fn sealed_report(&mut self, ssrc: u32) -> Vec<u8> {
        let plain = rtcp(ssrc);
        let mut buffer = [plain.clone(), vec![0; RTCP_TRAILER]].concat();
        let length = self.protect_rtcp(&mut buffer, plain.len()).expect("may be sent");
        buffer.truncate(length);
        assert!(buffer[..8] == plain[..8] && buffer[8..16] != plain[8..]);
        buffer
    }

    /// The state after so many packets of a source.
    fn wound_on(mut self, ssrc: u32, index: u64) -> Self {
        self.sources = vec![Sent { ssrc, last: index }];
        self
    }
}

impl Inbound {
    fn opens(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Refused> {
        opened(bytes, |b| self.open_rtp(b))
    }

    fn opens_report(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Refused> {
        opened(bytes, |b| self.open_rtcp(b))
    }
}

fn opened(bytes: &[u8], open: impl FnOnce(&mut [u8]) -> Result<usize, Refused>) -> Result<Vec<u8>, Refused> {
    let mut bytes = bytes.to_vec();
    open(&mut bytes).map(|length| bytes[..length].to_vec())
}

#[test]
fn what_is_protected_is_opened_once_in_every_suite_for_rtp_and_rtcp() {
    for (suite, rtp_more, rtcp_more) in [
        (Suite::AesCm128Sha1_80, 10, 14),
        (Suite::AesCm128Sha1_32, 4, 14),
        (Suite::AeadAes128Gcm, 16, 20),
        (Suite::AeadAes256Gcm, 16, 20),
    ] {
        let (mut out, mut inn) = pair(suite);
        for sequence in 100..140 {
            let sealed = out.sealed(7, sequence);
            assert_eq!(sealed.len(), 172 + rtp_more);
            assert!(inn.opens(&sealed) == Ok(rtp(7, sequence)));
            assert!(inn.opens(&sealed) == Err(Refused::Replayed));
            let report = out.sealed_report(7);
            assert_eq!(report.len(), 16 + rtcp_more);
            assert!(inn.opens_report(&report) == Ok(rtcp(7)));
            assert!(inn.opens_report(&report) == Err(Refused::Replayed));
        }
    }
}

#[test]
fn rfc3711_csrc_and_extension_stay_in_the_clear_and_are_authenticated() {
    for suite in Suite::ALL {
        let (mut out, mut inn) = pair(suite);
        let mut plain = vec![0xb1, 0x88, 0, 1, 0, 0, 0, 9, 0, 0, 0, 5, 0, 0, 0, 99];
        plain.extend([0xbe, 0xde, 0, 1, 1, 2, 3, 4, 42, 43, 0, 0, 3]);
        let mut buffer = [plain.clone(), vec![0; RTP_TRAILER]].concat();
        let length = out.protect_rtp(&mut buffer, plain.len()).expect("may be sent");
        buffer.truncate(length);
        assert!(buffer[..24] == plain[..24] && buffer[24..29] != plain[24..]);
        let mut bent = buffer.clone();
        bent[15] ^= 1;
        assert!(inn.opens(&bent) == Err(Refused::Forged) && inn.opens(&buffer) == Ok(plain));
    }
}

#[test]
fn another_key_another_suite_and_junk_change_nothing() {
    for suite in Suite::ALL {
        let (mut out, mut inn) = pair(suite);
        let mut stranger = Outbound::new(suite, &master(suite, 2)).expect("a key");
        for sequence in [5, 65_535, 32_768] {
            assert!(inn.opens(&stranger.sealed(sequence.into(), sequence)) == Err(Refused::Forged));
            assert!(inn.opens_report(&stranger.sealed_report(7)) == Err(Refused::Forged));
        }
        assert!(inn.opens(&rtp(7, 1)) == Err(Refused::Forged), "in the clear");
        assert!(inn.opens_report(&rtcp(7)) == Err(Refused::Clear) || suite != Suite::AeadAes128Gcm);
        assert!(inn.sources.is_empty());
        for junk in [&[][..], &[0x80; 11], &[0x80; 12], &[0x9f; 30], &[0; 60]] {
            assert!(inn.opens(junk).is_err() && inn.opens_report(junk).is_err());
        }
        assert!(inn.sources.is_empty() && inn.opens(&out.sealed(7, 5)).is_ok());
    }
}

#[test]
fn rfc3711_3_4_rtcp_in_the_clear_is_refused_even_with_a_tag() {
    for suite in Suite::ALL {
        let (mut out, mut inn) = pair(suite);
        let mut report = out.sealed_report(7);
        // The word stands before the tag of HMAC-SHA1 and after that of GCM.
        let word = if suite.salt_length() == 14 { report.len() - 14 } else { report.len() - 4 };
        report[word] &= 0x7f;
        assert!(inn.opens_report(&report) == Err(Refused::Clear));
    }
}

#[test]
fn late_and_reordered_packets_are_taken_within_the_window() {
    let (mut out, mut inn) = pair(Suite::AesCm128Sha1_80);
    let sealed: Vec<Vec<u8>> = (0..400).map(|n| out.sealed(7, 65_300u16.wrapping_add(n))).collect();
    assert!(inn.opens(&sealed[0]).is_ok() && inn.opens(&sealed[399]).is_ok(), "loss across the wrap");
    assert!(inn.opens(&sealed[398]).is_ok() && inn.opens(&sealed[399 - 127]).is_ok());
    assert!(inn.opens(&sealed[399 - 127]) == Err(Refused::Replayed));
    assert!(inn.opens(&sealed[399 - 128]) == Err(Refused::Replayed), "too old to know");
}

#[test]
fn the_window_reaches_back_across_the_wrap() {
    for suite in Suite::ALL {
        let (mut out, mut inn) = pair(suite);
        let sealed: Vec<Vec<u8>> = (0..40).map(|n| out.sealed(7, 65_516u16.wrapping_add(n))).collect();
        for n in [0, 19, 21, 25, 18, 20, 1, 39] {
            assert!(inn.opens(&sealed[n]).is_ok(), "{n}");
        }
        assert!(inn.opens(&sealed[18]) == Err(Refused::Replayed));
    }
}

#[test]
fn rfc3711_3_3_1_the_first_packet_heard_may_come_after_the_wrap() {
    for suite in Suite::ALL {
        let (mut out, mut inn) = pair(suite);
        let lost: Vec<Vec<u8>> = (65_530..=65_535).map(|n| out.sealed(7, n)).collect();
        let heard: Vec<Vec<u8>> = (0..5).map(|n| out.sealed(7, n)).collect();
        assert!(inn.opens(&heard[0]).is_ok(), "its rollover counter is 1");
        assert!(inn.opens(&lost[5]).is_ok(), "late, from before the wrap");
        assert!(heard[1..].iter().all(|p| inn.opens(p).is_ok()));
        assert!(inn.opens(&lost[5]) == Err(Refused::Replayed));
    }
}

#[test]
fn a_day_of_packets_across_many_wraps_with_loss() {
    let key = master(Suite::AeadAes128Gcm, 1);
    let mut inn = Inbound::new(Suite::AeadAes128Gcm, &key).expect("a key");
    let mut index = 40_000u64;
    while index < 40 << 16 {
        let mut out = Outbound::new(Suite::AeadAes128Gcm, &key).expect("a key").wound_on(7, index);
        let sealed = out.sealed(7, (index + 1) as u16);
        assert!(inn.opens(&sealed).is_ok(), "{index}");
        index += 32_000;
    }
    assert_eq!(inn.sources[0].rtp.map(|w| w.rollovers()), Some(39));
}

#[test]
fn each_source_has_its_own_counter_and_the_quietest_makes_room() {
    let (mut out, mut inn) = pair(Suite::AesCm128Sha1_32);
    for ssrc in 0..40 {
        out.sources.clear();
        assert!(inn.opens(&out.sealed(ssrc, 65_535)).is_ok() && inn.opens(&out.sealed(ssrc, 0)).is_ok());
        if ssrc > 0 {
            assert!(
                inn.opens(
                    &Outbound::wound_on(pair(Suite::AesCm128Sha1_32).0, 0, 65_536 + u64::from(ssrc))
                        .sealed(0, ssrc as u16 + 1)
                )
                .is_ok()
            );
        }
        assert!(inn.sources.len() <= MAX_SOURCES);
    }
    assert!(inn.sources.iter().any(|s| s.ssrc == 0) && !inn.sources.iter().any(|s| s.ssrc == 1));
}

#[test]
fn rfc4568_7_1_4_after_a_new_key_the_counter_runs_on_or_begins_anew() {
    for suite in Suite::ALL {
        let (old, new) = (master(suite, 1), master(suite, 2));
        for (last, after) in
            [(3 << 16 | 9, 3 << 16 | 9), (3 << 16 | 9, 9), (3 << 16 | 65_535, 3 << 16 | 65_535)]
        {
            let mut inn = Inbound::new(suite, &old).expect("a key");
            for rollover in 0..=3u64 {
                for index in [8, 30_000, 60_000].map(|n| rollover << 16 | n) {
                    if index <= last {
                        let mut out = Outbound::new(suite, &old).expect("a key").wound_on(7, index);
                        assert!(inn.opens(&out.sealed(7, index as u16 + 1)).is_ok());
                    }
                }
            }
            let mut inn = inn.successor(suite, &new).expect("a key");
            let mut out = Outbound::new(suite, &new).expect("a key").wound_on(7, after);
            let next = (after + 1) as u16;
            assert!(inn.opens(&out.sealed(7, next)).is_ok(), "{suite:?} {last:x} {after:x}");
            assert!(inn.opens(&out.sealed(7, next + 1)).is_ok());
        }
    }
}

#[test]
fn rfc3711_9_1_no_index_is_used_twice() {
    let (mut out, _) = pair(Suite::AeadAes256Gcm);
    let mut again = |ssrc: u32, sequence: u16| {
        let mut buffer = [rtp(ssrc, sequence), vec![0; RTP_TRAILER]].concat();
        out.protect_rtp(&mut buffer, 172).is_some()
    };
    assert!(again(7, 5) && !again(7, 5) && !again(7, 4) && again(7, 6));
    assert!(again(8, 5) && again(9, 5) && again(10, 5) && !again(11, 5) && again(7, 7) && !again(8, 5));
    let key = master(Suite::AeadAes256Gcm, 1);
    let mut out = Outbound::new(Suite::AeadAes256Gcm, &key).expect("a key").wound_on(7, LAST_INDEX);
    out.next_report = LAST_REPORT + 1;
    let mut buffer = [rtp(7, 0), vec![0; RTP_TRAILER]].concat();
    assert!(out.protect_rtp(&mut buffer, 172).is_none() && out.protect_rtcp(&mut [0x80; 60], 20).is_none());
    assert!(
        out.protect_rtp(&mut buffer, 3).is_none() && out.protect_rtp(&mut rtp(8, 1), 172).is_none(),
        "no room"
    );
}

proptest::proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80), suite in 0usize..4) {
        let (mut out, mut inn) = pair(Suite::ALL[suite]);
        let _ = inn.opens(&bytes).is_ok() || inn.opens_report(&bytes).is_ok();
        let mut buffer = bytes.clone();
        let _ = out.protect_rtp(&mut buffer, bytes.len()).or(out.protect_rtcp(&mut buffer, bytes.len()));
        proptest::prop_assert!(inn.sources.is_empty());
    }
}
