//! A recording, whatever the codec. What has to be decoded with a memory (G.722, Opus) goes through a jitter buffer, and
//! for every 20 ms of packet time one frame of 8 kHz comes out.

use super::codec::{FRAME, Rate};
use super::command::{Codec, Sound};
use super::leg::Heard;
use super::playout::Playout;
use super::record::Recorder;
use crate::base::id::TakeKey;
use crate::base::quiet::quiet_debug;
use crate::base::time::Now;

/// Frames that one packet may bring on: a second.
const MOST: u32 = 50;

/// A recording that runs.
pub struct Recording {
    pub take: TakeKey,
    pub recorder: Recorder,
    pub finish_key: Option<char>,
    decoder: Option<Box<RecordDecoder>>,
}

impl Recording {
    pub fn new(take: TakeKey, recorder: Recorder, finish_key: Option<char>) -> Self {
        Self { take, recorder, finish_key, decoder: None }
    }

    /// Takes an audio packet of any codec. G.711 goes to its place in the recording straight away.
    pub fn take_in(&mut self, now: Now, codec: Codec, heard: &Heard<'_>) {
        let recorder = &mut self.recorder;
        if let Some(law) = codec.law() {
            return recorder.on_packet(now.at, heard.source, heard.timestamp, law, heard.payload);
        }
        let decoder = self.decoder.get_or_insert_default();
        decoder.on_packet(heard, |timestamp, samples| {
            recorder.on_samples(now.at, heard.source, timestamp, samples.iter().copied());
        });
    }
}

pub struct RecordDecoder {
    playout: Playout,
    /// The source and its furthest timestamp so far.
    furthest: Option<(u32, u32)>,
    /// Timestamp units that came and are no frame yet.
    units: u32,
    /// Timestamp of what comes out.
    timestamp: u32,
}

impl RecordDecoder {
    pub fn new() -> Self {
        Self { playout: Playout::new(Rate::Narrow), furthest: None, units: 0, timestamp: 0 }
    }

    /// Takes a packet, and gives each frame that is due with its timestamp at 8 kHz.
    pub fn on_packet(&mut self, heard: &Heard<'_>, mut frame: impl FnMut(u32, &[i16])) {
        let Sound::Audio(codec) = heard.sound else { return };
        self.playout.push(heard);
        self.units += self.passed(codec, heard).min(MOST * codec.step());
        while self.units >= codec.step() {
            self.units -= codec.step();
            frame(self.timestamp, self.playout.pull());
            self.timestamp = self.timestamp.wrapping_add(FRAME as u32);
        }
    }

    /// Units since the packet before.
    fn passed(&mut self, codec: Codec, heard: &Heard<'_>) -> u32 {
        let length = codec.units(heard.payload);
        let jump = (MOST * codec.step()) as i32;
        match self.furthest {
            Some((source, before)) if source == heard.source => {
                let distance = heard.timestamp.wrapping_sub(before) as i32;
                if (-jump..=0).contains(&distance) {
                    return 0;
                }
                self.furthest = Some((source, heard.timestamp));
                if distance > 0 && distance <= jump { distance as u32 } else { length }
            }
            _ => {
                self.furthest = Some((heard.source, heard.timestamp));
                length
            }
        }
    }
}

impl Default for RecordDecoder {
    fn default() -> Self {
        Self::new()
    }
}

quiet_debug!(RecordDecoder => "RecordDecoder");
