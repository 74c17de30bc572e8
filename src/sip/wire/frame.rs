//! Cuts a byte stream into messages (RFC 3261 18.3, 7.5) and keep-alives (RFC 5626 3.5.1).

use std::fmt;

use super::message::Headers;
use super::parse::{Fields, content_length, field_name, unfold};
use crate::base::quiet::quiet_debug;

/// One thing cut from the stream.
#[derive(PartialEq, Eq)]
pub enum Frame {
    /// A whole message, ready for `parse`.
    Message(Vec<u8>),
    /// A double CRLF: answer with a single CRLF.
    Ping,
    /// The stream can't be followed any more: close it.
    Broken,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(bytes) => write!(f, "Message({} bytes)", bytes.len()),
            Self::Ping => f.write_str("Ping"),
            Self::Broken => f.write_str("Broken"),
        }
    }
}

/// Collects bytes of one connection. Holds at most `limit` bytes of an unfinished message.
pub struct StreamFramer {
    buffer: Vec<u8>,
    limit: usize,
    /// How far the search for the end of the header has come.
    searched: usize,
    /// Length of the message whose header has been read, so that it is read once.
    total: Option<usize>,
    broken: bool,
    too_big: bool,
}

impl StreamFramer {
    /// `limit`: bytes of the largest message, header included.
    pub fn new(limit: usize) -> Self {
        Self { buffer: Vec::new(), limit, searched: 0, total: None, broken: false, too_big: false }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        if !self.broken {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next frame, if one is whole. After `Broken` nothing more comes.
    pub fn next(&mut self) -> Option<Frame> {
        if self.broken {
            return None;
        }
        if self.buffer.starts_with(b"\r\n\r\n") {
            self.drop_front(4);
            return Some(Frame::Ping);
        }
        // A single CRLF between messages is a pong or padding (7.5); one alone may become a ping.
        while self.buffer.starts_with(b"\r\n") && self.buffer.len() > 2 && !self.buffer.starts_with(b"\r\n\r")
        {
            self.drop_front(2);
        }
        if self.buffer.starts_with(b"\r") && self.buffer.len() <= 3 {
            return None;
        }
        let total = match self.total {
            Some(total) => total,
            None => match self.read_head()? {
                Ok(total) if total <= self.limit => total,
                Ok(_) => return self.fail(true),
                Err(()) => return self.fail(self.buffer.len() > self.limit),
            },
        };
        self.total = Some(total);
        let message = self.buffer.get(..total)?.to_vec();
        self.drop_front(total);
        Some(Frame::Message(message))
    }

    /// Whether an unfinished message waits; its first byte starts the slow-loris clock. A line end
    /// alone is no message: some phones keep a connection alive with one.
    pub fn is_waiting(&self) -> bool {
        !b"\r\n\r".starts_with(&self.buffer)
    }

    /// Whether the stream is broken because a message was longer than the limit.
    pub fn is_too_big(&self) -> bool {
        self.too_big
    }

    /// Length of the whole message. `None`: its header is not whole yet. `Some(Err)`: it can't be cut.
    fn read_head(&mut self) -> Option<Result<usize, ()>> {
        let from = self.searched.saturating_sub(3);
        let found = self.buffer.get(from..)?.windows(4).position(|w| w == b"\r\n\r\n");
        let Some(end) = found.map(|at| from + at + 4) else {
            self.searched = self.buffer.len();
            return if self.buffer.len() > self.limit { Some(Err(())) } else { None };
        };
        let body = declared_length(self.buffer.get(..end)?);
        Some(body.and_then(|body| end.checked_add(body)).ok_or(()))
    }

    fn drop_front(&mut self, count: usize) {
        let count = count.min(self.buffer.len());
        self.buffer.drain(..count);
        // Keys may have stood there.
        self.buffer.spare_capacity_mut().iter_mut().take(count).for_each(|octet| {
            octet.write(0);
        });
        self.searched = 0;
        self.total = None;
    }

    fn fail(&mut self, too_big: bool) -> Option<Frame> {
        self.broken = true;
        self.too_big = too_big;
        self.buffer = Vec::new();
        Some(Frame::Broken)
    }
}

/// Whether these bytes are one message and nothing after it: a WebSocket message holds no more (RFC 7118 5). Without
/// Content-Length, which is not needed there, all the rest is its body; what can't be read is the parser's matter.
pub fn is_alone(bytes: &[u8]) -> bool {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4);
    let Some((head, body)) = end.and_then(|end| bytes.split_at_checked(end)) else { return true };
    declared_length(head).is_none_or(|length| body.len() <= length)
}

/// Content-Length of a header block. On a stream it must be there (RFC 3261 20.14), once, and plain.
/// Fields are cut as the parser cuts them, so both see the same one.
fn declared_length(head: &[u8]) -> Option<usize> {
    let start = head.windows(2).position(|w| w == b"\r\n")?;
    let mut headers = Headers::new();
    let fields = Fields { rest: head.get(start + 2..)? };
    for (name, value) in fields.filter_map(field_name) {
        if name.eq_ignore_ascii_case("Content-Length") {
            headers.push("Content-Length", unfold(value)?);
        }
    }
    content_length(&headers).ok()?
}

quiet_debug!(StreamFramer => "StreamFramer");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_7118_5_a_websocket_message_is_one_sip_message() {
        let one = "A sip:x SIP/2.0\r\n";
        for (text, alone) in [
            (format!("{one}Content-Length: 2\r\n\r\nhi"), true),
            (format!("{one}l: 0\r\n\r\n{one}\r\n"), false),
            (format!("{one}Content-Length: 2\r\n\r\nhi!"), false),
            // What lacks something is refused by an answer.
            (format!("{one}Content-Length: 9\r\n\r\nhi"), true),
            (format!("{one}\r\nall of it"), true),
            (one.to_owned(), true),
        ] {
            assert_eq!(is_alone(text.as_bytes()), alone, "{text}");
        }
    }

    fn cut(stream: &[u8], sizes: impl Iterator<Item = usize>) -> Vec<Frame> {
        let mut framer = StreamFramer::new(1000);
        let mut frames = Vec::new();
        let mut rest = stream;
        for size in sizes {
            let (now, later) = rest.split_at(size.min(rest.len()));
            framer.push(now);
            rest = later;
            frames.extend(std::iter::from_fn(|| framer.next()));
            if rest.is_empty() {
                break;
            }
        }
        frames
    }

    #[test]
    fn the_same_bytes_in_any_cuts_give_the_same_messages() {
        let one = b"A x SIP/2.0\r\nl :\r\n 3\r\n\r\nabc".to_vec();
        let two = b"B y SIP/2.0\r\nContent-Length: 0\r\n\r\n".to_vec();
        let stream = [&one[..], b"\r\n\r\n", &two, b"\r\n\r\n", &one].concat();
        let expected =
            [Frame::Message(one.clone()), Frame::Ping, Frame::Message(two), Frame::Ping, Frame::Message(one)];
        for size in 1..stream.len() {
            assert_eq!(cut(&stream, std::iter::repeat(size)), expected, "pieces of {size}");
        }
    }

    #[test]
    fn a_stream_that_cannot_be_cut_is_broken() {
        for text in [
            "A x SIP/2.0\r\n\r\n",
            "A x SIP/2.0\r\nl: 3\r\nContent-Length: 4\r\n\r\nabcd",
            "A x SIP/2.0\r\nl: +3\r\n\r\nabc",
            "A x SIP/2.0\r\nl: 99999\r\n\r\nabc",
            // In a folded line it is no Content-Length, for the parser as for us.
            "A x SIP/2.0\r\nSubject: x\r\n l: 3\r\n\r\nabc",
            "A x SIP/2.0\r\nl: 5;x\r\n\r\nabcde",
        ] {
            assert_eq!(cut(text.as_bytes(), std::iter::repeat(7)), [Frame::Broken], "{text}");
        }
        assert_eq!(cut(&[b'x'; 2000], std::iter::repeat(100)), [Frame::Broken]);
    }

    #[test]
    fn a_line_end_is_no_message_begun_and_too_long_is_told_from_unreadable() {
        let pushed = |bytes: &[u8]| {
            let mut framer = StreamFramer::new(100);
            framer.push(bytes);
            let frame = framer.next();
            (frame, framer.is_waiting(), framer.is_too_big())
        };
        assert_eq!(pushed(b""), (None, false, false));
        assert_eq!(pushed(b"\r\n"), (None, false, false));
        assert_eq!(pushed(b"\r\nA"), (None, true, false));
        assert_eq!(pushed(b"A x SIP/2.0\r\nl: 100\r\n\r\n"), (Some(Frame::Broken), false, true));
        assert_eq!(pushed(b"A x SIP/2.0\r\n\r\n"), (Some(Frame::Broken), false, false));
        assert_eq!(pushed(&[b'x'; 101]), (Some(Frame::Broken), false, true));
    }
}
