//! TLS over loopback, with authorities and certificates made here.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ProtocolVersion, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::tests::{V4, bound, config, dropped, failed, message, sip, soon};
use super::tls::{Door, Fault, Kind, SipDomain, Why};
use super::*;
use crate::base::id::DomainKey;

/// Who signs certificates, and the folder in which all of a test's files are.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    folder: tempfile::TempDir,
    pub(super) ca: PathBuf,
}

/// A certificate and its key, in files.
pub(super) struct Shown {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let root = params.self_signed(&key).expect("a certificate");
        let folder = tempfile::tempdir().expect("a folder");
        let ca = folder.path().join("ca.pem");
        fs::write(&ca, root.pem()).expect("written");
        Self { issuer: Issuer::new(params, key), root: root.der().clone(), folder, ca }
    }

    pub(super) fn signs(&self, file: &str, names: Vec<SanType>) -> Shown {
        let mut params = CertificateParams::new(Vec::new()).expect("names");
        params.subject_alt_names = names;
        let key = KeyPair::generate().expect("a key");
        let signed = params.signed_by(&key, &self.issuer).expect("a certificate");
        let path = |ending: &str| self.folder.path().join(format!("{file}.{ending}"));
        let shown = Shown { certificate: path("pem"), key: path("key") };
        fs::write(&shown.certificate, signed.pem()).expect("written");
        fs::write(&shown.key, key.serialize_pem()).expect("written");
        shown
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).expect("a root");
        roots
    }

    /// Connects as a phone does, by the name `switch.example`.
    pub(super) async fn connect(
        &self,
        to: SocketAddr,
        version: &'static rustls::SupportedProtocolVersion,
        own: Option<&Shown>,
    ) -> io::Result<client::TlsStream<TcpStream>> {
        self.connect_to("switch.example", to, version, own).await
    }

    async fn connect_to(
        &self,
        name: &'static str,
        to: SocketAddr,
        version: &'static rustls::SupportedProtocolVersion,
        own: Option<&Shown>,
    ) -> io::Result<client::TlsStream<TcpStream>> {
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_root_certificates(self.roots());
        let config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => builder.with_client_auth_cert(chain(own), secret(own)).expect("a certificate"),
        };
        let stream = soon(TcpStream::connect(to)).await.expect("connect");
        let name = ServerName::try_from(name).expect("a name");
        soon(TlsConnector::from(Arc::new(config)).connect(name, stream)).await
    }
}

pub(super) fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().expect("a name"))
}

fn uri(uri: &str) -> SanType {
    SanType::URI(uri.try_into().expect("a URI"))
}

fn chain(shown: &Shown) -> Vec<CertificateDer<'static>> {
    vec![CertificateDer::from_pem_file(&shown.certificate).expect("a certificate")]
}

fn secret(shown: &Shown) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_file(&shown.key).expect("a key")
}

fn certified(shown: &Shown) -> Arc<rustls::sign::CertifiedKey> {
    tls::certified(&shown.certificate, &shown.key).expect("a certificate and its key")
}

/// One listener that shows this.
pub(super) fn door(shown: &Shown, client_ca: Option<&Path>) -> Door {
    let tls = tls::server(vec![certified(shown)], client_ca).expect("a server");
    Door { tls: Some(tls), origins: Vec::new() }
}

fn listening(shown: &Shown, client_ca: Option<&Path>) -> NetConfig {
    let mut config = config(&[(Transport::Tls, V4)]);
    config.security.doors = vec![door(shown, client_ca)];
    config
}

const DOMAIN: DomainKey = DomainKey(1);

/// A switch that calls `domain` over TLS, trusting `authority`.
fn calling(authority: &Authority, domain: &str, own: Option<&Shown>) -> NetConfig {
    let mut config = config(&[(Transport::Tls, V4)]);
    config.security.client = Some(tls::client(Some(&authority.ca), own.map(certified)).expect("a client"));
    config.security.domains.insert(DOMAIN, tls::domain(domain).expect("a name"));
    config
}

/// A carrier that shows this.
struct Carrier {
    listener: TcpListener,
    tls: TlsAcceptor,
}

impl Carrier {
    async fn new(shown: &Shown) -> Self {
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain(shown), secret(shown))
            .expect("a certificate");
        let listener = TcpListener::bind("127.0.0.2:0").await.expect("bind");
        Self { listener, tls: Arc::new(config).into() }
    }

    fn domain(&self, domain: Option<DomainKey>) -> Destination {
        let peer = self.listener.local_addr().expect("address");
        Destination::Address { transport: Transport::Tls, peer, domain }
    }

    async fn accept(&self) -> io::Result<server::TlsStream<TcpStream>> {
        let (stream, _) = soon(self.listener.accept()).await.expect("accept");
        soon(self.tls.accept(stream)).await
    }
}

async fn read(stream: &mut (impl tokio::io::AsyncRead + Unpin), length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    soon(stream.read_exact(&mut bytes)).await.expect("bytes");
    bytes
}

async fn ends(stream: &mut (impl tokio::io::AsyncRead + Unpin)) {
    let mut rest = Vec::new();
    let _ = soon(stream.read_to_end(&mut rest)).await;
}

#[tokio::test]
async fn rfc_3261_26_3_1_messages_and_keep_alives_go_both_ways_over_tls_1_2_and_1_3() {
    let authority = Authority::new();
    let shown = authority.signs("switch", vec![dns("switch.example")]);
    let (net, mut inputs) = start(listening(&shown, None)).expect("start");
    for (version, spoken) in [
        (&rustls::version::TLS12, ProtocolVersion::TLSv1_2),
        (&rustls::version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let mut phone = authority.connect(bound(&net, 0), version, None).await.expect("TLS");
        assert_eq!(phone.get_ref().1.protocol_version(), Some(spoken));
        for piece in [&b"\r\n\r\n"[..], &sip("ONE", 30)].concat().chunks(7) {
            phone.write_all(piece).await.expect("write");
            phone.flush().await.expect("flush");
        }
        let (flow, bytes) = message(&mut inputs).await;
        assert_eq!((bytes, flow.transport, flow.local), (sip("ONE", 30), Transport::Tls, bound(&net, 0)));
        assert_eq!(read(&mut phone, 2).await, b"\r\n");
        net.send(&Destination::Flow(flow), b"answer".to_vec());
        assert_eq!(read(&mut phone, 6).await, b"answer");
        phone.shutdown().await.expect("closed");
        assert!(matches!(soon(inputs.recv()).await, Some(NetInput::Closed { flow: key }) if key == flow.key));
    }
}

#[tokio::test]
async fn rfc_5923_a_connection_that_came_to_us_is_never_taken_for_one_to_its_address() {
    let authority = Authority::new();
    let shown = authority.signs("switch", vec![dns("switch.example")]);
    let mut config = listening(&shown, None);
    config.security.client = Some(tls::client(Some(&authority.ca), None).expect("a client"));
    let (net, mut inputs) = start(config).expect("start");
    let mut phone = authority.connect(bound(&net, 0), &rustls::version::TLS13, None).await.expect("TLS");
    phone.write_all(&sip("HERE", 0)).await.expect("write");
    let (flow, _) = message(&mut inputs).await;
    // Nobody listens at the port that the phone connects from.
    let to = Destination::address(Transport::Tls, flow.peer);
    net.send(&to, b"for whom its certificate names".to_vec());
    failed(&mut inputs, to).await;
    net.send(&Destination::Flow(flow), b"answer".to_vec());
    assert_eq!(read(&mut phone, 6).await, b"answer");
}

#[tokio::test]
async fn rfc_5922_4_a_carrier_is_called_by_its_name_and_its_connection_used_both_ways() {
    let authority = Authority::new();
    let carrier = Carrier::new(&authority.signs("carrier", vec![dns("sip.carrier.example")])).await;
    let (net, mut inputs) = start(calling(&authority, "sip.carrier.example", None)).expect("start");
    let to = carrier.domain(Some(DOMAIN));
    net.send(&to, sip("ONE", 0));
    net.send(&to, sip("TWO", 0));
    let mut stream = carrier.accept().await.expect("TLS");
    assert_eq!(stream.get_ref().1.server_name(), Some("sip.carrier.example"), "SNI (RFC 6066 3)");
    let both = [sip("ONE", 0), sip("TWO", 0)].concat();
    assert_eq!(read(&mut stream, both.len()).await, both);
    stream.write_all(&sip("BACK", 3)).await.expect("write");
    let (flow, bytes) = message(&mut inputs).await;
    assert_eq!((bytes, flow.peer, flow.local), (sip("BACK", 3), to.peer(), bound(&net, 0)));
    soon(net.flushed()).await;
    assert_eq!(net.connections(), 1);
}

#[tokio::test]
async fn rfc_5922_7_nothing_is_said_to_whom_the_certificate_does_not_name_or_nobody_trusts() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let cases = [
        (authority.signs("other", vec![dns("other.example")]), Some(DOMAIN)),
        // For an address without a name, the certificate must name the address.
        (authority.signs("named", vec![dns("sip.carrier.example")]), None),
        (stranger.signs("untrusted", vec![dns("sip.carrier.example")]), Some(DOMAIN)),
    ];
    for (shown, domain) in cases {
        let carrier = Carrier::new(&shown).await;
        let (net, mut inputs) = start(calling(&authority, "sip.carrier.example", None)).expect("start");
        let to = carrier.domain(domain);
        net.send(&to, sip("SECRET", 0));
        assert!(carrier.accept().await.is_err());
        let (mut lost, mut counted) = (false, false);
        while !(lost && counted) {
            match soon(inputs.recv()).await {
                Some(NetInput::Failed { to: failed }) if failed == to => lost = true,
                Some(NetInput::Dropped { reason: notice::Drop::PeerCertificate, count: 1 }) => counted = true,
                other => panic!("{other:?}"),
            }
        }
    }
    // Nor to anybody while there is no name, or nothing to trust.
    let carrier = Carrier::new(&authority.signs("right", vec![dns("sip.carrier.example")])).await;
    let mut config = calling(&authority, "sip.carrier.example", None);
    config.security.domains.clear();
    let (net, mut inputs) = start(config).expect("start");
    net.send(&carrier.domain(Some(DOMAIN)), sip("SECRET", 0));
    failed(&mut inputs, carrier.domain(Some(DOMAIN))).await;
}

#[test]
fn rfc_5922_7_1_and_7_2_which_certificate_is_of_which_domain() {
    let authority = Authority::new();
    let ip = SanType::IpAddress([192, 0, 2, 9].into());
    let cases = [
        (vec![dns("carrier.example")], "carrier.example", true),
        (vec![dns("Carrier.Example")], "carrier.example", true),
        (vec![dns("other.example"), dns("carrier.example")], "carrier.example", true),
        (vec![dns("carrier.example")], "sip.carrier.example", false),
        (vec![dns("sip.carrier.example")], "carrier.example", false),
        // "MUST NOT match any form of wildcard".
        (vec![dns("*.carrier.example")], "sip.carrier.example", false),
        (vec![uri("sip:carrier.example"), dns("sip7.host.example")], "carrier.example", true),
        // With a SIP domain as URI, DNS names are those of a machine.
        (vec![uri("sip:carrier.example"), dns("sip7.host.example")], "sip7.host.example", false),
        (vec![uri("sip:anna@carrier.example")], "carrier.example", false),
        (vec![uri("https://carrier.example")], "carrier.example", false),
        (vec![uri("https://carrier.example"), dns("carrier.example")], "carrier.example", true),
        (vec![ip.clone()], "192.0.2.9", true),
        (vec![ip], "192.0.2.8", false),
        (vec![dns("carrier.example")], "192.0.2.9", false),
    ];
    for (number, (names, wanted, fits)) in cases.into_iter().enumerate() {
        let shown = authority.signs(&number.to_string(), names.clone());
        let [certificate] = &chain(&shown)[..] else { panic!("one certificate") };
        let wanted = ServerName::try_from(wanted).expect("a name");
        assert_eq!(SipDomain::names(certificate, &wanted).is_ok(), fits, "{names:?} for {wanted:?}");
    }
}

#[tokio::test]
async fn rfc_8446_4_4_2_a_client_without_a_certificate_may_come_and_one_with_a_wrong_one_may_not() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let shown = authority.signs("switch", vec![dns("switch.example")]);
    let (net, mut inputs) = start(listening(&shown, Some(&authority.ca))).expect("start");
    let (good, bad) = (
        authority.signs("good", vec![dns("anna.example")]),
        stranger.signs("bad", vec![dns("anna.example")]),
    );
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for own in [None, Some(&good)] {
            let mut phone = authority.connect(bound(&net, 0), version, own).await.expect("TLS");
            phone.write_all(&sip("HERE", 0)).await.expect("write");
            let (flow, _) = message(&mut inputs).await;
            drop(phone);
            assert!(
                matches!(soon(inputs.recv()).await, Some(NetInput::Closed { flow: key }) if key == flow.key)
            );
        }
        // With TLS 1.3 the client hears of it only afterwards.
        if let Ok(mut phone) = authority.connect(bound(&net, 0), version, Some(&bad)).await {
            let _ = phone.write_all(&sip("THERE", 0)).await;
            ends(&mut phone).await;
        }
        assert_eq!(dropped(&mut inputs, notice::Drop::PeerCertificate).await, 1);
    }
}

#[tokio::test]
async fn our_certificate_is_shown_to_a_carrier_that_asks_for_it() {
    let authority = Authority::new();
    let shown = authority.signs("carrier", vec![dns("sip.carrier.example")]);
    let own = authority.signs("own", vec![dns("switch.example")]);
    let mut carrier = Carrier::new(&shown).await;
    let asks = tls::server(vec![certified(&shown)], Some(&authority.ca)).expect("a server");
    carrier.tls = asks.into();
    let (net, _inputs) = start(calling(&authority, "sip.carrier.example", Some(&own))).expect("start");
    net.send(&carrier.domain(Some(DOMAIN)), sip("ONE", 0));
    let mut stream = carrier.accept().await.expect("TLS");
    read(&mut stream, sip("ONE", 0).len()).await;
    assert_eq!(stream.get_ref().1.peer_certificates(), Some(&chain(&own)[..]));
}

#[tokio::test]
async fn a_handshake_that_never_ends_or_is_none_costs_nobody_else_and_is_closed_and_counted() {
    let authority = Authority::new();
    let shown = authority.signs("switch", vec![dns("switch.example")]);
    let mut config = listening(&shown, None);
    config.timing.handshake = Duration::from_millis(300);
    let (net, mut inputs) = start(config).expect("start");
    let mut mute = soon(TcpStream::connect(bound(&net, 0))).await.expect("connect");
    let mut half = soon(TcpStream::connect(bound(&net, 0))).await.expect("connect");
    // The begin of a record of a ClientHello.
    half.write_all(&[22, 3, 1, 2, 0, 1, 0]).await.expect("write");
    let mut phone = authority.connect(bound(&net, 0), &rustls::version::TLS13, None).await.expect("TLS");
    phone.write_all(&sip("HERE", 0)).await.expect("write");
    let (flow, _) = message(&mut inputs).await;
    let mut plain = soon(TcpStream::connect(bound(&net, 0))).await.expect("connect");
    plain.write_all(&sip("PLAIN", 0)).await.expect("write");
    let mut count = 0;
    while count < 3 {
        count += dropped(&mut inputs, notice::Drop::TlsHandshake).await;
    }
    for stream in [&mut mute, &mut half, &mut plain] {
        ends(stream).await;
    }
    net.send(&Destination::Flow(flow), b"answer".to_vec());
    assert_eq!(read(&mut phone, 6).await, b"answer");
    assert_eq!(net.connections(), 1);
}

#[tokio::test]
async fn handshakes_count_to_the_connections_of_an_address() {
    let authority = Authority::new();
    let shown = authority.signs("switch", vec![dns("switch.example")]);
    let mut config = listening(&shown, None);
    config.connections_per_address = 1;
    let (net, mut inputs) = start(config).expect("start");
    let _mute = soon(TcpStream::connect(bound(&net, 0))).await.expect("connect");
    // Refused before or after it knows of it.
    if let Ok(mut second) = soon(TcpStream::connect(bound(&net, 0))).await {
        ends(&mut second).await;
    }
    assert_eq!(dropped(&mut inputs, notice::Drop::TooManyConnections).await, 1);
}

#[tokio::test]
async fn another_certificate_is_shown_from_now_on_and_open_connections_go_on() {
    let authority = Authority::new();
    let (old, new) = (
        authority.signs("old", vec![dns("switch.example")]),
        authority.signs("new", vec![dns("switch.example")]),
    );
    let (net, mut inputs) = start(listening(&old, None)).expect("start");
    let to = bound(&net, 0);
    let mut before = authority.connect(to, &rustls::version::TLS13, None).await.expect("TLS");
    assert_eq!(before.get_ref().1.peer_certificates(), Some(&chain(&old)[..]));
    net.secure(tls::Security { doors: vec![door(&new, None)], ..tls::Security::default() });
    let after = authority.connect(to, &rustls::version::TLS13, None).await.expect("TLS");
    assert_eq!(after.get_ref().1.peer_certificates(), Some(&chain(&new)[..]));
    before.write_all(&sip("STILL", 0)).await.expect("write");
    let (flow, _) = message(&mut inputs).await;
    net.send(&Destination::Flow(flow), b"answer".to_vec());
    assert_eq!(read(&mut before, 6).await, b"answer");
}

#[tokio::test]
async fn rfc_6066_3_the_certificate_is_that_of_the_name_that_is_asked_for() {
    let authority = Authority::new();
    let first = authority.signs("first", vec![dns("switch.example"), dns("phones.example")]);
    let second = authority.signs("second", vec![dns("web.example")]);
    let mut config = config(&[(Transport::Tls, V4)]);
    let both = vec![certified(&first), certified(&second)];
    config.security.doors = vec![Door { tls: tls::server(both, None).ok(), origins: Vec::new() }];
    let (net, _inputs) = start(config).expect("start");
    for (name, shown) in [("web.example", &second), ("phones.example", &first), ("switch.example", &first)] {
        let phone =
            authority.connect_to(name, bound(&net, 0), &rustls::version::TLS13, None).await.expect("TLS");
        assert_eq!(phone.get_ref().1.peer_certificates(), Some(&chain(shown)[..]), "{name}");
    }
    // The first of all for a name that none has, which this phone then refuses.
    let other = authority.connect_to("other.example", bound(&net, 0), &rustls::version::TLS13, None).await;
    assert!(other.is_err());
}

#[tokio::test]
async fn a_reader_over_tls_that_never_reads_costs_only_itself() {
    let authority = Authority::new();
    let shown = authority.signs("switch", vec![dns("switch.example")]);
    let mut config = listening(&shown, None);
    config.output = 64 * 1024;
    let (net, mut inputs) = start(config).expect("start");
    let mut slow = authority.connect(bound(&net, 0), &rustls::version::TLS13, None).await.expect("TLS");
    slow.write_all(&sip("SLOW", 0)).await.expect("write");
    let (slow_flow, _) = message(&mut inputs).await;
    let mut good = authority.connect(bound(&net, 0), &rustls::version::TLS12, None).await.expect("TLS");
    let (mut sent, mut seen) = (0, 0);
    while seen < 2 {
        net.send(&Destination::Flow(slow_flow), vec![b'x'; 32 * 1024]);
        sent += 1;
        assert!(sent < 10_000, "the slow reader is never felt");
        good.write_all(&sip("GOOD", 10)).await.expect("write");
        loop {
            match soon(inputs.recv()).await {
                Some(NetInput::Message { flow, .. }) => {
                    net.send(&Destination::Flow(flow), b"served".to_vec());
                    assert_eq!(read(&mut good, 6).await, b"served");
                    break;
                }
                Some(NetInput::Dropped { reason: notice::Drop::SlowReader, count: 1 }) => seen += 1,
                Some(NetInput::Closed { flow }) if flow == slow_flow.key => seen += 1,
                // What was sent after the limit and before the end was known.
                Some(NetInput::Failed { to }) if to == Destination::Flow(slow_flow) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    ends(&mut slow).await;
}

#[test]
fn files_that_can_not_be_used_are_named_with_the_reason() {
    let authority = Authority::new();
    let (one, two) =
        (authority.signs("one", vec![dns("one.example")]), authority.signs("two", vec![dns("two.example")]));
    let nothing = Path::new("/nowhere/at/all.pem");
    let long = authority.folder.path().join("long.pem");
    fs::write(&long, vec![b'\n'; (1 << 20) + 1]).expect("written");
    let damaged = authority.folder.path().join("damaged.pem");
    let text = fs::read_to_string(&one.certificate).expect("text");
    fs::write(&damaged, text.replace("-----END", "!!\n-----END")).expect("written");
    let missing = Why::Unreadable(io::ErrorKind::NotFound);
    let cases = [
        (nothing, one.key.as_path(), None, Kind::Certificate, missing.clone()),
        (&one.certificate, nothing, None, Kind::Key, missing.clone()),
        (&one.certificate, &one.key, Some(nothing), Kind::Authorities, missing),
        (&one.certificate, &two.key, None, Kind::Key, Why::OtherKey),
        (&one.key, &one.key, None, Kind::Certificate, Why::Lacks("certificate in PEM form")),
        (&one.certificate, &one.certificate, None, Kind::Key, Why::Lacks("private key in PEM form")),
        (&damaged, &one.key, None, Kind::Certificate, Why::Damaged),
        (&long, &one.key, None, Kind::Certificate, Why::TooLong),
    ];
    for (certificate, key, ca, file, why) in cases {
        let made =
            tls::certified(certificate, key).and_then(|shown| tls::server(vec![shown], ca).map(|_| ()));
        assert_eq!(made, Err(Fault { file, why: why.clone() }));
        if let Some(ca) = ca {
            assert_eq!(tls::client(Some(ca), None).map(|_| ()), Err(Fault { file, why }));
        }
    }
}
