//! A caller who bears a secret wherever SIP, SDP, RTP and RTCP have room for one. Raw text and raw packets.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::marks::Marks;
use super::support::{Dialog, Message, PATIENCE, Peer, Server, reply};

/// Of the caller's stream: letters, so that it would be seen as text, too.
pub const SSRC: [u8; 4] = *b"qzxj";
/// 20 ms of G.711.
pub const FRAME: usize = 160;

/// A pair of RTP and RTCP sockets that keeps all it hears, byte for byte.
pub struct Ear {
    pub rtp: UdpSocket,
    pub rtcp: UdpSocket,
    pub local: SocketAddr,
    /// What came to the RTP and to the RTCP port.
    pub heard: Vec<Vec<u8>>,
    pub control: Vec<Vec<u8>>,
    pub sequence: u16,
    pub timestamp: u32,
    /// Sequence numbers and timestamps of what was said.
    pub said: Vec<(u16, u32)>,
}

impl Ear {
    /// Even and next odd port, from 61,000 up: such ports don't look like anything else in a log.
    pub fn bind(ip: IpAddr) -> Self {
        for port in (61_000..65_000).step_by(2) {
            let pair = (UdpSocket::bind((ip, port)), UdpSocket::bind((ip, port + 1)));
            if let (Ok(rtp), Ok(rtcp)) = pair {
                let local = rtp.local_addr().expect("bound");
                rtcp.set_nonblocking(true).expect("a socket");
                let (heard, control) = (Vec::new(), Vec::new());
                let (sequence, timestamp, said) = (40_000, 3_141_592_653, Vec::new());
                return Self { rtp, rtcp, local, heard, control, sequence, timestamp, said };
            }
        }
        panic!("no pair of ports");
    }

    /// Takes what comes until then.
    pub fn listen(&mut self, until: Instant) {
        let mut bytes = [0; 2048];
        while let Ok((length, _)) = self.rtcp.recv_from(&mut bytes) {
            self.control.push(bytes[..length].to_vec());
        }
        loop {
            // What is there already is taken in any case.
            let left = until.saturating_duration_since(Instant::now()).max(Duration::from_micros(1));
            self.rtp.set_read_timeout(Some(left)).expect("a socket");
            match self.rtp.recv_from(&mut bytes) {
                Ok((length, _)) => self.heard.push(bytes[..length].to_vec()),
                Err(_) if Instant::now() >= until => return,
                Err(_) => {}
            }
        }
    }

    /// A plain packet of a phone's.
    pub fn say(&mut self, to: SocketAddr, payload: &[u8]) {
        self.say_as(8, to, payload, payload.len());
    }

    /// The same of another payload type, which lasts so long.
    pub fn say_as(&mut self, payload_type: u8, to: SocketAddr, payload: &[u8], samples: usize) {
        let mut packet = vec![0x80, payload_type];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(self.timestamp.to_be_bytes());
        packet.extend(b"line");
        packet.extend(payload);
        self.rtp.send_to(&packet, to).expect("sent");
        self.step(samples);
    }

    fn step(&mut self, samples: usize) {
        self.said.push((self.sequence, self.timestamp));
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(samples as u32);
    }

    /// Whether an audio packet with this payload was heard after the first `begin` packets. Those stay, whatever
    /// is waited for: everything that was heard is searched at the end.
    pub fn has_heard(&self, begin: usize, payload: &[u8]) -> bool {
        self.heard.iter().skip(begin).any(|packet| packet.get(12..) == Some(payload))
    }
}

/// The caller.
pub struct Caller {
    pub peer: Peer,
    pub ear: Ear,
    pub marks: Marks,
    /// All that this side has sent: each secret must have been.
    pub sent: Vec<u8>,
    /// How many messages; each bears secrets of its own.
    count: u32,
    /// Secrets of every RTP packet: contributing sources, header extension, padding, and behind an event.
    audio: [String; 4],
}

impl Caller {
    pub fn new(server: &Server) -> Self {
        let ip = server.place().host(9);
        let port = (60_001..61_000).find(|port| UdpSocket::bind((ip, *port)).is_ok()).expect("a free port");
        let peer = Peer::udp((ip, port).into(), server.sip());
        let ear = Ear::bind(ip);
        let mut marks = Marks::default();
        let address = ip.to_string();
        let hex = |separator: &str| match ip {
            IpAddr::V4(ip) => ip.octets().map(|b| format!("{b:02x}")).join(separator),
            IpAddr::V6(_) => String::new(),
        };
        marks.particular("the caller's address", &address, &[address.clone(), hex(""), hex(":"), hex(" ")]);
        for (place, port) in [("SIP port", port), ("RTP port", ear.local.port())] {
            let text = port.to_string();
            let sought =
                [format!(":{port}"), format!("={port}"), format!("audio {port}"), format!("\"{port}")];
            marks.particular(&format!("the caller's {place}"), &text, &sought);
        }
        let ssrc = u32::from_be_bytes(SSRC);
        let sought = [ssrc.to_string(), format!("{ssrc:x}")];
        marks.particular("SSRC", "qzxj", &sought);
        // No digits that the sum of a histogram may end in, such as 0.013000000000000001.
        marks.particular("first RTP timestamp", "3141592653", &["3141592653".into(), "bb40e64d".into()]);
        let places = ["RTP CSRC", "RTP header extension", "RTP padding", "after a telephone-event"];
        let audio = places.map(|place| marks.word(place));
        Self { peer, ear, marks, sent: b"3141592653".to_vec(), count: 0, audio }
    }

    pub fn send(&mut self, text: &str) {
        self.sent.extend(text.as_bytes());
        self.peer.send(text);
    }

    /// From somewhere else, such as a stranger's address or a stream.
    pub fn send_by(&mut self, peer: &mut Peer, text: &str) {
        self.sent.extend(text.as_bytes());
        peer.send(text);
    }

    /// A new call to a number, all its own words marked.
    pub fn dialog(&mut self, user: &str) -> Dialog {
        let dialog = Dialog::to(&self.peer, user);
        self.mark(dialog, self.peer.local)
    }

    /// Puts secrets into a dialog that begins at this address.
    pub fn mark(&mut self, mut dialog: Dialog, local: SocketAddr) -> Dialog {
        let what = self.next("call");
        let ip = local.ip();
        let mut word = |place: &str| self.marks.word(&format!("{what} {place}"));
        let (display, tag, parameter) = (word("From display"), word("From tag"), word("From parameter"));
        let (to, call_id) = (word("To display"), word("Call-ID"));
        let (name, user, other) = (word("Contact display"), word("Contact user"), word("Contact parameter"));
        let number = self.marks.number(&format!("{what} From"));
        dialog.local =
            format!("\"{display} Peeters\" <sip:+{number}@{ip};user=phone;x={parameter}>;tag={tag}");
        dialog.remote = format!("\"{to}\" {}", dialog.remote);
        dialog.call_id = format!("{call_id}@{ip}");
        dialog.contact = format!("\"{name}\" <sip:{user}@{local};x={other}>");
        dialog
    }

    fn next(&mut self, what: &str) -> String {
        self.count += 1;
        format!("{what} #{}", self.count)
    }

    /// Header lines with a secret each, for a message of this kind.
    pub fn headers(&mut self, what: &str) -> Vec<String> {
        let what = self.next(what);
        let local = self.peer.local;
        let mut lines = Vec::new();
        // An answer with a second Via is not for us (RFC 3261 8.1.3.3).
        let is_answer = what.starts_with(|c: char| c.is_ascii_digit());
        for (name, form) in HEADERS.iter().filter(|(name, _)| *name != "Via" || !is_answer) {
            let place = format!("{what} {name}");
            let mut line = form.replace("HERE", &local.to_string()).replace("HOST", &local.ip().to_string());
            while line.contains('§') {
                line = line.replacen('§', &self.marks.word(&place), 1);
            }
            while line.contains('#') {
                line = line.replacen('#', &self.marks.number(&place), 1);
            }
            lines.push(format!("{name}: {line}"));
        }
        lines
    }

    /// A session description with secrets in every line that has room.
    pub fn sdp(&mut self, what: &str, direction: &str, codecs: &str) -> String {
        let what = self.next(&format!("SDP of {what}"));
        let (at, m) = (self.ear.local, &mut self.marks);
        let (ip, port) = (at.ip(), at.port());
        let mut w = |line: &str| m.word(&format!("{what} {line}"));
        let mut text = format!(
            "v=0\r\no={} 4711 {} IN IP4 {ip}\r\ns={}\r\ni={}\r\nu=http://{}.example/\r\ne={}@example.org ({})\r\n",
            w("o="),
            self.count,
            w("s="),
            w("i="),
            w("u="),
            w("e="),
            w("e= name")
        );
        let (uri, key) = (w("a=ssrc"), w("k="));
        let rest =
            [w("a=tool"), w("a=label"), w("a=candidate"), w("a=x"), w("m= i="), w("a=ice-ufrag"), w("a=mid")];
        let [tool, label, candidate, other, media, fragment, mid] = rest;
        text += &format!("p=+{}\r\n", self.marks.number(&format!("{what} p=")));
        text += &format!("c=IN IP4 {ip}\r\nb=AS:64\r\nt=0 0\r\nk=clear:{key}\r\na=tool:{tool}\r\n");
        text += &format!("a=ice-ufrag:{fragment}\r\nm=audio {port} RTP/AVP {codecs}\r\ni={media}\r\n");
        text += "a=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n";
        text +=
            &format!("a=ssrc:{} cname:{uri}\r\na=label:{label}\r\na=mid:{mid}\r\n", u32::from_be_bytes(SSRC));
        text += &format!(
            "a=candidate:{candidate} 1 UDP 2130706431 {ip} {port} typ host\r\na=x-{other}:{other}\r\n"
        );
        text + &format!("a={direction}\r\n")
    }

    /// A body of two parts: the session, and the caller's place (RFC 4119).
    pub fn body(&mut self, what: &str, direction: &str) -> (String, String) {
        let sdp = self.sdp(what, direction, "8 101");
        let boundary = self.marks.word(&format!("{what} boundary"));
        let street = self.marks.word(&format!("{what} second body part"));
        let name = self.marks.word(&format!("{what} second body part's Content-ID"));
        let body = format!(
            "--{boundary}\r\nContent-Type: application/sdp\r\n\r\n{sdp}\r\n--{boundary}\r\n\
             Content-Type: application/pidf+xml\r\nContent-ID: <{name}@x>\r\n\r\n<A6>{street}</A6>\r\n--{boundary}--\r\n"
        );
        (format!("Content-Type: multipart/mixed;boundary={boundary}"), body)
    }

    /// The next request of a dialog, marked all over.
    pub fn request(&mut self, dialog: &mut Dialog, method: &str, content_type: &str, body: &str) -> String {
        let mut more = self.headers(method);
        if !content_type.is_empty() {
            more.push(content_type.to_owned());
        }
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        dialog.request(method, &more, body)
    }

    pub fn invite(&mut self, dialog: &mut Dialog, direction: &str) -> String {
        let (kind, body) = self.body("INVITE", direction);
        self.request(dialog, "INVITE", &kind, &body)
    }

    pub fn ack(&mut self, dialog: &mut Dialog) {
        let more = self.headers("ACK");
        let ack = with_lines(&dialog.ack(None), &more);
        self.send(&ack);
    }

    /// Calls and is answered; where the switch wants the caller's audio.
    pub fn call(&mut self, user: &str) -> (Dialog, SocketAddr) {
        let mut dialog = self.dialog(user);
        let invite = self.invite(&mut dialog, "sendrecv");
        self.send(&invite);
        let answer = dialog.await_final(&mut self.peer, "INVITE");
        assert_eq!(answer.status(), Some(200), "{user}: {}", answer.text);
        dialog.learn(&answer);
        self.ack(&mut dialog);
        (dialog, super::support::Sdp::address(answer.body()))
    }

    /// A re-INVITE or another request that is answered; the answer.
    pub fn ask(&mut self, dialog: &mut Dialog, method: &str, content_type: &str, body: &str) -> Message {
        let request = self.request(dialog, method, content_type, body);
        self.send(&request);
        let answer = dialog.await_final(&mut self.peer, method);
        if method == "INVITE" {
            self.ack(dialog);
        }
        answer
    }

    /// The switch hangs up: an answer with secrets, too.
    pub fn await_bye(&mut self, dialog: &Dialog) {
        let bye = self.peer.wait("BYE at the caller", |m| m.is("BYE") && dialog.owns(m));
        let lines = self.headers("200 to BYE");
        let answer = with_lines(&reply(&bye, 200, None, None), &lines);
        self.send(&answer);
    }

    pub fn hang_up(&mut self, dialog: &mut Dialog) {
        assert_eq!(self.ask(dialog, "BYE", "", "").status(), Some(200));
    }

    // --- audio ----------------------------------------------------------------------------------------

    /// A packet with contributing sources, a header extension and padding that bear secrets.
    pub fn say(&mut self, to: SocketAddr, payload: &[u8]) {
        let packet = self.packet(payload);
        self.ear.rtp.send_to(&packet, to).expect("sent");
    }

    /// Such a packet, which is about to be sent.
    pub fn packet(&mut self, payload: &[u8]) -> Vec<u8> {
        let [csrc, extension, padding, _] = &self.audio;
        let mut packet = self.head(0xb0 | 3, 8);
        packet.extend(fixed(csrc, 12));
        packet.extend([0xbe, 0xde, 0, 4]);
        packet.extend(fixed(extension, 16));
        packet.extend(payload);
        packet.extend(fixed(padding, 15));
        packet.push(16);
        self.sent.extend(&packet);
        self.ear.step(payload.len());
        packet
    }

    fn head(&self, first: u8, payload_type: u8) -> Vec<u8> {
        let mut packet = vec![first, payload_type];
        packet.extend(self.ear.sequence.to_be_bytes());
        packet.extend(self.ear.timestamp.to_be_bytes());
        packet.extend(SSRC);
        packet
    }

    /// Presses a key; behind the event's four bytes there is a secret, as RFC 4733 does not forbid.
    pub fn press(&mut self, to: SocketAddr, key: char) {
        let event = "0123456789*#".find(key).expect("a key") as u8;
        let secret = self.audio[3].clone();
        for (end, duration) in [(0, 160_u16), (0, 320), (0x80, 480), (0x80, 480), (0x80, 480)] {
            let mut packet = self.head(0x80, 101);
            packet.extend([event, end | 0x4a]);
            packet.extend(duration.to_be_bytes());
            packet.extend(secret.as_bytes());
            self.sent.extend(&packet);
            self.ear.rtp.send_to(&packet, to).expect("sent");
            self.ear.sequence = self.ear.sequence.wrapping_add(1);
        }
        self.ear.step(800);
    }

    /// A compound RTCP packet with all of SDES, APP and BYE, on the RTCP port and (RFC 5761) on the RTP port.
    pub fn report(&mut self, to: SocketAddr) {
        let mut items = Vec::new();
        let names = ["CNAME", "NAME", "EMAIL", "PHONE", "LOC", "TOOL", "NOTE", "PRIV"];
        for (kind, name) in (1_u8..).zip(names) {
            let text = self.marks.word(&format!("RTCP SDES {name}"));
            items.extend([kind, text.len() as u8]);
            items.extend(text.as_bytes());
        }
        items.push(0);
        items.resize(items.len().next_multiple_of(4), 0);
        let (app, reason) = (self.marks.word("RTCP APP"), self.marks.word("RTCP BYE reason"));
        let mut goodbye = vec![reason.len() as u8];
        goodbye.extend(fixed(&reason, 11));
        let application = [b"mark".as_slice(), &fixed(&app, 12)].concat();
        let compound = [
            rtcp(0, 200, &[0; 20]),
            rtcp(1, 202, &items),
            rtcp(0, 204, &application),
            rtcp(1, 203, &goodbye),
        ]
        .concat();
        self.sent.extend(&compound);
        let control = SocketAddr::new(to.ip(), to.port() + 1);
        self.ear.rtcp.send_to(&compound, control).expect("sent");
        self.ear.rtp.send_to(&compound, to).expect("sent");
    }

    /// What is no RTP, or comes from elsewhere.
    pub fn say_nonsense(&mut self, to: SocketAddr, elsewhere: &UdpSocket) {
        for (place, first) in [("no RTP", 0x00), ("RTP of an unknown type", 0x80), ("STUN", 0x01)] {
            let packet = [&self.head(first, 77)[..], self.marks.word(place).as_bytes()].concat();
            self.sent.extend(&packet);
            self.ear.rtp.send_to(&packet, to).expect("sent");
            let foreign =
                [&self.head(0x80, 8)[..], self.marks.word("RTP from elsewhere").as_bytes()].concat();
            self.sent.extend(&foreign);
            elsewhere.send_to(&foreign, to).expect("sent");
        }
    }

    /// Speaks frames of this payload, and hears, until it is so.
    #[track_caller]
    pub fn speak_until(&mut self, to: SocketAddr, payload: &[u8], mut is_so: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            let heard = self.ear.heard.len();
            assert!(Instant::now() < deadline, "what was waited for did not come; {heard} packets did");
            self.say(to, payload);
            self.ear.listen(Instant::now() + Duration::from_millis(20));
        }
    }
}

/// One RTCP packet of the caller's.
fn rtcp(count: u8, kind: u8, body: &[u8]) -> Vec<u8> {
    let words = (4 + body.len()) / 4;
    let mut packet = vec![0x80 | count, kind];
    packet.extend((words as u16).to_be_bytes());
    packet.extend(SSRC);
    packet.extend(body);
    assert_eq!(packet.len(), (words + 1) * 4, "whole words");
    packet
}

fn fixed(text: &str, length: usize) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(length, b'.');
    bytes
}

/// A message with more header lines behind its first.
pub fn with_lines(text: &str, lines: &[String]) -> String {
    let (first, rest) = text.split_once("\r\n").expect("a message");
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    // Behind the Vias, so that the topmost stays the peer's own.
    let end = rest.find("\r\nFrom: ").or_else(|| rest.find("\r\nMax-Forwards: ")).expect("a From") + 2;
    format!("{first}\r\n{}{lines}{}", &rest[..end], &rest[end..])
}

/// Headers in which carriers and phones say who is calling, where from and with what; `§` is a word, `#` a
/// number, `HERE` the caller's own address and port, `HOST` the address.
const HEADERS: &[(&str, &str)] = &[
    ("Via", "SIP/2.0/UDP §.example;branch=z9hG4bK§"),
    ("Record-Route", "<sip:HERE;lr;x=§>"),
    ("P-Asserted-Identity", "\"§\" <sip:+#@HOST>"),
    ("P-Asserted-Identity", "<tel:+#>"),
    ("P-Preferred-Identity", "\"§\" <sip:+#@HOST>"),
    ("Remote-Party-ID", "\"§\" <sip:+#@HOST>;party=calling;id-type=subscriber"),
    ("P-Called-Party-ID", "<sip:+#@HOST>"),
    ("Diversion", "\"§\" <tel:+#>;reason=no-answer"),
    ("History-Info", "<sip:+#@HOST?Reason=§>;index=1"),
    ("Call-Info", "<http://§.example/photo.jpg>;purpose=icon"),
    ("Alert-Info", "<http://§.example/ring.wav>"),
    ("Error-Info", "<sip:§@HOST>"),
    ("Geolocation", "<cid:§@HOST>"),
    ("Geolocation-Routing", "§"),
    ("User-to-User", "§;encoding=hex"),
    ("P-Charging-Vector", "icid-value=§;icid-generated-at=HOST;orig-ioi=§.example"),
    ("P-Charging-Function-Addresses", "ccf=§.example"),
    ("P-Access-Network-Info", "3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=§"),
    ("P-Visited-Network-ID", "§"),
    ("P-Associated-URI", "<tel:+#>"),
    ("P-Early-Media", "§"),
    ("Cellular-Network-Info", "3GPP-E-UTRAN-FDD;utran-cell-id-3gpp=§"),
    ("User-Agent", "Phone/§"),
    ("Server", "Phone/§"),
    ("Organization", "§"),
    ("Subject", "§"),
    ("Reply-To", "\"§\" <sip:+#@HOST>"),
    ("Referred-By", "<sip:+#@HOST>"),
    ("Identity", "§;info=<https://§.example/cert>;alg=ES256"),
    ("Identity-Info", "<https://§.example/cert>"),
    ("Session-ID", "§;remote=§"),
    ("In-Reply-To", "§@HOST"),
    ("Warning", "399 HOST \"§\""),
    ("Reason", "Q.850;cause=16;text=\"§\""),
    ("Date", "§"),
    ("Timestamp", "§"),
    ("Accept-Contact", "*;§"),
    ("Accept-Language", "§"),
    ("Priority", "§"),
    ("Join", "§;to-tag=§;from-tag=§"),
    ("Target-Dialog", "§;local-tag=§;remote-tag=§"),
    ("Recv-Info", "§"),
    ("MIME-Version", "1.0 (§)"),
    ("Content-Language", "§"),
    ("Content-ID", "<§@HOST>"),
    ("X-Caller-Number", "+#"),
    ("X-Real-IP", "HOST"),
    ("X-Anything", "§"),
    ("x-no-such-header", "§"),
];
