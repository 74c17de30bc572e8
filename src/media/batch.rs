//! How a media thread waits for its sockets, receives and sends: by epoll, which is everywhere, or by io_uring,
//! which takes many packets a system call, where kernel and sandbox allow it. Which one is chosen at the start.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};

use super::uring::Uring;
use crate::base::quiet::quiet_debug;

/// Room for a datagram; what is longer is cut and then refused.
pub const DATAGRAM: usize = 2048;
/// Sockets that are found ready in one turn.
const READY: usize = 256;
/// The wake-up's mark among the sockets.
const WAKE: u64 = u64::MAX;

/// What the operator wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IoChoice {
    /// io_uring where it works, else epoll.
    #[default]
    Auto,
    Epoll,
    IoUring,
}

/// What a thread has.
pub enum Io {
    Epoll(Epoll),
    Uring(Box<Uring>),
}

/// What a turn brought of a socket, which is known by its mark.
#[derive(PartialEq, Eq)]
pub enum Arrived {
    /// There is something to be taken from the socket.
    Ready(u32),
    /// A datagram, which lies in the buffer that was lent.
    Datagram { mark: u32, from: SocketAddr, length: usize },
}

impl Io {
    /// On the thread that will use it. `sockets` is how many there will be at most; a datagram on `wake` ends a wait.
    pub fn new(choice: IoChoice, sockets: usize, wake: &OwnedFd) -> io::Result<Self> {
        if choice != IoChoice::Epoll
            && let Ok(uring) = Uring::new(sockets, wake)
        {
            return Ok(Self::Uring(Box::new(uring)));
        }
        Ok(Self::Epoll(Epoll::new(wake)?))
    }

    /// The one that was chosen.
    pub fn chosen(&self) -> IoChoice {
        match self {
            Self::Epoll(_) => IoChoice::Epoll,
            Self::Uring(_) => IoChoice::IoUring,
        }
    }

    /// From now on what comes to a socket of ours is told by its mark.
    pub fn watch(&mut self, mark: u32, socket: &UdpSocket) -> io::Result<()> {
        match self {
            Self::Epoll(epoll) => epoll.watch(u64::from(mark), socket),
            Self::Uring(uring) => uring.watch(mark, socket),
        }
    }

    /// From now on nothing is taken from the socket, and nothing that was taken is told.
    pub fn forget(&mut self, mark: u32, socket: &UdpSocket) {
        match self {
            Self::Epoll(epoll) => epoll.forget(socket),
            Self::Uring(uring) => uring.forget(mark),
        }
    }

    /// Waits until something has come, or for so long. Whether a wake-up has.
    pub fn wait(&mut self, timeout: Option<Duration>) -> bool {
        match self {
            Self::Epoll(epoll) => epoll.wait(timeout),
            Self::Uring(uring) => uring.wait(timeout),
        }
    }

    /// What has come, one after the other.
    pub fn next(&mut self, buffer: &mut [u8; DATAGRAM]) -> Option<Arrived> {
        match self {
            Self::Epoll(epoll) => epoll.next(),
            Self::Uring(uring) => uring.next(buffer),
        }
    }

    /// Sends from a watched socket, at the latest with the next wait. What can't be sent is lost, as on a wire.
    pub fn send(&mut self, mark: u32, socket: &UdpSocket, bytes: &[u8], to: SocketAddr) {
        let taken = match self {
            Self::Epoll(_) => false,
            Self::Uring(uring) => uring.send(mark, bytes, to),
        };
        if !taken {
            let _sent = socket.send_to(bytes, to);
        }
    }
}

/// Readiness, level triggered: what is left in a socket is told again.
pub struct Epoll {
    sockets: OwnedFd,
    ready: Vec<epoll::Event>,
    next: usize,
}

impl Epoll {
    fn new(wake: &OwnedFd) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, wake, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
        Ok(Self { sockets: epoll, ready: Vec::with_capacity(READY), next: 0 })
    }

    fn watch(&self, mark: u64, socket: &UdpSocket) -> io::Result<()> {
        Ok(epoll::add(&self.sockets, socket, epoll::EventData::new_u64(mark), epoll::EventFlags::IN)?)
    }

    fn forget(&self, socket: &UdpSocket) {
        let _forgotten = epoll::delete(&self.sockets, socket);
    }

    fn wait(&mut self, timeout: Option<Duration>) -> bool {
        self.next = 0;
        self.ready.clear();
        let timeout =
            timeout.map(|t| Timespec { tv_sec: t.as_secs() as i64, tv_nsec: i64::from(t.subsec_nanos()) });
        // A wait that is interrupted brings nothing, and the next one will.
        let _waited = epoll::wait(&self.sockets, spare_capacity(&mut self.ready), timeout.as_ref());
        self.ready.iter().any(|event| event.data.u64() == WAKE)
    }

    fn next(&mut self) -> Option<Arrived> {
        loop {
            let mark = self.ready.get(self.next)?.data.u64();
            self.next += 1;
            if mark != WAKE {
                return Some(Arrived::Ready(mark as u32));
            }
        }
    }
}

quiet_debug!(Arrived => "Arrived");

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
