//! One connection's life: how it is opened, what is cut from it, what is written to it, and when it has had its time.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::NetInput;
use super::carrier::{self, Carrier};
use super::link::{End, Link};
use super::stream::{Listening, Streams};
use super::tls::Door;
use super::websocket::{self, Cut, Upgrade, WebSocket};
use crate::base::id::DomainKey;
use crate::sip::flow::{Flow, Transport};
use crate::sip::wire::frame::{Frame, StreamFramer};

/// A connection on which SIP can be spoken.
pub(super) type Opened = Result<(Carrier, Framing), End>;

/// How messages stand in the bytes.
pub(super) enum Framing {
    /// One after the other (RFC 3261 18.3).
    Stream(StreamFramer),
    /// In frames (RFC 7118).
    WebSocket(Box<WebSocket>),
}

impl Framing {
    fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::Stream(framer) => framer.push(bytes),
            Self::WebSocket(socket) => socket.push(bytes),
        }
    }

    fn next(&mut self) -> Option<Cut> {
        let framer = match self {
            Self::WebSocket(socket) => return socket.next(),
            Self::Stream(framer) => framer,
        };
        Some(match framer.next()? {
            Frame::Message(bytes) => Cut::Message(bytes),
            // RFC 5626 3.5.1: a single CRLF in answer.
            Frame::Ping => Cut::Answer(b"\r\n".to_vec()),
            Frame::Broken if framer.is_too_big() => Cut::End(End::TooBig),
            Frame::Broken => Cut::End(End::Unreadable),
        })
    }

    fn is_waiting(&self) -> bool {
        match self {
            Self::Stream(framer) => framer.is_waiting(),
            Self::WebSocket(socket) => socket.is_waiting(),
        }
    }
}

impl Streams {
    /// Opens what lies over a connection that came to us, in the time that there is for it.
    pub(super) async fn receive(&self, at: Listening, stream: TcpStream) -> Opened {
        let security = self.security();
        let door = security.doors.get(at.number).cloned().unwrap_or_default();
        let opening = self.receive_by(at.transport, door, stream);
        timeout(self.limits.timing.handshake, opening).await.unwrap_or(Err(match at.transport {
            Transport::Tls | Transport::Wss => End::TlsHandshake,
            Transport::Ws | Transport::Tcp | Transport::Udp => End::Upgrade,
        }))
    }

    async fn receive_by(&self, transport: Transport, door: Door, stream: TcpStream) -> Opened {
        let mut carrier = match transport {
            Transport::Tls | Transport::Wss => Carrier::accept(stream, door.tls).await?,
            Transport::Ws | Transport::Tcp | Transport::Udp => Carrier::Plain(stream),
        };
        if !transport.is_websocket() {
            return Ok((carrier, self.stream_framing()));
        }
        let rest = request(&mut carrier, &door.origins).await?;
        let mut socket = WebSocket::new(self.limits.message_size);
        socket.push(&rest);
        Ok((carrier, Framing::WebSocket(Box::new(socket))))
    }

    /// Opens what lies over a connection of ours.
    pub(super) async fn call(
        &self,
        transport: Transport,
        stream: TcpStream,
        peer: SocketAddr,
        domain: Option<DomainKey>,
    ) -> Opened {
        if transport == Transport::Tcp {
            return Ok((Carrier::Plain(stream), self.stream_framing()));
        }
        let security = self.security();
        let opening = Carrier::connect(stream, &security, peer, domain);
        let carrier =
            timeout(self.limits.timing.handshake, opening).await.unwrap_or(Err(End::TlsHandshake))?;
        Ok((carrier, self.stream_framing()))
    }

    fn stream_framing(&self) -> Framing {
        Framing::Stream(StreamFramer::new(self.limits.message_size))
    }

    /// From open to closed.
    pub(super) async fn live(&self, link: &Link, flow: Flow, opened: Opened) {
        match opened {
            Ok((mut carrier, framing)) => {
                let end = self.serve(link, flow, &mut carrier, framing).await;
                self.finish(link, end, Some(carrier)).await;
            }
            Err(end) => self.finish(link, end, None).await,
        }
    }

    async fn serve(&self, link: &Link, flow: Flow, carrier: &mut Carrier, framing: Framing) -> End {
        let _ = carrier.socket().set_nodelay(true);
        let shown = carrier.certificate().filter(|_| !link.ours);
        let names = shown.map_or_else(Vec::new, |shown| self.security().named_by(shown));
        let (from, to) = tokio::io::split(carrier);
        tokio::select! {
            end = self.read(link, flow, from, framing, names) => end,
            end = self.write(link, to) => end,
            end = self.ping(link) => end,
            end = link.stopped() => end,
        }
    }

    async fn read(
        &self,
        link: &Link,
        flow: Flow,
        mut from: impl AsyncRead + Unpin,
        mut framing: Framing,
        mut names: Vec<DomainKey>,
    ) -> End {
        let opened = Instant::now();
        let mut begun = None;
        loop {
            // Before reading: a WebSocket's first message may have come with the request.
            while let Some(cut) = framing.next() {
                begun = None;
                match cut {
                    Cut::Message(bytes) => {
                        link.speaks();
                        // Before its first word: who it is.
                        for domain in names.drain(..) {
                            let named = NetInput::Named { flow: flow.key, domain };
                            if !self.inputs.stream(link.is_named(), named).await {
                                return End::ShutDown;
                            }
                        }
                        if !self.inputs.stream(link.is_named(), NetInput::Message { flow, bytes }).await {
                            return End::ShutDown;
                        }
                    }
                    Cut::Answer(bytes) => {
                        if !self.push(link, bytes) {
                            return End::SlowReader;
                        }
                    }
                    Cut::End(end) => return end,
                }
            }
            begun = if framing.is_waiting() { begun.or_else(|| Some(Instant::now())) } else { None };
            let (deadline, end) = self.deadline(link, opened, begun);
            match timeout_at(deadline, carrier::read(&mut from, |bytes| framing.push(bytes))).await {
                // What was sent meanwhile may have moved the deadline.
                Err(_) if self.deadline(link, opened, begun).0 > deadline => {}
                Err(_) => return end,
                Ok(Ok(0) | Err(_)) => return End::Peer,
                Ok(Ok(_)) => link.hears(),
            }
        }
    }

    /// When to give up reading, and why.
    fn deadline(&self, link: &Link, opened: Instant, begun: Option<Instant>) -> (Instant, End) {
        let timing = self.limits.timing;
        let idle = if link.is_proven() { timing.idle } else { timing.unproven };
        let idle = (link.touched() + idle, End::Idle);
        let first = (!link.ours && !link.has_spoken()).then(|| (opened + timing.first, End::Unfinished));
        let message = begun.map(|begun| (begun + timing.message, End::Unfinished));
        [first, message].into_iter().flatten().fold(idle, |a, b| if b.0 < a.0 { b } else { a })
    }

    async fn write(&self, link: &Link, mut to: impl AsyncWrite + Unpin) -> End {
        loop {
            let chunk = link.next_chunk().await;
            match timeout(self.limits.timing.write, write_all(&mut to, &chunk)).await {
                Ok(Ok(())) => link.written(chunk.len()),
                Ok(Err(_)) => return End::Peer,
                Err(_) => return End::SlowReader,
            }
        }
    }

    /// A page in a browser can't ping by itself, so we do, and find out that it is gone (RFC 7118 6). A stranger's
    /// connection is not kept alive by us.
    async fn ping(&self, link: &Link) -> End {
        if !link.transport.is_websocket() {
            return std::future::pending().await;
        }
        let mut asked = false;
        loop {
            sleep(self.limits.timing.ping).await;
            if !link.take_heard() && asked {
                return End::Idle;
            }
            asked = link.is_proven();
            if asked && !self.push(link, websocket::ping()) {
                return End::SlowReader;
            }
        }
    }
}

/// Takes the request for a WebSocket and answers it. What came after it belongs to the WebSocket.
async fn request(carrier: &mut Carrier, origins: &[String]) -> Result<Vec<u8>, End> {
    let mut bytes = Vec::new();
    loop {
        match carrier::read(carrier, |more| bytes.extend_from_slice(more)).await {
            Ok(0) | Err(_) => return Err(End::Upgrade),
            Ok(_) => {}
        }
        match websocket::upgrade(&bytes, origins) {
            Upgrade::Wait => {}
            Upgrade::Accept { answer, rest } => {
                write_all(carrier, &answer).await.map_err(|_| End::Peer)?;
                return Ok(rest);
            }
            Upgrade::Refuse { answer } => {
                let _ = write_all(carrier, &answer).await;
                let _ = carrier.shutdown().await;
                return Err(End::Upgrade);
            }
        }
    }
}

/// TLS may hold some of it back until it is flushed.
async fn write_all(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}
