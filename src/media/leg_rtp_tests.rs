//! What a peer's stream may do and what of it goes on to the other side, by the sections of RFC 3550 and 3551.

use super::tests::{CALLER, PHONE, Read, Story, at, clip, packet, stream};
use super::*;
use crate::media::command::{Codec, Direction};
use crate::media::g711::Law;

/// Each number of what was sent after the one before: sequence, and how much later its timestamp is.
fn steps(sent: &[Read]) -> Vec<(u16, i32)> {
    let step = |pair: &[Read]| {
        let later = pair[1].timestamp.wrapping_sub(pair[0].timestamp) as i32;
        (pair[1].sequence.wrapping_sub(pair[0].sequence), later)
    };
    sent.windows(2).map(step).collect()
}

/// A packet of the caller with this SSRC.
fn of(ssrc: u32, sequence: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = packet(8, sequence, timestamp, payload);
    bytes[8..12].copy_from_slice(&ssrc.to_be_bytes());
    bytes
}

#[test]
fn rfc3550_5_1_numbers_run_on_across_prompt_music_person_key_and_prompt() {
    let mut story = Story::new();
    story.b.leg.play(PlayKey(1), vec![clip(vec![1; 480])], false);
    story.tick(3);
    story.b.leg.play(PlayKey(2), vec![clip(vec![2; 480])], true);
    story.tick(5);
    story.bridge();
    // The music fades out.
    story.tick(1);
    for n in 0..5u16 {
        story.hear_a(CALLER, &packet(8, 700 + n, 90_000 + u32::from(n) * 160, &[3; 160]));
        story.tick(1);
    }
    // A key of 60 ms, in three ticks.
    for (n, duration) in [160u32, 320, 480].into_iter().enumerate() {
        let key = [5, if n == 2 { 0x8a } else { 0x0a }, (duration >> 8) as u8, duration as u8];
        story.hear_a(CALLER, &packet(101, 705 + n as u16, 90_800, &key));
        story.tick(1);
    }
    story.b.leg.unbridge();
    story.b.leg.play(PlayKey(3), vec![clip(vec![4; 480])], false);
    story.tick(3);
    let sent = story.b.take_sent();
    let expected: Vec<(u16, i32)> = (0..19)
        .map(|n| match n {
            // The three packets of the key bear the timestamp of its beginning; then its time is over.
            14 | 15 => (1, 0),
            16 => (1, 480),
            _ => (1, 160),
        })
        .collect();
    assert_eq!(steps(&sent), expected);
    let marked: Vec<usize> = (0..sent.len()).filter(|n| sent[*n].marker).collect();
    assert_eq!(marked, [0, 3, 8, 9, 17], "where something new begins to sound");
}

#[test]
fn rfc3550_8_2_a_new_ssrc_of_the_peer_is_the_same_stream_on_the_other_side() {
    let mut story = Story::new();
    story.bridge();
    let mut heard = 0;
    for ssrc in [5, 6, 0, u32::MAX] {
        for n in 0..5u16 {
            let begin = ssrc.wrapping_mul(77_777);
            story.hear_a(
                CALLER,
                &of(ssrc, (ssrc as u16).wrapping_add(n), begin.wrapping_add(u32::from(n) * 160), &[1; 160]),
            );
            story.tick(1);
            heard += 1;
        }
    }
    let sent = story.b.take_sent();
    assert_eq!(
        (sent.len(), story.a.leg.stats().received, story.a.leg.stats().lost),
        (heard, heard as u64, 0)
    );
    assert!(steps(&sent).iter().all(|step| *step == (1, 160)), "{:?}", steps(&sent));
    let marked: Vec<usize> = (0..sent.len()).filter(|n| sent[*n].marker).collect();
    assert_eq!(marked, [0, 5, 10, 15]);
}

#[test]
fn rfc3550_5_1_sequence_and_timestamp_of_the_peer_wrap_and_nothing_is_lost_or_jumps() {
    let mut story = Story::new();
    story.bridge();
    for n in 0..30u16 {
        let timestamp = (u32::MAX - 1000).wrapping_add(u32::from(n) * 160);
        story.hear_a(CALLER, &packet(8, 65_520u16.wrapping_add(n), timestamp, &[1; 160]));
        story.tick(1);
    }
    let stats = story.a.leg.stats();
    assert_eq!((stats.received, stats.lost, stats.late), (30, 0, 0));
    assert!(steps(&story.b.take_sent()).iter().all(|step| *step == (1, 160)));
}

#[test]
fn a_timestamp_that_jumps_is_a_new_beginning_and_one_that_shows_a_pause_is_a_pause() {
    let mut story = Story::new();
    story.bridge();
    let mut sequence = 0;
    let mut say = |story: &mut Story, timestamp: u32| {
        sequence += 1;
        story.hear_a(CALLER, &packet(8, sequence, timestamp, &[1; 160]));
        story.tick(1);
    };
    for n in 0..3 {
        say(&mut story, 1000 + n * 160);
    }
    // A phone that begins anew after a hold, forwards and back; then one that was silent for 200 ms.
    for begin in [0x7000_0000, 5, 0xf000_0000] {
        (0..2).for_each(|n| say(&mut story, begin + n * 160));
    }
    story.tick(10);
    say(&mut story, 0xf000_0000 + 12 * 160);
    let sent = story.b.take_sent();
    let later: Vec<i32> = steps(&sent).iter().map(|step| step.1).collect();
    assert_eq!(later, [160, 160, 160, 160, 160, 160, 160, 160, 11 * 160]);
    assert!(sent[3].marker && sent[5].marker && sent[7].marker && !sent[9].marker);
}

#[test]
fn rfc3551_4_1_the_marker_of_a_talkspurt_goes_on_and_no_other() {
    let mut story = Story::new();
    story.bridge();
    for n in 0..10u16 {
        let mut bytes = packet(8, n, u32::from(n) * 160, &[1; 160]);
        bytes[1] |= if n == 6 { 0x80 } else { 0 };
        story.hear_a(CALLER, &bytes);
        story.tick(1);
    }
    let marked: Vec<usize> =
        story.b.take_sent().iter().enumerate().filter(|(_, read)| read.marker).map(|(n, _)| n).collect();
    assert_eq!(marked, [0, 6]);
}

#[test]
fn rfc3551_4_2_packets_of_10_30_40_and_60_ms_go_on_as_they_are_also_into_the_other_law() {
    for to in [Codec::Pcma, Codec::Pcmu] {
        for millis in [10u32, 20, 30, 40, 60] {
            let mut story = Story::with(Codec::Pcma, to);
            story.bridge();
            let length = millis * 8;
            for n in 0..20u32 {
                let payload = vec![0x15; length as usize];
                story.hear_a(CALLER, &packet(8, n as u16, n * length, &payload));
                story.now = story.now.plus(Duration::from_millis(millis.into()));
            }
            let sent = story.b.take_sent();
            let sound = to.law().expect("G.711").encode(Law::A.decode(0x15));
            assert_eq!(sent.len(), 20);
            assert!(steps(&sent).iter().all(|step| *step == (1, length as i32)), "{millis} ms");
            assert!(sent.iter().all(|r| r.payload.len() == length as usize && r.payload[0] == sound));
        }
    }
}

#[test]
fn packets_of_any_length_are_recorded_whole() {
    let mut story = Story::new();
    story.a.leg.record(story.now, TakeKey(1), Duration::from_secs(60), None, None);
    let mut timestamp = 0;
    for (n, millis) in [10u32, 30, 40, 60, 20].repeat(10).into_iter().enumerate() {
        story.hear_a(CALLER, &packet(8, n as u16, timestamp, &vec![0x15; millis as usize * 8]));
        timestamp += millis * 8;
        story.now = story.now.plus(Duration::from_millis(millis.into()));
    }
    story.a.leg.stop_record();
    let mut samples = Vec::new();
    while let Some(output) = story.a.leg.poll_take() {
        if let TakeOutput::Samples { samples: more, .. } = output {
            samples.extend(more);
        }
    }
    assert_eq!(samples, vec![Law::A.decode(0x15); timestamp as usize]);
}

#[test]
fn a_re_invite_with_the_same_address_keeps_the_source_until_another_of_its_ports_speaks_alone() {
    let mut story = Story::new();
    let say = |story: &mut Story, from: &str, sequence: u16| {
        story.hear_a(from, &packet(8, sequence, u32::from(sequence) * 160, &[1; 160]));
        story.tick(1);
    };
    let target = |story: &mut Story| {
        let mut out = [0; MAX_PACKET];
        story.a.leg.tick(story.now, &mut out).map(|datagram| datagram.to)
    };
    let (moved, stranger) = ("192.0.2.1:5555", "203.0.113.5:4000");
    (0..5).for_each(|n| say(&mut story, CALLER, n));
    (5..15).for_each(|n| say(&mut story, moved, n));
    assert_eq!(target(&mut story), Some(at(CALLER)));
    for direction in [Direction::SendOnly, Direction::SendRecv] {
        story.a.leg.connect(Stream { direction, ..stream(CALLER, Codec::Pcma) });
    }
    (5..15).for_each(|n| say(&mut story, stranger, n));
    assert_eq!(target(&mut story), Some(at(CALLER)));
    (5..15).for_each(|n| say(&mut story, moved, n));
    assert_eq!(target(&mut story), Some(at(moved)));
    let stats = story.a.leg.stats();
    assert_eq!((stats.received, stats.foreign), (5 + 8, 10 + 10 + 2));
}

#[test]
fn a_flood_is_cut_off_and_what_was_cut_off_is_counted() {
    let mut story = Story::new();
    story.bridge();
    for n in 0..10_000u32 {
        story.hear_a(CALLER, &of(n, n as u16, n * 7919, &[1; 160]));
        if n % 200 == 199 {
            story.tick(1);
        }
    }
    let stats = story.a.leg.stats();
    assert_eq!(stats.received + stats.flood, 10_000);
    assert!((700..=800).contains(&stats.received), "{} in a second", stats.received);
    assert_eq!(story.b.take_sent().len() as u64, stats.received);
    assert_eq!(story.b.leg.stats().foreign + u64::from(PHONE.is_empty()), 0);
}
