//! Whether encryption is worth something where it is required: keys go with the signalling (RFC 4568), so who can
//! read that can hear the audio.

use super::diagnostic::Diagnostic;
use super::raw::{Config, Line, Reach, Srtp, Trunk};
use super::sip_address::{self, Way};

/// Warnings of keys that go in the clear.
pub fn check(config: &Config) -> Vec<Diagnostic> {
    let lines = config.lines.iter().filter(|line| line.srtp.value == Srtp::Mandatory);
    let lines = lines.filter(|line| is_line_open(config, line)).map(|line| {
        let what = format!("the line `{}` must be encrypted, and its keys go in the clear", line.name.value);
        let allowed = match line.reach {
            Reach::Fixed { .. } => "a `uri` with `;transport=tls`",
            Reach::Registers { .. } | Reach::Telephone { .. } => {
                "a [[listen]] with transport \"tls\", by which the phone registers"
            }
        };
        Diagnostic::warning(&line.srtp.place, what).allowed(allowed)
    });
    let trunks = config.trunks.iter().filter(|trunk| trunk.srtp.value == Srtp::Mandatory);
    let trunks = trunks.filter(|trunk| is_trunk_open(config, trunk)).map(|trunk| {
        let what =
            format!("the trunk `{}` must be encrypted, and its keys go in the clear", trunk.name.value);
        let allowed =
            "a `target` with `;transport=tls`, and a [[listen]] with transport \"tls\" for its calls";
        Diagnostic::warning(&trunk.srtp.place, what).allowed(allowed)
    });
    lines.chain(trunks).collect()
}

fn listens_by_tls(config: &Config) -> bool {
    config.listen.iter().any(|listen| listen.transport.value.is_tls())
}

fn is_line_open(config: &Config, line: &Line) -> bool {
    match &line.reach {
        Reach::Registers { .. } => !listens_by_tls(config),
        Reach::Fixed { uri } => !uri.value.is_empty() && !is_by_tls(&uri.value),
        // The trunk's counts.
        Reach::Telephone { .. } => false,
    }
}

fn is_trunk_open(config: &Config, trunk: &Trunk) -> bool {
    let target = trunk.target.as_ref().filter(|target| !target.value.is_empty());
    !listens_by_tls(config) || target.is_some_and(|target| !is_by_tls(&target.value))
}

fn is_by_tls(uri: &str) -> bool {
    // One that can't be read has its own mistake.
    sip_address::parse(uri).map_or(true, |address| address.transport == Way::Tls)
}
