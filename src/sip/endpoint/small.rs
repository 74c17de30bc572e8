//! Answers to strangers over UDP that are no larger than what was asked, where that can be: who sends from a forged
//! address must not have us send its owner more than it costs. Nothing that the RFCs demand is left out for it.

use crate::sip::wire::message::Response;
use crate::sip::wire::print::{PrintError, print_brief, print_response};

/// Fields that are left out when there is no room: SHOULDs of an answer to OPTIONS (RFC 3261 11.2) and of a 501.
const SPARE: [&str; 3] = ["Accept", "Allow", "Supported"];
/// A challenge in an algorithm each (RFC 8760 2.4).
const CHALLENGE: &str = "WWW-Authenticate";

/// The answer as long as there is room for it, and else shorter, step by step: without what says nothing and with the
/// compact names (7.3.3), without what need not be said, with the last of the challenges alone. That is the one that every
/// phone knows; a phone's own REGISTER has room for all.
pub(super) fn fitted(mut response: Response, room: usize) -> Result<Vec<u8>, PrintError> {
    let whole = print_response(&response)?;
    if whole.len() <= room {
        return Ok(whole);
    }
    response.headers.remove("Server");
    let mut brief = print_brief(&response)?;
    // Elsewhere they are MUSTs: Allow of 405 (8.2.1), Accept of 415 (8.2.3).
    if brief.len() > room && matches!(response.status, 200 | 501) {
        SPARE.iter().for_each(|name| response.headers.remove(name));
        brief = print_brief(&response)?;
    }
    let last = response.headers.all(CHALLENGE).last().map(str::to_owned);
    if let Some(last) = last.filter(|_| brief.len() > room) {
        response.headers.remove(CHALLENGE);
        response.headers.push(CHALLENGE, last);
        brief = print_brief(&response)?;
    }
    Ok(brief)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::wire::message::Headers;

    fn answer(status: u16, more: &[(&str, &str)]) -> Response {
        let mut headers = Headers::new();
        let own = [
            ("Via", "SIP/2.0/UDP h;branch=z9hG4bK1"),
            ("From", "<sip:a@b>;tag=1"),
            ("To", "<sip:a@b>;tag=2"),
        ];
        let rest = [("Call-ID", "1"), ("CSeq", "1 OPTIONS"), ("Server", "hulplijn")];
        own.iter().chain(&rest).chain(more).for_each(|(name, value)| headers.push(name, *value));
        Response { status, headers, body: Vec::new() }
    }

    fn text(status: u16, more: &[(&str, &str)], room: usize) -> String {
        String::from_utf8(fitted(answer(status, more), room).expect("printed")).expect("text")
    }

    #[test]
    fn an_answer_loses_what_it_can_do_without_when_there_is_no_room_for_it() {
        let allow = ("Allow", "INVITE, ACK");
        assert!(
            text(200, &[allow], 1000).contains("Server: hulplijn\r\nAllow: INVITE, ACK\r\nContent-Length: 0")
        );
        let brief = "SIP/2.0 200 \r\nv:SIP/2.0/UDP h;branch=z9hG4bK1\r\nf:<sip:a@b>;tag=1\r\nt:<sip:a@b>;tag=2\r\ni:1\r\n\
                     CSeq:1 OPTIONS\r\nAllow:INVITE, ACK\r\n\r\n";
        assert_eq!(text(200, &[allow], brief.len()), brief);
        assert!(!text(200, &[allow], brief.len() - 1).contains("Allow"));
        assert!(text(405, &[allow], 0).contains("Allow:INVITE, ACK"), "a MUST stays");
    }

    #[test]
    fn of_two_challenges_the_one_that_every_phone_knows_stays() {
        let both = [(CHALLENGE, "Digest algorithm=SHA-256"), (CHALLENGE, "Digest algorithm=MD5")];
        let all = text(401, &both, 1000);
        assert!(all.contains("SHA-256") && all.contains("MD5"));
        let least = text(401, &both, 0);
        assert!(!least.contains("SHA-256") && least.contains("WWW-Authenticate:Digest algorithm=MD5\r\n"));
        assert!(text(401, &both, least.len() + 45).contains("SHA-256"), "with room for both");
    }
}
