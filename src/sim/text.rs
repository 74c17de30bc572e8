//! Just enough SIP as text for simulated phones: independent of `sip/wire` on purpose.

/// A message as a phone reads it.
#[derive(Clone)]
pub struct Text {
    pub start: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Text {
    /// Reads a well-formed message as the switch writes it; `None` for anything else.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let all = std::str::from_utf8(bytes).ok()?;
        let (head, body) = all.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let start = lines.next()?.to_owned();
        let headers = lines
            .map(|line| line.split_once(':').map(|(n, v)| (long(n.trim()).to_owned(), v.trim().to_owned())))
            .collect::<Option<Vec<_>>>()?;
        Some(Self { start, headers, body: body.to_owned() })
    }

    pub fn get(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or("", |(_, v)| v)
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| &**v).collect()
    }

    /// `Some(status)` for a response.
    pub fn status(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.split(' ').next()?.parse().ok()
    }

    /// The method of a request, or the one in CSeq of a response.
    pub fn method(&self) -> &str {
        if self.status().is_some() {
            self.get("CSeq").split_whitespace().nth(1).unwrap_or("")
        } else {
            self.start.split(' ').next().unwrap_or("")
        }
    }

    pub fn cseq(&self) -> u32 {
        self.get("CSeq").split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
    }

    pub fn branch(&self) -> &str {
        parameter(self.get("Via"), "branch").unwrap_or("")
    }

    /// The user part of the Request-URI.
    pub fn user(&self) -> &str {
        let uri = self.start.split(' ').nth(1).unwrap_or("");
        uri.trim_start_matches("sip:").split(['@', ';']).next().unwrap_or("")
    }

    /// The status in a `message/sipfrag` body.
    pub fn fragment_status(body: &str) -> Option<u16> {
        body.strip_prefix("SIP/2.0 ")?.split(' ').next()?.parse().ok()
    }

    /// The URI in Contact.
    pub fn contact(&self) -> &str {
        uri_of(self.get("Contact"))
    }

    /// Address and port of the audio in the body, written `host:port`.
    pub fn audio(&self) -> Option<std::net::SocketAddr> {
        let host =
            self.body.lines().find_map(|l| l.strip_prefix("c=IN IP4 ").or(l.strip_prefix("c=IN IP6 ")))?;
        let port = self.body.lines().find_map(|l| l.strip_prefix("m=audio "))?.split(' ').next()?;
        Some(std::net::SocketAddr::new(host.trim().parse().ok()?, port.parse().ok()?))
    }
}

/// A header parameter's value.
pub fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    value.split(';').skip(1).find_map(|p| {
        let (n, v) = p.split_once('=')?;
        n.trim().eq_ignore_ascii_case(name).then(|| v.trim())
    })
}

/// What stands between angle brackets, else the whole up to a parameter.
pub fn uri_of(value: &str) -> &str {
    match value.split_once('<') {
        Some((_, rest)) => rest.split('>').next().unwrap_or(""),
        None => value.split(';').next().unwrap_or(""),
    }
}

/// The name of a field that an answer to a stranger writes in short (RFC 3261 7.3.3).
fn long(name: &str) -> &str {
    match name {
        "v" => "Via",
        "f" => "From",
        "t" => "To",
        "i" => "Call-ID",
        "m" => "Contact",
        "k" => "Supported",
        name => name,
    }
}
