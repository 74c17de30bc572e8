//! What a media thread owes to the core and to the disk.

use std::collections::{BTreeSet, VecDeque};
use std::sync::mpsc::{SyncSender, TrySendError};

use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError as EventNotSent;

use super::command::{MediaEvent, RecordEnd};
use super::writer::Job;
use crate::base::id::TakeKey;

/// Beyond so many waiting events, those that a core can miss are dropped; beyond the second, all.
const MAX_WAITING: usize = 4096;
const MAX_WAITING_ALL: usize = 65_536;
/// Jobs that wait for the disk; samples beyond are lost and their recording ends as `Disk`.
const MAX_JOBS: usize = 2048;

/// Carries events to the core and jobs to the writer, and keeps them while those are busy: the clock
/// never waits.
pub(super) struct Courier {
    events_to: Sender<MediaEvent>,
    events: VecDeque<MediaEvent>,
    jobs_to: SyncSender<Job>,
    jobs: VecDeque<Job>,
    /// Recordings that lost samples because the disk was too slow.
    starved: BTreeSet<TakeKey>,
}

impl Courier {
    pub(super) fn new(events_to: Sender<MediaEvent>, jobs_to: SyncSender<Job>) -> Self {
        let (events, jobs, starved) = (VecDeque::new(), VecDeque::new(), BTreeSet::new());
        Self { events_to, events, jobs_to, jobs, starved }
    }

    pub(super) fn tell(&mut self, event: MediaEvent) {
        let minor = matches!(
            event,
            MediaEvent::Digit { .. }
                | MediaEvent::Flowing { .. }
                | MediaEvent::Silent { .. }
                | MediaEvent::Speaking { .. }
                | MediaEvent::Quiet { .. }
        );
        if self.events.len() < if minor { MAX_WAITING } else { MAX_WAITING_ALL } {
            self.events.push_back(event);
            self.push_events();
        }
    }

    pub(super) fn job(&mut self, mut job: Job) {
        match &mut job {
            Job::Samples { take, .. } if self.jobs.len() >= MAX_JOBS => {
                self.starved.insert(*take);
                return;
            }
            Job::End { take, taken } if self.starved.remove(take) => taken.end = RecordEnd::Disk,
            _ => {}
        }
        self.jobs.push_back(job);
        self.push_jobs();
    }

    pub(super) fn push(&mut self) {
        self.push_events();
        self.push_jobs();
    }

    fn push_events(&mut self) {
        while let Some(event) = self.events.pop_front() {
            match self.events_to.try_send(event) {
                Ok(()) => {}
                Err(EventNotSent::Full(event)) => return self.events.push_front(event),
                // The core is gone.
                Err(EventNotSent::Closed(_)) => return self.events.clear(),
            }
        }
    }

    fn push_jobs(&mut self) {
        while let Some(job) = self.jobs.pop_front() {
            match self.jobs_to.try_send(job) {
                Ok(()) => {}
                Err(TrySendError::Full(job)) => return self.jobs.push_front(job),
                Err(TrySendError::Disconnected(_)) => return self.jobs.clear(),
            }
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.events.is_empty() && self.jobs.is_empty()
    }

    /// At the end the disk may be waited for.
    pub(super) fn finish(mut self) {
        self.push_events();
        for job in self.jobs.drain(..) {
            if self.jobs_to.send(job).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::super::record::Taken;
    use super::*;

    #[test]
    fn a_disk_that_takes_nothing_fills_a_queue_with_an_end_and_the_message_is_told_to_be_incomplete() {
        let (events, _core) = tokio::sync::mpsc::channel(1);
        let (writer, disk) = sync_channel(1);
        let mut courier = Courier::new(events, writer);
        for (take, parts) in [(TakeKey(1), 3 * MAX_JOBS), (TakeKey(2), 0)] {
            for _ in 0..parts {
                courier.job(Job::Samples { take, samples: vec![0; 160] });
            }
            let taken = Taken { end: RecordEnd::Key, samples: 0, voice: true };
            courier.job(Job::End { take, taken });
        }
        assert!(courier.jobs.len() <= MAX_JOBS + 2 && !courier.is_idle());
        // The disk is there again: of the one whose samples were lost that is said, of the other nothing.
        let mut ends = Vec::new();
        while !courier.is_idle() {
            courier.push();
            while let Ok(job) = disk.try_recv() {
                if let Job::End { take, taken } = job {
                    ends.push((take, taken.end));
                }
            }
        }
        ends.extend(disk.try_iter().filter_map(|job| match job {
            Job::End { take, taken } => Some((take, taken.end)),
            _ => None,
        }));
        assert_eq!(ends, [(TakeKey(1), RecordEnd::Disk), (TakeKey(2), RecordEnd::Key)]);
        assert!(courier.starved.is_empty());
    }
}
