//! The driver of the built-in phone, and what `call` and `phone` have in common: options, sockets, media, clock
//! and Ctrl-C around one `Phone`; it decides nothing.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::exit::Exit;
use super::serve::seed;
use crate::base::id::{QueryKey, Rng};
use crate::base::time::Now;
use crate::config::parse_duration;
use crate::media::audio;
use crate::media::command::{MediaCommand, MediaEvent};
use crate::media::dtmf;
use crate::media::plane::{Plane, PlaneConfig, PlaneHandle};
use crate::net::dns::{Dns, DnsConfig};
use crate::net::{self, Inlet, ListenAt, Net, NetConfig, NetInput};
use crate::phone::Phone;
use crate::phone::happening::Happening;
use crate::phone::io::{Act, Ending, Input, Output, Place, Plan, Record, Sound, Step};
use crate::sdp::offer_answer::{Codec, Srtp};
use crate::sip::flow::{Destination, Transport};
use crate::sip::target::{self, Answer, Hop, Plan as Target, Step as SearchStep};
use crate::sip::uri::Uri;

/// The pause between keys of one `KEYS@MOMENT`.
const BETWEEN_KEYS: Duration = Duration::from_millis(300);
/// The longest recording.
const LONGEST: Duration = Duration::from_secs(4 * 3600);
/// Ports for sound: some from this place on, at random, so that phones on one machine don't meet.
const FIRST_PORT: u16 = 10_000;
const PORTS: u16 = 200;
const LAST_PORT: u16 = 19_999;
/// Patience with one question to the name service.
const LOOK_UP: Duration = Duration::from_secs(2);
/// Bytes of one message.
const MESSAGE_SIZE: usize = 65_536;

/// What is done within a call, whoever placed it.
#[derive(Debug, Args)]
pub struct Talk {
    /// Plays this WAV (8 kHz, 16 bit, mono) from the answer on.
    #[arg(long, value_name = "FILE")]
    play: Option<PathBuf>,
    /// Plays it again and again.
    #[arg(long, requires = "play")]
    repeat: bool,
    /// Records what is heard, from the answer on, to this WAV.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Presses keys, each at its moment after the answer: "1@8s,2@20s" or "0470#@1m5s".
    #[arg(long, value_name = "KEYS@MOMENT,…", value_parser = keys)]
    press: Option<Script>,
    /// Sends keys by SIP INFO instead of RFC 4733.
    #[arg(long)]
    info: bool,
    /// Hangs up so long after the answer.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    hang_up: Option<Duration>,
    /// Codecs, the preferred one first.
    #[arg(long, value_name = "CODEC,…", value_delimiter = ',', default_value = "pcma,pcmu", value_parser = codec)]
    codec: Vec<Codec>,
    /// Encrypts the sound: never, optional (when the other side can) or mandatory (else there is no call).
    #[arg(long, value_name = "WHETHER", default_value = "never", value_parser = srtp)]
    srtp: Srtp,
}

/// Steps of a call in any order.
#[derive(Debug, Clone, Default)]
pub struct Script(pub Vec<Step>);

impl Talk {
    /// A plan that does this in each call and nothing else yet.
    pub fn plan(&self, more: Vec<Step>) -> anyhow::Result<Plan> {
        let mut script = self.press.clone().unwrap_or_default().0;
        script.extend(more);
        script.extend(self.hang_up.map(|at| Step { at, act: Act::HangUp }));
        script.sort_by_key(|step| step.at);
        Ok(Plan {
            codecs: self.codec.clone(),
            srtp: self.srtp,
            account: None,
            dial: None,
            answering: crate::phone::io::Answering::Busy,
            calls: None,
            patience: None,
            script,
            play: self.play.as_deref().map(|path| sound(path, self.repeat)).transpose()?,
            record: self.record.as_deref().map(record_to).transpose()?,
            needs_voice: false,
            keys_by_info: self.info,
        })
    }
}

fn sound(path: &Path, repeat: bool) -> anyhow::Result<Sound> {
    if !path.exists() {
        bail!("there is no {}; --play needs a WAV of 8 or 16 kHz, 16 bit, mono", path.display());
    }
    let clip = audio::load("played", path).with_context(|| path.display().to_string())?;
    Ok(Sound { clip, repeat })
}

fn record_to(path: &Path) -> anyhow::Result<Record> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if folder.is_some_and(|folder| !folder.is_dir()) || path.file_name().is_none() {
        bail!("can't record to {}: there is no such directory", path.display());
    }
    Ok(Record { path: path.to_owned(), max: LONGEST, discard: false })
}

// --- words of the command line ----------------------------------------------------------------------

/// `20s`, `1m30s`.
pub fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .ok_or_else(|| "needed: a duration with its unit, such as 250ms, 20s or 1m30s".to_owned())
}

/// `bart@10s`: something and its moment.
pub fn at_moment(text: &str) -> Result<(String, Duration), String> {
    let (what, moment) = text.rsplit_once('@').ok_or("needed: WHAT@MOMENT, such as 1@8s")?;
    if what.is_empty() {
        return Err("nothing stands before the `@`".to_owned());
    }
    Ok((what.to_owned(), duration(moment)?))
}

fn keys(text: &str) -> Result<Script, String> {
    let mut steps = Vec::new();
    for part in text.split(',') {
        let (keys, moment) = at_moment(part.trim())?;
        for (index, key) in keys.chars().enumerate() {
            if dtmf::event_of(key).is_none() {
                return Err(format!("`{key}` is no key; keys: 0-9 * # A-D"));
            }
            let at = moment + BETWEEN_KEYS * index as u32;
            steps.push(Step { at, act: Act::Press(key.to_ascii_uppercase()) });
        }
    }
    Ok(Script(steps))
}

fn codec(text: &str) -> Result<Codec, String> {
    match text {
        "pcma" => Ok(Codec::Pcma),
        "pcmu" => Ok(Codec::Pcmu),
        "g722" => Ok(Codec::G722),
        "opus" => Ok(Codec::Opus),
        _ => Err("allowed: pcma, pcmu, g722, opus".to_owned()),
    }
}

fn srtp(text: &str) -> Result<Srtp, String> {
    match text {
        "never" => Ok(Srtp::Never),
        "optional" => Ok(Srtp::Optional),
        "mandatory" => Ok(Srtp::Mandatory),
        _ => Err("allowed: never, optional, mandatory".to_owned()),
    }
}

/// UDP or TCP.
pub fn transport(text: &str) -> Result<Transport, String> {
    match Transport::from_name(text) {
        Some(transport @ (Transport::Udp | Transport::Tcp)) => Ok(transport),
        _ => Err("allowed: udp, tcp".to_owned()),
    }
}

/// `127.0.0.2` or `127.0.0.2:5070`; without a port any that is free.
pub fn local_address(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse().ok();
    address
        .or_else(|| Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, 0)))
        .ok_or_else(|| "needed: an address of this machine, with or without port".to_owned())
}

// --- the run ----------------------------------------------------------------------------------------

/// Where the phone is on the network.
pub struct Station {
    /// Its own address; the system's choice when left out.
    pub bind: Option<SocketAddr>,
    /// The switch or the called, when there is one at the start.
    pub remote: Option<Uri>,
}

/// Starts a phone with the plan that `plan` makes for its place, and runs it to its end.
pub fn run(
    station: &Station,
    plan: impl FnOnce(Option<Place>) -> Plan,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let remote = match &station.remote {
            Some(uri) => Some((uri, find(uri, station.bind).await?)),
            None => None,
        };
        let bind = station.bind.unwrap_or_else(|| any_address(remote.map(|(_, to)| to)));
        let (net, inputs) = net::start(net_config(bind))?;
        let place = remote.map(|(uri, to)| place(&net, uri, to)).transpose()?;
        let mut rng = Rng::from_seed(seed()?);
        let (plane, media) = Plane::start(plane_config(&mut rng)).context("audio can't be started")?;
        let began = Now::read();
        let phone = Phone::new(began, plan(place), rng);
        let mut driver =
            Driver { phone, net, plane, began: began.at, out, silenced: false, full: Vec::new() };
        if station.remote.is_none() {
            let at = driver.net.local_addresses().first().map_or(bind, |local| local.advertised);
            driver.print(&Happening::Listening { at });
        }
        let ending = driver.turn(inputs, media).await?;
        Ok(exit(ending))
    })
}

/// The address of a URI's host.
async fn find(uri: &Uri, bind: Option<SocketAddr>) -> anyhow::Result<Destination> {
    let mut search = match target::plan(uri, &[Transport::Udp, Transport::Tcp])? {
        Target::Known(to) => return Ok(to),
        Target::Search(search) => search,
    };
    let (dns, mut answers) = Dns::start(DnsConfig::default()).context("no name service")?;
    let mut rng = Rng::from_seed(seed()?);
    let mut step = search.step();
    let hops = loop {
        match step {
            SearchStep::Found(hops) => break hops,
            SearchStep::Ask(question) => {
                let asked = dns.resolve(QueryKey(1), question, LOOK_UP).is_ok();
                let answer = if asked { answers.recv().await.map(|a| a.answer) } else { None };
                step = search.answer(answer.unwrap_or(Answer::Failed), &mut rng);
            }
        }
    };
    let fits = |hop: &Hop| bind.is_none_or(|bind| bind.is_ipv4() == hop.peer.is_ipv4());
    let host = search.host();
    let hop = hops.into_iter().find(fits).with_context(|| format!("{host} has no address"))?;
    Ok(Destination::address(hop.transport, hop.peer))
}

fn any_address(to: Option<Destination>) -> SocketAddr {
    match to.map(|to| to.peer()) {
        Some(SocketAddr::V6(_)) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        Some(SocketAddr::V4(_)) | None => (Ipv4Addr::UNSPECIFIED, 0).into(),
    }
}

fn place(net: &Net, uri: &Uri, to: Destination) -> anyhow::Result<Place> {
    let local = net.address_towards(to.transport(), to.peer()).context("no address of ours leads there")?;
    let host = match (uri.host(), uri.port) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_string(),
        (None, _) => bail!("the URI names no host"),
    };
    Ok(Place { to, host, local })
}

fn net_config(bind: SocketAddr) -> NetConfig {
    let listen = |transport| ListenAt::new(transport, bind);
    NetConfig::new(vec![listen(Transport::Udp), listen(Transport::Tcp)], MESSAGE_SIZE, 16, 16)
}

fn plane_config(rng: &mut Rng) -> PlaneConfig {
    let first = FIRST_PORT + 2 * rng.below(u64::from((LAST_PORT - FIRST_PORT - PORTS) / 2)) as u16;
    PlaneConfig {
        ports: first..=first + PORTS,
        quarantine: Duration::from_secs(1),
        max_legs: 4,
        ..PlaneConfig::default()
    }
}

struct Driver<'a> {
    phone: Phone,
    net: Net,
    plane: PlaneHandle,
    began: Instant,
    out: &'a mut dyn Write,
    /// Nobody reads what is printed any more.
    silenced: bool,
    /// Inputs that arise from carrying out outputs.
    full: Vec<Input>,
}

impl Driver<'_> {
    async fn turn(
        mut self,
        mut inputs: Inlet,
        mut media: mpsc::Receiver<MediaEvent>,
    ) -> anyhow::Result<Ending> {
        let mut stop = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
        let mut asked_to_stop = false;
        let ending = loop {
            if let Some(ending) = self.carry_out() {
                break ending;
            }
            let due = self.phone.next_timeout().unwrap_or_else(|| Now::read().at + Duration::from_secs(60));
            tokio::select! {
                biased;
                () = any(&mut stop) => {
                    if std::mem::replace(&mut asked_to_stop, true) {
                        // Asked twice: at once.
                        break Ending::BrokenOff;
                    }
                    self.phone.handle(Now::read(), Input::Stop);
                }
                Some(event) = media.recv() => self.phone.handle(Now::read(), Input::Media(event)),
                Some(input) = inputs.recv() => {
                    if let Some(input) = from_net(input) {
                        self.phone.handle(Now::read(), input);
                    }
                }
                () = tokio::time::sleep_until(due.into()) => self.phone.handle(Now::read(), Input::Timeout),
            }
        };
        self.net.flushed().await;
        drop(media);
        self.plane.stop();
        Ok(ending)
    }

    /// Does all that the phone wants done.
    fn carry_out(&mut self) -> Option<Ending> {
        loop {
            while let Some(output) = self.phone.poll() {
                match output {
                    Output::Transmit { to, bytes } => self.net.send(&to, bytes.to_vec()),
                    Output::Media(command) => self.command(command),
                    Output::Tell(happening) => self.print(&happening),
                    Output::Done(ending) => return Some(ending),
                }
            }
            if self.full.is_empty() {
                return None;
            }
            for input in std::mem::take(&mut self.full) {
                self.phone.handle(Now::read(), input);
            }
        }
    }

    fn command(&mut self, command: MediaCommand) {
        if let Err(full) = self.plane.send(command) {
            self.full.extend(full.0.refused().map(Input::Media));
        }
    }

    /// When the reader of our output has seen enough, the call is hung up all the same.
    fn print(&mut self, happening: &Happening) {
        let time = self.began.elapsed().as_secs_f64();
        let remedy = happening.remedy().map(|remedy| format!("      {remedy}\n")).unwrap_or_default();
        let written = write!(self.out, "{time:.3} {happening}\n{remedy}").and_then(|()| self.out.flush());
        if written.is_err() && !std::mem::replace(&mut self.silenced, true) {
            self.full.push(Input::Stop);
        }
    }
}

fn from_net(input: NetInput) -> Option<Input> {
    match input {
        NetInput::Message { flow, bytes } => Some(Input::Sip { flow, bytes }),
        NetInput::Closed { flow } => Some(Input::FlowClosed { flow }),
        NetInput::Failed { to } => Some(Input::TransmitFailed { to }),
        NetInput::Dropped { .. } | NetInput::Named { .. } => None,
    }
}

async fn any(signals: &mut [Signal; 2]) {
    let [first, second] = signals;
    tokio::select! {
        _ = first.recv() => {}
        _ = second.recv() => {}
    }
}

fn exit(ending: Ending) -> Exit {
    match ending {
        Ending::Fine => Exit::Fine,
        Ending::Refused => Exit::Refused,
        Ending::NoAnswer => Exit::NoAnswer,
        Ending::NoReply => Exit::NoReply,
        Ending::NothingHeard => Exit::NothingHeard,
        Ending::NotRegistered => Exit::NotRegistered,
        Ending::NotRecorded => Exit::Unable,
        Ending::BrokenOff => Exit::BrokenOff,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_their_moments_and_units_are_required() {
        let script = keys("1@8s, 2#@1m5s").expect("keys").0;
        let ms = |step: &Step| (step.at.as_millis(), step.act.clone());
        let steps: Vec<_> = script.iter().map(ms).collect();
        assert_eq!(steps, [(8000, Act::Press('1')), (65_000, Act::Press('2')), (65_300, Act::Press('#'))]);
        for wrong in ["1", "1@8", "x@8s", "@8s", "1@8s,", ""] {
            assert!(keys(wrong).is_err(), "{wrong}");
        }
        assert_eq!(at_moment("sip:bart@host@10s"), Ok(("sip:bart@host".to_owned(), Duration::from_secs(10))));
    }

    #[test]
    fn an_address_of_ours_may_come_without_a_port() {
        assert_eq!(local_address("127.0.0.2").map(|a| a.to_string()).as_deref(), Ok("127.0.0.2:0"));
        assert_eq!(local_address("[::1]:5066").map(|a| a.port()), Ok(5066));
        assert!(local_address("localhost").is_err() && transport("tls").is_err() && codec("g729").is_err());
    }
}
