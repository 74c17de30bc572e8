//! One leg's media engine, sans-IO: packets and the clock go in, packets and events come out. It locks to
//! its peer, plays, hears keys, records, relays to and from another leg, and reports by RTCP.
//!
//! Of a peer's stream only payload, marker and the distances of its timestamps reach the other leg.
//! While connected, a leg that sends always sends: a prompt, the other leg, a key, or silence, so that
//! NAT and carriers see a stream that lives.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::command::{Clip, Codec, MediaEvent, Music, Origin, RecordEnd, Sound, Stream};
use super::dtmf;
use super::ears::Ears;
use super::g711;
use super::guard::Guard;
use super::keypad::{Keypad, Stroke};
use super::lock::SourceLock;
use super::outgoing::{MAX_FRAME, Outgoing};
use super::radio::Radio;
use super::rate::Rate;
use super::record::{Recorder, Taken};
use super::recording::Recording;
use super::rtcp::{self, MAX_REPORT, Reporter};
use super::rtcp_interval::Intervals;
use super::rtp::{self, Arrival, MAX_PAYLOAD, Packet, Sender, Source};
use super::seam;
use super::srtp::{RTCP_TRAILER, RTP_TRAILER};
use super::voice::Activity;
use super::watch::Watch;
use crate::base::id::{LegKey, PlayKey, TakeKey};
use crate::base::quiet::quiet_debug;
use crate::base::time::Now;

use browser::Browser;

/// Room for any packet that a leg writes.
pub const MAX_PACKET: usize = rtp::HEADER + MAX_PAYLOAD + RTP_TRAILER;
/// Room for any report.
pub const MAX_CONTROL: usize = MAX_REPORT + RTCP_TRAILER;
/// The clock of what we send.
pub const TICK: Duration = Duration::from_millis(20);
/// How often [`MediaLeg::look`] should be called.
pub const LOOK: Duration = Duration::from_millis(200);
/// The other leg has been quiet for so long that we fill in silence.
const FILL_AFTER: Duration = Duration::from_millis(400);
/// A pause in what we send that the timestamp must show.
const PAUSE: Duration = Duration::from_millis(60);
/// Events that wait to be taken; keys beyond are dropped.
const MAX_EVENTS: usize = 64;

/// A packet to send; the bytes lie in the buffer that was lent.
#[derive(PartialEq, Eq)]
pub struct Datagram<'a> {
    pub to: SocketAddr,
    pub bytes: &'a [u8],
}

/// What one leg heard and another may relay: nothing that names the peer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Heard<'a> {
    /// Tells one source from the next; it is compared and never sent.
    pub source: u32,
    /// Only the distances of these two are used.
    pub sequence: u16,
    pub timestamp: u32,
    pub marker: bool,
    pub sound: Sound,
    pub payload: &'a [u8],
}

/// What a recording gives to the writer, in order.
#[derive(Clone, PartialEq, Eq)]
pub enum TakeOutput {
    Samples { take: TakeKey, samples: Vec<i16> },
    Ended { take: TakeKey, taken: Taken },
}

/// The engine. See the module.
pub struct MediaLeg {
    leg: LegKey,
    began: Instant,
    peer: Option<Peer>,
    /// Nothing passes but through it.
    guard: Guard,
    browser: Browser,
    sender: Sender,
    source: Source,
    reporter: Reporter,
    output: Output,
    ears: Ears,
    /// What is spoken, also after the end.
    codec: Option<Codec>,
    recording: Option<Recording>,
    watch: Option<Watch>,
    /// The peer's packets are known to come.
    flowing: bool,
    heard_at: Instant,
    /// Of the peer's last packet: timestamp units a second.
    clock: u32,
    sent_at: Instant,
    report_at: Instant,
    intervals: Intervals,
    rate: Rate,
    foreign: u64,
    malformed: u64,
    flood: u64,
    events: VecDeque<MediaEvent>,
    takes: VecDeque<TakeOutput>,
}

/// What was negotiated, and whom it turned out to be.
#[derive(Clone)]
struct Peer {
    stream: Stream,
    lock: SourceLock,
}

/// What goes out to the peer.
#[derive(Default)]
struct Output {
    sound: Outgoing,
    /// The last byte of sound that was relayed.
    last: u8,
    keypad: Keypad,
}

impl MediaLeg {
    pub fn new(now: Now, leg: LegKey, origin: Origin) -> Self {
        let mut intervals = Intervals::new(origin);
        Self {
            leg,
            began: now.at,
            peer: None,
            guard: Guard::default(),
            browser: Browser::default(),
            sender: Sender::new(origin),
            source: Source::default(),
            reporter: Reporter::new(origin),
            output: Output::default(),
            ears: Ears::new(now.at),
            codec: None,
            recording: None,
            watch: None,
            flowing: false,
            heard_at: now.at,
            clock: 8000,
            sent_at: now.at,
            report_at: now.at + intervals.draw(),
            intervals,
            rate: Rate::new(now.at),
            foreign: 0,
            malformed: 0,
            flood: 0,
            events: VecDeque::new(),
            takes: VecDeque::new(),
        }
    }

    /// Sets or changes what was negotiated. Another address is another source to lock to.
    pub fn connect(&mut self, stream: Stream) {
        let is_another = self.agree_web(&stream);
        let lock = match self.peer.take() {
            Some(Peer { mut lock, stream: before }) if before.remote == stream.remote && !is_another => {
                lock.reopen(stream.signalling.to_canonical());
                lock
            }
            _ => SourceLock::new(stream.remote, stream.signalling.to_canonical()),
        };
        self.codec = Some(stream.codec);
        // The keys of a browser come by DTLS, and stay.
        let secured = if stream.web.is_some() { Some(()) } else { self.guard.set(stream.keying.as_ref()) };
        self.peer = secured.map(|()| Peer { stream, lock });
    }

    /// Plays clips; what played before ends without a word.
    pub fn play(&mut self, play: PlayKey, clips: Vec<Arc<Clip>>, repeat: bool) {
        self.sender.mark();
        self.output.sound.play(play, clips, repeat);
    }

    /// Music on hold, in the place of what played before.
    pub fn hold(&mut self, music: Arc<Music>) {
        self.sender.mark();
        self.output.sound.hold(music);
    }

    pub fn stop(&mut self) {
        self.output.sound.stop();
    }

    /// From now on the other leg is what the peer hears.
    pub fn bridge(&mut self) {
        self.sender.mark();
        self.output.sound.bridge();
    }

    pub fn unbridge(&mut self) {
        self.sender.mark();
        self.output.sound.unbridge();
    }

    /// Tells from now on when the peer begins and stops to speak, or no longer.
    pub fn voice(&mut self, on: bool) {
        self.ears.voice(on);
    }

    /// How keys come and go where telephone-event was not agreed on: `listen` for tones in the peer's sound, make
    /// `tones` for it.
    pub fn keys(&mut self, listen: bool, tones: bool) {
        self.ears.listen(listen);
        self.output.keypad.tones = tones;
    }

    /// Sends a key after those that wait.
    pub fn send_digit(&mut self, digit: char, duration: Duration) {
        self.output.keypad.send(digit, duration);
    }

    /// Records what the peer says; a recording that runs is stopped.
    pub fn record(
        &mut self,
        now: Now,
        take: TakeKey,
        max: Duration,
        silence: Option<Duration>,
        finish: Option<char>,
    ) {
        self.end_recording(RecordEnd::Stopped);
        let recorder = Recorder::new(now.at, max, silence);
        self.recording = Some(Recording::new(now, take, recorder, finish));
    }

    pub fn stop_record(&mut self) {
        self.end_recording(RecordEnd::Stopped);
    }

    /// Takes a datagram from the RTP socket. What is given back is for the other leg of a bridge.
    /// An encrypted one is opened in place.
    pub fn handle_rtp<'a>(&mut self, now: Now, from: SocketAddr, bytes: &'a mut [u8]) -> Option<Heard<'a>> {
        let from = self.pass_web(now, from, bytes)?;
        if rtcp::is_rtcp(bytes) {
            self.on_control(now, from, bytes);
            return None;
        }
        let bytes = self.guard.open_rtp(bytes)?;
        let from = self.prove_web(now, from);
        let peer = self.peer.as_mut()?;
        let known = rtp::read(bytes).and_then(|p| peer.stream.payloads.sound(p.payload_type).map(|s| (p, s)));
        let Some((packet, sound)) = known else {
            let count = if peer.lock.is_known(from) { &mut self.malformed } else { &mut self.foreign };
            *count += 1;
            return None;
        };
        if !peer.lock.admit(from, &packet) {
            self.foreign += 1;
            return None;
        }
        if !self.rate.admit(now.at) {
            self.flood += 1;
            return None;
        }
        let receives = peer.stream.direction.receives();
        self.clock = sound.clock();
        let elapsed = now.at.saturating_duration_since(self.began).as_micros();
        let arrival = (elapsed * u128::from(self.clock) / 1_000_000) as u32;
        match self.source.on_packet(&packet, arrival) {
            Arrival::Fresh | Arrival::Late => {}
            Arrival::Duplicate | Arrival::Suspect => return None,
        }
        self.on_flow(now);
        if !receives {
            return None;
        }
        let Packet { ssrc, sequence, timestamp, marker, payload, .. } = packet;
        let heard = Heard { source: ssrc, sequence, timestamp, marker, sound, payload };
        self.hear(now, &heard);
        self.output.sound.is_bridged().then_some(heard)
    }

    /// Sends on what the other leg heard. Nothing while a prompt or a key of ours is being sent; what is of
    /// another codec goes out by the clock.
    pub fn relay<'a>(&mut self, now: Now, heard: &Heard<'_>, out: &'a mut [u8]) -> Option<Datagram<'a>> {
        let peer = self.peer.as_ref().filter(|_| !self.awaits_keys())?;
        if self.output.sound.is_playing() || !self.output.sound.is_bridged() || !peer.stream.direction.sends()
        {
            return None;
        }
        let to = peer.lock.target()?;
        let (payloads, ours) = (&peer.stream.payloads, peer.stream.codec);
        let (mut changed, key): ([u8; MAX_PAYLOAD], [u8; 4]);
        let (sent, payload) = match heard.sound {
            Sound::Audio(codec) if codec == ours => (heard.sound, heard.payload),
            Sound::Audio(codec) => {
                let Some((from, to)) = codec.law().zip(ours.law()) else {
                    self.output.sound.take_in(heard, codec, ours);
                    return None;
                };
                changed = [0; MAX_PAYLOAD];
                let changed = changed.get_mut(..heard.payload.len())?;
                changed.copy_from_slice(heard.payload);
                g711::convert(changed, from, to);
                (Sound::Audio(ours), &*changed)
            }
            Sound::Key { clock } if payloads.send(heard.sound).is_none() => {
                self.output.keypad.follow(heard.source, heard.timestamp, heard.payload, clock);
                return None;
            }
            Sound::Key { .. } => {
                key = dtmf::clean(heard.payload)?;
                (heard.sound, &key[..])
            }
            Sound::Noise if payloads.send(Sound::Noise).is_none() || ours.law().is_none() => {
                // The peer can't make it itself.
                self.output.sound.take_in(heard, self.output.sound.other().unwrap_or(ours), ours);
                return None;
            }
            Sound::Noise => (heard.sound, heard.payload),
        };
        if self.output.keypad.is_pressing() {
            return None;
        }
        let payload_type = payloads.send(sent)?;
        let mut joined: [u8; MAX_PAYLOAD];
        let (is_audio, mut payload) = (matches!(sent, Sound::Audio(_)), payload);
        if let Some(law) = ours.law().filter(|_| is_audio && self.sender.relays_another(heard.source)) {
            joined = [0; MAX_PAYLOAD];
            payload = seam::join(law, self.output.last, payload, &mut joined);
        }
        self.output.last = payload.last().filter(|_| is_audio).copied().unwrap_or(self.output.last);
        let second = ours.clock();
        let pause = rtp::units(now.at.saturating_duration_since(self.sent_at), second);
        if !self.sender.goes_on(heard.source, heard.timestamp, pause, second) {
            self.run_on(now);
            self.sender.begin();
        }
        let packet = Packet {
            ssrc: heard.source,
            sequence: 0,
            timestamp: heard.timestamp,
            marker: heard.marker,
            payload_type,
            payload,
        };
        let length = match (sent, payload) {
            (Sound::Audio(codec), _) => codec.units(payload),
            // A key lasts as long as it says, but no longer than it can have lasted.
            (Sound::Key { .. }, [_, _, high, low]) => {
                u32::from(u16::from_be_bytes([*high, *low])).min(pause.saturating_add(second / 5))
            }
            (Sound::Key { .. } | Sound::Noise, _) => 0,
        };
        let length = self.sender.relay(out, payload_type, &packet, length)?.len();
        self.sent_at = now.at;
        if matches!(sent, Sound::Audio(_)) {
            self.output.sound.passes();
        }
        Some(Datagram { to, bytes: self.guard.protect_rtp(out, length)? })
    }

    /// Whether the peer is sent something by the clock; when not, `tick` need not be called.
    pub fn wants_tick(&self) -> bool {
        let Some(peer) = &self.peer else { return false };
        let output = &self.output;
        if self.awaits_keys() {
            return false;
        }
        output.sound.is_playing()
            || !output.keypad.is_idle()
            || (peer.stream.direction.sends() && output.sound.wants_tick())
    }

    /// The 20 ms clock of a leg that hears no music on hold.
    pub fn tick<'a>(&mut self, now: Now, out: &'a mut [u8]) -> Option<Datagram<'a>> {
        self.tick_with(now, &mut Radio::default(), out)
    }

    /// The 20 ms clock: what is due now. `now` may be the nominal time of the tick.
    pub fn tick_with<'a>(&mut self, now: Now, radio: &mut Radio, out: &'a mut [u8]) -> Option<Datagram<'a>> {
        let peer = self.peer.as_ref().filter(|_| !self.awaits_keys())?;
        let Stream { codec, payloads, direction, .. } = &peer.stream;
        let codec = *codec;
        let to = peer.lock.target().filter(|_| direction.sends());
        let (key_type, payload_type) = (payloads.send_key(codec), payloads.send(Sound::Audio(codec))?);
        let mut frame = [0; MAX_FRAME];
        let stroke = self.output.keypad.next(key_type.map(|_| codec.clock()), self.sender.timestamp());
        let frame = match stroke {
            Some(Stroke::Event { packet, timestamp, step }) => {
                self.run_on(now);
                self.output.sound.pass();
                return self.press(now, to, key_type?, &packet, (timestamp, step), out);
            }
            Some(Stroke::Tone(samples)) => self.output.sound.tone(codec, &samples, &mut frame)?,
            None => self.output.sound.next(codec, radio, &mut frame)?,
        };
        if let Some(play) = frame.ended {
            self.events.push_back(MediaEvent::PlayEnded { leg: self.leg, play });
        }
        let Some(to) = to else {
            // On hold a prompt goes on unheard, so that it ends.
            return None;
        };
        self.run_on(now);
        let length = self.sender.write(out, payload_type, frame.payload, codec.step())?.len();
        self.sent_at = now.at;
        Some(Datagram { to, bytes: self.guard.protect_rtp(out, length)? })
    }

    /// What need not be looked at each tick: who is quiet, a recording's silence, reports that are due.
    pub fn look<'a>(&mut self, now: Now, out: &'a mut [u8; MAX_CONTROL]) -> Option<Datagram<'a>> {
        if let Some(recording) = &mut self.recording {
            recording.on_time(now);
            self.drain_recording();
        }
        self.check_watch(now);
        self.look_web(now);
        if now.at.saturating_duration_since(self.sent_at) >= FILL_AFTER {
            self.output.sound.fill();
        }
        if now.at < self.report_at {
            return None;
        }
        self.report_at = now.at + self.intervals.draw();
        self.report(now, out, false)
    }

    /// Ends everything. What comes back is the RTCP BYE.
    /// Keys are wiped.
    pub fn close<'a>(&mut self, now: Now, out: &'a mut [u8; MAX_CONTROL]) -> Option<Datagram<'a>> {
        self.end_recording(RecordEnd::Stopped);
        self.output = Output::default();
        let bye = self.report(now, out, true);
        self.peer = None;
        self.guard.wipe();
        bye
    }

    pub fn poll_event(&mut self) -> Option<MediaEvent> {
        self.events.pop_front()
    }

    pub fn poll_take(&mut self) -> Option<TakeOutput> {
        self.takes.pop_front()
    }

    /// Whether reports go out by the RTP socket (RFC 5761).
    pub fn muxes_control(&self) -> bool {
        self.peer.as_ref().is_some_and(|peer| peer.stream.rtcp_mux)
    }

    pub fn key(&self) -> LegKey {
        self.leg
    }

    fn on_flow(&mut self, now: Now) {
        self.heard_at = now.at;
        if !self.flowing {
            self.flowing = true;
            self.events.push_back(MediaEvent::Flowing { leg: self.leg });
        }
    }

    fn hear(&mut self, now: Now, heard: &Heard<'_>) {
        match heard.sound {
            Sound::Audio(codec) => {
                if let Some(recording) = &mut self.recording {
                    recording.take_in(now, codec, heard);
                    self.drain_recording();
                }
                self.listen(now, heard, codec);
            }
            Sound::Noise => {}
            Sound::Key { .. } => {
                if let Some(recording) = &mut self.recording {
                    recording.on_key(now);
                }
                if let Some(key) = self.ears.on_event(now.at, heard) {
                    self.on_key(key);
                }
            }
        }
    }

    /// For keys, when the peer has not agreed to send them otherwise, and for speech.
    fn listen(&mut self, now: Now, heard: &Heard<'_>, codec: Codec) {
        let agreed = self.peer.as_ref().is_some_and(|peer| peer.stream.payloads.send_key(codec).is_some());
        if let Some(key) = self.ears.on_sound(now.at, heard, codec).filter(|_| !agreed) {
            self.on_key(key);
        }
        let leg = self.leg;
        let event = match self.ears.on_voice(heard, codec) {
            Some(Activity::Speaking) => MediaEvent::Speaking { leg },
            Some(Activity::Quiet) => MediaEvent::Quiet { leg },
            None => return,
        };
        if self.events.len() < MAX_EVENTS {
            self.events.push_back(event);
        }
    }

    fn on_key(&mut self, digit: char) {
        if self.recording.as_ref().is_some_and(|r| r.finish_key == Some(digit)) {
            self.end_recording(RecordEnd::Key);
        } else if self.events.len() < MAX_EVENTS {
            self.events.push_back(MediaEvent::Digit { leg: self.leg, digit });
        }
    }

    fn end_recording(&mut self, end: RecordEnd) {
        if let Some(recording) = &mut self.recording {
            recording.finish(end);
            self.drain_recording();
        }
    }

    fn drain_recording(&mut self) {
        let Some(recording) = &mut self.recording else { return };
        let take = recording.take;
        while let Some(samples) = recording.recorder.poll_chunk() {
            self.takes.push_back(TakeOutput::Samples { take, samples });
        }
        if recording.recorder.ended().is_some() {
            let taken = recording.recorder.taken();
            self.takes.push_back(TakeOutput::Ended { take, taken });
            self.recording = None;
        }
    }

    fn press<'a>(
        &mut self,
        now: Now,
        to: Option<SocketAddr>,
        payload_type: u8,
        key: &dtmf::KeyPacket,
        (timestamp, step): (u32, u32),
        out: &'a mut [u8],
    ) -> Option<Datagram<'a>> {
        let to = to?;
        let length = self.sender.write_event(out, payload_type, key.marker, timestamp, &key.payload)?.len();
        // The key takes the place of sound; time goes on.
        self.sender.pass(step);
        self.sent_at = now.at;
        Some(Datagram { to, bytes: self.guard.protect_rtp(out, length)? })
    }

    /// When nothing was sent for a while, the timestamp shows it.
    fn run_on(&mut self, now: Now) {
        let pause = now.at.saturating_duration_since(self.sent_at);
        if pause > PAUSE && self.sender.counts().0 > 0 {
            let ticks = pause.saturating_sub(TICK).as_millis() / TICK.as_millis();
            self.sender.pass((ticks as u32).wrapping_mul(self.step()));
        }
    }

    /// Timestamp units of a tick.
    fn step(&self) -> u32 {
        self.peer.as_ref().map_or(160, |peer| peer.stream.codec.step())
    }
}

quiet_debug!(Datagram<'_> => "Datagram", Heard<'_> => "Heard", TakeOutput => "TakeOutput", MediaLeg => "MediaLeg");

#[path = "leg_watch.rs"]
mod watch;

#[path = "leg_report.rs"]
mod report;

#[path = "leg_web.rs"]
mod browser;

#[cfg(test)]
#[path = "leg_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "leg_rtp_tests.rs"]
mod rtp_tests;

#[cfg(test)]
#[path = "leg_codec_tests.rs"]
mod codec_tests;

#[cfg(test)]
#[path = "leg_web_tests.rs"]
mod web_tests;

#[cfg(test)]
#[path = "leg_srtp_tests.rs"]
mod srtp_tests;
