//! Session timers (RFC 4028) between two endpoints, in virtual time.

use super::*;
use crate::sip::endpoint::refreshing::Session;

const HALF_HOUR: Duration = Duration::from_secs(1800);

/// A pair of which A wishes for `ours` and B for `theirs`.
fn pair(ours: Duration, theirs: Duration) -> Pair {
    let mut pair = Pair::new(Transport::Tcp, 0, 41);
    pair.ends[0].config.session = ours;
    pair.ends[1].config.session = theirs;
    pair
}

impl Pair {
    /// What this side said last in a message that begins so.
    fn said(&self, end: usize, start: &str, field: &str) -> Option<String> {
        let text = self.sent.iter().rev().find(|(from, text)| *from == end && text.starts_with(start))?;
        let line = text.1.lines().find_map(|line| line.strip_prefix(&format!("{field}: ")))?;
        Some(line.to_owned())
    }

    /// Lets the time of both sides pass and answers what is offered anew.
    fn go_on(&mut self, time: Duration) -> usize {
        let last = self.now.at + time;
        let mut ended = 0;
        while self.now.at < last {
            self.run(Duration::from_secs(1));
            for end in 0..2 {
                while let Some(event) = self.ends[end].poll_event() {
                    match event {
                        Event::RefreshDue { dialog } => {
                            let _ = self.ends[end].offer(self.now, dialog, OFFER.to_vec());
                        }
                        Event::Offer { dialog, .. } => {
                            self.ends[end].answer_offer(self.now, dialog, Ok(ANSWER.to_vec()), false);
                        }
                        Event::Ended { .. } => ended += 1,
                        _ => {}
                    }
                }
            }
        }
        ended
    }
}

#[test]
fn rfc_4028_7_4_the_side_that_was_called_refreshes_by_update_and_the_call_goes_on() {
    let mut pair = pair(HALF_HOUR, HALF_HOUR);
    pair.up();
    assert_eq!(pair.said(0, "INVITE", "Session-Expires").as_deref(), Some("1800"));
    assert_eq!(pair.said(0, "INVITE", "Supported").as_deref(), Some("timer, 100rel"));
    assert_eq!(pair.said(1, "SIP/2.0 200", "Session-Expires").as_deref(), Some("1800;refresher=uas"));
    assert_eq!(pair.go_on(Duration::from_secs(4 * 3600)), 0);
    let refreshes = pair.count(1, "UPDATE");
    assert!((14..=16).contains(&refreshes), "{refreshes} in four hours");
    assert_eq!(pair.said(1, "UPDATE", "Session-Expires").as_deref(), Some("1800;refresher=uac"));
    assert_eq!(pair.said(0, "SIP/2.0 200", "Session-Expires").as_deref(), Some("1800;refresher=uac"));
    assert_eq!(pair.count(0, "UPDATE") + pair.count(1, "INVITE"), 0);
}

#[test]
fn rfc_4028_7_4_a_peer_without_update_is_offered_the_session_anew() {
    let mut pair = pair(HALF_HOUR, HALF_HOUR);
    let (_, theirs) = pair.up();
    pair.ends[1].calls.get_mut(&theirs).unwrap().session = Session::without_update(HALF_HOUR, pair.now.at);
    assert_eq!(pair.go_on(Duration::from_secs(3600)), 0);
    assert!(pair.count(1, "INVITE") >= 1, "a re-INVITE");
    assert_eq!(pair.said(1, "INVITE", "Session-Expires").as_deref(), Some("1800;refresher=uac"));
}

#[test]
fn rfc_4028_10_a_session_that_nobody_refreshes_ends_with_bye_on_both_sides() {
    for (dead, other) in [(0, 1), (1, 0)] {
        let mut pair = pair(HALF_HOUR, HALF_HOUR);
        pair.up();
        let end = &mut pair.ends[dead];
        // It has forgotten the call without a word.
        let keys: Vec<DialogKey> = end.calls.keys().copied().collect();
        keys.into_iter().for_each(|key| end.drop_call(key));
        assert_eq!(pair.go_on(Duration::from_secs(1800)), 1, "side {other} sees the end");
        assert_eq!(pair.count(other, "BYE"), 1);
        assert!(pair.ends[other].calls.is_empty());
    }
}

#[test]
fn rfc_4028_6_too_brief_an_interval_gets_422_and_the_caller_tries_the_longer_one() {
    let mut pair = pair(Duration::from_secs(60), HALF_HOUR);
    let ours = pair.call();
    // A wish below the least is written as the least, so let the message itself be brief.
    let transmit = pair.ends[0].poll_transmit().unwrap();
    let brief =
        String::from_utf8_lossy(&transmit.bytes).replace("Session-Expires: 90", "Session-Expires: 30");
    let flow = pair.flow(1);
    pair.give(1, flow, brief.as_bytes());
    let answer = pair.ends[1].poll_transmit().unwrap();
    let answer = String::from_utf8_lossy(&answer.bytes).into_owned();
    assert!(answer.starts_with("SIP/2.0 422 ") && answer.contains("Min-SE: 90\r\n"), "{answer}");
    assert!(pair.calls_in.is_empty(), "nothing is kept of it");
    // A way that takes no less than ten minutes.
    let flow = pair.flow(0);
    let slower = answer.replace("Min-SE: 90", "Min-SE: 600");
    pair.give(0, flow, slower.as_bytes());
    let theirs = pair.incoming();
    assert_eq!(pair.said(0, "INVITE", "Session-Expires").as_deref(), Some("600"));
    assert_eq!(pair.said(0, "INVITE", "Min-SE").as_deref(), Some("600"));
    pair.ends[1].accept(pair.now, theirs, ANSWER.to_vec(), false);
    assert!(matches!(pair.event(0, LONG), Some(Event::Answered { dialog, .. }) if dialog == ours));
    assert_eq!(pair.said(1, "SIP/2.0 200", "Session-Expires").as_deref(), Some("600;refresher=uas"));
}

#[test]
fn rfc_4028_7_3_a_422_that_names_no_longer_interval_ends_the_attempt() {
    let mut pair = pair(HALF_HOUR, HALF_HOUR);
    let ours = pair.call();
    let transmit = pair.ends[0].poll_transmit().unwrap();
    let brief = String::from_utf8_lossy(&transmit.bytes).replace("Expires: 1800", "Expires: 1");
    let flow = pair.flow(1);
    pair.give(1, flow, brief.as_bytes());
    assert!(matches!(pair.event(0, LONG), Some(Event::Failed { dialog, status: 422, .. }) if dialog == ours));
}

#[test]
fn without_session_timers_none_is_asked_for_or_taken() {
    let mut pair = pair(HALF_HOUR, Duration::ZERO);
    pair.up();
    assert_eq!(pair.said(1, "SIP/2.0 200", "Session-Expires"), None);
    assert_eq!(pair.said(1, "SIP/2.0 200", "Supported").as_deref(), Some("100rel"));
    assert_eq!(pair.go_on(Duration::from_secs(7200)), 0);
    assert_eq!(pair.count(0, "UPDATE") + pair.count(1, "UPDATE"), 0);
}
