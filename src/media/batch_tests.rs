//! Both ways of I/O do the same; where io_uring is forbidden, the other one alone is tried, and the test says so.

use std::net::IpAddr;
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

use super::*;

const PATIENCE: Duration = Duration::from_secs(5);

/// A thread's side: watched sockets, by their mark.
struct Side {
    io: Io,
    wake: Arc<OwnedFd>,
    sockets: Vec<UdpSocket>,
}

impl Side {
    fn all(count: usize, local: IpAddr) -> Vec<Self> {
        let ways = [IoChoice::Epoll, IoChoice::IoUring].map(|choice| Self::new(choice, count, local));
        let [epoll, uring] = ways;
        assert_eq!(epoll.io.chosen(), IoChoice::Epoll);
        if uring.io.chosen() == IoChoice::IoUring {
            return vec![epoll, uring];
        }
        println!("io_uring is forbidden or too old here: not tried");
        vec![epoll]
    }

    fn new(choice: IoChoice, count: usize, local: IpAddr) -> Self {
        let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).expect("made"));
        let io = Io::new(choice, count, &wake).expect("one of both works");
        let sockets: Vec<UdpSocket> = (0..count).map(|_| bound(local)).collect();
        let mut side = Self { io, wake, sockets };
        for (mark, socket) in side.sockets.iter().enumerate() {
            side.io.watch(mark as u32, socket).expect("watched");
        }
        side
    }

    fn at(&self, mark: usize) -> SocketAddr {
        self.sockets[mark].local_addr().expect("bound")
    }

    /// The next datagram: mark, source, bytes.
    fn take(&mut self) -> (u32, SocketAddr, Vec<u8>) {
        self.try_take(PATIENCE).expect("a datagram")
    }

    fn try_take(&mut self, patience: Duration) -> Option<(u32, SocketAddr, Vec<u8>)> {
        let mut buffer = [0; DATAGRAM];
        for _ in 0..8 {
            while let Some(arrived) = self.io.next(&mut buffer) {
                match arrived {
                    Arrived::Datagram { mark, from, length } => {
                        return Some((mark, from, buffer[..length].to_vec()));
                    }
                    Arrived::Ready(mark) => {
                        if let Ok((length, from)) = self.sockets[mark as usize].recv_from(&mut buffer) {
                            return Some((mark, from, buffer[..length].to_vec()));
                        }
                    }
                }
            }
            self.io.wait(Some(patience));
        }
        None
    }
}

fn bound(local: IpAddr) -> UdpSocket {
    let socket = UdpSocket::bind((local, 0)).expect("a port");
    socket.set_nonblocking(true).expect("set");
    socket
}

fn peer(local: IpAddr) -> UdpSocket {
    let socket = UdpSocket::bind((local, 0)).expect("a port");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    socket
}

fn loopbacks() -> [IpAddr; 2] {
    [[127, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into()]
}

#[test]
fn a_datagram_is_told_with_mark_and_source_and_goes_out_of_the_socket_that_is_named() {
    for local in loopbacks() {
        for mut side in Side::all(3, local) {
            let peer = peer(local);
            let own = peer.local_addr().expect("bound");
            for (mark, words) in [(2, "two"), (0, ""), (1, "one")] {
                peer.send_to(words.as_bytes(), side.at(mark)).expect("sent");
                assert_eq!(side.take(), (mark as u32, own, words.as_bytes().to_vec()));
                side.io.send(mark as u32, &side.sockets[mark], b"back", own);
                side.io.wait(Some(Duration::ZERO));
                let mut heard = [0; 8];
                assert_eq!(peer.recv_from(&mut heard).expect("heard"), (4, side.at(mark)));
            }
        }
    }
}

#[test]
fn more_datagrams_than_there_are_buffers_come_all_and_in_order() {
    const EACH: u32 = 200;
    let local = loopbacks()[0];
    for mut side in Side::all(16, local) {
        let peer = peer(local);
        for number in 0..EACH {
            for mark in 0..16 {
                peer.send_to(&number.to_be_bytes(), side.at(mark)).expect("sent");
            }
        }
        let mut next = [0u32; 16];
        for _ in 0..EACH * 16 {
            let (mark, _, bytes) = side.take();
            assert_eq!(bytes, next[mark as usize].to_be_bytes());
            next[mark as usize] += 1;
        }
        assert_eq!(next, [EACH; 16]);
    }
}

#[test]
fn more_is_sent_than_there_is_room_for_and_what_is_too_long_for_it() {
    let local = loopbacks()[0];
    for mut side in Side::all(1, local) {
        let peers: Vec<UdpSocket> = (0..16).map(|_| peer(local)).collect();
        for number in 0..100u32 {
            for peer in &peers {
                let to = peer.local_addr().expect("bound");
                side.io.send(0, &side.sockets[0], &number.to_be_bytes(), to);
            }
        }
        side.io.send(0, &side.sockets[0], &[7; 2000], peers[0].local_addr().expect("bound"));
        side.io.wait(Some(Duration::ZERO));
        let mut heard = [0; DATAGRAM];
        let mut numbers: Vec<u32> = Vec::new();
        let mut long = 0;
        for peer in &peers {
            for _ in 0..100 + usize::from(std::ptr::eq(peer, &raw const peers[0])) {
                match peer.recv(&mut heard).expect("heard") {
                    4 => numbers.push(u32::from_be_bytes([heard[0], heard[1], heard[2], heard[3]])),
                    length => long += length,
                }
            }
        }
        numbers.sort_unstable();
        assert!(long == 2000 && numbers.iter().copied().eq((0..100).flat_map(|n| [n; 16])));
    }
}

#[test]
fn a_long_datagram_is_cut_and_the_next_one_is_whole() {
    let local = loopbacks()[0];
    for mut side in Side::all(1, local) {
        let peer = peer(local);
        peer.send_to(&[9; 9000], side.at(0)).expect("sent");
        peer.send_to(b"next", side.at(0)).expect("sent");
        assert_eq!(side.take().2, vec![9; DATAGRAM]);
        assert_eq!(side.take().2, b"next");
    }
}

#[test]
fn who_gets_a_mark_after_another_hears_nothing_of_what_came_for_that_one() {
    let local = loopbacks()[0];
    for mut side in Side::all(2, local) {
        let peer = peer(local);
        for round in 0..50u8 {
            for _ in 0..5 {
                peer.send_to(b"for the former one", side.at(0)).expect("sent");
            }
            // Taken by the kernel, in part, and not yet told.
            side.io.wait(Some(PATIENCE));
            side.io.forget(0, &side.sockets[0]);
            let former = std::mem::replace(&mut side.sockets[0], bound(local));
            side.io.watch(0, &side.sockets[0]).expect("watched");
            peer.send_to(&[round], former.local_addr().expect("bound")).expect("sent");
            peer.send_to(&[round], side.at(0)).expect("sent");
            let (mark, _, bytes) = side.take();
            assert_eq!((mark, bytes), (0, vec![round]));
            // What comes to a socket that is forgotten stays there: whose port rests is seen to be spoken to.
            let mut last = Vec::new();
            let mut buffer = [0; 64];
            while let Ok(length) = former.recv(&mut buffer) {
                last = buffer[..length].to_vec();
            }
            assert_eq!(last, [round]);
        }
        peer.send_to(b"the other", side.at(1)).expect("sent");
        assert_eq!(side.take().0, 1);
    }
}

#[test]
fn a_wake_up_ends_a_wait_without_end_each_time_anew() {
    for mut side in Side::all(1, loopbacks()[0]) {
        for _ in 0..3 {
            let wake = Arc::clone(&side.wake);
            let waker = std::thread::spawn(move || rustix::io::write(&*wake, &1u64.to_ne_bytes()));
            while !side.io.wait(None) {}
            waker.join().expect("ended").expect("written");
            rustix::io::read(&*side.wake, &mut [0; 8]).expect("it has come");
            assert!(!side.io.wait(Some(Duration::ZERO)));
        }
    }
}

#[test]
fn where_io_uring_is_not_to_be_had_epoll_takes_its_place() {
    // A ring without room for any socket is refused by the kernel.
    let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).expect("made");
    for choice in [IoChoice::Auto, IoChoice::IoUring] {
        let io = Io::new(choice, 0, &wake).expect("epoll");
        assert_eq!(io.chosen(), IoChoice::Epoll);
    }
}

#[test]
fn an_end_with_orders_standing_and_datagrams_on_the_way_is_a_clean_one() {
    let local = loopbacks()[0];
    for _ in 0..5 {
        for mut side in Side::all(8, local) {
            let peer = peer(local);
            for mark in 0..8 {
                peer.send_to(b"unheard", side.at(mark)).expect("sent");
                let to = peer.local_addr().expect("bound");
                side.io.send(mark as u32, &side.sockets[mark], b"last words", to);
            }
            drop(side);
            for _ in 0..8 {
                assert_eq!(peer.recv(&mut [0; 64]).expect("sent at the end"), 10);
            }
        }
    }
}

#[test]
fn a_socket_that_is_forgotten_is_let_go() {
    let local = loopbacks()[0];
    for mut side in Side::all(2, local) {
        let mut missed = 0;
        for _ in 0..600 {
            for mark in [0, 1] {
                let at = side.at(mark);
                side.io.forget(mark as u32, &side.sockets[mark]);
                side.sockets[mark] = bound(local);
                side.io.watch(mark as u32, &side.sockets[mark]).expect("watched");
                missed += usize::from(UdpSocket::bind(at).is_err());
            }
        }
        assert_eq!(missed, 0, "ports that nobody has and nobody can have, without a wait between");
    }
}
