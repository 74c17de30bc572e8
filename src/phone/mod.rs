//! The built-in phone: places a call, or registers as a line and takes calls; plays, records, presses keys,
//! and tells what happens. A user of `sip::endpoint` and of the media plane like the switch, and sans-IO like
//! it: `cli/call` and `cli/phone` give it its plan, `cli/telephone` its sockets and its clock.
//!
//! `io` is the whole contract, `happening` what is printed; `calling` begins and ends calls, `talking` is what
//! goes on within one, `registration` keeps the line reachable.

mod call;
mod calling;
pub mod happening;
pub mod io;
mod registration;
mod talking;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::base::id::{Rng, Serial};
use crate::base::time::{Now, TimerQueue};
use crate::media::command::{MediaCommand, MediaEvent};
use crate::sip::endpoint::{Arrival, Config, Endpoint, Event};
use crate::sip::registration::Registration;
use crate::sip::wire::message::Method;
use crate::sip::wire::parse::Bounds;
use call::Call;
use happening::Happening;
use io::{Ending, Input, Output, Plan};

/// One call at a time, and those that are refused meanwhile.
const MAX_DIALOGS: usize = 32;
const MAX_TRANSACTIONS: usize = 256;
/// How long the answers to BYE, CANCEL and the last REGISTER are waited for.
const GRACE: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Phone,
    Call,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// Our call has rung long enough.
    Ring,
    /// The call to us is answered now.
    Answer,
    /// The next step of the script is due.
    Step,
    /// The registration is refreshed, or tried again.
    Refresh,
    /// Nobody has called for so long.
    Patience,
    /// The end of the end.
    Grace,
}

const FIRST_WHAT: What = What::Ring;

/// How far the phone is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    /// Until it is registered, where it has to be.
    Starting,
    Running,
    /// Only answers to what was sent are waited for.
    Ending,
    Done,
}

/// The phone. See the head of the file.
pub struct Phone {
    plan: Plan,
    endpoint: Endpoint,
    registration: Option<Registration>,
    call: Option<Call>,
    /// Calls to take before the end; `None`: no such end.
    calls_left: Option<u32>,
    /// Calls that were recorded.
    recorded: u32,
    course: Course,
    verdict: Ending,
    /// Something SIP has come from outside.
    replied: bool,
    timers: TimerQueue<Owner, What>,
    rng: Rng,
    serial: Serial,
    outputs: VecDeque<Output>,
}

impl Phone {
    /// A phone that begins at once. `rng` is the only source of randomness.
    pub fn new(now: Now, plan: Plan, mut rng: Rng) -> Self {
        let config = Config {
            agent: "hulplijn",
            bounds: Bounds::default(),
            max_transactions: MAX_TRANSACTIONS,
            max_dialogs: MAX_DIALOGS,
            max_subscriptions: 0,
            // Its calls are watched by whoever started it.
            session: Duration::ZERO,
        };
        let registration = plan.account.as_ref().map(|account| registration::registration(account, &mut rng));
        let mut phone = Self {
            endpoint: Endpoint::new(config, rng.fork()),
            registration,
            call: None,
            calls_left: plan.calls,
            recorded: 0,
            course: Course::Starting,
            verdict: Ending::Fine,
            replied: false,
            timers: TimerQueue::new(),
            rng,
            serial: Serial::default(),
            outputs: VecDeque::new(),
            plan,
        };
        if phone.registration.is_some() {
            phone.register(now);
        } else {
            phone.run(now);
        }
        phone.settle(now);
        phone
    }

    /// Takes one input. Never blocks, never panics, whatever the input.
    pub fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Sip { flow, bytes } => {
                self.replied = true;
                if let Some(arrival) = self.endpoint.handle_message(now, flow, &bytes) {
                    self.arrived(now, &arrival);
                }
            }
            Input::FlowClosed { flow } => {
                self.endpoint.handle_flow_closed(now, flow);
                self.connection_lost(now);
            }
            Input::TransmitFailed { to } => self.endpoint.handle_transmit_failed(now, to),
            Input::Media(event) => self.media_event(now, event),
            Input::Stop => self.stop(now),
            Input::Timeout => self.timeouts(now),
        }
        self.settle(now);
    }

    /// What has to happen next; call until `None` after `new` and after every `handle`.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call `handle` with `Input::Timeout` at the latest.
    pub fn next_timeout(&self) -> Option<Instant> {
        let own = self.timers.next().map(|(at, _, _)| at);
        self.endpoint.next_timeout().into_iter().chain(own).min()
    }

    // --- inputs -------------------------------------------------------------------------------------

    fn settle(&mut self, now: Now) {
        while let Some(event) = self.endpoint.poll_event() {
            self.event(now, event);
        }
        while let Some(transmit) = self.endpoint.poll_transmit() {
            self.outputs.push_back(Output::Transmit { to: transmit.to, bytes: transmit.bytes });
        }
        let quiet = self.call.is_none() && self.endpoint.counts().dialogs == 0;
        if self.course == Course::Ending
            && quiet
            && self.registration.as_ref().is_none_or(Registration::is_over)
        {
            self.done();
        }
    }

    fn event(&mut self, now: Now, event: Event) {
        match event {
            Event::Cancelled { dialog } => self.caller_gave_up(now, dialog),
            Event::Acked { dialog, sdp } => self.acked(now, dialog, sdp.as_deref()),
            Event::Progress { dialog, status, sdp } => self.progress(dialog, status, sdp),
            Event::Answered { dialog, sdp } => self.answered(now, dialog, sdp),
            Event::Failed { dialog, status, .. } => self.failed(now, dialog, status),
            Event::Offer { dialog, sdp } => self.offered(now, dialog, sdp.as_deref()),
            Event::OfferAnswered { dialog, sdp } => self.offer_answered(dialog, sdp.as_deref()),
            Event::OfferFailed { dialog, status } => self.offer_failed(dialog, status),
            // It has no session timers.
            Event::RefreshDue { .. } => {}
            Event::Info { dialog, body, .. } => self.info(dialog, &body),
            // Nobody tells this phone whom to call.
            Event::Refer { dialog, .. } => self.endpoint.refer_answer(now, dialog, Err(603)),
            Event::ReferAnswered { dialog, status } => self.refer_answered(dialog, status),
            Event::ReferProgress { dialog, status, .. } => self.refer_told(dialog, status),
            Event::Ended { dialog, cause } => self.dialog_ended(now, dialog, cause),
            Event::Replied { number, status, headers } => {
                self.registrar_replied(now, number, status, &headers);
            }
            // Nobody subscribes to the phone.
            Event::Subscription { .. } | Event::Refused { .. } | Event::Dropped { .. } => {}
        }
    }

    fn arrived(&mut self, now: Now, arrival: &Arrival) {
        match arrival.request.method {
            Method::INVITE => self.called(now, arrival),
            Method::OPTIONS => self.reply(arrival, 200),
            _ => self.reply(arrival, 501),
        }
    }

    fn reply(&mut self, arrival: &Arrival, status: u16) {
        self.endpoint.reply(arrival, status, &[("Allow", self.endpoint.allow().to_owned())]);
    }

    fn timeouts(&mut self, now: Now) {
        self.endpoint.handle_timeout(now);
        while let Some((_, what)) = self.timers.pop(now.at) {
            match what {
                What::Ring => self.rang_out(now),
                What::Answer => self.answer_is_due(now),
                What::Step => self.step(now),
                What::Refresh => self.register(now),
                What::Patience => self.nobody_called(now),
                What::Grace => self.done(),
            }
        }
    }

    fn media_event(&mut self, now: Now, event: MediaEvent) {
        match event {
            MediaEvent::Opened { local, .. } => self.media_opened(now, local),
            MediaEvent::OpenFailed { .. } | MediaEvent::Broken { .. } | MediaEvent::Insecure { .. } => {
                self.media_failed(now);
            }
            MediaEvent::Digit { digit, .. } => self.tell(Happening::KeyHeard { key: digit }),
            MediaEvent::PlayEnded { .. } => self.tell(Happening::Played),
            MediaEvent::Recorded { length, end, voice, .. } => self.was_recorded(length, end, voice),
            MediaEvent::Silent { quiet_for, .. } => self.tell(Happening::NoAudioFor { quiet: quiet_for }),
            MediaEvent::Flowing { .. } => self.audio_flows(),
            // Not asked for.
            MediaEvent::Speaking { .. } | MediaEvent::Quiet { .. } => {}
            MediaEvent::Closed { stats, .. } => self.media_closed(now, stats),
        }
    }

    // --- the phone's own course -----------------------------------------------------------------------

    /// Ready: places its call, or waits for one.
    fn run(&mut self, now: Now) {
        if self.course != Course::Starting {
            return;
        }
        self.course = Course::Running;
        match self.plan.dial.clone() {
            Some(dial) => self.dial(now, &dial),
            None => self.wait(now),
        }
    }

    /// After a call, or at the start: waits for the next one, or ends.
    fn wait(&mut self, now: Now) {
        if self.course != Course::Running {
            return;
        }
        if self.calls_left == Some(0) {
            return self.end(now);
        }
        if let Some(patience) = self.plan.patience {
            self.timers.set(Owner::Phone, What::Patience, now.at + patience);
        }
    }

    fn nobody_called(&mut self, now: Now) {
        self.tell(Happening::NobodyCalled);
        self.judge(Ending::NoAnswer);
        self.end(now);
    }

    fn stop(&mut self, now: Now) {
        self.hang_up(now);
        self.end(now);
    }

    fn end(&mut self, now: Now) {
        if matches!(self.course, Course::Ending | Course::Done) {
            return;
        }
        self.course = Course::Ending;
        self.timers.cancel(Owner::Phone, What::Patience);
        self.timers.set(Owner::Phone, What::Grace, now.at + GRACE);
        self.unregister(now);
    }

    fn done(&mut self) {
        if self.course != Course::Done {
            self.course = Course::Done;
            self.outputs.push_back(Output::Done(self.verdict));
        }
    }

    // --- helpers of every file ------------------------------------------------------------------------

    fn tell(&mut self, happening: Happening) {
        self.outputs.push_back(Output::Tell(happening));
    }

    fn media(&mut self, command: MediaCommand) {
        self.outputs.push_back(Output::Media(command));
    }

    /// The first thing that went wrong is what the whole is called.
    fn judge(&mut self, ending: Ending) {
        if self.verdict == Ending::Fine {
            self.verdict = ending;
        }
    }
}
