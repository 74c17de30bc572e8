//! A browser's side, frame by frame, written here: not by the library that the switch uses.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::tests::{V4, bound, config, dropped, failed, message, sip, soon};
use super::tls::Door;
use super::tls_tests::{Authority, dns, door};
use super::websocket::{Upgrade, upgrade};
use super::*;

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FINAL: u8 = 0x80;

const ORIGIN: &str = "https://phone.example";

fn request(more: &str) -> String {
    format!(
        "GET / HTTP/1.1\r\nHost: switch.example\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";
const PROTOCOL: &str = "Sec-WebSocket-Protocol: sip\r\n";

struct Browser<S>(S);

impl<S: AsyncRead + AsyncWrite + Unpin> Browser<S> {
    async fn open(stream: S) -> Self {
        let mut browser = Self(stream);
        let head = browser.ask(&request(&format!("{VERSION}{PROTOCOL}Origin: {ORIGIN}\r\n"))).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        // RFC 6455 1.3's own example of a key and its answer.
        for line in ["sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "sec-websocket-protocol: sip"] {
            assert!(head.lines().any(|l| l.eq_ignore_ascii_case(line)), "{head}");
        }
        browser
    }

    /// Sends a request; the head of its answer.
    async fn ask(&mut self, request: &str) -> String {
        self.0.write_all(request.as_bytes()).await.expect("write");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon(self.0.read_u8()).await.expect("an answer"));
        }
        String::from_utf8(head).expect("text")
    }

    async fn send(&mut self, first: u8, bytes: &[u8]) {
        self.0.write_all(&masked(first, bytes)).await.expect("write");
        self.0.flush().await.expect("flush");
    }

    /// The next frame: its first byte and what is in it.
    async fn frame(&mut self) -> (u8, Vec<u8>) {
        let first = soon(self.0.read_u8()).await.expect("a frame");
        let length = match soon(self.0.read_u8()).await.expect("a length") {
            126 => soon(self.0.read_u16()).await.expect("a length").into(),
            127 => soon(self.0.read_u64()).await.expect("a length") as usize,
            length => length.into(),
        };
        let mut bytes = vec![0; length];
        soon(self.0.read_exact(&mut bytes)).await.expect("bytes");
        (first, bytes)
    }

    async fn ends(&mut self) {
        let mut rest = Vec::new();
        let _ = soon(self.0.read_to_end(&mut rest)).await;
    }
}

/// A frame of a client, masked as it must be (RFC 6455 5.3).
fn masked(first: u8, bytes: &[u8]) -> Vec<u8> {
    let mask = [7, 77, 177, 27];
    let mut frame = vec![first];
    match bytes.len() {
        length @ 0..126 => frame.push(0x80 | length as u8),
        length => {
            frame.push(0x80 | 0x7e);
            frame.extend((length as u16).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(bytes.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn listening() -> NetConfig {
    let mut config = config(&[(Transport::Ws, V4)]);
    config.security.doors = vec![Door { tls: None, origins: vec![ORIGIN.to_owned()] }];
    config
}

async fn browser(net: &Net) -> Browser<TcpStream> {
    Browser::open(soon(TcpStream::connect(bound(net, 0))).await.expect("connect")).await
}

#[test]
fn rfc_7118_4_who_gets_a_websocket() {
    let origins = [ORIGIN.to_owned()];
    let cases = [
        (request(&format!("{VERSION}{PROTOCOL}")), "101"),
        (request(&format!("{VERSION}Sec-WebSocket-Protocol: xmpp, sip\r\n")), "101"),
        (request(&format!("{VERSION}{PROTOCOL}Origin: https://PHONE.example\r\n")), "101"),
        (request(VERSION), "400"),
        (request(&format!("{VERSION}Sec-WebSocket-Protocol: xmpp\r\n")), "400"),
        (request(&format!("{VERSION}{PROTOCOL}Origin: https://evil.example\r\n")), "403"),
        (request(&format!("{VERSION}{PROTOCOL}Origin: http://phone.example\r\n")), "403"),
        (request(&format!("{VERSION}{PROTOCOL}Origin: null\r\n")), "403"),
        (request(PROTOCOL), "426"),
        (request(&format!("Sec-WebSocket-Version: 8\r\n{PROTOCOL}")), "426"),
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "400"),
        ("POST / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "400"),
        ("REGISTER sip:x SIP/2.0\r\nContent-Length: 0\r\n\r\n".to_owned(), "400"),
        (format!("GET / HTTP/1.1\r\nX: {}\r\n", "y".repeat(9000)), "431"),
    ];
    for (request, status) in cases {
        let answer = match upgrade(request.as_bytes(), &origins) {
            Upgrade::Accept { answer, rest } => {
                assert!(rest.is_empty());
                answer
            }
            Upgrade::Refuse { answer } => answer,
            Upgrade::Wait => panic!("it is whole: {request}"),
        };
        let answer = String::from_utf8(answer).expect("text");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}{answer}");
    }
    assert!(matches!(upgrade(b"GET / HTTP/1.1\r\nHo", &origins), Upgrade::Wait));
}

#[test]
fn rfc_6455_10_2_without_a_list_no_page_may_come() {
    let asks = request(&format!("{VERSION}{PROTOCOL}Origin: {ORIGIN}\r\n"));
    assert!(matches!(upgrade(asks.as_bytes(), &[]), Upgrade::Refuse { .. }));
}

#[tokio::test]
async fn rfc_7118_5_one_message_in_each_frame_both_ways() {
    let (net, mut inputs) = start(listening()).expect("start");
    let mut browser = browser(&net).await;
    browser.send(FINAL | TEXT, &sip("ONE", 30)).await;
    let (flow, bytes) = message(&mut inputs).await;
    assert_eq!((bytes, flow.transport, flow.local), (sip("ONE", 30), Transport::Ws, bound(&net, 0)));
    browser.send(FINAL | BINARY, &sip("TWO", 300)).await;
    assert_eq!(message(&mut inputs).await.1, sip("TWO", 300));
    // In pieces, with a ping between them (RFC 6455 5.4).
    browser.send(TEXT, b"THREE sip:x SIP/2.0\r\n").await;
    browser.send(FINAL | PING, b"there?").await;
    browser.send(FINAL, b"\r\nno Content-Length").await;
    assert_eq!(message(&mut inputs).await.1, b"THREE sip:x SIP/2.0\r\n\r\nno Content-Length");
    assert_eq!(browser.frame().await, (FINAL | PONG, b"there?".to_vec()));
    for to in [Destination::Flow(flow), Destination::address(Transport::Ws, flow.peer)] {
        net.send(&to, sip("BACK", 200));
        assert_eq!(browser.frame().await, (FINAL | TEXT, sip("BACK", 200)));
    }
    net.send(&Destination::Flow(flow), b"\xff is no UTF-8".to_vec());
    assert_eq!(browser.frame().await, (FINAL | BINARY, b"\xff is no UTF-8".to_vec()));
    browser.send(FINAL | CLOSE, &1000_u16.to_be_bytes()).await;
    assert_eq!(browser.frame().await, (FINAL | CLOSE, 1000_u16.to_be_bytes().to_vec()));
    browser.ends().await;
    assert!(matches!(soon(inputs.recv()).await, Some(NetInput::Closed { flow: key }) if key == flow.key));
}

#[tokio::test]
async fn rfc_7118_the_same_over_tls() {
    let authority = Authority::new();
    let shown = authority.signs("switch", vec![dns("switch.example")]);
    let mut config = config(&[(Transport::Wss, V4)]);
    config.security.doors = vec![Door { origins: vec![ORIGIN.to_owned()], ..door(&shown, None) }];
    let (net, mut inputs) = start(config).expect("start");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let stream = authority.connect(bound(&net, 0), version, None).await.expect("TLS");
        let mut browser = Browser::open(stream).await;
        browser.send(FINAL | TEXT, &sip("ONE", 30)).await;
        let (flow, bytes) = message(&mut inputs).await;
        assert_eq!((bytes, flow.transport), (sip("ONE", 30), Transport::Wss));
        net.send(&Destination::Flow(flow), sip("BACK", 0));
        assert_eq!(browser.frame().await, (FINAL | TEXT, sip("BACK", 0)));
        drop(browser);
        assert!(matches!(soon(inputs.recv()).await, Some(NetInput::Closed { flow: key }) if key == flow.key));
    }
}

#[tokio::test]
async fn rfc_5626_3_5_1_keep_alives_in_frames_are_answered_and_are_no_messages() {
    let (net, mut inputs) = start(listening()).expect("start");
    let mut browser = browser(&net).await;
    browser.send(FINAL | TEXT, b"\r\n\r\n").await;
    assert_eq!(browser.frame().await, (FINAL | TEXT, b"\r\n".to_vec()));
    browser.send(FINAL | TEXT, b"\r\n").await;
    browser.send(FINAL | PING, b"1").await;
    assert_eq!(browser.frame().await, (FINAL | PONG, b"1".to_vec()));
    browser.send(FINAL | TEXT, &sip("ONE", 0)).await;
    assert_eq!(message(&mut inputs).await.1, sip("ONE", 0));
}

#[tokio::test]
async fn rfc_7118_5_two_messages_in_one_frame_too_much_and_no_frames_end_the_connection() {
    let (net, mut inputs) = start(listening()).expect("start");
    let two = [sip("ONE", 3), sip("TWO", 0)].concat();
    let cases = [
        (masked(FINAL | TEXT, &two), notice::Drop::Unreadable, 1002),
        (masked(FINAL | TEXT, &vec![b'x'; 5000]), notice::Drop::TooBig, 1009),
        // Of a client, unmasked (RFC 6455 5.1).
        (vec![FINAL | TEXT, 2, b'h', b'i'], notice::Drop::Unreadable, 1002),
        (masked(FINAL | 0x70 | TEXT, b"hi"), notice::Drop::Unreadable, 1002),
    ];
    for (bytes, reason, code) in cases {
        let mut browser = browser(&net).await;
        browser.0.write_all(&bytes).await.expect("write");
        assert_eq!(dropped(&mut inputs, reason).await, 1);
        assert_eq!(browser.frame().await, (FINAL | CLOSE, u16::to_be_bytes(code).to_vec()));
        browser.ends().await;
    }
    // The same in pieces is too much as well.
    let mut browser = browser(&net).await;
    browser.send(TEXT, &[b'x'; 3000]).await;
    browser.send(FINAL, &[b'x'; 3000]).await;
    assert_eq!(dropped(&mut inputs, notice::Drop::TooBig).await, 1);
    browser.ends().await;
}

#[tokio::test]
async fn a_request_that_is_refused_or_never_whole_is_closed_and_counted() {
    let mut config = listening();
    config.timing.handshake = Duration::from_millis(200);
    let (net, mut inputs) = start(config).expect("start");
    for (more, status) in
        [(VERSION.to_owned(), "400"), (format!("{VERSION}{PROTOCOL}Origin: https://evil.example\r\n"), "403")]
    {
        let mut page = Browser(soon(TcpStream::connect(bound(&net, 0))).await.expect("connect"));
        let head = page.ask(&request(&more)).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        page.ends().await;
        assert_eq!(dropped(&mut inputs, notice::Drop::WebSocketUpgrade).await, 1);
    }
    let mut slow = soon(TcpStream::connect(bound(&net, 0))).await.expect("connect");
    slow.write_all(b"GET / HTTP/1.1\r\nHo").await.expect("write");
    assert_eq!(dropped(&mut inputs, notice::Drop::WebSocketUpgrade).await, 1);
    Browser(slow).ends().await;
    assert_eq!(net.connections(), 0);
}

#[tokio::test]
async fn the_first_message_may_come_with_the_request() {
    let (net, mut inputs) = start(listening()).expect("start");
    let mut stream = soon(TcpStream::connect(bound(&net, 0))).await.expect("connect");
    let mut bytes = request(&format!("{VERSION}{PROTOCOL}")).into_bytes();
    bytes.extend(masked(FINAL | TEXT, &sip("ONE", 30)));
    stream.write_all(&bytes).await.expect("write");
    assert_eq!(message(&mut inputs).await.1, sip("ONE", 30));
}

#[tokio::test]
async fn rfc_7118_6_a_known_page_is_pinged_and_one_that_does_not_answer_is_gone() {
    let mut config = listening();
    config.timing.ping = Duration::from_millis(100);
    let (net, mut inputs) = start(config).expect("start");
    let mut browser = browser(&net).await;
    browser.send(FINAL | TEXT, &sip("REGISTER", 0)).await;
    let (flow, _) = message(&mut inputs).await;
    net.keep(flow.key);
    for _ in 0..3 {
        assert_eq!(browser.frame().await, (FINAL | PING, Vec::new()));
        browser.send(FINAL | PONG, b"").await;
    }
    assert_eq!(browser.frame().await, (FINAL | PING, Vec::new()));
    assert!(matches!(soon(inputs.recv()).await, Some(NetInput::Closed { flow: key }) if key == flow.key));
}

#[tokio::test]
async fn rfc_7118_6_nobody_can_be_called_by_websocket() {
    let (net, mut inputs) = start(listening()).expect("start");
    for transport in [Transport::Ws, Transport::Wss] {
        let to = Destination::address(transport, "127.0.0.3:5066".parse().expect("address"));
        net.send(&to, sip("ONE", 0));
        failed(&mut inputs, to).await;
    }
}

#[tokio::test]
async fn a_page_that_never_reads_costs_only_itself() {
    let mut config = listening();
    config.output = 64 * 1024;
    let (net, mut inputs) = start(config).expect("start");
    let (mut slow, mut good) = (browser(&net).await, browser(&net).await);
    slow.send(FINAL | TEXT, &sip("SLOW", 0)).await;
    let (flow, _) = message(&mut inputs).await;
    let mut closed = false;
    for _ in 0..10_000 {
        net.send(&Destination::Flow(flow), vec![b'x'; 32 * 1024]);
        good.send(FINAL | PING, b"").await;
        assert_eq!(good.frame().await, (FINAL | PONG, Vec::new()));
        while let Some(input) = inputs.try_recv() {
            closed |= matches!(input, NetInput::Dropped { reason: notice::Drop::SlowReader, count: 1 });
        }
        if closed {
            break;
        }
    }
    assert!(closed, "the slow reader is never felt");
    slow.ends().await;
}
