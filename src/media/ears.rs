//! What is listened for in the packets of a peer, besides recording them: keys, by telephone-event or as tones, and
//! whether it speaks.

use std::time::{Duration, Instant};

use super::command::Codec;
use super::dtmf::KeyReader;
use super::inband::Listener;
use super::leg::Heard;
use super::voice::{Activity, VoiceActivity};
use crate::base::quiet::quiet_debug;

/// Presses a second; more are dropped.
const MAX_PRESSES: u8 = 20;

pub struct Ears {
    keys: KeyReader,
    /// For tones, when it was asked to.
    listener: Option<Box<Listener>>,
    /// Whether the peer speaks, when that is asked for.
    voice: Option<VoiceActivity>,
    /// Presses since the second began.
    presses: (Instant, u8),
}

impl Ears {
    pub fn new(now: Instant) -> Self {
        Self { keys: KeyReader::default(), listener: None, voice: None, presses: (now, 0) }
    }

    /// Listens for tones, or no longer.
    pub fn listen(&mut self, on: bool) {
        self.listener = on.then(Box::default);
    }

    /// Listens for speech, or no longer.
    pub fn voice(&mut self, on: bool) {
        self.voice = on.then(VoiceActivity::default);
    }

    /// Takes a packet of telephone-event.
    pub fn on_event(&mut self, now: Instant, heard: &Heard<'_>) -> Option<char> {
        let key = self.keys.on_packet(heard.source, heard.timestamp, heard.payload)?;
        self.may_press(now).then_some(key)
    }

    /// Takes a packet of sound: the key that went down in it. Only G.711 is worth decoding for that.
    pub fn on_sound(&mut self, now: Instant, heard: &Heard<'_>, codec: Codec) -> Option<char> {
        let (listener, law) = self.listener.as_mut().zip(codec.law())?;
        let samples = heard.payload.iter().map(|byte| law.decode(*byte));
        let key = listener.on_packet(heard.source, heard.timestamp, samples)?;
        self.may_press(now).then_some(key)
    }

    /// Takes the same packet: whether the peer begins or stops to speak.
    pub fn on_voice(&mut self, heard: &Heard<'_>, codec: Codec) -> Option<Activity> {
        self.voice.as_mut()?.on_packet(codec, heard.payload)
    }

    /// Whether one more press a second can come from a finger or a dialler; the rest would only hold up the core.
    fn may_press(&mut self, now: Instant) -> bool {
        let (since, presses) = &mut self.presses;
        if now.saturating_duration_since(*since) >= Duration::from_secs(1) {
            (*since, *presses) = (now, 0);
        }
        *presses = presses.saturating_add(1);
        *presses <= MAX_PRESSES
    }
}

quiet_debug!(Ears => "Ears");
