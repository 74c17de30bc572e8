//! A message to bytes. Refuses values that would break the frame; writes Content-Length itself.

use super::message::{Headers, Message, Request, Response};

/// A value holds CR or LF, or a name is no token. Holds nothing of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a header or start line holds a character that would break the message")]
pub struct PrintError;

pub fn print(message: &Message) -> Result<Vec<u8>, PrintError> {
    match message {
        Message::Request(request) => print_request(request),
        Message::Response(response) => print_response(response),
    }
}

pub fn print_request(request: &Request) -> Result<Vec<u8>, PrintError> {
    let mut out = Vec::with_capacity(512 + request.body.len());
    for word in [request.method.as_str(), " ", &request.uri, " SIP/2.0"] {
        put(&mut out, word)?;
    }
    finish(out, &request.headers, &request.body)
}

pub fn print_response(response: &Response) -> Result<Vec<u8>, PrintError> {
    let mut out = Vec::with_capacity(512 + response.body.len());
    out.extend_from_slice(format!("SIP/2.0 {} {}", response.status, reason(response.status)).as_bytes());
    finish(out, &response.headers, &response.body)
}

/// A response in as few octets as can be: compact names, no phrase, and no Content-Length, which a datagram without a
/// body can do without (RFC 3261 18.3, 20.14).
pub fn print_brief(response: &Response) -> Result<Vec<u8>, PrintError> {
    let mut out = format!("SIP/2.0 {} \r\n", response.status).into_bytes();
    for (name, value) in response.headers.iter() {
        put(&mut out, compact_name(name))?;
        out.extend_from_slice(b":");
        put(&mut out, value)?;
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Ok(out)
}

/// Of the fields of a refusal (7.3.3).
fn compact_name(name: &str) -> &str {
    match name {
        "Via" => "v",
        "From" => "f",
        "To" => "t",
        "Call-ID" => "i",
        "Contact" => "m",
        "Supported" => "k",
        name => name,
    }
}

fn finish(mut out: Vec<u8>, headers: &Headers, body: &[u8]) -> Result<Vec<u8>, PrintError> {
    out.extend_from_slice(b"\r\n");
    for (name, value) in headers.iter() {
        if name.eq_ignore_ascii_case("Content-Length") {
            continue;
        }
        put(&mut out, name)?;
        out.extend_from_slice(b": ");
        put(&mut out, value)?;
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    out.extend_from_slice(body);
    Ok(out)
}

fn put(out: &mut Vec<u8>, text: &str) -> Result<(), PrintError> {
    if text.bytes().any(|b| matches!(b, b'\r' | b'\n')) {
        return Err(PrintError);
    }
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// Reason phrases (RFC 3261 21 and the registry).
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        200 => "OK",
        202 => "Accepted",
        302 => "Moved Temporarily",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        413 => "Request Entity Too Large",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        493 => "Undecipherable",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        _ => match status / 100 {
            1 => "Progress",
            2 => "OK",
            3 => "Redirection",
            4 => "Request Failure",
            5 => "Server Failure",
            _ => "Global Failure",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::Method;
    use super::super::parse::{Parsed, parse};
    use super::*;

    #[test]
    fn a_line_break_in_a_value_is_refused() {
        let mut headers = Headers::new();
        headers.push("Subject", "x\r\nContact: <sip:evil@e>");
        let request = Request { method: Method::OPTIONS, uri: "sip:a@h".into(), headers, body: Vec::new() };
        assert_eq!(print_request(&request), Err(PrintError));
    }

    #[test]
    fn what_is_printed_is_read_back_and_the_phrase_is_spaced() {
        let mut headers = Headers::new();
        for (name, value) in [
            ("Via", "SIP/2.0/UDP h;branch=z9hG4bK1"),
            ("From", "<sip:a@h>;tag=1"),
            ("To", "<sip:b@h>;tag=2"),
            ("Call-ID", "c"),
            ("CSeq", "1 INVITE"),
        ] {
            headers.push(name, value);
        }
        let response = Message::Response(Response { status: 486, headers, body: b"\x00\xffbinary".to_vec() });
        let bytes = print(&response).unwrap_or_default();
        assert!(bytes.starts_with(b"SIP/2.0 486 Busy Here\r\n"));
        match parse(&bytes) {
            Parsed::Ok(Message::Response(read)) => {
                assert_eq!((read.status, read.body), (486, b"\x00\xffbinary".to_vec()));
                assert_eq!(read.headers.get("Content-Length"), Some("8"));
            }
            _ => panic!("not read back"),
        }
    }
}
