//! What the endpoint keeps of one INVITE dialog.

use std::net::SocketAddr;
use std::time::Duration;

use super::TxId;
use super::provisional::{Early, Unconfirmed};
use super::refreshing::Session;
use crate::sip::dialog::Dialog;
use crate::sip::digest::Credentials;
use crate::sip::flow::{Destination, Flow, Transport};
use crate::sip::header_ext::Reason;
use crate::sip::transaction::{Bytes, top_via};
use crate::sip::uri::{Host, Scheme, Uri};
use crate::sip::wire::message::{Headers, Response};

/// How often a re-INVITE that met the peer's is tried again (14.1).
pub(super) const OFFER_TRIES: u32 = 6;

/// How far an INVITE dialog has come.
pub(super) enum Stage {
    /// Their INVITE waits for our answer.
    Incoming {
        tx: TxId,
    },
    /// Our INVITE waits for theirs.
    Outgoing {
        tx: TxId,
        cancel: Cancel,
    },
    Up,
    /// Our BYE waits for its answer.
    Leaving,
}

/// Whether our INVITE is being taken back (9.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cancel {
    No,
    /// As soon as a provisional response allows it.
    Wanted,
    Sent,
}

/// The offer/answer exchange of a dialog that is up (RFC 3264 4, RFC 3261 14).
pub(super) enum Exchange {
    Idle,
    /// Their re-INVITE or UPDATE waits for our answer.
    Theirs {
        tx: TxId,
        invite: bool,
    },
    /// Our re-INVITE waits for theirs.
    Ours {
        sdp: Vec<u8>,
        tries: u32,
    },
}

/// Our 200 to an INVITE, repeated until its ACK (13.3.1.4).
pub(super) struct OkWait {
    pub bytes: Bytes,
    pub to: Destination,
    pub cseq: u32,
    pub interval: Duration,
    /// The 200 bore our offer, so the ACK bears the answer.
    pub offered: bool,
    /// It answered the first INVITE.
    pub first: bool,
}

pub(super) struct Call {
    pub stage: Stage,
    /// `None` for a call out that nobody answered yet.
    pub dialog: Option<Dialog>,
    /// Where the first message came from or went to.
    pub base: Destination,
    /// Written in Via.
    pub local: SocketAddr,
    /// Written in Contact.
    pub contact: String,
    /// The user has hung up: nothing is told any more.
    pub silent: bool,
    /// Why, for a BYE that waits for an ACK.
    pub reason: Option<Reason>,
    pub ok: Option<OkWait>,
    pub exchange: Exchange,
    /// Our offer that met theirs and is tried again by a timer, and how often it was.
    pub resting: Option<(Vec<u8>, u32)>,
    /// Their REFER that waits for our answer.
    pub refer: Option<TxId>,
    /// Our REFER was not refused: NOTIFY tells how it goes (RFC 3515 2.4.4).
    pub referring: bool,
    pub credentials: Option<Credentials>,
    /// The last ACK to a 2xx, with the INVITE's number, for repetitions of that 2xx.
    pub last_ack: Option<(u32, Bytes)>,
    /// We called: our Call-ID (14.1's back-off).
    pub ours: bool,
    pub session: Session,
    /// The caller wants provisional responses to be reliable (RFC 3262).
    pub wants_reliable: bool,
    /// Ours that waits for its PRACK.
    pub unconfirmed: Option<Unconfirmed>,
    /// Branches of our INVITE that have answered reliably.
    pub early: Vec<Early>,
}

impl Call {
    /// Where the next request goes: the first hop as an address, else back over the flow.
    pub fn hop(&self) -> Destination {
        self.dialog.as_ref().map_or(self.base, |d| hop(d.next_hop(), self.base))
    }

    /// Where a request goes that could not be sent there: the first hop, over a new connection; then where the
    /// peer was last seen; then nowhere.
    pub fn hop_after(&mut self, failed: Destination) -> Option<Destination> {
        let port = self.dialog.as_ref().and_then(|d| d.next_hop().port);
        match reopened(failed, port) {
            Some(again) if failed == self.base => self.base = again,
            _ if failed == self.base => return None,
            Some(_) | None => {}
        }
        let hop = self.hop();
        Some(if hop == failed { self.base } else { hop })
    }

    /// When this dialog has begun early: its numbers go on, route and target are those of the 2xx (13.2.2.4). Gives the
    /// session that was answered early.
    pub fn take_early(&mut self, dialog: &mut Dialog, response: &Response) -> Option<Vec<u8>> {
        let at = self.early.iter().position(|early| early.dialog.id == dialog.id)?;
        let early = self.early.swap_remove(at);
        *dialog = early.dialog;
        let _ = dialog.confirm(response);
        early.sdp
    }

    /// A request of the dialog came this way: answers to come find the peer there (a new connection, a phone
    /// that has moved).
    pub fn came_by(&mut self, flow: Flow) {
        if flow.transport == self.base.transport() {
            self.base = Destination::Flow(flow);
        }
    }
}

/// In place of a connection that is gone: one to the same host, at the port that the peer names. A browser waits
/// for none (RFC 7118 6).
pub(super) fn reopened(gone: Destination, port: Option<u16>) -> Option<Destination> {
    let Destination::Flow(flow) = gone else { return None };
    let transport = flow.transport;
    let peer = SocketAddr::new(flow.peer.ip(), port.unwrap_or(transport.default_port()));
    transport.is_opened().then_some(Destination::address(transport, peer))
}

/// RFC 3261 12.2.1.1 with flows kept: a stream stays (RFC 5626), and so does the source of a datagram
/// when the Contact names a private address behind a public one. Host names go back over the flow. What goes
/// over TLS or a WebSocket stays there: whom we speak with is proven, or can be reached in no other way.
pub(super) fn hop(uri: &Uri, base: Destination) -> Destination {
    if matches!(base.transport(), Transport::Tls | Transport::Ws | Transport::Wss) {
        return base;
    }
    let transport = if uri.is_sips() { Some(Transport::Tls) } else { uri.transport() };
    let transport = transport.unwrap_or(base.transport());
    if let Destination::Flow(flow) = base {
        if flow.transport.is_reliable() && transport == flow.transport {
            return base;
        }
    }
    let Some(Host::Address(address)) = uri.host() else { return base };
    if transport != base.transport() && !matches!(transport, Transport::Udp | Transport::Tcp | Transport::Tls)
    {
        return base; // nothing to connect to
    }
    let peer = SocketAddr::new(*address, uri.port.unwrap_or(transport.default_port()));
    match base {
        Destination::Flow(flow) if transport == flow.transport && behind_nat(flow.peer, peer) => base,
        Destination::Address { transport: t, peer: seen, .. } if transport == t && behind_nat(seen, peer) => {
            base
        }
        Destination::Flow(flow) if transport == Transport::Udp && flow.transport == Transport::Udp => {
            Destination::Flow(Flow { peer, ..flow })
        }
        Destination::Flow(_) | Destination::Address { .. } => Destination::address(transport, peer),
    }
}

fn behind_nat(seen: SocketAddr, said: SocketAddr) -> bool {
    is_private(said) && !is_private(seen) || seen.is_ipv4() != said.is_ipv4()
}

fn is_private(address: SocketAddr) -> bool {
    match address.ip() {
        std::net::IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        std::net::IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// Where an answer goes (18.2.2, RFC 3581 4): back over a stream; to the source port of a datagram when
/// `rport` asks for it, else to the port that Via names.
pub(super) fn answer_hop(headers: &Headers, flow: Flow) -> Destination {
    if flow.transport.is_reliable() {
        return Destination::Flow(flow);
    }
    let port = match top_via(headers) {
        Some(via) if !via.params.has("rport") => via.port.unwrap_or(flow.transport.default_port()),
        _ => flow.peer.port(),
    };
    Destination::Flow(Flow { peer: SocketAddr::new(flow.peer.ip(), port), ..flow })
}

/// Our Contact; `sips:` for a dialog that began with one (12.1.1, 8.1.1.8).
pub(super) fn contact(user: &str, local: SocketAddr, transport: Transport, sips: bool) -> String {
    let mut uri = Uri::sip(user, Host::Address(local.ip()), Some(local.port()));
    match (sips, transport) {
        // RFC 5630 3.1.4: `sips:` says it already, and `transport=tls` beside it is deprecated.
        (true, Transport::Tls) => uri.scheme = Scheme::Sips,
        (true, Transport::Wss) => {
            uri.scheme = Scheme::Sips;
            uri.params.set("transport", Some(transport.as_param()));
        }
        (_, Transport::Udp) => {}
        _ => uri.params.set("transport", Some(transport.as_param())),
    }
    format!("<{uri}>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::FlowKey;

    #[test]
    fn rfc_3261_12_2_1_1_where_the_next_request_goes() {
        let socket = |text: &str| text.parse::<SocketAddr>().unwrap();
        let flow = |transport, peer| {
            let local = socket("192.0.2.1:5060");
            Destination::Flow(Flow { key: FlowKey(1), transport, local, peer: socket(peer) })
        };
        let to = |transport, peer| Destination::address(transport, socket(peer));
        let (udp, tcp) = (Transport::Udp, Transport::Tcp);
        let datagram = flow(udp, "198.51.100.7:40000");
        let stream = flow(tcp, "198.51.100.7:40000");
        let tls = Transport::Tls;
        let (secure, browser) = (flow(tls, "198.51.100.7:40000"), flow(Transport::Wss, "198.51.100.7:40000"));
        let closed = to(tcp, "198.51.100.7:5060");
        let cases = [
            ("sip:x@198.51.100.9:5070", datagram, flow(udp, "198.51.100.9:5070")),
            ("sip:x@10.0.0.9", datagram, datagram),
            ("sip:x@carrier.example", datagram, datagram),
            ("sip:x@198.51.100.9;transport=tcp", datagram, to(tcp, "198.51.100.9:5060")),
            ("sip:x@198.51.100.9;transport=tls", datagram, to(tls, "198.51.100.9:5061")),
            ("sips:x@198.51.100.9", datagram, to(tls, "198.51.100.9:5061")),
            ("sip:x@198.51.100.9;transport=udp", secure, secure),
            ("sip:x@198.51.100.9:5070", to(tls, "198.51.100.7:5061"), to(tls, "198.51.100.7:5061")),
            ("sip:x@df7jal23ls0d.invalid;transport=ws", browser, browser),
            ("sip:x@198.51.100.9;transport=ws", stream, stream),
            ("sip:x@198.51.100.9:5070", stream, stream),
            ("sip:x@198.51.100.9:5070", closed, to(tcp, "198.51.100.9:5070")),
            ("sip:x@10.0.0.9:5070", closed, closed),
            ("sip:x@carrier.example", closed, closed),
        ];
        for (uri, base, expected) in cases {
            assert_eq!(hop(&Uri::parse(uri).unwrap(), base), expected, "{uri}");
        }
    }

    #[test]
    fn rfc_7118_5_2_our_contact_names_the_transport() {
        let at = "192.0.2.1:5061".parse().unwrap();
        let cases = [
            (Transport::Udp, false, "<sip:a@192.0.2.1:5061>"),
            (Transport::Tls, false, "<sip:a@192.0.2.1:5061;transport=tls>"),
            (Transport::Tls, true, "<sips:a@192.0.2.1:5061>"),
            (Transport::Ws, false, "<sip:a@192.0.2.1:5061;transport=ws>"),
            (Transport::Wss, false, "<sip:a@192.0.2.1:5061;transport=ws>"),
            (Transport::Wss, true, "<sips:a@192.0.2.1:5061;transport=ws>"),
        ];
        for (transport, sips, expected) in cases {
            assert_eq!(contact("a", at, transport, sips), expected);
        }
        let gone = |transport| {
            Destination::Flow(Flow {
                key: FlowKey(1),
                transport,
                local: at,
                peer: "198.51.100.7:40000".parse().unwrap(),
            })
        };
        assert_eq!(reopened(gone(Transport::Wss), Some(5070)), None, "nobody listens in a browser");
        assert!(reopened(gone(Transport::Tls), Some(5070)).is_some());
    }
}
