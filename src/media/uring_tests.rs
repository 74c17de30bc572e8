//! A kernel that takes nothing for a while; and what comes of legs that are gone. Where io_uring is forbidden the tests
//! say so.

use rustix::event::{EventfdFlags, eventfd};

use super::*;

fn ring(sockets: usize) -> Option<Uring> {
    let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).expect("made");
    let ring = Uring::new(sockets, &wake).ok();
    if ring.is_none() {
        println!("io_uring is forbidden or too old here: not tried");
    }
    ring
}

fn bound() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
    socket
}

fn at(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().expect("bound")
}

fn is_let_go(socket: UdpSocket) -> bool {
    let at = at(&socket);
    drop(socket);
    UdpSocket::bind(at).is_ok()
}

#[test]
fn a_leg_is_forgotten_though_the_kernel_first_takes_nothing() {
    let Some(mut ring) = ring(1) else { return };
    for deaf in [0, 1, 5, PATIENCE - 1] {
        let (socket, peer) = (bound(), bound());
        ring.watch(0, &socket).expect("watched");
        assert!(ring.send(0, b"last words", at(&peer)));
        ring.deaf = deaf;
        ring.forget(0);
        assert_eq!(peer.recv_from(&mut [0; 16]).expect("sent before"), (10, at(&socket)));
        assert!(is_let_go(socket) && ring.deaf == 0, "after {deaf} refusals");
    }
}

#[test]
fn who_comes_after_a_leg_that_the_kernel_would_not_let_go_waits_for_it_and_says_nothing_for_it() {
    let Some(mut ring) = ring(2) else { return };
    let (former, next, peer) = (bound(), bound(), bound());
    ring.watch(0, &former).expect("watched");
    assert!(ring.send(0, b"of the former", at(&peer)));
    ring.deaf = 3 * PATIENCE;
    ring.forget(0);
    assert!(!ring.send(0, b"of nobody", at(&peer)), "it is gone");
    assert!(ring.watch(0, &next).is_err() && ring.watch(0, &next).is_err());
    assert_eq!(ring.deaf, 0);
    ring.watch(0, &next).expect("watched");
    assert!(ring.send(0, b"next", at(&peer)));
    ring.wait(Some(Duration::ZERO));
    let mut bytes = [0; 16];
    assert_eq!(peer.recv_from(&mut bytes).expect("heard"), (13, at(&former)));
    assert_eq!(peer.recv_from(&mut bytes).expect("heard"), (4, at(&next)));
    // What is for the former one is not the next one's.
    let former_at = at(&former);
    assert!(is_let_go(former));
    peer.send_to(b"late", former_at).expect("sent");
    peer.send_to(b"early", at(&next)).expect("sent");
    let mut buffer = [0; DATAGRAM];
    let arrived = (0..50).find_map(|_| {
        ring.wait(Some(Duration::from_millis(100)));
        ring.next(&mut buffer)
    });
    assert!(arrived == Some(Arrived::Datagram { mark: 0, from: at(&peer), length: 5 }));
}

#[test]
fn every_order_of_a_leg_that_ends_is_given_back_with_its_buffers_and_slots() {
    let Some(mut ring) = ring(4) else { return };
    let peer = bound();
    for _ in 0..100 {
        let sockets: Vec<UdpSocket> = (0..4).map(|_| bound()).collect();
        for (mark, socket) in sockets.iter().enumerate() {
            ring.watch(mark as u32, socket).expect("watched");
            for _ in 0..10 {
                peer.send_to(&[7; 200], at(socket)).expect("sent");
            }
            assert!(ring.send(mark as u32, &[1], at(&peer)));
        }
        ring.wait(Some(Duration::ZERO));
        (0..4).for_each(|mark| ring.forget(mark));
        let mut buffer = [0; DATAGRAM];
        assert!(ring.next(&mut buffer).is_none(), "nothing of the gone is told");
        assert!(sockets.into_iter().all(is_let_go));
    }
    ring.wait(Some(Duration::ZERO));
    // The wake-up's order alone.
    assert_eq!((ring.standing, ring.free_sends.len(), ring.free_buffers()), (1, SENDS, BUFFERS));
}
