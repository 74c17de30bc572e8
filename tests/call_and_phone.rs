//! `hulplijn call` and `hulplijn phone` against the running switch: who tries it for the first time, and who
//! watches over it, sees and hears what is so.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use hulplijn::media::g711::Law;
use rustix::process::Signal;
use support::prompts::{alaw, linear, noise, read_wav, write_wav};
use support::rtp::FRAME;
use support::server::{HELPLINE, Program, binary, repository};
use support::{Server, Site};

/// What a counsellor's phone shows of every caller.
const ANONYMOUS: &str = "rings, showing \"1712\" <sip:anonymous@anonymous.invalid>";
/// The caller's number in these tests.
const NUMBER: &str = "+32470123456";

/// One of the two commands beside the switch.
struct Run {
    program: Program,
    folder: PathBuf,
}

impl Run {
    /// Starts a command; `NET` in its arguments stands for the place's network, `DIR` for its directory.
    fn start(server: &Server, arguments: &str) -> Self {
        let site = server.site();
        let folder = site.dir.clone();
        let mut command = binary();
        for argument in arguments.split_whitespace() {
            let argument = argument.replace("DIR", &folder.display().to_string());
            command.arg(site.place.fill(&argument));
        }
        command.env("HULPLIJN_PASSWORD", "geheim-anna");
        Self { program: Program::start(command), folder }
    }

    /// Calls a number of the switch over its trunk.
    fn call(server: &Server, number: &str, arguments: &str) -> Self {
        let line = format!("call sip:{number}@NET.1:5060 --local NET.2 --from {NUMBER} {arguments}");
        Self::start(server, &line)
    }

    /// The phone of the line anna, registered.
    fn anna(server: &Server, arguments: &str) -> Self {
        let run = Self::start(server, &format!("phone --line anna --switch NET.1:5060 {arguments}"));
        run.wait("registered as anna");
        run
    }

    /// A phone that takes calls at its own address; NET.`last`.
    fn listening(server: &Server, last: u8, arguments: &str) -> Self {
        let run = Self::start(server, &format!("phone --listen NET.{last}:5060 {arguments}"));
        run.wait("listening at");
        run
    }

    fn wait(&self, line: &str) {
        let found = self.program.out.wait_or(|l| l.contains(line), || false);
        assert!(found.is_some(), "`{line}` was not said:\n{}", self.text());
    }

    fn text(&self) -> String {
        format!("{}{}", self.program.out.text(), self.program.err.text())
    }

    fn says(&self, line: &str) -> bool {
        self.program.out.count(|l| l.ends_with(line)) > 0
    }

    /// Waits for the end and its exit code.
    fn ends_with(&mut self, code: i32) -> &mut Self {
        let ended = self.program.wait_exit();
        // The pipes may close a little later.
        self.program.out.wait_or(|_| false, || false);
        assert_eq!(ended, Some(code), "{}", self.text());
        self
    }

    fn heard(&self, name: &str) -> Vec<i16> {
        read_wav(&self.folder.join(name))
    }
}

/// A sound that can be recognised, as a WAV of the site; what of it is heard over PCMA.
fn sound(site: &Site, name: &str, seconds: usize) -> Vec<i16> {
    let octets = noise(name, seconds * 50 * FRAME);
    write_wav(&site.dir.join(format!("{name}.wav")), &octets);
    octets.iter().map(|octet| linear(*octet)).collect()
}

/// Frames of 20 ms of what was played that were heard, sample for sample and in their order.
fn frames_heard(heard: &[i16], played: &[i16]) -> usize {
    let frames: BTreeMap<&[i16], usize> = played.chunks_exact(FRAME).zip(0..).collect();
    let (mut at, mut count, mut last) = (0, 0, None);
    while let Some(frame) = heard.get(at..at + FRAME) {
        match frames.get(frame) {
            Some(index) => {
                assert!(last.is_none_or(|last| last < *index), "frame {index} comes after {last:?}");
                (last, count, at) = (Some(*index), count + 1, at + FRAME);
            }
            None => at += 1,
        }
    }
    count
}

fn heard_prompt(heard: &[i16], name: &str) -> bool {
    let prompt: Vec<i16> = alaw("nl", name).iter().map(|octet| linear(*octet)).collect();
    frames_heard(heard, &prompt) == prompt.len() / FRAME
}

#[test]
fn caller_and_counsellor_hear_each_other_sample_for_sample_and_the_phone_shows_nobody() {
    let server = Server::helpline("");
    let (from_anna, from_caller) = (sound(server.site(), "anna", 8), sound(server.site(), "caller", 60));
    let mut anna = Run::anna(&server, "--once --play DIR/anna.wav --record DIR/at-anna.wav --hang-up 5s");
    let mut call = Run::call(&server, "1712", "--play DIR/caller.wav --record DIR/at-caller.wav");
    call.ends_with(0);
    anna.ends_with(0);
    let at_caller = call.heard("at-caller.wav");
    assert!(heard_prompt(&at_caller, "welcome") && heard_prompt(&at_caller, "emergency"), "{}", call.text());
    let (there, here) =
        (frames_heard(&at_caller, &from_anna), frames_heard(&anna.heard("at-anna.wav"), &from_caller));
    // Five seconds less the tone at the beginning; some are lost when this machine stalls.
    assert!(there > 150 && here > 150, "{there} and {here} frames");
    assert!(anna.says(ANONYMOUS) && anna.says("hung up") && anna.says("unregistered"), "{}", anna.text());
    assert!(call.says("answered pcma") && call.says("the other side hung up"), "{}", call.text());
    let carrier = server.place().host(2).to_string();
    for secret in [NUMBER, carrier.as_str()] {
        assert!(!anna.text().contains(secret), "{}", anna.text());
    }
}

/// A tone of this height as a WAV of the site.
fn tone(site: &Site, name: &str, hertz: f64, seconds: usize) {
    let angle = |n: usize| std::f64::consts::TAU * hertz * n as f64 / 8000.0;
    let octet = |n: usize| Law::A.encode((6000.0 * angle(n).sin()) as i16);
    let octets: Vec<u8> = (0..seconds * 8000).map(octet).collect();
    write_wav(&site.dir.join(format!("{name}.wav")), &octets);
}

/// The purest second: which part of it is this tone (1 is all), and how loud it is beside what was played, in dB.
fn purest(heard: &[i16], hertz: f64) -> (f64, f64) {
    let second = |samples: &[i16]| {
        let (mut sine, mut cosine, mut power) = (0.0, 0.0, 1.0);
        for (n, sample) in samples.iter().enumerate() {
            let (angle, value) = (std::f64::consts::TAU * hertz * n as f64 / 8000.0, f64::from(*sample));
            sine += value * angle.sin();
            cosine += value * angle.cos();
            power += value * value;
        }
        let count = samples.len() as f64;
        let tone = 2.0 * (sine * sine + cosine * cosine) / count;
        (tone / power, 10.0 * (power / count / (6000.0 * 6000.0 / 2.0)).log10())
    };
    let seconds = heard.windows(8000).step_by(800).map(second);
    seconds.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((0.0, -99.0))
}

#[test]
fn with_opus_and_g722_both_hear_each_other_also_when_the_other_has_another_codec() {
    let config = HELPLINE.replacen("languages =", "codecs = [\"opus\", \"g722\", \"pcma\"]\nlanguages =", 1);
    for (caller, counsellor) in [("opus", "opus"), ("pcma", "opus"), ("opus", "g722"), ("g722", "pcma")] {
        let server = Site::new(&config).start();
        tone(server.site(), "anna", 900.0, 10);
        tone(server.site(), "caller", 500.0, 60);
        let anna = format!("--codec {counsellor} --play DIR/anna.wav --record DIR/at-anna.wav --hang-up 5s");
        let mut anna = Run::anna(&server, &format!("--once {anna}"));
        let call = format!("--codec {caller} --play DIR/caller.wav --record DIR/at-caller.wav");
        let mut call = Run::call(&server, "1712", &call);
        call.ends_with(0);
        anna.ends_with(0);
        assert!(call.says(&format!("answered {caller}")), "{}", call.text());
        assert!(anna.says(&format!("answered {counsellor}")), "{}", anna.text());
        for (name, hertz, heard) in
            [("caller", 900.0, call.heard("at-caller.wav")), ("anna", 500.0, anna.heard("at-anna.wav"))]
        {
            // Opus is made for voices: a tone may come out a little softer.
            let (pure, level) = purest(&heard, hertz);
            println!("{caller} to {counsellor}, at {name}: {pure:.3} of the tone, {level:.2} dB");
            assert!(
                pure > 0.95 && level.abs() < 2.0,
                "{caller} {counsellor} {name}: {pure:.3} {level:.2} dB"
            );
        }
    }
}

#[test]
fn a_line_and_a_carrier_may_have_codecs_of_their_own() {
    let ours = HELPLINE.replacen("languages =", "codecs = [\"pcma\", \"opus\", \"g722\"]\nlanguages =", 1);
    let both = |carrier: &str, anna: &str| {
        let config = ours.replacen("[[trunk]]\n", &format!("[[trunk]]\ncodecs = [{carrier}]\n"), 1);
        config.replacen("name = \"anna\"\n", &format!("name = \"anna\"\ncodecs = [{anna}]\n"), 1)
    };
    // What the carrier and the line may speak, and what of it is spoken, when each phone could speak anything.
    for (carrier, anna, caller, counsellor) in [
        ("\"opus\", \"pcma\"", "\"pcma\"", "opus", "pcma"),
        ("\"g722\"", "\"opus\", \"g722\"", "g722", "g722"),
    ] {
        let server = Site::new(&both(carrier, anna)).start();
        tone(server.site(), "anna", 900.0, 10);
        tone(server.site(), "caller", 500.0, 60);
        let any = "--codec pcmu,pcma,g722,opus";
        let script = format!("--once {any} --play DIR/anna.wav --record DIR/at-anna.wav --hang-up 4s");
        let mut anna = Run::anna(&server, &script);
        let script = format!("{any} --play DIR/caller.wav --record DIR/at-caller.wav");
        let mut call = Run::call(&server, "1712", &script);
        call.ends_with(0);
        anna.ends_with(0);
        assert!(call.says(&format!("answered {caller}")), "{}", call.text());
        assert!(anna.says(&format!("answered {counsellor}")), "{}", anna.text());
        for (hertz, heard) in [(900.0, call.heard("at-caller.wav")), (500.0, anna.heard("at-anna.wav"))] {
            let (pure, level) = purest(&heard, hertz);
            assert!(pure > 0.95 && level.abs() < 2.0, "{caller} {counsellor}: {pure:.3} {level:.2} dB");
        }
    }
}

#[test]
fn when_the_caller_hangs_up_the_phone_is_free_again_also_over_tcp() {
    let server = Server::helpline("");
    let mut anna = Run::anna(&server, "--transport tcp --calls 2 --codec pcmu --record DIR/anna.wav");
    for _ in 0..2 {
        let mut call = Run::call(&server, "1712", "--transport tcp --codec pcma --hang-up 4s");
        call.ends_with(0);
        assert!(call.says("hung up"), "{}", call.text());
    }
    anna.ends_with(0);
    assert_eq!(anna.program.out.count(|l| l.ends_with(ANONYMOUS)), 2);
    assert_eq!(anna.program.out.count(|l| l.ends_with("answered pcmu")), 2);
    assert_eq!(anna.program.out.count(|l| l.ends_with("the other side hung up")), 2);
    assert!(!anna.heard("anna.wav").is_empty() && !anna.heard("anna-2.wav").is_empty());
}

#[test]
fn key_2_by_rfc_4733_and_by_info_leads_to_a_message_that_can_be_heard() {
    let server = Server::helpline("");
    let said = sound(server.site(), "caller", 60);
    let mut calls: Vec<Run> = ["", "--info"]
        .map(|how| {
            // Nobody is registered: the menu. 2: a message; #: its end; 1: kept; silence: no callback.
            let keys = "--press 2@3s,#@9s,1@12s";
            Run::call(&server, "1712", &format!("--play DIR/caller.wav {keys} {how}"))
        })
        .into();
    for call in &mut calls {
        call.ends_with(0);
        assert!(call.says("the other side hung up"), "{}", call.text());
    }
    assert!(calls[0].says("pressed 2") && calls[1].says("pressed 2 by INFO"));
    server.wait_metric(r#"hulplijn_calls_total{outcome="message"}"#, 2.0);
    let listed = server.site().command(&["messages", "list", "--json"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    let rows = listed.as_array().expect("a list");
    assert_eq!(rows.len(), 2, "{listed}");
    for row in rows {
        assert_eq!(row["called"], "1712");
        let recorded = read_wav(Path::new(row["file"].as_str().expect("a file")));
        let frames = frames_heard(&recorded, &said);
        assert!(frames > 150 && row["seconds"].as_f64() > Some(3.0), "{frames} frames of {row}");
    }
    let text = listed.to_string();
    assert!(!text.contains(NUMBER) && !text.contains("470123456"), "{text}");
}

#[test]
fn key_1_connects_with_106_played_by_a_phone_that_only_listens() {
    let server = Server::helpline("");
    let (volunteer, caller) = (sound(server.site(), "volunteer", 10), sound(server.site(), "caller", 60));
    let script = "--once --play DIR/volunteer.wav --record DIR/there.wav --hang-up 4s";
    let mut phone = Run::listening(&server, 2, script);
    let mut call = Run::call(&server, "1712", "--press 1@3s --play DIR/caller.wav --record DIR/here.wav");
    phone.ends_with(0);
    call.ends_with(0);
    assert!(phone.says(ANONYMOUS) && call.says("the other side hung up"), "{}{}", phone.text(), call.text());
    let here = frames_heard(&call.heard("here.wav"), &volunteer);
    let there = frames_heard(&phone.heard("there.wav"), &caller);
    assert!(here > 100 && there > 100, "{here} and {there} frames");
}

#[test]
fn a_counsellor_logs_out_and_in_by_code_and_hears_it_said() {
    let server = Server::helpline("");
    let mut out = Run::anna(&server, "--dial *72 --calls 0 --record DIR/out.wav");
    out.ends_with(0);
    assert!(heard_prompt(&out.heard("out.wav"), "line-logged-out"), "{}", out.text());
    let mut anna = Run::anna(&server, "--dial *71 --once --hang-up 2s");
    let mut call = Run::call(&server, "1712", "");
    anna.ends_with(0);
    call.ends_with(0);
}

#[test]
fn a_counsellor_holds_the_caller_and_hands_over_to_another_line() {
    let server = Server::helpline("");
    let from_fixed = sound(server.site(), "fixed", 10);
    let mut fixed = Run::listening(&server, 3, "--once --play DIR/fixed.wav --hang-up 4s");
    let mut anna = Run::anna(&server, "--once --hold 1s --take-back 3s --transfer fixed@5s");
    let mut call = Run::call(&server, "1712", "--record DIR/heard.wav");
    anna.ends_with(0);
    fixed.ends_with(0);
    call.ends_with(0);
    let steps = ["holding the other side", "taken back", "transferring to fixed", "transfer: 200 OK"];
    assert!(steps.iter().all(|step| anna.says(step)), "{}", anna.text());
    assert!(anna.says("the other side hung up") && fixed.says(ANONYMOUS), "{}{}", anna.text(), fixed.text());
    let frames = frames_heard(&call.heard("heard.wav"), &from_fixed);
    assert!(frames > 100, "{frames} frames");
}

#[test]
fn the_exit_code_says_what_went_wrong() {
    let server = Server::helpline("");
    let direct = |last: u8| Run::start(&server, &format!("call sip:x@NET.{last} --ring-limit 3s"));
    let _phones = [(10, "--busy"), (11, "--decline"), (12, "--never")]
        .map(|(last, how)| Run::listening(&server, last, how));
    let cases = [
        (Run::call(&server, "nonsense", ""), 5, "refused with 404 Not Found"),
        (Run::start(&server, "call sip:1712@NET.1 --local NET.200"), 5, "refused with 403 Forbidden"),
        (direct(10), 5, "refused with 486 Busy Here"),
        (direct(11), 5, "refused with 603 Decline"),
        (direct(12), 6, "nobody answered in time"),
        (direct(13), 7, "nothing there answers SIP"),
        (Run::call(&server, "wait", "--hang-up 3s"), 8, "no voice was heard"),
        (
            Run::start(&server, "phone --line anna --switch NET.1 --password wrong"),
            9,
            "registration refused: 401 Unauthorized",
        ),
        (Run::start(&server, "phone --listen NET.14:5060 --wait 1s"), 6, "nobody called in time"),
        (
            Run::start(&server, "call tel:1712"),
            3,
            "hulplijn: `tel:1712` can't be called; needed: sip:NUMBER@HOST or sip:NUMBER@HOST:PORT",
        ),
        (
            Run::call(&server, "1712", "--play DIR/nothing.wav"),
            3,
            "nothing.wav; --play needs a WAV of 8 or 16 kHz, 16 bit, mono",
        ),
        (Run::call(&server, "1712", "--press 1@8"), 2, ""),
        (Run::start(&server, "phone"), 2, ""),
    ];
    for (mut run, code, said) in cases {
        run.ends_with(code);
        assert!(run.text().lines().any(|line| line.ends_with(said)), "{said}:\n{}", run.text());
    }
}

#[test]
fn what_an_operator_can_mend_is_told_with_its_remedy() {
    let server = Server::helpline("");
    let cases = [
        (Run::start(&server, "call sip:1712@NET.1 --local NET.200"), "403", "`sources` of a [[trunk]]"),
        (Run::call(&server, "nonsense", ""), "404", "no [[number]]"),
        (Run::call(&server, "*71", ""), "401", "--line NAME --dial CODE"),
        (Run::start(&server, "call sip:x@NET.13 --transport tcp"), "nothing there answers SIP", "[[listen]]"),
        (
            Run::start(&server, "phone --line anna --switch NET.1 --password wrong"),
            "401",
            "`password` of a [[line]]",
        ),
    ];
    for (mut run, said, remedy) in cases {
        run.program.wait_exit();
        run.program.out.wait_or(|_| false, || false);
        let lines = run.program.out.all();
        let told = lines.windows(2).any(|two| two[0].contains(said) && two[1].contains(remedy));
        assert!(told, "no `{remedy}` after `{said}`:\n{}", run.text());
    }
}

#[test]
fn ctrl_c_hangs_up_and_unregisters() {
    let server = Server::helpline("");
    let mut anna = Run::anna(&server, "");
    let mut call = Run::call(&server, "loop", "--press 5@2s");
    call.wait("pressed 5");
    server.wait_metric_is("hulplijn_calls_in_progress", 1.0);
    call.program.signal(Signal::INT);
    call.ends_with(0);
    assert!(call.says("hung up"), "{}", call.text());
    server.wait_metric_is("hulplijn_calls_in_progress", 0.0);
    anna.program.signal(Signal::TERM);
    anna.ends_with(0);
    assert!(anna.says("unregistered"), "{}", anna.text());
    server.wait_log("unregistered");
}

/// A site with the shipped configuration and prompts, moved to a network of its own.
fn shipped() -> Site {
    let site = Site::new("");
    fs::remove_file(site.config().join("all.toml")).expect("removed");
    for name in ["site.toml", "helpline.toml", "demo.toml"] {
        let text = fs::read_to_string(repository("config").join(name)).expect("shipped");
        let prompts = format!("{:?}", repository("prompts").display().to_string());
        let moved = text
            .replace("127.0.0.1:", "NET.1:")
            .replace("[::1]:", "NET.5:")
            .replace("\"../prompts\"", &prompts);
        fs::write(site.config().join(name), site.place.fill(&moved)).expect("written");
    }
    site
}

#[test]
fn a_newcomer_sees_the_whole_job_with_the_shipped_configuration() {
    let server = shipped().start();
    let hints = server
        .place()
        .fill("phone --switch NET.1:5060 --line anna --password PASSWORD|call sip:demo@NET.1:5060");
    let greeting = server.out.text();
    assert!(
        hints.split('|').all(|hint| greeting.contains(hint)) && !greeting.contains("anna-try-me"),
        "{greeting}"
    );
    let line = "phone --line anna --password anna-try-me --switch NET.1:5060 --once --hang-up 3s";
    let mut anna = Run::start(&server, line);
    anna.wait("registered as anna");
    let mut call = Run::start(&server, "call sip:demo@NET.1:5060 --press 1@22s --record DIR/heard.wav");
    call.ends_with(0);
    anna.ends_with(0);
    assert!(anna.says(ANONYMOUS) && anna.says("first audio"), "{}", anna.text());
    let heard = call.heard("heard.wav");
    for name in ["welcome", "emergency", "queue-enter"] {
        let samples = read_wav(&repository(&format!("prompts/nl/{name}.wav")));
        let clip = hulplijn::media::audio::clip(name, &samples).samples();
        let (frames, all) = speech_heard(&heard, &clip);
        assert!(frames + 10 >= all, "{name}: {frames} of {all} frames were heard");
    }
}

/// The same for speech, whose frames may be alike: from the first loud frame on, each is looked for close after
/// the one before.
fn speech_heard(heard: &[i16], spoken: &[i16]) -> (usize, usize) {
    let loud = |frame: &&[i16]| frame.iter().any(|sample| sample.unsigned_abs() > 1000);
    let frames: Vec<&[i16]> = spoken.chunks_exact(FRAME).skip_while(|frame| !loud(frame)).collect();
    let (mut at, mut count) = (None, 0);
    for frame in &frames {
        let (from, to) = at.map_or((0, heard.len()), |at: usize| (at, heard.len().min(at + 40 * FRAME)));
        let near = heard.get(from..to).unwrap_or_default();
        if let Some(found) = near.windows(FRAME).position(|window| window == *frame) {
            (at, count) = (Some(from + found + FRAME), count + 1);
        }
    }
    (count, frames.len())
}

/// The helpline whose carrier and line `anna` have this `srtp`.
fn encrypting(srtp: &str) -> Server {
    let (carrier, anna) = ("sources = [\"NET.2\"]\n", "name = \"anna\"\n");
    assert!(HELPLINE.matches(carrier).count() == 1 && HELPLINE.matches(anna).count() == 1);
    let word = format!("srtp = \"{srtp}\"\n");
    let toml = HELPLINE.replace(carrier, &format!("{carrier}{word}")).replace(anna, &format!("{anna}{word}"));
    Site::new(&toml).start()
}

#[test]
fn rfc4568_caller_and_counsellor_hear_each_other_encrypted_and_no_key_is_told() {
    let server = encrypting("mandatory");
    let (from_anna, from_caller) = (sound(server.site(), "anna", 8), sound(server.site(), "caller", 60));
    let options = "--srtp mandatory --play DIR";
    let mut anna =
        Run::anna(&server, &format!("{options}/anna.wav --once --record DIR/at-anna.wav --hang-up 5s"));
    let mut call = Run::call(&server, "1712", &format!("{options}/caller.wav --record DIR/at-caller.wav"));
    call.ends_with(0);
    anna.ends_with(0);
    let at_caller = call.heard("at-caller.wav");
    let (there, here) =
        (frames_heard(&at_caller, &from_anna), frames_heard(&anna.heard("at-anna.wav"), &from_caller));
    assert!(heard_prompt(&at_caller, "welcome") && there > 150 && here > 150, "{there} and {here} frames");
    for side in [&call, &anna] {
        assert!(side.says("answered pcma, encrypted with AEAD_AES_256_GCM"), "{}", side.text());
        let summary = |l: &str| l.contains("summary: ") && l.contains(", encrypted with AEAD_AES_256_GCM");
        assert_eq!(side.program.out.count(summary), 1, "{}", side.text());
    }
    server.wait_metric(r#"hulplijn_media_legs_total{security="aead_aes_256_gcm"}"#, 2.0);
    let told = format!("{}{}{}", server.err.text(), call.text(), anna.text());
    assert!(!told.contains("inline") && !told.contains("crypto"), "{told}");
}

#[test]
fn rfc4568_one_side_in_the_clear_and_one_encrypted_hear_each_other() {
    let server = encrypting("optional");
    let (from_anna, from_caller) = (sound(server.site(), "anna", 8), sound(server.site(), "caller", 60));
    // Over UDP the switch offers no keys unasked, but takes those of the caller.
    let mut anna = Run::anna(
        &server,
        "--srtp optional --once --play DIR/anna.wav --record DIR/at-anna.wav --hang-up 5s",
    );
    let mut call =
        Run::call(&server, "1712", "--srtp optional --play DIR/caller.wav --record DIR/at-caller.wav");
    call.ends_with(0);
    anna.ends_with(0);
    assert!(call.says("answered pcma, encrypted with AEAD_AES_256_GCM"), "{}", call.text());
    assert!(anna.says("answered pcma"), "{}", anna.text());
    let there = frames_heard(&call.heard("at-caller.wav"), &from_anna);
    let here = frames_heard(&anna.heard("at-anna.wav"), &from_caller);
    assert!(there > 150 && here > 150, "{there} and {here} frames");
}

#[test]
fn rfc4568_what_one_side_must_and_the_other_will_not_is_refused_with_488() {
    for (ours, theirs) in [("mandatory", "never"), ("never", "mandatory")] {
        let server = encrypting(ours);
        let mut call = Run::call(&server, "1712", &format!("--srtp {theirs}"));
        call.ends_with(5);
        assert!(call.says("refused with 488 Not Acceptable Here"), "{}", call.text());
        assert!(
            call.text().contains("see `srtp` of the [[line]] or [[trunk]] and --srtp"),
            "{}",
            call.text()
        );
        // A phone that will not take what its line must be is passed over.
        let mut anna = Run::anna(&server, &format!("--srtp {theirs}"));
        let mut call = Run::call(&server, "1712", &format!("--srtp {ours} --hang-up 3s"));
        call.ends_with(0);
        anna.program.signal(Signal::TERM);
        anna.program.wait_exit();
        assert!(!anna.text().contains("answered"), "{}", anna.text());
    }
}
