//! Over loopback, real sockets, each step with a deadline.

use std::future::Future;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

use super::*;

pub(super) const V4: &str = "127.0.0.1:0";
const V6: &str = "[::1]:0";

pub(super) async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), what).await.expect("in time")
}

pub(super) fn config(listen: &[(Transport, &str)]) -> NetConfig {
    let listen = listen
        .iter()
        .map(|(transport, address)| ListenAt::new(*transport, address.parse().expect("address")))
        .collect();
    NetConfig::new(listen, 4096, 100, 100)
}

pub(super) fn bound(net: &Net, number: usize) -> SocketAddr {
    net.local_addresses()[number].bound
}

pub(super) fn sip(word: &str, body: usize) -> Vec<u8> {
    let mut bytes = format!("{word} sip:x SIP/2.0\r\nContent-Length: {body}\r\n\r\n").into_bytes();
    bytes.resize(bytes.len() + body, b'.');
    bytes
}

pub(super) async fn message(inputs: &mut Inlet) -> (Flow, Vec<u8>) {
    match soon(inputs.recv()).await {
        Some(NetInput::Message { flow, bytes }) => (flow, bytes),
        other => panic!("no message but {other:?}"),
    }
}

pub(super) async fn dropped(inputs: &mut Inlet, wanted: notice::Drop) -> u64 {
    match soon(inputs.recv()).await {
        Some(NetInput::Dropped { reason, count }) if reason == wanted => count,
        other => panic!("not {wanted:?} but {other:?}"),
    }
}

pub(super) async fn failed(inputs: &mut Inlet, wanted: Destination) {
    match soon(inputs.recv()).await {
        Some(NetInput::Failed { to }) if to == wanted => {}
        other => panic!("no failure but {other:?}"),
    }
}

async fn read(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    soon(stream.read_exact(&mut bytes)).await.expect("bytes");
    bytes
}

/// The other end has closed, by FIN or by RST.
async fn ends(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let _ = soon(stream.read_to_end(&mut rest)).await;
}

#[tokio::test]
async fn datagrams_go_both_ways_in_both_families() {
    let (net, mut inputs) = start(config(&[(Transport::Udp, V4), (Transport::Udp, V6)])).expect("start");
    for (number, any) in [V4, V6].into_iter().enumerate() {
        let phone = UdpSocket::bind(any).await.expect("bind");
        for keep_alive in ["", "\r\n\r\n", "\0\0\0\0"] {
            phone.send_to(keep_alive.as_bytes(), bound(&net, number)).await.expect("send");
        }
        phone.send_to(b"hello", bound(&net, number)).await.expect("send");
        let (flow, bytes) = message(&mut inputs).await;
        assert_eq!(bytes, b"hello");
        assert_eq!((flow.local, flow.peer), (bound(&net, number), phone.local_addr().expect("address")));
        let mut buffer = [0; 100];
        let address = Destination::address(Transport::Udp, flow.peer);
        for to in [Destination::Flow(flow), address] {
            net.send(&to, b"answer".to_vec());
            let (length, from) = soon(phone.recv_from(&mut buffer)).await.expect("answer");
            assert_eq!((&buffer[..length], from), (&b"answer"[..], bound(&net, number)));
        }
    }
}

#[tokio::test]
async fn rfc_5626_4_4_2_a_binding_request_on_the_sip_port_is_answered_and_the_core_hears_nothing() {
    let (net, mut inputs) = start(config(&[(Transport::Udp, V4)])).expect("start");
    let phone = UdpSocket::bind(V4).await.expect("bind");
    let request = [b"\x00\x01\x00\x00\x21\x12\xa4\x42".as_slice(), b"twelve bytes"].concat();
    phone.send_to(&request, bound(&net, 0)).await.expect("send");
    let mut buffer = [0; 100];
    let (length, _) = soon(phone.recv_from(&mut buffer)).await.expect("answer");
    assert_eq!((length, &buffer[..2], &buffer[8..20]), (32, &b"\x01\x01"[..], &b"twelve bytes"[..]));
    let port = phone.local_addr().expect("address").port() ^ 0x2112;
    assert_eq!(buffer[26..28], port.to_be_bytes());
    phone.send_to(b"hello", bound(&net, 0)).await.expect("send");
    assert_eq!(message(&mut inputs).await.1, b"hello");
}

#[tokio::test]
async fn datagrams_past_the_limits_are_dropped_and_counted() {
    let mut config = config(&[(Transport::Udp, V4)]);
    config.inputs = 1;
    let (net, mut inputs) = start(config).expect("start");
    let phone = UdpSocket::bind(V4).await.expect("bind");
    phone.send_to(&vec![b'x'; 4097], bound(&net, 0)).await.expect("send");
    assert_eq!(dropped(&mut inputs, notice::Drop::TooBig).await, 1);
    for number in 0..10_u8 {
        phone.send_to(&[b'a' + number], bound(&net, 0)).await.expect("send");
    }
    let (mut messages, mut lost) = (0, 0);
    while messages + lost < 10 {
        match soon(inputs.recv()).await {
            Some(NetInput::Message { .. }) => messages += 1,
            Some(NetInput::Dropped { reason: notice::Drop::Flood, count }) => lost += count,
            other => panic!("{other:?}"),
        }
    }
    assert!(messages > 0);
}

#[tokio::test]
async fn messages_in_any_pieces_arrive_whole_over_tcp_in_both_families() {
    let (net, mut inputs) = start(config(&[(Transport::Tcp, V4), (Transport::Tcp, V6)])).expect("start");
    for number in 0..2 {
        for size in [1, 2, 3, 7, 40, 1000] {
            let mut phone = soon(TcpStream::connect(bound(&net, number))).await.expect("connect");
            phone.set_nodelay(true).expect("option");
            let stream = [&b"\r\n"[..], &sip("ONE", 30), &b"\r\n\r\n"[..], &sip("TWO", 0)].concat();
            for piece in stream.chunks(size) {
                phone.write_all(piece).await.expect("write");
                tokio::task::yield_now().await;
            }
            let (flow, first) = message(&mut inputs).await;
            assert_eq!(first, sip("ONE", 30));
            assert_eq!(message(&mut inputs).await.1, sip("TWO", 0));
            assert_eq!(read(&mut phone, 2).await, b"\r\n");
            let peer = phone.local_addr().expect("address");
            assert_eq!((flow.peer, flow.local), (peer, bound(&net, number)));
            for to in [Destination::Flow(flow), Destination::address(Transport::Tcp, peer)] {
                net.send(&to, b"answer".to_vec());
                assert_eq!(read(&mut phone, 6).await, b"answer");
            }
            drop(phone);
            assert!(
                matches!(soon(inputs.recv()).await, Some(NetInput::Closed { flow: key }) if key == flow.key)
            );
            net.send(&Destination::Flow(flow), b"late".to_vec());
            failed(&mut inputs, Destination::Flow(flow)).await;
        }
    }
}

#[tokio::test]
async fn a_connection_of_ours_is_opened_once_and_used_both_ways() {
    let (net, mut inputs) = start(config(&[(Transport::Tcp, V4)])).expect("start");
    let trunk = TcpListener::bind("127.0.0.2:0").await.expect("bind");
    let to = Destination::address(Transport::Tcp, trunk.local_addr().expect("address"));
    net.send(&to, sip("ONE", 0));
    net.send(&to, sip("TWO", 0));
    let (mut stream, peer) = soon(trunk.accept()).await.expect("accept");
    assert_eq!(peer.ip(), bound(&net, 0).ip());
    let both = [sip("ONE", 0), sip("TWO", 0)].concat();
    assert_eq!(read(&mut stream, both.len()).await, both);
    stream.write_all(&sip("BACK", 3)).await.expect("write");
    let (flow, bytes) = message(&mut inputs).await;
    assert_eq!((bytes, flow.peer, flow.local), (sip("BACK", 3), to.peer(), bound(&net, 0)));
    soon(net.flushed()).await;
    assert_eq!(net.connections(), 1);
    drop(net);
    ends(&mut stream).await;
    while soon(inputs.recv()).await.is_some() {}
}

#[tokio::test]
async fn what_cannot_be_sent_fails() {
    let (net, mut inputs) = start(config(&[(Transport::Tcp, V4), (Transport::Udp, V4)])).expect("start");
    let taken = std::net::TcpListener::bind(V4).expect("bind");
    let refused = taken.local_addr().expect("address");
    drop(taken);
    let to = Destination::address;
    let v6 = "[::1]:5060".parse().expect("address");
    let all = "255.255.255.255:5060".parse().expect("address");
    for to in [
        to(Transport::Tcp, refused),
        to(Transport::Udp, v6),
        to(Transport::Udp, all),
        to(Transport::Tls, refused),
    ] {
        net.send(&to, sip("ONE", 0));
        failed(&mut inputs, to).await;
    }
    net.send(&to(Transport::Udp, refused), vec![0; 70_000]);
    failed(&mut inputs, to(Transport::Udp, refused)).await;
}

#[tokio::test]
async fn a_reader_that_never_reads_costs_only_itself() {
    let mut config = config(&[(Transport::Tcp, V4)]);
    config.output = 64 * 1024;
    let (net, mut inputs) = start(config).expect("start");
    let mut slow = soon(TcpStream::connect(bound(&net, 0))).await.expect("connect");
    slow.write_all(&sip("SLOW", 0)).await.expect("write");
    let (slow_flow, _) = message(&mut inputs).await;
    let mut good = soon(TcpStream::connect(bound(&net, 0))).await.expect("connect");
    let mut sent = 0;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        net.send(&Destination::Flow(slow_flow), vec![b'x'; 32 * 1024]);
        sent += 1;
        assert!(sent < 10_000, "the slow reader is never felt");
        good.write_all(&sip("GOOD", 10)).await.expect("write");
        loop {
            match soon(inputs.recv()).await {
                Some(NetInput::Message { flow, bytes }) => {
                    assert_eq!(bytes, sip("GOOD", 10));
                    net.send(&Destination::Flow(flow), b"served".to_vec());
                    assert_eq!(read(&mut good, 6).await, b"served");
                    break;
                }
                Some(NetInput::Dropped { reason: notice::Drop::SlowReader, count: 1 }) => {
                    seen.push("dropped");
                }
                Some(NetInput::Closed { flow }) if flow == slow_flow.key => seen.push("closed"),
                // What was sent after the limit and before the end was known.
                Some(NetInput::Failed { to }) if to == Destination::Flow(slow_flow) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    ends(&mut slow).await;
}

#[tokio::test]
async fn a_reader_too_slow_for_one_chunk_is_closed_in_time() {
    let mut config = config(&[(Transport::Tcp, V4)]);
    config.output = 64 * 1024 * 1024;
    config.timing.write = Duration::from_millis(50);
    let (net, mut inputs) = start(config).expect("start");
    let mut slow = soon(TcpStream::connect(bound(&net, 0))).await.expect("connect");
    slow.write_all(&sip("SLOW", 0)).await.expect("write");
    let (flow, _) = message(&mut inputs).await;
    net.send(&Destination::Flow(flow), vec![b'x'; 32 * 1024 * 1024]);
    let mut ends = 0;
    while ends < 2 {
        match soon(inputs.recv()).await {
            Some(NetInput::Dropped { reason: notice::Drop::SlowReader, .. } | NetInput::Closed { .. }) => {
                ends += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    soon(net.flushed()).await;
}

#[tokio::test]
async fn when_all_readers_together_hold_too_much_the_slowest_goes() {
    let mut config = config(&[(Transport::Tcp, V4)]);
    (config.output, config.output_total) = (64 * 1024 * 1024, 16 * 1024 * 1024);
    let (net, mut inputs) = start(config).expect("start");
    let mut flows = Vec::new();
    let mut phones = Vec::new();
    for _ in 0..2 {
        let mut phone = soon(TcpStream::connect(bound(&net, 0))).await.expect("connect");
        phone.write_all(&sip("HERE", 0)).await.expect("write");
        flows.push(message(&mut inputs).await.0);
        phones.push(phone);
    }
    net.send(&Destination::Flow(flows[0]), vec![b'x'; 4 * 1024 * 1024]);
    net.send(&Destination::Flow(flows[1]), vec![b'x'; 15 * 1024 * 1024]);
    let mut ends = 0;
    while ends < 2 {
        match soon(inputs.recv()).await {
            Some(NetInput::Dropped { reason: notice::Drop::SlowReader, count: 1 }) => ends += 1,
            Some(NetInput::Closed { flow }) if flow == flows[1].key => ends += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(read(&mut phones[0], 4 * 1024 * 1024).await.len(), 4 * 1024 * 1024);
}

#[tokio::test]
async fn connections_of_one_address_and_in_all_are_limited() {
    let mut config = config(&[(Transport::Tcp, V4)]);
    (config.connections, config.connections_per_address) = (3, 2);
    let (net, mut inputs) = start(config).expect("start");
    let from = async |ip: [u8; 4]| {
        let socket = tokio::net::TcpSocket::new_v4().expect("socket");
        socket.bind((ip, 0).into()).expect("bind");
        soon(socket.connect(bound(&net, 0))).await.expect("connect")
    };
    let mut idle = from([127, 0, 0, 1]).await;
    let mut first = from([127, 0, 0, 1]).await;
    first.write_all(&sip("ONE", 0)).await.expect("write");
    message(&mut inputs).await;
    // A third of the same address.
    ends(&mut from([127, 0, 0, 1]).await).await;
    assert_eq!(dropped(&mut inputs, notice::Drop::TooManyConnections).await, 1);
    let mut second = from([127, 0, 0, 2]).await;
    second.write_all(&sip("TWO", 0)).await.expect("write");
    message(&mut inputs).await;
    // Full: the one that never spoke makes room.
    let mut third = from([127, 0, 0, 3]).await;
    third.write_all(&sip("THREE", 0)).await.expect("write");
    ends(&mut idle).await;
    let mut seen = 0;
    while seen < 2 {
        match soon(inputs.recv()).await {
            Some(NetInput::Message { bytes, .. }) if bytes == sip("THREE", 0) => seen += 1,
            Some(NetInput::Dropped { reason: notice::Drop::TooManyConnections, count: 1 }) => seen += 1,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_full_table_makes_room_by_whoever_proved_nothing_and_is_idle_longest() {
    let mut config = config(&[(Transport::Tcp, V4)]);
    config.connections = 3;
    config.named = vec![Network { address: [127, 0, 0, 9].into(), prefix: 32 }];
    let (net, mut inputs) = start(config).expect("start");
    let from = async |ip: [u8; 4]| {
        let socket = tokio::net::TcpSocket::new_v4().expect("socket");
        socket.bind((ip, 0).into()).expect("bind");
        soon(socket.connect(bound(&net, 0))).await.expect("connect")
    };
    let mut says = async |stream: &mut TcpStream, word: &str| {
        stream.write_all(&sip(word, 0)).await.expect("write");
        loop {
            match soon(inputs.recv()).await {
                Some(NetInput::Message { flow, bytes }) if bytes == sip(word, 0) => return flow.key,
                Some(NetInput::Dropped { .. } | NetInput::Closed { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    let (mut phone, mut carrier) = (from([127, 0, 0, 1]).await, from([127, 0, 0, 9]).await);
    net.keep(says(&mut phone, "REGISTER").await);
    says(&mut carrier, "INVITE").await;
    let mut stranger = from([127, 0, 0, 2]).await;
    says(&mut stranger, "OPTIONS").await;
    let mut next = from([127, 0, 0, 3]).await;
    says(&mut next, "OPTIONS").await;
    ends(&mut stranger).await;
    // The phone and the carrier are still there; when nobody else is, who comes new is refused.
    net.keep(says(&mut next, "REGISTER").await);
    ends(&mut from([127, 0, 0, 4]).await).await;
    says(&mut phone, "BYE").await;
    says(&mut carrier, "BYE").await;
}

#[tokio::test]
async fn streams_that_are_no_sip_too_long_or_never_whole_are_closed() {
    let mut config = config(&[(Transport::Tcp, V4)]);
    config.timing.message = Duration::from_millis(50);
    let cases = [
        (sip("LONG", 5000), notice::Drop::TooBig),
        (vec![b'x'; 6000], notice::Drop::TooBig),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), notice::Drop::Unreadable),
        (b"INVITE sip:x SIP/2.0\r\nVia".to_vec(), notice::Drop::BadStart),
    ];
    let (net, mut inputs) = start(config).expect("start");
    for (bytes, reason) in cases {
        let mut stranger = soon(TcpStream::connect(bound(&net, 0))).await.expect("connect");
        stranger.write_all(&bytes).await.expect("write");
        assert_eq!(dropped(&mut inputs, reason).await, 1);
        ends(&mut stranger).await;
    }
}

#[tokio::test]
async fn silence_ends_a_connection_and_keep_alives_are_no_first_message() {
    let mut config = config(&[(Transport::Tcp, V4)]);
    (config.timing.first, config.timing.idle) = (Duration::from_millis(400), Duration::from_secs(1));
    config.timing.unproven = config.timing.idle;
    let (net, mut inputs) = start(config).expect("start");
    let mut mute = soon(TcpStream::connect(bound(&net, 0))).await.expect("connect");
    mute.write_all(b"\r\n\r\n").await.expect("write");
    assert_eq!(read(&mut mute, 2).await, b"\r\n");
    assert_eq!(dropped(&mut inputs, notice::Drop::BadStart).await, 1);
    ends(&mut mute).await;
    let mut phone = soon(TcpStream::connect(bound(&net, 0))).await.expect("connect");
    phone.write_all(&sip("ONE", 0)).await.expect("write");
    let (flow, _) = message(&mut inputs).await;
    assert!(matches!(soon(inputs.recv()).await, Some(NetInput::Closed { flow: key }) if key == flow.key));
}

#[tokio::test]
async fn a_full_core_slows_a_stream_down_and_loses_nothing() {
    let mut config = config(&[(Transport::Tcp, V4)]);
    config.inputs = 1;
    let (net, mut inputs) = start(config).expect("start");
    let mut phone = soon(TcpStream::connect(bound(&net, 0))).await.expect("connect");
    let many = (0..500).flat_map(|n| sip("M", n)).collect::<Vec<u8>>();
    let sender = tokio::spawn(async move { phone.write_all(&many).await.map(|()| phone) });
    for n in 0..500 {
        assert_eq!(message(&mut inputs).await.1, sip("M", n));
    }
    soon(sender).await.expect("task").expect("written");
}

#[tokio::test]
async fn a_listener_that_cannot_be_bound_is_named() {
    let taken = std::net::UdpSocket::bind(V4).expect("bind");
    let address = taken.local_addr().expect("address").to_string();
    for (transport, address, advice) in [
        (Transport::Udp, address.as_str(), "another program holds this port"),
        (Transport::Tcp, "192.0.2.1:5060", "no interface of this machine"),
        (Transport::Tls, "192.0.2.1:5061", "no interface of this machine"),
    ] {
        let error = start(config(&[(transport, address)])).map(|_| ()).expect_err("bound").to_string();
        assert!(error.contains(advice), "{error}");
        assert!(error.contains(address), "{error}");
    }
}
