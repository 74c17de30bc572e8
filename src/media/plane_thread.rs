//! One thread of the media plane: its legs with their sockets, and its clock.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use slab::Slab;

use super::batch::{Arrived, DATAGRAM, Io};
use super::command::{MediaCommand, MediaEvent, Origin, Sound};
use super::courier::Courier;
use super::leg::{Heard, LOOK, MAX_CONTROL, MAX_PACKET, MediaLeg, TICK, TakeOutput};
use super::plane::{Crossing, Inbox, Post, Shared, Side};
use super::plane_rooms::Rooms;
use super::ports::SocketPair;
use super::radio::Radio;
use super::thread_setup::{self, Place, Started};
use super::writer::Job;
use crate::base::id::{LegKey, PlayKey};
use crate::base::time::Now;

/// The legs' ticks are spread over the 20 ms, so that they don't go out in one burst.
pub(super) const PHASES: usize = 4;
const SLOT: Duration = Duration::from_millis(TICK.as_millis() as u64 / PHASES as u64);
/// Each leg is looked at once in so many slots.
const SLOTS_A_LOOK: usize = (LOOK.as_millis() / SLOT.as_millis()) as usize;
/// A thread that was held up for longer leaves out what it missed.
const MAX_LAG: Duration = Duration::from_millis(200);
/// Posts, packets from other threads and from sockets that are taken in one turn.
const BATCH: usize = 256;

pub(super) struct PlaneThread {
    pub(super) index: usize,
    pub(super) shared: Arc<Shared>,
    inbox: Inbox,
    io: Io,
    pub(super) legs: Legs,
    pub(super) rooms: Rooms,
    /// Music on hold, one for all of this thread.
    radio: Radio,
    /// The time of the next slot, and whose turn it is.
    slot: Now,
    phase: usize,
    /// The next place to look at.
    cursor: usize,
    courier: Courier,
    /// The leg being worked on, so that a fault in its code ends that leg alone.
    pub(super) current: Option<usize>,
    more: bool,
}

/// The legs of a thread.
#[derive(Default)]
pub(super) struct Legs {
    seats: Slab<Seat>,
    pub(super) places: BTreeMap<LegKey, usize>,
    /// Places of the legs that want a tick, by phase.
    ticking: [Vec<usize>; PHASES],
    /// One more than the highest place ever taken.
    span: usize,
    next_phase: usize,
}

pub(super) struct Seat {
    pub(super) leg: MediaLeg,
    sockets: SocketPair,
    pub(super) partner: Option<Partner>,
    phase: usize,
    ticking: bool,
    /// A recording is being read, to be played.
    pub(super) loading: Option<PlayKey>,
    /// What is told of it must come after what the writer tells.
    recorded: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Partner {
    pub(super) side: Side,
    /// Of a leg on this thread.
    pub(super) place: Option<usize>,
}

impl PlaneThread {
    /// Runs on a thread of its own, from the beginning to the end. What it got is told when it is ready.
    pub(super) fn live(
        place: &Place,
        shared: Arc<Shared>,
        inbox: Inbox,
        jobs: SyncSender<Job>,
        started: &SyncSender<io::Result<Started>>,
    ) {
        let begun = thread_setup::begin(place, &inbox.wake);
        let io = begun.and_then(|(io, got)| started.send(Ok(got)).map(|()| io).map_err(io::Error::other));
        match io {
            Ok(io) => Self::new(place.index, io, shared, inbox, jobs).run(),
            // Nobody waits for it when it is the sending that failed.
            Err(error) => drop(started.send(Err(error))),
        }
    }

    fn new(index: usize, io: Io, shared: Arc<Shared>, inbox: Inbox, jobs: SyncSender<Job>) -> Self {
        let courier = Courier::new(shared.events.clone(), jobs);
        Self {
            index,
            shared,
            inbox,
            io,
            legs: Legs::default(),
            rooms: Rooms::default(),
            radio: Radio::default(),
            slot: Now::read(),
            phase: 0,
            cursor: 0,
            courier,
            current: None,
            more: false,
        }
    }

    fn run(mut self) {
        let mut buffer = [0; DATAGRAM];
        while !self.inbox.is_stopped() {
            let turn = catch_unwind(AssertUnwindSafe(|| self.turn(&mut buffer)));
            if turn.is_err() {
                self.abandon();
            }
        }
        let now = Now::read();
        let keys: Vec<LegKey> = self.legs.places.keys().copied().collect();
        keys.into_iter().for_each(|key| self.close(now, key));
        self.courier.finish();
    }

    fn turn(&mut self, buffer: &mut [u8; DATAGRAM]) {
        self.current = None;
        let woken = self.io.wait(self.timeout(Now::read()));
        let now = Now::read();
        self.inbox.listen(woken);
        // Commands come before the packets that came after them.
        self.take_posts(now);
        self.take_crossings(now);
        for _ in 0..BATCH {
            match self.io.next(buffer) {
                Some(Arrived::Ready(mark)) => self.on_ready(now, mark, buffer),
                Some(Arrived::Datagram { mark, from, length }) => {
                    self.on_datagram(now, mark, from, buffer.get_mut(..length).unwrap_or_default());
                }
                None => break,
            }
        }
        self.run_clock(now);
        self.courier.push();
    }

    /// Until the next slot; for ever when no leg is here and nothing is owed.
    fn timeout(&self, now: Now) -> Option<Duration> {
        if self.more {
            return Some(Duration::ZERO);
        }
        if self.legs.seats.is_empty() && self.rooms.is_empty() && self.courier.is_idle() {
            return None;
        }
        Some(self.slot.at.saturating_duration_since(now.at).min(SLOT))
    }

    fn run_clock(&mut self, now: Now) {
        if (self.legs.seats.is_empty() && self.rooms.is_empty())
            || now.at.saturating_duration_since(self.slot.at) > MAX_LAG
        {
            self.slot = now;
        }
        while self.slot.at <= now.at {
            self.tick(self.slot, self.phase);
            self.tick_rooms(self.slot, self.phase);
            self.look(now);
            self.slot = self.slot.plus(SLOT);
            self.phase = (self.phase + 1) % PHASES;
            if self.phase == 0 {
                self.radio.advance();
            }
        }
    }

    fn tick(&mut self, due: Now, phase: usize) {
        let mut out = [0; MAX_PACKET];
        let mut index = 0;
        while let Some(&place) = self.legs.ticking.get(phase).and_then(|list| list.get(index)) {
            self.current = Some(place);
            let Some(seat) = self.legs.seats.get_mut(place).filter(|s| s.leg.wants_tick()) else {
                self.legs.stop_ticking(phase, index);
                continue;
            };
            if let Some(datagram) = seat.leg.tick_with(due, &mut self.radio, &mut out) {
                self.io.send(rtp_mark(place), &seat.sockets.rtp, datagram.bytes, datagram.to);
            }
            seat.settle(&mut self.courier);
            index += 1;
        }
        self.current = None;
    }

    /// Looks at a part of the legs, so that each is looked at five times a second.
    fn look(&mut self, now: Now) {
        let mut out = [0; MAX_CONTROL];
        for _ in 0..self.legs.span.div_ceil(SLOTS_A_LOOK) {
            self.cursor = if self.cursor + 1 < self.legs.span { self.cursor + 1 } else { 0 };
            let Some(seat) = self.legs.seats.get_mut(self.cursor) else { continue };
            self.current = Some(self.cursor);
            let muxed = seat.leg.muxes_control();
            if let Some(datagram) = seat.leg.look(now, &mut out) {
                let (mark, socket) = seat.control(self.cursor, muxed);
                self.io.send(mark, socket, datagram.bytes, datagram.to);
            }
            self.legs.settle(self.cursor, &mut self.courier);
        }
        self.current = None;
    }

    fn on_ready(&mut self, now: Now, mark: u32, buffer: &mut [u8; DATAGRAM]) {
        let Some(seat) = self.legs.seats.get_mut(mark as usize >> 1) else { return };
        let socket = if mark & 1 == 0 { &seat.sockets.rtp } else { &seat.sockets.rtcp };
        // Not ready after all, or an ICMP error of something sent before: nothing to take.
        let Ok((length, from)) = socket.recv_from(buffer) else { return };
        self.on_datagram(now, mark, from, buffer.get_mut(..length).unwrap_or_default());
    }

    fn on_datagram(&mut self, now: Now, mark: u32, from: SocketAddr, bytes: &mut [u8]) {
        let place = mark as usize >> 1;
        self.current = Some(place);
        let Some(seat) = self.legs.seats.get_mut(place) else { return };
        if mark & 1 == 1 {
            seat.leg.handle_rtcp(now, from, bytes);
        } else if let Some(heard) = seat.leg.handle_rtp(now, from, bytes)
            && let Some(partner) = seat.partner
        {
            let from = Side::Leg(seat.leg.key());
            self.pass(now, from, partner, &heard);
        }
        self.legs.settle(place, &mut self.courier);
        self.current = None;
    }

    /// To the other leg of a bridge, or to the room.
    pub(super) fn pass(&mut self, now: Now, from: Side, to: Partner, heard: &Heard<'_>) {
        match (to.place, to.side, from) {
            (Some(place), Side::Leg(_), _) => self.relay(now, place, from, heard),
            (_, Side::Room(room), Side::Leg(leg)) if self.shared.thread_of_room(room) == self.index => {
                self.rooms.hear(room, leg, heard);
            }
            (_, to, _) => self.shared.mailbox_of(to).cross(Crossing::new(from, to, heard)),
        }
    }

    /// Nothing reaches a leg but from whom it is with at this moment.
    fn relay(&mut self, now: Now, place: usize, from: Side, heard: &Heard<'_>) {
        let mut out = [0; MAX_PACKET];
        let Some(seat) = self.legs.seats.get_mut(place) else { return };
        if seat.partner.is_none_or(|partner| partner.side != from) {
            return;
        }
        if let Some(datagram) = seat.leg.relay(now, heard, &mut out) {
            self.io.send(rtp_mark(place), &seat.sockets.rtp, datagram.bytes, datagram.to);
        } else if matches!(heard.sound, Sound::Key { .. }) {
            // It may have become a key of this leg's own, which the clock sends.
            self.legs.settle(place, &mut self.courier);
        }
    }

    fn take_crossings(&mut self, now: Now) {
        for _ in 0..BATCH {
            let Ok(crossing) = self.inbox.crossings.try_recv() else { return };
            match (crossing.to, crossing.from) {
                (Side::Leg(to), from) => {
                    if let Some(&place) = self.legs.places.get(&to) {
                        self.relay(now, place, from, &crossing.heard());
                    }
                }
                (Side::Room(room), Side::Leg(leg)) => self.rooms.hear(room, leg, &crossing.heard()),
                (Side::Room(_), Side::Room(_)) => {}
            }
        }
        self.more = true;
    }

    fn take_posts(&mut self, now: Now) {
        self.more = false;
        for _ in 0..BATCH {
            let Ok(post) = self.inbox.posts.try_recv() else { return };
            match post {
                Post::Command(command) => self.on_command(now, command),
                Post::Loaded { leg, play, clip } => {
                    if let Some(seat) = self.legs.seat(leg).filter(|s| s.loading == Some(play)) {
                        seat.loading = None;
                        seat.leg.play(play, clip.into_iter().collect(), false);
                        self.legs.settle_key(leg, &mut self.courier);
                    }
                }
                Post::Unpair { leg, from } => self.unpair(leg, Side::Leg(from)),
                Post::Leave { room, leg } => self.rooms.leave(room, leg),
            }
            self.current = None;
        }
        self.more = true;
    }

    fn on_command(&mut self, now: Now, command: MediaCommand) {
        match command {
            MediaCommand::Open { leg, local, origin } => self.open(now, leg, local, origin),
            MediaCommand::Close { leg } => self.close(now, leg),
            MediaCommand::Bridge { a, b } => self.bridge(a, b),
            MediaCommand::Unbridge { leg } | MediaCommand::Unmix { leg } => self.unbridge(leg),
            MediaCommand::Mix { room, leg } => self.mix(room, leg),
            MediaCommand::Chime { room, clip } => self.rooms.chime(room, clip),
            MediaCommand::Discard { path } => self.courier.job(Job::Discard { path }),
            MediaCommand::Record { leg, take, path, max, silence, finish_key, normalise_lufs } => {
                let Some(seat) = self.legs.seat(leg) else { return };
                seat.leg.record(now, take, max, silence, finish_key);
                seat.recorded = true;
                // What an earlier recording left goes to the writer first.
                seat.settle(&mut self.courier);
                self.courier.job(Job::Begin { leg, take, path, normalise_lufs });
            }
            MediaCommand::PlayFile { leg, play, path } => {
                let Some(seat) = self.legs.seat(leg) else { return };
                seat.leg.stop();
                seat.loading = Some(play);
                self.courier.job(Job::Load { leg, play, path });
            }
            MediaCommand::Connect { leg, stream } => self.on_leg(leg, |s| s.leg.connect(stream)),
            MediaCommand::Play { leg, play, clips, repeat } => self.on_leg(leg, |seat| {
                seat.loading = None;
                seat.leg.play(play, clips, repeat);
            }),
            MediaCommand::Hold { leg, music } => self.on_leg(leg, |seat| {
                seat.loading = None;
                seat.leg.hold(music);
            }),
            MediaCommand::Stop { leg } => self.on_leg(leg, |seat| {
                seat.loading = None;
                seat.leg.stop();
            }),
            MediaCommand::Keys { leg, listen, tones } => self.on_leg(leg, |s| s.leg.keys(listen, tones)),
            MediaCommand::Voice { leg, on } => self.on_leg(leg, |s| s.leg.voice(on)),
            MediaCommand::SendDigit { leg, digit, duration } => {
                self.on_leg(leg, |seat| {
                    #[cfg(test)]
                    assert!(digit != super::plane::BREAKS, "broken for a test");
                    seat.leg.send_digit(digit, duration);
                });
            }
            MediaCommand::StopRecord { leg } => self.on_leg(leg, |seat| seat.leg.stop_record()),
            MediaCommand::Watch { leg, after } => self.on_leg(leg, |seat| seat.leg.watch(now, after)),
        }
    }

    pub(super) fn on_leg(&mut self, leg: LegKey, change: impl FnOnce(&mut Seat)) {
        self.current = self.legs.places.get(&leg).copied();
        if let Some(seat) = self.legs.seat(leg) {
            change(seat);
            self.legs.settle_key(leg, &mut self.courier);
        }
    }

    fn open(&mut self, now: Now, leg: LegKey, local: IpAddr, origin: Origin) {
        let room = self.shared.legs.fetch_add(1, Ordering::Relaxed) < self.shared.max_legs;
        let opened = (room && !self.legs.places.contains_key(&leg))
            .then(|| SocketPair::open(&mut self.shared.pool(), now.at, local))
            .flatten()
            .and_then(|sockets| self.seat(self.shared.engine(now, leg, origin), sockets));
        if let Some(port) = opened {
            self.courier.tell(MediaEvent::Opened { leg, local: SocketAddr::new(local, port) });
        } else {
            self.shared.legs.fetch_sub(1, Ordering::Relaxed);
            self.courier.tell(MediaEvent::OpenFailed { leg });
        }
    }

    fn seat(&mut self, leg: MediaLeg, sockets: SocketPair) -> Option<u16> {
        let (key, port) = (leg.key(), sockets.port);
        let entry = self.legs.seats.vacant_entry();
        let place = entry.key();
        let watched = self
            .io
            .watch(rtp_mark(place), &sockets.rtp)
            .and_then(|()| self.io.watch(rtcp_mark(place), &sockets.rtcp));
        if watched.is_err() {
            self.io.forget(rtp_mark(place), &sockets.rtp);
            self.io.forget(rtcp_mark(place), &sockets.rtcp);
            self.shared.pool().give_back(Now::read().at, port);
            return None;
        }
        self.legs.next_phase = (self.legs.next_phase + 1) % PHASES;
        let phase = self.legs.next_phase;
        entry.insert(Seat {
            leg,
            sockets,
            partner: None,
            phase,
            ticking: false,
            loading: None,
            recorded: false,
        });
        self.legs.places.insert(key, place);
        self.legs.span = self.legs.span.max(place + 1);
        Some(port)
    }

    fn close(&mut self, now: Now, leg: LegKey) {
        self.unbridge(leg);
        let Some((place, mut seat)) = self.legs.remove(leg) else { return };
        let mut out = [0; MAX_CONTROL];
        let muxed = seat.leg.muxes_control();
        if let Some(datagram) = seat.leg.close(now, &mut out) {
            let (mark, socket) = seat.control(place, muxed);
            self.io.send(mark, socket, datagram.bytes, datagram.to);
        }
        seat.settle(&mut self.courier);
        self.release(now, leg, place, seat);
    }

    fn release(&mut self, now: Now, leg: LegKey, place: usize, seat: Seat) {
        let closed = MediaEvent::Closed { leg, stats: seat.leg.stats() };
        let recorded = seat.recorded;
        // The sockets live on while they rest; only this thread may take from them.
        self.io.forget(rtp_mark(place), &seat.sockets.rtp);
        self.io.forget(rtcp_mark(place), &seat.sockets.rtcp);
        self.shared.pool().rest(now.at, seat.sockets);
        self.shared.legs.fetch_sub(1, Ordering::Relaxed);
        if recorded {
            self.courier.job(Job::Tell(closed));
        } else {
            self.courier.tell(closed);
        }
    }

    /// A fault in the code for one leg ends that leg; the others go on.
    fn abandon(&mut self) {
        for leg in self.rooms.abandon() {
            // The core closes them.
            self.courier.tell(MediaEvent::Broken { leg });
        }
        let Some(place) = self.current.take() else { return };
        let Some(leg) = self.legs.seats.get(place).map(|seat| seat.leg.key()) else { return };
        self.unbridge(leg);
        if let Some((place, seat)) = self.legs.remove(leg) {
            self.courier.job(Job::Break { leg });
            self.courier.tell(MediaEvent::Broken { leg });
            self.release(Now::read(), leg, place, seat);
        }
    }

    fn bridge(&mut self, a: LegKey, b: LegKey) {
        for (own, other) in [(a, b), (b, a)] {
            if self.shared.thread_of(own) != self.index {
                continue;
            }
            let other_is_here = self.shared.thread_of(other) == self.index;
            let place = self.legs.places.get(&other).copied();
            if !self.legs.places.contains_key(&own) || (other_is_here && place.is_none()) {
                continue;
            }
            let partner = Partner { side: Side::Leg(other), place };
            if self.legs.seat(own).is_some_and(|s| s.partner.is_some_and(|p| p != partner)) {
                self.unbridge(own);
            }
            self.on_leg(own, |seat| {
                seat.loading = None;
                seat.leg.bridge();
                seat.partner = Some(partner);
            });
        }
    }

    fn unbridge(&mut self, leg: LegKey) {
        let Some(partner) = self.legs.seat(leg).and_then(|seat| seat.partner) else { return };
        self.unpair(leg, partner.side);
        match partner.side {
            Side::Room(room) => self.leave(room, leg),
            Side::Leg(other) if partner.place.is_some() => self.unpair(other, Side::Leg(leg)),
            Side::Leg(other) => {
                // Were it lost, the other leg would send silence until the core has something else for it.
                let _told = self.shared.mailbox(other).post(Post::Unpair { leg: other, from: leg });
            }
        }
    }

    fn unpair(&mut self, leg: LegKey, from: Side) {
        if let Some(seat) = self.legs.seat(leg).filter(|s| s.partner.is_some_and(|p| p.side == from)) {
            seat.partner = None;
            seat.leg.unbridge();
            self.legs.settle_key(leg, &mut self.courier);
        }
    }
}

impl Legs {
    pub(super) fn seat(&mut self, leg: LegKey) -> Option<&mut Seat> {
        self.seats.get_mut(*self.places.get(&leg)?)
    }

    fn settle_key(&mut self, leg: LegKey, courier: &mut Courier) {
        if let Some(&place) = self.places.get(&leg) {
            self.settle(place, courier);
        }
    }

    /// After anything that happened to a leg: what it has to say, and whether it wants the clock now.
    fn settle(&mut self, place: usize, courier: &mut Courier) {
        let Some(seat) = self.seats.get_mut(place) else { return };
        seat.settle(courier);
        if !seat.ticking && seat.leg.wants_tick() {
            seat.ticking = true;
            if let Some(list) = self.ticking.get_mut(seat.phase) {
                list.push(place);
            }
        }
    }

    fn stop_ticking(&mut self, phase: usize, index: usize) {
        let Some(list) = self.ticking.get_mut(phase) else { return };
        let place = list.swap_remove(index);
        if let Some(seat) = self.seats.get_mut(place) {
            seat.ticking = false;
        }
    }

    fn remove(&mut self, leg: LegKey) -> Option<(usize, Seat)> {
        let place = self.places.remove(&leg)?;
        let seat = self.seats.try_remove(place)?;
        if let Some(list) = self.ticking.get_mut(seat.phase) {
            list.retain(|p| *p != place);
        }
        Some((place, seat))
    }
}

impl Seat {
    /// The socket by which reports go out, and its mark.
    fn control(&self, place: usize, muxed: bool) -> (u32, &UdpSocket) {
        (if muxed { rtp_mark(place) } else { rtcp_mark(place) }, self.sockets.control(muxed))
    }

    fn settle(&mut self, courier: &mut Courier) {
        while let Some((to, bytes)) = self.leg.poll_datagram() {
            // Rare: the beginning of a call with a browser.
            let _sent = self.sockets.rtp.send_to(&bytes, to);
        }
        while let Some(event) = self.leg.poll_event() {
            courier.tell(event);
        }
        while let Some(output) = self.leg.poll_take() {
            courier.job(match output {
                TakeOutput::Samples { take, samples } => Job::Samples { take, samples },
                TakeOutput::Ended { take, taken } => Job::End { take, taken },
            });
        }
    }
}

/// The marks of a leg's sockets for `Io`: its place, twice, and one more for RTCP.
fn rtp_mark(place: usize) -> u32 {
    place as u32 * 2
}

fn rtcp_mark(place: usize) -> u32 {
    place as u32 * 2 + 1
}
