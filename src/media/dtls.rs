//! DTLS-SRTP keying (RFC 5763, 5764) behind one small type: datagrams and the clock go in, datagrams and the keys
//! for SRTP come out. The handshake itself is `dimpl`'s; who the peer must be, how long it may take and what the
//! keys are for is said here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::{Config, DtlsCertificate, Output, ProtocolVersion, SrtpProfile};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq as _;

use super::command::{Fingerprint, Hash};
use super::keying::{DtlsRole, Keying, Suite};
use crate::base::quiet::quiet_debug;

/// What one datagram of ours may have, so that it is nowhere cut into pieces.
const MTU: usize = 1200;
/// A flight is repeated after so long, then after twice that. Voice waits for it.
const FLIGHT: Duration = Duration::from_millis(400);
const FLIGHTS: usize = 5;
/// The whole handshake, from the first that came or went.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Records of handshakes that wait for the ones before them.
const MOST_WAITING: usize = 16;

/// Our certificate: one for as long as the process lives, signed by itself, with nothing in it that says who we are
/// (RFC 5763 says that its hash in the SDP is what counts).
pub struct Identity {
    config: Arc<Config>,
    certificate: DtlsCertificate,
    fingerprint: [u8; 32],
}

/// A certificate could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no certificate could be made for DTLS")]
pub struct NoIdentity;

impl Identity {
    /// ECDSA over P-256, which every browser knows. The key is drawn from the operating system's generator, as is
    /// all that the handshakes draw: neither library takes another for keys.
    pub fn generate() -> Result<Self, NoIdentity> {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(|_| NoIdentity)?;
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let signed = params.self_signed(&key).map_err(|_| NoIdentity)?;
        let certificate =
            DtlsCertificate { certificate: signed.der().to_vec(), private_key: key.serialize_der() };
        let fingerprint = Sha256::digest(&certificate.certificate).into();
        // The peer's address is proven by ICE before a record of it is looked at: no cookie is needed.
        let config = Config::builder()
            .mtu(MTU)
            .max_queue_rx(MOST_WAITING)
            .use_server_cookie(false)
            .flight_start_rto(FLIGHT)
            .flight_retries(FLIGHTS)
            .handshake_timeout(HANDSHAKE)
            .build()
            .map_err(|_| NoIdentity)?;
        Ok(Self { config: Arc::new(config), certificate, fingerprint })
    }

    /// SHA-256 of it, for `a=fingerprint`.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }
}

/// Why there will be no keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DtlsFault {
    /// The certificate is not the one that the SDP named.
    Fingerprint,
    /// The handshake failed, or took too long.
    Handshake,
}

/// What is to be done; ask until `Wait`.
pub enum Step<'a> {
    /// To the peer.
    Send(&'a [u8]),
    Keys(Keying),
    Failed(DtlsFault),
    Wait,
}

/// One association.
pub struct Dtls {
    /// Gone after a fault: nothing more is said or heard.
    engine: Option<Box<dimpl::Dtls>>,
    role: DtlsRole,
    peer: Fingerprint,
    /// The peer has shown the certificate that it must have.
    proven: bool,
    /// The keys were given out.
    keyed: bool,
    fault: Option<DtlsFault>,
    due: Option<Instant>,
}

impl Dtls {
    /// `peer`: what the SDP says of its certificate.
    pub fn new(now: Instant, identity: &Identity, role: DtlsRole, peer: Fingerprint) -> Self {
        let (config, certificate) = (Arc::clone(&identity.config), identity.certificate.clone());
        let mut engine = Box::new(dimpl::Dtls::new_auto(config, certificate, now));
        engine.set_active(role == DtlsRole::Client);
        let due = (role == DtlsRole::Client).then_some(now);
        Self { engine: Some(engine), role, peer, proven: false, keyed: false, fault: None, due }
    }

    /// Takes a datagram of the peer's. The engine gives up over some records that cannot be of a handshake, and over
    /// an alert that nothing authenticates; anybody can send such under the peer's address, so they don't come that
    /// far. A browser that gives up in truth is given up in time.
    pub fn handle(&mut self, now: Instant, datagram: &[u8]) {
        let version = self.engine.as_ref().and_then(|engine| engine.protocol_version());
        if !is_plausible(datagram, version == Some(ProtocolVersion::DTLS1_3)) {
            return;
        }
        self.with_engine(|engine| engine.handle_timeout(now).and_then(|()| engine.handle_packet(datagram)));
    }

    /// The clock: repeats what was lost, and gives up in the end.
    pub fn on_time(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            self.with_engine(|engine| engine.handle_timeout(now));
        }
    }

    /// What is to be done now. `out` is [`ROOM`] long.
    pub fn poll<'a>(&mut self, out: &'a mut [u8; ROOM]) -> Step<'a> {
        if let Some(fault) = self.fault.take() {
            self.engine = None;
            return Step::Failed(fault);
        }
        // A step that says nothing is followed by the next; each is polled once, so this ends.
        for _ in 0..MOST_STEPS {
            match self.step(out) {
                Polled::Sent(length) => return Step::Send(out.get(..length).unwrap_or_default()),
                Polled::Keys(keying) => {
                    self.keyed = true;
                    return Step::Keys(keying);
                }
                Polled::Failed(fault) => {
                    self.engine = None;
                    return Step::Failed(fault);
                }
                Polled::Nothing => {}
                Polled::Idle => return Step::Wait,
            }
        }
        Step::Wait
    }

    fn step(&mut self, out: &mut [u8; ROOM]) -> Polled {
        let Some(engine) = &mut self.engine else { return Polled::Idle };
        match engine.poll_output(out) {
            Output::Packet(packet) => Polled::Sent(packet.len()),
            Output::PeerCert(der) if self.peer.matches(der) => {
                self.proven = true;
                Polled::Nothing
            }
            Output::PeerCert(_) => Polled::Failed(DtlsFault::Fingerprint),
            Output::KeyingMaterial(material, profile) if self.proven => {
                let keying = suite(profile).and_then(|s| Keying::from_exporter(s, &material, self.role));
                keying.map_or(Polled::Failed(DtlsFault::Handshake), Polled::Keys)
            }
            // Nobody is let in who has shown no certificate; and what does not fit `ROOM` was not made by us.
            Output::KeyingMaterial(..) | Output::BufferTooSmall { .. } => {
                Polled::Failed(DtlsFault::Handshake)
            }
            Output::Timeout(at) => {
                self.due = Some(at);
                Polled::Idle
            }
            _ => Polled::Nothing,
        }
    }

    fn with_engine(&mut self, work: impl FnOnce(&mut dimpl::Dtls) -> Result<(), dimpl::Error>) {
        if let Some(engine) = &mut self.engine
            && work(engine).is_err()
        {
            // Once there are keys the call no longer needs it.
            self.fault = (!self.keyed).then_some(DtlsFault::Handshake);
            self.engine = None;
        }
    }
}

/// Whether a datagram is made of records that a peer of today may send: of RFC 6347 4.1 in the first or second
/// epoch, or of RFC 9147 4.
fn is_plausible(mut datagram: &[u8], is_1_3: bool) -> bool {
    let mut may_be_short = is_1_3;
    // Each turn takes at least a header away.
    while let Some(rest) = after_record(datagram, may_be_short) {
        if rest.is_empty() {
            return true;
        }
        // After a record in the clear that decides for DTLS 1.3 the next are sealed.
        (datagram, may_be_short) = (rest, true);
    }
    false
}

/// What follows the first record, unless that can't be of a handshake.
fn after_record(datagram: &[u8], is_1_3: bool) -> Option<&[u8]> {
    match *datagram {
        // In the clear anybody can write an alert (RFC 6347 4.1.2.7 lets us discard it) or an acknowledgement, which is
        // for want of one only said again (RFC 9147 7).
        [21 | 26, _, _, 0, 0, ..] => None,
        // Handshake, alert, change of ciphers, data, acknowledgement; versions 1.0 and 1.2 are written backwards.
        [20..=23 | 26, 254, 253 | 255, 0, 0 | 1, _, _, _, _, _, _, high, low, ref rest @ ..] => {
            let length = usize::from(u16::from_be_bytes([high, low]));
            rest.split_at_checked(length).filter(|_| length > 0).map(|(_, next)| next)
        }
        // The short header, whose epoch is a part of its first octet, after which are a number of one or two octets and,
        // as a third bit says, a length; without it the record is the last (RFC 9147 4). No connection id was agreed on.
        [first @ 32..=47, ref rest @ ..] if is_1_3 => {
            let rest = rest.get(if first & 8 == 0 { 1 } else { 2 }..)?;
            if first & 4 == 0 {
                return Some(&[]);
            }
            let (length, rest) = rest.split_first_chunk()?;
            Some(rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?.1)
        }
        _ => None,
    }
}

/// Room for what [`Dtls::poll`] gives, a certificate of the peer's among it.
pub const ROOM: usize = 4096;
const MOST_STEPS: usize = 64;

enum Polled {
    Sent(usize),
    Keys(Keying),
    Failed(DtlsFault),
    Nothing,
    Idle,
}

/// The names of RFC 5764 4.1.2 and RFC 7714 14.2.
fn suite(profile: SrtpProfile) -> Option<Suite> {
    match profile {
        SrtpProfile::AES128_CM_SHA1_80 => Some(Suite::AesCm128Sha1_80),
        SrtpProfile::AEAD_AES_128_GCM => Some(Suite::AeadAes128Gcm),
        SrtpProfile::AEAD_AES_256_GCM => Some(Suite::AeadAes256Gcm),
        _ => None,
    }
}

impl Fingerprint {
    /// Whether this is the certificate (RFC 8122 5), in constant time.
    pub fn matches(&self, certificate: &[u8]) -> bool {
        let same = |digest: &[u8]| bool::from(self.value().ct_eq(digest));
        match self.hash {
            Hash::Sha256 => same(&Sha256::digest(certificate)),
            Hash::Sha384 => same(&Sha384::digest(certificate)),
            Hash::Sha512 => same(&Sha512::digest(certificate)),
        }
    }
}

quiet_debug!(Identity => "Identity", Dtls => "Dtls");

#[cfg(test)]
#[path = "dtls_tests.rs"]
mod tests;
