//! The message as everything above the wire sees it.
//!
//! `rsip` gives the words (`Method`, `StatusCode`); its closed enums cannot hold an unknown method
//! or a header value that is not UTF-8, so the containers are ours.

use std::fmt;

pub use rsip::StatusCode;

/// A method: `rsip`'s word, or one it does not know, kept as written (methods are case-sensitive).
#[derive(Clone, PartialEq, Eq)]
pub enum Method {
    Known(rsip::Method),
    Other(Box<str>),
}

/// A SIP request or response.
#[derive(Clone, PartialEq, Eq)]
pub enum Message {
    Request(Request),
    Response(Response),
}

/// A request. No `Debug`: it may hold a caller's identity.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    pub method: Method,
    /// The Request-URI exactly as written; `sip::uri` reads it.
    pub uri: String,
    pub headers: Headers,
    pub body: Vec<u8>,
}

/// A response. The reason phrase of a peer is not kept: nobody may depend on it.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// 100..=699
    pub status: u16,
    pub headers: Headers,
    pub body: Vec<u8>,
}

/// Header fields in order. Names are stored in their long canonical form where known (`v` → `Via`),
/// else as written; comparison ignores case. Values are unfolded and trimmed; bytes that are not
/// UTF-8 are kept as the character of the same code (Latin-1), so nothing is dropped.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Headers(Vec<(Box<str>, Box<str>)>);

impl Headers {
    pub fn new() -> Self {
        Self::default()
    }

    /// With room for `capacity` fields.
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// Appends a field. `print` refuses values with CR or LF.
    pub fn push(&mut self, name: &str, value: impl Into<Box<str>>) {
        self.0.push((name.into(), value.into()));
    }

    /// Puts a field before all others.
    pub fn push_front(&mut self, name: &str, value: impl Into<Box<str>>) {
        self.0.insert(0, (name.into(), value.into()));
    }

    /// The first field of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| &**v)
    }

    /// All fields of that name, one per header line (comma lists are not split here).
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| &**v)
    }

    /// How many header lines bear that name.
    pub fn count(&self, name: &str) -> usize {
        self.all(name).count()
    }

    /// Replaces all fields of that name by one, at the place of the first.
    pub fn set(&mut self, name: &str, value: impl Into<Box<str>>) {
        let value = value.into();
        match self.0.iter().position(|(n, _)| n.eq_ignore_ascii_case(name)) {
            Some(at) => {
                self.0[at].1 = value;
                let mut index = 0;
                self.0.retain(|(n, _)| {
                    index += 1;
                    index - 1 <= at || !n.eq_ignore_ascii_case(name)
                });
            }
            None => self.0.push((name.into(), value)),
        }
    }

    /// Replaces the value of the first field of that name, if there is one.
    pub fn set_first(&mut self, name: &str, value: impl Into<Box<str>>) {
        if let Some((_, first)) = self.0.iter_mut().find(|(n, _)| n.eq_ignore_ascii_case(name)) {
            *first = value.into();
        }
    }

    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
    }

    /// Removes all fields but those of these names.
    pub fn keep(&mut self, names: &[&str]) {
        self.0.retain(|(n, _)| names.iter().any(|name| n.eq_ignore_ascii_case(name)));
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (&**n, &**v))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Method {
    pub const INVITE: Self = Self::Known(rsip::Method::Invite);
    pub const ACK: Self = Self::Known(rsip::Method::Ack);
    pub const BYE: Self = Self::Known(rsip::Method::Bye);
    pub const CANCEL: Self = Self::Known(rsip::Method::Cancel);
    pub const OPTIONS: Self = Self::Known(rsip::Method::Options);
    pub const REGISTER: Self = Self::Known(rsip::Method::Register);
    pub const INFO: Self = Self::Known(rsip::Method::Info);
    pub const UPDATE: Self = Self::Known(rsip::Method::Update);
    pub const PRACK: Self = Self::Known(rsip::Method::PRack);
    pub const REFER: Self = Self::Known(rsip::Method::Refer);
    pub const NOTIFY: Self = Self::Known(rsip::Method::Notify);
    pub const SUBSCRIBE: Self = Self::Known(rsip::Method::Subscribe);
    pub const MESSAGE: Self = Self::Known(rsip::Method::Message);
    pub const PUBLISH: Self = Self::Known(rsip::Method::Publish);

    const ALL: [(&'static str, Self); 14] = [
        ("INVITE", Self::INVITE),
        ("ACK", Self::ACK),
        ("BYE", Self::BYE),
        ("CANCEL", Self::CANCEL),
        ("OPTIONS", Self::OPTIONS),
        ("REGISTER", Self::REGISTER),
        ("INFO", Self::INFO),
        ("UPDATE", Self::UPDATE),
        ("PRACK", Self::PRACK),
        ("REFER", Self::REFER),
        ("NOTIFY", Self::NOTIFY),
        ("SUBSCRIBE", Self::SUBSCRIBE),
        ("MESSAGE", Self::MESSAGE),
        ("PUBLISH", Self::PUBLISH),
    ];

    /// From the wire: exact case (RFC 3261 7.1).
    pub fn from_name(name: &str) -> Self {
        Self::ALL
            .iter()
            .find(|(n, _)| *n == name)
            .map_or_else(|| Self::Other(name.into()), |(_, m)| m.clone())
    }

    pub fn as_str(&self) -> &str {
        match self {
            Self::Other(name) => name,
            known @ Self::Known(_) => Self::ALL.iter().find(|(_, m)| m == known).map_or("INVITE", |(n, _)| n),
        }
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(_) => f.write_str(self.as_str()),
            Self::Other(_) => f.write_str("(other)"),
        }
    }
}
