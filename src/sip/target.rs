//! From a URI to where a request goes (RFC 3263, without NAPTR and SRV as yet): an address at once, or a
//! host name to ask for.

use std::net::SocketAddr;

use super::flow::{Destination, Transport};
use super::uri::{Host, Scheme, Uri};

/// Where a URI leads.
#[derive(Clone, PartialEq, Eq)]
pub enum Plan {
    Known(Destination),
    /// Ask for A and AAAA of the host.
    Ask {
        host: String,
        port: u16,
        transport: Transport,
    },
}

/// A URI that no request can be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a sip: URI with a host, or a transport that is not spoken")]
pub struct Unreachable;

/// Plans a request to `uri`. Without `;transport` it is UDP; `sips:` is TLS, and never less (RFC 3263 4.1).
pub fn plan(uri: &Uri) -> Result<Plan, Unreachable> {
    let transport = match (&uri.scheme, uri.transport()) {
        (Scheme::Sip, None | Some(Transport::Udp)) => Transport::Udp,
        (Scheme::Sip, Some(Transport::Tcp)) => Transport::Tcp,
        (Scheme::Sip, Some(Transport::Tls)) => Transport::Tls,
        (Scheme::Sips, None | Some(Transport::Tcp | Transport::Tls)) => Transport::Tls,
        _ => return Err(Unreachable),
    };
    let port = uri.port.unwrap_or(transport.default_port());
    match uri.host().ok_or(Unreachable)? {
        Host::Address(address) => {
            let peer = SocketAddr::new(*address, port);
            Ok(Plan::Known(Destination::address(transport, peer)))
        }
        Host::Name(host) => Ok(Plan::Ask { host: host.clone(), port, transport }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3263_4_addresses_are_known_and_names_are_asked_for() {
        let known = |text: &str| match plan(&Uri::parse(text).unwrap()) {
            Ok(Plan::Known(d)) => format!("{} {}", d.transport().as_str(), d.peer()),
            Ok(Plan::Ask { host, port, transport }) => format!("? {} {host} {port}", transport.as_str()),
            Err(Unreachable) => "-".to_owned(),
        };
        let cases = [
            ("sip:a@127.0.0.3:5070", "UDP 127.0.0.3:5070"),
            ("sip:a@127.0.0.3;transport=tcp", "TCP 127.0.0.3:5060"),
            ("sip:[::1]", "UDP [::1]:5060"),
            ("sip:a@carrier.example", "? UDP carrier.example 5060"),
            ("sip:a@h;transport=ws", "-"),
            ("sip:a@h;transport=wss", "-"),
            ("sip:a@127.0.0.3;transport=tls", "TLS 127.0.0.3:5061"),
            ("sips:a@127.0.0.3;transport=tcp", "TLS 127.0.0.3:5061"),
            ("sips:a@h", "? TLS h 5061"),
            ("sips:a@h;transport=udp", "-"),
            ("tel:106", "-"),
        ];
        for (uri, expected) in cases {
            assert_eq!(known(uri), expected, "{uri}");
        }
    }
}
