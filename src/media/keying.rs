//! What two peers agreed to encrypt a leg with: the crypto suite, and a master key with its salt for each
//! direction, from SDES (RFC 4568) or from a DTLS handshake (RFC 5764).

use crate::base::quiet::quiet_debug;
use crate::base::secret::Secret;

/// The ways of encrypting that we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suite {
    /// `AES_CM_128_HMAC_SHA1_80` (RFC 4568 6.2.1), which every phone with SRTP has.
    AesCm128Sha1_80,
    /// The same with a tag of 32 bits on RTP; RTCP keeps 80 (RFC 4568 6.2.2, RFC 5764 4.1.2).
    AesCm128Sha1_32,
    /// RFC 7714.
    AeadAes128Gcm,
    AeadAes256Gcm,
}

impl Suite {
    pub const ALL: [Self; 4] =
        [Self::AeadAes256Gcm, Self::AeadAes128Gcm, Self::AesCm128Sha1_80, Self::AesCm128Sha1_32];

    /// Bytes of a master key.
    pub fn key_length(self) -> usize {
        match self {
            Self::AesCm128Sha1_80 | Self::AesCm128Sha1_32 | Self::AeadAes128Gcm => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    /// Bytes of a master salt: 112 bits (RFC 3711 8.2), 96 bits (RFC 7714 12).
    pub fn salt_length(self) -> usize {
        match self {
            Self::AesCm128Sha1_80 | Self::AesCm128Sha1_32 => 14,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
        }
    }

    /// Bytes of a master key with its salt.
    pub fn master_length(self) -> usize {
        self.key_length() + self.salt_length()
    }
}

/// Which end of a DTLS handshake we are (RFC 5764 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DtlsRole {
    Client,
    Server,
}

/// What one leg is encrypted with. Both secrets are a master key followed by its salt.
#[derive(Clone, PartialEq, Eq)]
pub struct Keying {
    suite: Suite,
    ours: Secret,
    theirs: Secret,
}

impl Keying {
    /// `ours` is for what we send, `theirs` for what we receive. `None`: a secret has not the suite's length.
    pub fn new(suite: Suite, ours: Secret, theirs: Secret) -> Option<Self> {
        let fits = |secret: &Secret| secret.expose().len() == suite.master_length();
        (fits(&ours) && fits(&theirs)).then_some(Self { suite, ours, theirs })
    }

    /// From what a DTLS handshake exports under `EXTRACTOR-dtls_srtp`: the client's key, the server's key, the
    /// client's salt, the server's salt (RFC 5764 4.2). Of longer material the beginning is taken.
    pub fn from_exporter(suite: Suite, material: &[u8], we_are: DtlsRole) -> Option<Self> {
        let (client_key, rest) = material.split_at_checked(suite.key_length())?;
        let (server_key, rest) = rest.split_at_checked(suite.key_length())?;
        let (client_salt, rest) = rest.split_at_checked(suite.salt_length())?;
        let server_salt = rest.get(..suite.salt_length())?;
        let client = Secret::of([client_key, client_salt].concat());
        let server = Secret::of([server_key, server_salt].concat());
        match we_are {
            DtlsRole::Client => Self::new(suite, client, server),
            DtlsRole::Server => Self::new(suite, server, client),
        }
    }

    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// For what we send.
    pub fn ours(&self) -> &Secret {
        &self.ours
    }

    /// For what we receive.
    pub fn theirs(&self) -> &Secret {
        &self.theirs
    }
}

quiet_debug!(Keying => "Keying");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc5764_4_2_key_material_is_cut_in_the_order_of_the_exporter() {
        for suite in Suite::ALL {
            let (key, salt) = (suite.key_length(), suite.salt_length());
            let material: Vec<u8> =
                [vec![1; key], vec![2; key], vec![3; salt], vec![4; salt], vec![9; 5]].concat();
            let client = Keying::from_exporter(suite, &material, DtlsRole::Client).expect("long enough");
            let server = Keying::from_exporter(suite, &material, DtlsRole::Server).expect("long enough");
            assert_eq!(client.ours().expose(), [vec![1; key], vec![3; salt]].concat());
            assert_eq!(client.theirs().expose(), [vec![2; key], vec![4; salt]].concat());
            assert!(client.ours() == server.theirs() && client.theirs() == server.ours());
            assert!(
                Keying::from_exporter(suite, &material[..2 * (key + salt) - 1], DtlsRole::Client).is_none()
            );
            let (short, whole) = (Secret::of(vec![0; key]), Secret::of(vec![0; key + salt]));
            assert!(Keying::new(suite, whole.clone(), short.clone()).is_none());
            assert!(Keying::new(suite, short, whole).is_none());
        }
    }
}
