//! Whether the switch lives and whether it can do its whole work.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::notice::Notice;

/// The core turns at least this often; when it did not, the process should be restarted.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// What keeps the switch from its whole work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trouble {
    /// Not yet listening.
    Starting,
    /// SIGTERM came: no new calls.
    Draining,
    /// Messages go to the spool; calls are answered all the same.
    StoreFailed,
    /// The data folder can't be written; calls are answered all the same.
    NoMessages,
    /// No message can be recorded; calls are answered all the same.
    DiskFull,
    MediaFailed,
    /// The running configuration is not the one on the disk. A warning: everything works.
    ConfigRefused,
    /// Some prompts could not be loaded. A warning: others are heard in their place.
    PromptsMissing,
}

impl Trouble {
    /// As the answer to `/health/ready` writes it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Starting => "starting: not listening yet",
            Self::Draining => "draining: no new calls are taken",
            Self::StoreFailed => "store failed: messages wait in the spool, calls are answered",
            Self::NoMessages => "no messages: the data folder can't be written, calls are answered",
            Self::DiskFull => "disk full: no messages can be recorded, calls are answered",
            Self::MediaFailed => "media failed: calls can't be given sound",
            Self::ConfigRefused => "config refused: the earlier one is in force",
            Self::PromptsMissing => {
                "prompts missing: callers hear another language or the emergency numbers instead"
            }
        }
    }

    /// A warning is shown but leaves the switch ready.
    pub fn is_warning(self) -> bool {
        matches!(self, Self::ConfigRefused | Self::PromptsMissing)
    }
}

/// The answer to `/health/ready`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    pub ready: bool,
    /// Everything that is wrong, warnings included.
    pub troubles: Vec<Trouble>,
}

impl Readiness {
    /// One line each, `ready` or `not ready` first.
    pub fn text(&self) -> String {
        let head = if self.ready { "ready\n" } else { "not ready\n" };
        self.troubles.iter().fold(head.to_owned(), |text, trouble| text + trouble.words() + "\n")
    }
}

/// Health as the driver keeps it and the console reads it. Begins with `Starting`.
#[derive(Debug)]
pub struct Health(Mutex<State>);

#[derive(Debug)]
struct State {
    troubles: BTreeSet<Trouble>,
    beat: Option<Instant>,
}

impl Health {
    pub fn new() -> Self {
        Self(Mutex::new(State { troubles: BTreeSet::from([Trouble::Starting]), beat: None }))
    }

    /// Sets or clears a trouble.
    pub fn set(&self, trouble: Trouble, present: bool) {
        self.change(|state| {
            if present {
                state.troubles.insert(trouble)
            } else {
                state.troubles.remove(&trouble)
            };
        });
    }

    /// Takes over what a notice says. Store, disk and media are cleared by `set`, by whoever sees them
    /// work again.
    pub fn note(&self, notice: &Notice) {
        match notice {
            Notice::Started { .. } => self.set(Trouble::Starting, false),
            Notice::StoreFailed => self.set(Trouble::StoreFailed, true),
            // A folder that can't be written says so already, and the disk may be empty.
            Notice::DiskFull => self.change(|state| {
                if !state.troubles.contains(&Trouble::NoMessages) {
                    state.troubles.insert(Trouble::DiskFull);
                }
            }),
            Notice::MediaFailed => self.set(Trouble::MediaFailed, true),
            Notice::PromptMissing => self.set(Trouble::PromptsMissing, true),
            // A message that was recorded whole found room.
            Notice::MessageTaken { .. } => self.set(Trouble::DiskFull, false),
            // What is still missing then is told after it.
            Notice::ConfigApplied { .. } => {
                self.set(Trouble::ConfigRefused, false);
                self.set(Trouble::PromptsMissing, false);
            }
            Notice::ConfigRefused { .. } => self.set(Trouble::ConfigRefused, true),
            Notice::Draining { .. } => self.set(Trouble::Draining, true),
            _ => {}
        }
    }

    /// The core has turned.
    pub fn beat(&self, now: Instant) {
        self.change(|state| state.beat = Some(now));
    }

    /// Whether the core has turned lately (or not begun yet).
    pub fn live(&self, now: Instant) -> bool {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.beat.is_none_or(|beat| now.saturating_duration_since(beat) < HEARTBEAT)
    }

    pub fn readiness(&self) -> Readiness {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Readiness {
            ready: state.troubles.iter().all(|trouble| trouble.is_warning()),
            troubles: state.troubles.iter().copied().collect(),
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Now;

    #[test]
    fn ready_says_why_not_and_a_refused_config_is_a_warning() {
        let health = Health::new();
        assert!(!health.readiness().ready, "starting");
        health.note(&Notice::Started { generation: 1 });
        assert_eq!(health.readiness().text(), "ready\n");
        health.note(&Notice::ConfigRefused { mistakes: 2 });
        assert!(health.readiness().ready);
        health.note(&Notice::StoreFailed);
        let readiness = health.readiness();
        assert!(!readiness.ready);
        assert_eq!(readiness.troubles, [Trouble::StoreFailed, Trouble::ConfigRefused]);
        assert!(readiness.text().starts_with("not ready\nstore failed: "));
        health.set(Trouble::StoreFailed, false);
        health.note(&Notice::ConfigApplied { generation: 2 });
        assert_eq!(health.readiness(), Readiness { ready: true, troubles: Vec::new() });
        health.note(&Notice::PromptMissing);
        assert!(health.readiness().ready && health.readiness().text().contains("prompts missing"));
        health.note(&Notice::ConfigApplied { generation: 3 });
        assert_eq!(health.readiness().text(), "ready\n");
        health.note(&Notice::Draining { calls: 3 });
        assert!(!health.readiness().ready);
    }

    #[test]
    fn a_data_folder_that_cannot_be_written_is_not_told_as_a_full_disk_too() {
        let health = Health::new();
        health.note(&Notice::Started { generation: 1 });
        health.set(Trouble::NoMessages, true);
        health.note(&Notice::DiskFull);
        assert_eq!(health.readiness(), Readiness { ready: false, troubles: vec![Trouble::NoMessages] });
    }

    #[test]
    fn a_core_that_stands_still_is_not_live() {
        let (health, t0) = (Health::new(), Now::read().at);
        assert!(health.live(t0));
        health.beat(t0);
        assert!(health.live(t0 + HEARTBEAT / 2) && !health.live(t0 + HEARTBEAT));
    }
}
