//! What a leg and its peer say of themselves: reports by RTCP both ways, and what the leg has counted.

use std::net::SocketAddr;

use super::{Datagram, MAX_CONTROL, MediaLeg};
use crate::base::time::Now;
use crate::media::command::{LegStats, Stream};
use crate::media::{quality, rtcp, rtp};

impl MediaLeg {
    /// Takes a datagram from the RTCP socket. From elsewhere it is counted and changes nothing.
    pub fn handle_rtcp(&mut self, now: Now, from: SocketAddr, bytes: &mut [u8]) {
        self.forget_web();
        self.on_control(now, from, bytes);
    }

    pub(super) fn on_control(&mut self, now: Now, from: SocketAddr, bytes: &mut [u8]) {
        if self.awaits_keys() {
            return;
        }
        let Some(bytes) = self.guard.open_rtcp(bytes) else { return };
        let from = self.prove_web(now, from);
        let Some(peer) = &mut self.peer else { return };
        let report = rtcp::read(bytes, self.sender.ssrc());
        if !peer.lock.is_control(from) {
            self.foreign += 1;
        } else if let Some(report) = report {
            peer.lock.hold_control(from);
            self.reporter.on_report(&report, now.utc);
        } else {
            self.malformed += 1;
        }
    }

    pub fn stats(&self) -> LegStats {
        let mut stats = LegStats {
            sent: self.sender.counts().0,
            received: self.source.received(),
            lost: self.source.lost(),
            late: self.source.late(),
            foreign: self.foreign + self.web_strangers(),
            malformed: self.malformed,
            flood: self.flood,
            jitter: (u64::from(self.source.jitter()) * 8000 / u64::from(self.clock)) as u32,
            round_trip: self.reporter.round_trip(),
            ..LegStats::default()
        };
        self.guard.tell(&mut stats);
        stats.mos = self.codec.and_then(|codec| quality::mos(codec, &stats));
        stats
    }

    pub(super) fn report<'a>(
        &mut self,
        now: Now,
        out: &'a mut [u8; MAX_CONTROL],
        last: bool,
    ) -> Option<Datagram<'a>> {
        if self.awaits_keys() {
            // Nothing goes out in the clear to who is to have keys.
            return None;
        }
        let peer = self.peer.as_ref()?;
        let Stream { rtcp_mux, remote_rtcp, .. } = peer.stream;
        let to = if rtcp_mux { peer.lock.target()? } else { peer.lock.control_target(remote_rtcp)? };
        let pause = now.at.saturating_duration_since(self.sent_at);
        let timestamp = self.sender.timestamp().wrapping_add(rtp::units(pause, peer.stream.codec.clock()));
        let plain = out.first_chunk_mut()?;
        let length = self.reporter.write(plain, now.utc, timestamp, &self.sender, &self.source, last);
        Some(Datagram { to, bytes: self.guard.protect_rtcp(out, length)? })
    }
}
