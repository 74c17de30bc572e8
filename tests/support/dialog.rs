//! One side of a dialog as text: the requests of a raw peer, its answers, its session description.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};

use super::message::Message;
use super::peer::Peer;

/// A session description of one audio stream.
#[derive(Debug, Clone)]
pub struct Sdp {
    pub rtp: SocketAddr,
    /// Payload types of audio, such as `8 0`.
    pub codecs: &'static str,
    pub direction: &'static str,
    pub version: u32,
}

impl Sdp {
    /// PCMA and telephone-event, both ways.
    pub fn pcma(rtp: SocketAddr) -> Self {
        Self { rtp, codecs: "8", direction: "sendrecv", version: 1 }
    }

    pub fn text(&self) -> String {
        let family = if self.rtp.is_ipv6() { "IP6" } else { "IP4" };
        let (ip, port, codecs) = (self.rtp.ip(), self.rtp.port(), self.codecs);
        let maps: String = codecs
            .split(' ')
            .map(|codec| match codec {
                "8" => "a=rtpmap:8 PCMA/8000\r\n".to_owned(),
                "0" => "a=rtpmap:0 PCMU/8000\r\n".to_owned(),
                "9" => "a=rtpmap:9 G722/8000\r\n".to_owned(),
                "111" => "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1\r\n".to_owned(),
                "18" => "a=rtpmap:18 G729/8000\r\n".to_owned(),
                other => panic!("no map for {other}"),
            })
            .collect();
        format!(
            "v=0\r\no=- 4711 {} IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP {codecs} 101\r\n{maps}a=rtpmap:101 telephone-event/8000\r\n\
             a=fmtp:101 0-15\r\na={}\r\n",
            self.version, self.direction
        )
    }

    /// Where a description wants its audio.
    pub fn address(text: &str) -> SocketAddr {
        let find = |start: &str| text.lines().find_map(|line| line.strip_prefix(start));
        let ip: IpAddr = find("c=IN IP4 ")
            .or_else(|| find("c=IN IP6 "))
            .and_then(|ip| ip.trim().parse().ok())
            .unwrap_or_else(|| panic!("no c= in:\n{text}"));
        let port = find("m=audio ").and_then(|m| m.split(' ').next()?.parse().ok());
        (ip, port.unwrap_or_else(|| panic!("no m= in:\n{text}"))).into()
    }
}

/// A dialog (or a call to be) as one peer sees it.
#[derive(Debug, Clone)]
pub struct Dialog {
    /// Request-URI of the next request.
    pub target: String,
    /// Our From (To, when we were called), with tag.
    pub local: String,
    pub remote: String,
    pub call_id: String,
    pub cseq: u32,
    /// Branch of the last request.
    pub branch: String,
    pub contact: String,
    pub transport: &'static str,
    pub sent_by: String,
}

fn fresh() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Dialog {
    /// A call to a number of the switch.
    pub fn to(peer: &Peer, user: &str) -> Self {
        let (local, server, id) = (peer.local, peer.server, fresh());
        let transport = peer.transport();
        // RFC 7118 5: a browser has no address that it knows of, nor a port.
        let contact = match transport {
            "UDP" => format!("<sip:peer@{local}>"),
            "WS" | "WSS" => format!("<sip:peer@{id}.invalid;transport=ws>"),
            other => format!("<sip:peer@{local};transport={}>", other.to_ascii_lowercase()),
        };
        let sent_by =
            if matches!(transport, "WS" | "WSS") { format!("{id}.invalid") } else { local.to_string() };
        Self {
            target: format!("sip:{user}@{server}"),
            local: format!("<sip:peer@{}>;tag=p{id}", literal(local.ip())),
            remote: format!("<sip:{user}@{server}>"),
            call_id: format!("call{id}"),
            cseq: 0,
            branch: String::new(),
            contact,
            transport,
            sent_by,
        }
    }

    /// The dialog that answering this INVITE with this tag makes.
    pub fn answering(peer: &Peer, invite: &Message, tag: &str) -> Self {
        Self {
            target: invite.contact().to_owned(),
            local: format!("{};tag={tag}", invite.header("To")),
            remote: invite.header("From").to_owned(),
            call_id: invite.call_id().to_owned(),
            cseq: 100,
            ..Self::to(peer, "x")
        }
    }

    /// The next request, with a new branch and CSeq. `more` are whole header lines.
    pub fn request(&mut self, method: &str, more: &[&str], body: &str) -> String {
        self.cseq += 1;
        self.branch = format!("z9hG4bK{}", fresh());
        self.same_branch(method, more, body)
    }

    pub fn invite(&mut self, sdp: &Sdp) -> String {
        self.request("INVITE", &["Content-Type: application/sdp"], &sdp.text())
    }

    /// A request with the branch and CSeq of the one before: CANCEL, or the ACK of a refusal.
    pub fn same_branch(&self, method: &str, more: &[&str], body: &str) -> String {
        let (target, branch, transport) = (&self.target, &self.branch, self.transport);
        let more: String = more.iter().map(|line| format!("{line}\r\n")).collect();
        format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/{transport} {};rport;branch={branch}\r\nMax-Forwards: 70\r\n\
             From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} {method}\r\nContact: {}\r\n{more}\
             Content-Length: {}\r\n\r\n{body}",
            self.sent_by,
            self.local,
            self.remote,
            self.call_id,
            self.cseq,
            self.contact,
            body.len()
        )
    }

    /// The ACK of a 2xx; not a transaction of its own, but with a branch of its own.
    pub fn ack(&mut self, body: Option<&Sdp>) -> String {
        self.branch = format!("z9hG4bK{}", fresh());
        match body {
            Some(sdp) => self.same_branch("ACK", &["Content-Type: application/sdp"], &sdp.text()),
            None => self.same_branch("ACK", &[], ""),
        }
    }

    /// Takes over tag and target of an answer.
    pub fn learn(&mut self, answer: &Message) {
        self.remote = answer.header("To").to_owned();
        if !answer.contact().is_empty() {
            self.target = answer.contact().to_owned();
        }
    }

    /// The ACK of a refusal (RFC 3261 17.1.1.3).
    pub fn ack_refusal(&self, refusal: &Message) -> String {
        let with_tag = Self { remote: refusal.header("To").to_owned(), ..self.clone() };
        with_tag.same_branch("ACK", &[], "")
    }

    /// The same dialog as another peer would speak of it.
    pub fn by(&self, peer: &Peer) -> Self {
        Self { transport: peer.transport(), sent_by: peer.local.to_string(), ..self.clone() }
    }

    /// Whether a message is of this call.
    pub fn owns(&self, message: &Message) -> bool {
        message.call_id() == self.call_id
    }

    // --- what most tests do -------------------------------------------------------------------------

    /// Calls a number and is answered; the answer's audio address.
    pub fn call(peer: &mut Peer, user: &str, sdp: &Sdp) -> (Self, SocketAddr) {
        let mut dialog = Self::to(peer, user);
        peer.send(&dialog.invite(sdp));
        let answer = dialog.await_final(peer, "INVITE");
        assert_eq!(answer.status(), Some(200), "{user}: {}", answer.text);
        dialog.learn(&answer);
        peer.send(&dialog.ack(None));
        (dialog, Sdp::address(answer.body()))
    }

    /// Calls and is refused; the status.
    pub fn refused(peer: &mut Peer, user: &str, sdp: &Sdp) -> Message {
        let mut dialog = Self::to(peer, user);
        peer.send(&dialog.invite(sdp));
        let answer = dialog.await_final(peer, "INVITE");
        assert!(answer.status() >= Some(300), "{user}: {}", answer.text);
        peer.send(&dialog.ack_refusal(&answer));
        answer
    }

    pub fn await_final(&self, peer: &mut Peer, method: &str) -> Message {
        peer.wait(&format!("a final answer to {method}"), |m| self.owns(m) && m.is_final(method))
    }

    /// Hangs up and waits for the 200.
    pub fn bye(&mut self, peer: &mut Peer) {
        peer.send(&self.request("BYE", &[], ""));
        let answer = self.await_final(peer, "BYE");
        assert_eq!(answer.status(), Some(200), "{}", answer.text);
    }

    /// Waits until the other side hangs up, and says 200.
    pub fn await_bye(&self, peer: &mut Peer) -> Message {
        let bye = peer.wait("BYE", |m| m.is("BYE") && self.owns(m));
        peer.send(&reply(&bye, 200, None, None));
        bye
    }

    /// A line of the switch's: waits for the INVITE, rings, answers, is acknowledged. The dialog, the INVITE,
    /// and where the switch wants its audio.
    pub fn answer(peer: &mut Peer, sdp: &Sdp) -> (Self, Message, SocketAddr) {
        let invite = peer.wait("INVITE at a line", |m| m.is("INVITE"));
        Self::answered(peer, invite, sdp)
    }

    /// The same of an INVITE that has come.
    pub fn answered(peer: &mut Peer, invite: Message, sdp: &Sdp) -> (Self, Message, SocketAddr) {
        let tag = format!("l{}", fresh());
        let dialog = Self::answering(peer, &invite, &tag);
        peer.send(&reply(&invite, 180, Some(&dialog), None));
        peer.send(&reply(&invite, 200, Some(&dialog), Some(sdp)));
        peer.wait("ACK at a line", |m| m.is("ACK") && dialog.owns(m));
        let rtp = Sdp::address(invite.body());
        (dialog, invite, rtp)
    }
}

/// An answer to a request; with a dialog its tag and Contact.
pub fn reply(request: &Message, status: u16, dialog: Option<&Dialog>, sdp: Option<&Sdp>) -> String {
    let mut text = format!("SIP/2.0 {status} Word\r\n");
    for name in ["Via", "Record-Route", "From"] {
        for value in request.all(name) {
            text += &format!("{name}: {value}\r\n");
        }
    }
    text += &format!("To: {}\r\n", dialog.map_or(request.header("To"), |d| d.local.as_str()));
    for name in ["Call-ID", "CSeq"] {
        text += &format!("{name}: {}\r\n", request.header(name));
    }
    if let Some(dialog) = dialog {
        text += &format!("Contact: {}\r\n", dialog.contact);
    }
    let body = sdp.map(Sdp::text).unwrap_or_default();
    if !body.is_empty() {
        text += "Content-Type: application/sdp\r\n";
    }
    text + &format!("Content-Length: {}\r\n\r\n{body}", body.len())
}

/// An address as a URI writes it.
pub fn literal(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}
