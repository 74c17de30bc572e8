//! Subscriptions of which we are the notifier (RFC 6665): their dialogs, how long they last, and the NOTIFYs. Who may
//! subscribe to what, and what a NOTIFY says, is the user's to decide.

use super::call::contact;
use super::{
    Arrival, Destination, Endpoint, Event, Flow, Full, Key, Machine, Method, Now, Owner, Request, User, What,
    essence, non_invite,
};
use crate::base::id::{FlowKey, SubscriptionKey};
use crate::sip::dialog::{Dialog, DialogId, Order};
use crate::sip::event::{Ending, Wish};
use crate::sip::header::CSeq;
use std::time::Instant;

/// Answers to a NOTIFY after which the subscription is no more (RFC 6665 4.2.2, RFC 5057 5.1), with those that say
/// that none came: 408, and 503 of a network that refused.
const GONE: [u16; 15] = [404, 405, 408, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 503, 604];

/// What became of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// It was refreshed: a NOTIFY is owed (RFC 6665 4.2.1.2).
    Refreshed,
    /// Its time is over, or the phone ended it: `end_subscription` says the last word.
    Over,
    /// A NOTIFY was answered: the next may go.
    Notified,
    /// The phone has forgotten it or can't be reached; it is gone here, too.
    Lost,
}

/// One subscription. No `Debug`: its dialog is a phone's words.
pub(super) struct Subscription {
    dialog: Dialog,
    /// NOTIFY goes back over it, which gets through NAT.
    flow: Flow,
    contact: String,
    event: String,
    expires: Instant,
    /// A NOTIFY waits for its answer.
    waits: bool,
}

impl Endpoint {
    /// Takes a SUBSCRIBE in and answers it with 200; a NOTIFY is owed at once. `None`: it was refused here.
    pub fn subscribe(&mut self, now: Now, arrival: &Arrival, wish: &Wish) -> Option<SubscriptionKey> {
        let Arrival { request, flow, key, .. } = arrival;
        let flow = *flow;
        if self.by_key.contains_key(key) {
            return None;
        }
        if !self.has_room_outside() || self.subscriptions.is_full() {
            self.reply(arrival, 503, &[("Retry-After", "30".into())]);
            return None;
        }
        let (dialog, tag, is_sips) = self.begin_dialog(arrival)?;
        let machine = Machine::Server(non_invite::Server::start(flow.transport.is_reliable()));
        let request = essence(request);
        let tx = self.open(now, flow, key.clone(), request, tag, User::Nobody, machine, Vec::new())?;
        let name = SubscriptionKey(self.serial.next());
        let contact = contact(self.config.agent, flow.local, flow.transport, is_sips);
        let expires = now.at + wish.lasts;
        let granted = [("Expires", wish.lasts.as_secs().to_string()), ("Contact", contact.clone())];
        let _ = self.watched.insert(dialog.id.clone(), name);
        let subscription =
            Subscription { dialog, flow, contact, event: wish.event.clone(), expires, waits: false };
        let _ = self.subscriptions.insert(name, subscription);
        self.timers.set(Owner::Subscription(name), What::Expiry, expires);
        self.answer(now, tx, 200, &granted, None);
        Some(name)
    }

    /// Tells how things stand. `News::Notified` or `News::Lost` follows. Refused: there is no room now, or the last one
    /// still waits for its answer, and they must not overtake each other.
    pub fn notify(
        &mut self,
        now: Now,
        key: SubscriptionKey,
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<(), Full<()>> {
        let has_room = self.has_room_outside();
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return Ok(()) };
        if subscription.waits || !has_room {
            return Err(Full(()));
        }
        let left = subscription.expires.saturating_duration_since(now.at).as_secs();
        let state = format!("active;expires={left}");
        self.send_notify(now, key, state, Some((content_type, body)), User::Notify(key))?;
        if let Some(subscription) = self.subscriptions.get_mut(&key) {
            subscription.waits = true;
        }
        Ok(())
    }

    /// Says the last word of a subscription and forgets it.
    pub fn end_subscription(
        &mut self,
        now: Now,
        key: SubscriptionKey,
        why: Ending,
        body: Option<(&str, Vec<u8>)>,
    ) {
        // Without room it is not said: the phone hears 481 when it refreshes.
        let _ = self.send_notify(now, key, why.state().to_owned(), body, User::Nobody);
        self.drop_subscription(key);
    }

    fn send_notify(
        &mut self,
        now: Now,
        key: SubscriptionKey,
        state: String,
        body: Option<(&str, Vec<u8>)>,
        user: User,
    ) -> Result<(), Full<()>> {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return Ok(()) };
        let mut request = subscription.dialog.request(Method::NOTIFY);
        request.headers.push("Event", subscription.event.as_str());
        request.headers.push("Subscription-State", state);
        request.headers.push("Contact", subscription.contact.as_str());
        if let Some((content_type, body)) = body {
            request.headers.push("Content-Type", content_type);
            request.body = body;
        }
        let (local, to) = (subscription.flow.local, Destination::Flow(subscription.flow));
        self.finish(&mut request, local, to);
        self.start_client(now, request, to, user, None).map(|_| ())
    }

    pub(super) fn notified(&mut self, key: SubscriptionKey, status: u16) {
        let Some(subscription) = self.subscriptions.get_mut(&key) else { return };
        subscription.waits = false;
        if GONE.contains(&status) {
            return self.lose_subscription(key);
        }
        self.tell_of(key, News::Notified);
    }

    pub(super) fn subscription_due(&mut self, key: SubscriptionKey) {
        self.tell_of(key, News::Over);
    }

    /// A connection was closed: whoever subscribed over it does so anew over another.
    pub(super) fn lose_subscriptions_over(&mut self, flow: FlowKey) {
        let over = |s: &Subscription| s.flow.transport.is_reliable() && s.flow.key == flow;
        let lost: Vec<SubscriptionKey> =
            self.subscriptions.iter().filter(|(_, s)| over(s)).map(|(key, _)| *key).collect();
        for key in lost {
            self.lose_subscription(key);
        }
    }

    fn lose_subscription(&mut self, key: SubscriptionKey) {
        self.drop_subscription(key);
        self.tell_of(key, News::Lost);
    }

    fn drop_subscription(&mut self, key: SubscriptionKey) {
        self.timers.cancel(Owner::Subscription(key), What::Expiry);
        if let Some(subscription) = self.subscriptions.remove(&key) {
            self.watched.remove(&subscription.dialog.id);
        }
    }

    fn tell_of(&mut self, subscription: SubscriptionKey, news: News) {
        self.events.push_back(Event::Subscription { subscription, news });
    }

    /// The subscription in whose dialog a request stands.
    pub(super) fn subscription_of(&self, request: &Request) -> Option<SubscriptionKey> {
        DialogId::of_request(&request.headers).and_then(|id| self.watched.get(&id).copied())
    }

    /// A request in the dialog of a subscription: it is refreshed or ended.
    pub(super) fn within_subscription(
        &mut self,
        now: Now,
        flow: Flow,
        key: Key,
        request: Request,
        name: SubscriptionKey,
    ) {
        if !self.has_room_outside() {
            return self.refuse_stateless(flow, &request, 503, &[("Retry-After", "5".into())]);
        }
        let cseq = request.headers.get("CSeq").and_then(|v| CSeq::parse(v).ok());
        let Some(subscription) = self.subscriptions.get_mut(&name) else { return };
        let order = cseq.map_or(Order::Old, |cseq| subscription.dialog.on_request(&cseq));
        if order == Order::Old {
            return self.serve(now, flow, key, request, User::Nobody, 500, &[("Retry-After", "1".into())]);
        }
        if request.method != Method::SUBSCRIBE {
            let status = if request.method == Method::OPTIONS { 200 } else { 405 };
            let allow = [("Allow", self.allow().to_owned())];
            return self.serve(now, flow, key, request, User::Nobody, status, &allow);
        }
        let wish = match Wish::read(&request.headers) {
            // Two subscriptions in one dialog are no longer made (RFC 6665 4.5.2).
            Ok(wish) if wish.event != subscription.event => {
                return self.serve(now, flow, key, request, User::Nobody, 403, &[]);
            }
            Ok(wish) => wish,
            Err(refusal) => {
                let headers = refusal.headers();
                return self.serve(now, flow, key, request, User::Nobody, refusal.status(), &headers);
            }
        };
        if flow.transport == subscription.flow.transport {
            subscription.flow = flow;
        }
        subscription.dialog.refresh_target(&request.headers);
        subscription.expires = now.at + wish.lasts;
        let expires = subscription.expires;
        let granted =
            [("Expires", wish.lasts.as_secs().to_string()), ("Contact", subscription.contact.clone())];
        self.serve(now, flow, key, request, User::Nobody, 200, &granted);
        if wish.lasts.is_zero() {
            self.timers.cancel(Owner::Subscription(name), What::Expiry);
            return self.tell_of(name, News::Over);
        }
        self.timers.set(Owner::Subscription(name), What::Expiry, expires);
        self.tell_of(name, News::Refreshed);
    }
}
