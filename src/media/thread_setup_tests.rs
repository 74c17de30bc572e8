//! What the system says a thread has, held against what the thread says that it has got: granted and refused.

use std::sync::Arc;
use std::thread;

use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities, sched_getaffinity, set_capabilities};
use thread_priority::unix::thread_schedule_policy_param;

use super::*;

/// What a thread got, and what the system says of it.
struct Seen {
    started: Started,
    cpus: Vec<usize>,
    /// `None`: none that comes before others.
    realtime: Option<u8>,
}

/// Begins on a thread of its own, after `before`, as a media thread does.
fn begun(cpu: Option<usize>, realtime: Option<u8>, before: impl FnOnce() + Send + 'static) -> Seen {
    let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).expect("made"));
    let place = Place { index: 0, io: IoChoice::Epoll, sockets: 4, cpu, realtime };
    let live = move || {
        before();
        let (mut io, started) = begin(&place, &wake).expect("a thread works whatever is refused");
        rustix::io::write(&*wake, &1u64.to_ne_bytes()).expect("written");
        assert!(io.wait(None), "it hears its wake-up");
        Seen { started, cpus: cpus(), realtime: priority() }
    };
    thread::spawn(live).join().expect("ended")
}

fn cpus() -> Vec<usize> {
    let set = sched_getaffinity(None).expect("asked");
    (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect()
}

fn priority() -> Option<u8> {
    let (policy, params) = thread_schedule_policy_param(thread_native_id()).expect("asked");
    matches!(policy, ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin))
        .then_some(params.sched_priority as u8)
}

#[test]
fn each_core_that_is_there_is_granted_and_the_thread_stays_on_it_alone() {
    for cpu in cpus() {
        let seen = begun(Some(cpu), None, || {});
        assert_eq!((seen.started.cpu, seen.cpus), (Some(cpu), vec![cpu]));
        assert_eq!((seen.started.realtime, seen.realtime), (None, None), "nobody asked for it");
    }
}

#[test]
fn a_core_that_is_not_there_is_refused_and_the_thread_runs_on_any() {
    let all = cpus();
    let absent = (0..CpuSet::MAX_CPU).rev().find(|cpu| !all.contains(cpu)).expect("not that many cores");
    for cpu in [absent, CpuSet::MAX_CPU, usize::MAX] {
        let seen = begun(Some(cpu), None, || {});
        assert_eq!((seen.started.cpu, &seen.cpus), (None, &all), "core {cpu}");
    }
}

#[test]
fn a_priority_is_told_as_the_system_has_it_granted_or_not() {
    for wanted in [1, 10, 99] {
        let seen = begun(None, Some(wanted), || {});
        assert_eq!(seen.started.realtime, seen.realtime, "{wanted}");
        assert!(seen.realtime.is_none_or(|got| got == wanted), "{:?} for {wanted}", seen.realtime);
        if seen.realtime.is_none() {
            println!("the system grants no real-time priority {wanted} here: only its refusal is tried");
        }
    }
}

#[test]
fn who_may_have_no_priority_is_refused_it_and_works_without() {
    if getrlimit(Resource::Rtprio).current != Some(0) {
        println!("a limit of this system grants priorities to anybody: not tried");
        return;
    }
    let without_right = || {
        let mut sets = capabilities(None).expect("asked");
        sets.effective.remove(CapabilitySet::SYS_NICE);
        sets.permitted.remove(CapabilitySet::SYS_NICE);
        sets.inheritable.remove(CapabilitySet::SYS_NICE);
        // Of this thread alone.
        set_capabilities(None, sets).expect("given up");
    };
    let cpu = cpus()[0];
    let seen = begun(Some(cpu), Some(10), without_right);
    assert_eq!((seen.started.realtime, seen.realtime), (None, None));
    assert_eq!((seen.started.cpu, seen.cpus), (Some(cpu), vec![cpu]), "its core all the same");
}
