//! How a media thread begins: the way it does I/O, the core it stays on, its priority. What the system refuses is
//! told, and the thread works without.

use std::io;
use std::os::fd::OwnedFd;

use rustix::thread::{CpuSet, sched_setaffinity};
use thread_priority::unix::{set_thread_priority_and_policy, thread_native_id};
use thread_priority::{RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy};

use super::batch::{Io, IoChoice};

/// What one thread is to have.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) index: usize,
    pub(super) io: IoChoice,
    /// Sockets at most.
    pub(super) sockets: usize,
    pub(super) cpu: Option<usize>,
    pub(super) realtime: Option<u8>,
}

/// What a thread has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// Never `Auto`.
    pub io: IoChoice,
    /// The core that it stays on.
    pub cpu: Option<usize>,
    /// Its real-time priority.
    pub realtime: Option<u8>,
}

/// On the thread itself.
pub(super) fn begin(place: &Place, wake: &OwnedFd) -> io::Result<(Io, Started)> {
    let cpu = place.cpu.filter(|cpu| stay_on(*cpu));
    let realtime = place.realtime.filter(|priority| raise(*priority));
    let io = Io::new(place.io, place.sockets, wake)?;
    let started = Started { io: io.chosen(), cpu, realtime };
    Ok((io, started))
}

fn stay_on(cpu: usize) -> bool {
    if cpu >= CpuSet::MAX_CPU {
        return false;
    }
    let mut one = CpuSet::new();
    one.set(cpu);
    sched_setaffinity(None, &one).is_ok()
}

/// Round robin, so that two media threads on one core share it.
fn raise(priority: u8) -> bool {
    let Ok(value) = priority.try_into() else { return false };
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin);
    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Crossplatform(value), policy).is_ok()
}

#[cfg(test)]
#[path = "thread_setup_tests.rs"]
mod tests;
