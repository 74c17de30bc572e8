//! A loopback network of its own (127.x.y.0/24) for each switch under test, so that tests run side by side.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

/// Held as long as the place is; whoever else wants it finds the port taken.
const LEASE: u16 = 65_111;

/// `127.x.y.*`. By custom .1 is the switch, .2 the carrier, .3 and up are phones; .200 and up are strangers.
#[derive(Debug)]
pub struct Place {
    net: [u8; 3],
    _lease: UdpSocket,
}

impl Place {
    /// Finds a network that no other test has.
    pub fn take() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let start = std::process::id().wrapping_mul(131);
        for _ in 0..60_000 {
            let n = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % (200 * 250);
            // 127.0.0.* is everybody's.
            let net = [127, 20 + (n / 250) as u8, 1 + (n % 250) as u8];
            let lease = (Ipv4Addr::new(net[0], net[1], net[2], 254), LEASE);
            if let Ok(lease) = UdpSocket::bind(lease) {
                return Self { net, _lease: lease };
            }
        }
        panic!("no loopback network is free");
    }

    /// The host with this last number.
    pub fn host(&self, last: u8) -> IpAddr {
        let [a, b, c] = self.net;
        Ipv4Addr::new(a, b, c, last).into()
    }

    /// Where SIP is listened to, on any of the hosts.
    pub fn sip(&self, last: u8) -> SocketAddr {
        (self.host(last), 5060).into()
    }

    /// Puts this network's numbers in place of `NET` in a text.
    pub fn fill(&self, text: &str) -> String {
        let [a, b, c] = self.net;
        text.replace("NET", &format!("{a}.{b}.{c}"))
    }
}

/// A port of `::1` that is free now; there is only one such address.
pub fn free_port(ip: IpAddr) -> u16 {
    let taken = UdpSocket::bind((ip, 0)).expect("a free port");
    taken.local_addr().expect("bound").port()
}
