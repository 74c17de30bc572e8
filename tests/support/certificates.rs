//! Certificates made for one test, and TLS by them: an authority, a switch's or carrier's certificate, and both
//! sides of a handshake.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SanType};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion,
};

/// Something that carries bytes both ways.
pub trait Wire: Read + Write + Send {}

impl<T: Read + Write + Send> Wire for T {}

/// Who signs.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    pem: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let root = params.self_signed(&key).expect("a certificate");
        Self { pem: root.pem(), root: root.der().clone(), issuer: Issuer::new(params, key) }
    }

    /// Writes its own certificate.
    pub fn write(&self, dir: &Path, file: &str) {
        fs::write(dir.join(file), &self.pem).expect("written");
    }

    /// Writes `FILE.pem` and `FILE.key` for these DNS names and addresses.
    pub fn sign(&self, dir: &Path, file: &str, names: &[&str]) {
        self.sign_until(dir, file, names, None);
    }

    /// The same, good until the beginning of this day.
    pub fn sign_until(&self, dir: &Path, file: &str, names: &[&str], day: Option<(i32, u8, u8)>) {
        let mut params = CertificateParams::new(Vec::new()).expect("names");
        let name = |name: &&str| match name.parse() {
            Ok(ip) => SanType::IpAddress(ip),
            Err(_) => SanType::DnsName((*name).try_into().expect("a name")),
        };
        if let Some((year, month, day)) = day {
            params.not_after = rcgen::date_time_ymd(year, month, day);
        }
        params.subject_alt_names = names.iter().map(name).collect();
        // Not the authority's: some programs take a certificate whose two names are one for one that signed itself.
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, names[0]);
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &self.issuer).expect("a certificate");
        fs::write(dir.join(format!("{file}.pem")), signed.pem()).expect("written");
        fs::write(dir.join(format!("{file}.key")), key.serialize_pem()).expect("written");
    }

    /// Connects as a phone that trusts this authority and wants `switch.example`; also the certificate that was shown.
    pub fn connect(
        &self,
        local: IpAddr,
        server: SocketAddr,
        version: &'static SupportedProtocolVersion,
    ) -> (Box<dyn Wire>, TcpStream, CertificateDer<'static>) {
        self.connect_as(local, server, version, None)
    }

    /// The same, showing the certificate of this folder and file.
    pub fn connect_as(
        &self,
        local: IpAddr,
        server: SocketAddr,
        version: &'static SupportedProtocolVersion,
        own: Option<(&Path, &str)>,
    ) -> (Box<dyn Wire>, TcpStream, CertificateDer<'static>) {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).expect("a root");
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_root_certificates(roots);
        let config = match own {
            None => config.with_no_client_auth(),
            Some((dir, file)) => {
                let key = PrivateKeyDer::from_pem_file(dir.join(format!("{file}.key"))).expect("a key");
                config.with_client_auth_cert(vec![certificate(dir, file)], key).expect("a certificate")
            }
        };
        let name = ServerName::try_from("switch.example").expect("a name");
        let mut tls = ClientConnection::new(Arc::new(config), name).expect("a client");
        let mut socket = super::peer::connect(local, server);
        while tls.is_handshaking() {
            tls.complete_io(&mut socket).expect("a handshake");
        }
        let shown = tls.peer_certificates().expect("shown")[0].clone();
        let clone = socket.try_clone().expect("a socket");
        (Box::new(StreamOwned::new(tls, socket)), clone, shown)
    }
}

/// The certificate of a file.
pub fn certificate(dir: &Path, file: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(dir.join(format!("{file}.pem"))).expect("a certificate")
}

/// The other side of the handshake that the switch begins; `None` when it thinks better of it.
pub fn answer(mut socket: TcpStream, dir: &Path, file: &str) -> Option<(Box<dyn Wire>, TcpStream)> {
    let key = PrivateKeyDer::from_pem_file(dir.join(format!("{file}.key"))).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate(dir, file)], key)
        .expect("a certificate");
    let mut tls = ServerConnection::new(Arc::new(config)).expect("a server");
    socket.set_read_timeout(Some(super::PATIENCE)).expect("a socket");
    while tls.is_handshaking() {
        tls.complete_io(&mut socket).ok()?;
    }
    let clone = socket.try_clone().expect("a socket");
    Some((Box::new(StreamOwned::new(tls, socket)), clone))
}
