//! What a stranger may send where SIP over WebSocket is spoken: the fuzz target `websocket`.

use super::link::End;
use super::websocket::{Cut, Upgrade, WebSocket, upgrade};
use crate::sip::wire::frame::is_alone;

/// Bytes of the largest message, as a configuration may have it.
const MESSAGE: usize = 4096;

/// The bytes as a request for a WebSocket, with what follows it, and as the frames of one that is open: however they are
/// cut, the same messages and the same end come of them. The first two bytes say where they are cut.
pub fn websocket(bytes: &[u8]) {
    let [first, second, rest @ ..] = bytes else { return };
    match upgrade(rest, &["https://phone.example".to_owned()]) {
        Upgrade::Wait => assert!(!rest.windows(4).any(|w| w == b"\r\n\r\n"), "a whole request is judged"),
        Upgrade::Accept { answer, rest: left } => {
            assert!(answer.starts_with(b"HTTP/1.1 101 "), "a request is taken with another answer");
            assert!(rest.ends_with(&left), "what follows the request is what came");
            frames(&left, &[]);
        }
        Upgrade::Refuse { answer } => assert!(answer.starts_with(b"HTTP/1.1 4"), "a refusal of another kind"),
    }
    let whole = frames(rest, &[]);
    let at = (usize::from(*first) << 8 | usize::from(*second)) % (rest.len() + 1);
    assert!(frames(rest, &[at]) == whole, "cut at {at}");
    let every: Vec<usize> = (1..rest.len()).collect();
    assert!(frames(rest, &every) == whole, "byte by byte");
}

/// The messages, and the end if there is one. Answers to keep-alives are gathered, so they depend on the cuts.
fn frames(bytes: &[u8], cuts: &[usize]) -> (Vec<Vec<u8>>, Option<End>) {
    let mut socket = WebSocket::new(MESSAGE);
    let mut messages = Vec::new();
    let mut from = 0;
    for to in cuts.iter().copied().chain([bytes.len()]) {
        socket.push(bytes.get(from..to).unwrap_or_default());
        from = to;
        while let Some(cut) = socket.next() {
            match cut {
                Cut::Message(message) => {
                    assert!(message.len() <= MESSAGE && is_alone(&message), "a message that is not one");
                    messages.push(message);
                }
                Cut::Answer(answer) => assert!(!answer.is_empty() && answer.len() <= 2 * bytes.len() + 16),
                Cut::End(end) => return (messages, Some(end)),
            }
        }
    }
    (messages, None)
}
