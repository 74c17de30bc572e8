//! One connection's state as others see it: what waits to be written, and why it must end.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::base::id::{DomainKey, FlowKey};
use crate::base::quiet::quiet_debug;
use crate::sip::flow::Transport;
use crate::telemetry::notice;

/// Bytes written at a time, unless one message is longer.
const CHUNK: usize = 64 * 1024;

/// Transport, address, and the name that a certificate had to have: what makes two connections to a peer the same.
pub(super) type Way = (Transport, SocketAddr, Option<DomainKey>);

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The peer closed it, or the network did.
    Peer,
    /// It could not be opened.
    NotOpened,
    /// What came is no SIP.
    Unreadable,
    TooBig,
    /// A message was not whole, or the first did not come, in time.
    Unfinished,
    TlsHandshake,
    /// The other end is not who it should be.
    PeerCertificate,
    /// The request for a WebSocket was refused, or did not come.
    Upgrade,
    Idle,
    SlowReader,
    /// Had proven nothing when the table was full.
    Evicted,
    ShutDown,
}

impl End {
    /// How it is counted, if it is the peer's fault.
    pub(super) fn drop_reason(self) -> Option<notice::Drop> {
        match self {
            Self::Peer | Self::NotOpened | Self::Idle | Self::ShutDown => None,
            Self::Unreadable => Some(notice::Drop::Unreadable),
            Self::TooBig => Some(notice::Drop::TooBig),
            Self::Unfinished => Some(notice::Drop::BadStart),
            Self::TlsHandshake => Some(notice::Drop::TlsHandshake),
            Self::PeerCertificate => Some(notice::Drop::PeerCertificate),
            Self::Upgrade => Some(notice::Drop::WebSocketUpgrade),
            Self::SlowReader => Some(notice::Drop::SlowReader),
            Self::Evicted => Some(notice::Drop::TooManyConnections),
        }
    }
}

/// Bytes that wait on all connections together.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    bytes: AtomicUsize,
    empty: Notify,
}

impl Backlog {
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Acquire)
    }

    pub(super) async fn emptied(&self) {
        loop {
            let empty = self.empty.notified();
            if self.bytes() == 0 {
                return;
            }
            empty.await;
        }
    }

    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    fn subtract(&self, bytes: usize) {
        if bytes > 0 && self.bytes.fetch_sub(bytes, Ordering::AcqRel) == bytes {
            self.empty.notify_waiters();
        }
    }
}

pub(super) struct Link {
    pub(super) key: FlowKey,
    /// The remote address it really has.
    pub(super) peer: SocketAddr,
    pub(super) transport: Transport,
    /// Over TLS that we opened: whom its certificate names, if not the address.
    pub(super) domain: Option<DomainKey>,
    /// Opened by us.
    pub(super) ours: bool,
    /// Has brought a whole message, so the core knows its flow.
    spoken: AtomicBool,
    /// The configuration named its peer when it was opened.
    named: AtomicBool,
    /// A byte has come since it was last asked.
    heard: AtomicBool,
    /// Its peer has shown who it is.
    proven: AtomicBool,
    end: OnceLock<End>,
    ended: Notify,
    output: Mutex<Output>,
    filled: Notify,
    touched: Mutex<Instant>,
    backlog: Arc<Backlog>,
}

struct Output {
    queue: VecDeque<Vec<u8>>,
    /// In the queue and in the writer's hand.
    bytes: usize,
    limit: usize,
    closed: bool,
}

impl Link {
    pub(super) fn new(
        key: FlowKey,
        (transport, peer, domain): Way,
        ours: bool,
        limit: usize,
        backlog: Arc<Backlog>,
    ) -> Self {
        Self {
            key,
            peer,
            transport,
            domain,
            ours,
            spoken: AtomicBool::new(false),
            named: AtomicBool::new(false),
            heard: AtomicBool::new(false),
            proven: AtomicBool::new(false),
            end: OnceLock::new(),
            ended: Notify::new(),
            output: Mutex::new(Output { queue: VecDeque::new(), bytes: 0, limit, closed: false }),
            filled: Notify::new(),
            touched: Mutex::new(Instant::now()),
            backlog,
        }
    }

    /// How it is found by who has no flow. One that came to us over TLS is not: who it is was not looked at.
    pub(super) fn way(&self) -> Option<Way> {
        (self.ours || self.transport != Transport::Tls).then_some((self.transport, self.peer, self.domain))
    }

    /// Queues for the writer; says whether it was taken. Past the limit the peer reads too slowly, and
    /// the connection ends.
    #[must_use]
    pub(super) fn push(&self, bytes: Vec<u8>) -> bool {
        let mut output = self.output();
        if output.closed {
            return false;
        }
        // One message of any length may wait alone.
        if output.bytes > 0 && output.bytes + bytes.len() > output.limit {
            drop(output);
            self.stop(End::SlowReader);
            return false;
        }
        output.bytes += bytes.len();
        self.backlog.add(bytes.len());
        output.queue.push_back(bytes);
        drop(output);
        self.filled.notify_one();
        true
    }

    /// The next bytes to write: several messages at once when they wait.
    pub(super) async fn next_chunk(&self) -> Vec<u8> {
        loop {
            if let Some(chunk) = self.take_chunk() {
                return chunk;
            }
            self.filled.notified().await;
        }
    }

    fn take_chunk(&self) -> Option<Vec<u8>> {
        let mut output = self.output();
        let mut chunk = output.queue.pop_front()?;
        while let Some(next) = output.queue.front()
            && chunk.len() + next.len() <= CHUNK
        {
            chunk.extend_from_slice(next);
            output.queue.pop_front();
        }
        Some(chunk)
    }

    /// The writer has handed so many bytes to the system.
    pub(super) fn written(&self, bytes: usize) {
        let mut output = self.output();
        output.bytes = output.bytes.saturating_sub(bytes);
        drop(output);
        self.backlog.subtract(bytes);
        self.touch();
    }

    /// Takes no more output; says how many bytes were never written.
    pub(super) fn close(&self) -> usize {
        let mut output = self.output();
        output.closed = true;
        output.queue = VecDeque::new();
        let unwritten = std::mem::take(&mut output.bytes);
        drop(output);
        self.backlog.subtract(unwritten);
        unwritten
    }

    /// Bytes that wait.
    pub(super) fn waiting(&self) -> usize {
        self.output().bytes
    }

    /// Ends the connection; the first reason stays.
    pub(super) fn stop(&self, end: End) {
        let _ = self.end.set(end);
        self.ended.notify_one();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.end.get().is_some()
    }

    pub(super) async fn stopped(&self) -> End {
        loop {
            if let Some(end) = self.end.get() {
                return *end;
            }
            self.ended.notified().await;
        }
    }

    pub(super) fn speaks(&self) {
        self.spoken.store(true, Ordering::Release);
    }

    pub(super) fn has_spoken(&self) -> bool {
        self.spoken.load(Ordering::Acquire)
    }

    /// The peer is one whom the configuration names.
    pub(super) fn name(&self) {
        self.named.store(true, Ordering::Release);
    }

    pub(super) fn is_named(&self) -> bool {
        self.named.load(Ordering::Acquire)
    }

    pub(super) fn proves(&self) {
        self.proven.store(true, Ordering::Release);
    }

    /// Ours, or of a peer that is known: it does not make room for others.
    pub(super) fn is_proven(&self) -> bool {
        self.ours || self.is_named() || self.proven.load(Ordering::Acquire)
    }

    /// A byte came.
    pub(super) fn hears(&self) {
        self.heard.store(true, Ordering::Release);
        self.touch();
    }

    /// Whether a byte has come since this was asked last.
    pub(super) fn take_heard(&self) -> bool {
        self.heard.swap(false, Ordering::AcqRel)
    }

    /// A byte went in either direction.
    pub(super) fn touch(&self) {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub(super) fn touched(&self) -> Instant {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn output(&self) -> MutexGuard<'_, Output> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

quiet_debug!(Link => "Link");
