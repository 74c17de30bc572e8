//! The media plane of the virtual world: no packets, but who hears whom, what plays to whom, and the
//! events that the real plane would raise, at the times at which it would raise them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::base::id::{LegKey, PlayKey, RoomKey, TakeKey};
use crate::media::command::{LegStats, MOST_IN_A_ROOM, MediaCommand, MediaEvent, RecordEnd, Stream};

/// How long a command takes to reach its thread, and an event to come back.
const STEP: Duration = Duration::from_millis(3);
const FIRST_PORT: u16 = 20_000;

/// One leg.
pub struct Side {
    pub local: SocketAddr,
    pub stream: Option<Stream>,
    pub playing: Option<Playing>,
    pub bridged: Option<LegKey>,
    pub room: Option<RoomKey>,
    /// Keys that the peer was sent.
    pub digits: String,
    /// Whether it tells of speech.
    voice: bool,
    /// Whether it listens for tones, and makes them.
    pub keys: (bool, bool),
    take: Option<Taking>,
    watch: Option<Duration>,
    opened: bool,
}

impl Side {
    pub fn records(&self) -> bool {
        self.take.is_some()
    }
}

pub struct Playing {
    pub names: String,
    pub repeat: bool,
    play: PlayKey,
}

struct Taking {
    take: TakeKey,
    path: PathBuf,
    since: Instant,
    max: Duration,
    finish_key: Option<char>,
    speech: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    PlayEnded(LegKey, PlayKey),
    TakeEnds(LegKey, TakeKey),
    Quiet(LegKey),
}

/// One playing, for the stories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Played {
    pub at: Instant,
    pub leg: LegKey,
    pub names: String,
}

/// The plane.
pub struct Media {
    legs: BTreeMap<LegKey, Side>,
    gone: BTreeSet<LegKey>,
    next_port: u16,
    due: BTreeSet<(Instant, Due)>,
    events: VecDeque<(Duration, MediaEvent)>,
    pub played: Vec<Played>,
    /// The last address of every leg's peer, also of closed ones.
    pub peers: BTreeMap<LegKey, SocketAddr>,
    /// Against the contract: commands for legs that were never opened or are closed, two bridges at once.
    pub faults: Vec<String>,
    /// Recordings by their path, with their length.
    pub files: BTreeMap<PathBuf, Duration>,
    /// A test of the tests: the next `Close` is not carried out.
    pub drops_a_close: bool,
    /// How long it takes to take a port.
    pub opens_after: Duration,
}

impl Media {
    pub fn new() -> Self {
        Self {
            legs: BTreeMap::new(),
            gone: BTreeSet::new(),
            next_port: FIRST_PORT,
            due: BTreeSet::new(),
            events: VecDeque::new(),
            played: Vec::new(),
            peers: BTreeMap::new(),
            faults: Vec::new(),
            files: BTreeMap::new(),
            drops_a_close: false,
            opens_after: STEP,
        }
    }

    /// Carries out a command. `speech`: how long the peer of a leg speaks into a recording. `fails`: this
    /// command is refused, as by a plane that is full.
    pub fn handle(&mut self, now: Instant, command: MediaCommand, speech: Duration, fails: bool) {
        if let MediaCommand::Open { leg, local, .. } = command {
            return self.open(leg, local, fails);
        }
        if fails {
            if let Some(event) = command.refused() {
                return self.events.push_back((STEP, event));
            }
        }
        self.look_for_faults(&command);
        match command {
            MediaCommand::Open { .. } => {}
            MediaCommand::Connect { leg, stream } => {
                self.peers.insert(leg, stream.remote);
                self.on(leg, |side| side.stream = Some(stream));
            }
            MediaCommand::Play { leg, play, clips, repeat } => {
                let names: Vec<&str> = clips.iter().map(|c| short(&c.name)).collect();
                let length: Duration = clips.iter().map(|c| c.duration()).sum();
                self.play(now, leg, play, names.join(" "), length, repeat);
            }
            MediaCommand::PlayFile { leg, play, path } => {
                let length = self.files.get(&path).copied();
                let name = if length.is_some() { "own-message" } else { "nothing" };
                self.play(now, leg, play, name.to_owned(), length.unwrap_or_default(), false);
            }
            MediaCommand::Hold { leg, music } => {
                self.play(now, leg, PlayKey(0), music.names().join(" "), Duration::ZERO, true);
            }
            MediaCommand::Discard { path } => {
                if self.files.remove(&path).is_none() {
                    self.faults.push("a recording that is not there is thrown away".to_owned());
                }
            }
            MediaCommand::Stop { leg } => self.on(leg, |side| side.playing = None),
            MediaCommand::Bridge { a, b } => self.bridge(a, b),
            MediaCommand::Unbridge { leg } => self.unbridge(leg),
            MediaCommand::Keys { leg, listen, tones } => self.on(leg, |side| side.keys = (listen, tones)),
            MediaCommand::Voice { leg, on } => self.on(leg, |side| side.voice = on),
            MediaCommand::Mix { room, leg } => self.mix(room, leg),
            MediaCommand::Unmix { leg } => self.on(leg, |side| side.room = None),
            MediaCommand::Chime { room, clip } => {
                for (&leg, _) in self.legs.iter().filter(|(_, side)| side.room == Some(room)) {
                    self.played.push(Played { at: now, leg, names: short(&clip.name).to_owned() });
                }
            }
            MediaCommand::SendDigit { leg, digit, .. } => self.on(leg, |side| side.digits.push(digit)),
            MediaCommand::Record { leg, take, path, max, silence, finish_key, .. } => {
                let taking = Taking { take, path, since: now, max, finish_key, speech };
                let ends = silence.map_or(max, |silence| (speech + silence).min(max));
                self.on(leg, |side| side.take = Some(taking));
                self.due.insert((now + ends, Due::TakeEnds(leg, take)));
            }
            MediaCommand::StopRecord { leg } => self.end_take(now, leg, RecordEnd::Stopped),
            MediaCommand::Watch { leg, after } => {
                self.on(leg, |side| side.watch = after);
                self.due.retain(|(_, due)| *due != Due::Quiet(leg));
                self.due.extend(after.map(|after| (now + after, Due::Quiet(leg))));
            }
            MediaCommand::Close { leg } => self.close(now, leg),
        }
    }

    /// A key that the peer of the leg at this address pressed.
    pub fn key(&mut self, now: Instant, local: SocketAddr, digit: char) {
        let Some(leg) = self.legs.iter().find(|(_, s)| s.local == local).map(|(leg, _)| *leg) else { return };
        let Some(side) = self.legs.get(&leg) else { return };
        if side.take.as_ref().is_some_and(|t| t.finish_key == Some(digit)) {
            return self.end_take(now, leg, RecordEnd::Key);
        }
        let makes = |leg: &LegKey| self.legs.get(leg).is_some_and(|s| s.keys.1);
        if let Some(other) = side.bridged.filter(makes) {
            self.on(other, |side| side.digits.push(digit));
        }
        self.events.push_back((STEP, MediaEvent::Digit { leg, digit }));
    }

    /// The peer of the leg at this address begins to speak, or stops.
    pub fn speech(&mut self, local: SocketAddr, speaks: bool) {
        let found = self.legs.iter().find(|(_, s)| s.local == local && s.voice);
        let Some(leg) = found.map(|(leg, _)| *leg) else { return };
        let event = if speaks { MediaEvent::Speaking { leg } } else { MediaEvent::Quiet { leg } };
        self.events.push_back((STEP, event));
    }

    /// What happened by itself. `lives`: whether the peer of that stream still sends.
    pub fn handle_timeout(&mut self, now: Instant, lives: impl Fn(SocketAddr) -> bool) {
        while let Some(&(at, due)) = self.due.first() {
            if at > now {
                return;
            }
            self.due.remove(&(at, due));
            match due {
                Due::PlayEnded(leg, play) => {
                    let Some(side) = self.legs.get_mut(&leg) else { continue };
                    if side.playing.as_ref().is_some_and(|p| p.play == play) {
                        side.playing = None;
                        self.events.push_back((STEP, MediaEvent::PlayEnded { leg, play }));
                    }
                }
                Due::TakeEnds(leg, take) => {
                    let taking = self.legs.get(&leg).and_then(|s| s.take.as_ref()).filter(|t| t.take == take);
                    let Some(taking) = taking else { continue };
                    let limit = now.saturating_duration_since(taking.since) >= taking.max;
                    self.end_take(now, leg, if limit { RecordEnd::Limit } else { RecordEnd::Silence });
                }
                Due::Quiet(leg) => self.look_for_silence(now, leg, &lives),
            }
        }
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The next event, and how long it takes to the core.
    pub fn poll(&mut self) -> Option<(Duration, MediaEvent)> {
        self.events.pop_front()
    }

    /// The leg whose peer gets its audio at this address.
    pub fn leg_of(&self, remote: SocketAddr) -> Option<(LegKey, &Side)> {
        let mut at = self.legs.iter().rev();
        at.find(|(_, s)| s.stream.as_ref().is_some_and(|st| st.remote == remote))
            .map(|(leg, side)| (*leg, side))
    }

    pub fn side(&self, leg: LegKey) -> Option<&Side> {
        self.legs.get(&leg)
    }

    pub fn legs(&self) -> impl Iterator<Item = (LegKey, &Side)> {
        self.legs.iter().map(|(leg, side)| (*leg, side))
    }

    /// Recordings that run.
    pub fn takes(&self) -> usize {
        self.legs.values().filter(|s| s.take.is_some()).count()
    }

    fn open(&mut self, leg: LegKey, local: IpAddr, fails: bool) {
        if self.legs.contains_key(&leg) || self.gone.contains(&leg) {
            self.faults.push(format!("leg {leg} is opened twice"));
        }
        let local = SocketAddr::new(local, self.next_port);
        self.next_port = if self.next_port >= 29_998 { FIRST_PORT } else { self.next_port + 2 };
        let side = Side {
            local,
            stream: None,
            playing: None,
            bridged: None,
            room: None,
            digits: String::new(),
            voice: false,
            keys: (false, true),
            take: None,
            watch: None,
            opened: !fails,
        };
        self.legs.insert(leg, side);
        let event = if fails { MediaEvent::OpenFailed { leg } } else { MediaEvent::Opened { leg, local } };
        self.events.push_back((self.opens_after, event));
    }

    fn close(&mut self, now: Instant, leg: LegKey) {
        if std::mem::take(&mut self.drops_a_close) {
            return;
        }
        self.end_take(now, leg, RecordEnd::Stopped);
        self.unbridge(leg);
        self.due.retain(|(_, due)| *due != Due::Quiet(leg));
        if self.legs.remove(&leg).is_some_and(|side| side.opened) {
            self.events.push_back((STEP, MediaEvent::Closed { leg, stats: LegStats::default() }));
        }
        self.gone.insert(leg);
    }

    fn play(
        &mut self,
        now: Instant,
        leg: LegKey,
        play: PlayKey,
        names: String,
        length: Duration,
        repeat: bool,
    ) {
        self.played.push(Played { at: now, leg, names: names.clone() });
        self.on(leg, |side| side.playing = Some(Playing { names, repeat, play }));
        if !repeat {
            self.due.insert((now + length, Due::PlayEnded(leg, play)));
        }
    }

    fn bridge(&mut self, a: LegKey, b: LegKey) {
        for (own, other) in [(a, b), (b, a)] {
            self.on(own, |side| {
                (side.bridged, side.room) = (Some(other), None);
                side.playing = None;
            });
        }
    }

    fn mix(&mut self, room: RoomKey, leg: LegKey) {
        self.unbridge(leg);
        self.on(leg, |side| {
            side.room = Some(room);
            side.playing = None;
        });
        let members = self.in_room(room).count();
        if members > MOST_IN_A_ROOM {
            self.faults.push(format!("{members} legs in room {room}"));
        }
    }

    /// Who is in a room, by their legs.
    pub fn in_room(&self, room: RoomKey) -> impl Iterator<Item = LegKey> {
        self.legs.iter().filter(move |(_, side)| side.room == Some(room)).map(|(leg, _)| *leg)
    }

    fn unbridge(&mut self, leg: LegKey) {
        let Some(other) = self.legs.get_mut(&leg).and_then(|s| s.bridged.take()) else { return };
        self.on(other, |side| side.bridged = None);
    }

    fn end_take(&mut self, now: Instant, leg: LegKey, end: RecordEnd) {
        let Some(taking) = self.legs.get_mut(&leg).and_then(|s| s.take.take()) else { return };
        let ran = now.saturating_duration_since(taking.since);
        let length = ran.min(taking.speech);
        let voice = !length.is_zero();
        self.files.insert(taking.path, length);
        self.events.push_back((STEP, MediaEvent::Recorded { leg, take: taking.take, length, end, voice }));
    }

    fn look_for_silence(&mut self, now: Instant, leg: LegKey, lives: &impl Fn(SocketAddr) -> bool) {
        let Some(side) = self.legs.get(&leg) else { return };
        let (Some(after), Some(stream)) = (side.watch, &side.stream) else { return };
        if !lives(stream.remote) {
            self.events.push_back((STEP, MediaEvent::Silent { leg, quiet_for: after }));
        }
        self.due.insert((now + after, Due::Quiet(leg)));
    }

    fn look_for_faults(&mut self, command: &MediaCommand) {
        let legs = match command {
            MediaCommand::Bridge { a, b } => vec![*a, *b],
            MediaCommand::Discard { .. } => return,
            MediaCommand::Chime { room, .. } => {
                if self.in_room(*room).count() == 0 {
                    self.faults.push(format!("a tone for room {room}, where nobody is"));
                }
                return;
            }
            MediaCommand::Open { leg, .. }
            | MediaCommand::Connect { leg, .. }
            | MediaCommand::Play { leg, .. }
            | MediaCommand::PlayFile { leg, .. }
            | MediaCommand::Hold { leg, .. }
            | MediaCommand::Stop { leg }
            | MediaCommand::Unbridge { leg }
            | MediaCommand::Keys { leg, .. }
            | MediaCommand::Voice { leg, .. }
            | MediaCommand::Mix { leg, .. }
            | MediaCommand::Unmix { leg }
            | MediaCommand::SendDigit { leg, .. }
            | MediaCommand::Record { leg, .. }
            | MediaCommand::StopRecord { leg }
            | MediaCommand::Watch { leg, .. }
            | MediaCommand::Close { leg } => vec![*leg],
        };
        for leg in &legs {
            if !self.legs.contains_key(leg) {
                let closed = if self.gone.contains(leg) { "closed" } else { "never opened" };
                self.faults.push(format!("a command for leg {leg}, which is {closed}"));
            }
        }
        if let MediaCommand::Bridge { a, b } = command {
            let taken = |own: LegKey, other: LegKey| {
                self.legs.get(&own).and_then(|s| s.bridged).is_some_and(|now| now != other)
            };
            if a == b || taken(*a, *b) || taken(*b, *a) {
                self.faults.push(format!("legs {a} and {b} are bridged while one has another"));
            }
        }
    }

    fn on(&mut self, leg: LegKey, change: impl FnOnce(&mut Side)) {
        if let Some(side) = self.legs.get_mut(&leg) {
            change(side);
        }
    }
}

impl Default for Media {
    fn default() -> Self {
        Self::new()
    }
}

/// The Dutch prompt without its language; others with it.
fn short(name: &str) -> &str {
    name.strip_prefix("nl/").unwrap_or(name)
}
