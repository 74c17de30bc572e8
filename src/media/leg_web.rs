//! What a leg does that a browser is on: ICE and DTLS come by its RTP port too, and nothing is heard or said before
//! they have brought an address and keys.

use std::net::SocketAddr;
use std::sync::Arc;

use super::MediaLeg;
use crate::base::time::Now;
use crate::media::command::{Insecure, MediaEvent, Stream, WebRtc};
use crate::media::dtls::Identity;
use crate::media::lock::SourceLock;
use crate::media::web::{Kind, Web};

/// Nothing of it is there on a leg without a browser.
#[derive(Default)]
pub(super) struct Browser {
    /// Our certificate.
    identity: Option<Arc<Identity>>,
    /// An exchange that the clock has not seen yet.
    agreed: Option<WebRtc>,
    web: Option<Box<Web>>,
    /// Where the lock is set to.
    place: Option<SocketAddr>,
    /// Whence the packet came that is being opened.
    from: Option<SocketAddr>,
}

impl MediaLeg {
    /// The certificate by which a browser may know us.
    pub fn show(&mut self, identity: Arc<Identity>) {
        self.browser.identity = Some(identity);
    }

    /// Datagrams of ICE and DTLS, for the RTP socket.
    pub fn poll_datagram(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.browser.web.as_mut()?.poll_datagram()
    }

    /// Whether somebody else is spoken with from now on: another browser by its certificate, or none where one was. Such
    /// is the next of several who are called in turn. Then nothing of the one before stays: what is said now is not for
    /// it, and what it says is not heard.
    pub(super) fn agree_web(&mut self, stream: &Stream) -> bool {
        let agreed = stream.web.as_deref().cloned();
        let was = self.peer.as_ref().and_then(|peer| peer.stream.web.as_ref()).map(|web| web.fingerprint);
        let is_another = was.is_some() && was != agreed.as_ref().map(|web| web.fingerprint);
        if is_another {
            self.guard.wipe();
            (self.browser.web, self.browser.place, self.browser.from) = (None, None, None);
        }
        self.browser.agreed = agreed;
        is_another
    }

    /// The peer is a browser that has no keys yet.
    pub(super) fn awaits_keys(&self) -> bool {
        !self.guard.is_keyed() && self.peer.as_ref().is_some_and(|peer| peer.stream.web.is_some())
    }

    /// Whence a packet of media is to be taken as coming; `None`: it is no media, or no peer's.
    pub(super) fn pass_web(&mut self, now: Now, from: SocketAddr, bytes: &[u8]) -> Option<SocketAddr> {
        if self.browser.web.is_none() && self.browser.agreed.is_none() {
            // Without a certificate of ours there will be no keys.
            return (!self.awaits_keys()).then_some(from);
        }
        self.begin_web(now);
        let web = self.browser.web.as_mut()?;
        if Kind::of(bytes) != Kind::Media {
            web.handle(now.at, from, bytes);
            self.settle_web(now);
            return None;
        }
        let known = self.guard.is_keyed() && web.knows(from);
        if !known {
            self.foreign += 1;
        }
        self.browser.from = Some(from).filter(|_| known);
        // It may check, and send, from several addresses at once; its keys say that it is the same.
        self.browser.place.filter(|_| known)
    }

    /// What comes now is not by the port of a browser's media.
    pub(super) fn forget_web(&mut self) {
        self.browser.from = None;
    }

    /// The packet that came last has been opened: the peer is where it came from. Whence it is to be taken as coming
    /// now.
    pub(super) fn prove_web(&mut self, now: Now, taken: SocketAddr) -> SocketAddr {
        let (Some(from), Some(web)) = (self.browser.from.take(), &mut self.browser.web) else { return taken };
        web.prove(from);
        if web.place(now.at) != self.browser.place {
            self.settle_web(now);
        }
        self.browser.place.unwrap_or(taken)
    }

    /// The clock.
    pub(super) fn look_web(&mut self, now: Now) {
        self.begin_web(now);
        if let Some(web) = &mut self.browser.web {
            web.on_time(now.at);
            self.settle_web(now);
        }
    }

    /// Datagrams of strangers that were neither RTP nor RTCP.
    pub(super) fn web_strangers(&self) -> u64 {
        self.browser.web.as_ref().map_or(0, |web| web.strangers())
    }

    /// An exchange counts from the first time that the clock is there.
    fn begin_web(&mut self, now: Now) {
        let Some(agreed) = self.browser.agreed.take() else { return };
        match (&mut self.browser.web, &self.browser.identity) {
            (Some(web), _) => web.agree(now.at, agreed),
            (None, Some(identity)) => {
                self.browser.web = Some(Box::new(Web::new(now.at, Arc::clone(identity), agreed)));
            }
            (None, None) => self.tell_insecure(Insecure::Handshake),
        }
        self.settle_web(now);
    }

    /// Takes over what has come of it.
    fn settle_web(&mut self, now: Now) {
        let Some(web) = &mut self.browser.web else { return };
        let (keying, fault, place) = (web.take_keying(), web.poll_fault(), web.place(now.at));
        if let Some(keying) = keying
            && self.guard.set(Some(&keying)).is_none()
        {
            self.tell_insecure(Insecure::Handshake);
        }
        if let Some(why) = fault {
            self.tell_insecure(why);
        }
        if place != self.browser.place
            && let Some(peer) = &mut self.peer
        {
            self.browser.place = place;
            // Without consent to hear us nothing is sent: the SDP's own address is nowhere.
            let place = place.unwrap_or(peer.stream.remote);
            peer.lock = SourceLock::new(place, place.ip());
        }
    }

    fn tell_insecure(&mut self, why: Insecure) {
        self.events.push_back(MediaEvent::Insecure { leg: self.leg, why });
    }
}
