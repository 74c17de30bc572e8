//! Decisions about messages: names, what is kept, callback numbers, space, retention. Pure: time, length
//! and randomness are arguments. The files are `media`'s and `store`'s.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::base::id::Rng;
use crate::store::request::{MessageRow, MessageState};

/// Characters of a message's id: 100 random bits, so that no name can be guessed or met twice.
const ID_LENGTH: usize = 20;
/// Fewest digits of a callback number: a short number of a service.
const SHORTEST_NUMBER: usize = 3;
/// Most digits of a callback number, as of E.164.
pub const LONGEST_NUMBER: usize = 15;

/// How a recording came to its end, as far as keeping it is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Closed in order: by a key, silence, the limit, or the caller who hung up.
    Whole { voice: bool },
    /// Cut off by a crash or a full disk. Whether it has a voice is not known, so that is not held
    /// against it.
    Broken,
}

/// A new message's id. It says nothing about the caller or the time.
pub fn message_id(rng: &mut Rng) -> String {
    rng.token(ID_LENGTH)
}

/// The name of a message's recording in the messages folder.
pub fn file_name(id: &str) -> String {
    format!("{id}.wav")
}

/// What a recording becomes that no caller can be asked about any more (they hung up, or it was found at
/// a start): a message in that state, or `None`: it is thrown away.
pub fn fate(ending: Ending, length: Duration, min: Duration) -> Option<MessageState> {
    let long_enough = length >= min && !length.is_zero();
    match ending {
        Ending::Whole { voice } => (voice && long_enough).then_some(MessageState::New),
        Ending::Broken => long_enough.then_some(MessageState::Interrupted),
    }
}

/// The row of a message. `called` is the number as the config writes it, never as an INVITE does.
pub fn row(
    id: String,
    called: String,
    ended_at: DateTime<Utc>,
    length: Duration,
    state: MessageState,
    callback: Option<String>,
) -> MessageRow {
    let began =
        chrono::Duration::from_std(length).ok().and_then(|length| ended_at.checked_sub_signed(length));
    let callback = callback.as_deref().and_then(callback_number);
    MessageRow { id, called, taken_at: began.unwrap_or(ended_at), length, state, callback }
}

/// A callback number from the keys that were pressed: 3 to 15 digits. The `#` that ends the keying may
/// stand at the end; any other sign makes it no number. A `+` can't be keyed in, and a number of another
/// country is kept as it would be dialled, with its `00`.
pub fn callback_number(keys: &str) -> Option<String> {
    let digits = keys.strip_suffix('#').unwrap_or(keys);
    let is_number = (SHORTEST_NUMBER..=LONGEST_NUMBER).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.to_owned())
}

/// Whether a recording may start. `free_mib` is `None` when nobody could tell: the attempt is then made,
/// and a disk that is really full breaks it off and keeps what was flushed.
pub fn enough_space(free_mib: Option<u64>, min_free_mib: u32) -> bool {
    free_mib.is_none_or(|free| free >= u64::from(min_free_mib))
}

/// Messages that were marked as handled before this time are deleted now; `None`: none ever. Messages
/// that nobody has handled are never deleted by age.
pub fn delete_done_before(now: DateTime<Utc>, keep_done: Option<Duration>) -> Option<DateTime<Utc>> {
    now.checked_sub_signed(chrono::Duration::from_std(keep_done?).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::request::is_id;

    const SECOND: Duration = Duration::from_secs(1);

    fn noon() -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000, 0).expect("a time")
    }

    #[test]
    fn ids_are_names_that_the_store_takes_and_never_the_same() {
        let mut rng = Rng::from_number(7);
        let ids: std::collections::BTreeSet<String> = (0..1000).map(|_| message_id(&mut rng)).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| is_id(id)));
        assert_eq!(file_name("abc2"), "abc2.wav");
    }

    #[test]
    fn what_is_kept_when_nobody_can_be_asked() {
        let (new, interrupted) = (Some(MessageState::New), Some(MessageState::Interrupted));
        let cases = [
            (Ending::Whole { voice: true }, 5, 1, new),
            (Ending::Whole { voice: true }, 1, 1, new),
            (Ending::Whole { voice: true }, 1, 2, None),
            (Ending::Whole { voice: false }, 60, 1, None),
            (Ending::Broken, 5, 1, interrupted),
            (Ending::Broken, 1, 2, None),
            (Ending::Broken, 0, 0, None),
            (Ending::Whole { voice: true }, 0, 0, None),
        ];
        for (ending, length, min, expected) in cases {
            assert_eq!(fate(ending, length * SECOND, min * SECOND), expected, "{ending:?} {length} {min}");
        }
    }

    #[test]
    fn a_row_tells_when_the_message_began_and_takes_no_number_that_is_none() {
        let of = |callback: Option<&str>| {
            let (id, called) = ("abc2".to_owned(), "1712".to_owned());
            row(id, called, noon(), 40 * SECOND, MessageState::New, callback.map(str::to_owned))
        };
        assert_eq!((noon() - of(None).taken_at).num_seconds(), 40);
        assert_eq!(of(Some("0470123456")).callback.as_deref(), Some("0470123456"));
        assert_eq!(of(Some("sip:someone@example.org")).callback, None);
        let endless = row("a".into(), "1712".into(), noon(), Duration::MAX, MessageState::Interrupted, None);
        assert_eq!(endless.taken_at, noon());
    }

    #[test]
    fn callback_numbers() {
        let cases = [
            ("0470123456", Some("0470123456")),
            ("0470123456#", Some("0470123456")),
            ("0031612345678", Some("0031612345678")),
            ("106", Some("106")),
            ("12", None),
            ("12#", None),
            ("", None),
            ("#", None),
            ("123456789012345", Some("123456789012345")),
            ("1234567890123456", None),
            ("+32470123456", None),
            ("0470*23456", None),
            ("047012#3456", None),
            ("047012345A", None),
            ("٠٤٧٠١٢", None),
        ];
        for (keys, expected) in cases {
            assert_eq!(callback_number(keys).as_deref(), expected, "{keys}");
        }
    }

    #[test]
    fn space_and_retention() {
        assert!(enough_space(None, 200) && enough_space(Some(200), 200) && !enough_space(Some(199), 200));
        assert_eq!(delete_done_before(noon(), None), None);
        let month = Duration::from_secs(30 * 24 * 3600);
        assert_eq!(delete_done_before(noon(), Some(month)).map(|at| (noon() - at).num_days()), Some(30));
        assert_eq!(delete_done_before(noon(), Some(Duration::MAX)), None, "longer than time itself");
    }
}
