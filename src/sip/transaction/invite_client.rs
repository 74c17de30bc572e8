//! INVITE client (RFC 3261 17.1.1 with RFC 6026 7.2).

use std::time::Duration;

use super::{Action, Bytes, T1, Timer};

/// Timer D on an unreliable transport: at least 32 s (17.1.1.2).
const D: Duration = Duration::from_secs(32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Calling,
    Proceeding,
    /// A 2xx came; more of them (forks, repetitions) pass up to the user.
    Accepted,
    /// A failure came; its repetitions get the ACK again.
    Completed,
    Terminated,
}

pub struct InviteClient {
    state: State,
    reliable: bool,
    request: Bytes,
    ack: Option<Bytes>,
    interval: Duration,
}

impl InviteClient {
    pub fn start(request: Bytes, reliable: bool) -> (Self, Vec<Action>) {
        let mut actions = vec![Action::Send(request.clone())];
        if !reliable {
            actions.push(Action::Set(Timer::A, T1));
        }
        actions.push(Action::Set(Timer::B, 64 * T1));
        (Self { state: State::Calling, reliable, request, ack: None, interval: T1 }, actions)
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// A response with this status. `ack` makes the ACK for a failure (17.1.1.3).
    pub fn on_response(&mut self, status: u16, ack: impl FnOnce() -> Option<Bytes>) -> Vec<Action> {
        use State::{Accepted, Calling, Completed, Proceeding, Terminated};
        match (self.state, status) {
            (Calling, 100..=199) => {
                self.state = Proceeding;
                vec![Action::Stop(Timer::A), Action::Stop(Timer::B), Action::Deliver]
            }
            (Proceeding, 100..=199) | (Accepted, 200..=299) => vec![Action::Deliver],
            (Calling | Proceeding, 200..=299) => {
                self.state = Accepted;
                let stop = [Action::Stop(Timer::A), Action::Stop(Timer::B)];
                stop.into_iter().chain([Action::Set(Timer::M, 64 * T1), Action::Deliver]).collect()
            }
            (Calling | Proceeding, _) => self.fail(ack()),
            (Completed, 300..) => self.ack.clone().map(Action::Send).into_iter().collect(),
            (Accepted | Completed | Terminated, _) => Vec::new(),
        }
    }

    pub fn on_timer(&mut self, timer: Timer) -> Vec<Action> {
        match (self.state, timer) {
            (State::Calling, Timer::A) => {
                self.interval *= 2;
                vec![Action::Send(self.request.clone()), Action::Set(Timer::A, self.interval)]
            }
            (State::Calling, Timer::B) => self.end(vec![Action::Stop(Timer::A), Action::TimedOut]),
            (State::Completed, Timer::D) | (State::Accepted, Timer::M) => self.end(Vec::new()),
            _ => Vec::new(),
        }
    }

    pub fn on_transport_error(&mut self) -> Vec<Action> {
        match self.state {
            State::Calling | State::Proceeding | State::Completed => self.end(vec![Action::TransportFailed]),
            State::Accepted | State::Terminated => Vec::new(),
        }
    }

    fn fail(&mut self, ack: Option<Bytes>) -> Vec<Action> {
        let mut actions = vec![Action::Stop(Timer::A), Action::Stop(Timer::B)];
        actions.extend(ack.clone().map(Action::Send));
        actions.push(Action::Deliver);
        self.ack = ack;
        if self.reliable {
            return self.end(actions);
        }
        self.state = State::Completed;
        actions.push(Action::Set(Timer::D, D));
        actions
    }

    fn end(&mut self, mut actions: Vec<Action>) -> Vec<Action> {
        self.state = State::Terminated;
        actions.push(Action::Done);
        actions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Action::{Deliver, Done, Send, Set, Stop, TimedOut, TransportFailed};

    fn bytes(text: &str) -> Bytes {
        text.as_bytes().into()
    }

    fn udp() -> InviteClient {
        InviteClient::start(bytes("INVITE"), false).0
    }

    fn ack() -> Option<Bytes> {
        Some(bytes("ACK"))
    }

    #[test]
    fn rfc3261_figure_5_start() {
        let (_, actions) = InviteClient::start(bytes("INVITE"), false);
        assert_eq!(actions, [Send(bytes("INVITE")), Set(Timer::A, T1), Set(Timer::B, 64 * T1)]);
        let (_, actions) = InviteClient::start(bytes("INVITE"), true);
        assert_eq!(actions, [Send(bytes("INVITE")), Set(Timer::B, 64 * T1)]);
    }

    #[test]
    fn timer_a_doubles_until_timer_b() {
        let mut t = udp();
        for factor in [2, 4, 8, 16] {
            assert_eq!(t.on_timer(Timer::A), [Send(bytes("INVITE")), Set(Timer::A, factor * T1)]);
        }
        assert_eq!(t.on_timer(Timer::B), [Stop(Timer::A), TimedOut, Done]);
        assert_eq!(t.on_timer(Timer::A), []);
    }

    #[test]
    fn a_provisional_stops_a_and_b_and_the_call_may_ring_for_ever() {
        let mut t = udp();
        assert_eq!(t.on_response(180, ack), [Stop(Timer::A), Stop(Timer::B), Deliver]);
        assert_eq!(t.on_response(183, ack), [Deliver]);
        assert_eq!((t.on_timer(Timer::A), t.on_timer(Timer::B)), (vec![], vec![]));
    }

    #[test]
    fn rfc6026_a_2xx_is_accepted_and_every_further_2xx_passes() {
        let mut t = udp();
        let first = t.on_response(200, ack);
        assert_eq!(first, [Stop(Timer::A), Stop(Timer::B), Set(Timer::M, 64 * T1), Deliver]);
        assert_eq!(t.on_response(200, ack), [Deliver]);
        assert_eq!(t.on_response(486, ack), []);
        assert_eq!(t.on_timer(Timer::M), [Done]);
    }

    #[test]
    fn a_failure_is_acknowledged_each_time_and_delivered_once() {
        let mut t = udp();
        let first = t.on_response(486, ack);
        assert_eq!(first, [Stop(Timer::A), Stop(Timer::B), Send(bytes("ACK")), Deliver, Set(Timer::D, D)]);
        assert_eq!(t.on_response(486, ack), [Send(bytes("ACK"))]);
        assert_eq!(t.on_response(200, ack), []);
        assert_eq!(t.on_timer(Timer::D), [Done]);
        let mut t = InviteClient::start(bytes("INVITE"), true).0;
        assert_eq!(
            t.on_response(603, ack),
            [Stop(Timer::A), Stop(Timer::B), Send(bytes("ACK")), Deliver, Done]
        );
    }

    #[test]
    fn a_transport_error_ends_it() {
        assert_eq!(udp().on_transport_error(), [TransportFailed, Done]);
    }
}
