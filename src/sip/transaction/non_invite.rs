//! The two machines of every method but INVITE (RFC 3261 17.1.2, 17.2.2).

use std::time::Duration;

use super::{Action, Bytes, T1, T2, T4, Timer};

/// States of both machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Trying,
    Proceeding,
    Completed,
    Terminated,
}

/// Non-INVITE client (17.1.2).
pub struct Client {
    state: State,
    reliable: bool,
    request: Bytes,
    interval: Duration,
}

impl Client {
    pub fn start(request: Bytes, reliable: bool) -> (Self, Vec<Action>) {
        let mut actions = vec![Action::Send(request.clone())];
        if !reliable {
            actions.push(Action::Set(Timer::E, T1));
        }
        actions.push(Action::Set(Timer::F, 64 * T1));
        (Self { state: State::Trying, reliable, request, interval: T1 }, actions)
    }

    pub fn state(&self) -> State {
        self.state
    }

    pub fn on_response(&mut self, status: u16) -> Vec<Action> {
        match (self.state, status) {
            (State::Trying | State::Proceeding, 100..=199) => {
                self.state = State::Proceeding;
                vec![Action::Deliver]
            }
            (State::Trying | State::Proceeding, _) => {
                let mut actions = vec![Action::Stop(Timer::E), Action::Stop(Timer::F), Action::Deliver];
                if self.reliable {
                    self.state = State::Terminated;
                    actions.push(Action::Done);
                } else {
                    self.state = State::Completed;
                    actions.push(Action::Set(Timer::K, T4));
                }
                actions
            }
            (State::Completed | State::Terminated, _) => Vec::new(),
        }
    }

    pub fn on_timer(&mut self, timer: Timer) -> Vec<Action> {
        match (self.state, timer) {
            (State::Trying, Timer::E) => {
                self.interval = (self.interval * 2).min(T2);
                vec![Action::Send(self.request.clone()), Action::Set(Timer::E, self.interval)]
            }
            (State::Proceeding, Timer::E) => {
                vec![Action::Send(self.request.clone()), Action::Set(Timer::E, T2)]
            }
            (State::Trying | State::Proceeding, Timer::F) => {
                self.state = State::Terminated;
                vec![Action::Stop(Timer::E), Action::TimedOut, Action::Done]
            }
            (State::Completed, Timer::K) => {
                self.state = State::Terminated;
                vec![Action::Done]
            }
            _ => Vec::new(),
        }
    }

    pub fn on_transport_error(&mut self) -> Vec<Action> {
        match self.state {
            State::Trying | State::Proceeding => {
                self.state = State::Terminated;
                vec![Action::TransportFailed, Action::Done]
            }
            State::Completed | State::Terminated => Vec::new(),
        }
    }
}

/// Non-INVITE server (17.2.2).
pub struct Server {
    state: State,
    reliable: bool,
    last: Option<Bytes>,
}

impl Server {
    pub fn start(reliable: bool) -> Self {
        Self { state: State::Trying, reliable, last: None }
    }

    pub fn on_retransmission(&mut self) -> Vec<Action> {
        self.last.clone().map(Action::Send).into_iter().collect()
    }

    pub fn respond(&mut self, status: u16, bytes: Bytes) -> Vec<Action> {
        match (self.state, status) {
            (State::Trying | State::Proceeding, 100..=199) => {
                self.state = State::Proceeding;
                self.last = Some(bytes.clone());
                vec![Action::Send(bytes)]
            }
            (State::Trying | State::Proceeding, _) if self.reliable => {
                self.state = State::Terminated;
                vec![Action::Send(bytes), Action::Done]
            }
            (State::Trying | State::Proceeding, _) => {
                self.last = Some(bytes.clone());
                self.state = State::Completed;
                vec![Action::Send(bytes), Action::Set(Timer::J, 64 * T1)]
            }
            (State::Completed | State::Terminated, _) => Vec::new(),
        }
    }

    pub fn on_timer(&mut self, timer: Timer) -> Vec<Action> {
        match (self.state, timer) {
            (State::Completed, Timer::J) => {
                self.state = State::Terminated;
                vec![Action::Done]
            }
            _ => Vec::new(),
        }
    }

    pub fn on_transport_error(&mut self) -> Vec<Action> {
        self.state = State::Terminated;
        vec![Action::TransportFailed, Action::Done]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Action::{Deliver, Done, Send, Set, Stop, TimedOut};

    fn bytes(text: &str) -> Bytes {
        text.as_bytes().into()
    }

    #[test]
    fn rfc3261_figure_6_client_over_udp() {
        let (mut t, actions) = Client::start(bytes("BYE"), false);
        assert_eq!(actions, [Send(bytes("BYE")), Set(Timer::E, T1), Set(Timer::F, 64 * T1)]);
        for wait in [2 * T1, 4 * T1, T2, T2] {
            assert_eq!(t.on_timer(Timer::E), [Send(bytes("BYE")), Set(Timer::E, wait)]);
        }
        assert_eq!(t.on_response(100), [Deliver]);
        assert_eq!(t.on_timer(Timer::E), [Send(bytes("BYE")), Set(Timer::E, T2)]);
        assert_eq!(t.on_response(200), [Stop(Timer::E), Stop(Timer::F), Deliver, Set(Timer::K, T4)]);
        assert_eq!(t.on_response(200), []);
        assert_eq!(t.on_timer(Timer::K), [Done]);
    }

    #[test]
    fn a_client_without_answer_times_out_also_after_a_provisional() {
        let (mut t, _) = Client::start(bytes("BYE"), false);
        t.on_response(100);
        assert_eq!(t.on_timer(Timer::F), [Stop(Timer::E), TimedOut, Done]);
    }

    #[test]
    fn rfc3261_figure_8_server_repeats_its_answer() {
        let mut t = Server::start(false);
        assert_eq!(t.on_retransmission(), []);
        assert_eq!(t.respond(200, bytes("200")), [Send(bytes("200")), Set(Timer::J, 64 * T1)]);
        assert_eq!(t.on_retransmission(), [Send(bytes("200"))]);
        assert_eq!(t.respond(500, bytes("500")), []);
        assert_eq!(t.on_timer(Timer::J), [Done]);
    }

    #[test]
    fn on_a_stream_both_end_with_the_final_response() {
        let (mut t, actions) = Client::start(bytes("BYE"), true);
        assert_eq!(actions, [Send(bytes("BYE")), Set(Timer::F, 64 * T1)]);
        assert_eq!(t.on_response(200), [Stop(Timer::E), Stop(Timer::F), Deliver, Done]);
        assert_eq!(Server::start(true).respond(200, bytes("200")), [Send(bytes("200")), Done]);
    }
}
