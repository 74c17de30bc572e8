//! Music on hold as on the radio: it goes on whether anybody listens or not, and all who wait on a media thread hear
//! the same moment of it. What a listener's codec needs is made once each 20 ms, however many they are; who comes
//! back from an announcement hears the music where it has got to.
//!
//! G.722 and Opus have a memory on both sides: who comes and who leaves is led by an encoder of its own
//! ([`super::hold`]).

use std::sync::Arc;

use super::codec::FRAME;
use super::command::{Codec, Music};
use super::encode::Encoder;
use super::g711::Law;
use super::outgoing::MAX_FRAME;
use crate::base::quiet::quiet_debug;

/// Pieces of music at a time: one a queue, and those of the configurations before.
const MAX_STATIONS: usize = 64;

/// All music of one thread.
#[derive(Default)]
pub struct Radio {
    stations: Vec<Station>,
    /// Frames of 20 ms since the thread began.
    now: u64,
    made: u64,
}

struct Station {
    music: Arc<Music>,
    /// When it was first listened to.
    began: u64,
    channels: [Option<Box<Channel>>; 4],
}

/// A piece of music in one codec: the 20 ms of now.
pub struct Channel {
    /// Of which frame the rest is.
    at: Option<u64>,
    payload: [u8; MAX_FRAME],
    length: usize,
    /// The samples that went in, at the rate of the music.
    linear: Vec<i16>,
    /// `None`: a law, which is copied.
    encoder: Option<Encoder>,
}

impl Radio {
    /// 20 ms later.
    pub fn advance(&mut self) {
        self.now += 1;
    }

    /// How many frames were made in all, for all listeners.
    pub fn made(&self) -> u64 {
        self.made
    }

    /// What is heard now of this music in this codec. `None`: the codec can't be had, which does not happen.
    pub fn hear(&mut self, music: &Arc<Music>, codec: Codec) -> Option<&Channel> {
        let at = self.tune(music);
        let station = self.stations.get_mut(at)?;
        let number = self.now - station.began;
        let place = station.channels.get_mut(place(codec))?;
        if place.is_none() {
            *place = Channel::new(codec, music).map(Box::new);
        }
        let channel = place.as_deref_mut()?;
        if channel.at != Some(number) {
            self.made += 1;
            channel.make(&station.music, codec, number);
        }
        Some(channel)
    }

    fn tune(&mut self, music: &Arc<Music>) -> usize {
        let known = self.stations.iter().position(|station| Arc::ptr_eq(&station.music, music));
        known.unwrap_or_else(|| {
            // What no configuration and no listener has any more.
            self.stations.retain(|station| Arc::strong_count(&station.music) > 1);
            if self.stations.len() >= MAX_STATIONS {
                self.stations.remove(0);
            }
            let station = Station { music: Arc::clone(music), began: self.now, channels: Default::default() };
            self.stations.push(station);
            self.stations.len() - 1
        })
    }
}

fn place(codec: Codec) -> usize {
    match codec {
        Codec::Pcma => 0,
        Codec::Pcmu => 1,
        Codec::G722 => 2,
        Codec::Opus => 3,
    }
}

impl Channel {
    fn new(codec: Codec, music: &Music) -> Option<Self> {
        let encoder = if codec.law().is_some() { None } else { Some(Encoder::new(codec, music.rate())?) };
        let linear = Vec::with_capacity(music.rate().frame() + FRAME);
        Some(Self { at: None, payload: [0; MAX_FRAME], length: 0, linear, encoder })
    }

    fn make(&mut self, music: &Music, codec: Codec, number: u64) {
        self.at = Some(number);
        let Some(encoder) = &mut self.encoder else {
            let mut frame = [0; FRAME];
            music.bytes(number, codec.law().unwrap_or(Law::A), &mut frame);
            if let Some(place) = self.payload.first_chunk_mut() {
                *place = frame;
            }
            self.length = FRAME;
            return;
        };
        music.samples(number, &mut self.linear);
        self.length = encoder.encode(&self.linear, &mut self.payload).map_or(0, <[u8]>::len);
    }

    pub fn payload(&self) -> &[u8] {
        self.payload.get(..self.length).unwrap_or_default()
    }

    /// The samples behind it, at the rate of the music. None of a law.
    pub fn samples(&self) -> &[i16] {
        &self.linear
    }

    /// Which 20 ms of the music these are.
    pub fn number(&self) -> u64 {
        self.at.unwrap_or_default()
    }
}

quiet_debug!(Radio => "Radio", Channel => "Channel");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::audio;

    fn music(name: &str) -> Arc<Music> {
        let samples: Vec<i16> =
            (0..3200).map(|n| (2000.0 * f64::from(n).mul_add(0.2, 0.0).sin()) as i16).collect();
        Arc::new(Music::new(&[audio::clip(name, &samples)], -32.0))
    }

    #[test]
    fn however_many_listen_each_frame_is_made_once_a_codec() {
        let (mut radio, music) = (Radio::default(), music("m"));
        for frame in 0..50 {
            for codec in [Codec::Pcma, Codec::Opus, Codec::G722] {
                let heard: Vec<Vec<u8>> = (0..20)
                    .map(|_| radio.hear(&music, codec).expect("a channel").payload().to_vec())
                    .collect();
                assert!(heard.windows(2).all(|pair| pair[0] == pair[1]) && !heard[0].is_empty());
            }
            radio.advance();
            assert_eq!(radio.made(), 3 * (frame + 1));
        }
    }

    #[test]
    fn it_goes_on_while_nobody_listens_and_each_piece_begins_with_its_first_listener() {
        let (mut radio, first, second) = (Radio::default(), music("a"), music("b"));
        let at = |radio: &mut Radio, music: &Arc<Music>| {
            radio.hear(music, Codec::Pcma).expect("a channel").payload().to_vec()
        };
        let beginning = at(&mut radio, &first);
        for _ in 0..5 {
            radio.advance();
        }
        let mut expected = [0; FRAME];
        first.bytes(5, Law::A, &mut expected);
        assert_eq!(at(&mut radio, &first), expected);
        assert_eq!(at(&mut radio, &second), beginning);
        assert_eq!(radio.made(), 3);
    }

    #[test]
    fn music_of_a_configuration_that_is_gone_is_forgotten() {
        let mut radio = Radio::default();
        for _ in 0..200 {
            radio.hear(&music("gone"), Codec::Pcma).expect("a channel");
        }
        assert!(radio.stations.len() <= 2);
        let kept: Vec<_> = (0..100).map(|_| music("kept")).collect();
        for music in &kept {
            radio.hear(music, Codec::Pcma).expect("a channel");
        }
        assert_eq!(radio.stations.len(), MAX_STATIONS);
    }
}
