//! Names: what the name service is asked over the wire, and what is made of its answers.

mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hulplijn::base::id::{QueryKey, Rng};
use hulplijn::net::dns::{Dns, DnsConfig, Resolved};
use hulplijn::sip::flow::Transport;
use hulplijn::sip::target::{Answer, Plan, Question, Step, plan};
use hulplijn::sip::uri::Uri;
use tokio::sync::mpsc;

use support::dns::NameServer;

const RECORDS: &str = "
carrier.test NAPTR 10 10 SIPS+D2T _sips._tcp.carrier.test
carrier.test NAPTR 20 10 SIP+D2T _sip._tcp.carrier.test
carrier.test NAPTR 20 20 SIP+D2U _sip._udp.carrier.test
_sip._tcp.carrier.test SRV 1 0 5070 a.carrier.test
_sip._tcp.carrier.test SRV 2 0 5080 b.carrier.test
_sip._udp.carrier.test SRV 1 0 5060 a.carrier.test
a.carrier.test A 192.0.2.1
a.carrier.test AAAA 2001:db8::1
b.carrier.test A 192.0.2.2
bare.test A 192.0.2.3
broken.test SERVFAIL
none.test SRV 0 0 0 .
";

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn started(server: &NameServer) -> (Dns, mpsc::Receiver<Resolved>) {
    Dns::start(DnsConfig { server: Some(server.address), ..DnsConfig::default() }).expect("a runtime")
}

fn ask(dns: &(Dns, mpsc::Receiver<Resolved>), question: Question) -> Result<(), ()> {
    dns.0.resolve(QueryKey(1), question, Duration::from_secs(2)).map_err(|_| ())
}

async fn answer(dns: &mut (Dns, mpsc::Receiver<Resolved>), question: Question) -> Answer {
    ask(dns, question).expect("room");
    dns.1.recv().await.expect("an answer").answer
}

/// All the way from a URI to its places, as text.
async fn find(dns: &mut (Dns, mpsc::Receiver<Resolved>), uri: &str, spoken: &[Transport]) -> String {
    let Ok(Plan::Search(mut search)) = plan(&Uri::parse(uri).unwrap(), spoken) else { panic!("{uri}") };
    let mut step = search.step();
    loop {
        match step {
            Step::Found(hops) => {
                let hop =
                    |hop: &hulplijn::sip::target::Hop| format!("{} {}", hop.transport.as_str(), hop.peer);
                return hops.iter().map(hop).collect::<Vec<_>>().join(", ");
            }
            Step::Ask(question) => {
                let answer = answer(dns, question).await;
                step = search.answer(answer, &mut Rng::from_number(1));
            }
        }
    }
}

#[tokio::test]
async fn rfc_3263_a_carrier_is_found_by_naptr_srv_and_its_addresses() {
    let server = NameServer::start(loopback(), RECORDS);
    let mut dns = started(&server);
    let both = [Transport::Udp, Transport::Tcp];
    let (a, b) = ("192.0.2.1:5070, TCP [2001:db8::1]:5070", "192.0.2.2:5080");
    let udp = "UDP 192.0.2.1:5060, UDP [2001:db8::1]:5060";
    assert_eq!(find(&mut dns, "sip:carrier.test", &both).await, format!("TCP {a}, TCP {b}, {udp}"));
    assert_eq!(find(&mut dns, "sip:carrier.test", &[Transport::Udp]).await, udp);
    assert_eq!(find(&mut dns, "sip:carrier.test;transport=tcp", &both).await, format!("TCP {a}, TCP {b}"));
    let before = server.asked().len();
    assert_eq!(find(&mut dns, "sip:carrier.test", &[Transport::Udp]).await, udp);
    assert_eq!(server.asked().len(), before, "what was asked a moment ago is known");
    assert_eq!(find(&mut dns, "sip:bare.test", &both).await, "UDP 192.0.2.3:5060");
    let asked = server.asked();
    for kind in ["NAPTR bare.test", "SRV _sip._udp.bare.test", "SRV _sip._tcp.bare.test", "A bare.test"] {
        assert!(asked.iter().any(|line| line == kind), "{kind}: {asked:?}");
    }
    assert_eq!(find(&mut dns, "sip:nowhere.test", &both).await, "");
}

#[tokio::test]
async fn no_record_and_no_answer_are_two_things() {
    let server = NameServer::start(loopback(), RECORDS);
    let mut dns = started(&server);
    let services = |name: &str| Question::Services(name.to_owned());
    assert!(answer(&mut dns, services("_sip._udp.bare.test")).await == Answer::Services(Vec::new()));
    assert!(answer(&mut dns, services("bare.test")).await == Answer::Services(Vec::new()));
    assert!(answer(&mut dns, services("broken.test")).await == Answer::Failed);
    let Answer::Services(none) = answer(&mut dns, services("none.test")).await else { panic!("an answer") };
    assert!(none.len() == 1 && none[0].target.is_empty(), "a decided no");
    let pointers = Question::Pointers("carrier.test".to_owned());
    let Answer::Pointers(pointers) = answer(&mut dns, pointers).await else { panic!("an answer") };
    assert_eq!(pointers.len(), 3);
    assert_eq!((pointers[0].flags.as_str(), pointers[0].replacement.contains('.')), ("s", true));
}

#[tokio::test]
async fn a_name_server_that_falls_silent_costs_its_time_once_and_the_file_of_hosts_counts() {
    let server = NameServer::start(loopback(), RECORDS);
    let mut dns = started(&server);
    server.silence(true);
    let began = Instant::now();
    let services = Question::Services("_sip._udp.carrier.test".to_owned());
    assert!(answer(&mut dns, services.clone()).await == Answer::Failed);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    let again = Instant::now();
    assert!(answer(&mut dns, services).await == Answer::Failed);
    assert!(again.elapsed() < Duration::from_millis(500), "it is not asked at once again");
    let local = answer(&mut dns, Question::Addresses("localhost".to_owned())).await;
    let Answer::Addresses(local) = local else { panic!("/etc/hosts has it") };
    assert!(!local.is_empty() && local.iter().all(std::net::IpAddr::is_loopback));
}

#[tokio::test]
async fn a_name_server_that_is_not_there_or_talks_nonsense_is_no_answer() {
    let closed = std::net::UdpSocket::bind(loopback()).expect("bound").local_addr().expect("bound");
    let mut gone = Dns::start(DnsConfig { server: Some(closed), ..DnsConfig::default() }).expect("a runtime");
    let question = Question::Pointers("carrier.test".to_owned());
    assert!(answer(&mut gone, question.clone()).await == Answer::Failed);
    let babbler = std::net::UdpSocket::bind(loopback()).expect("bound");
    let config = DnsConfig { server: babbler.local_addr().ok(), ..DnsConfig::default() };
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = babbler.recv_from(&mut buffer) {
            // The question's own head, as an answer with 65535 records, and then rubbish.
            buffer[2] |= 0x80;
            buffer[6..8].copy_from_slice(&[0xFF, 0xFF]);
            buffer[12..length].fill(0xC0);
            let _ = babbler.send_to(&buffer[..length], from);
        }
    });
    let mut dns = Dns::start(config).expect("a runtime");
    assert!(answer(&mut dns, question).await == Answer::Failed);
}
