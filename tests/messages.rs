//! Messages that callers leave, on the running switch: what is on the disk, what `hulplijn messages` shows, and
//! what becomes of them when the process, the disk or the database fails.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::rtp::{FRAME, SILENCE, in_order};
use support::server::{HELPLINE, binary, wait_until};
use support::{Dialog, Peer, Rtp, Sdp, Server, Site, prompts};

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn messages(site: &Site, arguments: &[&str]) -> (Option<i32>, String) {
    let output = site.command(&[&["messages"], arguments].concat());
    (output.status.code(), text(&output))
}

/// What `messages list --json` says.
fn listed(site: &Site) -> Vec<serde_json::Value> {
    let output = site.command(&["messages", "list", "--json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&output)))
}

fn field<'a>(message: &'a serde_json::Value, name: &str) -> &'a str {
    message.get(name).and_then(serde_json::Value::as_str).unwrap_or("")
}

fn linear(alaw: &[u8]) -> Vec<i16> {
    alaw.iter().map(|octet| prompts::linear(*octet)).collect()
}

/// A caller who has heard what to do, and the tone; now it is recorded.
fn recording(server: &Server) -> (Peer, Rtp, Dialog, std::net::SocketAddr) {
    let mut carrier = server.carrier();
    let mut caller = Rtp::bind(server.place().host(2));
    let (dialog, to) = Dialog::call(&mut carrier, "message", &Sdp::pcma(caller.local));
    let intro = prompts::alaw("nl", "message-intro");
    caller.stay_until(to, "the introduction", |ear| ear.has_heard(&intro));
    wait_until(|| !parts(server).is_empty(), || "no recording has begun".to_owned());
    (carrier, caller, dialog, to)
}

/// Recordings that are not whole.
fn parts(server: &Server) -> Vec<PathBuf> {
    let folder = fs::read_dir(server.site().data().join("messages")).into_iter().flatten().flatten();
    folder.map(|f| f.path()).filter(|p| p.extension().is_some_and(|e| e == "part")).collect()
}

/// Speaks until so much of it is on the disk.
fn speak_to_disk(server: &Server, caller: &mut Rtp, to: std::net::SocketAddr, words: &[u8], bytes: u64) {
    for piece in words.chunks(25 * FRAME) {
        caller.say(to, piece);
        let written = parts(server).iter().filter_map(|p| fs::metadata(p).ok()).map(|m| m.len()).max();
        if written.is_some_and(|length| length >= bytes) {
            return;
        }
    }
    panic!("not {bytes} bytes on the disk after all was said");
}

#[test]
fn a_message_is_recorded_sample_by_sample_listened_to_kept_and_handled_by_the_operator() {
    let server = Server::helpline("");
    let (mut carrier, mut caller, dialog, to) = recording(&server);
    let words = prompts::noise("message", 100 * FRAME);
    caller.say(to, &words);
    caller.press(to, '#');
    let menu = prompts::alaw("nl", "message-keep-menu");
    caller.stay_until(to, "the menu", |ear| ear.has_heard(&menu));
    caller.press(to, '2');
    // The 80 ms before a key are muted: gateways leave the beginning of its tone in the sound.
    let told = &words[..95 * FRAME];
    caller.stay_until(to, "the message itself", |ear| in_order(&ear.audio(), &told[FRAME..]));
    caller.press(to, '1');
    let kept = prompts::alaw("nl", "message-kept");
    caller.stay_until(to, "that it is kept", |ear| ear.has_heard(&kept));
    dialog.await_bye(&mut carrier);
    server.wait_metric("hulplijn_messages_total", 1.0);
    server.wait_metric(r#"hulplijn_calls_total{outcome="message"}"#, 1.0);

    // The operator's commands work beside the running switch.
    let site = server.site();
    wait_until(|| listed(site).len() == 1, || messages(site, &["list"]).1);
    let message = listed(site).remove(0);
    let id = field(&message, "id").to_owned();
    assert_eq!((field(&message, "called"), field(&message, "state")), ("message", "new"));
    let seconds = message.get("seconds").and_then(serde_json::Value::as_f64).unwrap_or(0.0);
    assert!((1.9..4.0).contains(&seconds), "{message}");
    let samples = prompts::read_wav(Path::new(field(&message, "file")));
    assert!(in_order(&samples, &linear(told)), "the recording is not what was said");
    let copy = site.dir.join("copy.wav");
    let copy_name = copy.to_str().expect("a path");
    assert_eq!(messages(site, &["export", &id, copy_name]).0, Some(0));
    assert_eq!(prompts::read_wav(&copy), samples);
    assert_eq!(messages(site, &["export", &id, copy_name]).0, Some(3), "an existing file is kept");
    let (code, said) = messages(site, &["play", &id]);
    assert!(code == Some(0) || (code == Some(3) && said.contains(".wav")), "{code:?} {said}");
    assert_eq!(messages(site, &["done", &id]).0, Some(0));
    assert!(messages(site, &["list", "--open"]).1.contains("no messages"));
    assert_eq!(messages(site, &["delete", &id]).0, Some(0));
    assert_eq!(listed(site).len(), 0);
    for command in ["play", "export", "done", "delete"] {
        assert_eq!(messages(site, &[command, &id]).0, Some(1), "{command} of what is not there");
    }
}

#[test]
fn a_caller_who_hangs_up_while_speaking_has_left_a_message() {
    let server = Server::helpline("");
    let (mut carrier, mut caller, mut dialog, to) = recording(&server);
    let words = prompts::noise("message", 100 * FRAME);
    caller.say(to, &words);
    dialog.bye(&mut carrier);
    server.wait_metric(r#"hulplijn_calls_total{outcome="message"}"#, 1.0);
    wait_until(|| listed(server.site()).len() == 1, || messages(server.site(), &["list"]).1);
    let message = listed(server.site()).remove(0);
    assert!(in_order(&prompts::read_wav(Path::new(field(&message, "file"))), &linear(&words)));
}

#[test]
fn after_kill_9_in_mid_message_what_was_flushed_is_there_marked_and_told() {
    let server = Server::helpline("");
    let (_carrier, mut caller, _dialog, to) = recording(&server);
    let words = prompts::noise("message", 1000 * FRAME);
    speak_to_disk(&server, &mut caller, to, &words, 48_000);
    let server = server.kill().start();
    server.wait_metric("hulplijn_messages_interrupted_total", 1.0);
    let message = listed(server.site()).remove(0);
    assert_eq!(field(&message, "state"), "interrupted");
    let samples = prompts::read_wav(Path::new(field(&message, "file")));
    assert!(samples.len() >= 20_000, "{} samples of 24,000 that were on the disk", samples.len());
    let words = linear(&words);
    let said = &words[5 * FRAME..19_200];
    assert!(in_order(&samples, said), "the beginning of what was said is not there");
    assert_eq!(parts(&server).len(), 0);
    assert!(messages(server.site(), &["list"]).1.contains("interrupted"));
}

#[test]
fn in_a_folder_where_no_switch_has_run_the_list_is_no_empty_list_but_says_how_to_name_the_right_one() {
    let site = Site::new(HELPLINE);
    for arguments in [&["list"][..], &["list", "--json"], &["done", "aaa2"]] {
        let (code, said) = messages(&site, arguments);
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains("there is no database in ") && said.contains("--data DIR"), "{said}");
        assert!(said.contains("--config DIR") && !said.contains("no messages"), "{said}");
    }
    let nowhere = binary().current_dir("/").args(["messages", "list"]).output().expect("it runs");
    let said = text(&nowhere);
    assert_eq!(nowhere.status.code(), Some(3), "{said}");
    assert!(said.contains("there is no configuration in config") && said.contains("--config DIR"), "{said}");
}

/// A small file system for the data, or (when this test may not mount) a limit on the size of files.
struct SmallDisk {
    mounted: Option<PathBuf>,
}

impl SmallDisk {
    /// 512 KiB for the data, or 64 KiB for each file.
    fn start(site: Site) -> (Self, Server) {
        let data = site.data();
        fs::create_dir_all(&data).expect("a folder");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"]).arg(&data).output();
        let mounted = mount.is_ok_and(|output| output.status.success()).then_some(data);
        let mut command = if mounted.is_some() { binary() } else { Command::new("sh") };
        if mounted.is_none() {
            let binary = env!("CARGO_BIN_EXE_hulplijn");
            // Blocks of 512 bytes; without the signal a write fails as it does on a full disk.
            let script = format!("trap '' XFSZ; ulimit -f 128; exec {binary} \"$@\"");
            command.args(["-c", &script, "sh"]);
        }
        command.arg("serve").arg("--config").arg(site.config());
        let mut server = site.spawn_as(command);
        server.wait_started();
        (Self { mounted }, server)
    }

    /// Leaves room for three seconds of a message.
    fn fill(&self) {
        let Some(data) = &self.mounted else { return };
        let space = || rustix::fs::statvfs(data).map_or(0, |s| s.f_bavail * s.f_frsize);
        let filler = usize::try_from(space().saturating_sub(48 * 1024)).expect("a size");
        fs::write(data.join("filler"), vec![0; filler]).expect("the filler");
    }

    fn empty(&self) {
        if let Some(data) = &self.mounted {
            fs::remove_file(data.join("filler")).expect("the filler");
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Some(data) = &self.mounted {
            let _ = Command::new("umount").arg("-l").arg(data).status();
        }
    }
}

#[test]
fn a_disk_that_is_full_in_mid_message_keeps_what_was_flushed_and_tells_caller_and_operator() {
    let (disk, server) = SmallDisk::start(Site::new(HELPLINE));
    let (mut carrier, mut caller, dialog, to) = recording(&server);
    disk.fill();
    let words = prompts::noise("message", 200 * FRAME);
    caller.say(to, &words);
    let failed = prompts::alaw("nl", "message-failed");
    caller.stay_until(to, "that it failed", |ear| ear.has_heard(&failed));
    dialog.await_bye(&mut carrier);
    server.wait_metric("hulplijn_messages_interrupted_total", 1.0);
    server.wait_metric(r#"hulplijn_failures_total{part="disk"}"#, 1.0);
    let (status, why) = server.get("/health/ready");
    assert!(status == 503 && why.contains("disk full"), "{why}");
    server.wait_log("disk_full");

    disk.empty();
    wait_until(|| !listed(server.site()).is_empty(), || messages(server.site(), &["list"]).1);
    let message = listed(server.site()).remove(0);
    assert_eq!(field(&message, "state"), "interrupted");
    let samples = prompts::read_wav(Path::new(field(&message, "file")));
    assert!(samples.len() > 8000, "only {} samples were kept", samples.len());
    let (words, kept) = (linear(&words), samples.len().min(16_000));
    assert!(in_order(&samples, &words[5 * FRAME..kept / FRAME * FRAME - 50 * FRAME]));

    // With room again the next message is whole, and health is well.
    drop(carrier);
    if disk.mounted.is_some() {
        let (mut carrier, mut caller, mut dialog, to) = recording(&server);
        caller.say(to, &prompts::noise("again", 50 * FRAME));
        dialog.bye(&mut carrier);
        server.wait_metric("hulplijn_messages_total", 1.0);
        wait_until(|| server.get("/health/ready").0 == 200, || server.get("/health/ready").1);
    }
}

#[test]
fn with_a_broken_database_calls_are_answered_messages_wait_and_health_says_why() {
    let site = Site::new(HELPLINE);
    fs::create_dir_all(site.data()).expect("a folder");
    fs::write(site.data().join("hulplijn.sqlite"), "this is no database ".repeat(1000)).expect("written");
    let server = site.start();
    let (status, why) = server.get("/health/ready");
    assert!(status == 503 && why.contains("store failed"), "{why}");
    server.wait_log("needed: a good copy of hulplijn.sqlite");
    let (mut carrier, mut caller, mut dialog, to) = recording(&server);
    let words = prompts::noise("message", 100 * FRAME);
    caller.say(to, &words);
    dialog.bye(&mut carrier);
    server.wait_metric(r#"hulplijn_failures_total{part="store"}"#, 1.0);
    wait_until(|| listed(server.site()).len() == 1, || messages(server.site(), &["list"]).1);
    let message = listed(server.site()).remove(0);
    assert!(in_order(&prompts::read_wav(Path::new(field(&message, "file"))), &linear(&words)));
}

#[test]
fn without_a_data_directory_calls_are_answered_and_the_caller_is_told_that_no_message_can_be_left() {
    let site = Site::new(HELPLINE);
    // A file where the directory should be: not even root can write there.
    fs::write(site.data(), "no directory").expect("written");
    let server = site.start();
    let (status, why) = server.get("/health/ready");
    assert!(status == 503 && why.contains("no message") && !why.contains("spool"), "{why}");
    assert_eq!(server.get("/health/live").0, 200);
    // One message: which folder, as whom the switch runs, what to do. The log only refers to it.
    server.wait_log("no_messages");
    let data = server.site().data().display().to_string();
    let told: Vec<String> = server.err.all().into_iter().filter(|line| line.contains(&data)).collect();
    let [told] = &told[..] else { panic!("one message: {told:#?}") };
    for words in ["as whom the switch runs", "no message can be left", "sudo chown -R"] {
        assert!(told.contains(words), "no `{words}` in {told}");
    }
    assert_eq!(server.err.count(|line| line.contains("store_failed") || line.contains("spool")), 0);
    let mut carrier = server.carrier();
    let mut caller = Rtp::bind(server.place().host(2));
    let (dialog, to) = Dialog::call(&mut carrier, "message", &Sdp::pcma(caller.local));
    let failed = prompts::alaw("nl", "message-failed");
    caller.stay_until(to, "that no message can be left", |ear| ear.has_heard(&failed));
    dialog.await_bye(&mut carrier);
    // Callers and counsellors are joined all the same.
    let mut line = server.phone(3);
    let mut counsellor = Rtp::bind(server.place().host(3));
    let (mut dialog, to) = Dialog::call(&mut carrier, "fixed", &Sdp::pcma(caller.local));
    let (_answered, _, line_to) = Dialog::answer(&mut line, &Sdp::pcma(counsellor.local));
    counsellor.say(line_to, &[SILENCE; 50 * FRAME]);
    let words = prompts::noise("words", 20 * FRAME);
    counsellor.say(line_to, &words);
    caller.stay_until(to, "the counsellor", |ear| ear.has_heard(&words[5 * FRAME..10 * FRAME]));
    dialog.bye(&mut carrier);
}
