//! What callers hear and leave, in real calls: music on hold from several files, a prompt that a key cuts off, messages
//! of one loudness.

mod support;

use std::f64::consts::TAU;
use std::path::{Path, PathBuf};

use ebur128::{EbuR128, Mode};
use support::prompts::{alaw, noise, read_wav, write_linear, write_wav};
use support::rtp::FRAME;
use support::server::{HELPLINE, Program, binary, repository};
use support::{Dialog, Rtp, Sdp, Server, Site};

/// Calls a number of the switch over its trunk; `DIR` in the arguments stands for the site's folder.
fn call(server: &Server, number: &str, arguments: &str) {
    let site = server.site();
    let line = format!("call sip:{number}@NET.1:5060 --local NET.2 --from +32470123456 {arguments}");
    let mut command = binary();
    for argument in line.split_whitespace() {
        command.arg(site.place.fill(&argument.replace("DIR", &site.dir.display().to_string())));
    }
    let mut program = Program::start(command);
    assert_eq!(program.wait_exit(), Some(0), "{}{}", program.out.text(), program.err.text());
}

fn tone(hertz: u32, amplitude: f64, millis: usize) -> Vec<i16> {
    (0..8 * millis).map(|n| (amplitude * (TAU * f64::from(hertz) * n as f64 / 8000.0).sin()) as i16).collect()
}

/// Mean square of what of these samples is this tone.
fn power_of(samples: &[i16], hertz: u32) -> f64 {
    let (mut sine, mut cosine) = (0.0, 0.0);
    for (n, sample) in samples.iter().enumerate() {
        let angle = TAU * f64::from(hertz) * n as f64 / 8000.0;
        sine += f64::from(*sample) * angle.sin();
        cosine += f64::from(*sample) * angle.cos();
    }
    2.0 * (sine * sine + cosine * cosine) / (samples.len() as f64).powi(2)
}

fn power(samples: &[i16]) -> f64 {
    samples.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / samples.len() as f64
}

fn dbov(power: f64) -> f64 {
    10.0 * (power / 32_767f64.powi(2)).log10()
}

/// The tones heard in tenths of a second that are nothing else, one after the other, each with its level.
fn tones(heard: &[i16]) -> Vec<(u32, f64)> {
    let mut tones: Vec<(u32, f64)> = Vec::new();
    for tenth in heard.chunks_exact(5 * FRAME) {
        let whole = power(tenth);
        let pure = [LOW, HIGH].into_iter().find(|hertz| power_of(tenth, *hertz) > 0.95 * whole);
        let Some(hertz) = pure.filter(|_| dbov(whole) > -50.0) else { continue };
        match tones.last_mut() {
            Some((last, level)) if *last == hertz => *level = level.max(dbov(whole)),
            _ => tones.push((hertz, dbov(whole))),
        }
    }
    tones
}

const LOW: u32 = 400;
const HIGH: u32 = 800;

#[test]
fn who_waits_hears_one_file_after_the_other_at_one_quiet_level_in_pcma_and_opus() {
    let config = HELPLINE
        .replace("languages =", "codecs = [\"opus\", \"pcma\"]\nmusic-level = \"-30dBov\"\nlanguages =")
        .replace("[queue.fixed]", "[queue.fixed]\nmusic = [\"low\", \"high\"]");
    let site = Site::new(&config);
    // A loud file and a soft one.
    write_linear(&site.dir.join("prompts/low.wav"), &tone(LOW, 20_000.0, 1210));
    write_linear(&site.dir.join("prompts/high.wav"), &tone(HIGH, 300.0, 1210));
    let server = site.start();
    // It rings, and nobody answers.
    let _phone = server.phone(3);
    for codec in ["pcma", "opus"] {
        call(&server, "fixed", &format!("--codec {codec} --record DIR/{codec}.wav --hang-up 5s"));
        let heard = read_wav(&server.site().dir.join(format!("{codec}.wav")));
        let tones = tones(&heard);
        let order: Vec<u32> = tones.iter().map(|(hertz, _)| *hertz).collect();
        assert!(order.len() >= 4 && order.windows(2).all(|pair| pair[0] != pair[1]), "{codec}: {tones:?}");
        // The first and the last may be cut.
        for (hertz, level) in &tones[1..tones.len() - 1] {
            assert!((level + 30.0).abs() < 1.5, "{codec}: {hertz} Hz at {level}");
        }
        let step = heard.windows(2).map(|pair| (i32::from(pair[0]) - i32::from(pair[1])).abs()).max();
        // The higher tone has 900.
        assert!(step < Some(1100), "{codec}: {step:?}");
    }
}

#[test]
fn music_that_is_not_there_is_a_mistake_with_its_name_and_line() {
    let config = HELPLINE.replace("[queue.fixed]", "[queue.fixed]\nmusic = [\"music\", \"nowhere\"]");
    let output = Site::new(&config).command(&["check"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success() && said.contains("there is no music `nowhere`"), "{said}");
    let config = HELPLINE.replace("languages =", "music-level = \"-5dBov\"\nlanguages =");
    let output = Site::new(&config).command(&["check"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("from -60dBov to -10dBov"), "{said}");
}

/// Packets of the prompt that came after the key had gone out; those that were there before do not count.
fn prompt_after_key(server: &Server, prompt: &[u8]) -> usize {
    let mut carrier = server.carrier_on_another_port();
    let mut caller = Rtp::bind(server.place().host(2));
    let (mut dialog, to) = Dialog::call(&mut carrier, "menu", &Sdp::pcma(caller.local));
    let is_prompt = |payload: &[u8]| payload.len() == FRAME && prompt.chunks(FRAME).any(|f| f == payload);
    caller.stay_until(to, "the prompt", |ear| {
        ear.heard.iter().filter(|packet| is_prompt(&packet.payload)).count() > 10
    });
    // What has come already.
    while caller.hear(std::time::Instant::now() + std::time::Duration::from_millis(1)) {}
    let before = caller.heard.len();
    caller.press(to, '1');
    let next = alaw("nl", "queue-enter");
    caller.stay_until(to, "what follows the key", |ear| ear.has_heard(&next[2 * FRAME..5 * FRAME]));
    dialog.bye(&mut carrier);
    // One that fades out begins as the prompt does.
    let begins = |payload: &[u8]| prompt.chunks(FRAME).any(|f| f[..2] == payload[..2]);
    caller.heard[before..]
        .iter()
        .filter(|packet| packet.payload.len() == FRAME && begins(&packet.payload))
        .count()
}

#[test]
fn a_key_cuts_a_prompt_off_within_two_packets() {
    let site = Site::new(HELPLINE);
    let prompt = noise("a long prompt", 500 * FRAME);
    write_wav(&site.dir.join("prompts/nl/closed-menu.wav"), &prompt);
    let server = site.start();
    // A machine that is held up just then may let one more go by; one that is not shows what the switch does.
    let after: Vec<usize> = (0..6).map(|_| prompt_after_key(&server, &prompt)).collect();
    println!("packets of the prompt after the key: {after:?}");
    assert!(after.iter().min() <= Some(&2), "{after:?}");
}

fn loudness(samples: &[i16]) -> f64 {
    let mut meter = EbuR128::new(1, 8000, Mode::I).expect("a meter");
    meter.add_frames_i16(samples).expect("measured");
    meter.loudness_global().expect("a figure")
}

#[test]
fn messages_of_a_soft_and_a_loud_caller_are_kept_alike_where_that_is_asked_for() {
    let config = HELPLINE.replace("[voicemail]", "[voicemail]\nnormalise = \"-23LUFS\"");
    let server = Site::new(&config).start();
    let dir = server.site().dir.clone();
    let speech = read_wav(&repository("prompts/en/welcome.wav"));
    let mut known: Vec<PathBuf> = Vec::new();
    let mut kept = Vec::new();
    for (name, factor) in [("soft", 0.2), ("loud", 1.3)] {
        let said: Vec<i16> = speech.iter().map(|sample| (f64::from(*sample) * factor) as i16).collect();
        write_linear(&dir.join(format!("{name}.wav")), &said);
        call(&server, "message", &format!("--play DIR/{name}.wav --repeat --hang-up 14s"));
        server.wait_metric("hulplijn_messages_total", known.len() as f64 + 1.0);
        let new = messages(&server).into_iter().find(|path| !known.contains(path)).expect("a message");
        kept.push(loudness(&read_wav(&new)));
        known.push(new);
    }
    let [soft, loud] = kept[..] else { panic!("{kept:?}") };
    println!("{soft:.1} and {loud:.1} LUFS");
    assert!((soft - loud).abs() < 1.0 && (soft + 23.0).abs() < 1.0, "{kept:?}");
}

/// Recordings that are whole.
fn messages(server: &Server) -> Vec<PathBuf> {
    let folder: &Path = &server.site().data().join("messages");
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    files.filter(|path| path.extension().is_some_and(|end| end == "wav")).collect()
}
