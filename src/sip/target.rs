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

/// Plans a request to `uri`. Without `;transport` it is UDP; `sips:` needs TLS and is not reachable yet.
pub fn plan(uri: &Uri) -> Result<Plan, Unreachable> {
    if uri.scheme != Scheme::Sip {
        return Err(Unreachable);
    }
    let transport = uri.transport().unwrap_or(Transport::Udp);
    if !matches!(transport, Transport::Udp | Transport::Tcp) {
        return Err(Unreachable);
    }
    let port = uri.port.unwrap_or(transport.default_port());
    match uri.host().ok_or(Unreachable)? {
        Host::Address(address) => {
            let peer = SocketAddr::new(*address, port);
            Ok(Plan::Known(Destination::Address { transport, peer }))
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
            ("sips:a@h", "-"),
            ("tel:106", "-"),
        ];
        for (uri, expected) in cases {
            assert_eq!(known(uri), expected, "{uri}");
        }
    }
}
