//! A network, as the operator writes it and as sockets and the core ask about it.

use std::net::IpAddr;

/// An address with a prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    pub address: IpAddr,
    pub prefix: u8,
}

impl Network {
    /// Whether an address lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (own, other) = match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                (u128::from(u32::from(a)) << 96, u128::from(u32::from(b)) << 96)
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => (u128::from(a), u128::from(b)),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
        };
        let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
        own & mask == other & mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        let network = |text: &str, prefix| Network { address: text.parse().unwrap(), prefix };
        let cases = [
            ("10.1.0.0", 16, "10.1.255.1", true),
            ("10.1.0.0", 16, "10.2.0.1", false),
            ("127.0.0.1", 32, "127.0.0.1", true),
            ("127.0.0.1", 32, "127.0.0.2", false),
            ("0.0.0.0", 0, "8.8.8.8", true),
            ("0.0.0.0", 0, "::1", false),
            ("2001:db8::", 32, "2001:db8:1::1", true),
            ("::1", 128, "::2", false),
        ];
        for (net, prefix, address, inside) in cases {
            assert_eq!(
                network(net, prefix).contains(address.parse().unwrap()),
                inside,
                "{net}/{prefix} {address}"
            );
        }
    }
}
