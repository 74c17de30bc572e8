//! The session description in a message: alone, or one part of `multipart/*` (RFC 5621).

use crate::sip::header::Params;
use crate::sip::wire::message::{Headers, Request};

/// Parts of one body that are looked at.
const MAX_PARTS: usize = 16;

/// A body that cannot be taken: 415.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unsupported;

/// The SDP of a request, `None` without a body.
pub(super) fn session_of(request: &Request) -> Result<Option<Vec<u8>>, Unsupported> {
    session_in(&request.headers, &request.body)
}

/// The SDP among these headers and body.
pub(super) fn session_in(headers: &Headers, body: &[u8]) -> Result<Option<Vec<u8>>, Unsupported> {
    if body.is_empty() {
        return Ok(None);
    }
    let encoding = headers.get("Content-Encoding").map(str::trim);
    if encoding.is_some_and(|e| !e.is_empty() && !e.eq_ignore_ascii_case("identity")) {
        return Err(Unsupported);
    }
    let content_type = headers.get("Content-Type").ok_or(Unsupported)?;
    let (kind, params) = content_type.split_once(';').unwrap_or((content_type, ""));
    let kind = kind.trim().to_ascii_lowercase();
    if kind == "application/sdp" {
        return Ok(Some(body.to_vec()));
    }
    if !kind.starts_with("multipart/") {
        // A body that may be ignored says so (RFC 3261 20.11).
        let optional = headers
            .get("Content-Disposition")
            .is_some_and(|v| v.to_ascii_lowercase().contains("handling=optional"));
        return if optional { Ok(None) } else { Err(Unsupported) };
    }
    let params = Params::parse(params);
    let boundary =
        params.get("boundary").map(|b| b.trim_matches('"')).filter(|b| !b.is_empty() && b.len() <= 70);
    let part = session_part(body, boundary.ok_or(Unsupported)?);
    part.map(Some).ok_or(Unsupported)
}

/// The first `application/sdp` part between the boundary lines (RFC 2046 5.1.1).
fn session_part(body: &[u8], boundary: &str) -> Option<Vec<u8>> {
    let mark = format!("--{boundary}");
    let mut starts: Vec<usize> = Vec::new();
    let mut at = 0;
    while let Some(found) = find(body.get(at..)?, mark.as_bytes()) {
        starts.push(at + found);
        at += found + mark.len();
        if starts.len() > MAX_PARTS {
            return None;
        }
    }
    starts.windows(2).find_map(|pair| {
        let part = body.get(pair[0] + mark.len()..pair[1])?;
        let part = part.strip_prefix(b"\r\n")?;
        let split = find(part, b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(part.get(..split)?).to_ascii_lowercase();
        let is_sdp = head.lines().any(|line| {
            line.split_once(':').is_some_and(|(name, value)| {
                matches!(name.trim(), "content-type" | "c") && value.trim().starts_with("application/sdp")
            })
        });
        let content = part.get(split + 4..)?;
        is_sdp.then(|| content.strip_suffix(b"\r\n").unwrap_or(content).to_vec())
    })
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content_type: &str, body: &str) -> Result<Option<Vec<u8>>, Unsupported> {
        let mut headers = Headers::new();
        headers.push("Content-Type", content_type);
        session_in(&headers, body.as_bytes())
    }

    #[test]
    fn rfc_5621_the_session_is_found_among_parts_and_nothing_else_is_taken() {
        let sdp = Ok(Some(b"v=0\r\n".to_vec()));
        assert_eq!(read("application/sdp", "v=0\r\n"), sdp);
        assert_eq!(read("Application/SDP;charset=utf-8", "v=0\r\n"), sdp);
        let parts = "--b\r\nContent-Type: application/isup\r\n\r\nx\r\n--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n\r\n--b--\r\n";
        assert_eq!(read("multipart/mixed;boundary=b", parts), sdp);
        assert_eq!(read("multipart/mixed;boundary=\"b\"", parts), sdp);
        assert_eq!(read("multipart/mixed", parts), Err(Unsupported));
        assert_eq!(read("multipart/mixed;boundary=c", parts), Err(Unsupported));
        assert_eq!(read("text/plain", "hello"), Err(Unsupported));
        assert_eq!(read("application/sdp", ""), Ok(None));
    }
}
