//! Our responses: what they say of their request, with a transaction and without.

use sha2::{Digest as _, Sha256};

use super::call::answer_hop;
use super::small::fitted;
use super::{
    Arrival, Bytes, Endpoint, Event, Flow, Headers, Host, Machine, Method, Now, Request, Response, Transmit,
    TxId, Via, print_response,
};
use crate::sip::header;
use crate::sip::transaction::top_via;

impl Endpoint {
    /// Answers once and keeps nothing: no 100, no repetitions. The request repeated is an arrival again; the ACK
    /// to a refused INVITE is known by its tag (8.2.7, 26.3.2.4).
    pub fn reply(&mut self, arrival: &Arrival, status: u16, headers: &[(&str, String)]) {
        self.asked = arrival.size;
        self.refuse_stateless(arrival.flow, &arrival.request, status.clamp(200, 699), headers);
    }

    /// Answers a server transaction.
    pub(super) fn answer(
        &mut self,
        now: Now,
        id: TxId,
        status: u16,
        headers: &[(&str, String)],
        body: Option<Vec<u8>>,
    ) -> Option<Bytes> {
        let slot = self.slots.get_mut(&id)?;
        let request = slot.request.as_ref()?;
        let mut response = response_to(request, status, Some(&slot.our_tag));
        fill(&mut response, self.config.agent, headers, body);
        let bytes: Bytes = print_response(&response).ok()?.into();
        let actions = match &mut slot.machine {
            Machine::InviteServer(m) => m.respond(status, bytes.clone()),
            Machine::Server(m) => m.respond(status, bytes.clone()),
            Machine::InviteClient(_) | Machine::Client(_) => return None,
        };
        self.perform(now, id, actions, None);
        Some(bytes)
    }

    /// Answers without keeping anything: the same request gets the same answer again (8.2.7). Its top Via must
    /// say whence it came.
    pub(super) fn refuse_stateless(
        &mut self,
        flow: Flow,
        request: &Request,
        status: u16,
        headers: &[(&str, String)],
    ) {
        let mut response = response_to(request, status, Some(&self.stateless_tag(&request.headers)));
        fill(&mut response, self.config.agent, headers, None);
        let to = answer_hop(&response.headers, flow);
        let printed = if flow.transport.is_reliable() {
            print_response(&response)
        } else {
            fitted(response, self.asked)
        };
        if let Ok(bytes) = printed {
            self.transmits.push_back(Transmit { to, bytes: bytes.into() });
        }
        if status >= 300 {
            self.events.push_back(Event::Refused { status });
        }
    }

    /// Our tag in an answer that nothing is kept of: the same for a request, its repetitions and its ACK.
    pub(super) fn stateless_tag(&self, headers: &Headers) -> String {
        let via = top_via(headers);
        let branch = via.as_ref().and_then(Via::branch).unwrap_or("");
        let from = headers.get("From").and_then(header::tag).unwrap_or_default();
        let number = headers.get("CSeq").and_then(|v| v.split_whitespace().next()).unwrap_or("");
        let mut hash = Sha256::new().chain_update(self.tag_key);
        for word in [branch, &from, headers.get("Call-ID").unwrap_or(""), number] {
            hash = hash.chain_update(word).chain_update([0]);
        }
        // 32 bits, as RFC 3261 19.3 wants them.
        hash.finalize().iter().take(4).fold(String::with_capacity(8), |tag, byte| format!("{tag}{byte:02x}"))
    }
}

/// The response's own fields (8.2.6): Via, From, To (with our tag), Call-ID, CSeq, Record-Route where a
/// dialog may come of it.
pub(super) fn response_to(request: &Request, status: u16, tag: Option<&str>) -> Response {
    let mut headers = Headers::new();
    for via in request.headers.all("Via") {
        headers.push("Via", via);
    }
    if matches!(request.method, Method::INVITE | Method::SUBSCRIBE) && (101..300).contains(&status) {
        for route in request.headers.all("Record-Route") {
            headers.push("Record-Route", route);
        }
    }
    headers.push("From", request.headers.get("From").unwrap_or(""));
    let to = request.headers.get("To").unwrap_or("");
    match tag {
        Some(tag) if status > 100 && header::tag(to).is_none() => {
            headers.push("To", format!("{to};tag={tag}"));
        }
        _ => headers.push("To", to),
    }
    headers.push("Call-ID", request.headers.get("Call-ID").unwrap_or(""));
    headers.push("CSeq", request.headers.get("CSeq").unwrap_or(""));
    Response { status, headers, body: Vec::new() }
}

pub(super) fn fill(response: &mut Response, agent: &str, headers: &[(&str, String)], body: Option<Vec<u8>>) {
    response.headers.push("Server", agent);
    for (name, value) in headers {
        response.headers.push(name, value.as_str());
    }
    if let Some(body) = body {
        response.headers.push("Content-Type", "application/sdp");
        response.body = body;
    }
}

/// The top Via with `received` and `rport` as RFC 3261 18.2.1 and RFC 3581 4 want it.
fn received_via(value: &str, flow: Flow) -> Option<Via> {
    let top = header::split_list(value).next()?;
    let mut via = Via::parse(top).ok()?;
    let wants_port = via.params.has("rport");
    let same = via.host == Host::Address(flow.peer.ip());
    if wants_port {
        via.params.set("rport", Some(&flow.peer.port().to_string()));
    }
    if wants_port || !same {
        via.params.set("received", Some(&flow.peer.ip().to_string()));
    }
    Some(via)
}

/// Writes into the top Via whence the request came.
pub(super) fn note_source(headers: &mut Headers, flow: Flow) {
    if let Some(via) = headers.get("Via").and_then(|v| received_via(v, flow)) {
        replace_top_via(headers, &via);
    }
}

/// What is kept of a request as long as its transaction lives, or waits for a late answer (8.2.6, 12.1.1). Who
/// the network says is calling, and all that it says besides, goes with the message.
pub(super) const ANSWERED: [&str; 7] = ["Via", "From", "To", "Call-ID", "CSeq", "Record-Route", "Contact"];

pub(super) fn essence(request: &Request) -> Request {
    let mut headers = Headers::with_capacity(ANSWERED.len());
    for (name, value) in
        request.headers.iter().filter(|(n, _)| ANSWERED.iter().any(|a| n.eq_ignore_ascii_case(a)))
    {
        headers.push(name, value);
    }
    Request { method: request.method.clone(), uri: request.uri.clone(), headers, body: Vec::new() }
}

/// Writes the changed Via in the place of the topmost; the others stay as they came, so that an answer is
/// not larger than its request.
fn replace_top_via(headers: &mut Headers, via: &Via) {
    let Some(line) = headers.get("Via") else { return };
    let others: String = header::split_list(line).skip(1).flat_map(|other| [", ", other]).collect();
    headers.set_first("Via", format!("{via}{others}"));
}
