//! The binary itself with the configuration for load, as `hulplijn serve --config config/examples/load`.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use super::cpu::{self, Cores};

pub const SWITCH: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5070);
pub const CARRIER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
pub const AGENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

pub struct Server {
    child: Child,
}

impl Server {
    /// Started on the measured core; waits until it says that it runs.
    pub fn start(cores: &Cores) -> Self {
        let root = env!("CARGO_MANIFEST_DIR");
        let mut command = Command::new(env!("CARGO_BIN_EXE_hulplijn"));
        command.args(["serve", "--config", "config/examples/load"]).current_dir(root);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = cores.measured(|| command.spawn()).expect("the binary starts");
        end_together(pid_of(&child));
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        while !line.contains("hulplijn call sip:") {
            line.clear();
            let length = out.read_line(&mut line).expect("text");
            assert!(length > 0, "the switch did not start");
        }
        // Nobody reads on; a pipe that nobody empties must not hold the switch up.
        std::thread::spawn(move || out.read_to_end(&mut Vec::new()));
        Self { child }
    }

    pub fn cpu(&self) -> Duration {
        cpu::of_process(self.child.id())
    }

    pub fn resident(&self) -> f64 {
        cpu::resident(self.child.id())
    }

    /// SIGTERM; whether it ended by itself and well.
    pub fn stop(mut self) -> bool {
        kill_process(pid_of(&self.child), Signal::TERM).expect("signalled");
        let deadline = Instant::now() + Duration::from_secs(15);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status.success();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.id() as i32).expect("a process")
}

/// A bench that is stopped half-way leaves no switch behind.
fn end_together(server: Pid) {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
        runtime.block_on(async {
            let mut terminate = signal(SignalKind::terminate()).expect("a signal");
            let mut interrupt = signal(SignalKind::interrupt()).expect("a signal");
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        });
        let _ = kill_process(server, Signal::KILL);
        std::process::exit(130);
    });
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
