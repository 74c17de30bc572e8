//! Every table that the operator may write, key by key, with its default. Fills `raw`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::diagnostic::Diagnostic;
use super::raw::{
    At, Certificate, Config, Destination, Dns, Exception, Helpline, Hours, Interval, Keys, Limits, Line,
    Listen, ListenTransport, Log, Media, MediaIo, Metrics, Network, Number, Queue, Reach, Registrar,
    Shutdown, Site, Srtp, Strategy, Tls, Trunk, Voicemail,
};
use super::section::Section;
use super::steps;
use super::tree::Node;
use super::value::{
    Parsed, address, date, date_time, dialled, duration, interval, key, keys, language, level, loudness,
    media_io, name, network, number, options_interval, origin, ports, session_interval, socket, srtp,
    star_code, strategy, telephone, text, transport, truth, word, zone_code,
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// The whole configuration from what stands outside all tables downwards.
pub(super) fn config(root: &mut Section<'_, '_, '_>) -> Config {
    Config {
        site: root.table("site", site),
        listen: listeners(root),
        tls: root.table("tls", tls),
        dns: root.table("dns", |s| Dns { server: s.optional("server", socket) }),
        media: root.table("media", media),
        trunks: root.each("trunk", trunk),
        registrar: root.table("registrar", registrar),
        metrics: root.table("metrics", |s| Metrics { listen: s.optional("listen", socket) }),
        log: root.table("log", log),
        limits: root.table("limits", limits),
        shutdown: root.table("shutdown", shutdown),
        helpline: root.table("helpline", helpline),
        hours: hours(root),
        numbers: root.each("number", our_number),
        lines: root.each("line", line),
        queues: root.named("", "queue", queue),
        flows: root.named("", "flow", steps::flow),
        voicemail: root.table("voicemail", voicemail),
        destinations: root.named("", "destination", destination),
    }
}

/// As `a=crypto` names them.
const SUITES: &[&str] =
    &["AEAD_AES_256_GCM", "AEAD_AES_128_GCM", "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"];

/// A text that is a path.
fn path(node: &Node) -> Parsed<PathBuf> {
    text(node).map(PathBuf::from)
}

fn listeners(root: &mut Section<'_, '_, '_>) -> Vec<Listen> {
    if !root.has("listen") {
        let what = "no [[listen]]: nobody can call";
        let finding = Diagnostic::error(root.place(), what).allowed("at least one [[listen]]");
        root.report(finding);
    }
    root.each("listen", |s| {
        let listen = Listen {
            transport: s.must("transport", transport, ListenTransport::Udp),
            address: s.must("address", socket, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))),
            external: s.optional("external", socket),
            networks: s.list::<Network>("networks", network),
            dscp: s.or("dscp", number(0, 63), 24),
            shown: certificate(s),
            also: s.each("also", another_certificate).into_iter().flatten().collect(),
            client_ca: s.file("client-ca", path),
            origins: s.list("origins", origin),
        };
        fitting(s, &listen);
        listen
    })
}

/// What belongs to TLS and to WebSockets stands where it has a meaning.
fn fitting(s: &mut Section<'_, '_, '_>, listen: &Listen) {
    let transport = listen.transport.value;
    // Whether it is written, not whether it could be read.
    let shows = s.has("certificate") || s.has("key");
    if transport.is_tls() && !shows {
        let what = "this listener speaks TLS and has no `certificate` and `key`";
        s.report(
            Diagnostic::error(&listen.transport.place, what)
                .allowed("two PEM files, relative to the config directory"),
        );
    }
    let odd = [
        ("also", s.has("also") && !transport.is_tls(), "transport \"tls\" or \"wss\""),
        ("certificate", shows && !transport.is_tls(), "transport \"tls\" or \"wss\""),
        ("client-ca", s.has("client-ca") && !transport.is_tls(), "transport \"tls\" or \"wss\""),
        ("origins", s.has("origins") && !transport.is_websocket(), "transport \"ws\" or \"wss\""),
    ];
    for (key, is_odd, allowed) in odd {
        if is_odd {
            let what = format!("`{key}` means nothing for this transport");
            s.report(Diagnostic::error(&listen.transport.place, what).allowed(allowed));
        }
    }
}

/// `certificate` and `key`: both or neither.
fn certificate(s: &mut Section<'_, '_, '_>) -> Option<Certificate> {
    let (certificate, key) = (s.file("certificate", path), s.file("key", path));
    for (has, lacks) in [("certificate", "key"), ("key", "certificate")] {
        if s.has(has) && !s.has(lacks) {
            let what = format!("there is a `{has}` and no `{lacks}`");
            s.report(Diagnostic::error(s.place(), what).allowed("both, each a PEM file"));
        }
    }
    Some(Certificate { certificate: certificate?, key: key? })
}

fn another_certificate(s: &mut Section<'_, '_, '_>) -> Option<Certificate> {
    if !s.has("certificate") && !s.has("key") {
        let what = "an entry of `also` has no `certificate` and `key`";
        s.report(Diagnostic::error(s.place(), what).allowed("both, each a PEM file"));
    }
    certificate(s)
}

/// All may be left out: the authorities of the system, and no certificate of ours.
fn tls(s: &mut Section<'_, '_, '_>) -> Tls {
    Tls { ca: s.file("ca", path), shown: certificate(s) }
}

/// `data` and `prompts` are needed; no `local-networks`.
fn site(s: &mut Section<'_, '_, '_>) -> Site {
    Site {
        data: s.required("data", path),
        prompts: s.required("prompts", path),
        local_networks: s.list::<Network>("local-networks", network),
    }
}

/// `addresses` those of the listeners, `ports` 20000-29999, `threads` 1, `quarantine` 10s, `srtp-suites` all,
/// `io` auto, `dscp` 46 (EF).
fn media(s: &mut Section<'_, '_, '_>) -> Media {
    Media {
        addresses: s.list("addresses", address),
        external: s.optional("external", address),
        ports: s.or("ports", ports, (20_000, 29_999)),
        threads: s.or("threads", number(1, 64), 1),
        quarantine: s.or("quarantine", duration(Duration::ZERO, 10 * MINUTE), 10 * SECOND),
        srtp_suites: if s.has("srtp-suites") { s.some("srtp-suites", word(SUITES)) } else { Vec::new() },
        io: s.or("io", media_io, MediaIo::Auto),
        dscp: s.or("dscp", number(0, 63), 46),
        cpus: s.list("cpus", number(0, 1023)),
        realtime_priority: s.optional("realtime-priority", number(1, 99)),
    }
}

/// `name` is needed, and `sources` unless it registers; `register` false, `options` 0s, `srtp` optional, `codecs` the
/// helpline's.
fn trunk(s: &mut Section<'_, '_, '_>) -> Trunk {
    let register = s.or("register", truth, false);
    let trunk = Trunk {
        name: s.required("name", name),
        sources: if (register.value || s.has("certificate-name")) && !s.has("sources") {
            Vec::new()
        } else {
            s.some::<Network>("sources", network)
        },
        target: s.optional("target", text),
        username: s.optional("username", text),
        password: s.secret("password"),
        realm: s.optional("realm", text),
        certificate_name: s.optional("certificate-name", text),
        register,
        options: s.or("options", options_interval, Duration::ZERO),
        backup: s.optional("backup", name),
        identity: s.optional("identity", text),
        srtp: s.or("srtp", srtp, Srtp::Optional),
        inband_dtmf: s.or("inband-dtmf", truth, false),
        codecs: codecs(s),
    };
    if trunk.register.value && (trunk.target.is_none() || trunk.username.is_none()) {
        let what = "[[trunk]] is to register, but where and as whom is not said";
        let finding = Diagnostic::error(&trunk.register.place, what);
        s.report(finding.allowed("`target`, `username` and `password` beside `register = true`"));
    }
    // Whether a password is written, not whether it could be read: that has its own mistake.
    match (&trunk.username, s.has("password")) {
        (Some(username), false) => {
            let finding = Diagnostic::error(&username.place, "[[trunk]] has a `username` but no `password`");
            s.report(finding);
        }
        (None, true) if !s.has("username") => {
            let finding = Diagnostic::error(s.place(), "[[trunk]] has a `password` but no `username`");
            s.report(finding);
        }
        _ => {}
    }
    trunk
}

/// `realm` "hulplijn", `algorithms` sha-256, md5, `min-expires` 60s, `max-expires` 1h, `nonce-lifetime` 5m, `auth-int` true.
fn registrar(s: &mut Section<'_, '_, '_>) -> Registrar {
    let algorithms = if s.has("algorithms") {
        s.some("algorithms", word(&["sha-512-256", "sha-256", "md5"]))
    } else {
        ["sha-256", "md5"].map(|algorithm| at(s, algorithm.to_owned())).into()
    };
    let registrar = Registrar {
        realm: s.or("realm", name, "hulplijn".to_owned()),
        algorithms,
        min_expires: s.or("min-expires", duration(10 * SECOND, DAY), MINUTE),
        max_expires: s.or("max-expires", duration(10 * SECOND, DAY), HOUR),
        nonce_lifetime: s.or("nonce-lifetime", duration(10 * SECOND, DAY), 5 * MINUTE),
        auth_int: s.or("auth-int", truth, true),
    };
    if registrar.min_expires.value > registrar.max_expires.value {
        let what = "`max-expires` is shorter than `min-expires`";
        s.report(Diagnostic::error(&registrar.max_expires.place, what));
    }
    registrar
}

/// `level` info, `json` false.
fn log(s: &mut Section<'_, '_, '_>) -> Log {
    Log {
        level: s.or("level", word(&["error", "warn", "info", "debug", "trace"]), "info".to_owned()),
        json: s.or("json", truth, false),
    }
}

/// `calls` 500, `calls-per-second` 50, `registrations` 200, `subscriptions` 400, `connections` 500, `connections-per-address` 20,
/// no `transactions`, `message-size` 16384 bytes, `headers` 200, `header-length` 8192 bytes, `call-length` 4h.
fn limits(s: &mut Section<'_, '_, '_>) -> Limits {
    Limits {
        calls: s.or("calls", number(1, 100_000), 500),
        calls_per_second: s.or("calls-per-second", number(1, 100_000), 50),
        registrations: s.or("registrations", number(1, 100_000), 200),
        subscriptions: s.or("subscriptions", number(1, 100_000), 400),
        connections: s.or("connections", number(1, 60_000), 500),
        connections_per_address: s.or("connections-per-address", number(1, 60_000), 20),
        transactions: s.optional("transactions", number(8, 10_000_000)),
        message_size: s.or("message-size", number(2048, 65_535), 16_384),
        headers: s.or("headers", number(20, 1000), 200),
        header_length: s.or("header-length", number(256, 8192), 8192),
        call_length: s.or("call-length", duration(MINUTE, DAY), 4 * HOUR),
        session_expires: s.or("session-expires", session_interval, 30 * MINUTE),
    }
}

/// `grace` 2m.
fn shutdown(s: &mut Section<'_, '_, '_>) -> Shutdown {
    Shutdown { grace: s.or("grace", duration(Duration::ZERO, DAY), 2 * MINUTE) }
}

const CODECS: [&str; 4] = ["pcma", "pcmu", "g722", "opus"];

/// None when they are left out.
fn codecs(s: &mut Section<'_, '_, '_>) -> Vec<At<String>> {
    if s.has("codecs") { s.some("codecs", word(&CODECS)) } else { Vec::new() }
}

/// `name`, `zone`, `languages` are needed; `codecs` pcma, pcmu; `music` "music", `music-level` -32dBov; `log-in` *71,
/// `log-out` *72, `pause` *73,
/// `resume` *74, `conference` *75.
fn helpline(s: &mut Section<'_, '_, '_>) -> Helpline {
    let codecs = if s.has("codecs") {
        codecs(s)
    } else {
        ["pcma", "pcmu"].map(|codec| at(s, codec.to_owned())).into()
    };
    let music = s.one_or_more("music", name);
    Helpline {
        name: s.required("name", text),
        zone: s.required("zone", text),
        languages: s.some("languages", language),
        codecs,
        music: if s.has("music") { music } else { vec![at(s, "music".to_owned())] },
        music_level_dbov: s.or("music-level", level, -32),
        log_in: s.or("log-in", star_code, "*71".to_owned()),
        log_out: s.or("log-out", star_code, "*72".to_owned()),
        pause: s.or("pause", star_code, "*73".to_owned()),
        resume: s.or("resume", star_code, "*74".to_owned()),
        conference: s.or("conference", star_code, "*75".to_owned()),
    }
}

const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// A day that is left out is closed; `belgian-holidays` false; no `closed-until`. Without `[hours]` no flow may
/// ask for them.
fn hours(root: &mut Section<'_, '_, '_>) -> Hours {
    let mut hours = root.table("hours", |s| Hours {
        place: s.place().clone(),
        week: WEEKDAYS.map(|day| s.list::<Interval>(day, interval)),
        belgian_holidays: s.or("belgian-holidays", truth, false),
        exceptions: Vec::new(),
        closed_until: s.optional("closed-until", date_time),
    });
    // Without `hours` the date is closed.
    hours.exceptions = root.each("exception", |s| Exception {
        date: s.required("date", date),
        intervals: s.list("hours", interval),
        holiday: s.or("holiday", truth, false).value,
    });
    hours
}

fn our_number(s: &mut Section<'_, '_, '_>) -> Number {
    Number { dial: s.required("dial", dialled), flow: s.required("flow", name) }
}

/// `name` and one way to reach it are needed; `capacity` 1, no `zones`, `penalty` 0, `logged-in` false,
/// `srtp` optional, `codecs` the helpline's.
fn line(s: &mut Section<'_, '_, '_>) -> Line {
    let needless: Vec<&str> =
        ["srtp", "codecs"].into_iter().filter(|key| s.has("telephone") && s.has(key)).collect();
    for key in needless {
        let what = format!("`{key}` means nothing for a line that is reached by `telephone`");
        s.report(Diagnostic::error(s.place(), what).allowed(format!("`{key}` of its [[trunk]]")));
    }
    Line {
        name: s.required("name", name),
        reach: reach(s),
        capacity: s.or("capacity", number(1, 100_000), 1),
        zones: s.list("zones", zone_code),
        penalty: s.or("penalty", number(0, 1000), 0),
        logged_in: s.or("logged-in", truth, false),
        srtp: s.or("srtp", srtp, Srtp::Optional),
        keys: s.or("keys", keys, Keys::Auto),
        inband_dtmf: s.or("inband-dtmf", truth, false),
        codecs: codecs(s),
    }
}

fn reach(s: &mut Section<'_, '_, '_>) -> Reach {
    let ways = ["password", "uri", "telephone"];
    let written = ways.iter().filter(|way| s.has(way)).count();
    if written != 1 {
        let found = if written == 0 { "no way to be reached" } else { "several ways to be reached" };
        let allowed = "one of `password` (registers), `uri` (fixed address), `telephone` (over a trunk)";
        let finding = Diagnostic::error(s.place(), format!("[[line]] has {found}")).allowed(allowed);
        s.report(finding);
    }
    let (password, uri) = (s.secret("password"), s.optional("uri", text));
    let telephone = s.optional("telephone", telephone);
    let empty = at(s, String::new());
    if s.has("telephone") {
        return Reach::Telephone { number: telephone.unwrap_or(empty), trunk: s.required("trunk", name) };
    }
    match (password, uri) {
        (_, Some(uri)) => Reach::Fixed { uri },
        (Some(password), None) => Reach::Registers { password },
        // The mistake is reported above or by the key's parser.
        (None, None) => Reach::Fixed { uri: empty },
    }
}

/// `lines` is needed; `strategy` longest-idle, `ring` 20s, `wrap-up` 30s, `capacity` 20, `max-wait` 15m,
/// `misses` 3 (0: never rests), `rest` 5m, `music` the helpline's.
fn queue(s: &mut Section<'_, '_, '_>, queue_name: At<String>) -> Queue {
    Queue {
        name: queue_name,
        lines: s.some("lines", name),
        strategy: s.or("strategy", strategy, Strategy::LongestIdle),
        ring: s.or("ring", duration(SECOND, 10 * MINUTE), 20 * SECOND),
        wrap_up: s.or("wrap-up", duration(Duration::ZERO, HOUR), 30 * SECOND),
        capacity: s.or("capacity", number(1, 100_000), 20),
        max_wait: s.or("max-wait", duration(SECOND, DAY), 15 * MINUTE),
        misses: s.or("misses", number(0, 100), 3),
        rest: s.or("rest", duration(SECOND, DAY), 5 * MINUTE),
        music: s.one_or_more("music", name),
    }
}

/// `max` 5m, `silence` 10s, `min` 1s, `finish-key` #, no `normalise`, no `keep-done`, `min-free-mib` 200,
/// `answer-within-days` 2.
fn voicemail(s: &mut Section<'_, '_, '_>) -> Voicemail {
    let voicemail = Voicemail {
        max: s.or("max", duration(5 * SECOND, HOUR), 5 * MINUTE),
        silence: s.or("silence", duration(SECOND, 5 * MINUTE), 10 * SECOND),
        min: s.or("min", duration(Duration::ZERO, MINUTE), SECOND),
        finish_key: s.or("finish-key", key, '#'),
        normalise_lufs: s.optional("normalise", loudness),
        keep_done: s.optional("keep-done", duration(HOUR, 3650 * DAY)),
        min_free_mib: s.or("min-free-mib", number(0, 1_000_000), 200),
        answer_within_days: s.or("answer-within-days", number(0, 30), 2),
    };
    if voicemail.min.value >= voicemail.max.value {
        s.report(Diagnostic::error(&voicemail.max.place, "`max` is not longer than `min`"));
    }
    voicemail
}

/// `number` and `trunk` are needed; `ring` 45s, `transfer` false.
fn destination(s: &mut Section<'_, '_, '_>, destination_name: At<String>) -> Destination {
    Destination {
        name: destination_name,
        number: s.required("number", telephone),
        trunk: s.required("trunk", name),
        ring: s.or("ring", duration(SECOND, 10 * MINUTE), 45 * SECOND),
        transfer: s.or("transfer", truth, false),
        early_media: s.or("early-media", truth, false),
    }
}

/// A default, which stands where its table begins.
fn at<T>(s: &Section<'_, '_, '_>, value: T) -> At<T> {
    At { value, place: s.place().clone() }
}
