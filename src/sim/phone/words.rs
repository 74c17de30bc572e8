//! The messages of a phone as raw text, and its answer to a challenge, all written out by hand.

use md5::Digest as _;

use super::{Identity, Phone};
use crate::sim::text::{Text, parameter};
use crate::sip::flow::Transport;

pub(super) const SESSION: &str = "Content-Type: application/sdp\r\n";

pub(super) fn display(identity: &Identity) -> String {
    if identity.display.is_empty() { String::new() } else { format!("\"{}\" ", identity.display) }
}

impl Phone {
    fn contact(&self, user: &str) -> String {
        match self.transport {
            Transport::Udp => format!("<sip:{user}@{}>", self.address),
            other => format!("<sip:{user}@{};transport={}>", self.address, other.as_str().to_lowercase()),
        }
    }

    fn via(&self, branch: &str) -> String {
        format!("Via: SIP/2.0/{} {};branch={branch};rport\r\n", self.transport.as_str(), self.address)
    }

    pub(super) fn register_text(
        &mut self,
        name: &str,
        branch: &str,
        authorization: Option<&str>,
        expires: u32,
    ) -> Vec<u8> {
        let registrar = self.switch;
        let authorization = authorization.map(|a| format!("Authorization: {a}\r\n")).unwrap_or_default();
        let tag = self.rng.token(8);
        format!(
            "REGISTER sip:{registrar} SIP/2.0\r\n{via}Max-Forwards: 70\r\n\
             From: <sip:{name}@{registrar}>;tag={tag}\r\nTo: <sip:{name}@{registrar}>\r\nCall-ID: reg-{name}@{host}\r\n\
             CSeq: {cseq} REGISTER\r\nContact: {contact}\r\nExpires: {expires}\r\n{authorization}Content-Length: 0\r\n\r\n",
            via = self.via(branch),
            host = self.identity.host,
            cseq = self.register_cseq,
            contact = self.contact(name),
        )
        .into_bytes()
    }

    pub(super) fn request_text(
        &self,
        key: u64,
        method: &str,
        cseq: u32,
        branch: &str,
        extra: &str,
        body: &str,
    ) -> Vec<u8> {
        let Some(talk) = self.talks.get(&key) else { return Vec::new() };
        let id = &self.identity;
        format!(
            "{method} {target} SIP/2.0\r\n{via}Max-Forwards: 70\r\n\
             From: {local}\r\nTo: {remote}\r\nCall-ID: {call}\r\nCSeq: {cseq} {method}\r\n\
             Contact: {contact}\r\nUser-Agent: {agent}\r\n{headers}{extra}Content-Length: {length}\r\n\r\n{body}",
            target = talk.target,
            via = self.via(branch),
            local = talk.local,
            remote = talk.remote,
            call = talk.id,
            contact = self.contact(&id.user),
            agent = id.user_agent,
            headers = id.headers,
            length = body.len(),
        )
        .into_bytes()
    }

    pub(super) fn response_text(&self, request: &Text, status: u16, extra: &str, body: &str) -> Vec<u8> {
        let talk = self.talks.values().find(|t| t.id == request.get("Call-ID") && !t.outgoing);
        let to = match talk {
            Some(talk) if parameter(request.get("To"), "tag").is_none() => talk.local.clone(),
            _ => request.get("To").to_owned(),
        };
        let mut text = format!("SIP/2.0 {status} Said\r\n");
        for via in request.all("Via") {
            text.push_str(&format!("Via: {via}\r\n"));
        }
        for route in request.all("Record-Route") {
            text.push_str(&format!("Record-Route: {route}\r\n"));
        }
        text.push_str(&format!(
            "From: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: {}\r\n{extra}Content-Length: {}\r\n\r\n{body}",
            request.get("From"),
            request.get("Call-ID"),
            request.get("CSeq"),
            self.contact(&self.identity.user),
            body.len(),
        ));
        text.into_bytes()
    }

    pub(super) fn session(&self, key: u64, direction: &str) -> String {
        let (port, version) = self.talks.get(&key).map_or((self.rtp_base, 1), |t| (t.rtp_port, t.cseq));
        let ip = self.address.ip();
        let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
        let id = &self.identity;
        format!(
            "v=0\r\no={} 1 {version} IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n{}m=audio {port} RTP/AVP 8 0 101\r\n\
             a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na={direction}\r\n",
            id.sdp_origin, id.sdp_session,
        )
    }

    /// RFC 2617 with MD5 and qop=auth.
    pub(super) fn digest(&mut self, method: &str, uri: &str, challenge: &str) -> Option<String> {
        let (name, password) = self.script.registers.clone()?;
        let field = |key: &str| {
            let at = challenge.find(&format!("{key}=\"")).map(|i| i + key.len() + 2);
            at.and_then(|i| challenge.get(i..)).and_then(|r| r.split('"').next()).unwrap_or("").to_owned()
        };
        let (realm, nonce) = (field("realm"), field("nonce"));
        let cnonce = self.rng.token(8);
        let ha1 = hex(&format!("{name}:{realm}:{password}"));
        let ha2 = hex(&format!("{method}:{uri}"));
        let response = hex(&format!("{ha1}:{nonce}:00000001:{cnonce}:auth:{ha2}"));
        Some(format!(
            "Digest username=\"{name}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\", \
             algorithm=MD5, qop=auth, nc=00000001, cnonce=\"{cnonce}\""
        ))
    }
}

fn hex(text: &str) -> String {
    use std::fmt::Write as _;
    md5::Md5::digest(text.as_bytes()).iter().fold(String::new(), |mut all, byte| {
        let _ = write!(all, "{byte:02x}");
        all
    })
}
