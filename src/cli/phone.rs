//! `hulplijn phone`: the built-in counsellor's phone.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{ArgGroup, Args};

use super::call::target;
use super::exit::{self, Exit};
use super::telephone::{self, Station, Talk};
use crate::phone::io::{Account, Act, Answering, Dial, Place, Plan, Step};
use crate::sip::flow::Transport;
use crate::sip::uri::{Host, Uri};

/// Where the password is looked for when no option names a place.
const PASSWORD: &str = "HULPLIJN_PASSWORD";
/// How long a `*` code may ring.
const RING_LIMIT: Duration = Duration::from_secs(30);

/// A counsellor's phone: registers as a line and takes calls.
///
/// Prints what happens, one line each with the seconds since the start; Ctrl-C hangs up and unregisters.
///
/// With --listen and without --line it takes calls at that address without registering, as a centre's switchboard
/// or as the carrier would.
#[derive(Debug, Args)]
#[command(after_help = exit::HELP)]
#[command(group(ArgGroup::new("who").required(true).multiple(true).args(["line", "listen"])))]
#[command(group(ArgGroup::new("secret").args(["password", "password_file", "password_env"])))]
#[command(group(ArgGroup::new("way").args(["answer_after", "never", "busy", "decline"])))]
pub struct Arguments {
    /// The name of the line to register as.
    #[arg(long, value_name = "NAME")]
    line: Option<String>,
    /// The switch, HOST or HOST:PORT.
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1:5060")]
    switch: String,
    /// The line's password. Others on this machine can see it; --password-file is safer.
    #[arg(long, value_name = "TEXT", requires = "line")]
    password: Option<String>,
    /// A file that holds the password.
    #[arg(long, value_name = "FILE", requires = "line")]
    password_file: Option<PathBuf>,
    /// The environment variable that holds the password; HULPLIJN_PASSWORD when none of the three is given.
    #[arg(long, value_name = "NAME", requires = "line")]
    password_env: Option<String>,
    /// The address to be called at, such as 127.0.0.1:5066; with --line any free port when left out.
    #[arg(long, value_name = "ADDRESS", value_parser = telephone::local_address)]
    listen: Option<SocketAddr>,
    /// udp or tcp, for registering.
    #[arg(long, default_value = "udp", value_parser = telephone::transport)]
    transport: Transport,
    /// Answers after having rung for so long; 1s when nothing else is said.
    #[arg(long, value_name = "DURATION", value_parser = telephone::duration)]
    answer_after: Option<Duration>,
    /// Rings and never answers.
    #[arg(long)]
    never: bool,
    /// Is busy (486).
    #[arg(long)]
    busy: bool,
    /// Declines each call (603).
    #[arg(long)]
    decline: bool,
    /// Dials a code of the switch first, such as "*71" to log in.
    #[arg(long, value_name = "CODE", requires = "line")]
    dial: Option<String>,
    /// Puts the caller on hold at this moment after the answer.
    #[arg(long, value_name = "MOMENT", value_parser = telephone::duration)]
    hold: Option<Duration>,
    /// Takes the caller back from hold.
    #[arg(long, value_name = "MOMENT", requires = "hold", value_parser = telephone::duration)]
    take_back: Option<Duration>,
    /// Transfers the caller to another line or a destination: "bart@10s".
    #[arg(long, value_name = "NAME@MOMENT", value_parser = telephone::at_moment)]
    transfer: Option<(String, Duration)>,
    /// Ends after so many calls; 0 ends after what was dialled.
    #[arg(long, value_name = "NUMBER")]
    calls: Option<u32>,
    /// Ends after one call.
    #[arg(long, conflicts_with = "calls")]
    once: bool,
    /// Ends when nobody has called for so long.
    #[arg(long, value_name = "DURATION", value_parser = telephone::duration)]
    wait: Option<Duration>,
    #[command(flatten)]
    talk: Talk,
}

/// Runs the command.
pub fn run(arguments: &Arguments, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let plan = arguments.talk.plan(arguments.steps())?;
    let plan = Plan {
        answering: arguments.answering(),
        calls: if arguments.once { Some(1) } else { arguments.calls },
        patience: arguments.wait,
        ..plan
    };
    let Some(line) = &arguments.line else {
        let station = Station { bind: arguments.listen, remote: None };
        return telephone::run(&station, |_| plan, out);
    };
    let (line, password) = (line.clone(), arguments.password()?);
    let switch = target(&format!("sip:{}", arguments.switch), Some(arguments.transport))?;
    let station = Station { bind: arguments.listen, remote: Some(switch.clone()) };
    let dial = arguments.dial.clone();
    telephone::run(
        &station,
        |place| Plan {
            dial: dial.zip(place.clone()).map(|(code, at)| code_call(&code, &switch, at)),
            account: place.map(|switch| Account { name: line, password, switch }),
            ..plan
        },
        out,
    )
}

impl Arguments {
    fn answering(&self) -> Answering {
        match self.answer_after {
            _ if self.never => Answering::Never,
            _ if self.busy => Answering::Busy,
            _ if self.decline => Answering::Decline,
            after => Answering::After(after.unwrap_or(Duration::from_secs(1))),
        }
    }

    fn steps(&self) -> Vec<Step> {
        let hold = self.hold.map(|at| Step { at, act: Act::Hold });
        let take_back = self.take_back.map(|at| Step { at, act: Act::TakeBack });
        let transfer = self.transfer.clone().map(|(to, at)| Step { at, act: Act::Transfer(to) });
        hold.into_iter().chain(take_back).chain(transfer).collect()
    }

    fn password(&self) -> anyhow::Result<String> {
        if let Some(password) = &self.password {
            return Ok(password.clone());
        }
        if let Some(path) = &self.password_file {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            return Ok(text.trim_end_matches(['\r', '\n']).to_owned());
        }
        let name = self.password_env.as_deref().unwrap_or(PASSWORD);
        match std::env::var(name) {
            Ok(password) => Ok(password),
            Err(_) => bail!("no password: give --password-file, --password, or set {name}"),
        }
    }
}

/// A call to a code of the switch.
fn code_call(code: &str, switch: &Uri, at: Place) -> Dial {
    let host = switch.host().cloned().unwrap_or(Host::Address(at.to.peer().ip()));
    let mut uri = Uri::sip(code, host, switch.port);
    uri.params = switch.params.clone();
    Dial { uri: uri.to_string(), from: String::new(), at, ring_limit: RING_LIMIT }
}
