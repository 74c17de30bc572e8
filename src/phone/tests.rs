//! Stories of two phones, and of a phone and its registrar, over a link that may lose, in virtual time. Media is
//! played by the test.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::io::*;
use super::*;
use crate::base::id::{FlowKey, LegKey};
use crate::media::command::{LegStats, RecordEnd};
use crate::sdp::offer_answer::{Codec, Srtp};
use crate::sip::digest::{Algorithm, Authenticator, Verdict, Vouched};
use crate::sip::flow::{Destination, Flow, Transport};
use crate::sip::registrar::{Limits, Registrar};

const ADDRESSES: [&str; 2] = ["127.0.0.1:5070", "127.0.0.2:5060"];
const LATENCY: Duration = Duration::from_millis(10);

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn address(of: usize) -> SocketAddr {
    ADDRESSES[of].parse().expect("an address")
}

fn flow(receiver: usize) -> Flow {
    Flow {
        key: FlowKey(receiver as u64),
        transport: Transport::Udp,
        local: address(receiver),
        peer: address(1 - receiver),
    }
}

fn place() -> Place {
    Place {
        to: Destination::address(Transport::Udp, address(1)),
        host: ADDRESSES[1].into(),
        local: address(0),
    }
}

fn plan() -> Plan {
    Plan {
        codecs: vec![Codec::Pcma, Codec::Pcmu],
        srtp: Srtp::Never,
        account: None,
        dial: None,
        answering: Answering::After(s(1)),
        calls: Some(1),
        patience: None,
        script: Vec::new(),
        play: None,
        record: None,
        needs_voice: false,
        keys_by_info: false,
    }
}

fn caller(script: &[(u64, Act)]) -> Plan {
    let uri = format!("sip:1712@{}", ADDRESSES[1]);
    let dial = Dial { uri, from: "+3291234".into(), at: place(), ring_limit: s(20) };
    Plan { dial: Some(dial), calls: Some(0), script: steps(script), ..plan() }
}

fn steps(script: &[(u64, Act)]) -> Vec<Step> {
    script.iter().map(|(at, act)| Step { at: s(*at), act: act.clone() }).collect()
}

/// The media plane of one phone, as far as the phone sees it.
#[derive(Default)]
struct Media {
    take: Option<MediaCommand>,
    connects: Vec<crate::media::command::Direction>,
    discarded: Vec<PathBuf>,
}

struct World {
    now: Now,
    phones: [Phone; 2],
    media: [Media; 2],
    told: [Vec<String>; 2],
    endings: [Option<Ending>; 2],
    wire: Vec<(Instant, usize, Vec<u8>)>,
    /// Of datagrams.
    loss_percent: u64,
    /// Whether each side's packets reach the other, and whether there is a voice in them.
    sound: bool,
    voice: bool,
    rng: Rng,
}

impl World {
    fn new(caller: Plan, called: Plan) -> Self {
        Self::lossy(caller, called, 0, 1)
    }

    fn lossy(caller: Plan, called: Plan, loss_percent: u64, seed: u64) -> Self {
        let (now, mut rng) = (Now::read(), Rng::from_number(seed));
        let called = Phone::new(now, called, rng.fork());
        Self {
            now,
            phones: [Phone::new(now, caller, rng.fork()), called],
            media: [Media::default(), Media::default()],
            told: [Vec::new(), Vec::new()],
            endings: [None, None],
            wire: Vec::new(),
            loss_percent,
            sound: true,
            voice: true,
            rng,
        }
    }

    /// Lets time pass until both phones have ended, or for so long.
    fn run(&mut self, time: Duration) -> &mut Self {
        let last = self.now.at + time;
        loop {
            for of in 0..2 {
                while let Some(output) = self.phones[of].poll() {
                    self.carry_out(of, output);
                }
            }
            let arrival = self.wire.iter().map(|(at, _, _)| *at).min();
            let timers = self.phones.iter().filter_map(Phone::next_timeout).min();
            let Some(next) = arrival.into_iter().chain(timers).min().filter(|next| *next <= last) else {
                break;
            };
            if self.endings.iter().all(Option::is_some) {
                break;
            }
            self.now = self.now.plus(next.saturating_duration_since(self.now.at));
            self.step();
        }
        self
    }

    fn step(&mut self) {
        let due: Vec<_> = self.wire.extract_if(.., |(at, _, _)| *at <= self.now.at).collect();
        for (_, to, bytes) in due {
            self.phones[to].handle(self.now, Input::Sip { flow: flow(to), bytes });
        }
        for phone in &mut self.phones {
            if phone.next_timeout().is_some_and(|at| at <= self.now.at) {
                phone.handle(self.now, Input::Timeout);
            }
        }
    }

    fn carry_out(&mut self, of: usize, output: Output) {
        match output {
            Output::Transmit { bytes, .. } => {
                if self.rng.below(100) >= self.loss_percent {
                    self.wire.push((self.now.at + LATENCY, 1 - of, bytes.to_vec()));
                }
            }
            Output::Media(command) => self.command(of, command),
            Output::Tell(happening) => self.told[of].push(happening.to_string()),
            Output::Done(ending) => {
                assert!(self.endings[of].replace(ending).is_none(), "it ends once");
            }
        }
    }

    fn command(&mut self, of: usize, command: MediaCommand) {
        let mut events = Vec::new();
        match command {
            MediaCommand::Open { leg, local, .. } => {
                events.push(MediaEvent::Opened { leg, local: (local, 10_000).into() });
            }
            MediaCommand::Connect { leg, stream } => {
                let first = self.media[of].connects.is_empty();
                self.media[of].connects.push(stream.direction);
                if first && self.sound {
                    events.push(MediaEvent::Flowing { leg });
                }
            }
            MediaCommand::Record { .. } => self.media[of].take = Some(command),
            MediaCommand::Discard { path } => self.media[of].discarded.push(path),
            MediaCommand::SendDigit { digit, .. } => {
                let event = MediaEvent::Digit { leg: LegKey(1), digit };
                self.phones[1 - of].handle(self.now, Input::Media(event));
            }
            MediaCommand::Close { leg } => {
                if let Some(MediaCommand::Record { take, .. }) = self.media[of].take.take() {
                    let (length, end, voice) = (s(3), RecordEnd::Stopped, self.voice);
                    events.push(MediaEvent::Recorded { leg, take, length, end, voice });
                }
                events.push(MediaEvent::Closed { leg, stats: LegStats::default() });
            }
            _ => {}
        }
        for event in events {
            self.phones[of].handle(self.now, Input::Media(event));
        }
    }

    /// What was told, without the account of the call.
    fn told(&self, of: usize) -> Vec<&str> {
        self.told[of].iter().map(String::as_str).filter(|line| !line.starts_with("summary")).collect()
    }

    fn endings(&self) -> [Option<Ending>; 2] {
        self.endings
    }
}

#[test]
fn a_call_is_answered_keys_are_heard_and_the_caller_hangs_up() {
    let script = [(1, Act::Press('5')), (3, Act::HangUp)];
    let mut world = World::new(caller(&script), plan());
    world.run(s(60));
    assert_eq!(
        world.told(0),
        [
            "calling sip:1712@127.0.0.2:5060",
            "ringing (180)",
            "answered pcma",
            "first audio",
            "pressed 5",
            "hung up"
        ]
    );
    let shown = "rings, showing <sip:+3291234@127.0.0.1>";
    assert_eq!(
        world.told(1),
        [shown, "answered pcma", "first audio", "heard key 5", "the other side hung up"]
    );
    assert_eq!(world.endings(), [Some(Ending::Fine); 2]);
    assert!(world.told[0].last().is_some_and(|line| line.starts_with("summary: answered after 1.0")));
}

#[test]
fn the_phone_hangs_up_and_keys_by_info_are_heard_too() {
    let called = Plan { script: steps(&[(2, Act::HangUp)]), ..plan() };
    let mut world = World::new(Plan { keys_by_info: true, ..caller(&[(1, Act::Press('#'))]) }, called);
    world.run(s(60));
    assert!(world.told(0).ends_with(&["pressed # by INFO", "the other side hung up"]), "{:?}", world.told);
    assert!(world.told(1).ends_with(&["heard key #", "hung up"]), "{:?}", world.told);
    assert_eq!(world.endings(), [Some(Ending::Fine); 2]);
}

#[test]
fn whatever_is_lost_the_call_ends_the_same_way() {
    for seed in 0..40 {
        let mut world = World::lossy(caller(&[(5, Act::HangUp)]), plan(), 20, seed);
        world.run(s(120));
        assert_eq!(world.endings[0], Some(Ending::Fine), "seed {seed}: {:?}", world.told);
    }
}

#[test]
fn a_call_that_is_not_taken_ends_with_its_reason() {
    for (answering, told, ending) in [
        (Answering::Busy, "refused with 486 Busy Here", Ending::Refused),
        (Answering::Decline, "refused with 603 Decline", Ending::Refused),
        (Answering::Never, "nobody answered in time", Ending::NoAnswer),
    ] {
        let mut world = World::new(caller(&[]), Plan { answering, ..plan() });
        world.run(s(60));
        assert_eq!(world.told(0).last(), Some(&told));
        assert_eq!(world.endings(), [Some(ending), Some(Ending::Fine)], "{told}");
    }
    let mut gone = World::lossy(caller(&[]), plan(), 100, 1);
    gone.run(s(60));
    assert_eq!(
        (gone.told(0).last(), gone.endings[0]),
        (Some(&"nothing there answers SIP"), Some(Ending::NoReply))
    );
}

#[test]
fn stopped_while_it_rings_the_call_is_cancelled_and_while_it_talks_ended() {
    let mut ringing = World::new(caller(&[]), Plan { answering: Answering::Never, ..plan() });
    ringing.run(s(1));
    ringing.phones[0].handle(ringing.now, Input::Stop);
    ringing.run(s(5));
    assert_eq!(ringing.told(1).last(), Some(&"the caller gave up"));
    assert_eq!(ringing.endings(), [Some(Ending::NoAnswer), Some(Ending::Fine)]);
    let mut talking = World::new(caller(&[]), plan());
    talking.run(s(3));
    talking.phones[1].handle(talking.now, Input::Stop);
    talking.run(s(5));
    assert_eq!(talking.told(0).last(), Some(&"the other side hung up"));
    assert_eq!(talking.endings(), [Some(Ending::Fine); 2]);
}

#[test]
fn answered_without_sound_or_without_a_voice_is_not_fine() {
    let script = [(1, Act::HangUp)];
    let mut mute = World::new(caller(&script), plan());
    mute.sound = false;
    mute.run(s(60));
    assert_eq!(mute.endings(), [Some(Ending::NothingHeard); 2]);
    assert_eq!(mute.told(0).last(), Some(&"no audio was heard"));
    for (voice, ending) in [(true, Ending::Fine), (false, Ending::NothingHeard)] {
        let record = Record { path: PathBuf::from("/nowhere/x.wav"), max: s(60), discard: true };
        let mut world =
            World::new(Plan { record: Some(record), needs_voice: true, ..caller(&script) }, plan());
        world.voice = voice;
        world.run(s(60));
        assert_eq!(world.endings(), [Some(ending), Some(Ending::Fine)]);
        assert_eq!(world.media[0].discarded, [PathBuf::from("/nowhere/x.wav")]);
    }
}

#[test]
fn rfc_3264_8_4_the_caller_is_held_and_taken_back() {
    use crate::media::command::Direction::{RecvOnly, SendOnly, SendRecv};
    let called = Plan { script: steps(&[(1, Act::Hold), (2, Act::TakeBack), (3, Act::HangUp)]), ..plan() };
    let mut world = World::new(caller(&[]), called);
    world.run(s(60));
    assert!(
        world.told(1).ends_with(&["holding the other side", "taken back", "hung up"]),
        "{:?}",
        world.told
    );
    let other = ["held by the other side", "taken back by the other side", "the other side hung up"];
    assert!(world.told(0).ends_with(&other), "{:?}", world.told);
    assert_eq!(world.media[1].connects, [SendRecv, SendOnly, SendRecv]);
    assert_eq!(world.media[0].connects, [SendRecv, RecvOnly, SendRecv]);
}

#[test]
fn a_transfer_that_is_refused_leaves_the_call_as_it_was() {
    let called = Plan { script: steps(&[(1, Act::Transfer("bart".into())), (2, Act::HangUp)]), ..plan() };
    let mut world = World::new(caller(&[]), called);
    world.run(s(60));
    let told = ["transferring to bart", "transfer refused with 603 Decline", "hung up"];
    assert!(world.told(1).ends_with(&told), "{:?}", world.told);
}

#[test]
fn the_recording_of_a_second_call_has_a_name_of_its_own() {
    let record = Record { path: PathBuf::from("x/heard.wav"), max: s(60), discard: false };
    let called = Plan { record: Some(record), calls: Some(2), ..plan() };
    let mut world = World::new(caller(&[(1, Act::HangUp)]), called);
    world.run(s(30));
    assert_eq!((world.endings[0], world.endings[1]), (Some(Ending::Fine), None));
    world.phones[0] = Phone::new(world.now, caller(&[(1, Act::HangUp)]), Rng::from_number(9));
    (world.endings[0], world.media) = (None, [Media::default(), Media::default()]);
    world.run(s(30));
    assert_eq!(world.endings(), [Some(Ending::Fine); 2]);
    let files: Vec<&str> =
        world.told[1].iter().filter_map(|line| line.strip_prefix("recorded 3.0 s to ")).collect();
    assert_eq!(files, ["x/heard.wav", "x/heard-2.wav"]);
}

#[test]
fn nobody_calls_in_time() {
    let called = Plan { patience: Some(s(5)), ..plan() };
    let mut world = World::new(Plan { calls: Some(0), ..plan() }, called);
    world.run(s(60));
    assert_eq!((world.told(1), world.endings[1]), (vec!["nobody called in time"], Some(Ending::NoAnswer)));
}

// --- the registrar ------------------------------------------------------------------------------------

/// A registrar that asks for a password, and the phone that registers with it.
struct Desk {
    now: Now,
    phone: Phone,
    switch: Endpoint,
    authenticator: Authenticator,
    registrar: Registrar,
    told: Vec<String>,
    ending: Option<Ending>,
    /// When it was registered, and how long it then held.
    held: Vec<(Duration, usize)>,
    began: Instant,
}

impl Desk {
    fn new(password: &str, min_expires: Duration) -> Self {
        Self::over(Transport::Udp, password, min_expires)
    }

    fn over(transport: Transport, password: &str, min_expires: Duration) -> Self {
        let (now, mut rng) = (Now::read(), Rng::from_number(3));
        let to = Destination::address(transport, address(1));
        let account =
            Account { name: "anna".into(), password: password.into(), switch: Place { to, ..place() } };
        let phone = Phone::new(now, Plan { account: Some(account), calls: None, ..plan() }, rng.fork());
        let config = Config {
            agent: "test",
            bounds: Bounds::default(),
            max_transactions: 100,
            max_dialogs: 10,
            max_subscriptions: 0,
            session: Duration::ZERO,
        };
        Self {
            now,
            phone,
            switch: Endpoint::new(config, rng.fork()),
            authenticator: Authenticator::new("here", s(300), &[Algorithm::Sha256], rng.fork()),
            registrar: Registrar::new(10, Limits { min_expires, max_expires: s(3600) }),
            told: Vec::new(),
            ending: None,
            held: Vec::new(),
            began: now.at,
        }
    }

    fn run(&mut self, time: Duration) {
        let last = self.now.at + time;
        while self.ending.is_none() {
            while let Some(output) = self.phone.poll() {
                match output {
                    Output::Transmit { bytes, .. } => {
                        if let Some(arrival) = self.switch.handle_message(self.now, flow(1), &bytes) {
                            self.serve(&arrival);
                        }
                    }
                    Output::Tell(happening) => self.told.push(happening.to_string()),
                    Output::Done(ending) => self.ending = Some(ending),
                    Output::Media(_) => {}
                }
            }
            let Some(next) = self.phone.next_timeout().filter(|next| *next <= last) else { break };
            self.now = self.now.plus(next.saturating_duration_since(self.now.at));
            self.phone.handle(self.now, Input::Timeout);
        }
    }

    fn serve(&mut self, arrival: &Arrival) {
        let request = &arrival.request;
        let value = request.headers.get("Authorization").unwrap_or("");
        let password = |name: &str| (name == "anna").then(|| "right".to_owned());
        let (at, source) = (self.now.at, arrival.flow.source());
        let verdict =
            self.authenticator.verify(at, source, &Vouched::bare("REGISTER", &request.uri), value, password);
        if verdict != Verdict::Ok("anna".into()) {
            let challenges = self.authenticator.challenge(at, source, false);
            let headers: Vec<_> = challenges.into_iter().map(|c| ("WWW-Authenticate", c)).collect();
            self.switch.reply(arrival, 401, &headers);
        } else if let Some(tx) = self.switch.admit_request(self.now, arrival) {
            match self.registrar.register(self.now.at, "anna", request, flow(1), &[]) {
                Ok(listed) => {
                    self.held.push((self.now.at - self.began, listed.contacts.len()));
                    let headers: Vec<_> = listed.contacts.into_iter().map(|c| ("Contact", c)).collect();
                    self.switch.respond(self.now, tx, 200, &headers);
                }
                Err(refusal) => {
                    let headers = [("Min-Expires", "600".to_owned())];
                    self.switch.respond(self.now, tx, refusal.status(), &headers);
                }
            }
        }
        while let Some(transmit) = self.switch.poll_transmit() {
            let input = Input::Sip { flow: flow(0), bytes: transmit.bytes.to_vec() };
            self.phone.handle(self.now, input);
        }
    }
}

#[test]
fn rfc_3261_10_a_line_is_registered_refreshed_and_taken_back() {
    let mut desk = Desk::new("right", s(60));
    desk.run(s(500));
    assert_eq!(desk.told, ["registered as anna for 300 s"]);
    assert_eq!(desk.held, [(s(0), 1), (s(240), 1), (s(480), 1)]);
    desk.phone.handle(desk.now, Input::Stop);
    desk.run(s(10));
    assert_eq!(
        (desk.told.last().map(String::as_str), desk.ending),
        (Some("unregistered"), Some(Ending::Fine))
    );
    assert_eq!(desk.held.last().map(|(_, contacts)| *contacts), Some(0));
}

#[test]
fn a_wrong_password_ends_it_and_a_registrar_with_a_longer_least_is_obeyed() {
    let mut wrong = Desk::new("wrong", s(60));
    wrong.run(s(60));
    assert_eq!(wrong.told, ["registration refused: 401 Unauthorized"]);
    assert_eq!(wrong.ending, Some(Ending::NotRegistered));
    let mut brief = Desk::new("right", s(600));
    brief.run(s(60));
    assert_eq!(brief.told, ["registered as anna for 600 s"]);
}

#[test]
fn rfc_5626_4_2_a_connection_that_is_lost_takes_the_registration_with_it_and_it_is_made_anew() {
    let mut desk = Desk::over(Transport::Tcp, "right", s(60));
    desk.run(s(100));
    desk.phone.handle(desk.now, Input::FlowClosed { flow: FlowKey(0) });
    desk.run(s(100));
    let told = ["registered as anna for 300 s", "registration lost, trying again in 2 s"];
    assert_eq!(desk.told, [told[0], told[1], told[0]]);
    // The clock stood where the first answer came: nothing was due before.
    assert_eq!(desk.held, [(s(0), 1), (s(2), 1)]);
}

#[test]
fn a_phone_that_is_registered_takes_calls_from_its_switch_only() {
    let mut desk = Desk::new("right", s(60));
    desk.run(s(1));
    let stranger = Flow { peer: "127.0.0.9:5060".parse().expect("an address"), ..flow(0) };
    let invite = "INVITE sip:anna@127.0.0.1:5070 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.9:5060;branch=z9hG4bKx\r\n\
                  Max-Forwards: 70\r\nFrom: <sip:x@y>;tag=1\r\nTo: <sip:anna@z>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\
                  Contact: <sip:x@127.0.0.9:5060>\r\nContent-Length: 0\r\n\r\n";
    desk.phone.handle(desk.now, Input::Sip { flow: stranger, bytes: invite.as_bytes().to_vec() });
    let sent: Vec<String> = std::iter::from_fn(|| desk.phone.poll())
        .filter_map(|output| match output {
            Output::Transmit { bytes, .. } => Some(String::from_utf8_lossy(&bytes).into_owned()),
            Output::Media(_) | Output::Tell(_) | Output::Done(_) => None,
        })
        .collect();
    assert!(sent.last().is_some_and(|text| text.starts_with("SIP/2.0 403")), "{sent:?}");
    assert_eq!(desk.told, ["registered as anna for 300 s"]);
}
