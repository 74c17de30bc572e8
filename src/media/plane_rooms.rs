//! Rooms on a media thread. A room lives on the thread that its key chooses; what its legs on other threads hear, and
//! what they are to hear, crosses as the packets of a bridge do.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::command::{Clip, MOST_IN_A_ROOM, Sound};
use super::leg::Heard;
use super::mixer::Room;
use super::outgoing::MAX_FRAME;
use super::plane::{Post, Side};
use super::plane_thread::{PHASES, Partner, PlaneThread};
use crate::base::id::{LegKey, RoomKey};
use crate::base::time::Now;

/// The rooms of one thread.
#[derive(Default)]
pub(super) struct Rooms {
    table: BTreeMap<RoomKey, Room>,
    /// The room being worked on, so that a fault in its code ends it alone.
    current: Option<RoomKey>,
}

/// What one leg of a room is to be sent.
pub(super) struct Mixed {
    pub leg: LegKey,
    source: u32,
    sequence: u16,
    timestamp: u32,
    sound: Sound,
    payload: [u8; MAX_FRAME],
    length: usize,
}

impl Mixed {
    pub(super) fn heard(&self) -> Heard<'_> {
        let payload = self.payload.get(..self.length).unwrap_or_default();
        let Self { source, sequence, timestamp, sound, .. } = *self;
        Heard { source, sequence, timestamp, marker: false, sound, payload }
    }
}

impl Rooms {
    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The first makes the room. There are never more of them than legs.
    pub(super) fn join(&mut self, room: RoomKey, leg: LegKey) {
        self.table.entry(room).or_insert_with(|| Room::new(room)).join(leg);
    }

    /// The last takes the room along.
    pub(super) fn leave(&mut self, key: RoomKey, leg: LegKey) {
        let Some(room) = self.table.get_mut(&key) else { return };
        room.leave(leg);
        if room.is_empty() {
            self.table.remove(&key);
        }
    }

    pub(super) fn chime(&mut self, room: RoomKey, clip: Arc<Clip>) {
        if let Some(room) = self.table.get_mut(&room) {
            room.chime(clip);
        }
    }

    pub(super) fn hear(&mut self, room: RoomKey, leg: LegKey, heard: &Heard<'_>) {
        if let Some(found) = self.table.get_mut(&room) {
            self.current = Some(room);
            found.hear(leg, heard);
            self.current = None;
        }
    }

    /// The next room after that one which has its tick in this phase, of so many; with `None` the first.
    pub(super) fn next(&self, after: Option<RoomKey>, (phase, phases): (usize, usize)) -> Option<RoomKey> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rooms = self.table.range((from, Bound::Unbounded)).map(|(key, _)| *key);
        rooms.find(|key| key.0 % phases as u64 == phase as u64)
    }

    /// Whether the room has something to send now.
    pub(super) fn tick(&mut self, room: RoomKey) -> bool {
        self.current = Some(room);
        let sends = self.table.get_mut(&room).is_some_and(Room::tick);
        self.current = None;
        sends
    }

    /// What the leg at that place is to be sent, taken out of the room so that it can cross.
    pub(super) fn mixed(&self, room: RoomKey, place: usize) -> Option<Mixed> {
        let (leg, heard) = self.table.get(&room)?.heard_by(place)?;
        let (mut payload, length) = ([0; MAX_FRAME], heard.payload.len());
        payload.get_mut(..length)?.copy_from_slice(heard.payload);
        let Heard { source, sequence, timestamp, sound, .. } = heard;
        Some(Mixed { leg, source, sequence, timestamp, sound, payload, length })
    }

    /// The room in whose code a fault was is no more; its legs.
    pub(super) fn abandon(&mut self) -> Vec<LegKey> {
        let room = self.current.take().and_then(|key| self.table.remove(&key));
        room.map_or_else(Vec::new, |room| room.legs().collect())
    }
}

impl PlaneThread {
    /// Into a room. The other side of a bridge is not told: it comes too, or the core has something else for it.
    pub(super) fn mix(&mut self, room: RoomKey, leg: LegKey) {
        if self.shared.thread_of_room(room) == self.index {
            self.rooms.join(room, leg);
        }
        if self.shared.thread_of(leg) != self.index {
            return;
        }
        let side = Side::Room(room);
        let before = self.legs.seat(leg).map(|seat| seat.partner.replace(Partner { side, place: None }));
        match before {
            Some(Some(Partner { side: Side::Room(other), .. })) if other != room => self.leave(other, leg),
            Some(_) => {}
            // Gone meanwhile: the room must not wait for it.
            None => self.leave(room, leg),
        }
        self.on_leg(leg, |seat| {
            seat.loading = None;
            seat.leg.bridge();
        });
    }

    pub(super) fn leave(&mut self, room: RoomKey, leg: LegKey) {
        if self.shared.thread_of_room(room) == self.index {
            self.rooms.leave(room, leg);
        } else {
            // Were it lost, the room would have a silent member until its last leg goes.
            let _told = self.shared.mailbox_of(Side::Room(room)).post(Post::Leave { room, leg });
        }
    }

    pub(super) fn tick_rooms(&mut self, due: Now, phase: usize) {
        let mut last = None;
        while let Some(room) = self.rooms.next(last, (phase, PHASES)) {
            last = Some(room);
            if !self.rooms.tick(room) {
                continue;
            }
            for place in 0..MOST_IN_A_ROOM {
                let Some(mixed) = self.rooms.mixed(room, place) else { break };
                if mixed.length == 0 {
                    continue;
                }
                let seat = self.legs.places.get(&mixed.leg).copied();
                self.current = seat;
                let to = Partner { side: Side::Leg(mixed.leg), place: seat };
                self.pass(due, Side::Room(room), to, &mixed.heard());
            }
        }
        self.current = None;
    }
}
