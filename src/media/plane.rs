//! The media plane: a few threads, each with its own sockets and clock, apart from tokio. Commands go in and
//! events come out over bounded queues, as plain values.
//!
//! A leg lives on the thread that its key chooses. Legs of one thread are bridged directly; between threads
//! the packets go over a bounded queue. Per relayed packet there is no allocation, no lock and no log line.

use std::io;
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::sync::mpsc;

pub use super::batch::IoChoice;
use super::command::{Clip, MediaCommand, MediaEvent, Origin, Sound};
use super::dtls::Identity;
use super::leg::{Heard, MediaLeg};
use super::plane_thread::PlaneThread;
use super::ports::{EXPEDITED, PortPool};
use super::rtp::MAX_PAYLOAD;
use super::thread_setup::Place;
pub use super::thread_setup::Started;
use super::writer::{self, Done};
use crate::base::bounded::Full;
use crate::base::id::{LegKey, PlayKey, Rng, RoomKey};
use crate::base::time::Now;

/// Commands that wait for one thread; more are given back to the core.
const POSTS: usize = 4096;
/// Packets on their way to one thread; more are lost, as on a wire.
const CROSSINGS: usize = 512;
/// Events that wait for the core; each thread keeps the important ones when it is full.
const EVENTS: usize = 8192;
/// Work that waits for the disk; each thread keeps some more.
const JOBS: usize = 1024;
/// Threads at most.
const MAX_THREADS: usize = 64;

/// How the plane is laid out.
#[derive(Clone)]
pub struct PlaneConfig {
    /// RTP takes the even ports, RTCP the next.
    pub ports: RangeInclusive<u16>,
    /// How long a port rests before another leg gets it.
    pub quarantine: Duration,
    /// Media threads, from 1. One relays some thousands of legs.
    pub threads: usize,
    /// Legs at once; an `Open` beyond is answered by `OpenFailed`.
    pub max_legs: usize,
    /// Draws the order in which ports are used.
    pub seed: [u8; 32],
    /// Our certificate for browsers; without it none can be spoken with.
    pub identity: Option<Arc<Identity>>,
    pub io: IoChoice,
    /// The mark of what we send (RFC 2474), 0 to 63.
    pub dscp: u8,
    /// The cores that the threads stay on, one after the other; empty: any.
    pub cpus: Vec<usize>,
    /// Real-time priority of the threads, 1 to 99.
    pub realtime: Option<u8>,
}

impl Default for PlaneConfig {
    fn default() -> Self {
        Self {
            ports: 16_384..=32_767,
            quarantine: Duration::from_secs(10),
            threads: 1,
            max_legs: 4000,
            seed: [0; 32],
            identity: None,
            io: IoChoice::Auto,
            dscp: EXPEDITED,
            cpus: Vec::new(),
            realtime: None,
        }
    }
}

impl PlaneConfig {
    fn place(&self, index: usize) -> Place {
        let cpu = self.cpus.get(index % self.cpus.len().max(1)).copied();
        // All legs may come to one thread.
        Place { index, io: self.io, sockets: self.max_legs * 2, cpu, realtime: self.realtime }
    }
}

/// The plane's threads.
pub struct Plane;

impl Plane {
    /// Starts the threads and raises the limit of open files as far as the system allows (two per leg).
    pub fn start(config: PlaneConfig) -> io::Result<(PlaneHandle, mpsc::Receiver<MediaEvent>)> {
        raise_file_limit();
        let threads = config.threads.clamp(1, MAX_THREADS);
        let (events, receiver) = mpsc::channel(EVENTS);
        let (jobs, waiting) = sync_channel(JOBS);
        let (mailboxes, inboxes): (Vec<Mailbox>, Vec<Inbox>) =
            (0..threads).map(|_| Mailbox::new()).collect::<io::Result<Vec<_>>>()?.into_iter().unzip();
        let mut rng = Rng::from_seed(config.seed);
        let pool = PortPool::new(Now::read().at, config.ports.clone(), config.quarantine, &mut rng);
        let shared = Arc::new(Shared {
            pool: Mutex::new(pool.marked(config.dscp)),
            legs: AtomicUsize::new(0),
            max_legs: config.max_legs,
            mailboxes,
            events,
            identity: config.identity.clone(),
        });
        let (mut joins, mut started) = (Vec::new(), Vec::new());
        for (index, inbox) in inboxes.into_iter().enumerate() {
            let (place, shared, jobs) = (config.place(index), Arc::clone(&shared), jobs.clone());
            let (tell, told) = sync_channel(1);
            let live = move || PlaneThread::live(&place, shared, inbox, jobs, &tell);
            joins.push(Builder::new().name(format!("media-{index}")).spawn(live)?);
            started.push(told.recv().map_err(io::Error::other)??);
        }
        let told = Arc::clone(&shared);
        let writer = Builder::new().name("recordings".into());
        joins.push(writer.spawn(move || writer::run(&waiting, |done| told.on_done(done)))?);
        Ok((PlaneHandle { shared, joins, started }, receiver))
    }
}

/// The core's end of the plane. When it is dropped the plane ends by itself; `stop` waits for it.
pub struct PlaneHandle {
    shared: Arc<Shared>,
    joins: Vec<JoinHandle<()>>,
    started: Vec<Started>,
}

impl PlaneHandle {
    /// Gives a command to the thread that it is for; it comes back when that has too many waiting.
    #[expect(clippy::result_large_err, reason = "given back as it was, and rarely")]
    pub fn send(&self, command: MediaCommand) -> Result<(), Full<MediaCommand>> {
        if let MediaCommand::Bridge { a, b } = command {
            let (first, second) = (self.shared.mailbox(a), self.shared.mailbox(b));
            if !std::ptr::eq(first, second) {
                // Each side's thread joins its own; a repetition changes nothing.
                second.post(Post::Command(command.clone())).map_err(given_back)?;
            }
            return first.post(Post::Command(command)).map_err(given_back);
        }
        if let MediaCommand::Mix { room, leg } = command {
            // The room first: what the leg's thread tells it later must come after.
            let (first, second) = (self.shared.mailbox(room_seat(room)), self.shared.mailbox(leg));
            if !std::ptr::eq(first, second) {
                first.post(Post::Command(command.clone())).map_err(given_back)?;
            }
            return second.post(Post::Command(command)).map_err(given_back);
        }
        self.shared.mailbox(leg_of(&command)).post(Post::Command(command)).map_err(given_back)
    }

    /// What each thread has got of what it was to have.
    pub fn started(&self) -> &[Started] {
        &self.started
    }

    /// Legs that are open.
    pub fn legs(&self) -> usize {
        self.shared.legs.load(Ordering::Relaxed)
    }

    /// Ports that no leg has, those that rest included.
    pub fn free_ports(&self) -> usize {
        self.shared.pool().len()
    }

    /// Says goodbye on every leg, ends the recordings and waits until they are on the disk. Take the
    /// events meanwhile or drop their receiver first.
    pub fn stop(mut self) {
        self.shared.halt();
        for join in self.joins.drain(..) {
            // A thread that panicked has nothing left to wait for.
            let _ended = join.join();
        }
    }
}

impl Drop for PlaneHandle {
    fn drop(&mut self) {
        if !self.joins.is_empty() {
            self.shared.halt();
        }
    }
}

/// What all threads of the plane know.
pub(super) struct Shared {
    pool: Mutex<PortPool>,
    pub(super) legs: AtomicUsize,
    pub(super) max_legs: usize,
    mailboxes: Vec<Mailbox>,
    pub(super) events: mpsc::Sender<MediaEvent>,
    identity: Option<Arc<Identity>>,
}

impl Shared {
    /// Locked to open or close a leg only.
    pub(super) fn pool(&self) -> std::sync::MutexGuard<'_, PortPool> {
        self.pool.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A new leg's engine.
    pub(super) fn engine(&self, now: Now, leg: LegKey, origin: Origin) -> MediaLeg {
        let mut leg = MediaLeg::new(now, leg, origin);
        if let Some(identity) = &self.identity {
            leg.show(Arc::clone(identity));
        }
        leg
    }

    /// The thread on which a leg lives.
    pub(super) fn thread_of(&self, leg: LegKey) -> usize {
        (leg.0 % self.mailboxes.len().max(1) as u64) as usize
    }

    pub(super) fn mailbox_of(&self, side: Side) -> &Mailbox {
        match side {
            Side::Leg(leg) => self.mailbox(leg),
            Side::Room(room) => self.mailbox(room_seat(room)),
        }
    }

    pub(super) fn thread_of_room(&self, room: RoomKey) -> usize {
        self.thread_of(room_seat(room))
    }

    pub(super) fn mailbox(&self, leg: LegKey) -> &Mailbox {
        &self.mailboxes[self.thread_of(leg)]
    }

    fn halt(&self) {
        for mailbox in &self.mailboxes {
            mailbox.stop.store(true, Ordering::SeqCst);
            mailbox.wake();
        }
    }

    /// On the writer's thread, which may wait.
    fn on_done(&self, done: Done) {
        match done {
            Done::Event(event) => {
                // The core is gone: nobody has to know.
                let _told = self.events.blocking_send(event);
            }
            Done::Loaded { leg, play, clip } => {
                let mailbox = self.mailbox(leg);
                if mailbox.posts.send(Post::Loaded { leg, play, clip }).is_ok() {
                    mailbox.wake();
                }
            }
        }
    }
}

/// What a thread is told.
pub(super) enum Post {
    Command(MediaCommand),
    /// A recording was read.
    Loaded {
        leg: LegKey,
        play: PlayKey,
        clip: Option<Arc<Clip>>,
    },
    /// The other leg of the bridge has left it.
    Unpair {
        leg: LegKey,
        from: LegKey,
    },
    /// The leg has left the room.
    Leave {
        room: RoomKey,
        leg: LegKey,
    },
}

/// One end of a packet's way within the plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Leg(LegKey),
    Room(RoomKey),
}

/// A packet from a leg or room on one thread to one on another.
pub(super) struct Crossing {
    pub(super) from: Side,
    pub(super) to: Side,
    source: u32,
    sequence: u16,
    timestamp: u32,
    marker: bool,
    sound: Sound,
    length: usize,
    payload: [u8; MAX_PAYLOAD],
}

impl Crossing {
    pub(super) fn new(from: Side, to: Side, heard: &Heard<'_>) -> Self {
        let mut payload = [0; MAX_PAYLOAD];
        let length = heard.payload.len().min(MAX_PAYLOAD);
        payload[..length].copy_from_slice(&heard.payload[..length]);
        let Heard { source, sequence, timestamp, marker, sound, .. } = *heard;
        Self { from, to, source, sequence, timestamp, marker, sound, length, payload }
    }

    pub(super) fn heard(&self) -> Heard<'_> {
        let payload = self.payload.get(..self.length).unwrap_or_default();
        let Self { source, sequence, timestamp, marker, sound, .. } = *self;
        Heard { source, sequence, timestamp, marker, sound, payload }
    }
}

/// How to reach a thread.
pub(super) struct Mailbox {
    posts: SyncSender<Post>,
    crossings: SyncSender<Crossing>,
    wake: Arc<OwnedFd>,
    /// A wake-up is on its way.
    woken: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
}

/// The thread's end of it.
pub(super) struct Inbox {
    pub(super) posts: Receiver<Post>,
    pub(super) crossings: Receiver<Crossing>,
    pub(super) wake: Arc<OwnedFd>,
    woken: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
}

impl Mailbox {
    fn new() -> io::Result<(Self, Inbox)> {
        let (posts, posted) = sync_channel(POSTS);
        let (crossings, crossed) = sync_channel(CROSSINGS);
        let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
        let woken = Arc::new(AtomicBool::new(false));
        let stop = Arc::new(AtomicBool::new(false));
        let inbox = Inbox {
            posts: posted,
            crossings: crossed,
            wake: Arc::clone(&wake),
            woken: Arc::clone(&woken),
            stop: Arc::clone(&stop),
        };
        Ok((Self { posts, crossings, wake, woken, stop }, inbox))
    }

    #[expect(clippy::result_large_err, reason = "given back as it was, and rarely")]
    pub(super) fn post(&self, post: Post) -> Result<(), Full<Post>> {
        match self.posts.try_send(post) {
            Ok(()) => {
                self.wake();
                Ok(())
            }
            Err(TrySendError::Full(post) | TrySendError::Disconnected(post)) => Err(Full(post)),
        }
    }

    pub(super) fn cross(&self, crossing: Crossing) {
        if self.crossings.try_send(crossing).is_ok() {
            self.wake();
        }
    }

    fn wake(&self) {
        if !self.woken.swap(true, Ordering::SeqCst) {
            // Fails only when the counter is at its end, and then the thread is awake.
            let _written = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
        }
    }
}

impl Inbox {
    /// From here on a new post wakes the thread again; what came before is in the queues. The wake-up that came
    /// is taken first: taken later, a new one could go with it, and its post would wait for ever.
    pub(super) fn listen(&self, came: bool) {
        if came {
            // The count does not matter.
            let _read = rustix::io::read(&*self.wake, &mut [0; 8]);
        }
        self.woken.store(false, Ordering::SeqCst);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

fn given_back(Full(post): Full<Post>) -> Full<MediaCommand> {
    match post {
        Post::Command(command) => Full(command),
        Post::Loaded { leg, .. } | Post::Unpair { leg, .. } | Post::Leave { leg, .. } => {
            Full(MediaCommand::Stop { leg })
        }
    }
}

fn leg_of(command: &MediaCommand) -> LegKey {
    match command {
        MediaCommand::Open { leg, .. }
        | MediaCommand::Connect { leg, .. }
        | MediaCommand::Play { leg, .. }
        | MediaCommand::PlayFile { leg, .. }
        | MediaCommand::Hold { leg, .. }
        | MediaCommand::Stop { leg }
        | MediaCommand::Bridge { a: leg, .. }
        | MediaCommand::Unbridge { leg }
        | MediaCommand::Keys { leg, .. }
        | MediaCommand::Voice { leg, .. }
        | MediaCommand::Mix { leg, .. }
        | MediaCommand::Unmix { leg }
        | MediaCommand::SendDigit { leg, .. }
        | MediaCommand::Record { leg, .. }
        | MediaCommand::StopRecord { leg }
        | MediaCommand::Watch { leg, .. }
        | MediaCommand::Close { leg } => *leg,
        MediaCommand::Chime { room, .. } => room_seat(*room),
        MediaCommand::Discard { .. } => LegKey(0),
    }
}

/// A room lives where a leg of that number would.
fn room_seat(room: RoomKey) -> LegKey {
    LegKey(room.0)
}

/// The soft limit goes up to the hard one; when that is too low for all legs, `Open` will fail and say so.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _raised = setrlimit(Resource::Nofile, limit);
}

#[cfg(test)]
#[path = "plane_tests.rs"]
mod tests;

/// A key that breaks the leg which is to send it: no input from outside can.
#[cfg(test)]
pub(super) const BREAKS: char = '!';
