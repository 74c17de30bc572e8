//! A raw SIP peer over UDP, TCP, TLS or WebSocket: sends text, waits for a message that is meant.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};
use tungstenite::WebSocket;

use super::PATIENCE;
use super::certificates::Wire;
use super::message::Message;

enum Pipe {
    Udp(UdpSocket),
    Tcp(TcpStream),
    /// The socket below, for its time limit.
    Tls(Box<dyn Wire>, TcpStream),
    Web(Box<WebSocket<Box<dyn Wire>>>, TcpStream, &'static str),
}

/// A peer that speaks with the switch.
pub struct Peer {
    pipe: Pipe,
    pub local: SocketAddr,
    pub server: SocketAddr,
    /// Where the last datagram came from.
    pub last_source: Option<SocketAddr>,
    buffer: Vec<u8>,
    /// Came, but not waited for yet.
    unread: VecDeque<Message>,
    /// All that ever came, for the report of a test that fails.
    seen: Vec<String>,
    /// All that ever came, byte for byte: a datagram, or what was read of a stream at once, each.
    pub raw: Vec<Vec<u8>>,
    closed: bool,
    count: u32,
}

impl Peer {
    /// A UDP peer; port 0 takes any.
    pub fn udp(local: SocketAddr, server: SocketAddr) -> Self {
        let socket = UdpSocket::bind(local).unwrap_or_else(|e| panic!("{local}: {e}"));
        let local = socket.local_addr().expect("bound");
        Self::new(Pipe::Udp(socket), local, server)
    }

    /// Connects from this address.
    pub fn tcp(local: IpAddr, server: SocketAddr) -> Self {
        Self::over(connect(local, server), server)
    }

    /// Takes the connection that the switch opens to this listener.
    pub fn accept(listener: &TcpListener) -> Self {
        let (stream, from) = accepted(listener);
        Self::over(stream, from)
    }
    pub fn over(stream: TcpStream, server: SocketAddr) -> Self {
        let local = stream.local_addr().expect("connected");
        stream.set_nodelay(true).expect("a stream");
        Self::new(Pipe::Tcp(stream), local, server)
    }

    /// Over TLS that is there already, from this side or the other.
    pub fn tls((wire, socket): (Box<dyn Wire>, TcpStream), server: SocketAddr) -> Self {
        let local = socket.local_addr().expect("connected");
        socket.set_nodelay(true).expect("a stream");
        Self::new(Pipe::Tls(wire, socket), local, server)
    }

    /// A page that speaks SIP by WebSocket: `transport` is `WS` over TCP or `WSS` over TLS.
    pub fn web(
        (wire, socket): (Box<dyn Wire>, TcpStream),
        server: SocketAddr,
        transport: &'static str,
        origin: &str,
    ) -> Self {
        let request = tungstenite::http::Request::builder()
            .uri("ws://switch.example/")
            .header("Host", "switch.example")
            .header("Upgrade", "websocket")
            .header("Connection", "Upgrade")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Protocol", "sip")
            .header("Origin", origin)
            .body(())
            .expect("a request");
        let (web, _) = tungstenite::client(request, wire).unwrap_or_else(|e| panic!("no WebSocket: {e}"));
        let local = socket.local_addr().expect("connected");
        Self::new(Pipe::Web(Box::new(web), socket, transport), local, server)
    }

    fn new(pipe: Pipe, local: SocketAddr, server: SocketAddr) -> Self {
        Self {
            pipe,
            local,
            server,
            last_source: None,
            buffer: Vec::new(),
            unread: VecDeque::new(),
            seen: Vec::new(),
            raw: Vec::new(),
            closed: false,
            count: 0,
        }
    }

    /// As Via and `transport=` write it.
    pub fn transport(&self) -> &'static str {
        match self.pipe {
            Pipe::Udp(_) => "UDP",
            Pipe::Tcp(_) => "TCP",
            Pipe::Tls(..) => "TLS",
            Pipe::Web(_, _, transport) => transport,
        }
    }

    pub fn send(&mut self, text: &str) {
        self.send_bytes(text.as_bytes());
    }

    /// A connection that is closed under the writer is no fault of the test's.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        match &mut self.pipe {
            Pipe::Udp(socket) => {
                socket.send_to(bytes, self.server).expect("sent");
            }
            Pipe::Tcp(stream) => {
                if stream.write_all(bytes).is_err() {
                    self.closed = true;
                }
            }
            Pipe::Tls(stream, _) => {
                if stream.write_all(bytes).and_then(|()| stream.flush()).is_err() {
                    self.closed = true;
                }
            }
            Pipe::Web(web, _, _) => {
                let text = String::from_utf8(bytes.to_vec()).expect("text");
                if web.send(tungstenite::Message::text(text)).is_err() {
                    self.closed = true;
                }
            }
        }
    }

    /// Waits for a message that is meant; others are kept for later.
    pub fn wait(&mut self, what: &str, is_meant: impl Fn(&Message) -> bool) -> Message {
        self.wait_for(PATIENCE, &is_meant)
            .unwrap_or_else(|| panic!("{what} did not come to {}; came:\n{}", self.local, self.history()))
    }

    /// The same with a time of one's own; `None` when it has not come.
    pub fn wait_for(&mut self, patience: Duration, is_meant: &dyn Fn(&Message) -> bool) -> Option<Message> {
        if let Some(at) = self.unread.iter().position(is_meant) {
            return self.unread.remove(at);
        }
        let deadline = Instant::now() + patience;
        while let Some(message) = self.receive(deadline) {
            if is_meant(&message) {
                return Some(message);
            }
            self.unread.push_back(message);
        }
        None
    }

    /// Asks OPTIONS and waits for its answer; what came before it. Shows that the switch is alive, and that
    /// something that would have come by now has not.
    pub fn options(&mut self) -> Vec<Message> {
        self.count += 1;
        let id = format!("opt{}x{}", self.count, self.local.port());
        let (local, server, transport) = (self.local, self.server, self.transport());
        self.send(&format!(
            "OPTIONS sip:{server} SIP/2.0\r\nVia: SIP/2.0/{transport} {local};rport;branch=z9hG4bK{id}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:ping@{local}>;tag={id}\r\nTo: <sip:{server}>\r\nCall-ID: {id}\r\n\
             CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        ));
        self.wait("200 to OPTIONS", |m| m.is_final("OPTIONS") && m.call_id() == id);
        self.unread.drain(..).collect()
    }

    /// Waits until the switch closes the connection.
    pub fn wait_closed(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while let Some(message) = self.receive(deadline) {
            self.unread.push_back(message);
        }
        assert!(self.closed, "the connection stays open; came:\n{}", self.history());
    }

    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// All that ever came, first lines only.
    pub fn history(&self) -> String {
        self.seen.join("\n")
    }

    fn receive(&mut self, deadline: Instant) -> Option<Message> {
        loop {
            if let Some(message) = self.framed() {
                self.seen.push(message.start_line().to_owned());
                return Some(message);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if self.closed || left.is_zero() {
                return None;
            }
            self.read(left);
        }
    }

    fn read(&mut self, patience: Duration) {
        let mut bytes = vec![0; 65_536];
        let read = match &mut self.pipe {
            Pipe::Udp(socket) => {
                socket.set_read_timeout(Some(patience)).expect("a socket");
                socket.recv_from(&mut bytes).map(|(length, from)| {
                    self.last_source = Some(from);
                    length
                })
            }
            Pipe::Tcp(stream) => {
                stream.set_read_timeout(Some(patience)).expect("a stream");
                stream.read(&mut bytes)
            }
            Pipe::Tls(stream, socket) => {
                socket.set_read_timeout(Some(patience)).expect("a stream");
                stream.read(&mut bytes)
            }
            Pipe::Web(web, socket, _) => {
                socket.set_read_timeout(Some(patience)).expect("a stream");
                match web.read() {
                    Ok(tungstenite::Message::Text(text)) => {
                        bytes = text.as_bytes().to_vec();
                        Ok(bytes.len())
                    }
                    Ok(tungstenite::Message::Close(_)) => Ok(0),
                    Ok(_) => Err(ErrorKind::WouldBlock.into()),
                    Err(tungstenite::Error::Io(error)) => Err(error),
                    Err(_) => Ok(0),
                }
            }
        };
        match read {
            Ok(0) if !matches!(self.pipe, Pipe::Udp(_)) => self.closed = true,
            Ok(length) => {
                self.raw.push(bytes[..length].to_vec());
                self.buffer.extend(&bytes[..length]);
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof
                ) =>
            {
                self.closed = !matches!(self.pipe, Pipe::Udp(_));
            }
            // A timeout, or news of an ICMP message on UDP.
            Err(_) => {}
        }
    }

    /// The next whole message of the buffer.
    fn framed(&mut self) -> Option<Message> {
        if matches!(self.pipe, Pipe::Udp(_)) {
            let bytes = std::mem::take(&mut self.buffer);
            return (!bytes.is_empty()).then(|| Message::new(&bytes));
        }
        while self.buffer.starts_with(b"\r\n") {
            self.buffer.drain(..2);
        }
        let head = self.buffer.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
        let length = Message::new(&self.buffer[..head]).header("Content-Length").parse().unwrap_or(0);
        if self.buffer.len() < head + length {
            return None;
        }
        let rest = self.buffer.split_off(head + length);
        Some(Message::new(&std::mem::replace(&mut self.buffer, rest)))
    }
}

/// A TCP connection from this address.
pub fn connect(local: IpAddr, server: SocketAddr) -> TcpStream {
    let socket =
        Socket::new(Domain::for_address(server), Type::STREAM, Some(Protocol::TCP)).expect("a socket");
    socket.bind(&SocketAddr::from((local, 0)).into()).expect("bound");
    socket.connect_timeout(&server.into(), PATIENCE).unwrap_or_else(|e| panic!("{server}: {e}"));
    socket.into()
}

/// The connection that the switch opens to this listener, and where it comes from.
pub fn accepted(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let mut waiting = [PollFd::new(listener, PollFlags::IN)];
    let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    let ready = poll(&mut waiting, Some(&patience)).expect("waited");
    assert!(ready > 0, "the switch did not connect");
    listener.accept().expect("a connection")
}
