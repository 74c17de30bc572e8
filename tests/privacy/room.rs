//! A marked caller with two at once: a counsellor, and a third whom she brings in. Both hear the caller, and neither gets
//! anything that names him.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::caller::{Ear, FRAME, SSRC};
use super::line_side::assert_written_from_nothing;
use super::scene::Scene;
use super::support::rtp::SILENCE;
use super::support::{Algorithm, Challenge, Dialog, PATIENCE, Peer, Registration, Sdp};

const PASSWORD: &str = "geheim-anna";

/// The counsellor: her phone has registered.
pub struct Anna {
    pub peer: Peer,
    pub ear: Ear,
}

impl Scene {
    /// The caller reaches anna, who calls 106 from the same phone and brings all together.
    pub fn three_together(&mut self) {
        let place = self.server.place();
        let (mut peer, mut ear) = (self.server.phone(4), Ear::bind(place.host(4)));
        Registration::new(&peer, "anna", PASSWORD).succeed(&mut peer, Algorithm::Sha256);
        let (mut dialog, media) = self.caller.call("1712");
        let rings = self.speak_until_invited(&mut peer, media);
        let (desk, _, _) = Dialog::answered(&mut peer, rings, &Sdp::pcma(ear.local));
        let voice = self.voice.clone();
        self.caller.speak_until(media, &voice, |_| {
            ear.listen(Instant::now());
            ear.has_heard(0, &voice)
        });
        let (mut asking, asking_media) = self.ask_106(&mut peer, &ear);
        let third = self.third_to(asking_media, &mut ear);
        for key in "*75".chars() {
            press(&mut ear, asking_media, key);
        }
        // She goes on by the call in which she asked.
        desk.await_bye(&mut peer);
        self.server.wait_log("brought_together");
        self.both_hear(&mut ear, media, asking_media);
        self.caller.report(media);
        self.caller.hang_up(&mut dialog);
        asking.bye(&mut peer);
        third.await_bye(&mut self.carrier);
        self.anna = Some(Anna { peer, ear });
    }

    fn speak_until_invited(&mut self, peer: &mut Peer, media: SocketAddr) -> super::support::Message {
        let (voice, mut invite) = (self.voice.clone(), None);
        self.caller.speak_until(media, &voice, |_| {
            invite = peer.wait_for(Duration::from_millis(1), &|m| m.is("INVITE"));
            invite.is_some()
        });
        invite.expect("there")
    }

    /// Anna's phone proves that it is hers; where it is to send the audio of that call.
    fn ask_106(&mut self, peer: &mut Peer, ear: &Ear) -> (Dialog, SocketAddr) {
        let mut dialog = Dialog::to(peer, "106");
        let sdp = Sdp::pcma(ear.local).text();
        peer.send(&dialog.request("INVITE", &["Content-Type: application/sdp"], &sdp));
        let refusal = dialog.await_final(peer, "INVITE");
        assert_eq!(refusal.status(), Some(401), "{}", refusal.text);
        peer.send(&dialog.ack_refusal(&refusal));
        let mut challenge = Challenge::of(&refusal, Algorithm::Sha256);
        let proof = challenge.answer("INVITE", &dialog.target, "anna", PASSWORD);
        peer.send(&dialog.request("INVITE", &[&proof, "Content-Type: application/sdp"], &sdp));
        let (destination, invite, _) = Dialog::answer(&mut self.carrier, &Sdp::pcma(self.carrier_ear.local));
        assert_written_from_nothing(&invite, self.server.sip().ip());
        self.third = Some(destination);
        let answer = dialog.await_final(peer, "INVITE");
        assert_eq!(answer.status(), Some(200), "{}", answer.text);
        dialog.learn(&answer);
        peer.send(&dialog.ack(None));
        (dialog, Sdp::address(answer.body()))
    }

    /// Until 106 hears anna and no prompt.
    fn third_to(&mut self, media: SocketAddr, ear: &mut Ear) -> Dialog {
        let voice = super::support::prompts::noise("anna", FRAME);
        let begin = self.carrier_ear.heard.len();
        let deadline = Instant::now() + PATIENCE;
        while !self.carrier_ear.has_heard(begin, &voice) {
            assert!(Instant::now() < deadline, "106 does not hear anna");
            ear.say(media, &voice);
            self.carrier_ear.listen(Instant::now());
            ear.listen(Instant::now() + Duration::from_millis(20));
        }
        self.third.take().expect("answered")
    }

    /// The caller speaks, and who is silent hears it.
    fn both_hear(&mut self, ear: &mut Ear, media: SocketAddr, asking: SocketAddr) {
        let (at_anna, at_third) = (ear.heard.len(), self.carrier_ear.heard.len());
        let (voice, third) = (self.voice.clone(), &mut self.carrier_ear);
        let is_heard = |ear: &Ear, begin: usize| {
            let loud = |p: &&Vec<u8>| p[1] & 0x7f == 8 && p[12..].iter().any(|octet| *octet != SILENCE);
            // The tone that tells of a new one, and a second more.
            ear.heard[begin..].iter().filter(loud).count() >= 100
        };
        self.caller.speak_until(media, &voice, |_| {
            ear.say(asking, &[SILENCE; FRAME]);
            ear.listen(Instant::now());
            third.listen(Instant::now());
            is_heard(ear, at_anna) && is_heard(third, at_third)
        });
        for packet in ear.heard[at_anna..].iter().chain(&third.heard[at_third..]) {
            assert!(packet[0] == 0x80 && packet[8..12] != SSRC, "no source but our own");
        }
    }
}

fn press(ear: &mut Ear, to: SocketAddr, key: char) {
    let event = "0123456789*#".find(key).expect("a key") as u8;
    for (end, duration) in [(0, 160_u16), (0, 320), (0x80, 480), (0x80, 480), (0x80, 480)] {
        let [high, low] = duration.to_be_bytes();
        ear.say_as(101, to, &[event, end | 0x0a, high, low], 0);
    }
    ear.timestamp = ear.timestamp.wrapping_add(800);
}
