//! What `serve` must do on the disk beside the store: it measures the free space, counts the messages, deletes those
//! that have had their time, and spools rows that the store did not take. On a thread of its own, since a disk may hang, and a
//! call must be answered all the same.

use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;

use crate::base::time::Now;
use crate::store::messages::Messages;
use crate::store::request::MessageRow;
use crate::store::spool;

/// How often free space is measured.
const MEASURE: Duration = Duration::from_secs(1);
/// How often messages are counted: `hulplijn messages done` is another process, which tells nobody.
const COUNT: Duration = Duration::from_secs(10);
/// Jobs that wait for the disk. A row beyond is refused, and the operator told.
const MOST_JOBS: usize = 1024;
/// What is told and waits for `serve`.
const MOST_TOLD: usize = 64;
/// How long the end waits for what is still to be written.
const LAST_WRITES: Duration = Duration::from_secs(5);

enum Job {
    /// Delete what was handled before this time.
    Forget {
        before: DateTime<Utc>,
    },
    Spool(MessageRow),
    Count,
}

/// What the thread tells.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    Free {
        mebibytes: u64,
    },
    /// Messages that wait, and those that were handled.
    Messages {
        new: u32,
        done: u32,
    },
    /// Messages could not be deleted, or a row could not be spooled.
    Failed,
}

/// The thread's handle.
pub struct Upkeep {
    jobs: SyncSender<Job>,
    ended: Receiver<()>,
}

impl Upkeep {
    /// Starts the thread for this data directory.
    pub fn start(data: &Path) -> io::Result<(Self, mpsc::Receiver<Told>)> {
        let (jobs, inbox) = sync_channel(MOST_JOBS);
        let (told, outlet) = mpsc::channel(MOST_TOLD);
        let (end, ended) = sync_channel(1);
        let data = data.to_owned();
        thread::Builder::new().name("upkeep".to_owned()).spawn(move || {
            run(&data, &inbox, &told);
            let _ = end.send(());
        })?;
        Ok((Self { jobs, ended }, outlet))
    }

    /// Deletes messages that were handled before this time. Left out while the disk has not kept up: the next
    /// hour brings it again.
    pub fn forget(&self, before: DateTime<Utc>) {
        let _ = self.jobs.try_send(Job::Forget { before });
    }

    /// Keeps a row beside its recording. `false`: it could not be accepted.
    #[must_use]
    pub fn spool(&self, row: MessageRow) -> bool {
        match self.jobs.try_send(Job::Spool(row)) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }

    /// Counts the messages now: one was saved. Left out while the disk has not kept up, since it counts by itself.
    pub fn count(&self) {
        let _ = self.jobs.try_send(Job::Count);
    }

    /// Ends the thread when all is written. A disk that hangs is not waited for: `false`, and rows may be lost.
    pub fn close(self) -> bool {
        drop(self.jobs);
        self.ended.recv_timeout(LAST_WRITES).is_ok()
    }
}

fn run(data: &Path, jobs: &Receiver<Job>, told: &mpsc::Sender<Told>) {
    let mut measure_at = Now::read().at;
    let mut count_at = measure_at;
    loop {
        let wait = measure_at.saturating_duration_since(Now::read().at);
        let done = match jobs.recv_timeout(wait) {
            Ok(Job::Forget { before }) => Messages::open(data).delete_done_before(before).is_ok(),
            Ok(Job::Spool(row)) => spool::write(data, &row).is_ok(),
            Ok(Job::Count) => {
                count_at = Now::read().at;
                true
            }
            Err(RecvTimeoutError::Timeout) => true,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if !done {
            // When even this finds no room, there is trouble enough to be seen.
            let _ = told.try_send(Told::Failed);
        }
        if Now::read().at >= count_at {
            count_at = Now::read().at + COUNT;
            tell_count(data, told);
        }
        if Now::read().at >= measure_at {
            measure_at = next_measure(Now::read().at);
            if let Some(mebibytes) = free_mebibytes(data) {
                let _ = told.try_send(Told::Free { mebibytes });
            }
        }
    }
}

/// What can't be counted is not told: that the database refuses is said elsewhere.
fn tell_count(data: &Path, told: &mpsc::Sender<Told>) {
    let messages = Messages::open(data);
    if messages.trouble().is_some() {
        return;
    }
    if let Ok((new, done)) = messages.count() {
        let _ = told.try_send(Told::Messages { new, done });
    }
}

fn next_measure(now: Instant) -> Instant {
    now + MEASURE
}

fn free_mebibytes(data: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(data).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize) >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::database::{Database, create_folders};
    use crate::store::request::MessageState;
    use crate::store::sqlite::tests::{Scratch, row};

    #[test]
    fn rows_that_were_accepted_are_on_the_disk_when_it_has_closed() {
        let scratch = Scratch::new();
        create_folders(scratch.path()).expect("made");
        let (upkeep, _told) = Upkeep::start(scratch.path()).expect("started");
        for id in ["aaa1", "aaa2"] {
            assert!(upkeep.spool(row(id)));
        }
        assert!(upkeep.close());
        assert_eq!(spool::ids(scratch.path()).len(), 2);
    }

    #[test]
    fn messages_are_counted_at_the_start_and_when_asked() {
        let scratch = Scratch::new();
        create_folders(scratch.path()).expect("made");
        let database = Database::open(scratch.path()).expect("opens");
        for id in ["aaa1", "aaa2", "aaa3"] {
            database.save(&MessageRow { state: MessageState::New, ..row(id) }).expect("saved");
        }
        let (upkeep, mut told) = Upkeep::start(scratch.path()).expect("started");
        Messages::open(scratch.path()).set_done("aaa1").expect("done");
        upkeep.count();
        assert!(upkeep.close());
        let told: Vec<Told> = std::iter::from_fn(|| told.try_recv().ok()).collect();
        let last = told.iter().rev().find(|told| matches!(told, Told::Messages { .. }));
        assert_eq!(last, Some(&Told::Messages { new: 2, done: 1 }), "{told:?}");
    }

    #[test]
    fn what_was_handled_long_ago_is_deleted_and_a_failure_is_told() {
        let scratch = Scratch::new();
        create_folders(scratch.path()).expect("made");
        let database = Database::open(scratch.path()).expect("opens");
        database.save(&MessageRow { state: MessageState::New, ..row("aaa1") }).expect("saved");
        Messages::open(scratch.path()).set_done("aaa1").expect("done");
        let (upkeep, mut told) = Upkeep::start(scratch.path()).expect("started");
        upkeep.forget(Now::read().utc + chrono::Duration::hours(1));
        assert!(upkeep.close());
        assert_eq!(Messages::open(scratch.path()).list().expect("listed").len(), 0);
        let told: Vec<Told> = std::iter::from_fn(|| told.try_recv().ok()).collect();
        assert!(told.iter().any(|told| matches!(told, Told::Free { .. })), "{told:?}");

        let (upkeep, mut told) = Upkeep::start(&scratch.path().join("not-there")).expect("started");
        assert!(upkeep.spool(row("aaa2")));
        assert!(upkeep.close());
        assert!(std::iter::from_fn(|| told.try_recv().ok()).any(|told| told == Told::Failed));
    }
}
