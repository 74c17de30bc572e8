//! A SIP message as text, read just far enough for a test to look at it.

/// What came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub text: String,
}

impl Message {
    pub fn new(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        Self { text: if text.starts_with("SIP/2.0 ") { at_length(&text) } else { text } }
    }

    pub fn start_line(&self) -> &str {
        self.text.lines().next().unwrap_or("")
    }

    /// The status of a response.
    pub fn status(&self) -> Option<u16> {
        self.start_line().strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// The method of a request.
    pub fn method(&self) -> Option<&str> {
        if self.status().is_some() { None } else { self.start_line().split(' ').next() }
    }

    pub fn is(&self, method: &str) -> bool {
        self.method() == Some(method)
    }

    /// A response with this status to a request of this method.
    pub fn answers(&self, method: &str, status: u16) -> bool {
        self.status() == Some(status) && self.cseq_method() == method
    }

    /// A final response to a request of this method.
    pub fn is_final(&self, method: &str) -> bool {
        self.status().is_some_and(|s| s >= 200) && self.cseq_method() == method
    }

    pub fn request_uri(&self) -> &str {
        self.start_line().split(' ').nth(1).unwrap_or("")
    }

    pub fn head(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or(self.text.as_str(), |(head, _)| head)
    }

    pub fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    /// All values of a header, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let lines = self.head().lines().skip(1).filter_map(|line| line.split_once(':'));
        lines
            .filter(|(n, _)| long(n.trim()).eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }

    /// The first value of a header; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.all(name).first().copied().unwrap_or("")
    }

    pub fn cseq_method(&self) -> &str {
        self.header("CSeq").split(' ').nth(1).unwrap_or("")
    }

    pub fn call_id(&self) -> &str {
        self.header("Call-ID")
    }

    /// The tag of a From or To.
    pub fn tag(&self, name: &str) -> Option<&str> {
        self.header(name).split(";tag=").nth(1).and_then(|rest| rest.split(';').next())
    }

    /// The URI of the Contact.
    pub fn contact(&self) -> &str {
        let contact = self.header("Contact");
        contact.split_once('<').and_then(|(_, rest)| rest.split('>').next()).unwrap_or(contact)
    }
}

/// A response whose fields are written in short, as an answer to a stranger may be, with their usual names.
fn at_length(text: &str) -> String {
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return text.to_owned() };
    let mut lines = head.split("\r\n");
    let mut all = lines.next().unwrap_or("").to_owned();
    for line in lines {
        all += "\r\n";
        match line.split_once(':') {
            Some((name, value)) if !value.starts_with(' ') => all += &format!("{}: {value}", long(name)),
            Some(_) | None => all += line,
        }
    }
    all + "\r\n\r\n" + body
}

/// The name of a field that may be written in short (RFC 3261 7.3.3).
fn long(name: &str) -> &str {
    match name {
        "v" => "Via",
        "f" => "From",
        "t" => "To",
        "i" => "Call-ID",
        "m" => "Contact",
        "k" => "Supported",
        "l" => "Content-Length",
        name => name,
    }
}
