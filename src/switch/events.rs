//! Keys with lamps: phones of lines subscribe to the messages that wait (RFC 3842) and to what other lines do (RFC 4235,
//! RFC 3856). The endpoint has the subscriptions; here is who may, and what they are told when.
//!
//! What is told of a line is what its own state is, never who is on it: this file has no way to a call.

use std::time::{Duration, Instant};

use super::event_body::{self, Mailbox, Talk};
use super::io::Output;
use super::{Owner, Switch, What};
use crate::base::bounded::BoundedMap;
use crate::base::id::{LineKey, SubscriptionKey};
use crate::base::time::Now;
use crate::config::raw::Reach;
use crate::sip::endpoint::{Arrival, News};
use crate::sip::event::{Ending, Package, Wish};
use crate::sip::uri::{Host, Uri};
use crate::telemetry::notice::{LineWord, Notice};

/// Subscriptions of one line: a phone with two full rows of keys.
const PER_LINE: usize = 32;
/// A subscription hears no more often than this; what changes in between is told together (RFC 6665 4.2.3).
const PACE: Duration = Duration::from_secs(1);

/// All who want to hear of something.
pub(super) struct Watchers {
    table: BoundedMap<SubscriptionKey, Watcher>,
    /// What is in the mailbox; `None` before the first count.
    mailbox: Option<Mailbox>,
}

struct Watcher {
    by: LineKey,
    of: LineKey,
    package: Package,
    /// The address by which the line is named in a document.
    entity: String,
    told: Option<Picture>,
    told_at: Option<Instant>,
    /// A SUBSCRIBE is answered by a NOTIFY even when nothing has changed (RFC 6665 4.2.1.2).
    owed: bool,
    version: u32,
    /// The name of what the line does, random, anew each time that it begins.
    dialog: Option<String>,
}

/// How a thing stands that one can subscribe to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Picture {
    Mailbox(Option<Mailbox>),
    Talk(Talk),
    Presence(LineWord),
}

impl Watchers {
    pub(super) fn new(most: usize) -> Self {
        Self { table: BoundedMap::new(most), mailbox: None }
    }

    fn of_line(&self, line: LineKey) -> Vec<SubscriptionKey> {
        self.keys(|w| w.of == line && w.package != Package::MessageSummary)
    }

    fn keys(&self, holds: impl Fn(&Watcher) -> bool) -> Vec<SubscriptionKey> {
        self.table.iter().filter(|(_, watcher)| holds(watcher)).map(|(key, _)| *key).collect()
    }
}

impl Switch {
    /// SUBSCRIBE outside a dialog. A stranger learns nothing, not even which lines there are.
    pub(super) fn subscribe(&mut self, now: Now, arrival: Arrival) {
        let Some((arrival, by, _)) = self.prove(now, arrival) else { return };
        let wish = match Wish::read(&arrival.request.headers) {
            Ok(wish) => wish,
            Err(refusal) => return self.endpoint.reply(&arrival, refusal.status(), &refusal.headers()),
        };
        let user = Uri::parse(&arrival.request.uri).ok().and_then(|uri| uri.user());
        let Some((of, name)) = user.and_then(|name| Some((self.policy.line_named(&name)?, name))) else {
            return self.endpoint.reply(&arrival, 404, &[]);
        };
        if wish.package == Package::MessageSummary && of != by {
            return self.endpoint.reply(&arrival, 403, &[]);
        }
        let own = self.watchers.table.iter().filter(|(_, watcher)| watcher.by == by).count();
        if self.state.is_draining() || own >= PER_LINE || self.watchers.table.is_full() {
            return self.endpoint.reply(&arrival, 503, &[("Retry-After", "30".into())]);
        }
        let Some(key) = self.endpoint.subscribe(now, &arrival, &wish) else { return };
        let flow = arrival.flow;
        if flow.transport.is_reliable() {
            self.outputs.push_back(Output::Proven { flow: flow.key });
        }
        let watcher = Watcher {
            by,
            of,
            package: wish.package,
            entity: Uri::sip(&name, Host::Address(flow.local.ip()), None).to_string(),
            told: None,
            told_at: None,
            owed: true,
            version: 0,
            dialog: None,
        };
        let _ = self.watchers.table.insert(key, watcher);
        self.count_watchers();
        if wish.lasts.is_zero() {
            return self.end_watcher(now, key, Ending::Timeout);
        }
        self.tell_watcher(now, key);
    }

    /// What the endpoint says of a subscription.
    pub(super) fn subscription_news(&mut self, now: Now, key: SubscriptionKey, news: News) {
        match news {
            News::Refreshed => {
                if let Some(watcher) = self.watchers.table.get_mut(&key) {
                    watcher.owed = true;
                }
                self.tell_watcher(now, key);
            }
            News::Notified => self.tell_watcher(now, key),
            News::Over => self.end_watcher(now, key, Ending::Timeout),
            News::Lost => self.forget_watcher(key),
        }
    }

    /// The mailbox was counted.
    pub(super) fn mailbox_counted(&mut self, now: Now, mailbox: Mailbox) {
        if self.watchers.mailbox.replace(mailbox) == Some(mailbox) {
            return;
        }
        for key in self.watchers.keys(|w| w.package == Package::MessageSummary) {
            self.tell_watcher(now, key);
        }
    }

    /// A line has another state.
    pub(super) fn tell_watchers_of(&mut self, now: Now, line: LineKey) {
        for key in self.watchers.of_line(line) {
            self.tell_watcher(now, key);
        }
    }

    /// Tells one how things stand, when that is new to it and it is its turn.
    pub(super) fn tell_watcher(&mut self, now: Now, key: SubscriptionKey) {
        let Some(watcher) = self.watchers.table.get(&key) else { return };
        let Some(picture) = self.picture(now, watcher) else { return };
        if watcher.told == Some(picture) && !watcher.owed {
            return;
        }
        let turn = watcher.told_at.map_or(now.at, |at| at + PACE);
        if now.at < turn {
            return self.timers.set(Owner::Watcher(key), What::Notify, turn);
        }
        let Some((body, dialog)) = self.document(key, picture) else { return };
        let package = self.watchers.table.get(&key).map_or("", |w| w.package.content_type());
        if self.endpoint.notify(now, key, package, body).is_err() {
            // Another look in a while; sooner when the answer that it waits for comes.
            return self.timers.set(Owner::Watcher(key), What::Notify, now.at + PACE);
        }
        self.timers.cancel(Owner::Watcher(key), What::Notify);
        if let Some(watcher) = self.watchers.table.get_mut(&key) {
            watcher.told = Some(picture);
            watcher.told_at = Some(now.at);
            watcher.owed = false;
            watcher.version = watcher.version.wrapping_add(1);
            watcher.dialog = dialog;
        }
    }

    /// A new configuration: who or what is gone from it is heard of no more.
    pub(super) fn look_over_watchers(&mut self, now: Now) {
        let policy = self.policy.clone();
        let may = |line| policy.line(line).is_some_and(|l| matches!(l.reach, Reach::Registers { .. }));
        for key in self.watchers.keys(|w| !may(w.by)) {
            self.end_watcher(now, key, Ending::Rejected);
        }
        for key in self.watchers.keys(|w| policy.line(w.of).is_none()) {
            self.end_watcher(now, key, Ending::NoResource);
        }
        for key in self.watchers.keys(|_| true) {
            self.tell_watcher(now, key);
        }
    }

    /// We stop.
    pub(super) fn leave_watchers(&mut self, now: Now) {
        for key in self.watchers.keys(|_| true) {
            self.end_watcher(now, key, Ending::Probation);
        }
    }

    /// The last word: how things stand, as long as there is a thing.
    fn end_watcher(&mut self, now: Now, key: SubscriptionKey, why: Ending) {
        let picture = match why {
            Ending::Timeout | Ending::Probation => {
                self.watchers.table.get(&key).and_then(|watcher| self.picture(now, watcher))
            }
            Ending::NoResource | Ending::Rejected => None,
        };
        let package = self.watchers.table.get(&key).map_or("", |w| w.package.content_type());
        let body = picture.and_then(|picture| self.document(key, picture)).map(|(body, _)| (package, body));
        self.endpoint.end_subscription(now, key, why, body);
        self.forget_watcher(key);
    }

    fn forget_watcher(&mut self, key: SubscriptionKey) {
        self.timers.cancel(Owner::Watcher(key), What::Notify);
        if self.watchers.table.remove(&key).is_some() {
            self.count_watchers();
        }
    }

    fn count_watchers(&mut self) {
        self.notice(Notice::Subscriptions { open: self.watchers.table.len() as u32 });
    }

    fn picture(&self, now: Now, watcher: &Watcher) -> Option<Picture> {
        let word = self.floor.line(watcher.of).map(|line| line.word(now.at));
        match watcher.package {
            Package::MessageSummary => Some(Picture::Mailbox(self.watchers.mailbox)),
            Package::Dialog => word.map(|word| Picture::Talk(Talk::of(word))),
            Package::Presence => word.map(Picture::Presence),
        }
    }

    /// The body of a NOTIFY, and by what name it calls what the line does.
    fn document(&mut self, key: SubscriptionKey, picture: Picture) -> Option<(Vec<u8>, Option<String>)> {
        let watcher = self.watchers.table.get(&key)?;
        match picture {
            Picture::Mailbox(mailbox) => Some((event_body::message_summary(mailbox), None)),
            Picture::Presence(word) => Some((event_body::presence(&watcher.entity, word), None)),
            Picture::Talk(talk) => {
                let rested = matches!(watcher.told, None | Some(Picture::Talk(Talk::Idle)));
                let id = match talk {
                    Talk::Early | Talk::Confirmed if rested => Some(self.mint.rng.token(16)),
                    Talk::Early | Talk::Confirmed | Talk::Idle => watcher.dialog.clone(),
                };
                let body = event_body::dialog_info(&watcher.entity, watcher.version, talk, id.as_deref());
                Some((body, id))
            }
        }
    }
}
