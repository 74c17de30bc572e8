//! A dialog (RFC 3261 12): its identity, route set, sequence numbers and remote target, and the requests
//! that it writes. What happens inside it (offers, BYE, REFER) are usages in files beside this one.

pub mod session_timer;

use super::header::{CSeq, NameAddr, split_list};
use super::uri::Uri;
use super::wire::message::{Headers, Method, Request, Response};

/// Routes that one dialog may have.
const MAX_ROUTES: usize = 16;

/// What names a dialog (12): Call-ID and both tags. No `Debug`: the parts are a peer's words.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct DialogId {
    pub call_id: String,
    pub local_tag: String,
    pub remote_tag: String,
}

impl DialogId {
    /// The dialog that a request from the peer belongs to: their tag is in From, ours in To.
    pub fn of_request(headers: &Headers) -> Option<Self> {
        let local_tag = tag_of(headers, "To")?;
        let remote_tag = tag_of(headers, "From").unwrap_or_default();
        Some(Self { call_id: headers.get("Call-ID")?.to_owned(), local_tag, remote_tag })
    }

    /// The dialog that a response to us belongs to: our tag is in From, theirs in To.
    pub fn of_response(headers: &Headers) -> Option<Self> {
        let (local_tag, remote_tag) = (tag_of(headers, "From")?, tag_of(headers, "To")?);
        Some(Self { call_id: headers.get("Call-ID")?.to_owned(), local_tag, remote_tag })
    }
}

/// Why no dialog came of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DialogError {
    #[error("a header that the dialog needs is missing or broken")]
    Header,
    #[error("too many routes")]
    Routes,
}

/// Whether the next request of the peer is in order (12.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Next,
    /// Lower than one seen: 500.
    Old,
}

/// A dialog's state.
#[derive(Clone)]
pub struct Dialog {
    pub id: DialogId,
    /// From or To as we write it, tag included.
    local: String,
    remote: String,
    /// Where requests go (12.2.1.1).
    target: Uri,
    routes: Vec<NameAddr>,
    local_cseq: u32,
    remote_cseq: Option<u32>,
}

impl Dialog {
    /// As UAS, from the INVITE that we are about to answer with `local_tag` (12.1.1).
    pub fn from_invite(invite: &Request, local_tag: &str, first_cseq: u32) -> Result<Self, DialogError> {
        let headers = &invite.headers;
        let remote = headers.get("From").ok_or(DialogError::Header)?;
        let to = headers.get("To").ok_or(DialogError::Header)?;
        let id = DialogId {
            call_id: headers.get("Call-ID").ok_or(DialogError::Header)?.to_owned(),
            local_tag: local_tag.to_owned(),
            remote_tag: tag_of(headers, "From").unwrap_or_default(),
        };
        let cseq = headers.get("CSeq").and_then(|v| CSeq::parse(v).ok()).ok_or(DialogError::Header)?;
        Ok(Self {
            id,
            local: format!("{to};tag={local_tag}"),
            remote: remote.to_owned(),
            target: contact(headers).ok_or(DialogError::Header)?,
            routes: record_routes(headers)?,
            local_cseq: first_cseq,
            remote_cseq: Some(cseq.number),
        })
    }

    /// As UAC, from our INVITE and a response with a To tag (12.1.2).
    pub fn from_response(invite: &Request, response: &Response) -> Result<Self, DialogError> {
        let headers = &response.headers;
        let id = DialogId::of_response(headers).ok_or(DialogError::Header)?;
        let cseq = invite.headers.get("CSeq").and_then(|v| CSeq::parse(v).ok()).ok_or(DialogError::Header)?;
        let mut routes = record_routes(headers)?;
        routes.reverse();
        // A provisional response may lack a Contact; requests then go where the INVITE went.
        let fallback = || Uri::parse(&invite.uri).ok();
        Ok(Self {
            id,
            local: invite.headers.get("From").ok_or(DialogError::Header)?.to_owned(),
            remote: headers.get("To").ok_or(DialogError::Header)?.to_owned(),
            target: contact(headers).or_else(fallback).ok_or(DialogError::Header)?,
            routes,
            local_cseq: cseq.number,
            remote_cseq: None,
        })
    }

    /// Judges the sequence number of a request from the peer. ACK and CANCEL bear the INVITE's number.
    pub fn on_request(&mut self, cseq: &CSeq) -> Order {
        if cseq.method == Method::ACK || cseq.method == Method::CANCEL {
            return Order::Next;
        }
        if self.remote_cseq.is_some_and(|seen| cseq.number <= seen) {
            return Order::Old;
        }
        self.remote_cseq = Some(cseq.number);
        Order::Next
    }

    /// Target refresh (12.2): re-INVITE, UPDATE and their 2xx bring a new Contact.
    pub fn refresh_target(&mut self, headers: &Headers) {
        if let Some(target) = contact(headers) {
            self.target = target;
        }
    }

    /// The final route set and remote target of a 2xx (13.2.2.4): a provisional one may have said otherwise.
    pub fn confirm(&mut self, response: &Response) -> Result<(), DialogError> {
        let mut routes = record_routes(&response.headers)?;
        routes.reverse();
        self.routes = routes;
        self.refresh_target(&response.headers);
        Ok(())
    }

    /// A new request within the dialog (12.2.1.1) with the next sequence number, lacking Via, Contact and body.
    pub fn request(&mut self, method: Method) -> Request {
        let number = self.next_cseq();
        self.write(method, number)
    }

    /// Takes the next sequence number of our side.
    pub fn next_cseq(&mut self) -> u32 {
        self.local_cseq = self.local_cseq.wrapping_add(1) & 0x7fff_ffff;
        self.local_cseq
    }

    /// The ACK for a 2xx: the INVITE's number (13.2.2.4).
    pub fn ack(&self, invite_cseq: u32) -> Request {
        self.write(Method::ACK, invite_cseq)
    }

    /// The first hop: the topmost route, else the target; what `sip::target` resolves.
    pub fn next_hop(&self) -> &Uri {
        self.routes.first().map_or(&self.target, |route| &route.uri)
    }

    pub fn local_cseq(&self) -> u32 {
        self.local_cseq
    }

    fn write(&self, method: Method, number: u32) -> Request {
        let mut headers = Headers::new();
        headers.push("Max-Forwards", "70");
        let strict = self.routes.first().filter(|first| !first.uri.is_loose_route());
        let uri = match strict {
            None => {
                for route in &self.routes {
                    headers.push("Route", route.to_string());
                }
                self.target.to_string()
            }
            // A strict router stands in the Request-URI and the target goes last (12.2.1.1).
            Some(first) => {
                for route in self.routes.iter().skip(1) {
                    headers.push("Route", route.to_string());
                }
                headers.push("Route", format!("<{}>", self.target));
                let mut uri = first.uri.clone();
                uri.params.remove("method");
                uri.headers.clear();
                uri.to_string()
            }
        };
        headers.push("From", self.local.as_str());
        headers.push("To", self.remote.as_str());
        headers.push("Call-ID", self.id.call_id.as_str());
        headers.push("CSeq", format!("{number} {}", method.as_str()));
        Request { method, uri, headers, body: Vec::new() }
    }
}

fn tag_of(headers: &Headers, name: &str) -> Option<String> {
    super::header::tag(headers.get(name)?)
}

fn contact(headers: &Headers) -> Option<Uri> {
    let value = headers.get("Contact").and_then(|v| split_list(v).next())?;
    NameAddr::parse(value).ok().map(|c| c.uri)
}

fn record_routes(headers: &Headers) -> Result<Vec<NameAddr>, DialogError> {
    let values = headers.all("Record-Route").flat_map(split_list);
    let routes: Vec<NameAddr> = values
        .take(MAX_ROUTES + 1)
        .map(NameAddr::parse)
        .collect::<Result<_, _>>()
        .map_err(|_| DialogError::Header)?;
    if routes.len() > MAX_ROUTES { Err(DialogError::Routes) } else { Ok(routes) }
}

#[cfg(test)]
mod tests {
    use super::super::wire::message::Message;
    use super::super::wire::parse::{Parsed, parse};
    use super::*;

    const INVITE: &str = "INVITE sip:1712@switch SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n\
        From: <sip:a@h>;tag=theirs\r\nTo: <sip:1712@switch>\r\nCall-ID: c\r\nCSeq: 7 INVITE\r\n\
        Contact: <sip:a@192.0.2.7:5066>\r\nRecord-Route: <sip:p2;lr>, <sip:p1;lr>\r\n\r\n";

    fn request(text: &str) -> Request {
        match parse(text.as_bytes()) {
            Parsed::Ok(Message::Request(request)) => request,
            _ => panic!("{text}"),
        }
    }

    fn ok(record_route: &str) -> Response {
        let text = format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=theirs\r\n\
             To: <sip:1712@switch>;tag=far\r\nCall-ID: c\r\nCSeq: 7 INVITE\r\nContact: <sip:b@far>\r\n{record_route}\r\n"
        );
        match parse(text.as_bytes()) {
            Parsed::Ok(Message::Response(response)) => response,
            _ => panic!("{text}"),
        }
    }

    fn routes(request: &Request) -> Vec<&str> {
        request.headers.all("Route").collect()
    }

    #[test]
    fn rfc3261_12_1_1_a_uas_dialog_keeps_the_route_order() {
        let Ok(mut dialog) = Dialog::from_invite(&request(INVITE), "ours", 100) else { panic!() };
        let bye = dialog.request(Method::BYE);
        assert_eq!(bye.uri, "sip:a@192.0.2.7:5066");
        assert_eq!(routes(&bye), ["<sip:p2;lr>", "<sip:p1;lr>"]);
        assert_eq!(bye.headers.get("From"), Some("<sip:1712@switch>;tag=ours"));
        assert_eq!(bye.headers.get("To"), Some("<sip:a@h>;tag=theirs"));
        assert_eq!(bye.headers.get("CSeq"), Some("101 BYE"));
        assert_eq!(dialog.next_hop().to_string(), "sip:p2;lr");
    }

    #[test]
    fn rfc3261_12_1_2_a_uac_dialog_reverses_the_routes() {
        let response = ok("Record-Route: <sip:p2;lr>, <sip:p1;lr>\r\n");
        let Ok(mut dialog) = Dialog::from_response(&request(INVITE), &response) else { panic!() };
        assert_eq!(routes(&dialog.ack(7)), ["<sip:p1;lr>", "<sip:p2;lr>"]);
        assert_eq!(dialog.ack(7).headers.get("CSeq"), Some("7 ACK"));
        assert_eq!(dialog.request(Method::BYE).headers.get("CSeq"), Some("8 BYE"));
        assert!(dialog.id == DialogId::of_response(&response.headers).unwrap_or_else(|| panic!()));
    }

    #[test]
    fn rfc3261_12_2_1_1_a_strict_router_stands_in_the_request_uri() {
        let response = ok("Record-Route: <sip:p2;lr>, <sip:p1>\r\n");
        let Ok(mut dialog) = Dialog::from_response(&request(INVITE), &response) else { panic!() };
        let bye = dialog.request(Method::BYE);
        assert_eq!(bye.uri, "sip:p1");
        assert_eq!(routes(&bye), ["<sip:p2;lr>", "<sip:b@far>"]);
    }

    #[test]
    fn rfc3261_12_2_2_sequence_numbers_only_rise() {
        let Ok(mut dialog) = Dialog::from_invite(&request(INVITE), "ours", 1) else { panic!() };
        let cseq = |number, method| CSeq { number, method };
        assert_eq!(dialog.on_request(&cseq(7, Method::ACK)), Order::Next);
        assert_eq!(dialog.on_request(&cseq(9, Method::INFO)), Order::Next);
        assert_eq!(dialog.on_request(&cseq(9, Method::INFO)), Order::Old);
        assert_eq!(dialog.on_request(&cseq(8, Method::BYE)), Order::Old);
        assert_eq!(dialog.on_request(&cseq(10, Method::BYE)), Order::Next);
    }

    #[test]
    fn a_re_invite_moves_the_target() {
        let Ok(mut dialog) = Dialog::from_invite(&request(INVITE), "ours", 1) else { panic!() };
        dialog.refresh_target(&ok("").headers);
        assert_eq!(dialog.request(Method::BYE).uri, "sip:b@far");
    }

    #[test]
    fn an_invite_without_contact_or_with_endless_routes_makes_no_dialog() {
        let bare = INVITE.replace("Contact: <sip:a@192.0.2.7:5066>\r\n", "");
        assert!(Dialog::from_invite(&request(&bare), "ours", 1).err() == Some(DialogError::Header));
        let many = INVITE.replace("<sip:p1;lr>", &["<sip:p;lr>"; 20].join(","));
        assert!(Dialog::from_invite(&request(&many), "ours", 1).err() == Some(DialogError::Routes));
    }
}
