//! Session timers (RFC 4028): who says from time to time that the session goes on, how often, and when it
//! is over because nobody did.

use std::time::Duration;

use crate::sip::header::split_list;
use crate::sip::header_ext::{self, SessionExpires};
use crate::sip::wire::message::Headers;

/// The option tag.
pub const TAG: &str = "timer";

/// No side may be made to refresh more often (RFC 4028 4).
pub const LEAST: Duration = Duration::from_secs(90);

/// Whose task the refresh is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresher {
    Us,
    Them,
}

/// The interval asked for is briefer than `least`: 422.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooBrief {
    pub least: Duration,
}

/// What two sides agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionTimer {
    pub interval: Duration,
    pub refresher: Refresher,
}

impl SessionTimer {
    /// From a request of the peer, for our 2xx to it; `wish` is the interval that we would like. `None`: the peer
    /// knows nothing of session timers, and no proxy asks for one (9).
    pub fn of_request(headers: &Headers, wish: Duration) -> Result<Option<Self>, TooBrief> {
        let knows = supports(headers);
        let Some((asked, refresher)) = session_expires(headers) else {
            // We refresh: then the session does not hang on what the peer makes of the RFC.
            return Ok(knows.then_some(Self { interval: wish, refresher: Refresher::Us }));
        };
        if asked < LEAST {
            // Who does not know the word can't mend it: then the session goes on without a timer.
            return if knows { Err(TooBrief { least: LEAST }) } else { Ok(None) };
        }
        let interval = asked.min(wish.max(min_se(headers)));
        let refresher = match refresher {
            Some(Refresher::Us) if knows => Refresher::Them, // they are the UAC
            _ => Refresher::Us,
        };
        Ok(Some(Self { interval, refresher }))
    }

    /// From the 2xx to a request of ours. `None`: the session goes on without (7.2).
    pub fn of_response(headers: &Headers) -> Option<Self> {
        let (interval, refresher) = session_expires(headers)?;
        // Nobody may make us refresh without end.
        let interval = interval.max(LEAST);
        Some(Self { interval, refresher: refresher.unwrap_or(Refresher::Us) })
    }

    /// What our 2xx says of it.
    pub fn in_response(&self) -> Vec<(&'static str, String)> {
        let (who, require) = match self.refresher {
            Refresher::Us => (header_ext::Refresher::Uas, None),
            Refresher::Them => (header_ext::Refresher::Uac, Some(("Require", TAG.to_owned()))),
        };
        require.into_iter().chain([field(self.interval, Some(who))]).collect()
    }

    /// When something is to be done: our refresh at half the interval, or the end of a session that the peer did
    /// not refresh (10).
    pub fn due(&self) -> Duration {
        match self.refresher {
            Refresher::Us => self.interval / 2,
            Refresher::Them => self.interval.saturating_sub((self.interval / 3).min(Duration::from_secs(32))),
        }
    }
}

/// What a request of ours says: the interval that we would like, and who refreshes when that is settled.
pub fn in_request(
    interval: Duration,
    least: Duration,
    refresher: Option<Refresher>,
) -> Vec<(&'static str, String)> {
    let who = refresher.map(|refresher| match refresher {
        Refresher::Us => header_ext::Refresher::Uac,
        Refresher::Them => header_ext::Refresher::Uas,
    });
    let mut fields = vec![field(interval.max(least), who)];
    if least > LEAST {
        fields.push(("Min-SE", least.as_secs().to_string()));
    }
    fields
}

fn field(interval: Duration, refresher: Option<header_ext::Refresher>) -> (&'static str, String) {
    let seconds = u32::try_from(interval.as_secs()).unwrap_or(u32::MAX);
    ("Session-Expires", SessionExpires { seconds, refresher }.to_string())
}

/// `Min-SE`, at least what the RFC allows.
pub fn min_se(headers: &Headers) -> Duration {
    let seconds = headers.get("Min-SE").and_then(|value| header_ext::seconds(value).ok());
    Duration::from_secs(seconds.unwrap_or(0).into()).max(LEAST)
}

fn supports(headers: &Headers) -> bool {
    headers.all("Supported").flat_map(split_list).any(|tag| tag.trim().eq_ignore_ascii_case(TAG))
}

/// Interval and, in the words of a UAC, who refreshes.
fn session_expires(headers: &Headers) -> Option<(Duration, Option<Refresher>)> {
    let value = SessionExpires::parse(headers.get("Session-Expires")?).ok()?;
    let refresher = value.refresher.map(|who| match who {
        header_ext::Refresher::Uac => Refresher::Us,
        header_ext::Refresher::Uas => Refresher::Them,
    });
    Some((Duration::from_secs(value.seconds.into()), refresher))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in fields {
            headers.push(name, *value);
        }
        headers
    }

    fn timer(seconds: u64, refresher: Refresher) -> SessionTimer {
        SessionTimer { interval: Duration::from_secs(seconds), refresher }
    }

    #[test]
    fn rfc_4028_9_what_our_answer_to_a_request_says() {
        use Refresher::{Them, Us};
        let knows = ("Supported", "100rel, timer");
        let brief = Err(TooBrief { least: LEAST });
        for (fields, expected) in [
            (vec![], Ok(None)),
            (vec![knows], Ok(Some(timer(1800, Us)))),
            (vec![knows, ("Session-Expires", "600")], Ok(Some(timer(600, Us)))),
            (vec![knows, ("Session-Expires", "600;refresher=uac")], Ok(Some(timer(600, Them)))),
            (vec![knows, ("Session-Expires", "600;refresher=UAS")], Ok(Some(timer(600, Us)))),
            (vec![knows, ("Session-Expires", "7200")], Ok(Some(timer(1800, Us)))),
            (vec![knows, ("Session-Expires", "7200"), ("Min-SE", "3600")], Ok(Some(timer(3600, Us)))),
            (vec![knows, ("Session-Expires", "60")], brief),
            // A proxy asks and the caller knows nothing of it: the task is ours, and 422 would help nobody.
            (vec![("Session-Expires", "600;refresher=uac")], Ok(Some(timer(600, Us)))),
            (vec![("Session-Expires", "60;refresher=uac")], Ok(None)),
            (vec![knows, ("Session-Expires", "soon")], Ok(Some(timer(1800, Us)))),
        ] {
            let found = SessionTimer::of_request(&headers(&fields), Duration::from_secs(1800));
            assert_eq!(found, expected, "{fields:?}");
        }
    }

    #[test]
    fn rfc_4028_7_2_what_an_answer_means_for_us() {
        use Refresher::{Them, Us};
        for (value, expected) in [
            ("1800;refresher=uac", Some(timer(1800, Us))),
            ("1800;refresher=uas", Some(timer(1800, Them))),
            ("1800", Some(timer(1800, Us))),
            ("1;refresher=uac", Some(timer(90, Us))),
            ("x", None),
        ] {
            assert_eq!(
                SessionTimer::of_response(&headers(&[("Session-Expires", value)])),
                expected,
                "{value}"
            );
        }
        assert_eq!(SessionTimer::of_response(&Headers::new()), None);
    }

    #[test]
    fn rfc_4028_10_refresh_at_half_the_time_and_end_shortly_before_all_of_it() {
        let seconds = |s| Duration::from_secs(s);
        assert_eq!(timer(1800, Refresher::Us).due(), seconds(900));
        assert_eq!(timer(1800, Refresher::Them).due(), seconds(1768));
        assert_eq!(timer(90, Refresher::Them).due(), seconds(60));
    }
}
