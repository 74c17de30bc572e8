//! A headless Chromium with the page `jssip/page.html`, which does what it is told and tells what happens by way of the
//! little web server that it came from. What it says into its microphone are tones, and what it hears comes back.

use std::f64::consts::TAU;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use rustix::process::Signal;

use crate::support::prompts;
use crate::support::server::{Program, repository};
use crate::support::{PATIENCE, Server};

/// A helpline with WebSocket for one origin.
pub const WEB: &str = r#"
[[listen]]
transport = "ws"
address = "NET.1:5080"
origins = ["ORIGIN"]

[[listen]]
transport = "wss"
address = "NET.1:5081"
certificate = "switch.pem"
key = "switch.key"
origins = ["ORIGIN"]
"#;

/// Where the page comes from.
pub const PORT: u16 = 8000;

/// What the browser says, in turn, each for half a second.
pub const TONES: [u32; 2] = [700, 1100];

/// A tone at 8 kHz, a quarter as loud as can be.
pub fn tone(hertz: u32, samples: usize) -> Vec<i16> {
    (0..samples).map(|n| (8000.0 * (TAU * f64::from(hertz) * n as f64 / 8000.0).sin()) as i16).collect()
}

/// How many twentieths of a second of this are that tone and little else.
pub fn hears(samples: &[i16], hertz: u32) -> usize {
    let is_tone = |window: &&[i16]| {
        let turn = TAU * f64::from(hertz) / 8000.0;
        let sum = |f: fn(f64) -> f64| -> f64 {
            window.iter().enumerate().map(|(n, s)| f64::from(*s) * f(turn * n as f64)).sum()
        };
        let tone = (sum(f64::sin).powi(2) + sum(f64::cos).powi(2)) * 2.0 / window.len() as f64;
        let all: f64 = window.iter().map(|s| f64::from(*s).powi(2)).sum();
        all > 100.0 * 100.0 * window.len() as f64 && tone > 0.8 * all
    };
    samples.chunks_exact(400).filter(is_tone).count()
}

/// A browser with the page open.
pub struct Browser {
    program: Program,
    reports: Receiver<String>,
    commands: Sender<String>,
    heard: Arc<Mutex<Vec<Vec<i16>>>>,
}

/// What each connection of the page's has to do with.
#[derive(Clone)]
struct Post {
    reports: Sender<String>,
    commands: Arc<Mutex<Receiver<String>>>,
    heard: Arc<Mutex<Vec<Vec<i16>>>>,
}

impl Browser {
    /// Opens the page, which is told where the switch speaks WebSocket.
    pub fn open(server: &Server, socket: &str, password: &str) -> Self {
        let web = SocketAddr::from((server.place().host(5), PORT));
        let (sender, reports) = channel();
        let (commands, asked) = channel();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let post = Post { reports: sender, commands: Arc::new(Mutex::new(asked)), heard: Arc::clone(&heard) };
        let listener = TcpListener::bind(web).expect("a web server");
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let post = post.clone();
                std::thread::spawn(move || serve(stream, &post));
            }
        });
        let speech = server.site().dir.join("browser.wav");
        let said: Vec<i16> = TONES.iter().flat_map(|hertz| tone(*hertz, 4000)).collect();
        prompts::write_linear(&speech, &said);
        let uri = format!("sip:anna@{}", server.place().host(1));
        let mut command = Command::new("chromium");
        command
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--ignore-certificate-errors", "--autoplay-policy=no-user-gesture-required"])
            .args(["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"])
            // All of this happens on one machine.
            .arg("--allow-loopback-in-peer-connection")
            .arg(format!("--use-file-for-fake-audio-capture={}", speech.display()))
            .arg(format!("--user-data-dir={}", server.site().dir.join("chromium").display()))
            .arg(format!("http://{web}/?socket={socket}&uri={uri}&password={password}"));
        Self { program: Program::start(command), reports, commands, heard }
    }

    /// The next thing that the page tells.
    pub fn tells(&self, expected: &str) {
        let told = self.reports.recv_timeout(PATIENCE);
        let told = told.unwrap_or_else(|_| panic!("`{expected}` is not told:\n{}", self.program.err.text()));
        assert_eq!(told, expected);
    }

    /// Asks the page for something.
    pub fn does(&self, command: &str) {
        self.commands.send(command.to_owned()).expect("the page asks");
    }

    /// All that was heard on that call so far.
    pub fn heard(&self, call: usize) -> Vec<i16> {
        self.heard.lock().expect("heard").get(call).cloned().unwrap_or_default()
    }

    /// Nothing was heard on that call up to now.
    pub fn forget(&self, call: usize) {
        if let Some(heard) = self.heard.lock().expect("heard").get_mut(call) {
            heard.clear();
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It writes to its folder until it is gone.
        self.program.signal(Signal::TERM);
        self.program.wait_exit();
    }
}

/// One request: the page, a file of JsSIP's, a report, what is heard, or the wish for a command.
fn serve(mut stream: TcpStream, post: &Post) {
    let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
    let mut head = Vec::new();
    while let Some(Ok(line)) = reader.by_ref().lines().next() {
        if line.is_empty() {
            break;
        }
        head.push(line);
    }
    // A connection that the browser opened in advance may close without a word.
    let Some((method, path)) = head.first().and_then(|line| line.split_once(' ')) else { return };
    let path = path.split([' ', '?']).next().unwrap_or_default();
    let length = head.iter().find_map(|line| line.strip_prefix("Content-Length: "));
    let mut body = vec![0; length.and_then(|text| text.parse().ok()).unwrap_or(0)];
    reader.read_exact(&mut body).expect("a body");
    let (content, kind) = match (method, path) {
        ("POST", "/report") => {
            // Nobody listens any more when the test is over.
            let _ = post.reports.send(String::from_utf8_lossy(&body).into_owned());
            (Ok(Vec::new()), "text/plain")
        }
        ("POST", path) => {
            keep(post, path, &body);
            (Ok(Vec::new()), "text/plain")
        }
        (_, "/command") => {
            let asked = post.commands.lock().expect("commands").recv_timeout(PATIENCE);
            (Ok(asked.unwrap_or_default().into_bytes()), "text/plain")
        }
        (_, "/") => (read("page.html"), "text/html"),
        (_, path) => (read(path.trim_start_matches('/')), "text/plain"),
    };
    let status = if content.is_ok() { "200 OK" } else { "404 Not Found" };
    let content = content.unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        content.len()
    );
    let _ = stream.write_all(&[head.as_bytes(), &content].concat());
}

fn read(file: &str) -> std::io::Result<Vec<u8>> {
    fs::read(repository("tests/interop/jssip").join(file))
}

/// `/heard/N`: what call N heard next.
fn keep(post: &Post, path: &str, body: &[u8]) {
    let Some(call) = path.strip_prefix("/heard/").and_then(|call| call.parse::<usize>().ok()) else { return };
    let mut heard = post.heard.lock().expect("heard");
    if heard.len() <= call {
        heard.resize(call + 1, Vec::new());
    }
    heard[call].extend(body.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])));
}
