//! INVITE server (RFC 3261 17.2.1 with RFC 6026 7.1).

use std::time::Duration;

use super::{Action, Bytes, T1, T2, T4, Timer};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Proceeding,
    /// A 2xx was sent; the user repeats it, the machine swallows repeated INVITEs and passes ACKs up.
    Accepted,
    /// A failure was sent and waits for its ACK.
    Completed,
    Confirmed,
    Terminated,
}

pub struct InviteServer {
    state: State,
    reliable: bool,
    /// The last response, for repeated requests.
    last: Option<Bytes>,
    interval: Duration,
}

impl InviteServer {
    /// A new INVITE: 100 goes out at once.
    pub fn start(trying: Bytes, reliable: bool) -> (Self, Vec<Action>) {
        let machine = Self { state: State::Proceeding, reliable, last: Some(trying.clone()), interval: T1 };
        (machine, vec![Action::Send(trying)])
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// The same INVITE once more.
    pub fn on_retransmission(&mut self) -> Vec<Action> {
        match self.state {
            State::Proceeding | State::Completed => self.last.clone().map(Action::Send).into_iter().collect(),
            State::Accepted | State::Confirmed | State::Terminated => Vec::new(),
        }
    }

    /// An ACK with this INVITE's branch: for failures. (A 2xx's ACK has a branch of its own, but some
    /// phones reuse the INVITE's; RFC 6026 passes it up.)
    pub fn on_ack(&mut self) -> Vec<Action> {
        match self.state {
            State::Completed if self.reliable => {
                self.end(vec![Action::Stop(Timer::G), Action::Stop(Timer::H)])
            }
            State::Completed => {
                self.state = State::Confirmed;
                vec![Action::Stop(Timer::G), Action::Stop(Timer::H), Action::Set(Timer::I, T4)]
            }
            State::Accepted => vec![Action::Deliver],
            State::Proceeding | State::Confirmed | State::Terminated => Vec::new(),
        }
    }

    /// The user's response.
    pub fn respond(&mut self, status: u16, bytes: Bytes) -> Vec<Action> {
        match (self.state, status) {
            (State::Proceeding, 100..=199) => {
                self.last = Some(bytes.clone());
                vec![Action::Send(bytes)]
            }
            (State::Proceeding, 200..=299) => {
                self.state = State::Accepted;
                self.last = None;
                vec![Action::Send(bytes), Action::Set(Timer::L, 64 * T1)]
            }
            (State::Accepted, 200..=299) => vec![Action::Send(bytes)],
            (State::Proceeding, _) => {
                self.state = State::Completed;
                self.last = Some(bytes.clone());
                let repeat = (!self.reliable).then_some(Action::Set(Timer::G, T1));
                let wait = Action::Set(Timer::H, 64 * T1);
                [Action::Send(bytes)].into_iter().chain(repeat).chain([wait]).collect()
            }
            (State::Accepted | State::Completed | State::Confirmed | State::Terminated, _) => Vec::new(),
        }
    }

    pub fn on_timer(&mut self, timer: Timer) -> Vec<Action> {
        match (self.state, timer) {
            (State::Completed, Timer::G) => {
                self.interval = (self.interval * 2).min(T2);
                let again = Action::Set(Timer::G, self.interval);
                self.last.clone().map(Action::Send).into_iter().chain([again]).collect()
            }
            (State::Completed, Timer::H) => self.end(vec![Action::Stop(Timer::G), Action::TimedOut]),
            (State::Confirmed, Timer::I) | (State::Accepted, Timer::L) => self.end(Vec::new()),
            _ => Vec::new(),
        }
    }

    pub fn on_transport_error(&mut self) -> Vec<Action> {
        match self.state {
            State::Proceeding | State::Accepted | State::Completed => self.end(vec![Action::TransportFailed]),
            State::Confirmed | State::Terminated => Vec::new(),
        }
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
    use Action::{Deliver, Done, Send, Set, Stop, TimedOut};

    fn bytes(text: &str) -> Bytes {
        text.as_bytes().into()
    }

    fn udp() -> InviteServer {
        InviteServer::start(bytes("100"), false).0
    }

    #[test]
    fn rfc3261_figure_7_the_last_provisional_is_repeated() {
        let (mut t, actions) = InviteServer::start(bytes("100"), false);
        assert_eq!(actions, [Send(bytes("100"))]);
        assert_eq!(t.on_retransmission(), [Send(bytes("100"))]);
        assert_eq!(t.respond(180, bytes("180")), [Send(bytes("180"))]);
        assert_eq!(t.on_retransmission(), [Send(bytes("180"))]);
    }

    #[test]
    fn rfc6026_after_a_2xx_repeated_invites_are_swallowed_and_acks_pass() {
        let mut t = udp();
        assert_eq!(t.respond(200, bytes("200")), [Send(bytes("200")), Set(Timer::L, 64 * T1)]);
        assert_eq!(t.on_retransmission(), []);
        assert_eq!(t.on_ack(), [Deliver]);
        assert_eq!(t.respond(200, bytes("200")), [Send(bytes("200"))]);
        assert_eq!(t.respond(486, bytes("486")), []);
        assert_eq!(t.on_timer(Timer::L), [Done]);
    }

    #[test]
    fn a_failure_is_repeated_until_its_ack() {
        let mut t = udp();
        let first = t.respond(486, bytes("486"));
        assert_eq!(first, [Send(bytes("486")), Set(Timer::G, T1), Set(Timer::H, 64 * T1)]);
        assert_eq!(t.on_timer(Timer::G), [Send(bytes("486")), Set(Timer::G, 2 * T1)]);
        assert_eq!(t.on_retransmission(), [Send(bytes("486"))]);
        assert_eq!(t.on_ack(), [Stop(Timer::G), Stop(Timer::H), Set(Timer::I, T4)]);
        assert_eq!((t.on_ack(), t.on_retransmission()), (vec![], vec![]));
        assert_eq!(t.on_timer(Timer::I), [Done]);
    }

    #[test]
    fn timer_g_stays_at_t2_and_timer_h_gives_up() {
        let mut t = udp();
        t.respond(503, bytes("503"));
        let last = (0..6).map(|_| t.on_timer(Timer::G)).last();
        assert_eq!(last, Some(vec![Send(bytes("503")), Set(Timer::G, T2)]));
        assert_eq!(t.on_timer(Timer::H), [Stop(Timer::G), TimedOut, Done]);
    }

    #[test]
    fn on_a_stream_nothing_is_repeated_and_the_ack_ends_it() {
        let (mut t, _) = InviteServer::start(bytes("100"), true);
        assert_eq!(t.respond(404, bytes("404")), [Send(bytes("404")), Set(Timer::H, 64 * T1)]);
        assert_eq!(t.on_ack(), [Stop(Timer::G), Stop(Timer::H), Done]);
    }
}
