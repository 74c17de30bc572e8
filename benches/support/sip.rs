//! The few messages of a call as text, written apart from the switch's own printer.

use std::net::SocketAddr;

use super::message::Message;

/// Our side of a call.
pub struct Side {
    pub at: SocketAddr,
    pub rtp: SocketAddr,
}

impl Side {
    /// An INVITE; `call` names it in Call-ID, tag and branch.
    pub fn invite(&self, dialled: &str, switch: SocketAddr, call: &str) -> String {
        let (at, sdp) = (self.at, self.sdp());
        format!(
            "INVITE sip:{dialled}@{switch} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {at};branch=z9hG4bKi{call};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:+3225550100@{ip}>;tag={call}\r\nTo: <sip:{dialled}@{switch}>\r\n\
             Call-ID: {call}\r\nCSeq: 1 INVITE\r\nContact: <sip:carrier@{at}>\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
            sdp.len(),
            ip = at.ip(),
        )
    }

    /// A request within the dialog that this 200 made.
    pub fn within(&self, ok: &Message, method: &str, cseq: u32) -> String {
        let call = ok.call_id();
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bK{method}{call};rport\r\n\
             Max-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call}\r\nCSeq: {cseq} {method}\r\n\
             Content-Length: 0\r\n\r\n",
            uri = ok.contact(),
            at = self.at,
            from = ok.header("From"),
            to = ok.header("To"),
        )
    }

    /// 200 to a request of the switch, with our session for an INVITE.
    pub fn ok(&self, request: &Message, tag: &str) -> String {
        let via: String = request.all("Via").iter().map(|via| format!("Via: {via}\r\n")).collect();
        let sdp = if request.is("INVITE") { self.sdp() } else { String::new() };
        let to = request.header("To");
        let to = if to.contains(";tag=") { to.to_owned() } else { format!("{to};tag={tag}") };
        format!(
            "SIP/2.0 200 OK\r\n{via}From: {from}\r\nTo: {to}\r\nCall-ID: {call}\r\nCSeq: {cseq}\r\n\
             Contact: <sip:agent@{at}>\r\nContent-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{sdp}",
            from = request.header("From"),
            call = request.call_id(),
            cseq = request.header("CSeq"),
            at = self.at,
            length = sdp.len(),
        )
    }

    fn sdp(&self) -> String {
        let (ip, port) = (self.rtp.ip(), self.rtp.port());
        format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 8 101\r\n\
             a=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\na=sendrecv\r\n"
        )
    }
}

/// Where the switch listens for the audio of this call.
pub fn audio_at(message: &Message) -> Option<SocketAddr> {
    let body = message.body();
    let line = |start: &str| body.lines().find_map(|line| line.strip_prefix(start));
    let ip = line("c=IN IP4 ")?.parse().ok()?;
    let port = line("m=audio ")?.split(' ').next()?.parse().ok()?;
    Some(SocketAddr::new(ip, port))
}
