//! A call is offered: lines ring, one answers, the others are taken back. Crossings are the endpoint's.

use std::collections::VecDeque;
use std::time::Duration;

use super::arriving::SILENCE;
use super::call::{Attempts, Phase, Ticket, Together};
use super::leg::{Description, Place, Progress, Role, Target, connect};
use super::line_invite;
use super::places::Asker;
use super::{Owner, Switch, What, policy};
use crate::base::id::{CallKey, DialogKey, LegKey, LineKey, PlayKey};
use crate::base::time::Now;
use crate::callflow::machine::FlowEvent;
use crate::config::raw::{Reach, Trunk};
use crate::media::command::MediaCommand;
use crate::routing::line::Load;
use crate::sdp::offer_answer::{Security, Srtp};
use crate::sip::flow::{Destination, Transport};
use crate::sip::header_ext::{Reason, ReasonProtocol};
use crate::sip::uri::{Host, Uri};
use crate::telemetry::notice::{Miss, Notice, Outcome};

/// How long a leg that is called directly rings.
const DIRECT_RING: Duration = Duration::from_secs(45);
/// How long a peer may take for a first sign of life, by when INVITE was sent four times: a phone without
/// network or power is passed over at once, and not after its whole time to ring.
const UNHEARD: Duration = Duration::from_secs(5);
/// How long a telephone has for the 1.
const CONFIRM: Duration = Duration::from_secs(15);

impl Switch {
    /// Rings these lines for a caller who waits.
    pub(super) fn offer_lines(&mut self, now: Now, key: CallKey, lines: &[LineKey]) {
        let Some(Phase::Waiting(ticket)) = self.take_phase(key) else { return };
        let ring = self.floor.ring_time(&ticket.queue).unwrap_or(DIRECT_RING);
        self.enter(now, key, Phase::Offering(Attempts { ticket: Some(ticket), legs: Vec::new() }));
        for line in lines {
            if let Some(leg) = self.ring_line(now, key, *line, ring) {
                self.add_attempt(key, leg);
            } else if let Some(Phase::Offering(Attempts { ticket: Some(ticket), .. })) =
                self.calls.get_mut(&key).map(|c| &mut c.phase)
            {
                ticket.tried.push(*line);
            }
        }
        self.after_loss(now, key);
    }

    fn add_attempt(&mut self, key: CallKey, leg: LegKey) {
        if let Some(Phase::Offering(attempts)) = self.calls.get_mut(&key).map(|c| &mut c.phase) {
            attempts.legs.push(leg);
        }
    }

    /// Straight to one line, without a queue.
    pub(super) fn dial_line(&mut self, now: Now, key: CallKey, name: &str) -> Option<FlowEvent> {
        let line = self
            .policy
            .line_named(name)
            .filter(|l| self.floor.line(*l).is_some_and(|line| line.ringable(now.at).is_ok()));
        let leg = line.and_then(|line| self.ring_line(now, key, line, DIRECT_RING));
        let Some(leg) = leg else { return Some(FlowEvent::DialFailed) };
        self.enter(now, key, Phase::Offering(Attempts { ticket: None, legs: vec![leg] }));
        self.music(key);
        None
    }

    /// A configured number over its trunk, such as 106.
    pub(super) fn dial(&mut self, now: Now, key: CallKey, name: &str) -> Option<FlowEvent> {
        let Some(leg) = self.ring_destination(now, key, name) else { return Some(FlowEvent::DialFailed) };
        self.enter(now, key, Phase::Offering(Attempts { ticket: None, legs: vec![leg] }));
        self.music(key);
        None
    }

    pub(super) fn ring_destination(&mut self, now: Now, key: CallKey, name: &str) -> Option<LegKey> {
        let destination = self.policy.destination(name)?;
        let (number, trunk, ring) =
            (&destination.number.value, &destination.trunk.value, destination.ring.value);
        let early = destination.early_media.value;
        let mut target = self.trunk_target(now, trunk, number, false)?;
        target.early = early;
        target.others.iter_mut().for_each(|other| other.early = early);
        self.call_leg(now, key, Role::Destination, target, ring).ok()
    }

    /// Begins to ring a line; `None` when it can't be reached at all.
    pub(super) fn ring_line(
        &mut self,
        now: Now,
        key: CallKey,
        line: LineKey,
        ring: Duration,
    ) -> Option<LegKey> {
        let target = self.line_target(now, line).ok_or(Miss::Unreachable);
        let leg = target.and_then(|target| self.call_leg(now, key, Role::Line(line), target, ring));
        if let Some(line) = self.floor.line_mut(line) {
            line.offered();
        }
        match leg {
            Ok(leg) => {
                if let Some(leg) = self.legs.get_mut(&leg) {
                    leg.load = Some(Load::Ringing);
                }
                self.notice(Notice::Offered { call: key, line });
                self.tell_line(now, line);
                Some(leg)
            }
            Err(miss) => {
                let rule = self.rule_for(key);
                if let Some(line) = self.floor.line_mut(line) {
                    line.missed(miss, now.at, rule);
                }
                self.notice(Notice::Missed { call: key, line, miss, rang: Duration::ZERO });
                self.tell_line(now, line);
                None
            }
        }
    }

    fn call_leg(
        &mut self,
        now: Now,
        key: CallKey,
        role: Role,
        target: Target,
        ring: Duration,
    ) -> Result<LegKey, Miss> {
        if self.legs.is_full() {
            return Err(Miss::NoRoom);
        }
        let signalling = self.signalling_for(&target.place);
        // `check` sees to it that we listen by the transport and family of every address.
        let signalling = signalling.ok_or(Miss::Unreachable)?;
        let leg = self.open_leg(now, key, role, signalling, Description::Ours);
        if let Some(leg) = self.legs.get_mut(&leg) {
            leg.target = Some(target);
        }
        self.set_keys(leg, None);
        self.timers.set(Owner::Leg(leg), What::Ring, now.at + ring);
        Ok(leg)
    }

    // --- targets --------------------------------------------------------------------------------------

    fn line_target(&self, now: Now, key: LineKey) -> Option<Target> {
        let line = self.policy.line(key)?;
        let srtp = policy::srtp(line.srtp.value);
        match &line.reach {
            Reach::Registers { .. } => {
                let bindings = self.gate.registrar.bindings(&line.name.value, now.at);
                first_of(bindings.into_iter().map(|binding| {
                    let local = Host::Address(binding.flow.local.ip());
                    let to = format!("<{}>", Uri::sip(&line.name.value, local, None));
                    let place = Place::Known(Destination::Flow(binding.flow));
                    let target = Target::new(binding.contact.to_string(), to, place);
                    Target { routes: binding.path, srtp, codecs: policy::codecs(&line.codecs), ..target }
                }))
            }
            Reach::Fixed { uri } => {
                let parsed = Uri::parse(&uri.value).ok()?;
                let place = self.place(&parsed)?;
                let target = Target::new(uri.value.clone(), format!("<{}>", uri.value), place);
                Some(Target { srtp, codecs: policy::codecs(&line.codecs), ..target })
            }
            Reach::Telephone { number, trunk } => self.trunk_target(now, &trunk.value, &number.value, true),
        }
    }

    /// A number over a trunk, else over its backups; those that are known not to answer come last.
    fn trunk_target(&self, now: Now, trunk: &str, number: &str, confirm: bool) -> Option<Target> {
        let trunks = self.policy.trunk_and_backups(trunk).into_iter();
        let target = |trunk: &Trunk| {
            let target = Target { confirm, ..self.over_trunk(trunk, number)? };
            Some((self.trunks.is_up(&trunk.name.value) && !self.is_set_aside(now, &target.place), target))
        };
        let (up, down): (Vec<_>, Vec<_>) = trunks.filter_map(target).partition(|(up, _)| *up);
        first_of(up.into_iter().chain(down).map(|(_, target)| target))
    }

    fn over_trunk(&self, trunk: &Trunk, number: &str) -> Option<Target> {
        let base = Uri::parse(&trunk.target.as_ref()?.value).ok()?;
        let place = self.place(&base)?;
        let mut uri = Uri::sip(number, base.host()?.clone(), base.port);
        uri.scheme = base.scheme;
        // Of UDP too: who writes it wants no INVITE over TCP, however long it is.
        if let Some(transport) = base.transport() {
            uri.params.set("transport", Some(transport.as_param()));
        }
        let identity = trunk.identity.as_ref().map(|identity| match Uri::parse(&identity.value) {
            Ok(uri) if uri.host().is_some() => uri.to_string(),
            Ok(_) | Err(_) => {
                Uri::sip(&identity.value, base.host().cloned().unwrap_or(Host::Name("invalid".into())), None)
                    .to_string()
            }
        });
        Some(Target {
            credentials: line_invite::credentials(trunk),
            identity,
            srtp: policy::srtp(trunk.srtp.value),
            codecs: policy::codecs(&trunk.codecs),
            ..Target::new(uri.to_string(), format!("<{uri}>"), place)
        })
    }

    fn is_set_aside(&self, now: Now, place: &Place) -> bool {
        matches!(place, Place::Known(to) if self.places.is_set_aside(now, to))
    }

    // --- out ------------------------------------------------------------------------------------------

    /// The port is there: to the network, or first to the name server.
    pub(super) fn call_out(&mut self, now: Now, key: LegKey) {
        let Some(target) = self.legs.get(&key).and_then(|l| l.target.clone()) else { return };
        match target.place {
            Place::Known(to) => self.send_invite(now, key, to),
            Place::Named(search) => self.search(now, Asker::Leg(key), search),
        }
    }

    /// The name is looked up: its places are tried one after the other (RFC 3263 4.3), and after those of other
    /// carriers the ones that failed a short while ago.
    pub(super) fn leg_found(&mut self, now: Now, key: LegKey, places: Vec<Destination>) {
        let Some(leg) = self.legs.get_mut(&key) else { return };
        let Some(target) = &mut leg.target else { return };
        let others = std::mem::take(&mut target.others);
        let bare = target.clone();
        let (late, soon): (Vec<Target>, Vec<Target>) = places
            .into_iter()
            .map(|to| Target { place: Place::Known(to), ..bare.clone() })
            .partition(|target| self.is_set_aside(now, &target.place));
        if let Some(target) = self.legs.get_mut(&key).and_then(|leg| leg.target.as_mut()) {
            target.others = soon.into_iter().chain(others).chain(late).collect();
        }
        if !self.call_next(now, key) {
            self.attempt_failed(now, key, Miss::Unreachable);
        }
    }

    fn send_invite(&mut self, now: Now, key: LegKey, to: Destination) {
        let Some(leg) = self.legs.get(&key) else { return };
        let shown = self.shown_name(leg);
        let Some(target) = leg.target.clone() else { return };
        self.meets(key, to.peer());
        self.speaks(key, target.codecs.clone());
        let codecs = self.codecs_for(key);
        let Some(leg) = self.legs.get_mut(&key) else { return };
        leg.speak(codecs);
        let confidential = to.transport() == Transport::Tls;
        leg.secure(Security::new(target.srtp, confidential, &self.policy.suites, &mut self.mint.rng));
        // Who came by WebSocket is a page in a browser (RFC 7118), which knows no other audio.
        let is_page = matches!(to.transport(), Transport::Ws | Transport::Wss);
        leg.speak_web(self.mint.web(), is_page);
        let Some(sdp) = leg.make_offer() else { return };
        leg.progress = Progress::Calling;
        let invite = line_invite::write(&shown, &target, to, leg.signalling, sdp);
        match self.endpoint.invite(now, invite) {
            Ok(dialog) => {
                self.attach(key, dialog);
                self.timers.set(Owner::Leg(key), What::Heard, now.at + UNHEARD);
            }
            Err(_) => self.attempt_failed(now, key, Miss::NoRoom),
        }
    }

    /// Nobody was reached there: the next address, phone or carrier is called, as long as the leg may ring.
    fn call_next(&mut self, now: Now, key: LegKey) -> bool {
        let Some(leg) = self.legs.get(&key) else { return false };
        let Some(mut others) = leg.target.as_ref().map(|target| target.others.clone()) else { return false };
        // The port for its audio is open on one address of ours, and may have to be on another.
        let home = leg.signalling.ip();
        let next = loop {
            let Some(next) = others.pop_front() else { return false };
            if let Some(local) = self.signalling_for(&next.place) {
                break (next, local);
            }
        };
        if self.early_ends(key)
            && let Some(call) = self.legs.get(&key).map(|leg| leg.call)
        {
            self.music(call);
        }
        let Some(leg) = self.legs.get_mut(&key) else { return false };
        leg.signalling = next.1;
        leg.target = Some(Target { others, ..next.0 });
        leg.forget_offer();
        if let Some(dialog) = leg.dialog.take() {
            self.dialogs.remove(&dialog);
            self.endpoint.hang_up(now, dialog, None);
        }
        if next.1.ip() == home {
            self.call_out(now, key);
        } else {
            self.move_audio(key, next.1.ip());
        }
        true
    }

    /// Another port for its audio, on the address that this peer can be spoken with from; it is called once that is open.
    fn move_audio(&mut self, key: LegKey, local: std::net::IpAddr) {
        let Some(leg) = self.legs.get_mut(&key) else { return };
        leg.description = Description::Ours;
        leg.progress = Progress::Preparing;
        let (origin, local) = (self.mint.origin(), self.policy.media_address(local));
        self.media(MediaCommand::Close { leg: key });
        self.media(MediaCommand::Open { leg: key, local, origin });
    }

    /// Time to have heard something of a leg that we call.
    pub(super) fn unheard(&mut self, now: Now, key: LegKey) {
        let dialog = self.legs.get(&key).and_then(|leg| leg.dialog);
        if dialog.is_some_and(|dialog| !self.endpoint.is_heard(dialog)) {
            if let Some(to) = self.place_of(key) {
                self.place_failed(now, &to, None);
            }
            self.attempt_failed(now, key, Miss::Unreachable);
        }
    }

    pub(super) fn place_of(&self, key: LegKey) -> Option<Destination> {
        match &self.legs.get(&key)?.target.as_ref()?.place {
            Place::Known(to) => Some(*to),
            Place::Named(_) => None,
        }
    }

    // --- what comes of it -----------------------------------------------------------------------------

    /// A leg that we called has answered.
    pub(super) fn answered(&mut self, now: Now, dialog: DialogKey, sdp: Option<&[u8]>) {
        let Some(key) = self.leg_of(dialog) else { return };
        if let Some(to) = self.place_of(key) {
            self.place_answers(&to);
        }
        self.early_ends(key);
        let Some(leg) = self.legs.get_mut(&key) else { return };
        self.state.current = Some(leg.call);
        self.timers.cancel(Owner::Leg(key), What::Ring);
        let stream = sdp.map(|sdp| leg.take_answer(sdp));
        let confirm = leg.target.as_ref().is_some_and(|t| t.confirm);
        let Some(Ok(stream)) = stream else {
            // Answered with nothing that we could talk by.
            return self.attempt_failed(now, key, Miss::Unreachable);
        };
        leg.progress = if confirm { Progress::Confirming } else { Progress::Up };
        self.media(connect(key, stream));
        self.media(MediaCommand::Watch { leg: key, after: Some(SILENCE) });
        if confirm {
            self.ask_to_confirm(now, key);
        } else {
            self.won(now, key);
        }
    }

    /// "A call for 1712, press 1": a private voicemail can't press it.
    fn ask_to_confirm(&mut self, now: Now, key: LegKey) {
        let play = PlayKey(self.mint.serial.next());
        let clip = self.policy.own_clip("line-confirm");
        self.media(MediaCommand::Play { leg: key, play, clips: vec![clip], repeat: true });
        self.timers.set(Owner::Leg(key), What::Confirm, now.at + CONFIRM);
    }

    pub(super) fn confirm_digit(&mut self, now: Now, key: LegKey, digit: char) {
        if digit != '1' {
            return;
        }
        self.timers.cancel(Owner::Leg(key), What::Confirm);
        if let Some(leg) = self.legs.get_mut(&key) {
            leg.progress = Progress::Up;
        }
        self.won(now, key);
    }

    pub(super) fn not_confirmed(&mut self, now: Now, key: LegKey) {
        self.attempt_failed(now, key, Miss::NotConfirmed);
    }

    pub(super) fn rang_out(&mut self, now: Now, key: LegKey) {
        self.attempt_failed(now, key, Miss::NoAnswer);
    }

    /// Our INVITE failed.
    pub(super) fn failed(&mut self, now: Now, dialog: DialogKey, status: u16, retry_after: Option<Duration>) {
        let Some(key) = self.leg_of(dialog) else { return };
        self.dialogs.remove(&dialog);
        match (status, self.place_of(key)) {
            // From the peer, or because the network took nothing.
            (503, Some(to)) => self.place_failed(now, &to, retry_after),
            // Ours, when the peer gave no answer at all, or the peer's.
            (408, _) | (_, None) => {}
            (_, Some(to)) => self.place_answers(&to),
        }
        if let Some(leg) = self.legs.get_mut(&key) {
            leg.dialog = None;
        }
        let miss = match status {
            486 | 600 => Miss::Busy,
            603 | 480 | 403 => Miss::Declined,
            408 | 487 => Miss::NoAnswer,
            _ => Miss::Unreachable,
        };
        if status != 503 {
            self.leave_siblings(key);
        }
        if status == 488 {
            self.insist_on_encryption(key);
        }
        self.attempt_failed(now, key, miss);
    }

    /// Somebody answered for all places of this address (RFC 3263 4.3): only other phones and carriers are left.
    fn leave_siblings(&mut self, key: LegKey) {
        let target = self.legs.get_mut(&key).and_then(|leg| leg.target.as_mut());
        if let Some(Target { place: Place::Known(Destination::Address { .. }), uri, others, .. }) = target {
            others.retain(|other| other.uri != *uri);
        }
    }

    /// Who takes encrypted audio only may refuse an offer that leaves it open (RFC 8643 4.1), and is asked once more.
    fn insist_on_encryption(&mut self, key: LegKey) {
        let Some(target) = self.legs.get_mut(&key).and_then(|leg| leg.target.as_mut()) else { return };
        let private = matches!(&target.place, Place::Known(to) if to.transport() == Transport::Tls);
        if target.srtp == Srtp::Optional && private {
            let again = Target { srtp: Srtp::Mandatory, others: VecDeque::new(), ..target.clone() };
            target.others.push_front(again);
        }
    }

    /// The first to answer has the caller; the others are taken back.
    fn won(&mut self, now: Now, key: LegKey) {
        let Some(call_key) = self.legs.get(&key).map(|l| l.call) else { return };
        if self.transfer_won(now, call_key, key) {
            return;
        }
        let Some(call) = self.calls.get(&call_key) else { return };
        if !matches!(&call.phase, Phase::Offering(attempts) if attempts.legs.contains(&key)) {
            return self.close_leg(now, key);
        }
        let together = Together {
            other: key,
            queue: None,
            ticket: None,
            waited: Duration::ZERO,
            since: now.at,
            bridged: false,
            transfer: None,
            guests: Vec::new(),
            mixed: false,
            room: Vec::new(),
        };
        let Some(Phase::Offering(attempts)) = self.enter(now, call_key, Phase::Together(together)) else {
            return;
        };
        for other in attempts.legs.into_iter().filter(|leg| *leg != key) {
            self.withdraw(now, other, Miss::Lost);
        }
        if let Some(ticket) = attempts.ticket {
            self.floor.serve(&ticket.queue, call_key, now.at);
            self.told_length(&ticket.queue);
            if let Some(Phase::Together(together)) = self.calls.get_mut(&call_key).map(|c| &mut c.phase) {
                together.waited = now.at.saturating_duration_since(ticket.since);
                together.queue = Some(ticket.queue.clone());
                together.ticket = Some(ticket);
            }
        }
        if !self.answer_consultation(now, call_key) {
            self.begin_join(now, call_key, key);
        }
    }

    /// A leg that had answered is gone before both heard each other: for the caller it is as if it had not
    /// answered.
    pub(super) fn fell_through(&mut self, now: Now, key: CallKey) {
        let Some(Phase::Together(together)) = self.enter(now, key, Phase::InFlow) else { return };
        let line = self.legs.get(&together.other).and_then(super::leg::Leg::line);
        self.withdraw(now, together.other, Miss::Declined);
        let Some(mut ticket) = together.ticket else { return self.direct_failed(now, key) };
        ticket.tried.extend(line);
        let queue = ticket.queue.clone();
        let left = self.floor.max_wait(&queue).saturating_sub(together.waited).max(Duration::from_secs(1));
        self.requeue(now, key, ticket);
        self.timers.set(Owner::Call(key), What::MaxWait, now.at + left);
        self.music(key);
        self.look(&queue);
    }

    /// An attempt came to nothing.
    pub(super) fn attempt_failed(&mut self, now: Now, key: LegKey, miss: Miss) {
        let Some(call) = self.legs.get(&key).map(|l| l.call) else { return };
        self.state.current = Some(call);
        if miss == Miss::Unreachable && self.call_next(now, key) {
            return;
        }
        let line = self.legs.get(&key).and_then(super::leg::Leg::line);
        self.withdraw(now, key, miss);
        if self.transfer_lost(now, call, key, miss) || self.colleague_lost(now, call, miss) {
            return;
        }
        let Some(Phase::Offering(attempts)) = self.calls.get_mut(&call).map(|c| &mut c.phase) else { return };
        attempts.legs.retain(|leg| *leg != key);
        if let (Some(ticket), Some(line)) = (&mut attempts.ticket, line) {
            ticket.tried.push(line);
        }
        self.after_loss(now, call);
    }

    /// When no attempt is left: the next line, or the script's own way on.
    fn after_loss(&mut self, now: Now, key: CallKey) {
        let Some(Phase::Offering(attempts)) = self.calls.get(&key).map(|c| &c.phase) else { return };
        if !attempts.legs.is_empty() {
            return;
        }
        let Some(Phase::Offering(attempts)) = self.take_phase(key) else { return };
        match attempts.ticket {
            Some(ticket) => {
                let queue = ticket.queue.clone();
                self.enter(now, key, Phase::Waiting(ticket));
                self.look(&queue);
            }
            None => self.direct_failed(now, key),
        }
    }

    fn direct_failed(&mut self, now: Now, key: CallKey) {
        let Some(call) = self.calls.get(&key) else { return };
        if call.machine.as_ref().is_some_and(super::super::callflow::machine::Machine::is_waiting) {
            return self.flow(now, key, FlowEvent::DialFailed);
        }
        // A transfer whose maker has gone: back to the queue, at the place of one who came first.
        match call.queue.clone() {
            Some(queue) => {
                let ticket = Ticket { queue: queue.clone(), since: call.arrived, tried: Vec::new() };
                let max_wait = Duration::from_secs(600);
                self.requeue(now, key, ticket);
                self.timers.set(Owner::Call(key), What::MaxWait, now.at + max_wait);
                self.music(key);
                self.look(&queue);
            }
            None => self.farewell(now, key, &["nobody-there", "last-resort", "goodbye"], Outcome::Goodbye),
        }
    }

    /// Takes back a leg that rings, and books it with its line.
    pub(super) fn withdraw(&mut self, now: Now, key: LegKey, miss: Miss) {
        let Some(leg) = self.legs.remove(&key) else { return };
        self.timers.cancel_owner(Owner::Leg(key), super::FIRST_WHAT);
        if let Some(dialog) = leg.dialog {
            self.dialogs.remove(&dialog);
            // RFC 3326: a phone need not show a call that another took as missed.
            let elsewhere = Reason { protocol: ReasonProtocol::Sip, cause: 200 };
            self.endpoint.hang_up(now, dialog, (miss == Miss::Lost).then_some(elsewhere));
        }
        self.media(MediaCommand::Close { leg: key });
        if let Role::Line(line) = leg.role {
            let rule = self.rule_for(leg.call);
            if let Some(line) = self.floor.line_mut(line) {
                line.missed(miss, now.at, rule);
            }
            let rang = now.at.saturating_duration_since(leg.since);
            self.notice(Notice::Missed { call: leg.call, line, miss, rang });
            self.tell_line(now, line);
        }
    }

    fn rule_for(&self, call: CallKey) -> crate::routing::line::MissRule {
        let queue = self.calls.get(&call).and_then(|c| c.queue.clone());
        self.floor.miss_rule(queue.as_deref())
    }
}

/// The first of these, with the others to be tried after it.
fn first_of(targets: impl Iterator<Item = Target>) -> Option<Target> {
    let mut targets = targets;
    let first = targets.next()?;
    Some(Target { others: targets.collect(), ..first })
}
