//! The four transaction machines of RFC 3261 17 with RFC 6026, and their contract.
//!
//! A machine takes what arrives (a message, a timer, a transport error) and returns [`Action`]s in the
//! order in which they are to be done. It knows no table, no socket and no clock: the endpoint owns
//! those, keyed by [`Key`].

pub mod invite_client;
pub mod invite_server;
pub mod non_invite;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::header::{CSeq, Via, split_list};
use super::wire::message::{Headers, Method};

/// Round-trip estimate (RFC 3261 17.1.1.1).
pub const T1: Duration = Duration::from_millis(500);
/// Longest interval between retransmissions.
pub const T2: Duration = Duration::from_secs(4);
/// How long a message may stay in the network.
pub const T4: Duration = Duration::from_secs(5);

/// Bytes of a message, shared between the first sending and its repetitions.
pub type Bytes = Arc<[u8]>;

/// Timers by the RFC's letter (RFC 3261 table 4, RFC 6026 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// INVITE request retransmission, UDP only (17.1.1.2).
    A,
    /// INVITE client gives up, 64*T1.
    B,
    /// Wait for retransmissions of a failure response (17.1.1.2).
    D,
    /// Non-INVITE request retransmission, UDP only (17.1.2.2).
    E,
    /// Non-INVITE client gives up, 64*T1.
    F,
    /// INVITE failure response retransmission, UDP only (17.2.1).
    G,
    /// Wait for the ACK, 64*T1 (17.2.1).
    H,
    /// Wait for retransmissions of the ACK, T4 (17.2.1).
    I,
    /// Wait for retransmissions of a non-INVITE request, 64*T1 (17.2.2).
    J,
    /// Wait for retransmissions of a non-INVITE response, T4 (17.1.2.2).
    K,
    /// INVITE server stays Accepted, 64*T1 (RFC 6026 7.1).
    L,
    /// INVITE client stays Accepted, 64*T1 (RFC 6026 7.2).
    M,
}

/// What a machine wants done.
#[derive(Clone, PartialEq, Eq)]
pub enum Action {
    Send(Bytes),
    Set(Timer, Duration),
    Stop(Timer),
    /// Hand the message that came in to the transaction user.
    Deliver,
    /// Tell the user that no final response came (client), or no ACK (INVITE server).
    TimedOut,
    /// Tell the user that the transport failed.
    TransportFailed,
    /// The machine has ended; forget it.
    Done,
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(bytes) => write!(f, "Send({} bytes)", bytes.len()),
            Self::Set(timer, after) => write!(f, "Set({timer:?} {after:?})"),
            Self::Stop(timer) => write!(f, "Stop({timer:?})"),
            Self::Deliver => f.write_str("Deliver"),
            Self::TimedOut => f.write_str("TimedOut"),
            Self::TransportFailed => f.write_str("TransportFailed"),
            Self::Done => f.write_str("Done"),
        }
    }
}

/// Which side of the exchange a transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    Client,
    Server,
}

/// What a message is matched by (RFC 3261 17.1.3, 17.2.3): branch, sent-by and method, where ACK counts
/// as INVITE. A request of RFC 2543 (no magic cookie) is matched by its tag, Call-ID and CSeq instead.
/// No `Debug`: parts are a peer's words.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key {
    pub side: Side,
    /// `None` for INVITE and its ACK.
    method: Option<String>,
    words: String,
}

/// RFC 3261 8.1.1.7.
pub const MAGIC: &str = "z9hG4bK";

impl Key {
    /// The key of a request that came in. A CANCEL has a key of its own; see [`Key::for_cancelled`].
    pub fn server(method: &Method, headers: &Headers) -> Option<Self> {
        let method = if *method == Method::ACK { None } else { named(method) };
        Some(Self { side: Side::Server, method, words: server_words(headers)? })
    }

    /// The key of the INVITE that a CANCEL is for (9.2).
    pub fn for_cancelled(headers: &Headers) -> Option<Self> {
        Some(Self { side: Side::Server, method: None, words: server_words(headers)? })
    }

    /// The key under which a request of ours waits for its responses.
    pub fn client(branch: &str, method: &Method) -> Self {
        Self { side: Side::Client, method: named(method), words: branch.to_owned() }
    }

    /// The key of a response that came in: branch of the top Via and method of CSeq (17.1.3).
    pub fn of_response(headers: &Headers) -> Option<Self> {
        let via = top_via(headers)?;
        let cseq = CSeq::parse(headers.get("CSeq")?).ok()?;
        Some(Self::client(via.branch()?, &cseq.method))
    }

    pub fn is_invite(&self) -> bool {
        self.method.is_none()
    }
}

/// The topmost Via.
pub fn top_via(headers: &Headers) -> Option<Via> {
    Via::parse(split_list(headers.get("Via")?).next()?).ok()
}

fn named(method: &Method) -> Option<String> {
    (*method != Method::INVITE).then(|| method.as_str().to_owned())
}

fn server_words(headers: &Headers) -> Option<String> {
    let via = top_via(headers)?;
    let port = via.port.unwrap_or(0);
    match via.branch().filter(|b| b.get(..MAGIC.len()).is_some_and(|m| m.eq_ignore_ascii_case(MAGIC))) {
        Some(branch) if branch.len() > MAGIC.len() => Some(format!("{branch}|{}|{port}", via.host)),
        _ => {
            // RFC 2543 (17.2.3): From tag, Call-ID, CSeq number and the top Via together.
            let cseq = CSeq::parse(headers.get("CSeq")?).ok()?;
            let from = super::header::tag(headers.get("From")?).unwrap_or_default();
            Some(format!("2543|{from}|{}|{}|{via}", headers.get("Call-ID")?, cseq.number))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(via: &str, cseq: &str) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in [("Via", via), ("From", "<sip:a@h>;tag=1"), ("Call-ID", "c"), ("CSeq", cseq)] {
            headers.push(name, value);
        }
        headers
    }

    #[test]
    fn rfc3261_17_2_3_matching() {
        let invite = headers("SIP/2.0/UDP h:5060;branch=z9hG4bKx", "1 INVITE");
        let key = Key::server(&Method::INVITE, &invite);
        assert!(key == Key::server(&Method::ACK, &headers("SIP/2.0/UDP h:5060;branch=z9hG4bKx", "1 ACK")));
        assert!(key == Key::for_cancelled(&headers("SIP/2.0/UDP h:5060;branch=z9hG4bKx", "1 CANCEL")));
        for (via, method) in [
            ("SIP/2.0/UDP h:5060;branch=z9hG4bKy", Method::INVITE),
            ("SIP/2.0/UDP other:5060;branch=z9hG4bKx", Method::INVITE),
            ("SIP/2.0/UDP h:5070;branch=z9hG4bKx", Method::INVITE),
            ("SIP/2.0/UDP h:5060;branch=z9hG4bKx", Method::BYE),
        ] {
            assert!(key != Key::server(&method, &headers(via, "1 INVITE")), "{via}");
        }
    }

    #[test]
    fn rfc2543_requests_are_matched_without_a_branch() {
        let old = headers("SIP/2.0/UDP h", "1 INVITE");
        assert!(
            Key::server(&Method::INVITE, &old)
                == Key::server(&Method::ACK, &headers("SIP/2.0/UDP h", "1 ACK"))
        );
        let next = headers("SIP/2.0/UDP h", "2 INVITE");
        assert!(Key::server(&Method::INVITE, &old) != Key::server(&Method::INVITE, &next));
    }
}
