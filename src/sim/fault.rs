//! Faults on purpose: the n-th command fails, or some at random.

use crate::base::id::Rng;
use crate::media::command::MediaCommand;

/// What is to fail. Rates are per thousand.
pub struct Faults {
    pub nth_media: Option<u64>,
    pub nth_store: Option<u64>,
    pub nth_dns: Option<u64>,
    pub media_rate: u32,
    pub store_rate: u32,
    pub dns_rate: u32,
    /// Commands so far that could have failed.
    pub media_seen: u64,
    pub store_seen: u64,
    pub dns_seen: u64,
    rng: Rng,
}

impl Faults {
    pub fn new(rng: Rng) -> Self {
        Self {
            nth_media: None,
            nth_store: None,
            nth_dns: None,
            media_rate: 0,
            store_rate: 0,
            dns_rate: 0,
            media_seen: 0,
            store_seen: 0,
            dns_seen: 0,
            rng,
        }
    }

    /// From now on nothing fails.
    pub fn stop(&mut self) {
        (self.nth_media, self.nth_store, self.nth_dns) = (None, None, None);
        (self.media_rate, self.store_rate, self.dns_rate) = (0, 0, 0);
    }

    /// Whether this command is refused. Only those can be whose failure the core hears of; the driver
    /// keeps the others until there is room.
    pub fn media(&mut self, command: &MediaCommand) -> bool {
        if command.refused().is_none() {
            return false;
        }
        self.media_seen += 1;
        self.nth_media == Some(self.media_seen) || self.chance(self.media_rate)
    }

    pub fn store(&mut self) -> bool {
        self.store_seen += 1;
        self.nth_store == Some(self.store_seen) || self.chance(self.store_rate)
    }

    pub fn dns(&mut self) -> bool {
        self.dns_seen += 1;
        self.nth_dns == Some(self.dns_seen) || self.chance(self.dns_rate)
    }

    fn chance(&mut self, per_thousand: u32) -> bool {
        per_thousand > 0 && self.rng.below(1000) < u64::from(per_thousand)
    }
}
