//! A counsellor's phone with lamps (RFC 6665) while the marked caller is about: it watches the line that the caller is
//! joined with and the mailbox, and may get to see states and numbers of messages, and nothing else.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::line_side::forbidden_at_lamp;
use super::support::digest::{AGENT, ALLOW, SUPPORTED};
use super::support::{Algorithm, Challenge, Dialog, Message, Peer, Server, reply};

/// The phone, answering by itself.
pub struct Lamp {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Peer>>,
}

impl Lamp {
    /// Switched on and subscribed.
    pub fn start(server: &Server) -> Self {
        let mut peer = server.phone(77);
        for (line, event) in [("fixed", "dialog"), ("fixed", "presence"), ("anna", "message-summary")] {
            subscribe(&mut peer, line, event);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let answer = move || {
            loop {
                let ends = stopped.load(Ordering::Relaxed);
                let notify = peer.wait_for(Duration::from_millis(100), &|m| m.is("NOTIFY"));
                match notify {
                    Some(notify) => peer.send(&reply(&notify, 200, None, None)),
                    None if ends => return peer,
                    None => {}
                }
            }
        };
        Self { stop, thread: Some(std::thread::spawn(answer)) }
    }

    /// All that came to it, each message as it is allowed.
    pub fn seen(mut self, switch: IpAddr) -> Vec<Vec<u8>> {
        self.stop.store(true, Ordering::Relaxed);
        let peer = self.thread.take().expect("started").join().expect("the lamp's thread");
        for datagram in &peer.raw {
            let message = Message::new(datagram);
            let wrong = forbidden_at_lamp(&message, switch);
            assert!(wrong.is_empty(), "{wrong:?} in\n{}", message.text);
        }
        peer.raw
    }
}

impl Drop for Lamp {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn subscribe(peer: &mut Peer, line: &str, event: &str) {
    let mut dialog = Dialog::to(peer, line);
    let event = format!("Event: {event}");
    peer.send(&dialog.request("SUBSCRIBE", &[&event, AGENT, ALLOW, SUPPORTED], ""));
    let refusal = dialog.await_final(peer, "SUBSCRIBE");
    let mut challenge = Challenge::of(&refusal, Algorithm::Sha256);
    let proof = challenge.answer("SUBSCRIBE", &dialog.target, "anna", "geheim-anna");
    peer.send(&dialog.request("SUBSCRIBE", &[&event, &proof], ""));
    let answer = dialog.await_final(peer, "SUBSCRIBE");
    assert_eq!(answer.status(), Some(200), "{}", answer.text);
}
