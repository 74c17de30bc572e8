//! What a NOTIFY says, written from fixed words. Of those on the telephone nothing is here to be written: no name, no
//! number, no address, no Call-ID, and no tag.

use std::fmt::Write as _;

use crate::telemetry::notice::LineWord;

/// Messages that wait, and those that were handled.
pub(super) type Mailbox = (u32, u32);

/// What a line does, as RFC 4235 3.7.1 calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Talk {
    Idle,
    Early,
    Confirmed,
}

impl Talk {
    pub(super) fn of(word: LineWord) -> Self {
        match word {
            LineWord::Ringing => Self::Early,
            LineWord::Busy => Self::Confirmed,
            LineWord::LoggedOut
            | LineWord::Unreachable
            | LineWord::Free
            | LineWord::WrapUp
            | LineWord::Paused
            | LineWord::Resting => Self::Idle,
        }
    }
}

/// `application/simple-message-summary` (RFC 3842 5.2). Before the first count it only says that nothing is known to
/// wait.
pub(super) fn message_summary(mailbox: Option<Mailbox>) -> Vec<u8> {
    let Some((new, done)) = mailbox else { return b"Messages-Waiting: no\r\n".to_vec() };
    let waiting = if new > 0 { "yes" } else { "no" };
    format!("Messages-Waiting: {waiting}\r\nVoice-Message: {new}/{done}\r\n").into_bytes()
}

/// `application/dialog-info+xml` (RFC 4235 4). `id` is random and ours, and stays while the line is in use; a line that
/// came to rest has its last one told as terminated, since not every phone takes its absence for an end.
pub(super) fn dialog_info(entity: &str, version: u32, talk: Talk, id: Option<&str>) -> Vec<u8> {
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n\
         <dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"{version}\" state=\"full\" \
         entity=\"{}\">\r\n",
        escape(entity)
    );
    if let Some(id) = id {
        let state = match talk {
            Talk::Idle => "terminated",
            Talk::Early => "early",
            Talk::Confirmed => "confirmed",
        };
        // All that rings at a line, or is spoken there, came from us.
        let _ = write!(
            text,
            "<dialog id=\"{}\" direction=\"recipient\">\r\n<state>{state}</state>\r\n</dialog>\r\n",
            escape(id)
        );
    }
    text.push_str("</dialog-info>\r\n");
    text.into_bytes()
}

/// `application/pidf+xml` (RFC 3863 4).
pub(super) fn presence(entity: &str, word: LineWord) -> Vec<u8> {
    let (basic, note) = match word {
        LineWord::Free => ("open", "available"),
        LineWord::Ringing => ("open", "ringing"),
        LineWord::Busy => ("open", "busy"),
        LineWord::WrapUp => ("open", "wrap-up"),
        LineWord::Paused => ("closed", "paused"),
        LineWord::Resting => ("closed", "resting"),
        LineWord::LoggedOut => ("closed", "away"),
        LineWord::Unreachable => ("closed", "unreachable"),
    };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n\
         <presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"{}\">\r\n\
         <tuple id=\"line\">\r\n<status><basic>{basic}</basic></status>\r\n<note>{note}</note>\r\n</tuple>\r\n\
         </presence>\r\n",
        escape(entity)
    )
    .into_bytes()
}

/// As an attribute of XML may have it.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(body: Vec<u8>) -> String {
        String::from_utf8(body).expect("text")
    }

    #[test]
    fn rfc_3842_5_2_the_summary_counts_new_and_old() {
        assert_eq!(text(message_summary(None)), "Messages-Waiting: no\r\n");
        assert_eq!(text(message_summary(Some((0, 4)))), "Messages-Waiting: no\r\nVoice-Message: 0/4\r\n");
        assert_eq!(text(message_summary(Some((2, 0)))), "Messages-Waiting: yes\r\nVoice-Message: 2/0\r\n");
    }

    #[test]
    fn rfc_4235_4_the_document_has_a_version_and_a_state_and_nobodys_name() {
        let idle = text(dialog_info("sip:anna@10.0.0.1", 0, Talk::Idle, None));
        assert!(idle.contains("version=\"0\" state=\"full\" entity=\"sip:anna@10.0.0.1\""), "{idle}");
        assert!(!idle.contains("<dialog "), "{idle}");
        for (talk, word) in
            [(Talk::Early, "early"), (Talk::Confirmed, "confirmed"), (Talk::Idle, "terminated")]
        {
            let body = text(dialog_info("sip:anna@10.0.0.1", 3, talk, Some("abc")));
            assert!(body.contains("<dialog id=\"abc\" direction=\"recipient\">"), "{body}");
            assert!(body.contains(&format!("<state>{word}</state>")), "{body}");
            for never in ["<remote", "<local", "<identity", "<target", "call-id", "tag="] {
                assert!(!body.contains(never), "{body}");
            }
        }
    }

    #[test]
    fn rfc_3863_4_presence_is_open_or_closed_with_a_word_of_ours() {
        let busy = text(presence("sip:anna@10.0.0.1", LineWord::Busy));
        assert!(busy.contains("<basic>open</basic>") && busy.contains("<note>busy</note>"), "{busy}");
        let paused = text(presence("sip:anna@10.0.0.1", LineWord::Paused));
        assert!(
            paused.contains("<basic>closed</basic>") && paused.contains("<note>paused</note>"),
            "{paused}"
        );
    }

    #[test]
    fn a_name_can_not_break_out_of_its_attribute() {
        let body = text(presence("sip:a\"><x y='&'", LineWord::Free));
        assert!(body.contains("entity=\"sip:a&quot;&gt;&lt;x y=&apos;&amp;&apos;\""), "{body}");
    }
}
