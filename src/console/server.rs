//! A small HTTP/1.1 server (RFC 9110, RFC 9112) for metrics and health: GET and HEAD, no bodies in.
//! Everything is bounded, since the listener may be reached by more than the monitoring.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::base::time::Now;
use crate::net::bind_error;

/// Status, content type and body.
pub type Page = (u16, &'static str, String);

type Pages = dyn Fn(&str) -> Option<Page> + Send + Sync;

const TEXT: &str = "text/plain; charset=utf-8";
/// Read after our last word and thrown away, so that the peer can read the answer before its end.
const LEFTOVER: usize = 64 * 1024;

/// What a client may do.
#[derive(Debug, Clone, Copy)]
pub struct HttpLimits {
    /// At a time. Past it: 503 and closed.
    pub connections: usize,
    /// Bytes of the request target. Past it: 414.
    pub target: usize,
    /// Bytes of request line and header fields. Past it: 431.
    pub head: usize,
    /// From a request's first byte to the end of its head. Past it: 408.
    pub request: Duration,
    /// Between requests; the first one must begin within `request`. Past it: closed.
    pub idle: Duration,
    /// To read an answer. Past it: closed.
    pub write: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        let s = Duration::from_secs;
        // Monitoring asks every 15 to 60 seconds and likes to keep its connection.
        Self { connections: 32, target: 1024, head: 8192, request: s(5), idle: s(90), write: s(10) }
    }
}

/// A running server. Dropping it ends it, open connections at their next answer.
pub struct Server {
    address: SocketAddr,
    accepting: AbortHandle,
}

impl Server {
    /// Listens and answers with `pages`: given a path without its query, the page or `None` for 404.
    /// Must be called within a tokio runtime.
    pub fn start(
        address: SocketAddr,
        limits: HttpLimits,
        pages: impl Fn(&str) -> Option<Page> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let (listener, address) =
            listen(address).map_err(|error| bind_error("http (metrics)", address, &error))?;
        let accepting = tokio::spawn(accept(listener, limits, Arc::new(pages))).abort_handle();
        Ok(Self { address, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn listen(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let bound = listener.local_addr()?;
    Ok((TcpListener::from_std(listener)?, bound))
}

async fn accept(listener: TcpListener, limits: HttpLimits, pages: Arc<Pages>) {
    let places = Arc::new(Semaphore::new(limits.connections));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // No file descriptors left: they come back when something ends.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            // Fits any socket's empty buffer; if not, the close says the same.
            let _ = stream.try_write(&answer(&refusal(503), true, false));
            continue;
        };
        let pages = pages.clone();
        tokio::spawn(async move {
            serve(stream, limits, &*pages).await;
            drop(place);
        });
    }
}

/// One connection's requests, one after the other.
async fn serve(mut stream: TcpStream, limits: HttpLimits, pages: &Pages) {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::new();
    // A client that connects and says nothing holds a place no longer than a slow one.
    let mut patience = limits.request;
    while let Some(request) = next_request(&mut stream, &mut buffer, limits, patience).await {
        patience = limits.idle;
        let (bytes, last) = match request {
            Ok(request) => (respond(&request, pages), request.last),
            Err(status) => (answer(&refusal(status), true, true), true),
        };
        match timeout(limits.write, stream.write_all(&bytes)).await {
            Ok(Ok(())) if !last => {}
            Ok(Ok(())) => return part(stream, limits.write).await,
            _ => return,
        }
    }
}

/// Says that nothing more comes, and waits for the peer to see it.
async fn part(mut stream: TcpStream, patience: Duration) {
    let farewell = async {
        stream.shutdown().await?;
        let mut leftover = [0; 4096];
        let mut seen = 0;
        while seen < LEFTOVER {
            match stream.read(&mut leftover).await? {
                0 => break,
                length => seen += length,
            }
        }
        io::Result::Ok(())
    };
    let _ = timeout(patience.min(Duration::from_secs(1)), farewell).await;
}

/// The next request, or the status that refuses it. `None`: there is none any more.
async fn next_request(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    limits: HttpLimits,
    patience: Duration,
) -> Option<Result<Request, u16>> {
    if buffer.is_empty() && !matches!(timeout(patience, stream.read_buf(buffer)).await, Ok(Ok(1..))) {
        return None;
    }
    let whole = async {
        loop {
            // Empty lines before a request are to be ignored (RFC 9112 2.2).
            while buffer.starts_with(b"\r\n") {
                buffer.drain(..2);
            }
            if let Some(cut) = cut(buffer, limits) {
                return Some(cut);
            }
            if !matches!(stream.read_buf(buffer).await, Ok(1..)) {
                return None;
            }
        }
    };
    match timeout(limits.request, whole).await {
        Ok(cut) => cut,
        // Nothing of a request is there: the connection was only kept alive by line ends.
        Err(_) if buffer.is_empty() => None,
        Err(_) => Some(Err(408)),
    }
}

/// Cuts one request from the front, if its head is whole.
fn cut(buffer: &mut Vec<u8>, limits: HttpLimits) -> Option<Result<Request, u16>> {
    let line = buffer.windows(2).position(|w| w == b"\r\n");
    // Method and version beside the target.
    if line.unwrap_or(buffer.len()) > limits.target + 32 {
        return Some(Err(414));
    }
    let end = buffer.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4);
    if end.unwrap_or(buffer.len()) > limits.head {
        return Some(Err(431));
    }
    let head: Vec<u8> = buffer.drain(..end?).collect();
    Some(std::str::from_utf8(&head).map_err(|_| 400).and_then(Request::parse))
}

#[derive(Debug, PartialEq, Eq)]
struct Request {
    /// GET, HEAD or another.
    method: String,
    /// Without query.
    path: String,
    /// The connection ends with the answer.
    last: bool,
}

impl Request {
    /// From a whole head. The error is the status to answer with.
    fn parse(head: &str) -> Result<Self, u16> {
        let mut lines = head.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(400);
        };
        if method.is_empty() || !method.bytes().all(is_token) {
            return Err(400);
        }
        let old = match version {
            "HTTP/1.1" => false,
            "HTTP/1.0" => true,
            _ if version.starts_with("HTTP/") => return Err(505),
            _ => return Err(400),
        };
        let (mut hosts, mut last) = (0, old);
        for line in lines.take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').ok_or(400_u16)?;
            if name.is_empty() || !name.bytes().all(is_token) || line.contains(['\r', '\n', '\0']) {
                return Err(400);
            }
            let value = value.trim_matches([' ', '\t']);
            match name.to_ascii_lowercase().as_str() {
                "host" => hosts += 1,
                "connection" => last |= value.split(',').any(|w| w.trim().eq_ignore_ascii_case("close")),
                // A body is not read: what follows the head is no request then.
                "content-length" => last |= value != "0",
                "transfer-encoding" => last = true,
                _ => {}
            }
        }
        if hosts > 1 || (hosts == 0 && !old) {
            return Err(400);
        }
        Ok(Self { method: method.to_owned(), path: path(target).ok_or(400_u16)?.to_owned(), last })
    }
}

/// The path of an origin-form or absolute-form target (RFC 9112 3.2).
fn path(target: &str) -> Option<&str> {
    let from_root = match target.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("/", |at| rest.get(at..).unwrap_or("/")),
        None => target,
    };
    let path = from_root.split(['?', '#']).next()?;
    (path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic())).then_some(path)
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn respond(request: &Request, pages: &Pages) -> Vec<u8> {
    let with_body = request.method != "HEAD";
    match pages(&request.path) {
        None => answer(&refusal(404), request.last, with_body),
        Some(_) if !matches!(request.method.as_str(), "GET" | "HEAD") => {
            answer(&refusal(405), request.last, true)
        }
        Some(page) => answer(&page, request.last, with_body),
    }
}

fn refusal(status: u16) -> Page {
    (status, TEXT, format!("{status} {}\n", reason(status)))
}

fn answer((status, content_type, body): &Page, last: bool, with_body: bool) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} {}\r\n", reason(*status));
    text += &format!("Date: {}\r\n", Now::read().utc.format("%a, %d %b %Y %H:%M:%S GMT"));
    text += &format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n", body.len());
    text += "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n";
    if *status == 405 {
        text += "Allow: GET, HEAD\r\n";
    }
    text += if last { "Connection: close\r\n\r\n" } else { "\r\n" };
    if with_body {
        text += body;
    }
    text.into_bytes()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        414 => "URI Too Long",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Other",
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use super::*;

    async fn soon<T>(what: impl Future<Output = T>) -> T {
        timeout(Duration::from_secs(20), what).await.expect("in time")
    }

    fn server(limits: HttpLimits) -> Server {
        let pages = |path: &str| match path {
            "/metrics" => Some((200, "text/plain; version=0.0.4", "hulplijn_up 1\n".to_owned())),
            "/health/ready" => Some((503, TEXT, "draining\n".to_owned())),
            _ => None,
        };
        Server::start("127.0.0.1:0".parse().expect("address"), limits, pages).expect("start")
    }

    /// Sends all and reads until the server closes.
    async fn ask(server: &Server, text: &str) -> String {
        let mut stream = soon(TcpStream::connect(server.address())).await.expect("connect");
        soon(stream.write_all(text.as_bytes())).await.expect("write");
        rest(&mut stream).await
    }

    async fn rest(stream: &mut TcpStream) -> String {
        let mut bytes = Vec::new();
        soon(stream.read_to_end(&mut bytes)).await.expect("read");
        String::from_utf8(bytes).expect("text")
    }

    #[tokio::test]
    async fn each_request_gets_its_status() {
        let server = server(HttpLimits::default());
        let long = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(2000));
        let big = format!("GET /metrics HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(9000));
        let cases = [
            ("GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: Close\r\n\r\n", 200),
            ("\r\nGET /metrics?x=1 HTTP/1.0\r\n\r\n", 200),
            ("GET http://h:1/metrics HTTP/1.0\r\n\r\n", 200),
            ("GET /health/ready HTTP/1.0\r\n\r\n", 503),
            ("GET / HTTP/1.0\r\n\r\n", 404),
            ("GET /metrics/ HTTP/1.0\r\n\r\n", 404),
            ("POST /metrics HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", 405),
            ("DELETE /metrics HTTP/1.0\r\n\r\n", 405),
            ("GET /metrics HTTP/1.1\r\n\r\n", 400),
            ("GET /metrics HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            ("GET  /metrics HTTP/1.1\r\nHost: h\r\n\r\n", 400),
            ("GET metrics HTTP/1.0\r\n\r\n", 400),
            ("GET /metrics HTTP/1.0\r\nno colon\r\n\r\n", 400),
            ("GET /metrics HTTP/1.0\r\nX : y\r\n\r\n", 400),
            ("INVITE sip:x SIP/2.0\r\n\r\n", 400),
            ("GET /metrics HTTP/2.0\r\n\r\n", 505),
            (&long, 414),
            (&big, 431),
        ];
        for (text, status) in cases {
            let answered = ask(&server, text).await;
            assert!(answered.starts_with(&format!("HTTP/1.1 {status} ")), "{text}: {answered}");
            assert_eq!(answered.contains("\r\nAllow: GET, HEAD\r\n"), status == 405);
            assert!(answered.contains("\r\nConnection: close\r\n"), "{answered}");
        }
    }

    #[tokio::test]
    async fn a_kept_connection_takes_requests_in_a_row_and_head_has_no_body() {
        let server = server(HttpLimits::default());
        let text = "HEAD /metrics HTTP/1.1\r\nHost: h\r\n\r\nGET /metrics HTTP/1.1\r\nHost: h\r\n\r\n\
                    GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET /metrics HTTP/1.0\r\n\r\n";
        let answered = ask(&server, text).await;
        let parts: Vec<&str> = answered.split("HTTP/1.1 ").collect();
        assert_eq!(parts.len(), 4, "{answered}");
        for (part, status) in parts.iter().skip(1).zip(["200", "200", "404"]) {
            assert!(part.starts_with(status), "{answered}");
        }
        assert!(parts[1].contains("Content-Length: 14\r\n") && parts[1].ends_with("\r\n\r\n"));
        assert!(parts[2].contains("text/plain; version=0.0.4\r\n") && parts[2].ends_with("hulplijn_up 1\n"));
    }

    #[tokio::test]
    async fn slow_heads_and_idle_connections_end() {
        let limits = HttpLimits {
            request: Duration::from_millis(30),
            idle: Duration::from_millis(30),
            ..HttpLimits::default()
        };
        let patient = server(HttpLimits { idle: Duration::from_secs(3600), ..limits });
        assert_eq!(ask(&patient, "").await, "", "who connects and says nothing");
        let server = server(limits);
        assert!(ask(&server, "GET /metrics HTT").await.starts_with("HTTP/1.1 408 "));
        assert_eq!(ask(&server, "").await, "");
    }

    #[tokio::test]
    async fn connections_past_the_limit_are_refused_and_their_places_come_back() {
        let server = server(HttpLimits { connections: 1, ..HttpLimits::default() });
        let mut first = soon(TcpStream::connect(server.address())).await.expect("connect");
        first.write_all(b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n").await.expect("write");
        let mut one = [0; 1];
        soon(first.read_exact(&mut one)).await.expect("answer");
        assert!(ask(&server, "").await.starts_with("HTTP/1.1 503 "));
        first.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.expect("write");
        assert!(rest(&mut first).await.ends_with("hulplijn_up 1\n"));
        drop(first);
        // The place comes back when the server has seen the end.
        let served_again = async {
            loop {
                let mut next = TcpStream::connect(server.address()).await.expect("connect");
                let mut bytes = Vec::new();
                let _ = next.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await;
                let _ = next.read_to_end(&mut bytes).await;
                if bytes.starts_with(b"HTTP/1.1 200 ") {
                    return;
                }
            }
        };
        soon(served_again).await;
    }

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        let server = server(HttpLimits::default());
        let error = Server::start(server.address(), HttpLimits::default(), |_| None).map(|_| ());
        let text = error.expect_err("bound twice").to_string();
        assert!(text.contains(&server.address().to_string()) && text.contains("another program"), "{text}");
    }
}
