//! `hulplijn serve`: the driver. Sockets, media, store, name server, clock and signals around one `Switch`;
//! it decides nothing.

use std::io::{Read as _, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::audio;
use super::check::{self, Ready};
use super::data_folder;
use super::exit::Exit;
use super::reload::{self, Reloaded};
use super::upkeep::{Told, Upkeep};
use crate::base::id::Rng;
use crate::base::network::Network;
use crate::base::time::Now;
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::raw::{self, ListenTransport};
use crate::config::source;
use crate::console::server::{HttpLimits, Server};
use crate::media::command::{MediaCommand, MediaEvent};
use crate::media::dtls::Identity;
use crate::media::plane::{Plane, PlaneConfig, PlaneHandle};
use crate::net::dns::{Dns, DnsConfig, Resolved};
use crate::net::tls::Security;
use crate::net::{self, Inlet, Net, NetInput};
use crate::privacy::memory;
use crate::privacy::redact::{self, Log};
use crate::sip::flow::Transport;
use crate::sip::target::Answer;
use crate::sip::uri::{Host, Uri};
use crate::store::database::StoreError;
use crate::store::request::{StoreReply, StoreRequest};
use crate::store::sqlite::Store;
use crate::switch::Switch;
use crate::switch::io::{Command, Input, Output};
use crate::switch::policy::{Policy, network};
use crate::telemetry::export::{Metrics, Names};
use crate::telemetry::health::{Health, Trouble};
use crate::telemetry::journal;
use crate::telemetry::notice::Notice;
use crate::voicemail::mailbox;

/// How often refusals of what an input led to are answered before other inputs have their turn.
const ROUNDS: usize = 16;
/// Inputs taken in one go before the outputs are carried out and timers looked at.
const BATCH: usize = 256;
/// How long a stop waits for readers of streams to take what was sent to them last.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How often the heart beats.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// How often handled messages that have had their time are deleted.
const RETENTION: Duration = Duration::from_secs(3600);

#[derive(Debug, Args)]
pub struct Arguments {
    /// Directory of the configuration.
    #[arg(long, value_name = "DIR", default_value = "config")]
    config: PathBuf,
}

/// Runs the command until SIGTERM.
pub fn run(arguments: &Arguments, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let (ready, mut findings) = match check::examine(&arguments.config, None) {
        Ok(mut ready) => {
            let warnings = std::mem::take(&mut ready.warnings);
            (ready, warnings)
        }
        Err(mut findings) => match without_prompts(&arguments.config) {
            Some(ready) => (ready, findings),
            None => return check::report(&mut findings, out),
        },
    };
    let absent = audio::not_here(&ready.policy.config);
    if !absent.is_empty() {
        findings.extend(absent);
        return check::report(&mut findings, out);
    }
    if !findings.is_empty() {
        check::report(&mut findings, out)?;
    }
    let settings = &ready.policy.config.log;
    let log = redact::install(&settings.level.value, settings.json.value)?;
    memory::keep_in().context("the memory of the process can't be kept from core files")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(&arguments.config, ready, log, out))
}

/// A configuration that only lacks prompts is no reason not to answer after a restart: others take their place. `check`
/// is stricter, since nobody waits for it, and so is a reload, but for what was missing already.
fn without_prompts(dir: &Path) -> Option<Ready> {
    let config = source::read(dir, &|name| std::env::var(name).ok()).config?;
    check::compile_without_prompts(config)
}

/// Everything that the core speaks with.
struct World {
    net: Net,
    dns: Dns,
    plane: PlaneHandle,
    store: Option<Store>,
    upkeep: Upkeep,
    log: Log,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    names: Arc<RwLock<Names>>,
    /// Inputs that arise from carrying out outputs.
    back: Vec<Input>,
    drained: bool,
}

/// What comes to the core, in the order in which it is looked at.
struct Inlets {
    net: Inlet,
    dns: mpsc::Receiver<Resolved>,
    media: mpsc::Receiver<MediaEvent>,
    store: Option<mpsc::Receiver<StoreReply>>,
    upkeep: mpsc::Receiver<Told>,
    reloaded: mpsc::Receiver<Reloaded>,
}

async fn serve(dir: &Path, ready: Ready, log: Log, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let policy = Arc::new(ready.policy);
    // First of all: until then a signal would end the process without a word.
    let mut signals = Signals::new()?;
    let config = &policy.config;
    let health = Arc::new(Health::new());
    let metrics = Arc::new(Metrics::new()?);
    metrics.certificates_until(ready.certificates_until);
    let names = Arc::new(RwLock::new(names(&policy)));
    let (net, net_inlet) =
        net::start(net_config(config, ready.security)).context("SIP can't be listened to")?;
    let server = config.dns.server.as_ref().map(|server| server.value);
    let (dns, dns_inlet) =
        Dns::start(DnsConfig { server, ..DnsConfig::default() }).context("no name service")?;
    let identity = Arc::new(Identity::generate()?);
    let certificate = identity.fingerprint();
    let plane_config = PlaneConfig { identity: Some(identity), ..audio::plane_config(config, seed()?) };
    let (plane, media_inlet) = Plane::start(plane_config).context("audio can't be started")?;
    let data = config.site.data.value.clone();
    let (store, store_inlet) = open_store(&data, &health)?;
    let (upkeep, upkeep_inlet) = Upkeep::start(&data).context("no thread for the disk")?;
    let _console = match &config.metrics.listen {
        Some(listen) => Some(console(listen.value, &metrics, &health)?),
        None => None,
    };
    let (reload, reloaded) = mpsc::channel(1);
    let mut world = World {
        net,
        dns,
        plane,
        store,
        upkeep,
        log,
        metrics,
        health,
        names,
        back: Vec::new(),
        drained: false,
    };
    let mut inlets = Inlets {
        net: net_inlet,
        dns: dns_inlet,
        media: media_inlet,
        store: store_inlet,
        upkeep: upkeep_inlet,
        reloaded,
    };
    let mut switch = Switch::new(Now::read(), policy.clone(), Rng::from_seed(seed()?));
    switch.show(certificate);
    if let Some(store) = &world.store {
        switch.restore(Now::read(), store.words());
        switch.restore_bindings(Now::read(), store.bindings(), |row| world.net.flow(row.local, row.peer));
    }
    let recovered = world.store.iter().flat_map(Store::recovered);
    recovered.for_each(|_| world.report(&Notice::MessageInterrupted));
    // Before anybody can ask: a store that refuses from the first is no matter for the first housekeeping.
    world.health.set(Trouble::StoreFailed, world.store.as_ref().is_some_and(|store| !store.healthy()));
    if policy.lacks_prompts {
        world.report(&Notice::PromptMissing);
    }
    world.health.set(Trouble::Starting, false);
    greet(out, &policy)?;
    audio::greet(out, &policy.config, world.plane.started())?;
    turn(dir, policy, &mut switch, &mut world, &mut inlets, &reload, &mut signals).await?;
    drop(inlets);
    world.plane.stop();
    if let Some(store) = world.store {
        store.close();
    }
    if !world.upkeep.close() {
        eprintln!(
            "hulplijn: the disk does not take the last rows of the spool; their recordings are found at the next start"
        );
    }
    writeln!(out, "stopped")?;
    Ok(Exit::Fine)
}

/// What the operator sends to the process.
struct Signals {
    reload: Signal,
    stop: [Signal; 2],
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let stop = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
        Ok(Self { reload: signal(SignalKind::hangup())?, stop })
    }
}

/// The loop: wait for anything, take a batch of it, carry out what follows.
async fn turn(
    dir: &Path,
    mut policy: Arc<Policy>,
    switch: &mut Switch,
    world: &mut World,
    inlets: &mut Inlets,
    reloading: &mpsc::Sender<Reloaded>,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
    let mut retention = tokio::time::interval(RETENTION);
    let mut asked_to_stop = false;
    world.carry_out(switch);
    while !world.drained {
        let due =
            switch.next_timeout().map_or_else(|| Now::read().at + Duration::from_secs(60), |(at, _)| at);
        tokio::select! {
            biased;
            () = any(&mut signals.stop) => {
                let again = std::mem::replace(&mut asked_to_stop, true);
                let command = if again { Command::CutOff } else { Command::Drain };
                world.health.set(Trouble::Draining, true);
                switch.handle(Now::read(), Input::Operator(command));
            }
            Some(event) = inlets.media.recv() => switch.handle(Now::read(), Input::Media(event)),
            Some(input) = inlets.net.recv() => switch.handle(Now::read(), from_net(input)),
            Some(answer) = inlets.dns.recv() => {
                let input = Input::Resolved { query: answer.query, answer: answer.answer };
                switch.handle(Now::read(), input);
            }
            Some(reply) = next_reply(&mut inlets.store) => world.stored(switch, reply),
            Some(result) = inlets.reloaded.recv() => world.reloaded(switch, &mut policy, result),
            _ = signals.reload.recv() => reload::start(dir, &policy, reloading),
            Some(told) = inlets.upkeep.recv() => world.told(switch, &told),
            _ = housekeeping.tick() => world.keep_house(),
            _ = retention.tick() => world.forget_old_messages(&policy),
            () = tokio::time::sleep_until(due.into()) => switch.handle(Now::read(), Input::Timeout),
        }
        world.carry_out(switch);
        for _ in 0..BATCH {
            let event = inlets.media.try_recv().ok().map(Input::Media);
            let Some(input) = event.or_else(|| inlets.net.try_recv().map(from_net)) else { break };
            switch.handle(Now::read(), input);
            world.carry_out(switch);
        }
        if switch.next_timeout().is_some_and(|(at, _)| at <= Now::read().at) {
            switch.handle(Now::read(), Input::Timeout);
            world.carry_out(switch);
        }
    }
    // What was sent last has left with its datagram; a stream may still hold some of it.
    let _all_left = tokio::time::timeout(LAST_WORDS, world.net.flushed()).await;
    Ok(())
}

impl World {
    /// Does all that the core wants done.
    fn carry_out(&mut self, switch: &mut Switch) {
        // What a plane that is full gives back may lead to more that it refuses: the rest waits for the next turn.
        for _ in 0..ROUNDS {
            while let Some(output) = switch.poll() {
                match output {
                    Output::Transmit { to, bytes } => self.net.send(&to, bytes.to_vec()),
                    Output::Resolve { query, question, within } => {
                        if self.dns.resolve(query, question, within).is_err() {
                            self.back.push(Input::Resolved { query, answer: Answer::Failed });
                        }
                    }
                    Output::Media(command) => self.command(command),
                    Output::Store(request) => self.save(request),
                    Output::Notice(notice) => self.report(&notice),
                    Output::Proven { flow } => self.net.keep(flow),
                    Output::Drained => self.drained = true,
                }
            }
            if self.back.is_empty() {
                return;
            }
            for input in std::mem::take(&mut self.back) {
                switch.handle(Now::read(), input);
            }
        }
    }

    fn command(&mut self, command: MediaCommand) {
        let Err(full) = self.plane.send(command) else { return };
        self.report(&Notice::MediaFailed);
        self.health.set(Trouble::MediaFailed, true);
        self.back.extend(full.0.refused().map(Input::Media));
    }

    /// To the store; when that can't take it, at least beside the recording.
    fn save(&mut self, request: StoreRequest) {
        let refused = match &self.store {
            Some(store) => store.send(request).err().map(|full| full.0),
            None => Some(request),
        };
        if let Some(StoreRequest::SaveMessage(row)) = refused {
            // What does not find room here either stays as a recording, which the next start takes in.
            let _ = self.upkeep.spool(row);
            self.report(&Notice::StoreFailed);
        }
    }

    fn report(&self, notice: &Notice) {
        let Ok(names) = self.names.read() else { return };
        self.metrics.record(notice, &names);
        journal::log(notice, &names);
        self.health.note(notice);
    }

    fn stored(&mut self, switch: &mut Switch, reply: StoreReply) {
        if matches!(reply, StoreReply::Saved { .. }) {
            let healthy = self.store.as_ref().is_some_and(Store::healthy);
            self.health.set(Trouble::StoreFailed, !healthy);
            self.upkeep.count();
        }
        switch.handle(Now::read(), Input::Stored(reply));
    }

    fn keep_house(&mut self) {
        self.health.beat(Now::read().at);
        self.health.set(Trouble::MediaFailed, false);
        if let Some(store) = &self.store {
            self.health.set(Trouble::StoreFailed, !store.healthy());
        }
        self.metrics.lines_lost(self.log.lost_lines());
    }

    fn told(&mut self, switch: &mut Switch, told: &Told) {
        match *told {
            Told::Free { mebibytes } => {
                switch.handle(Now::read(), Input::Operator(Command::FreeSpace { mebibytes }));
            }
            Told::Messages { new, done } => {
                switch.handle(Now::read(), Input::Operator(Command::Messages { new, done }));
            }
            Told::Failed => self.report(&Notice::StoreFailed),
        }
    }

    fn forget_old_messages(&self, policy: &Policy) {
        if self.store.is_none() {
            // There is nothing that could be deleted, which was told at the start.
            return;
        }
        let keep = policy.config.voicemail.keep_done.as_ref().map(|k| k.value);
        if let Some(before) = mailbox::delete_done_before(Now::read().utc, keep) {
            self.upkeep.forget(before);
        }
    }

    fn reloaded(&mut self, switch: &mut Switch, policy: &mut Arc<Policy>, result: Reloaded) {
        match result {
            Ok(ready) => {
                print_findings(&ready.warnings);
                *policy = Arc::new(ready.policy);
                self.net.secure(ready.security);
                self.metrics.certificates_until(ready.certificates_until);
                self.net.name(named(&policy.config));
                if let Ok(mut names) = self.names.write() {
                    *names = self::names(policy);
                }
                self.health.set(Trouble::ConfigRefused, false);
                switch.handle(Now::read(), Input::Policy(policy.clone()));
                // First that it is in force.
                self.carry_out(switch);
                if policy.lacks_prompts {
                    self.report(&Notice::PromptMissing);
                }
            }
            Err(findings) => {
                print_findings(&findings);
                let mistakes = findings.iter().filter(|d| d.severity == Severity::Error).count() as u32;
                self.health.set(Trouble::ConfigRefused, true);
                switch.handle(Now::read(), Input::Operator(Command::ConfigRefused { mistakes }));
            }
        }
    }
}

fn from_net(input: NetInput) -> Input {
    match input {
        NetInput::Message { flow, bytes } => Input::Sip { flow, bytes },
        NetInput::Named { flow, domain } => Input::FlowNamed { flow, domain },
        NetInput::Closed { flow } => Input::FlowClosed { flow },
        NetInput::Dropped { reason, count } => Input::NetDropped { reason, count },
        NetInput::Failed { to } => Input::TransmitFailed { to },
    }
}

async fn any(signals: &mut [Signal; 2]) {
    let [first, second] = signals;
    tokio::select! {
        _ = first.recv() => {}
        _ = second.recv() => {}
    }
}

async fn next_reply(store: &mut Option<mpsc::Receiver<StoreReply>>) -> Option<StoreReply> {
    match store {
        Some(store) => store.recv().await,
        None => std::future::pending().await,
    }
}

/// A store that can't be opened is no reason not to answer: callers are told that no message can be left.
fn open_store(
    data: &Path,
    health: &Health,
) -> anyhow::Result<(Option<Store>, Option<mpsc::Receiver<StoreReply>>)> {
    match Store::open(data) {
        Ok((store, replies)) => {
            if !store.healthy() {
                eprintln!("hulplijn: {}", data_folder::waits(data));
            }
            Ok((Some(store), Some(replies)))
        }
        Err(error @ (StoreError::InUse { .. } | StoreError::TooNew { .. })) => Err(error.into()),
        Err(error) => {
            eprintln!("hulplijn: {}", data_folder::refused(data, &error));
            tracing::error!(
                event = "no_messages",
                "the data folder can't be written: calls are answered, no message can be left; the line before names the folder and what to do"
            );
            health.set(Trouble::NoMessages, true);
            Ok((None, None))
        }
    }
}

fn console(
    listen: std::net::SocketAddr,
    metrics: &Arc<Metrics>,
    health: &Arc<Health>,
) -> anyhow::Result<Server> {
    let (metrics, health) = (metrics.clone(), health.clone());
    let plain = "text/plain; charset=utf-8";
    let page = move |path: &str| match path {
        "/metrics" => Some((200, "text/plain; version=0.0.4; charset=utf-8", metrics.text())),
        "/health/live" if health.live(Now::read().at) => Some((200, plain, "alive\n".to_owned())),
        "/health/live" => Some((503, plain, "the core does not answer\n".to_owned())),
        "/health/ready" => {
            let readiness = health.readiness();
            Some((if readiness.ready { 200 } else { 503 }, plain, readiness.text()))
        }
        _ => None,
    };
    Server::start(listen, HttpLimits::default(), page).context("metrics can't be served")
}

fn net_config(raw: &raw::Config, security: Security) -> net::NetConfig {
    let listen = raw.listen.iter().map(|l| net::ListenAt {
        transport: transport(l.transport.value),
        address: l.address.value,
        external: l.external.as_ref().map(|e| e.value),
        networks: l.networks.iter().map(|each| network(each.value)).collect(),
        dscp: l.dscp.value as u8,
    });
    let limits = &raw.limits;
    let config = net::NetConfig::new(
        listen.collect(),
        limits.message_size.value as usize,
        limits.connections.value as usize,
        limits.connections_per_address.value as usize,
    );
    let local = raw.site.local_networks.iter().map(|each| network(each.value)).collect();
    net::NetConfig { named: named(raw), local, security, ..config }
}

/// Hosts of which calls are expected: the carriers' networks, and lines with a fixed address.
fn named(config: &raw::Config) -> Vec<Network> {
    let trunks = config.trunks.iter().flat_map(|trunk| &trunk.sources).map(|source| network(source.value));
    let fixed = config.lines.iter().filter_map(|line| match &line.reach {
        raw::Reach::Fixed { uri } => Uri::parse(&uri.value).ok(),
        raw::Reach::Registers { .. } | raw::Reach::Telephone { .. } => None,
    });
    let hosts = fixed.filter_map(|uri| match uri.host() {
        Some(Host::Address(address)) => Some(Network { address: *address, prefix: prefix(*address) }),
        Some(Host::Name(_)) | None => None,
    });
    trunks.chain(hosts).collect()
}

/// Of a network that is one host.
fn prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn transport(listen: ListenTransport) -> Transport {
    match listen {
        ListenTransport::Udp => Transport::Udp,
        ListenTransport::Tcp => Transport::Tcp,
        ListenTransport::Tls => Transport::Tls,
        ListenTransport::Ws => Transport::Ws,
        ListenTransport::Wss => Transport::Wss,
    }
}

fn names(policy: &Policy) -> Names {
    let trunks = &policy.config.trunks;
    let name = |trunk: &raw::Trunk| trunk.name.value.clone();
    Names {
        lines: policy.lines().map(|(key, line)| (key, line.name.value.clone())).collect(),
        queues: policy.config.queues.iter().map(|q| q.name.value.clone()).collect(),
        trunks: trunks.iter().map(name).collect(),
        watched: trunks.iter().filter(|trunk| trunk.is_watched()).map(name).collect(),
    }
}

/// Where it listens, and how to place a first call.
fn greet(out: &mut dyn Write, policy: &Policy) -> anyhow::Result<()> {
    let config = &policy.config;
    writeln!(out, "hulplijn {} for {}", env!("CARGO_PKG_VERSION"), config.helpline.name.value)?;
    for listen in &config.listen {
        let transport = transport(listen.transport.value).as_str().to_ascii_lowercase();
        writeln!(out, "  SIP      {transport} {}", listen.address.value)?;
    }
    if let Some(metrics) = &config.metrics.listen {
        writeln!(out, "  metrics  http://{}/metrics", metrics.value)?;
    }
    let numbers: Vec<&str> = config.numbers.iter().map(|n| n.dial.value.as_str()).collect();
    writeln!(out, "  numbers  {}", numbers.join(", "))?;
    let lines: Vec<&str> = config.lines.iter().map(|l| l.name.value.as_str()).collect();
    writeln!(out, "  lines    {}", lines.join(", "))?;
    let process = std::process::id();
    writeln!(out, "  process  {process}; reload: kill -HUP {process}; stop: kill {process}")?;
    let program = std::env::args().next().unwrap_or_else(|| "hulplijn".to_owned());
    first_call(out, config, &program)?;
    out.flush()?;
    Ok(())
}

/// The commands for a first call, as they can be typed here. A password is never printed.
fn first_call(out: &mut dyn Write, config: &raw::Config, program: &str) -> std::io::Result<()> {
    // The built-in phone speaks neither TLS nor WebSocket.
    let plain =
        |listen: &&raw::Listen| matches!(listen.transport.value, ListenTransport::Udp | ListenTransport::Tcp);
    let Some(address) = config.listen.iter().find(plain).map(|listen| reachable(listen.address.value)) else {
        return Ok(());
    };
    let registers = |line: &&raw::Line| matches!(line.reach, raw::Reach::Registers { .. });
    if let Some(line) = config.lines.iter().find(registers) {
        writeln!(
            out,
            "A counsellor's phone, in a second terminal (the password of {} is in the configuration):",
            line.name.value
        )?;
        writeln!(out, "  {program} phone --switch {address} --line {} --password PASSWORD", line.name.value)?;
    }
    if let Some(number) = config.numbers.first() {
        writeln!(out, "A call, in a third:")?;
        writeln!(out, "  {program} call sip:{}@{address}", number.dial.value)?;
    }
    Ok(())
}

/// An address at which this machine reaches a listener.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, v6.port()).into(),
        address => address,
    }
}

fn print_findings(findings: &[Diagnostic]) {
    for finding in findings {
        eprintln!("{finding}");
    }
}

/// The generator's seed, from the system.
pub(super) fn seed() -> anyhow::Result<[u8; 32]> {
    let mut seed = [0; 32];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut f| f.read_exact(&mut seed))
        .context("no randomness from /dev/urandom")?;
    Ok(seed)
}
