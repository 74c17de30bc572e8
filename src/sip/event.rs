//! Event packages that we tell of (RFC 6665), and what a SUBSCRIBE asks for.

use std::time::Duration;

use super::header::{Params, is_token, number_below, split_list};
use super::wire::message::Headers;

/// A subscription lasts at least so long (423 below, RFC 6665 4.2.1.1) ...
const SHORTEST: Duration = Duration::from_secs(60);
/// ... at most so long, and so long when its SUBSCRIBE says nothing.
const LONGEST: Duration = Duration::from_secs(3600);
/// Characters of the `id` by which a phone tells subscriptions apart.
const MAX_ID: usize = 64;

/// `Allow-Events` (RFC 6665 8.2.2).
pub const ALLOW_EVENTS: &str = "message-summary, dialog, presence";

/// What one can subscribe to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Package {
    /// Messages that wait (RFC 3842).
    MessageSummary,
    /// Whether a line rings or talks (RFC 4235).
    Dialog,
    /// Whether a line can be called (RFC 3856).
    Presence,
}

impl Package {
    const ALL: [Self; 3] = [Self::MessageSummary, Self::Dialog, Self::Presence];

    pub fn name(self) -> &'static str {
        match self {
            Self::MessageSummary => "message-summary",
            Self::Dialog => "dialog",
            Self::Presence => "presence",
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::MessageSummary => "application/simple-message-summary",
            Self::Dialog => "application/dialog-info+xml",
            Self::Presence => "application/pidf+xml",
        }
    }
}

/// Why a SUBSCRIBE is refused before it is looked at who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    Malformed,
    BadEvent,
    TooBrief,
    NotAcceptable,
}

impl Refusal {
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::NotAcceptable => 406,
            Self::TooBrief => 423,
            Self::BadEvent => 489,
        }
    }

    /// What the refusal says besides.
    pub fn headers(self) -> Vec<(&'static str, String)> {
        match self {
            Self::Malformed => Vec::new(),
            Self::NotAcceptable => {
                vec![("Accept", Package::ALL.map(Package::content_type).join(", "))]
            }
            Self::TooBrief => vec![("Min-Expires", SHORTEST.as_secs().to_string())],
            Self::BadEvent => vec![("Allow-Events", ALLOW_EVENTS.to_owned())],
        }
    }
}

/// What a SUBSCRIBE asks for. No `Debug`: the id is a phone's word.
#[derive(Clone, PartialEq, Eq)]
pub struct Wish {
    pub package: Package,
    /// `Event` as each NOTIFY repeats it, with the phone's `id` (RFC 6665 8.2.1).
    pub event: String,
    /// How long it is granted; zero: it ends, or was only a question (RFC 6665 4.4.3).
    pub lasts: Duration,
}

impl Wish {
    pub fn read(headers: &Headers) -> Result<Self, Refusal> {
        let value = headers.get("Event").ok_or(Refusal::BadEvent)?;
        let (name, params) = value.split_once(';').unwrap_or((value, ""));
        let known = |package: &Package| package.name().eq_ignore_ascii_case(name.trim());
        let package = Package::ALL.into_iter().find(known).ok_or(Refusal::BadEvent)?;
        let event = match Params::parse(params).find("id") {
            None => package.name().to_owned(),
            Some(Some(id)) if is_token(id) && id.len() <= MAX_ID => format!("{};id={id}", package.name()),
            Some(_) => return Err(Refusal::Malformed),
        };
        if !takes(headers, package.content_type()) {
            return Err(Refusal::NotAcceptable);
        }
        Ok(Self { package, event, lasts: lifetime(headers)? })
    }
}

/// Whether the body's type may come; without `Accept` the package's own may (RFC 6665 4.1.3).
fn takes(headers: &Headers, content_type: &str) -> bool {
    let mut values = headers.all("Accept").flat_map(split_list).peekable();
    values.peek().is_none()
        || values.any(|value| {
            let kind = value.split(';').next().unwrap_or("").trim();
            ["*/*", "application/*", content_type].iter().any(|ours| ours.eq_ignore_ascii_case(kind))
        })
}

fn lifetime(headers: &Headers) -> Result<Duration, Refusal> {
    let Some(value) = headers.get("Expires") else { return Ok(LONGEST) };
    let seconds = number_below(value, 1 << 32).map_err(|_| Refusal::Malformed)?;
    match Duration::from_secs(seconds) {
        lasts if lasts.is_zero() => Ok(lasts),
        lasts if lasts < SHORTEST => Err(Refusal::TooBrief),
        lasts => Ok(lasts.min(LONGEST)),
    }
}

/// Why a subscription ends (RFC 6665 4.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It ran out, or the phone ended it.
    Timeout,
    /// What it told of is gone.
    NoResource,
    /// Who subscribed may not any more.
    Rejected,
    /// We stop: the phone may ask again in a while.
    Probation,
}

impl Ending {
    /// `Subscription-State`.
    pub fn state(self) -> &'static str {
        match self {
            Self::Timeout => "terminated;reason=timeout",
            Self::NoResource => "terminated;reason=noresource",
            Self::Rejected => "terminated;reason=rejected",
            Self::Probation => "terminated;reason=probation;retry-after=30",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &[(&'static str, &str)]) -> Result<(Package, String, u64), Refusal> {
        let mut headers = Headers::new();
        for (name, value) in fields {
            headers.push(name, *value);
        }
        Wish::read(&headers).map(|wish| (wish.package, wish.event, wish.lasts.as_secs()))
    }

    #[test]
    fn rfc_6665_8_2_1_an_event_is_known_by_its_package_and_keeps_its_id() {
        let ok = |package, event: &str| Ok((package, event.to_owned(), 3600));
        let cases = [
            ("message-summary", ok(Package::MessageSummary, "message-summary")),
            ("Dialog;sla;id=7", ok(Package::Dialog, "dialog;id=7")),
            ("presence ; id=a-b", ok(Package::Presence, "presence;id=a-b")),
            ("presence.winfo", Err(Refusal::BadEvent)),
            ("", Err(Refusal::BadEvent)),
            ("dialog;id=\"a b\"", Err(Refusal::Malformed)),
            ("dialog;id", Err(Refusal::Malformed)),
        ];
        for (value, expected) in cases {
            assert_eq!(read(&[("Event", value)]), expected, "{value}");
        }
        assert_eq!(read(&[]), Err(Refusal::BadEvent));
        assert_eq!(read(&[("Event", &format!("dialog;id={}", "a".repeat(65)))]), Err(Refusal::Malformed));
        assert_eq!(Refusal::BadEvent.headers(), [("Allow-Events", ALLOW_EVENTS.to_owned())]);
        assert_eq!(ALLOW_EVENTS, Package::ALL.map(Package::name).join(", "));
    }

    #[test]
    fn rfc_6665_4_2_1_1_expires_has_a_least_and_a_most() {
        let cases = [
            ("0", Ok(0)),
            ("1", Err(Refusal::TooBrief)),
            ("59", Err(Refusal::TooBrief)),
            ("60", Ok(60)),
            ("3600", Ok(3600)),
            ("4294967295", Ok(3600)),
            ("4294967296", Err(Refusal::Malformed)),
            ("soon", Err(Refusal::Malformed)),
            ("-1", Err(Refusal::Malformed)),
        ];
        for (value, expected) in cases {
            let lasts = read(&[("Event", "dialog"), ("Expires", value)]).map(|(_, _, lasts)| lasts);
            assert_eq!(lasts, expected, "{value}");
        }
    }

    #[test]
    fn rfc_3261_20_1_a_phone_that_can_not_read_the_body_is_told_so() {
        let with = |accept: &str| read(&[("Event", "dialog"), ("Accept", accept)]).err();
        for fine in ["*/*", "application/*", "text/plain, application/dialog-info+xml;q=0.5"] {
            assert_eq!(with(fine), None, "{fine}");
        }
        assert_eq!(with("application/pidf+xml"), Some(Refusal::NotAcceptable));
    }
}
