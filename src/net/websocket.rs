//! SIP over WebSocket (RFC 7118): the HTTP request that asks for it, and the messages in its frames. Bytes in,
//! bytes out; the connection is the same as any other's.

use std::io::{self, Read, Write};

use tungstenite::error::{Error, ProtocolError};
use tungstenite::handshake::machine::TryParse as _;
use tungstenite::handshake::server::{Request, create_response, write_response};
use tungstenite::http::{HeaderMap, HeaderValue};
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{CloseFrame, Frame};
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Message, Utf8Bytes};

use super::link::End;
use crate::base::quiet::quiet_debug;
use crate::sip::wire::frame::is_alone;

/// Bytes of the HTTP request that asks for a WebSocket. Past it the connection is closed.
const REQUEST: usize = 8 * 1024;
/// The library's own buffer a connection.
const BUFFER: usize = 4 * 1024;

/// One thing cut from a connection.
pub(super) enum Cut {
    Message(Vec<u8>),
    /// To be sent back: the answer to a keep-alive.
    Answer(Vec<u8>),
    End(End),
}

// --- the request ------------------------------------------------------------------------------------------

/// What comes of the bytes that a client sent first.
pub(super) enum Upgrade {
    /// The request is not whole yet.
    Wait,
    /// The answer, and the bytes that came after the request.
    Accept {
        answer: Vec<u8>,
        rest: Vec<u8>,
    },
    Refuse {
        answer: Vec<u8>,
    },
}

/// Judges the request for a WebSocket (RFC 6455 4.2, RFC 7118 4).
pub(super) fn upgrade(bytes: &[u8], origins: &[String]) -> Upgrade {
    let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4) else {
        return if bytes.len() > REQUEST { refuse(431, "the request is too long") } else { Upgrade::Wait };
    };
    let (head, rest) = bytes.split_at(end);
    let Ok(Some((_, request))) = Request::try_parse(head) else { return refuse(400, "no HTTP request") };
    let mut response = match create_response(&request) {
        Ok(response) => response,
        Err(Error::Protocol(ProtocolError::MissingSecWebSocketVersionHeader)) => {
            return refuse(426, "WebSocket version 13 is spoken here");
        }
        Err(_) => return refuse(400, "SIP over WebSocket is spoken here (RFC 7118)"),
    };
    let headers = request.headers();
    if !may_come(headers, origins) {
        return refuse(403, "this page may not: its origin is not among the `origins` of the listener");
    }
    if !asks_for_sip(headers) {
        return refuse(400, "ask for the sub-protocol `sip` (RFC 7118)");
    }
    response.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("sip"));
    let mut answer = Vec::new();
    match write_response(&mut answer, &response) {
        Ok(()) => Upgrade::Accept { answer, rest: rest.to_vec() },
        Err(_) => refuse(400, "SIP over WebSocket is spoken here (RFC 7118)"),
    }
}

/// A browser names the page that asks; a page of strangers must not speak with a counsellor's network behind her
/// back (RFC 6455 10.2). What is no browser names none.
fn may_come(headers: &HeaderMap, origins: &[String]) -> bool {
    let listed = |origin: &HeaderValue| {
        origins.iter().any(|known| origin.to_str().is_ok_and(|origin| origin.eq_ignore_ascii_case(known)))
    };
    headers.get_all("Origin").iter().all(listed)
}

fn asks_for_sip(headers: &HeaderMap) -> bool {
    let names = |value: &HeaderValue| {
        value.to_str().is_ok_and(|list| list.split(',').any(|name| name.trim() == "sip"))
    };
    headers.get_all("Sec-WebSocket-Protocol").iter().any(names)
}

fn refuse(status: u16, why: &str) -> Upgrade {
    let (reason, more) = match status {
        403 => ("Forbidden", ""),
        426 => ("Upgrade Required", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"),
        431 => ("Request Header Fields Too Large", ""),
        _ => ("Bad Request", ""),
    };
    let answer = format!(
        "HTTP/1.1 {status} {reason}\r\n{more}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{why}\n",
        why.len() + 1
    );
    Upgrade::Refuse { answer: answer.into_bytes() }
}

// --- frames -----------------------------------------------------------------------------------------------

/// A SIP message as one WebSocket message: text where it can be, since browsers like that best (RFC 7118 5).
pub(super) fn framed(bytes: Vec<u8>) -> Vec<u8> {
    let kind = if std::str::from_utf8(&bytes).is_ok() { Data::Text } else { Data::Binary };
    written(Frame::message(bytes, OpCode::Data(kind), true))
}

pub(super) fn ping() -> Vec<u8> {
    written(Frame::ping(Vec::new()))
}

/// The last frame, which says why (RFC 6455 7.4).
pub(super) fn farewell(end: End) -> Vec<u8> {
    let code = match end {
        End::TooBig => CloseCode::Size,
        End::Unreadable => CloseCode::Protocol,
        End::ShutDown => CloseCode::Away,
        End::Evicted => CloseCode::Again,
        _ => CloseCode::Normal,
    };
    written(Frame::close(Some(CloseFrame { code, reason: Utf8Bytes::from_static("") })))
}

fn written(frame: Frame) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(frame.len());
    // Into memory it is always written.
    let _ = frame.format(&mut bytes);
    bytes
}

/// Cuts the bytes of a client into messages.
pub(super) struct WebSocket {
    pipe: Pipe,
    library: WebSocketContext,
    waiting: bool,
}

impl WebSocket {
    /// `limit`: bytes of the largest message.
    pub(super) fn new(limit: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(limit))
            .max_frame_size(Some(limit));
        let library = WebSocketContext::new(Role::Server, Some(config));
        Self { pipe: Pipe { input: Vec::new(), output: Vec::new() }, library, waiting: false }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.pipe.input.extend_from_slice(bytes);
        self.waiting |= !bytes.is_empty();
    }

    /// Whether what came last was not the end of a message or keep-alive.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// The next thing, if one is whole. After an end nothing more comes.
    pub(super) fn next(&mut self) -> Option<Cut> {
        loop {
            let read = self.library.read(&mut self.pipe);
            self.waiting &= read.is_err();
            let cut = match read {
                Ok(Message::Text(text)) => message(text.as_bytes()),
                Ok(Message::Binary(bytes)) => message(&bytes),
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => None,
                Ok(Message::Close(_)) => Some(Cut::End(End::Peer)),
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    let answer = std::mem::take(&mut self.pipe.output);
                    return (!answer.is_empty()).then_some(Cut::Answer(answer));
                }
                Err(Error::Capacity(_)) => Some(Cut::End(End::TooBig)),
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => Some(Cut::End(End::Peer)),
                Err(_) => Some(Cut::End(End::Unreadable)),
            };
            if cut.is_some() {
                return cut;
            }
        }
    }
}

/// RFC 7118 5: one SIP message in each, and no more. RFC 5626 3.5.1 in frames: a double CRLF gets a single one.
fn message(bytes: &[u8]) -> Option<Cut> {
    match bytes {
        b"\r\n\r\n" => Some(Cut::Answer(framed(b"\r\n".to_vec()))),
        b"\r\n" | b"" => None,
        bytes if is_alone(bytes) => Some(Cut::Message(bytes.to_vec())),
        _ => Some(Cut::End(End::Unreadable)),
    }
}

/// What the library takes for a connection: the bytes that came, and those that are to go.
struct Pipe {
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let length = self.input.as_slice().read(buffer)?;
        self.input.drain(..length);
        Ok(length)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

quiet_debug!(WebSocket => "WebSocket");
