//! A phone's side of digest authentication (RFC 7616), written apart from the product's.

use md5::Digest as _;

use super::dialog::Dialog;
use super::message::Message;
use super::peer::Peer;

/// How a phone proves itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Md5,
    Sha256,
}

impl Algorithm {
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    fn hash(self, text: &str) -> String {
        let bytes = match self {
            Self::Md5 => md5::Md5::digest(text).to_vec(),
            Self::Sha256 => sha2::Sha256::digest(text).to_vec(),
        };
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What a phone says of itself in each request.
pub const AGENT: &str = "User-Agent: a phone as there are many, version 1.2.3";
pub const ALLOW: &str = "Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE, REFER, NOTIFY, MESSAGE";
pub const SUPPORTED: &str = "Supported: path, outbound, replaces";

/// A nonce and how often it was used.
#[derive(Debug, Clone)]
pub struct Challenge {
    pub algorithm: Algorithm,
    pub realm: String,
    pub nonce: String,
    pub count: u32,
}

impl Challenge {
    /// The challenge of this algorithm in a 401.
    pub fn of(refusal: &Message, algorithm: Algorithm) -> Self {
        let wanted = format!("algorithm={}", algorithm.name());
        let values = refusal.all("WWW-Authenticate");
        let value = values.iter().find(|value| value.split([',', ' ']).any(|word| word == wanted));
        let value = value.unwrap_or_else(|| panic!("no {wanted} in {}", refusal.text));
        let field = |name: &str| {
            let rest = value.split(&format!("{name}=\"")).nth(1).and_then(|rest| rest.split('"').next());
            rest.unwrap_or_else(|| panic!("no {name} in {value}")).to_owned()
        };
        Self { algorithm, realm: field("realm"), nonce: field("nonce"), count: 0 }
    }

    /// The header line that answers it.
    pub fn answer(&mut self, method: &str, uri: &str, name: &str, password: &str) -> String {
        self.count += 1;
        let Self { algorithm, realm, nonce, count } = self;
        let (nc, cnonce) = (format!("{count:08x}"), "c0ffee");
        let ha1 = algorithm.hash(&format!("{name}:{realm}:{password}"));
        let ha2 = algorithm.hash(&format!("{method}:{uri}"));
        let response = algorithm.hash(&format!("{ha1}:{nonce}:{nc}:{cnonce}:auth:{ha2}"));
        format!(
            "Authorization: Digest username=\"{name}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{response}\", algorithm={}, qop=auth, nc={nc}, cnonce=\"{cnonce}\"",
            algorithm.name()
        )
    }
}

/// A phone that registers.
pub struct Registration {
    pub dialog: Dialog,
    pub name: String,
    pub password: String,
    pub expires: u32,
}

impl Registration {
    pub fn new(peer: &Peer, name: &str, password: &str) -> Self {
        let mut dialog = Dialog::to(peer, name);
        dialog.local = dialog.local.replace("sip:peer@", &format!("sip:{name}@"));
        dialog.target = format!("sip:{}", peer.server);
        Self { dialog, name: name.to_owned(), password: password.to_owned(), expires: 300 }
    }

    /// REGISTER, with an answer to this challenge; the final answer.
    pub fn register(&mut self, peer: &mut Peer, challenge: Option<&mut Challenge>) -> Message {
        let expires = format!("Expires: {}", self.expires);
        let proof = challenge.map(|c| c.answer("REGISTER", &self.dialog.target, &self.name, &self.password));
        // As a phone writes it; over UDP the answer has no more room than the request had.
        let mut more = vec![expires.as_str(), AGENT, ALLOW, SUPPORTED];
        more.extend(proof.as_deref());
        let request = self.dialog.request("REGISTER", &more, "");
        peer.send(&request);
        self.dialog.await_final(peer, "REGISTER")
    }

    /// Asked and answered: the phone is registered.
    pub fn succeed(&mut self, peer: &mut Peer, algorithm: Algorithm) -> Challenge {
        let refusal = self.register(peer, None);
        assert_eq!(refusal.status(), Some(401), "{}", refusal.text);
        let mut challenge = Challenge::of(&refusal, algorithm);
        let answer = self.register(peer, Some(&mut challenge));
        assert_eq!(answer.status(), Some(200), "{}", answer.text);
        challenge
    }
}
