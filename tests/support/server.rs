//! The binary itself, started with a scratch configuration, watched and stopped.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::peer::Peer;
use super::place::Place;
use super::{PATIENCE, prompts};

/// The configuration of most tests; `NET` stands for the place's network.
pub const HELPLINE: &str = include_str!("helpline.toml");

/// A place with a scratch directory: `config/`, `prompts/` and `data/`, which outlives one run of the switch.
pub struct Site {
    pub place: Place,
    pub dir: PathBuf,
}

impl Site {
    /// A place with this configuration (and with prompts of its own in nl, fr and en).
    pub fn new(toml: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("hulplijn-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("config")).expect("a scratch directory");
        prompts::write(&dir.join("prompts"), &["nl", "fr", "en"]);
        let site = Self { place: Place::take(), dir };
        site.write_config(toml);
        site
    }

    pub fn write_config(&self, toml: &str) {
        fs::write(self.config().join("all.toml"), self.place.fill(toml)).expect("written");
    }

    pub fn config(&self) -> PathBuf {
        self.dir.join("config")
    }

    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// A command of the binary with this configuration, run to its end.
    pub fn command(&self, arguments: &[&str]) -> Output {
        let mut command = binary();
        command.args(arguments).arg("--config").arg(self.config());
        command.output().expect("the binary runs")
    }

    /// Starts the switch and waits until it says that it runs.
    pub fn start(self) -> Server {
        let mut server = self.spawn();
        server.wait_started();
        server
    }

    pub fn spawn(self) -> Server {
        let mut command = binary();
        command.arg("serve").arg("--config").arg(self.config());
        self.spawn_as(command)
    }

    /// Starts it with a log that nobody reads: the pipe is there and fills up.
    pub fn start_unheard(self, level: &str) -> Server {
        let mut command = binary();
        command.arg("serve").arg("--config").arg(self.config()).env("HULPLIJN_LOG", level);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let out = Lines::of(child.stdout.take().expect("piped"));
        let mut server = Server { site: Some(self), child, out, err: Lines::of(std::io::empty()) };
        server.wait_started();
        server
    }

    /// The same by another command line, such as one with a limit.
    pub fn spawn_as(self, mut command: Command) -> Server {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let out = Lines::of(child.stdout.take().expect("piped"));
        let err = Lines::of(child.stderr.take().expect("piped"));
        Server { site: Some(self), child, out, err }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The binary under test.
pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hulplijn"));
    command.env_remove("HULPLIJN_LOG").env_remove("RUST_BACKTRACE");
    command
}

/// A running switch; killed when dropped.
pub struct Server {
    site: Option<Site>,
    child: Child,
    /// Standard output and standard error, line by line.
    pub out: Lines,
    pub err: Lines,
}

impl Server {
    /// A switch with the configuration of most tests and some more TOML.
    pub fn helpline(more: &str) -> Self {
        Site::new(&format!("{HELPLINE}\n{more}")).start()
    }

    pub fn site(&self) -> &Site {
        self.site.as_ref().expect("running")
    }

    pub fn place(&self) -> &Place {
        &self.site().place
    }

    pub fn sip(&self) -> SocketAddr {
        self.place().sip(1)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The carrier, on UDP.
    pub fn carrier(&self) -> Peer {
        Peer::udp(self.place().sip(2), self.sip())
    }

    /// The carrier's address, on UDP and any port but the usual one.
    pub fn carrier_on_another_port(&self) -> Peer {
        Peer::udp((self.place().host(2), 0).into(), self.sip())
    }

    /// A phone (or anyone else) on UDP, port 5060 of this host.
    pub fn phone(&self, last: u8) -> Peer {
        Peer::udp(self.place().sip(last), self.sip())
    }

    pub fn wait_started(&mut self) {
        let started = self.out.wait_or(|l| l.contains("hulplijn call sip:"), || self.ended());
        assert!(started.is_some(), "not started:\n{}{}", self.out.text(), self.err.text());
    }

    fn ended(&self) -> bool {
        // Both pipes are closed when the process is gone.
        self.out.is_closed() && self.err.is_closed()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).expect("a process");
        kill_process(pid, signal).expect("signalled");
    }

    /// Waits for the end; the exit code, `None` when a signal ended it.
    pub fn wait_exit(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.err.text());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// kill -9; the place and its data stay for another run.
    pub fn kill(mut self) -> Site {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.site.take().expect("running")
    }

    /// Waits for a log line; it is returned.
    pub fn wait_log(&self, what: &str) -> String {
        self.err
            .wait_or(|line| line.contains(what), || false)
            .unwrap_or_else(|| panic!("`{what}` was not logged:\n{}", self.err.text()))
    }

    // --- HTTP -----------------------------------------------------------------------------------------

    pub fn http(&self) -> SocketAddr {
        (self.place().host(1), 9712).into()
    }

    /// Status and body of a page.
    pub fn get(&self, path: &str) -> (u16, String) {
        get(self.http(), path)
    }

    /// The value of a metric, written as in the text with its labels; 0 when it is not there.
    pub fn metric(&self, name: &str) -> f64 {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200);
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or(0.0)
    }

    /// Waits until a metric is at least this; its value.
    pub fn wait_metric(&self, name: &str, least: f64) -> f64 {
        let mut value = 0.0;
        wait_until(
            || {
                value = self.metric(name);
                value >= least
            },
            || format!("{name} stays below {least}:\n{}", self.get("/metrics").1),
        );
        value
    }

    /// Waits until a metric is this.
    pub fn wait_metric_is(&self, name: &str, value: f64) {
        wait_until(
            || (self.metric(name) - value).abs() < f64::EPSILON,
            || format!("{name} does not become {value}:\n{}", self.get("/metrics").1),
        );
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the switch said:\n{}{}", self.out.text(), self.err.text());
        }
    }
}

/// Asks again and again until it is so.
pub fn wait_until(mut is_so: impl FnMut() -> bool, complaint: impl Fn() -> String) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{}", complaint());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// HTTP GET.
pub fn get(from: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect_timeout(&from, PATIENCE).unwrap_or_else(|e| panic!("{from}: {e}"));
    stream.set_read_timeout(Some(PATIENCE)).expect("a stream");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {from}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    (status, text.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned()))
}

/// What a process writes, line by line, for others to wait on.
#[derive(Clone)]
pub struct Lines(Arc<(Mutex<Written>, Condvar)>);

#[derive(Default)]
struct Written {
    lines: Vec<String>,
    closed: bool,
}

impl Lines {
    /// Reads a pipe on a thread of its own until it ends.
    pub fn of(pipe: impl std::io::Read + Send + 'static) -> Self {
        let lines = Self(Arc::new((Mutex::new(Written::default()), Condvar::new())));
        let writer = lines.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(pipe);
            let mut bytes = Vec::new();
            while reader.read_until(b'\n', &mut bytes).is_ok_and(|length| length > 0) {
                let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
                bytes.clear();
                writer.change(|written| written.lines.push(line));
            }
            writer.change(|written| written.closed = true);
        });
        lines
    }

    fn change(&self, change: impl FnOnce(&mut Written)) {
        change(&mut self.0.0.lock().expect("not poisoned"));
        self.0.1.notify_all();
    }

    pub fn all(&self) -> Vec<String> {
        self.0.0.lock().expect("not poisoned").lines.clone()
    }

    pub fn text(&self) -> String {
        self.all().iter().map(|line| format!("{line}\n")).collect()
    }

    pub fn count(&self, is_meant: impl Fn(&str) -> bool) -> usize {
        self.all().iter().filter(|line| is_meant(line)).count()
    }

    pub fn is_closed(&self) -> bool {
        self.0.0.lock().expect("not poisoned").closed
    }

    /// Waits for a line; `None` when the pipe ends, `gives_up` says so, or patience does.
    pub fn wait_or(&self, is_meant: impl Fn(&str) -> bool, gives_up: impl Fn() -> bool) -> Option<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            {
                let written = self.0.0.lock().expect("not poisoned");
                if let Some(line) = written.lines.iter().find(|line| is_meant(line)) {
                    return Some(line.clone());
                }
                let left = deadline.saturating_duration_since(Instant::now());
                if written.closed || left.is_zero() {
                    return None;
                }
                drop(
                    self.0
                        .1
                        .wait_timeout(written, left.min(Duration::from_millis(100)))
                        .expect("not poisoned"),
                );
            }
            if gives_up() {
                return None;
            }
        }
    }
}

/// A program beside the switch; killed when dropped.
pub struct Program {
    pub child: Child,
    pub out: Lines,
    pub err: Lines,
}

impl Program {
    /// Starts it; a program that is not installed fails the test by name.
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null());
        Self::spawn(command)
    }

    /// The same for one that takes commands on its standard input.
    pub fn start_listening(mut command: Command) -> (Self, ChildStdin) {
        command.stdin(Stdio::piped());
        let mut program = Self::spawn(command);
        let input = program.child.stdin.take().expect("piped");
        (program, input)
    }

    fn spawn(mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .spawn()
            .unwrap_or_else(|e| panic!("{name} can't be started ({e}): run tests/interop/install.sh"));
        let out = Lines::of(child.stdout.take().expect("piped"));
        let err = Lines::of(child.stderr.take().expect("piped"));
        Self { child, out, err }
    }

    /// Waits for its end; the exit code.
    pub fn wait_exit(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}{}", self.out.text(), self.err.text());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).expect("a process");
        let _ = kill_process(pid, signal);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file below a directory of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
