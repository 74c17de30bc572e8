//! The floor: counsellors' lines and the queues before them, as they stand now.

use std::sync::Arc;
use std::time::{Duration, Instant};

use indexmap::{IndexMap, IndexSet};

use super::call::{Attempts, Phase, Ticket};
use super::policy::Policy;
use super::{Owner, Switch, What};
use crate::base::id::{CallKey, LineKey};
use crate::base::time::Now;
use crate::callflow::machine::FlowEvent;
use crate::config::raw::{self, Reach};
use crate::routing::choose::{Choice, RoundRobin, choose};
use crate::routing::line::{Line, LineSettings, MissRule};
use crate::routing::queue::Queue;
use crate::telemetry::notice::{LineWord, Notice, Outcome};

/// Pause between two rounds over lines that all missed a caller.
const ROUND: Duration = Duration::from_secs(4);

/// A line and what was last told of it.
struct Place {
    line: Line,
    told: Option<LineWord>,
}

struct Room {
    settings: raw::Queue,
    /// Place in the config, for metrics.
    number: u32,
    lines: Vec<LineKey>,
    queue: Queue,
    round_robin: RoundRobin,
}

pub(super) struct Floor {
    lines: IndexMap<LineKey, Place>,
    rooms: IndexMap<Arc<str>, Room>,
    /// Queues where something has changed: a line may now ring for who waits there.
    due: IndexSet<Arc<str>>,
}

impl Floor {
    pub(super) fn new(now: Instant, policy: &Policy) -> Self {
        let mut floor = Self { lines: IndexMap::new(), rooms: IndexMap::new(), due: IndexSet::new() };
        floor.apply(now, policy);
        floor
    }

    /// A new configuration: lines and queues that stay keep their state; a queue that is gone stays until
    /// the last who waits in it has left.
    pub(super) fn apply(&mut self, now: Instant, policy: &Policy) {
        let mut lines = IndexMap::new();
        for (key, raw) in policy.lines() {
            let settings = settings(key, raw);
            let place = if let Some(mut place) = self.lines.swap_remove(&key) {
                place.line.settings = settings;
                place
            } else {
                let fixed = !matches!(raw.reach, Reach::Registers { .. });
                Place { line: Line::new(settings, raw.logged_in.value, fixed, now), told: None }
            };
            lines.insert(key, place);
        }
        // A line that is gone from the config finishes its call first.
        for (key, mut place) in std::mem::take(&mut self.lines) {
            if place.line.load() > 0 {
                place.line.log_out();
                lines.insert(key, place);
            }
        }
        self.lines = lines;
        let mut rooms = IndexMap::new();
        for (number, raw) in policy.config.queues.iter().enumerate() {
            let keys = raw.lines.iter().filter_map(|l| policy.line_named(&l.value)).collect();
            let capacity = raw.capacity.value as usize;
            let old = self.rooms.swap_remove(raw.name.value.as_str());
            let (mut queue, round_robin) = old
                .map_or_else(|| (Queue::new(capacity), RoundRobin::default()), |r| (r.queue, r.round_robin));
            queue.set_capacity(capacity);
            let room = Room { settings: raw.clone(), number: number as u32, lines: keys, queue, round_robin };
            rooms.insert(Arc::from(raw.name.value.as_str()), room);
        }
        rooms.extend(std::mem::take(&mut self.rooms).into_iter().filter(|(_, room)| !room.queue.is_empty()));
        self.rooms = rooms;
    }

    pub(super) fn line(&self, key: LineKey) -> Option<&Line> {
        self.lines.get(&key).map(|p| &p.line)
    }

    pub(super) fn line_mut(&mut self, key: LineKey) -> Option<&mut Line> {
        self.lines.get_mut(&key).map(|p| &mut p.line)
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.values().map(|p| &p.line)
    }

    pub(super) fn ring_time(&self, queue: &str) -> Option<Duration> {
        self.rooms.get(queue).map(|r| r.settings.ring.value)
    }

    pub(super) fn max_wait(&self, queue: &str) -> Duration {
        self.rooms.get(queue).map_or(Duration::ZERO, |r| r.settings.max_wait.value)
    }

    pub(super) fn wrap_up(&self, queue: Option<&str>) -> Duration {
        queue.and_then(|q| self.rooms.get(q)).map_or(Duration::ZERO, |r| r.settings.wrap_up.value)
    }

    pub(super) fn miss_rule(&self, queue: Option<&str>) -> MissRule {
        queue.and_then(|q| self.rooms.get(q)).map_or(MissRule { misses: 0, rest: Duration::ZERO }, |r| {
            MissRule { misses: r.settings.misses.value, rest: r.settings.rest.value }
        })
    }

    /// Callers who wait, over all queues.
    pub(super) fn waiting(&self) -> usize {
        self.rooms.values().map(|r| r.queue.len()).sum()
    }

    pub(super) fn serve(&mut self, queue: &str, call: CallKey, now: Instant) {
        if let Some(room) = self.rooms.get_mut(queue) {
            room.queue.serve(call, now);
        }
    }

    /// For a call whose code failed: nothing may stay behind.
    pub(super) fn leave_all(&mut self, call: CallKey) {
        for room in self.rooms.values_mut() {
            room.queue.leave(call);
        }
    }

    /// Whether no queue waits to be looked at.
    pub(super) fn is_looked_over(&self) -> bool {
        self.due.is_empty()
    }

    fn ringable_somewhere(&self, room: &Room, now: Instant) -> bool {
        room.lines.iter().any(|key| self.line(*key).is_some_and(|l| l.ringable(now).is_ok()))
    }

    fn is_staffed(&self, room: &Room) -> bool {
        room.lines.iter().any(|key| self.line(*key).is_some_and(Line::is_staffed))
    }

    fn choose(&mut self, queue: &str, zone: Option<&str>, tried: &[LineKey], now: Instant) -> Option<Choice> {
        let room = self.rooms.get(queue)?;
        let (strategy, keys) = (room.settings.strategy.value, &room.lines);
        let lines: Vec<&Line> = keys.iter().filter_map(|key| self.lines.get(key).map(|p| &p.line)).collect();
        let mut round_robin = room.round_robin;
        let choice = choose(strategy, &lines, zone, tried, &mut round_robin, now);
        self.rooms.get_mut(queue)?.round_robin = round_robin;
        Some(choice)
    }
}

impl Switch {
    /// Into a queue, or why not.
    pub(super) fn enqueue(&mut self, now: Now, key: CallKey, queue: &str) -> Option<FlowEvent> {
        let Some((name, room)) = self.floor.rooms.get_key_value(queue) else {
            return Some(FlowEvent::NobodyThere);
        };
        if !self.floor.is_staffed(room) {
            return Some(FlowEvent::NobodyThere);
        }
        let (name, max_wait, number) = (name.clone(), room.settings.max_wait.value, room.number);
        let call = self.calls.get_mut(&key)?;
        let zone = call.facts.zone.clone();
        let room = self.floor.rooms.get_mut(queue)?;
        if room.queue.join(key, zone, now.at).is_err() {
            return Some(FlowEvent::QueueFull);
        }
        let length = room.queue.len() as u32;
        call.queue = Some(name.clone());
        self.enter(
            now,
            key,
            Phase::Waiting(Ticket { queue: name.clone(), since: now.at, tried: Vec::new() }),
        );
        self.timers.set(Owner::Call(key), What::MaxWait, now.at + max_wait);
        self.notice(Notice::Queued { call: key, length });
        self.notice(Notice::QueueLength { queue: number, length });
        self.music(key);
        self.look(&name);
        None
    }

    /// Back to the place that the caller had, by the time it waited since.
    pub(super) fn requeue(&mut self, now: Now, key: CallKey, ticket: Ticket) {
        let Some(call) = self.calls.get(&key) else { return };
        let zone = call.facts.zone.clone();
        let waiting = crate::routing::queue::Waiting { call: key, zone, since: ticket.since };
        if let Some(room) = self.floor.rooms.get_mut(&ticket.queue) {
            room.queue.rejoin(waiting);
        }
        self.enter(now, key, Phase::Waiting(ticket));
    }

    pub(super) fn leave_queue(&mut self, key: CallKey, queue: &str) {
        let Some(room) = self.floor.rooms.get_mut(queue) else { return };
        if room.queue.leave(key).is_some() {
            self.told_length(queue);
        }
    }

    /// Tells how many wait.
    pub(super) fn told_length(&mut self, queue: &str) {
        let Some(room) = self.floor.rooms.get(queue) else { return };
        let (queue, length) = (room.number, room.queue.len() as u32);
        self.notice(Notice::QueueLength { queue, length });
    }

    /// Something has changed for who waits in this queue: it is looked at when this step is done. Not at once,
    /// since an attempt that fails on the spot asks for another look.
    pub(super) fn look(&mut self, queue: &Arc<str>) {
        self.floor.due.insert(queue.clone());
    }

    /// Looks at each queue that is due. What fails on the spot makes it due again, and ends, because each
    /// failure leaves its line out for that caller until the next round.
    pub(super) fn look_around(&mut self, now: Now) {
        while let Some(queue) = self.floor.due.pop() {
            self.ring_for_waiting(now, &queue);
        }
    }

    /// Rings lines for those who wait, longest waiting first, as long as a line can ring.
    fn ring_for_waiting(&mut self, now: Now, queue: &Arc<str>) {
        let Some(room) = self.floor.rooms.get(queue) else { return };
        if room.queue.is_empty() {
            return;
        }
        if !self.floor.is_staffed(room) {
            return self.nobody_left(now, queue);
        }
        // Asked first, because most looks find every line busy and a long queue is long to copy.
        if !self.floor.ringable_somewhere(room, now.at) {
            return;
        }
        let offered = |call| matches!(self.calls.get(&call).map(|c| &c.phase), Some(Phase::Offering(_)));
        let waiting: Vec<(CallKey, Option<String>)> =
            room.queue.iter().filter(|w| !offered(w.call)).map(|w| (w.call, w.zone.clone())).collect();
        for (call, zone) in waiting {
            let free = self.floor.rooms.get(queue).is_some_and(|r| self.floor.ringable_somewhere(r, now.at));
            if !free {
                return;
            }
            let Some(Phase::Waiting(ticket)) = self.calls.get(&call).map(|c| &c.phase) else { continue };
            let tried = ticket.tried.clone();
            let Some(choice) = self.floor.choose(queue, zone.as_deref(), &tried, now.at) else { return };
            if choice.lines.is_empty() {
                // All that could ring have missed this caller: another round, but not at once.
                if !self.timers.is_set(Owner::Call(call), What::Round) {
                    self.timers.set(Owner::Call(call), What::Round, now.at + ROUND);
                }
                continue;
            }
            self.working_for(call);
            self.offer_lines(now, call, &choice.lines);
        }
    }

    pub(super) fn look_everywhere(&mut self) {
        let Floor { rooms, due, .. } = &mut self.floor;
        due.extend(rooms.iter().filter(|(_, room)| !room.queue.is_empty()).map(|(name, _)| name.clone()));
    }

    pub(super) fn new_round(&mut self, key: CallKey) {
        let Some(Phase::Waiting(ticket)) = self.calls.get_mut(&key).map(|c| &mut c.phase) else { return };
        ticket.tried.clear();
        let queue = ticket.queue.clone();
        self.look(&queue);
    }

    /// The last counsellor has gone: those who wait are told, not left.
    fn nobody_left(&mut self, now: Now, queue: &Arc<str>) {
        let Some(room) = self.floor.rooms.get(queue) else { return };
        let waiting: Vec<CallKey> = room.queue.iter().map(|w| w.call).collect();
        for call in waiting {
            if matches!(self.calls.get(&call).map(|c| &c.phase), Some(Phase::Waiting(_))) {
                self.give_up(now, call, FlowEvent::NobodyThere, "nobody-there");
            }
        }
    }

    pub(super) fn waited_too_long(&mut self, now: Now, key: CallKey) {
        let waits = matches!(
            self.calls.get(&key).map(|c| &c.phase),
            Some(Phase::Waiting(_) | Phase::Offering(Attempts { ticket: Some(_), .. }))
        );
        if waits {
            self.give_up(now, key, FlowEvent::TooLong, "queue-too-long");
        }
    }

    /// The queue can't help: the script goes on, or, when it has ended (a transfer that fell through), the
    /// caller is told and referred.
    fn give_up(&mut self, now: Now, key: CallKey, event: FlowEvent, prompt: &str) {
        let scripted = self
            .calls
            .get(&key)
            .and_then(|c| c.machine.as_ref())
            .is_some_and(super::super::callflow::machine::Machine::is_waiting);
        if scripted {
            self.flow(now, key, event);
        } else {
            self.farewell(now, key, &[prompt, "last-resort", "goodbye"], Outcome::Goodbye);
        }
    }

    pub(super) fn position(&self, key: CallKey) -> Option<u32> {
        let call = self.calls.get(&key)?;
        match &call.phase {
            Phase::Waiting(ticket) | Phase::Offering(Attempts { ticket: Some(ticket), .. }) => {
                self.floor.rooms.get(&ticket.queue)?.queue.position(key)
            }
            _ => None,
        }
    }

    /// A line's state may have changed: it is told, its timer set, and those who wait are looked after.
    pub(super) fn line_changed(&mut self, now: Now, key: LineKey) {
        self.tell_line(now, key);
        self.look_everywhere();
    }

    pub(super) fn tell_lines(&mut self, now: Now) {
        let keys: Vec<LineKey> = self.floor.lines.keys().copied().collect();
        for key in keys {
            self.tell_line(now, key);
        }
    }

    pub(super) fn tell_line(&mut self, now: Now, key: LineKey) {
        let Some(place) = self.floor.lines.get_mut(&key) else { return };
        let word = place.line.word(now.at);
        let changed = place.told.replace(word) != Some(word);
        match place.line.next_change(now.at) {
            Some(at) => self.timers.set(Owner::Line(key), What::Line, at),
            None => self.timers.cancel(Owner::Line(key), What::Line),
        }
        if changed {
            self.notice(Notice::LineState { line: key, state: word });
            self.tell_watchers_of(now, key);
        }
    }
}

fn settings(key: LineKey, raw: &raw::Line) -> LineSettings {
    LineSettings {
        key,
        name: raw.name.value.clone(),
        capacity: raw.capacity.value,
        penalty: raw.penalty.value,
        zones: raw.zones.iter().map(|z| z.value.clone()).collect(),
    }
}
