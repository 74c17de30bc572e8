//! The reading of a whole directory: tables of mistakes with the exact words that the operator gets.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::raw::{Action, Config, Interval, Reach, Strategy};
use super::source::{Reading, load_with, read};

/// A directory that is gone when the test is.
struct Scratch(PathBuf);

impl Scratch {
    fn new(files: &[(&str, &str)]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("hulplijn-config-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory");
        for (name, text) in files {
            fs::write(dir.join(name), text).expect("a file");
        }
        Self(dir)
    }

    fn read(&self) -> Reading {
        read(&self.0, &env)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn env(name: &str) -> Option<String> {
    (name == "ANNA").then(|| "from the environment".to_owned())
}

/// What is said about the files, without the directory.
fn findings(files: &[(&str, &str)]) -> Vec<String> {
    let scratch = Scratch::new(files);
    let prefix = format!("{}/", scratch.0.display());
    let whole = scratch.0.display().to_string();
    let shown = scratch.read().findings.into_iter().map(|finding| finding.to_string());
    shown.map(|line| line.replace(&prefix, "").replace(&whole, "DIR")).collect()
}

/// The least that can be loaded: 18 lines.
const SITE: &str = r#"[site]
data = "data"
prompts = "prompts"
[[listen]]
transport = "udp"
address = "127.0.0.1:5060"
[helpline]
name = "1712"
zone = "Europe/Brussels"
languages = ["nl"]
[[trunk]]
name = "carrier"
sources = ["192.0.2.1"]
[[number]]
dial = "1"
flow = "f"
[flow.f]
start = "a"
"#;

fn accepted(more: &str) -> Config {
    let scratch = Scratch::new(&[("site.toml", SITE), ("x.toml", more)]);
    match load_with(&scratch.0, &env) {
        Ok(config) => config,
        Err(findings) => panic!("{findings:?}"),
    }
}

/// What is said about a second file beside the least one.
fn mistakes(more: &str) -> Vec<String> {
    findings(&[("site.toml", SITE), ("x.toml", more)])
}

#[test]
fn the_least_configuration_has_its_defaults() {
    let config = accepted("");
    assert_eq!(config.media.ports.value, (20_000, 29_999));
    assert_eq!(config.helpline.log_in.value, "*71");
    assert_eq!(config.helpline.log_in.place.line, 7, "a default stands where its table begins");
    assert_eq!(config.registrar.realm.place.line, 0, "a table that was left out has no line");
    assert_eq!(config.voicemail.finish_key.value, '#');
    assert!(config.hours.week.iter().all(Vec::is_empty));
    assert!(config.site.data.value.is_absolute(), "joined to the directory");
    assert_eq!(config.listen.first().map(|listen| listen.address.place.line), Some(6));
}

#[test]
fn one_mistake_gets_one_line_that_says_what_is_allowed() {
    const DURATION: &str = "a duration with its unit, such as 250ms, 20s, 5m, 1h or 30d";
    const REACH: &str = "one of `password` (registers), `uri` (fixed address), `telephone` (over a trunk)";
    let table: &[(&str, String)] = &[
        ("[lisen]\n", "x.toml:1: error: unknown table [lisen]; did you mean `listen`?".into()),
        ("colour = 1\n", "x.toml:1: error: unknown key `colour` outside of every table".into()),
        (
            "[limits]\ncall-lenght = \"1h\"\n",
            "x.toml:2: error: unknown key `call-lenght` in [limits]; did you mean `call-length`?".into(),
        ),
        (
            "[limits]\ncall_length = \"1h\"\n",
            "x.toml:2: error: unknown key `call_length` in [limits]; did you mean `call-length`?".into(),
        ),
        (
            "[limits]\n\n\ncall-length = \"20\"\n",
            format!("x.toml:4: error: `call-length` is `20`; allowed: {DURATION}"),
        ),
        (
            "[limits]\ncall-length = 20\n",
            format!("x.toml:2: error: `call-length` is a number; allowed: {DURATION}, in quotes"),
        ),
        ("[limits]\ncall-length = \"5s\"\n", "x.toml:2: error: `call-length` is `5s`; allowed: from 1m to 1d".into()),
        (
            "[limits]\ncalls = \"many\"\n",
            "x.toml:2: error: `calls` is a text; allowed: a whole number from 1 to 100000, without quotes".into(),
        ),
        (
            "[limits]\ncalls = -1\n",
            "x.toml:2: error: `calls` is -1; allowed: a whole number from 1 to 100000, without quotes".into(),
        ),
        (
            "[log]\nlevel = \"inof\"\n",
            "x.toml:2: error: `level` is `inof`; allowed: error, warn, info, debug, trace; did you mean `info`?".into(),
        ),
        ("[log]\njson = \"yes\"\n", "x.toml:2: error: `json` is a text; allowed: true or false, without quotes".into()),
        (
            "[dns]\nserver = \"ns.example\"\n",
            "x.toml:2: error: `server` is `ns.example`; allowed: an IP address and a port, such as \
             192.0.2.10:5060 or [2001:db8::10]:5060"
                .into(),
        ),
        (
            "[metrics]\nlisten = \"localhost:9712\"\n",
            "x.toml:2: error: `listen` is `localhost:9712`; allowed: an IP address and a port, such as \
             192.0.2.10:5060 or [2001:db8::10]:5060"
                .into(),
        ),
        (
            "[media]\nports = \"20001-29999\"\n",
            "x.toml:2: error: `ports` begin with the odd 20001; allowed: an even first port".into(),
        ),
        (
            "[media]\nports = \"20000-20003\"\n",
            "x.toml:2: error: `ports` 20000-20003 are too few; allowed: at least 8 ports, 4 for a call".into(),
        ),
        (
            "[media]\nports = \"5000-9999\"\n",
            "site.toml:6: error: port 5060 of this listener is among the `ports` of [media]; allowed: a port \
             outside of them"
                .into(),
        ),
        (
            "[media]\nports = \"20000-20399\"\n",
            "x.toml:2: warning: `ports` 20000-20399 are enough for 200 callers, `calls` in [limits] is 500; \
             allowed: 4 ports for each call"
                .into(),
        ),
        (
            "[[listen]]\ntransport = \"udp\"\naddress = \"127.0.0.1:5060\"\n",
            "x.toml:3: error: the listener `127.0.0.1:5060` is already in site.toml:6; allowed: each once".into(),
        ),
        (
            "[[listen]]\ntransport = \"sctp\"\naddress = \"127.0.0.1:5061\"\n",
            "x.toml:2: error: `transport` is `sctp`; allowed: udp, tcp, tls, ws, wss".into(),
        ),
        (
            "[[listen]]\ntransport = \"tls\"\naddress = \"127.0.0.1:5061\"\n",
            "x.toml:2: error: this listener speaks TLS and has no `certificate` and `key`; allowed: two PEM files, \
             relative to the config directory"
                .into(),
        ),
        (
            "[[listen]]\ntransport = \"wss\"\naddress = \"127.0.0.1:5061\"\ncertificate = \"c.pem\"\n",
            "x.toml:1: error: there is a `certificate` and no `key`; allowed: both, each a PEM file".into(),
        ),
        (
            "[[listen]]\ntransport = \"tls\"\naddress = \"127.0.0.1:5061\"\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n\
             also = [{ key = \"k.pem\" }]\n",
            "x.toml:6: error: there is a `key` and no `certificate`; allowed: both, each a PEM file".into(),
        ),
        (
            "[[listen]]\ntransport = \"tcp\"\naddress = \"127.0.0.1:5061\"\nclient-ca = \"c.pem\"\n",
            "x.toml:2: error: `client-ca` means nothing for this transport; allowed: transport \"tls\" or \"wss\""
                .into(),
        ),
        (
            "[[listen]]\ntransport = \"tcp\"\naddress = \"127.0.0.1:5061\"\norigins = [\"https://a.example\"]\n",
            "x.toml:2: error: `origins` means nothing for this transport; allowed: transport \"ws\" or \"wss\"".into(),
        ),
        (
            "[[listen]]\ntransport = \"ws\"\naddress = \"127.0.0.1:5061\"\norigins = [\"phone.example\"]\n",
            "x.toml:4: error: an entry of `origins` is `phone.example`; allowed: scheme and host of a web page, such \
             as https://phone.example or http://192.0.2.9:8080"
                .into(),
        ),
        (
            "[[listen]]\ntransport = \"ws\"\naddress = \"127.0.0.1:5061\"\n\
             [[listen]]\ntransport = \"tcp\"\naddress = \"127.0.0.1:5061\"\n",
            "x.toml:6: error: the listener `127.0.0.1:5061` is already in x.toml:3; allowed: each once".into(),
        ),
        (
            "[[trunk]]\nname = \"t\"\nsources = [\"10.1.2.3\"]\nidentity = \"sip:\"\n",
            "x.toml:4: error: `identity` is no SIP address and no number; allowed: such as \
             sip:+3221712@carrier.example, or +3221712"
                .into(),
        ),
        (
            "[metrics]\nlisten = \"127.0.0.1:5061\"\n\
             [[listen]]\ntransport = \"tcp\"\naddress = \"127.0.0.1:5061\"\n",
            "x.toml:2: error: `127.0.0.1:5061` is where a [[listen]] takes SIP (x.toml:5); allowed: a port of its own, \
             such as 9712"
                .into(),
        ),
        (
            "[media]\nsrtp-suites = []\n",
            "x.toml:2: error: `srtp-suites` is empty; allowed: at least one".into(),
        ),
        (
            "[[line]]\nname = \"a\"\npassword = \"p\"\ncodecs = []\n",
            "x.toml:4: error: `codecs` is empty; allowed: at least one".into(),
        ),
        (
            "[[line]]\nname = \"a\"\npassword = \"p\"\ncodecs = [\"opus\", \"g729\"]\n",
            "x.toml:4: error: an entry of `codecs` is `g729`; allowed: pcma, pcmu, g722, opus; did you mean \
             `g722`?"
                .into(),
        ),
        (
            "[[trunk]]\nname = \"t\"\nsources = [\"10.1.2.3\"]\ncodecs = [\n\"pcma\",\n\"pcma\"]\n",
            "x.toml:6: error: the codec `pcma` is already in x.toml:5; allowed: each once".into(),
        ),
        (
            "[[listen]]\ntransport = \"udp\"\naddress = \"192.0.2.1:5060\"\n\
             [[listen]]\ntransport = \"udp\"\naddress = \"192.0.2.1:5080\"\n\
             [[listen]]\ntransport = \"tcp\"\naddress = \"192.0.2.2:5060\"\n\
             [[listen]]\ntransport = \"udp\"\naddress = \"192.0.2.2:5060\"\nnetworks = [\"192.0.2.8/29\"]\n\
             [[listen]]\ntransport = \"udp\"\naddress = \"192.0.2.3:5060\"\n",
            "x.toml:16: error: `192.0.2.3:5060` and `192.0.2.1:5060` (x.toml:3) have one transport, and neither says \
             whom it is for; allowed: `networks` in all of them but one, which has who belongs to no other"
                .into(),
        ),
        (
            "[[trunk]]\nname = \"t\"\nsources = [\"10.1.2.3\"]\ntarget = \"sip:carrier.example;transport=tls\"\n",
            "x.toml:4: error: `sip:carrier.example;transport=tls` is called over TLS, and no listener has it; allowed: \
             a [[listen]] with transport = \"tls\" in its family of addresses, where the answers and calls of that \
             side come"
                .into(),
        ),
        ("[[listen]]\ntransport = \"tcp\"\n", "x.toml:1: error: [[listen]] has no `address`".into()),
        (
            "[[listen]]\ntransport = \"tcp\"\naddress = \"0.0.0.0:5060\"\n",
            "x.toml:3: error: `0.0.0.0` is every address of this machine, which phones cannot call back; \
             allowed: one address, or `external` beside it with the address that phones reach"
                .into(),
        ),
        (
            "[[trunk]]\nname = \"t\"\nsources = [\"10.1.2.3/16\"]\n",
            "x.toml:3: error: an entry of `sources` is `10.1.2.3/16`; allowed: the whole network 10.1.0.0/16, or \
             the one address 10.1.2.3"
                .into(),
        ),
        (
            "[[trunk]]\nname = \"t\"\nsources = []\n",
            "x.toml:3: error: `sources` is empty; allowed: at least one".into(),
        ),
        ("[[trunk]]\nname = \"t\"\n", "x.toml:1: error: [[trunk]] has no `sources`".into()),
        (
            "[[trunk]]\nname = \"t\"\nsources = [\"0.0.0.0/0\"]\n",
            "x.toml:3: warning: the source `0.0.0.0/0` lets a large part of the internet call as your carrier; \
             allowed: the carrier's own addresses"
                .into(),
        ),
        (
            "[[trunk]]\nname = \"t\"\nsources = [\n\"192.0.2.1\"\n]\n",
            "x.toml:4: error: the source `192.0.2.1/32` is already in site.toml:13; allowed: each once".into(),
        ),
        (
            "[[trunk]]\nname = \"t\"\nsources = [\"::1\"]\ntarget = \"192.0.2.1\"\n",
            "x.toml:4: error: the target `192.0.2.1` is no SIP address; allowed: sip:name@host:port, such as \
             sip:front@192.0.2.20:5060"
                .into(),
        ),
        (
            "[[trunk]]\nname = \"t\"\nsources = [\"::1\"]\npassword = \"x\"\n",
            "x.toml:1: error: [[trunk]] has a `password` but no `username`".into(),
        ),
        (
            "[[trunk]]\nname = \"t\"\nregister = true\n",
            "x.toml:3: error: [[trunk]] is to register, but where and as whom is not said; allowed: `target`, \
             `username` and `password` beside `register = true`"
                .into(),
        ),
        (
            "[[trunk]]\nname = \"t\"\nsources = [\"::1\"]\ntarget = \"sip:192.0.2.1\"\nbackup = \"t\"\n",
            "x.toml:5: error: the backup `t` leads back to a trunk that was tried before; allowed: the last one without \
             `backup`"
                .into(),
        ),
        (
            "[[trunk]]\nname = \"t\"\nsources = [\"::1\"]\noptions = \"1s\"\n",
            "x.toml:4: error: `options` is `1s`; allowed: 0s (never), or from 5s to 1h".into(),
        ),
        (
            "[trunk]\nname = \"t\"\n",
            "x.toml:1: error: [trunk] is already written in site.toml:11; allowed: each once, in one file".into(),
        ),
        (
            "[destination.x]\nnumber = \"106\"\ntrunk = \"carier\"\n",
            "x.toml:3: error: there is no trunk `carier`; allowed: carrier; did you mean `carrier`?".into(),
        ),
        (
            "[destination.x]\nnumber = \"106\"\ntrunk = \"carrier\"\n",
            "x.toml:3: error: the trunk `carrier` has no `target`, so nothing can be called over it; allowed: a \
             trunk with a `target`; this one is in site.toml:12"
                .into(),
        ),
        (
            "[destination.x]\nnumber = 106\ntrunk = \"carrier\"\n",
            "x.toml:2: error: `number` is a number; allowed: a telephone number such as 106 or +32470123456, \
             without spaces, in quotes\nx.toml:3: error: the trunk `carrier` has no `target`, so nothing can be \
             called over it; allowed: a trunk with a `target`; this one is in site.toml:12"
                .into(),
        ),
        (
            "[helpline]\n",
            "x.toml:1: error: [helpline] is already written in site.toml:7; allowed: each once, in one file".into(),
        ),
        (
            "[[number]]\ndial = \"1\"\nflow = \"g\"\n",
            "x.toml:2: error: the number `1` is already in site.toml:15; allowed: each once\n\
             x.toml:3: error: there is no flow `g`; allowed: f"
                .into(),
        ),
        ("[[line]]\nname = \"a\"\n", format!("x.toml:1: error: [[line]] has no way to be reached; allowed: {REACH}")),
        (
            "[[line]]\nname = \"a\"\nuri = \"sip:a@b\"\npassword = \"x\"\n",
            format!("x.toml:1: error: [[line]] has several ways to be reached; allowed: {REACH}"),
        ),
        (
            "[[line]]\nname = \"a\"\nuri = \"tel:106\"\n",
            "x.toml:3: error: `tel:106` is no SIP address; allowed: `telephone = \"+32…\"` for a number over a \
             trunk, or sip:…"
                .into(),
        ),
        (
            "[[line]]\nname = \"a b\"\nuri = \"sip:a@b\"\n",
            "x.toml:2: error: `name` is `a b`; allowed: a name of at most 64 letters, digits and - _ . +".into(),
        ),
        (
            "[[line]]\nname = \"a\"\npassword = { env = \"NOBODY\" }\n",
            "x.toml:3: error: `password` is in the environment variable NOBODY, which is not set; allowed: \"…\", \
             { env = \"NAME\" } or { file = \"path\" }"
                .into(),
        ),
        (
            "[[line]]\nname = \"a\"\npassword = { file = \"nothing\" }\n",
            "x.toml:3: error: `password` is in nothing, which cannot be read (there is no such file or folder); allowed: \"…\", \
             { env = \"NAME\" } or { file = \"path\" }"
                .into(),
        ),
        (
            "[[line]]\nname = \"a\"\npassword = 1712\n",
            "x.toml:3: error: `password` is a number; allowed: \"…\", { env = \"NAME\" } or { file = \"path\" }".into(),
        ),
        (
            "[hours]\nmonday = [\"9-17\"]\n",
            "x.toml:2: error: an entry of `monday` is `9-17`; allowed: hours such as 09:00-17:00, 22:00-06:00 or \
             00:00-24:00"
                .into(),
        ),
        (
            "[hours]\nmonday = \"09:00-17:00\"\n",
            "x.toml:2: error: `monday` is a text; allowed: a list in square brackets".into(),
        ),
        (
            "[[exception]]\ndate = \"2026-02-30\"\n",
            "x.toml:2: error: `date` is `2026-02-30`; allowed: a date such as 2026-12-24".into(),
        ),
        (
            "[voicemail]\nfinish-key = \"##\"\n",
            "x.toml:2: error: `finish-key` is `##`; allowed: one key: 0 to 9, * or #".into(),
        ),
        (
            "[flow.f]\nstart = \"a\"\n",
            "x.toml:1: error: [flow.f] is already written in site.toml:17; allowed: each once, in one file".into(),
        ),
        (
            "[queue]\nlines = [\"a\"]\n",
            "x.toml:2: error: `lines` of [queue] is a list; allowed: a table with a name, such as [queue.NAME]".into(),
        ),
    ];
    for (more, expected) in table {
        let expected: Vec<&str> = expected.lines().filter(|line| !line.is_empty()).collect();
        // What never comes into play is told too; it has a test of its own.
        let mut said = mistakes(more);
        said.retain(|line| !line.contains("never rings"));
        assert_eq!(said, expected, "{more}");
    }
}

#[test]
fn steps_are_read_key_by_key() {
    let flow = |step: &str| {
        let text = format!(
            "[[number]]\ndial = \"2\"\nflow = \"g\"\n[flow.g]\nstart = \"s\"\n[flow.g.step.s]\n{step}"
        );
        mistakes(&text)
    };
    let table: &[(&str, &[&str])] = &[
        ("do = \"wait\"\n", &[]),
        ("do = \"hangup\"\n", &[]),
        (
            "do = \"pley\"\nprompts = [\"a\"]\nnonsense = 1\n",
            &[
                "x.toml:7: error: `do` is `pley`; allowed: play, menu, language, hours, closed, queue, dial, message, \
               line, wait, loop, hangup; did you mean `play`?",
            ],
        ),
        ("prompts = [\"a\"]\n", &["x.toml:6: error: [flow.g.step.s] has no `do`"]),
        (
            "do = \"play\"\nprompt = [\"a\"]\nnext = \"s\"\n",
            &[
                "x.toml:6: error: [flow.g.step.s] has no `prompts`",
                "x.toml:8: error: unknown key `prompt` in [flow.g.step.s]; did you mean `prompts`?",
            ],
        ),
        (
            "do = \"menu\"\nprompts = [\"a\"]\nkeys = { 12 = \"s\", 1 = 2 }\notherwise = \"s\"\n",
            &[
                "x.toml:9: error: a key is `12`; allowed: one key: 0 to 9, * or #",
                "x.toml:9: error: what key `1` leads to is a number; allowed: a name of at most 64 letters, digits \
                 and - _ . +, in quotes",
            ],
        ),
        (
            "do = \"hours\"\nopen = \"s\"\nclosed = \"s\"\n",
            &[
                "x.toml:6: error: this step asks for opening hours, and there is no [hours]; allowed: [hours] in one \
               of the files",
            ],
        ),
        ("do = \"line\"\nline = \"anna\"\nfailed = \"s\"\n", &[]),
        (
            "do = \"queue\"\nqueue = \"q\"\nfull = \"s\"\nnobody = \"s\"\n",
            &["x.toml:6: error: [flow.g.step.s] has no `too-long`"],
        ),
    ];
    for (step, expected) in table {
        assert_eq!(&flow(step), expected, "{step}");
    }
}

#[test]
fn all_mistakes_of_all_files_are_named_at_once() {
    let said = findings(&[
        ("a.toml", "[site]\ndata = 5\n[[listen]]\ntransport = \"udp\"\naddress = \"127.0.0.1\"\n"),
        ("b.toml", "[helpline]\nname = \"x\"\nlanguages = [\"nl\", \"nl\"]\nlog-in = \"*72\"\n[queue.q]\n"),
    ]);
    assert_eq!(
        said,
        [
            "a.toml:1: error: [site] has no `prompts`",
            "a.toml:2: error: `data` is a number; allowed: a text of one line, in quotes",
            "a.toml:5: error: `address` is `127.0.0.1`; allowed: an IP address and a port, such as \
             192.0.2.10:5060 or [2001:db8::10]:5060",
            "b.toml:1: error: [helpline] has no `zone`",
            "b.toml:2: warning: there is no [[number]], so every call is refused",
            "b.toml:3: error: the language `nl` is already in b.toml:3; allowed: each once",
            "b.toml:4: error: the code `*72` is already in b.toml:1; allowed: each once",
            "b.toml:5: error: [queue.q] has no `lines`",
            "b.toml:5: warning: no step leads to the queue `q`",
        ]
    );
}

#[test]
fn what_is_no_toml_is_named_with_its_line_and_nothing_is_guessed_from_the_rest() {
    let said = findings(&[
        ("a.toml", "[site]\ndata = data\n"),
        ("b.toml", "\n[[listen]\n"),
        ("bb.toml", "[limits]\ncalls = 5\n\nx = \"\n"),
        ("c.toml", "[log]\njson = true\njson = false\n"),
        (".b.toml", "an editor's\n"),
        ("notes.txt", "not ours\n"),
    ]);
    assert!(said.iter().any(|line| line.starts_with("a.toml:2: error: not readable as TOML: ")), "{said:?}");
    assert!(said.iter().any(|line| line.starts_with("b.toml:2: error: not readable as TOML: ")), "{said:?}");
    assert!(said.iter().any(|line| line.starts_with("bb.toml:4: error: not readable as TOML: ")), "{said:?}");
    let twice = "c.toml:3: error: the same key or table is written twice; allowed: each once";
    assert!(said.iter().any(|line| line == twice), "{said:?}");
    assert!(said.iter().all(|line| !line.contains(" has no `")), "{said:?}");
    assert_eq!(
        findings(&[]),
        ["DIR: error: no file that ends in .toml; allowed: at least one, such as site.toml"]
    );
    let nowhere = read(Path::new("/nonexistent/hulplijn"), &env).findings;
    let shown: Vec<String> = nowhere.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "/nonexistent/hulplijn: error: cannot be read: there is no such file or folder; allowed: a directory with files such as \
             site.toml, named by `--config DIR`"
        ]
    );
}

#[test]
fn an_empty_file_lacks_what_is_needed() {
    let said = findings(&[("a.toml", "")]);
    assert_eq!(
        said,
        [
            "DIR: error: [site] has no `data`",
            "DIR: error: [site] has no `prompts`",
            "DIR: error: no [[listen]]: nobody can call; allowed: at least one [[listen]]",
            "DIR: error: [helpline] has no `name`",
            "DIR: error: [helpline] has no `zone`",
            "DIR: error: [helpline] has no `languages`",
            "DIR: warning: there is no [[number]], so every call is refused",
        ]
    );
}

const LINES: &str = r##"[[line]]
name = "anna"
password = { env = "ANNA" }
[[line]]
name = "bart"
password = { file = "bart.secret" }
[[line]]
name = "ghent"
uri = "sip:desk@PBX.example"
zones = ["09"]
capacity = 3
[[line]]
name = "els"
telephone = "+32470000000"
trunk = "out"
[[trunk]]
name = "out"
sources = ["2001:db8::/32"]
target = "sip:[2001:db8::1]:5060;transport=tcp"
username = "u"
password = "p"
[queue.q]
lines = ["anna", "bart", "ghent", "els"]
strategy = "ring-all"
ring = "1m30s"
wrap-up = "250ms"
[[number]]
dial = "2"
flow = "g"
[flow.g]
start = "s"
[flow.g.step.s]
do = "queue"
queue = "q"
keys = { 2 = "s", "*" = "s", "#" = "s" }
full = "s"
nobody = "s"
too-long = "s"
[hours]
monday = ["09:00-12:00", "22:00 - 06:00"]
sunday = ["00:00-24:00"]
closed-until = 2026-12-01T09:00:00
[[exception]]
date = 2026-12-24
hours = ["09:00-12:00"]
[[listen]]
transport = "tcp"
address = "[::1]:5060"
"##;

#[test]
fn lines_queues_hours_and_secrets_are_taken_as_written() {
    let scratch = Scratch::new(&[("site.toml", SITE), ("x.toml", LINES), ("bart.secret", "from a file\r\n")]);
    let reading = scratch.read();
    assert_eq!(reading.findings, []);
    let config = reading.config.expect("no findings");
    let secrets: Vec<&str> = config
        .lines
        .iter()
        .filter_map(|line| match &line.reach {
            Reach::Registers { password } => Some(password.value.0.as_str()),
            Reach::Fixed { .. } | Reach::Telephone { .. } => None,
        })
        .collect();
    assert_eq!(secrets, ["from the environment", "from a file"]);
    assert!(!format!("{config:?}").contains("from a file"), "secrets are not printed");
    let queue = config.queues.first().expect("a queue");
    assert_eq!((queue.name.value.as_str(), queue.name.place.line), ("q", 22));
    assert_eq!(queue.strategy.value, Strategy::RingAll);
    assert_eq!(queue.ring.value, Duration::from_secs(90));
    assert_eq!(queue.wrap_up.value, Duration::from_millis(250));
    assert_eq!(queue.max_wait.value, Duration::from_secs(900));
    let monday: Vec<Interval> = config.hours.week[0].iter().map(|i| i.value).collect();
    assert_eq!(monday, [Interval { from: 540, to: 720 }, Interval { from: 1320, to: 1800 }]);
    assert_eq!(config.hours.week[6].first().map(|i| i.value), Some(Interval { from: 0, to: 1440 }));
    assert_eq!(
        config.hours.closed_until.map(|at| at.value.to_string()).as_deref(),
        Some("2026-12-01 09:00:00")
    );
    assert_eq!(config.hours.exceptions.len(), 1);
    let step = config.flows.iter().flat_map(|flow| &flow.steps).next().expect("a step");
    let Action::Queue { keys, announce_every, .. } = &step.action else { panic!("{step:?}") };
    assert_eq!(keys.iter().map(|(key, _)| key.value).collect::<String>(), "2*#");
    assert_eq!(announce_every.value, Duration::from_secs(60));
}

#[test]
fn an_address_that_no_listener_can_call_is_an_error_where_it_is_written() {
    let line = |uri: &str| format!("[[line]]\nname = \"a\"\nuri = \"{uri}\"\n");
    let said = |more: &str| -> Vec<String> {
        mistakes(more).into_iter().filter(|line| !line.contains("never rings")).collect()
    };
    // The one listener of these tests has udp and IPv4.
    for uri in ["sip:a@192.0.2.1", "sip:a@pbx.example", "sip:a@192.0.2.1:5070;transport=udp"] {
        assert_eq!(said(&line(uri)), [""; 0], "{uri}");
    }
    assert_eq!(
        said(&line("sip:a@192.0.2.1;transport=tcp")),
        [
            "x.toml:3: error: no [[listen]] has tcp and IPv4, so `sip:a@192.0.2.1;transport=tcp` can't be called; allowed: \
          a [[listen]] with `transport = \"tcp\"` and an IPv4 address"
        ]
    );
    assert_eq!(
        said(&line("sip:a@[2001:db8::1]")),
        [
            "x.toml:3: error: no [[listen]] has udp and IPv6, so `sip:a@[2001:db8::1]` can't be called; allowed: a \
          [[listen]] with `transport = \"udp\"` and an IPv6 address"
        ]
    );
    assert_eq!(
        said(&line("sip:a@pbx.example;transport=tcp")),
        [
            "x.toml:3: error: no [[listen]] has tcp, so `sip:a@pbx.example;transport=tcp` can't be called; allowed: a \
          [[listen]] with `transport = \"tcp\"`"
        ]
    );
    let trunk = "[[trunk]]\nname = \"t\"\nsources = [\"::1\"]\ntarget = \"sip:[::1]:5066\"\n";
    assert!(
        said(trunk)[0].starts_with("x.toml:4: error: no [[listen]] has udp and IPv6"),
        "{:?}",
        said(trunk)
    );
    // Which transport a host name leads to, only the name service knows; over TLS UDP is not needed.
    let tcp = SITE.replace("transport = \"udp\"", "transport = \"tcp\"");
    assert_ne!(tcp, SITE);
    for (uri, mistakes) in [("sip:a@pbx.example", 0), ("sip:a@pbx.example:5060", 1), ("sip:a@192.0.2.1", 1)] {
        let said = findings(&[("site.toml", &tcp), ("x.toml", &line(uri))]);
        assert_eq!(
            said.iter().filter(|said| said.contains("can't be called")).count(),
            mistakes,
            "{uri}: {said:?}"
        );
    }
    // A listener with a slip in it is told alone.
    let slip = format!(
        "[[listen]]\ntransport = \"tpc\"\naddress = \"127.0.0.1:5070\"\n{}",
        line("sip:a@b;transport=tcp")
    );
    assert_eq!(said(&slip).len(), 1, "{:?}", said(&slip));
}

#[test]
fn one_forgotten_quote_is_one_error_and_what_follows_it_is_not_judged() {
    let site = SITE.replacen("name = \"1712\"", "name = \"1712", 1);
    let said =
        findings(&[("site.toml", &site), ("x.toml", "[[number]]\ndial = \"2\"\nflow = \"nowhere\"\n")]);
    let [only] = &said[..] else { panic!("one error: {said:#?}") };
    assert!(only.starts_with("site.toml:8: error: not readable as TOML: "), "{only}");
    assert!(only.contains("what follows in this file was not judged"), "{only}");
    assert!(only.contains("allowed: often a quote, bracket or comma is missing here"), "{only}");
}

#[test]
fn a_file_in_place_of_the_directory_is_told_with_the_directory_to_name() {
    let scratch = Scratch::new(&[("site.toml", SITE)]);
    let file = scratch.0.join("site.toml");
    let said: Vec<String> = read(&file, &env).findings.iter().map(ToString::to_string).collect();
    let dir = scratch.0.display();
    assert_eq!(
        said,
        [format!(
            "{}: error: cannot be read: not a directory; allowed: its directory, as in `--config {dir}`",
            file.display()
        )]
    );
}

#[test]
fn two_lines_at_one_place_are_refused_and_a_line_in_no_queue_is_doubted() {
    let said = mistakes(
        "[[line]]\nname = \"a\"\nuri = \"sip:x@h.example\"\n[[line]]\nname = \"b\"\n\
         uri = \"sip:x@H.example:5060;transport=udp\"\n[[line]]\nname = \"a\"\npassword = \"x\"\n",
    );
    assert_eq!(
        said,
        [
            "x.toml:2: warning: the line `a` is in no queue and no step, so it never rings",
            "x.toml:5: warning: the line `b` is in no queue and no step, so it never rings",
            "x.toml:6: error: a line with the address `sip:x@H.example:5060;transport=udp` is already in x.toml:3; \
             allowed: each once",
            "x.toml:8: error: the line `a` is already in x.toml:2; allowed: each once",
            "x.toml:8: warning: the line `a` is in no queue and no step, so it never rings",
        ]
        .map(ToOwned::to_owned)
    );
}

#[test]
fn keys_that_must_be_and_go_in_the_clear_are_doubted() {
    let srtp = |more: &str| -> Vec<String> {
        let found = findings(&[("site.toml", SITE), ("x.toml", more)]);
        found.into_iter().filter(|line| line.contains("srtp") || line.contains("keys")).collect()
    };
    let registers = "[[line]]\nname = \"a\"\npassword = \"p\"\nsrtp = \"mandatory\"\n";
    let fixed = "[[line]]\nname = \"b\"\nuri = \"sip:b@192.0.2.3\"\nsrtp = \"mandatory\"\n";
    let trunk = "[[trunk]]\nname = \"t\"\nsources = [\"192.0.2.2\"]\nsrtp = \"mandatory\"\n";
    for (written, told) in [
        (registers, "x.toml:4: warning: the line `a` must be encrypted, and its keys go in the clear"),
        (fixed, "x.toml:4: warning: the line `b` must be encrypted, and its keys go in the clear"),
        (trunk, "x.toml:4: warning: the trunk `t` must be encrypted, and its keys go in the clear"),
    ] {
        let found = srtp(written);
        assert!(found.len() == 1 && found[0].starts_with(told), "{found:?}");
        assert!(found[0].contains("tls"), "{found:?}");
    }
    let secure =
        "[[listen]]\ntransport = \"tls\"\naddress = \"127.0.0.1:5061\"\ncertificate = \"c\"\nkey = \"k\"\n";
    let fixed_by_tls = fixed.replace("192.0.2.3", "192.0.2.3;transport=tls");
    for written in [registers, trunk, &fixed_by_tls] {
        assert_eq!(srtp(&format!("{secure}{written}")), [""; 0], "{written}");
    }
    assert_eq!(srtp(&registers.replace("mandatory", "optional")), [""; 0]);
    let word = srtp(&registers.replace("mandatory", "compulsory"));
    assert!(word.len() == 1 && word[0].contains("never, optional, mandatory"), "{word:?}");
    let over_trunk =
        "[[line]]\nname = \"c\"\ntelephone = \"+32470123456\"\ntrunk = \"t\"\nsrtp = \"never\"\n";
    let found = srtp(&format!("{over_trunk}{}", trunk.replace("mandatory", "optional")));
    assert!(found.len() == 1 && found[0].contains("`srtp` means nothing"), "{found:?}");
}
