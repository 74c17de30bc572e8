//! TLS 1.2 and 1.3: what we show and whom we trust, read from PEM files; and the rule by which the other end's
//! certificate is held against the name that was asked for (RFC 5922). A reload puts another [`Security`] in the
//! place of this one; connections that are open keep theirs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
};
use zeroize::Zeroizing;

use crate::base::fault;
use crate::base::id::DomainKey;

/// The largest PEM file that is read, in bytes: the authorities of a whole system are a quarter of it.
const MAX_FILE: u64 = 1 << 20;

/// All that is shown and trusted.
#[derive(Default, Clone)]
pub struct Security {
    /// One a listener, in their order.
    pub doors: Vec<Door>,
    /// For connections that we open; without it none is.
    pub client: Option<Arc<ClientConfig>>,
    /// The names that certificates of those whom we call must have.
    pub domains: BTreeMap<DomainKey, ServerName<'static>>,
}

/// What a listener asks of who comes.
#[derive(Default, Clone)]
pub struct Door {
    /// TLS, for `tls` and `wss`.
    pub tls: Option<Arc<ServerConfig>>,
    /// Web pages that may open a WebSocket, as browsers write them in `Origin`.
    pub origins: Vec<String>,
}

impl Security {
    /// Which of the configured names the certificate has that a client has shown. It was held against `client-ca`.
    pub(super) fn named_by(&self, certificate: &CertificateDer<'_>) -> Vec<DomainKey> {
        let fits = |name: &ServerName<'_>| SipDomain::names(certificate, name).is_ok();
        self.domains.iter().filter(|(_, name)| fits(name)).map(|(key, _)| *key).collect()
    }

    /// Whom the certificate must name; `None` for a name that nobody configured.
    pub(super) fn name(&self, peer: SocketAddr, domain: Option<DomainKey>) -> Option<ServerName<'static>> {
        match domain {
            Some(domain) => self.domains.get(&domain).cloned(),
            None => Some(ServerName::IpAddress(peer.ip().into())),
        }
    }
}

/// A host name as certificates have it.
pub fn domain(host: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(host.trim_end_matches('.').to_owned()).ok()
}

/// Which of the operator's files is wrong, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub file: Kind,
    pub why: Why,
}

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Certificate,
    Key,
    Authorities,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    #[error("it can't be read: {}", fault::words(*.0))]
    Unreadable(io::ErrorKind),
    #[error("it is longer than {MAX_FILE} bytes")]
    TooLong,
    #[error("it holds no {0}")]
    Lacks(&'static str),
    #[error("it is damaged")]
    Damaged,
    #[error("the key is not the certificate's")]
    OtherKey,
    #[error("it can't be used: {0}")]
    Unusable(String),
    #[error("the system has no authorities to trust")]
    NoAuthorities,
}

/// A certificate with its chain and its key, as they are shown.
pub fn certified(certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>, Fault> {
    let chain = certificates(certificate, Kind::Certificate)?;
    let fault = |why| Fault { file: Kind::Key, why };
    let text = read(key).map_err(fault)?;
    let secret = PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        fault(match error {
            rustls::pki_types::pem::Error::NoItemsFound => Why::Lacks("private key in PEM form"),
            _ => Why::Damaged,
        })
    })?;
    CertifiedKey::from_der(chain, secret, &provider()).map(Arc::new).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => fault(Why::OtherKey),
        rustls::Error::InvalidCertificate(_) => unusable(Kind::Certificate, error),
        other => unusable(Kind::Key, other),
    })
}

/// When a certificate or one of its chain runs out, in seconds since 1970. `None`: it can't be read, which is told
/// elsewhere.
pub fn runs_out(certificate: &Path) -> Option<u64> {
    let chain = certificates(certificate, Kind::Certificate).ok()?;
    super::expiry::of(&chain).map(|time| time.as_secs())
}

/// A server's side. It shows the first certificate that has the name which the client asks for (SNI), else the first
/// of all. With `client_ca`, clients are asked for one: none is fine, a wrong one is not.
pub fn server(shown: Vec<Arc<CertifiedKey>>, client_ca: Option<&Path>) -> Result<Arc<ServerConfig>, Fault> {
    let provider = provider();
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(Kind::Certificate, error))?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            trust(&mut roots, path)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|error| unusable(Kind::Authorities, error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    Ok(Arc::new(builder.with_cert_resolver(Arc::new(ByName(shown)))))
}

/// A client's side: trusts the system's authorities and those of `ca`, and shows a certificate if it has one.
pub fn client(ca: Option<&Path>, own: Option<Arc<CertifiedKey>>) -> Result<Arc<ClientConfig>, Fault> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca {
        trust(&mut roots, path)?;
    }
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(Fault { file: Kind::Authorities, why: Why::NoAuthorities });
    }
    let provider = provider();
    let verifier = SipDomain { roots, provider: provider.clone() };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(Kind::Authorities, error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    Ok(Arc::new(match own {
        None => builder.with_no_client_auth(),
        Some(own) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own))),
    }))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn trust(roots: &mut RootCertStore, path: &Path) -> Result<(), Fault> {
    for certificate in certificates(path, Kind::Authorities)? {
        roots.add(certificate).map_err(|error| unusable(Kind::Authorities, error))?;
    }
    Ok(())
}

fn certificates(path: &Path, file: Kind) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let fault = |why| Fault { file, why };
    let text = read(path).map_err(fault)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(fault(Why::Lacks("certificate in PEM form"))),
        Ok(found) => Ok(found),
        Err(_) => Err(fault(Why::Damaged)),
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Why> {
    let unreadable = |error: io::Error| Why::Unreadable(error.kind());
    let mut text = Zeroizing::new(Vec::new());
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_FILE { Err(Why::TooLong) } else { Ok(text) }
}

fn unusable(file: Kind, error: impl std::fmt::Display) -> Fault {
    Fault { file, why: Why::Unusable(error.to_string()) }
}

/// Certificates among which a client chooses by name (RFC 6066 3).
#[derive(Debug)]
struct ByName(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let has = |shown: &&Arc<CertifiedKey>| {
            let certificate = shown.cert.first().and_then(|c| webpki::EndEntityCert::try_from(c).ok());
            let (Some(certificate), Some(name)) = (certificate, &name) else { return false };
            certificate.verify_is_valid_for_subject_name(name).is_ok()
        };
        self.0.iter().find(has).or(self.0.first()).cloned()
    }
}

/// Whether a failed handshake failed by the other end's certificate.
pub(super) fn is_by_certificate(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented))
}

/// Holds a certificate against the domain that was asked for (RFC 5922 7): in whole and never by a wildcard, and
/// by its `sip:` URIs before its DNS names.
#[derive(Debug)]
pub(super) struct SipDomain {
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
}

impl SipDomain {
    pub(super) fn names(
        certificate: &CertificateDer<'_>,
        wanted: &ServerName<'_>,
    ) -> Result<(), rustls::Error> {
        let bad = |_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding);
        let certificate = webpki::EndEntityCert::try_from(certificate).map_err(bad)?;
        let fits = match wanted {
            ServerName::DnsName(domain) => {
                let domain = domain.as_ref();
                let mut uris = certificate.valid_uri_names().filter_map(identity).peekable();
                if uris.peek().is_some() {
                    uris.any(|host| host.eq_ignore_ascii_case(domain))
                } else {
                    // The library's own judgement, and no wildcard (7.2).
                    certificate.verify_is_valid_for_subject_name(wanted).is_ok()
                        && certificate.valid_dns_names().any(|name| name.eq_ignore_ascii_case(domain))
                }
            }
            other => certificate.verify_is_valid_for_subject_name(other).is_ok(),
        };
        if fits { Ok(()) } else { Err(rustls::Error::InvalidCertificate(CertificateError::NotValidForName)) }
    }
}

/// The domain that a URI of a certificate stands for: `sip:`, and no user (RFC 5922 7.1).
fn identity(uri: &str) -> Option<&str> {
    let (scheme, rest) = uri.split_once(':')?;
    let host = rest.split([';', '?', ':']).next()?;
    (scheme.eq_ignore_ascii_case("sip") && !rest.contains('@') && !host.is_empty()).then_some(host)
}

impl ServerCertVerifier for SipDomain {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let algorithms = self.provider.signature_verification_algorithms.all;
        let certificate = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, algorithms)?;
        Self::names(end_entity, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
