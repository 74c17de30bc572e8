//! JsSIP in a headless Chromium as a counsellor's web phone: SIP over WebSocket from a page. The page is
//! `jssip/page.html`; it tells what happens by posting it to the little web server that it came from.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::process::Signal;

use crate::support::certificates::Authority;
use crate::support::server::{HELPLINE, Program, repository};
use crate::support::{Dialog, PATIENCE, Rtp, Sdp, Server, Site};

/// The helpline with WebSocket for one origin.
const WEB: &str = r#"
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

/// A browser with the page open.
struct Browser {
    program: Program,
    reports: Receiver<String>,
}

impl Browser {
    /// Opens the page, which is told where the switch speaks WebSocket.
    fn open(server: &Server, socket: &str, password: &str) -> Self {
        let web = SocketAddr::from((server.place().host(5), PORT));
        let (sender, reports) = channel();
        let listener = TcpListener::bind(web).expect("a web server");
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender = sender.clone();
                std::thread::spawn(move || serve(stream, &sender));
            }
        });
        let uri = format!("sip:anna@{}", server.place().host(1));
        let mut command = Command::new("chromium");
        command
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .arg("--ignore-certificate-errors")
            .arg(format!("--user-data-dir={}", server.site().dir.join("chromium").display()))
            .arg(format!("http://{web}/?socket={socket}&uri={uri}&password={password}"));
        Self { program: Program::start(command), reports }
    }

    /// The next thing that the page tells.
    fn tells(&self, expected: &str) {
        let told = self.reports.recv_timeout(PATIENCE);
        let told = told.unwrap_or_else(|_| panic!("`{expected}` is not told:\n{}", self.program.err.text()));
        assert_eq!(told, expected);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It writes to its folder until it is gone.
        self.program.signal(Signal::TERM);
        self.program.wait_exit();
    }
}

/// Where the page comes from.
const PORT: u16 = 8000;

/// One request: the page, a file of JsSIP's, or a report.
fn serve(mut stream: TcpStream, reports: &Sender<String>) {
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
    let file = match path {
        "/" => "page.html",
        path => path.trim_start_matches('/'),
    };
    let content = if method == "POST" {
        let length = head.iter().find_map(|line| line.strip_prefix("Content-Length: "));
        let mut body = vec![0; length.and_then(|text| text.parse().ok()).unwrap_or(0)];
        reader.read_exact(&mut body).expect("a body");
        // Nobody listens any more when the test is over.
        let _ = reports.send(String::from_utf8_lossy(&body).into_owned());
        Ok(Vec::new())
    } else {
        fs::read(repository("tests/interop/jssip").join(file))
    };
    let (status, kind) = match &content {
        Ok(_) if file == "page.html" => ("200 OK", "text/html"),
        Ok(_) => ("200 OK", "text/plain"),
        Err(_) => ("404 Not Found", "text/plain"),
    };
    let content = content.unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        content.len()
    );
    let _ = stream.write_all(&[head.as_bytes(), &content].concat());
}

/// A helpline that pages of this origin may call. JsSIP knows MD5 only and looks at the last challenge, which is that.
fn helpline(origin: &str) -> Server {
    let site = Site::new(&format!("{HELPLINE}{}", WEB.replace("ORIGIN", origin)));
    Authority::new().sign(&site.config(), "switch", &["switch.example"]);
    site.start()
}

/// Registers, is rung by a call without a word of who calls, declines, and unregisters.
fn serves(transport: &str, port: u16) {
    let server = helpline(&format!("http://NET.5:{PORT}"));
    let socket = format!("{transport}://{}:{port}", server.place().host(1));
    let page = Browser::open(&server, &socket, "geheim-anna");
    page.tells("connected");
    page.tells("registered");
    server.wait_metric("hulplijn_lines_registered", 1.0);
    let mut carrier = server.carrier();
    let caller = Rtp::bind(server.place().host(2));
    let (mut dialog, _) = Dialog::call(&mut carrier, "1712", &Sdp::pcma(caller.local));
    page.tells("called by 1712 sip:anonymous@anonymous.invalid");
    server.wait_log("event=\"missed\"");
    page.tells("unregistered");
    server.wait_metric_is("hulplijn_lines_registered", 0.0);
    dialog.bye(&mut carrier);
    server.wait_metric_is("hulplijn_calls_in_progress", 0.0);
}

#[test]
fn a_page_registers_over_ws_and_is_called() {
    serves("ws", 5080);
}

#[test]
fn a_page_registers_over_wss_and_is_called() {
    serves("wss", 5081);
}

#[test]
fn a_page_of_another_origin_gets_no_connection() {
    let server = helpline(&format!("https://NET.5:{PORT}"));
    let socket = format!("ws://{}:5080", server.place().host(1));
    let page = Browser::open(&server, &socket, "geheim-anna");
    page.tells("disconnected");
    server.wait_metric(r#"hulplijn_dropped_total{reason="websocket_upgrade"}"#, 1.0);
    assert!(server.metric("hulplijn_lines_registered") < 1.0);
}

#[test]
fn a_page_with_a_wrong_password_is_refused_and_counted() {
    let server = helpline(&format!("http://NET.5:{PORT}"));
    let socket = format!("ws://{}:5080", server.place().host(1));
    let page = Browser::open(&server, &socket, "geraden");
    page.tells("connected");
    page.tells("not registered: Authentication Error");
    server.wait_metric("hulplijn_auth_failures_total", 1.0);
    assert!(server.metric("hulplijn_lines_registered") < 1.0);
}
