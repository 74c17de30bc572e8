//! A media thread's sockets by io_uring: one standing order a socket to receive (multishot, Linux 6.0), into
//! buffers that the kernel picks from a ring of ours, and what is to be sent goes in with the next wait. So a turn
//! costs one system call, however many packets it brings.
//!
//! The only file with `unsafe`: the kernel reads and writes memory of ours while we go on. All such memory is in
//! [`Memory`], whose address never changes and which lives until the kernel has given back every order.
//!
//! What may go wrong, and what then: a signal, no memory, no room for completions (EINTR, EAGAIN, EBUSY) leave orders
//! with us, and they are handed over by the next turn. No buffer is free (ENOBUFS): the order ends and is given anew
//! when some are. Completions beyond the room for them are kept by the kernel and end standing orders, which are given
//! anew too. What comes of a leg that is gone bears its generation, and only its buffer or slot is taken from it.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::io;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use io_uring::types::{BufRingEntry, CancelBuilder, Fd, Fixed, RecvMsgOut, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use socket2::SockAddr;

use super::batch::{Arrived, DATAGRAM};

/// Datagrams that are received and not yet looked at; more wait in their sockets.
const BUFFERS: usize = 2048;
/// When buffers ran out, so many of them are there for each order that is given anew. Where much has piled up, an order
/// takes several; more orders would only end at once for want of buffers, and cost what is needed to catch up.
const BUFFERS_AN_ORDER: usize = 8;
/// Datagrams on their way out; more are sent one by one.
const SENDS: usize = 512;
/// What is longer is sent by itself.
const SEND_ROOM: usize = 1536;
/// Room for orders, which are handed over when it is full.
const ORDERS: u32 = 512;
/// Completions beyond are kept by the kernel, at some cost.
const MAX_COMPLETIONS: usize = 65_536;
/// Before a datagram the kernel writes a header of four words and the address it came from.
const NAME: usize = size_of::<libc::sockaddr_in6>();
const RECEIVED: usize = 16 + NAME + DATAGRAM;
/// The group of our buffers.
const GROUP: u16 = 0;
/// How often the kernel is asked for an order back, or to take one; it does at the first or second time.
const PATIENCE: u32 = 200;
/// So long it may look for an order that is to be given back.
const SEARCH: Timespec = Timespec::new().nsec(100_000_000);
// Its ring of buffers counts by 16 bits and takes a part of them for the place.
const _: () = assert!(BUFFERS.is_power_of_two() && BUFFERS <= 1 << 15);

/// What a generation has of bits, all of them set.
const MOST_GENERATIONS: u32 = 0x3fff_ffff;

/// What a completion is of: two bits of kind, 30 of generation, 32 of mark or slot.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Receive { mark: u32, generation: u32 },
    Send { slot: u32 },
    Wake,
}

/// See the module.
pub struct Uring {
    ring: ManuallyDrop<IoUring>,
    memory: &'static Memory,
    /// The same as its owner has it: freed by `Drop` when nothing can write to it any more.
    owned: *mut Memory,
    /// Our count of buffers given to the kernel, as its ring counts them.
    tail: u16,
    free_sends: Vec<u32>,
    sockets: Vec<Watched>,
    /// Sockets whose standing order has ended and must be given anew.
    ended: VecDeque<u32>,
    arrived: VecDeque<Received>,
    wake: i32,
    /// The order for wake-ups stands.
    waking: bool,
    woken: bool,
    /// Orders that the kernel has not given back.
    standing: usize,
    /// So many times it takes nothing, for a test.
    #[cfg(test)]
    deaf: u32,
}

#[derive(Clone, Copy, Default)]
struct Watched {
    active: bool,
    /// Nobody has it, and the kernel has not let go of it.
    leaving: bool,
    /// Its order is with the kernel.
    standing: bool,
    /// Counts who had this mark, so that nobody gets what came for another.
    generation: u32,
}

struct Received {
    mark: u32,
    generation: u32,
    buffer: u16,
    length: usize,
}

/// What the kernel reads and writes by itself.
struct Memory {
    entries: Entries,
    received: Box<[UnsafeCell<[u8; RECEIVED]>]>,
    sends: Box<[UnsafeCell<Sending>]>,
    /// What is wanted of each datagram: the address that it came from.
    wanted: libc::msghdr,
}

/// The ring in which buffers are given to the kernel.
#[repr(C, align(4096))]
struct Entries(UnsafeCell<[MaybeUninit<BufRingEntry>; BUFFERS]>);

struct Sending {
    to: SockAddr,
    bytes: [u8; SEND_ROOM],
}

impl Uring {
    /// Fails where the kernel is older than 6.1 or something forbids it.
    pub fn new(sockets: usize, wake: &OwnedFd) -> io::Result<Self> {
        // As many as may be open, else the kernel refuses.
        let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let sockets = most.map_or(sockets, |most| sockets.min(most as usize));
        // Every order may come back at the same time.
        let completions = (sockets + BUFFERS + SENDS).next_power_of_two().min(MAX_COMPLETIONS);
        let ring: IoUring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_cqsize(completions as u32)
            .build(ORDERS)?;
        ring.submitter().register_files_sparse(sockets as u32)?;
        let owned = Memory::new();
        // SAFETY: it was made right now, and is freed by `Drop` alone, when nothing is done with it any more. Nobody has
        // it but by shared references, and what the kernel writes is in cells.
        let memory = unsafe { &*owned };
        // SAFETY: the ring of buffers is zeroed, as long as is said, page-aligned, and never moved; it is freed after
        // the ring is closed (`Drop`), or when this fails not at all.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(
                memory.entries.0.get() as u64,
                BUFFERS as u16,
                GROUP,
                0,
            )?;
        }
        let mut this = Self {
            ring: ManuallyDrop::new(ring),
            memory,
            owned,
            tail: 0,
            free_sends: (0..SENDS as u32).collect(),
            sockets: vec![Watched::default(); sockets],
            ended: VecDeque::with_capacity(sockets),
            arrived: VecDeque::with_capacity(BUFFERS),
            wake: wake.as_raw_fd(),
            waking: false,
            woken: false,
            standing: 0,
            #[cfg(test)]
            deaf: 0,
        };
        (0..BUFFERS as u16).for_each(|buffer| this.give(buffer));
        this.publish();
        this.arm_wake();
        // A sandbox that lets rings be made may still forbid to use them.
        this.submit()?;
        Ok(this)
    }

    pub fn watch(&mut self, mark: u32, socket: &UdpSocket) -> io::Result<()> {
        let watched = self.sockets.get(mark as usize).ok_or(io::ErrorKind::QuotaExceeded)?;
        if watched.leaving && !self.let_go(mark) {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        self.ring.submitter().register_files_update(mark, &[socket.as_raw_fd()])?;
        self.sockets.get_mut(mark as usize).ok_or(io::ErrorKind::QuotaExceeded)?.active = true;
        self.arm(mark).then_some(()).ok_or_else(|| io::ErrorKind::ResourceBusy.into())
    }

    pub fn forget(&mut self, mark: u32) {
        let Some(watched) = self.sockets.get_mut(mark as usize).filter(|w| w.active) else { return };
        (watched.active, watched.leaving) = (false, true);
        self.ended.retain(|other| *other != mark);
        self.let_go(mark);
    }

    /// Takes back what the kernel has of a mark that nobody has any more. Whether another may have it: as long as an
    /// order is on its way, what is to be sent would go out of the other's socket, and the order to receive would come
    /// too late to be taken back.
    fn let_go(&mut self, mark: u32) -> bool {
        let Some(&Watched { generation, .. }) = self.sockets.get(mark as usize) else { return false };
        if !self.hand_over() {
            return false;
        }
        let order = CancelBuilder::user_data(Order::Receive { mark, generation }.mark());
        // An order that has ended is not found, and that is as well.
        let _cancelled = self.ring.submitter().register_sync_cancel(Some(SEARCH), order);
        // The kernel lets go of the socket when it has given back the order.
        for _ in 0..PATIENCE {
            if !self.stands(mark) {
                break;
            }
            self.enter(Some(Duration::ZERO));
        }
        if self.stands(mark) || self.ring.submitter().register_files_update(mark, &[-1]).is_err() {
            return false;
        }
        if let Some(watched) = self.sockets.get_mut(mark as usize) {
            *watched =
                Watched { generation: generation.wrapping_add(1) & MOST_GENERATIONS, ..Watched::default() };
        }
        true
    }

    fn stands(&self, mark: u32) -> bool {
        self.sockets.get(mark as usize).is_some_and(|watched| watched.standing)
    }

    /// Whether the kernel has all orders. A signal, or no room at the moment, lets it take them later.
    fn hand_over(&mut self) -> bool {
        for _ in 0..PATIENCE {
            let _submitted = self.submit();
            if self.ring.submission().is_empty() {
                return true;
            }
            // What has been done makes room.
            self.reap();
        }
        false
    }

    fn submit(&mut self) -> io::Result<usize> {
        #[cfg(test)]
        if self.deaf > 0 {
            self.deaf -= 1;
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        self.ring.submit()
    }

    pub fn wait(&mut self, timeout: Option<Duration>) -> bool {
        self.publish();
        for _ in 0..self.ended.len().min(self.free_buffers().div_ceil(BUFFERS_AN_ORDER)) {
            let Some(mark) = self.ended.pop_front() else { break };
            self.arm(mark);
        }
        if !self.waking {
            self.arm_wake();
        }
        let pressing = !self.arrived.is_empty() || !self.ended.is_empty() || self.woken;
        self.enter(if pressing { Some(Duration::ZERO) } else { timeout });
        std::mem::take(&mut self.woken)
    }

    /// Buffers that the kernel can fill.
    fn free_buffers(&self) -> usize {
        BUFFERS.saturating_sub(self.arrived.len())
    }

    /// Hands over what is to be done, and takes what has been done; waits for that, for so long.
    fn enter(&mut self, timeout: Option<Duration>) {
        // Time that is over, a signal: nothing has come, and that is as well.
        let _waited = match timeout {
            Some(timeout) => {
                let time = Timespec::from(timeout);
                self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&time))
            }
            None => self.ring.submit_and_wait(1),
        };
        self.reap();
    }

    pub fn next(&mut self, buffer: &mut [u8; DATAGRAM]) -> Option<Arrived> {
        loop {
            let received = self.arrived.pop_front()?;
            let read = self.read(&received, buffer);
            self.give(received.buffer);
            let now = self.sockets.get(received.mark as usize);
            let is_current = now.is_some_and(|w| w.active && w.generation == received.generation);
            if let Some((from, length)) = read.filter(|_| is_current) {
                return Some(Arrived::Datagram { mark: received.mark, from, length });
            }
        }
    }

    /// Whether it was taken.
    pub fn send(&mut self, mark: u32, bytes: &[u8], to: SocketAddr) -> bool {
        if bytes.len() > SEND_ROOM || !self.sockets.get(mark as usize).is_some_and(|w| w.active) {
            return false;
        }
        let Some(slot) = self.free_sends.pop() else { return false };
        let Some(cell) = self.memory.sends.get(slot as usize) else { return false };
        // SAFETY: the slot was free, so no order of the kernel's points to it, and `&mut self` keeps others out.
        let sending = unsafe { &mut *cell.get() };
        sending.to = to.into();
        sending.bytes[..bytes.len()].copy_from_slice(bytes);
        let entry = opcode::Send::new(Fixed(mark), sending.bytes.as_ptr(), bytes.len() as u32)
            .dest_addr(sending.to.as_ptr().cast())
            .dest_addr_len(sending.to.len() as _)
            // Never waits for room in the socket.
            .flags(libc::MSG_DONTWAIT)
            .build()
            .user_data(Order::Send { slot }.mark());
        // SAFETY: bytes and address are in `Memory`; the slot is free again only when the order has come back.
        let pushed = unsafe { self.push(&entry) };
        if !pushed {
            self.free_sends.push(slot);
        }
        pushed
    }

    /// Gives a socket its standing order.
    fn arm(&mut self, mark: u32) -> bool {
        let Some(watched) = self.sockets.get(mark as usize).filter(|w| w.active) else { return true };
        let order = Order::Receive { mark, generation: watched.generation };
        let entry = opcode::RecvMsgMulti::new(Fixed(mark), &raw const self.memory.wanted, GROUP)
            .build()
            .user_data(order.mark());
        // SAFETY: `wanted` and the buffers of the group are in `Memory`.
        let pushed = unsafe { self.push(&entry) };
        match self.sockets.get_mut(mark as usize) {
            Some(watched) if pushed => watched.standing = true,
            _ => self.ended.push_back(mark),
        }
        pushed
    }

    fn arm_wake(&mut self) {
        let entry = opcode::PollAdd::new(Fd(self.wake), libc::POLLIN as u32).multi(true).build();
        // SAFETY: it points to nothing.
        self.waking = unsafe { self.push(&entry.user_data(Order::Wake.mark())) };
    }

    /// # Safety
    /// What the entry points to is in `Memory`, and is not touched until its completion has been seen.
    unsafe fn push(&mut self, entry: &squeue::Entry) -> bool {
        for _ in 0..2 {
            // SAFETY: as promised by the caller; and `Memory` outlives every order (`Drop`).
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                self.standing += 1;
                return true;
            }
            let _submitted = self.submit();
        }
        false
    }

    /// Takes what the kernel has done.
    fn reap(&mut self) {
        for done in self.ring.completion() {
            let is_last = !cqueue::more(done.flags());
            self.standing -= usize::from(is_last);
            match Order::of(done.user_data()) {
                Order::Send { slot } => self.free_sends.push(slot),
                Order::Wake => {
                    self.woken = true;
                    self.waking = !is_last;
                }
                Order::Receive { mark, generation } => {
                    if let Some(buffer) = cqueue::buffer_select(done.flags()) {
                        let length = usize::try_from(done.result()).unwrap_or(0);
                        self.arrived.push_back(Received { mark, generation, buffer, length });
                    }
                    let own = self.sockets.get_mut(mark as usize).filter(|w| w.generation == generation);
                    if let Some(watched) = own.filter(|_| is_last) {
                        watched.standing = false;
                        // No buffer was free, or an error of the network: the next order finds what waits.
                        if watched.active {
                            self.ended.push_back(mark);
                        }
                    }
                }
            }
        }
    }

    /// From where, and how long; the datagram is copied.
    fn read(&self, received: &Received, buffer: &mut [u8; DATAGRAM]) -> Option<(SocketAddr, usize)> {
        let cell = self.memory.received.get(usize::from(received.buffer))?;
        // SAFETY: the kernel has given this buffer back and gets it again by `give`, after this.
        let bytes = unsafe { &*cell.get() };
        let datagram = RecvMsgOut::parse(bytes.get(..received.length)?, &self.memory.wanted).ok()?;
        let payload = datagram.payload_data();
        buffer.get_mut(..payload.len())?.copy_from_slice(payload);
        Some((address(datagram.name_data())?, payload.len()))
    }

    /// Puts a buffer into the kernel's ring; it is the kernel's with the next `publish`.
    fn give(&mut self, buffer: u16) {
        let Some(cell) = self.memory.received.get(usize::from(buffer)) else { return };
        let entries = self.memory.entries.0.get().cast::<BufRingEntry>();
        // SAFETY: the place is inside the ring and zeroed at least; the kernel does not read it before the tail has
        // passed it, and each buffer is in the ring at most once, so no place is overwritten before it is used.
        let entry = unsafe { &mut *entries.add(usize::from(self.tail) % BUFFERS) };
        entry.set_addr(cell.get() as u64);
        entry.set_len(RECEIVED as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&mut self) {
        // SAFETY: the tail is a word of the first entry, aligned to two; we alone write it.
        let tail =
            unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.memory.entries.0.get().cast()).cast_mut()) };
        // What was written to the entries before is seen by who sees the tail.
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        self.hand_over();
        let _cancelled = self.ring.submitter().register_sync_cancel(Some(SEARCH), CancelBuilder::any());
        let time = Timespec::from(Duration::from_millis(10));
        for _ in 0..PATIENCE {
            if self.standing == 0 {
                break;
            }
            let _waited = self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&time));
            self.reap();
        }
        // SAFETY: neither is used after this. The ring is closed before the memory goes; that is freed only when the
        // kernel has no order left that could write to it, and else left as it is for ever.
        unsafe {
            ManuallyDrop::drop(&mut self.ring);
            if self.standing == 0 {
                drop(Box::from_raw(self.owned));
            }
        }
    }
}

impl Memory {
    /// 32 KiB pass by the stack, once.
    #[allow(clippy::large_stack_arrays)]
    fn new() -> *mut Self {
        let nowhere = || SockAddr::from(SocketAddr::from(([0, 0, 0, 0], 0)));
        let sending = || UnsafeCell::new(Sending { to: nowhere(), bytes: [0; SEND_ROOM] });
        Box::into_raw(Box::new(Self {
            entries: Entries(UnsafeCell::new([const { MaybeUninit::zeroed() }; BUFFERS])),
            received: (0..BUFFERS).map(|_| UnsafeCell::new([0; RECEIVED])).collect(),
            sends: (0..SENDS).map(|_| sending()).collect(),
            wanted: libc::msghdr {
                msg_name: ptr::null_mut(),
                msg_namelen: NAME as u32,
                // SAFETY: a plain structure of C, for which all zeroes is a value.
                ..unsafe { std::mem::zeroed() }
            },
        }))
    }
}

impl Order {
    fn mark(self) -> u64 {
        match self {
            Self::Receive { mark, generation } => u64::from(generation) << 32 | u64::from(mark),
            Self::Send { slot } => 1 << 62 | u64::from(slot),
            Self::Wake => 2 << 62,
        }
    }

    fn of(mark: u64) -> Self {
        match mark >> 62 {
            0 => Self::Receive { mark: mark as u32, generation: (mark >> 32) as u32 },
            1 => Self::Send { slot: mark as u32 },
            _ => Self::Wake,
        }
    }
}

/// As the kernel writes it: family, port and address, with the port in the network's order.
fn address(name: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(*name.first_chunk()?);
    let port = u16::from_be_bytes(*name.get(2..)?.first_chunk()?);
    match i32::from(family) {
        libc::AF_INET => Some((*name.get(4..)?.first_chunk::<4>()?, port).into()),
        libc::AF_INET6 => {
            let flow = u32::from_ne_bytes(*name.get(4..)?.first_chunk()?);
            let ip = Ipv6Addr::from(*name.get(8..)?.first_chunk::<16>()?);
            let scope = u32::from_ne_bytes(*name.get(24..)?.first_chunk()?);
            Some(SocketAddrV6::new(ip, port, flow, scope).into())
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "uring_tests.rs"]
mod tests;
