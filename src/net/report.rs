//! Drops and failures on their way to the core. They are noted without waiting, and go out when the
//! core has room: then as one report a reason, so a flood costs no memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::NetInput;
use super::inlet::Entrance;
use crate::base::bounded::BoundedQueue;
use crate::sip::flow::Destination;
use crate::telemetry::notice;

/// Failures that wait for the core. Past it they are only counted: the transaction's timer notices.
const FAILURES: usize = 4096;

#[derive(Debug)]
pub(super) struct Reporter {
    pending: Mutex<Pending>,
    wake: Notify,
}

#[derive(Debug)]
struct Pending {
    drops: BTreeMap<notice::Drop, u64>,
    failures: BoundedQueue<Destination>,
}

impl Reporter {
    pub(super) fn new() -> Self {
        let pending = Pending { drops: BTreeMap::new(), failures: BoundedQueue::new(FAILURES) };
        Self { pending: Mutex::new(pending), wake: Notify::new() }
    }

    pub(super) fn dropped(&self, reason: notice::Drop) {
        *self.lock().drops.entry(reason).or_default() += 1;
        self.wake.notify_one();
    }

    pub(super) fn failed(&self, to: Destination) {
        let mut pending = self.lock();
        if pending.failures.push(to).is_err() {
            *pending.drops.entry(notice::Drop::OutputFull).or_default() += 1;
        }
        drop(pending);
        self.wake.notify_one();
    }

    /// Brings reports to the core for as long as there is one.
    pub(super) async fn run(self: Arc<Self>, inputs: Entrance) {
        loop {
            while let Some(report) = self.next() {
                if !inputs.report(report).await {
                    return;
                }
            }
            self.wake.notified().await;
        }
    }

    fn next(&self) -> Option<NetInput> {
        let mut pending = self.lock();
        if let Some(to) = pending.failures.pop() {
            return Some(NetInput::Failed { to });
        }
        pending.drops.pop_first().map(|(reason, count)| NetInput::Dropped { reason, count })
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
