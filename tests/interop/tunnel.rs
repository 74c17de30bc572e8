//! TLS for a program that has none: what it says over TCP goes on over TLS, octet for octet, and back. Debian builds
//! SIPp without TLS.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};

use crate::support::certificates::{Authority, Wire, answer};

/// Whoever connects to the door is carried to the switch over TLS, from this address.
pub fn to_switch(authority: Authority, from: IpAddr, switch: SocketAddr) -> SocketAddr {
    let door = TcpListener::bind((from, 0)).expect("a door");
    let at = door.local_addr().expect("bound");
    thread::spawn(move || {
        for plain in door.incoming().flatten() {
            let (wire, socket, _) = authority.connect(from, switch, &rustls::version::TLS13);
            thread::spawn(move || carry(wire, &socket, plain));
        }
    });
    at
}

/// The switch's connections over TLS to this address are carried to the program behind it.
pub fn from_switch(at: SocketAddr, dir: PathBuf, certificate: &'static str, program: SocketAddr) {
    let door = TcpListener::bind(at).expect("a door");
    thread::spawn(move || {
        for socket in door.incoming().flatten() {
            let Some((wire, socket)) = answer(socket, &dir, certificate) else { continue };
            let plain = TcpStream::connect(program).expect("the program behind");
            thread::spawn(move || carry(wire, &socket, plain));
        }
    });
}

/// Until one side closes.
fn carry(mut wire: Box<dyn Wire>, socket: &TcpStream, mut plain: TcpStream) {
    socket.set_nonblocking(true).expect("a socket");
    plain.set_nonblocking(true).expect("a socket");
    let mut back = plain.try_clone().expect("a socket");
    loop {
        if !copy(&mut wire, &mut back) || !copy(&mut plain, &mut wire) {
            let _ = plain.shutdown(std::net::Shutdown::Both);
            let _ = socket.shutdown(std::net::Shutdown::Both);
            return;
        }
        let mut both = [PollFd::new(socket, PollFlags::IN), PollFd::new(&back, PollFlags::IN)];
        poll(&mut both, None).expect("polled");
    }
}

/// What is there. `false`: no more comes.
fn copy(from: &mut impl Read, to: &mut impl Write) -> bool {
    let mut bytes = [0; 16_384];
    loop {
        match from.read(&mut bytes) {
            Ok(0) => return false,
            // A few messages never fill a socket.
            Ok(length) => match to.write_all(&bytes[..length]).and_then(|()| to.flush()) {
                Ok(()) => {}
                Err(_) => return false,
            },
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(_) => return false,
        }
    }
}
