//! The running switch with a marked caller on one side, and on the other all whom the caller's identity must not
//! reach: a line, 106, and everything that the switch writes.

use std::fs;
use std::path::Path;
use std::time::Instant;

use rustix::process::Signal;

use super::caller::{Caller, Ear, FRAME};
use super::lamp::Lamp;
use super::line_side::forbidden;
use super::marks::Outlet;
use super::room::Anna;
use super::support::{Dialog, Message, Peer, Server, Site, prompts, server};

/// The number that a caller keys in to be called back: the one thing that is stored, and shown to counsellors.
pub const KEYED: &str = "0493718265";

pub struct Scene {
    pub server: Server,
    pub caller: Caller,
    /// A line with a fixed address.
    pub line: Peer,
    pub line_ear: Ear,
    /// Where calls to 106 go.
    pub carrier: Peer,
    pub carrier_ear: Ear,
    /// A phone that watches that line and the mailbox.
    pub lamp: Lamp,
    /// A counsellor who has registered, once she was there.
    pub anna: Option<Anna>,
    /// 106, while it is asked.
    pub third: Option<Dialog>,
    /// What the caller says: 20 ms, known octet for octet.
    pub voice: Vec<u8>,
    outlets: Vec<Outlet>,
}

impl Scene {
    pub fn new(json: bool) -> Self {
        let toml = server::HELPLINE
            .replace("sources = [\"NET.2\"]", "sources = [\"NET.2\", \"NET.9\"]")
            .replace("level = \"debug\"", &format!("level = \"trace\"\njson = {json}"));
        let server = Site::new(&toml).start();
        let (line, carrier) = (server.phone(3), server.carrier());
        let place = server.place();
        let (line_ear, carrier_ear) = (Ear::bind(place.host(3)), Ear::bind(place.host(2)));
        let caller = Caller::new(&server);
        let lamp = Lamp::start(&server);
        let voice = prompts::noise("caller", FRAME);
        let (anna, third, outlets) = (None, None, Vec::new());
        Self { server, caller, line, line_ear, carrier, carrier_ear, lamp, anna, third, voice, outlets }
    }

    /// Writes down what the switch shows of itself at this moment.
    pub fn look(&mut self, when: &str) {
        for page in ["/metrics", "/health/live", "/health/ready"] {
            let (status, text) = self.server.get(page);
            assert!(status == 200 && !text.is_empty(), "{page}: {status}");
            self.outlets.push(Outlet::new(format!("{page} {when}"), text));
        }
        let site = self.server.site();
        let mut commands = vec![vec!["messages", "list"], vec!["messages", "list", "--json"]];
        let export = site.dir.join("export.wav");
        let id = self.first_message();
        if let Some(id) = &id {
            commands.push(vec!["messages", "export", id, export.to_str().expect("a path")]);
        }
        for command in commands {
            let output = site.command(&command);
            assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
            self.outlets.push(Outlet::new(format!("{command:?} {when}"), output.stdout));
            self.outlets.push(Outlet::new(format!("{command:?} {when}, its errors"), output.stderr));
        }
        if id.is_some() {
            self.outlets.push(Outlet::new("an export", fs::read(&export).expect("exported")));
            fs::remove_file(export).expect("removed");
        }
        self.outlets.extend(files(&self.server.site().data(), when));
        self.outlets.extend(process(self.server.pid()));
    }

    fn first_message(&self) -> Option<String> {
        let listed = self.server.site().command(&["messages", "list", "--json"]).stdout;
        let rows: serde_json::Value = serde_json::from_slice(&listed).expect("JSON");
        Some(rows.get(0)?.get("id")?.as_str()?.to_owned())
    }

    /// Ends the switch and gathers all that has left it.
    pub fn gather(mut self) -> (Caller, Vec<Outlet>) {
        self.look("at the end");
        self.server.signal(Signal::TERM);
        assert_eq!(self.server.wait_exit(), Some(0), "{}", self.server.err.text());
        // What was on its way.
        for peer in [&mut self.line, &mut self.carrier] {
            while peer.wait_for(std::time::Duration::from_millis(50), &|_| true).is_some() {}
        }
        for ear in [&mut self.line_ear, &mut self.carrier_ear] {
            ear.listen(Instant::now());
        }
        let lamp = self.lamp.seen(self.server.sip().ip()).join(&b"\r\n"[..]);
        let seen = String::from_utf8_lossy(&lamp);
        // Calls here are brief, and of one second a lamp hears the last state only.
        for state in ["<dialog id=", "<presence ", "Messages-Waiting: yes", "terminated;"] {
            assert!(seen.contains(state), "the lamp never showed {state}");
        }
        let mut outlets = std::mem::take(&mut self.outlets);
        outlets.push(Outlet::new("the lamp's SIP", lamp));
        outlets.extend(files(&self.server.site().data(), "after the end"));
        outlets.push(Outlet::new("standard output", self.server.out.text()));
        outlets.push(Outlet::new("standard error, the log", self.server.err.text()));
        let anna = self.anna.iter().map(|anna| ("anna's", &anna.peer, &anna.ear));
        let wires = [("the line's", &self.line, &self.line_ear), ("106's", &self.carrier, &self.carrier_ear)];
        let wires = wires.into_iter().chain(anna);
        for (whose, peer, ear) in wires {
            outlets.push(Outlet::new(format!("{whose} SIP"), peer.raw.join(&b"\r\n"[..])));
            outlets.push(Outlet::new(format!("{whose} RTP"), ear.heard.concat()));
            outlets.push(Outlet::new(format!("{whose} RTCP"), ear.control.concat()));
        }
        (self.caller, outlets)
    }

    /// Every message that came to the line and to 106, checked against the allow-list.
    pub fn check_messages(&self) {
        let switch = self.server.sip().ip();
        for datagram in self.line.raw.iter().chain(&self.carrier.raw) {
            let message = Message::new(datagram);
            let wrong = forbidden(&message, switch);
            assert!(wrong.is_empty(), "{wrong:?} in\n{}", message.text);
        }
    }
}

/// Names and content of all files below.
pub fn files(folder: &Path, when: &str) -> Vec<Outlet> {
    let mut outlets = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        let name = path.display().to_string();
        outlets.push(Outlet::new(format!("the name of {name} {when}"), name.clone()));
        if path.is_dir() {
            outlets.extend(files(&path, when));
        } else if let Ok(bytes) = fs::read(&path) {
            outlets.push(Outlet::new(format!("{name} {when}"), bytes));
        }
    }
    outlets
}

/// What any user of the machine can see of a process: arguments and names of threads.
fn process(pid: u32) -> Vec<Outlet> {
    let folder = Path::new("/proc").join(pid.to_string());
    let mut outlets =
        vec![Outlet::new("the command line", fs::read(folder.join("cmdline")).expect("running"))];
    for thread in fs::read_dir(folder.join("task")).expect("running").flatten() {
        if let Ok(name) = fs::read(thread.path().join("comm")) {
            outlets.push(Outlet::new("the name of a thread", name));
        }
    }
    outlets
}
