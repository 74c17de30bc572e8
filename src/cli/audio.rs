//! The media plane of `hulplijn serve`: what the configuration asks for, and what the system gave.

use std::io::{self, Write};
use std::net::UdpSocket;

use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{self, MediaIo};
use crate::media::plane::{IoChoice, PlaneConfig, Started};

/// Legs at once: three for each call that the limits allow (caller, counsellor, one that is being rung).
pub(super) fn plane_config(config: &raw::Config, seed: [u8; 32]) -> PlaneConfig {
    let media = &config.media;
    let (first, last) = media.ports.value;
    PlaneConfig {
        ports: first..=last,
        quarantine: media.quarantine.value,
        threads: media.threads.value as usize,
        max_legs: config.limits.calls.value as usize * 3,
        seed,
        identity: None,
        io: match media.io.value {
            MediaIo::Auto => IoChoice::Auto,
            MediaIo::Epoll => IoChoice::Epoll,
            MediaIo::IoUring => IoChoice::IoUring,
        },
        dscp: media.dscp.value as u8,
        cpus: media.cpus.iter().map(|cpu| cpu.value as usize).collect(),
        realtime: media.realtime_priority.as_ref().map(|priority| priority.value as u8),
    }
}

/// Addresses for audio that this machine has not, as mistakes: no call could have its audio there.
pub(super) fn not_here(config: &raw::Config) -> Vec<Diagnostic> {
    let addresses = config.media.addresses.iter();
    let absent = addresses.filter(|address| {
        let bound = UdpSocket::bind((address.value, 0));
        bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
    });
    absent
        .map(|address| {
            let what = format!("no interface of this machine has the address `{}` for audio", address.value);
            Diagnostic::error(&address.place, what).allowed("addresses that it has; `ip address` lists them")
        })
        .collect()
}

/// How audio is carried, and what was refused of that which was asked for.
pub(super) fn greet(out: &mut dyn Write, config: &raw::Config, started: &[Started]) -> io::Result<()> {
    let media = &config.media;
    let uring = started.iter().all(|thread| thread.io == IoChoice::IoUring);
    let way = if uring { "io_uring" } else { "epoll" };
    writeln!(out, "  audio    {way}, threads: {}", started.len())?;
    if media.io.value == MediaIo::IoUring && !uring {
        writeln!(out, "  audio    warning: io_uring is not to be had here, epoll is used")?;
    }
    if !media.cpus.is_empty() && started.iter().any(|thread| thread.cpu.is_none()) {
        writeln!(out, "  audio    warning: the system refused a core of `cpus`; its thread runs on any")?;
    }
    if media.realtime_priority.is_some() && started.iter().any(|thread| thread.realtime.is_none()) {
        writeln!(
            out,
            "  audio    warning: the system refused `realtime-priority`; audio runs without (CAP_SYS_NICE)"
        )?;
    }
    out.flush()
}
