//! What the phone keeps of a call.

use std::net::IpAddr;
use std::time::Instant;

use crate::base::id::{DialogKey, LegKey};
use crate::media::command::Stream;
use crate::sdp::offer_answer::{Codec, Local, Negotiation, PendingOffer, Security};
use crate::sdp::session::{SdpError, Way};
use crate::switch::leg::stream;

use super::io::Ending;

/// How far a call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Ours: waits for its port, then for an answer.
    Calling,
    /// Theirs: this phone rings. `due`: it is to be answered as soon as there is a port.
    Rings { due: bool },
    /// Ours is answered, or the ACK to our answer is waited for (`false`).
    Up { confirmed: bool },
    /// Its sound is being closed.
    Over,
}

/// What an offer of ours is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offered {
    Call,
    Hold,
    TakeBack,
}

pub(super) struct Call {
    pub leg: LegKey,
    pub dialog: Option<DialogKey>,
    /// The other side's host and port, as a URI has them.
    pub host: String,
    /// Whence its signalling comes.
    peer: IpAddr,
    pub stage: Stage,
    /// We placed it.
    pub ours: bool,
    pub began: Instant,
    pub answered: Option<Instant>,
    pub ended: Option<Instant>,
    /// The caller's offer, until it is answered.
    pub offer: Option<Vec<u8>>,
    /// The answer that came before the call was answered.
    pub early: Option<Vec<u8>>,
    pub stream: Option<Stream>,
    /// The next step of the script.
    pub step: usize,
    /// A packet has come.
    pub heard: bool,
    /// Whether there was a voice, when that was looked at.
    pub voice: Option<bool>,
    /// Media knows with whom it speaks.
    pub connected: bool,
    pub ending: Ending,
    negotiation: Option<Negotiation>,
    pending: Option<(PendingOffer, Offered)>,
}

impl Call {
    pub(super) fn new(leg: LegKey, peer: IpAddr, host: String, stage: Stage, began: Instant) -> Self {
        Self {
            leg,
            dialog: None,
            peer,
            host,
            ours: stage == Stage::Calling,
            stage,
            began,
            answered: None,
            ended: None,
            offer: None,
            early: None,
            stream: None,
            step: 0,
            heard: false,
            voice: None,
            connected: false,
            ending: Ending::Fine,
            negotiation: None,
            pending: None,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// There is a port for its sound.
    pub(super) fn opened(
        &mut self,
        address: IpAddr,
        port: u16,
        session_id: u64,
        codecs: &[Codec],
        security: Security,
    ) {
        let local = Local {
            address,
            port,
            session_id,
            codecs: codecs.to_vec(),
            dtmf: true,
            noise: true,
            rtcp_mux: false,
            security,
            web: None,
            own_ports: port..=port,
        };
        self.negotiation = Some(Negotiation::new(local, self.peer));
    }

    pub(super) fn has_port(&self) -> bool {
        self.negotiation.is_some()
    }

    pub(super) fn make_offer(&mut self, offered: Offered) -> Option<Vec<u8>> {
        let way = if offered == Offered::Hold { Way::SendOnly } else { Way::SendRecv };
        let (sdp, pending) = self.negotiation.as_mut()?.offer(way);
        self.pending = Some((pending, offered));
        Some(sdp)
    }

    pub(super) fn take_answer(&mut self, answer: &[u8]) -> Result<Offered, SdpError> {
        let (pending, offered) = self.pending.take().ok_or(SdpError::Mismatch)?;
        let negotiation = self.negotiation.as_mut().ok_or(SdpError::Mismatch)?;
        self.stream = Some(stream(&negotiation.accept_answer(pending, answer)?)?);
        Ok(offered)
    }

    pub(super) fn make_answer(&mut self, offer: &[u8]) -> Result<Vec<u8>, SdpError> {
        let negotiation = self.negotiation.as_mut().ok_or(SdpError::Mismatch)?;
        let (sdp, agreed) = negotiation.answer(offer)?;
        self.stream = Some(stream(&agreed)?);
        Ok(sdp)
    }

    /// An offer of ours came to nothing.
    pub(super) fn forget_offer(&mut self) {
        self.pending = None;
    }

    pub(super) fn waits_for_answer(&self) -> bool {
        self.pending.is_some()
    }

    /// Whether we hear the other side: when not, it is held, by us or by itself.
    pub(super) fn is_heard_by_other(&self) -> bool {
        self.stream.as_ref().is_none_or(|s| s.direction.sends())
    }
}
