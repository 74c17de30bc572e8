//! `hulplijn call`: the built-in test caller.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;

use super::exit::{self, Exit};
use super::serve::seed;
use super::telephone::{self, Station, Talk};
use crate::base::id::Rng;
use crate::phone::io::{Dial, Plan, Record};
use crate::sip::flow::Transport;
use crate::sip::uri::{Scheme, Uri};

/// Without `--record`, so much is listened to, to find out whether there is a voice.
const LISTEN: Duration = Duration::from_secs(600);

/// Calls a number as a caller would; for trying and for monitoring.
///
/// Prints what happens, one line each with the seconds since the start. The exit code is 0 only when the call was
/// answered and something was heard in it: a voice, music or a tone, not mere packets of silence.
#[derive(Debug, Args)]
#[command(after_help = exit::HELP)]
pub struct Arguments {
    /// Whom to call, such as sip:1712@127.0.0.1 or "sip:1712@[::1]:5060;transport=tcp".
    uri: String,
    /// The caller's number or name, the user part of From.
    #[arg(long, value_name = "USER", default_value = "caller")]
    from: String,
    /// The address to call from, such as 127.0.0.2 or 127.0.0.2:5070: the switch takes calls from its trunk only.
    #[arg(long, value_name = "ADDRESS", value_parser = telephone::local_address)]
    local: Option<SocketAddr>,
    /// udp or tcp; what the URI says when left out, else udp.
    #[arg(long, value_parser = telephone::transport)]
    transport: Option<Transport>,
    /// Gives up when nobody has answered for so long.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = telephone::duration)]
    ring_limit: Duration,
    #[command(flatten)]
    talk: Talk,
}

/// Runs the command.
pub fn run(arguments: &Arguments, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let uri = target(&arguments.uri, arguments.transport)?;
    let plan = arguments.talk.plan(Vec::new())?;
    let listen = Record { path: listened_to()?, max: LISTEN, discard: true };
    let station = Station { bind: arguments.local, remote: Some(uri.clone()) };
    let from = arguments.from.clone();
    let ring_limit = arguments.ring_limit;
    telephone::run(
        &station,
        |place| Plan {
            dial: place.map(|at| Dial { uri: uri.to_string(), from, at, ring_limit }),
            calls: Some(0),
            record: plan.record.or(Some(listen)),
            needs_voice: true,
            ..plan
        },
        out,
    )
}

/// The URI with the transport that was asked for.
pub fn target(text: &str, transport: Option<Transport>) -> anyhow::Result<Uri> {
    let mut uri = Uri::parse(text).with_context(|| format!("`{text}` is no URI"))?;
    if uri.scheme != Scheme::Sip || uri.host().is_none() {
        bail!("`{text}` can't be called; needed: sip:NUMBER@HOST or sip:NUMBER@HOST:PORT");
    }
    if let Some(transport) = transport {
        uri.params.set("transport", Some(&transport.as_str().to_ascii_lowercase()));
    }
    Ok(uri)
}

/// Where the sound goes when nobody wants to keep it.
fn listened_to() -> anyhow::Result<PathBuf> {
    let name = format!("hulplijn-call-{}.wav", Rng::from_seed(seed()?).token(12));
    Ok(std::env::temp_dir().join(name))
}
