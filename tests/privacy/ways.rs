//! The ways of a call, each with a caller who is marked all over.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use super::caller::{FRAME, with_lines};
use super::line_side::{assert_own_rtcp, assert_own_rtp, assert_written_from_nothing};
use super::scene::{KEYED, Scene};
use super::support::rtp::SILENCE;
use super::support::{Dialog, Message, Sdp, reply};

impl Scene {
    /// Talks with a line: audio, keys, RTCP both ways, hold by either side, every method within the dialog; the
    /// caller hangs up.
    pub fn talk(&mut self) {
        let (mut dialog, media) = self.caller.call("fixed");
        let (mut line, invite, line_media) = Dialog::answer(&mut self.line, &Sdp::pcma(self.line_ear.local));
        assert_written_from_nothing(&invite, self.server.sip().ip());
        self.join(media, line_media);
        self.caller.report(media);
        self.caller.press(media, '5');
        let stranger = std::net::UdpSocket::bind((self.server.place().host(201), 0)).expect("a socket");
        self.caller.say_nonsense(media, &stranger);
        self.within(&mut dialog);
        self.hold(&mut dialog, &mut line, media, line_media);
        // Until RTCP of a call that lasts has come, too.
        let (ear, voice) = (&mut self.line_ear, self.voice.clone());
        self.caller.speak_until(media, &voice, |_| {
            ear.say(line_media, &[SILENCE; FRAME]);
            ear.listen(Instant::now());
            !ear.control.is_empty()
        });
        self.caller.hang_up(&mut dialog);
        line.await_bye(&mut self.line);
        self.line_ear.listen(Instant::now() + Duration::from_millis(20));
        let ours = assert_own_rtp(&self.line_ear.heard, &self.voice, &self.caller.ear.said);
        assert_own_rtcp(&self.line_ear.control, ours);
        let keys = self.line_ear.heard.iter().filter(|p| p[1] & 0x7f == 101).count();
        assert!(keys > 0, "the key came across");
    }

    /// Both speak until both are heard; what was heard before, in an earlier call, proves nothing.
    #[track_caller]
    fn join(&mut self, media: SocketAddr, line_media: SocketAddr) {
        let (at_line, at_caller) = (self.line_ear.heard.len(), self.caller.ear.heard.len());
        let (ear, voice) = (&mut self.line_ear, self.voice.clone());
        let answer = super::support::prompts::noise("counsellor", FRAME);
        self.caller.speak_until(media, &voice, |caller| {
            ear.say(line_media, &answer);
            ear.listen(Instant::now());
            ear.has_heard(at_line, &voice) && caller.ear.has_heard(at_caller, &answer)
        });
    }

    /// Every method within the dialog, and answers that nobody asked for.
    fn within(&mut self, dialog: &mut Dialog) {
        let caller = &mut self.caller;
        let word = caller.marks.word("INFO body");
        let keys = "Content-Type: application/dtmf-relay";
        let info = caller.ask(dialog, "INFO", keys, &format!("Signal=6\r\nDuration=160\r\nX={word}\r\n"));
        assert_eq!(info.status(), Some(200));
        let (kind, body) = caller.body("UPDATE", "sendrecv");
        assert_eq!(caller.ask(dialog, "UPDATE", &kind, &body).status(), Some(200));
        let refer = format!("Refer-To: <sip:{}@{}>", caller.marks.word("Refer-To"), caller.peer.local);
        assert_eq!(caller.ask(dialog, "REFER", &refer, "").status(), Some(403));
        for method in ["INFO", "MESSAGE", "NOTIFY", "SUBSCRIBE", "PRACK", "PUBLISH", "OPTIONS"] {
            let text = caller.marks.word(&format!("{method} body"));
            let answer = caller.ask(dialog, method, "Content-Type: text/plain", &text);
            assert!(answer.status() >= Some(200), "{method}");
        }
        let unknown = caller.marks.word("method").to_uppercase();
        caller.sent.extend(unknown.to_lowercase().as_bytes());
        assert_eq!(caller.ask(dialog, &unknown, "", "").status(), Some(501));
        let stray = dialog.same_branch("CANCEL", &[], "").replacen("CANCEL", "MESSAGE", 1);
        for status in [180, 200, 486] {
            let lines = caller.headers("stray answer");
            caller.send(&with_lines(&reply(&Message::new(stray.as_bytes()), status, None, None), &lines));
        }
    }

    /// Hold and resume by the caller, then by the line.
    fn hold(&mut self, dialog: &mut Dialog, line: &mut Dialog, media: SocketAddr, line_media: SocketAddr) {
        for direction in ["inactive", "sendonly", "sendrecv"] {
            let (kind, body) = self.caller.body("re-INVITE", direction);
            assert_eq!(self.caller.ask(dialog, "INVITE", &kind, &body).status(), Some(200));
        }
        for (version, direction) in [(2, "sendonly"), (3, "sendrecv")] {
            let sdp = Sdp { direction, version, ..Sdp::pcma(self.line_ear.local) };
            self.line.send(&line.invite(&sdp));
            assert_eq!(line.await_final(&mut self.line, "INVITE").status(), Some(200));
            self.line.send(&line.ack(None));
        }
        self.join(media, line_media);
    }

    /// The line hangs up: the caller's answer to our BYE has secrets, too.
    pub fn line_hangs_up(&mut self) {
        let (dialog, media) = self.caller.call("fixed");
        let (mut line, _, line_media) = Dialog::answer(&mut self.line, &Sdp::pcma(self.line_ear.local));
        self.join(media, line_media);
        line.bye(&mut self.line);
        self.caller.await_bye(&dialog);
    }

    /// The caller gives up while the line rings.
    pub fn abandon(&mut self) {
        let (mut dialog, _) = self.caller.call("fixed");
        let invite = self.line.wait("INVITE at the line", |m| m.is("INVITE"));
        let ringing = Dialog::answering(&self.line, &invite, "ringing");
        self.line.send(&reply(&invite, 180, Some(&ringing), None));
        self.caller.hang_up(&mut dialog);
        let cancel = self.line.wait("CANCEL", |m| m.is("CANCEL") && ringing.owns(m));
        self.line.send(&reply(&cancel, 200, None, None));
        self.line.send(&reply(&invite, 487, Some(&ringing), None));
        self.line.wait("ACK of the 487", |m| m.is("ACK") && ringing.owns(m));
    }

    /// The line sends the caller on to 106, which hangs up later.
    pub fn transfer(&mut self) {
        let (dialog, media) = self.caller.call("fixed");
        let (mut line, _, line_media) = Dialog::answer(&mut self.line, &Sdp::pcma(self.line_ear.local));
        self.join(media, line_media);
        let to = format!("Refer-To: <sip:tele-onthaal@{}>", self.server.sip());
        self.line.send(&line.request("REFER", &[&to], ""));
        assert_eq!(line.await_final(&mut self.line, "REFER").status(), Some(202));
        let mut destination = self.answer_at_106(media);
        for end in ["active", "terminated"] {
            let notify = self.line.wait("NOTIFY", |m| {
                m.is("NOTIFY") && line.owns(m) && m.header("Subscription-State").starts_with(end)
            });
            self.line.send(&reply(&notify, 200, None, None));
        }
        line.await_bye(&mut self.line);
        destination.bye(&mut self.carrier);
        self.caller.await_bye(&dialog);
    }

    /// Nobody is there; key 1 is for 106. The call out holds nothing of the caller either.
    pub fn refer_to_106(&mut self) {
        let (mut dialog, media) = self.caller.call("1712");
        self.press_until(media, '1', |scene| {
            scene.carrier.wait_for(Duration::from_millis(1), &|m| m.is("INVITE")).map(|invite| {
                let ringing = Dialog::answering(&scene.carrier, &invite, "early");
                scene.carrier.send(&reply(&invite, 180, Some(&ringing), None));
                let sdp = Sdp::pcma(scene.carrier_ear.local);
                scene.carrier.send(&reply(&invite, 200, Some(&ringing), Some(&sdp)));
                assert_written_from_nothing(&invite, scene.server.sip().ip());
                ringing
            })
        });
        self.carrier.wait("ACK at 106", |m| m.is("ACK"));
        self.hear_at_106(media);
        self.caller.hang_up(&mut dialog);
        let bye = self.carrier.wait("BYE at 106", |m| m.is("BYE"));
        self.carrier.send(&reply(&bye, 200, None, None));
    }

    fn answer_at_106(&mut self, media: SocketAddr) -> Dialog {
        let (dialog, invite, _) = Dialog::answer(&mut self.carrier, &Sdp::pcma(self.carrier_ear.local));
        assert_written_from_nothing(&invite, self.server.sip().ip());
        self.hear_at_106(media);
        dialog
    }

    fn hear_at_106(&mut self, media: SocketAddr) {
        let (ear, voice) = (&mut self.carrier_ear, self.voice.clone());
        let begin = ear.heard.len();
        self.caller.report(media);
        self.caller.speak_until(media, &voice, |_| {
            ear.listen(Instant::now());
            ear.has_heard(begin, &voice)
        });
        assert_own_rtp(&ear.heard[begin..], &voice, &self.caller.ear.said);
    }

    /// Presses a key each second, so that it is not missed, until it has its effect.
    fn press_until<T>(
        &mut self,
        media: SocketAddr,
        key: char,
        mut effect: impl FnMut(&mut Self) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + super::support::PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "key {key} has no effect");
            self.caller.press(media, key);
            let again = Instant::now() + Duration::from_secs(1);
            while Instant::now() < again {
                if let Some(effect) = effect(self) {
                    return effect;
                }
                self.caller.say(media, &[SILENCE; FRAME]);
                self.caller.ear.listen(Instant::now() + Duration::from_millis(20));
            }
        }
    }

    /// Speaks until a prompt is heard again.
    #[track_caller]
    fn hear_prompt(&mut self, media: SocketAddr, name: &str) {
        let prompt = super::support::prompts::alaw("nl", name);
        let (begin, voice) = (self.caller.ear.heard.len(), self.voice.clone());
        self.caller.speak_until(media, &voice, |caller| {
            caller.ear.heard[begin..].iter().any(|packet| packet.get(12..) == Some(&prompt[..FRAME]))
        });
    }

    /// A message without a number, ended by `#`.
    pub fn leave_message(&mut self) {
        let (dialog, media) = self.caller.call("message");
        self.record(media);
        self.caller.press(media, '1');
        self.hear_prompt(media, "message-kept");
        self.speak_until_bye(&dialog, media);
    }

    /// A message with a number to call back, keyed in.
    pub fn leave_number(&mut self) {
        let (dialog, media) = self.caller.call("1712");
        self.hear_prompt(media, "closed-menu");
        self.caller.press(media, '2');
        self.record(media);
        for (key, prompt) in [('1', "callback-ask"), ('1', "callback-enter")] {
            self.caller.press(media, key);
            self.hear_prompt(media, prompt);
        }
        for key in KEYED.chars().chain(['#']) {
            self.caller.press(media, key);
        }
        self.hear_prompt(media, "callback-confirm");
        self.caller.press(media, '1');
        self.hear_prompt(media, "callback-thanks");
        self.speak_until_bye(&dialog, media);
    }

    fn record(&mut self, media: SocketAddr) {
        self.begin_recording(media);
        let until = Instant::now() + Duration::from_millis(500);
        let voice = self.voice.clone();
        self.caller.speak_until(media, &voice, |_| Instant::now() >= until);
        self.caller.press(media, '#');
        self.hear_prompt(media, "message-keep-menu");
    }

    /// The words and the tone are over, and the switch is silent: it records.
    fn begin_recording(&mut self, media: SocketAddr) {
        self.hear_prompt(media, "message-intro");
        let (begin, voice) = (self.caller.ear.heard.len(), self.voice.clone());
        let is_silent = |packet: &Vec<u8>| packet.iter().skip(12).all(|octet| *octet == SILENCE);
        self.caller.speak_until(media, &voice, |caller| {
            let since = &caller.ear.heard[begin..];
            since.len() > 5 && since.iter().rev().take(3).all(is_silent)
        });
    }

    fn speak_until_bye(&mut self, dialog: &Dialog, media: SocketAddr) {
        let voice = self.voice.clone();
        let mut bye = None;
        self.caller.speak_until(media, &voice, |caller| {
            let is_bye = |m: &Message| m.is("BYE") && dialog.owns(m);
            bye = caller.peer.wait_for(Duration::from_millis(1), &is_bye);
            bye.is_some()
        });
        let lines = self.caller.headers("200 to BYE");
        let answer = with_lines(&reply(&bye.expect("there"), 200, None, None), &lines);
        self.caller.send(&answer);
    }

    /// Is in the midst of a message, of which something is on the disk.
    pub fn begin_message(&mut self) {
        let (_, media) = self.caller.call("message");
        self.begin_recording(media);
        let (folder, voice) = (self.server.site().data().join("messages"), self.voice.clone());
        let is_begun = |path: &Path| {
            path.extension().is_some_and(|e| e == "part") && fs::metadata(path).is_ok_and(|m| m.len() > 1000)
        };
        self.caller.speak_until(media, &voice, |_| {
            fs::read_dir(&folder).is_ok_and(|files| files.flatten().any(|file| is_begun(&file.path())))
        });
    }
}
