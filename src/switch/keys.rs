//! How keys come from a leg and go to one where they are no telephone-event (RFC 4733), as its line or trunk is
//! set: by SIP INFO, or as tones in the sound.

use std::net::IpAddr;
use std::time::Duration;

use super::Switch;
use super::call::Phase;
use super::leg::Role;
use super::policy::Policy;
use crate::base::id::LegKey;
use crate::base::time::Now;
use crate::config::raw::{Keys, Line, Reach, Trunk};
use crate::media::command::MediaCommand;

/// How long a key is that came without a length.
const PRESS: Duration = Duration::from_millis(160);

impl Switch {
    /// Tells media how a new leg is set.
    pub(super) fn set_keys(&mut self, key: LegKey, peer: Option<IpAddr>) {
        let Some(leg) = self.legs.get_mut(&key) else { return };
        let listen = listens(&self.policy, leg.role, peer);
        leg.keys_by_info = by_info(&self.policy, leg.role);
        let tones = !leg.keys_by_info;
        if listen || !tones {
            self.media(MediaCommand::Keys { leg: key, listen, tones });
        }
    }

    /// A key of somebody who is with others goes to all of them, where media has not carried it: between two who both
    /// know telephone-event, and to one that makes tones of it, it has. `told`: it came by INFO, and media knows nothing
    /// of it.
    pub(super) fn carry_key(&mut self, now: Now, from: LegKey, digit: char, told: bool) {
        let call = self.legs.get(&from).and_then(|leg| self.calls.get(&leg.call));
        let mixed = call.is_some_and(|call| matches!(&call.phase, Phase::Together(t) if t.mixed));
        let is_tone = !told && self.legs.get(&from).is_some_and(|leg| !leg.has_events);
        for other in self.hearers(from) {
            let Some(leg) = self.legs.get(&other) else { continue };
            let has_heard = if is_tone { !leg.has_events } else { !told && !mixed };
            if let Some(dialog) = leg.dialog.filter(|_| leg.keys_by_info) {
                let body = format!("Signal={digit}\r\nDuration={}\r\n", PRESS.as_millis());
                self.endpoint.info(now, dialog, "application/dtmf-relay", body.into_bytes());
            } else if !has_heard {
                self.media(MediaCommand::SendDigit { leg: other, digit, duration: PRESS });
            }
        }
    }
}

fn by_info(policy: &Policy, role: Role) -> bool {
    line_of(policy, role).is_some_and(|line| line.keys.value == Keys::Info)
}

/// Whether keys are looked for in the sound of a leg that knows no telephone-event.
fn listens(policy: &Policy, role: Role, peer: Option<IpAddr>) -> bool {
    let trunks = &policy.config.trunks;
    let named = |name: &str| trunks.iter().find(|t| t.name.value == name);
    if let Some(line) = line_of(policy, role) {
        return match &line.reach {
            Reach::Telephone { trunk, .. } => named(&trunk.value).is_some_and(|t| t.inband_dtmf.value),
            Reach::Registers { .. } | Reach::Fixed { .. } => line.inband_dtmf.value,
        };
    }
    // A destination is asked for no key.
    let carries = |trunk: &&Trunk| peer.is_some_and(|peer| policy.is_of_trunk(trunk, peer));
    role == Role::Caller && trunks.iter().filter(carries).any(|t| t.inband_dtmf.value)
}

fn line_of(policy: &Policy, role: Role) -> Option<&Line> {
    match role {
        Role::Line(line) | Role::Service(line) | Role::Consulting(line) => policy.line(line),
        Role::Caller | Role::Destination => None,
    }
}
