//! One core for what is measured and the others for who measures, and the scheduler's account of CPU time.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

pub struct Cores {
    measured: usize,
    others: CpuSet,
    alone: bool,
}

impl Cores {
    /// The last core is for what is measured; this thread, and all that it starts, goes to the others.
    pub fn share() -> Self {
        let all = sched_getaffinity(None).expect("Linux");
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).collect();
        let measured = cores.last().copied().unwrap_or(0);
        let alone = cores.len() < 2;
        let mut others = all;
        if !alone {
            others.unset(measured);
        }
        pin(&others);
        Self { measured, others, alone }
    }

    /// Threads and processes that are started within stay on the measured core.
    pub fn measured<T>(&self, start: impl FnOnce() -> T) -> T {
        let mut one = CpuSet::new();
        one.set(self.measured);
        pin(&one);
        let started = start();
        pin(&self.others);
        started
    }

    pub fn describe(&self) -> String {
        if self.alone {
            return "only one core: the far ends take their part of it, so throughput says little".to_owned();
        }
        format!("measured on core {}, the far ends on others", self.measured)
    }
}

fn pin(cores: &CpuSet) {
    sched_setaffinity(None, cores).expect("a core that was ours before");
}

/// CPU time of this process's thread with that name.
pub fn of_thread(name: &str) -> Duration {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux").filter_map(Result::ok);
    let named = |path: &Path| fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name);
    let thread = tasks.map(|entry| entry.path()).find(|path| named(path));
    on_cpu(&thread.expect("it runs"))
}

/// CPU time of all threads of a process.
pub fn of_process(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs").filter_map(Result::ok);
    tasks.map(|entry| on_cpu(&entry.path())).sum()
}

fn on_cpu(task: &Path) -> Duration {
    let account = fs::read_to_string(task.join("schedstat")).expect("scheduler statistics");
    let nanos = account.split_whitespace().next().and_then(|n| n.parse().ok());
    Duration::from_nanos(nanos.expect("a number"))
}

/// Threads of this process that something has started, apart from others of the same name.
pub struct Threads(Vec<PathBuf>);

impl Threads {
    pub fn of<T>(name: &str, start: impl FnOnce() -> T) -> (Self, T) {
        let before = named(name);
        let started = start();
        let new = named(name).into_iter().filter(|task| !before.contains(task)).collect();
        (Self(new), started)
    }

    pub fn cpu(&self) -> Duration {
        self.0.iter().map(|task| on_cpu(task)).sum()
    }
}

fn named(name: &str) -> Vec<PathBuf> {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux").filter_map(Result::ok);
    let is_named =
        |path: &PathBuf| fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name);
    tasks.map(|entry| entry.path()).filter(is_named).collect()
}

/// Resident memory of a process in bytes.
pub fn resident(pid: u32) -> f64 {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).expect("it runs");
    let pages: f64 = statm.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
    pages * 4096.0
}
