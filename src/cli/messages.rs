//! `hulplijn messages`: what callers left, for the people who answer them.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command as Program;

use anyhow::{Context as _, bail};
use chrono::{DateTime, SecondsFormat, Utc};
use chrono_tz::Tz;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::exit::Exit;
use super::site::Site;
use crate::base::time::Now;
use crate::calendar::schedule::Schedule;
use crate::config::source;
use crate::store::database::StoreError;
use crate::store::messages::Messages;
use crate::store::request::{MessageRow, MessageState};

/// Programs that can play a WAV, each with its arguments before the file.
const PLAYERS: [(&str, &[&str]); 3] =
    [("aplay", &["-q"]), ("play", &["-q"]), ("ffplay", &["-nodisp", "-autoexit", "-loglevel", "error"])];

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Directory of the configuration, which names the data directory.
    #[arg(long, global = true, value_name = "DIR", default_value = "config")]
    config: PathBuf,
    /// The data directory itself, instead of the one that the configuration names.
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists the messages, oldest first.
    List {
        /// As JSON, for other programs.
        #[arg(long)]
        json: bool,
        /// Only those that are not handled yet.
        #[arg(long)]
        open: bool,
    },
    /// Plays a message on this machine.
    Play { id: String },
    /// Copies a message's sound to a file, or to standard output with `-`.
    Export {
        id: String,
        /// Where to; `ID.wav` here when left out. An existing file is not overwritten.
        to: Option<PathBuf>,
    },
    /// Marks messages as handled.
    Done {
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Deletes messages for good, sound and row.
    Delete {
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

/// Runs the command.
pub fn run(arguments: &Arguments, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let (data, zone) = if let Some(data) = &arguments.data {
        (data.clone(), Site::read(&arguments.config).map_or(Tz::UTC, |site| site.zone))
    } else {
        let site = Site::read(&arguments.config)?;
        (site.data, site.zone)
    };
    let promise = Promise::read(&arguments.config);
    let messages = Messages::open(&data);
    if messages.is_nowhere() {
        bail!(
            "there is no database in {}: either the switch has not run with this folder yet, or it is another one's; \
             name the configuration by --config DIR, or the data folder by --data DIR",
            data.display()
        );
    }
    if let Some(trouble) = messages.trouble() {
        eprintln!("hulplijn: {trouble}; only messages that wait for the database are known");
        eprintln!("run this as the user of the switch, such as: sudo -u hulplijn hulplijn messages list");
    }
    match &arguments.command {
        Command::List { json, open } => {
            let mut rows = messages.list()?;
            rows.retain(|row| !open || row.state != MessageState::Done);
            let due = Due { promise, now: Now::read().utc };
            if *json {
                list_json(&messages, &rows, &due, out)
            } else {
                list_table(&messages, &rows, zone, &due, out)
            }
        }
        Command::Play { id } => play(&messages, id, out),
        Command::Export { id, to } => export(&messages, id, to.as_deref(), out),
        Command::Done { ids } => each(ids, out, "done", |id| messages.set_done(id)),
        Command::Delete { ids } => each(ids, out, "deleted", |id| messages.delete(id)),
    }
}

/// Within how many open days a message is to be answered, when the configuration can say so.
struct Promise {
    schedule: Schedule,
    days: u32,
}

impl Promise {
    fn read(config: &Path) -> Option<Self> {
        let draft = source::read(config, &|name| std::env::var(name).ok()).draft?;
        let schedule = Schedule::compile(&draft.helpline, &draft.hours).ok()?;
        Some(Self { schedule, days: draft.voicemail.answer_within_days.value })
    }
}

/// By when each message is to be answered.
struct Due {
    promise: Option<Promise>,
    now: DateTime<Utc>,
}

impl Due {
    /// `None` for a message that is done, or without a promise.
    fn by(&self, row: &MessageRow) -> Option<DateTime<Utc>> {
        let promise = self.promise.as_ref().filter(|_| row.state != MessageState::Done)?;
        promise.schedule.end_of_working_day(row.taken_at, promise.days)
    }

    fn is_late(&self, row: &MessageRow) -> bool {
        self.by(row).is_some_and(|by| by < self.now)
    }
}

/// A message as `--json` writes it.
#[derive(Serialize)]
struct Listed<'a> {
    id: &'a str,
    called: &'a str,
    taken_at: String,
    seconds: f64,
    state: &'static str,
    callback: Option<&'a str>,
    answer_by: Option<String>,
    late: bool,
    file: Option<PathBuf>,
}

fn list_json(
    messages: &Messages,
    rows: &[MessageRow],
    due: &Due,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    let iso = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let listed: Vec<Listed> = rows
        .iter()
        .map(|row| Listed {
            id: &row.id,
            called: &row.called,
            taken_at: iso(row.taken_at),
            seconds: row.length.as_secs_f64(),
            state: state_word(row.state),
            callback: row.callback.as_deref(),
            answer_by: due.by(row).map(iso),
            late: due.is_late(row),
            file: messages.recording(&row.id),
        })
        .collect();
    writeln!(out, "{}", serde_json::to_string_pretty(&listed)?)?;
    Ok(if messages.trouble().is_some() { Exit::Unable } else { Exit::Fine })
}

fn list_table(
    messages: &Messages,
    rows: &[MessageRow],
    zone: Tz,
    due: &Due,
    out: &mut dyn Write,
) -> anyhow::Result<Exit> {
    // An empty table of a database that can't be read says nothing about the messages.
    let exit = if messages.trouble().is_some() { Exit::Unable } else { Exit::Fine };
    if rows.is_empty() {
        let text = if exit == Exit::Unable { "the messages can't be read" } else { "no messages" };
        writeln!(out, "{text}")?;
        return Ok(exit);
    }
    let mut table =
        vec![["ID", "TAKEN", "LENGTH", "CALLED", "STATE", "ANSWER BY", "CALL BACK"].map(str::to_owned)];
    for row in rows {
        let seconds = row.length.as_secs();
        let lost = if messages.recording(&row.id).is_none() { ", no sound" } else { "" };
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let local = |at: DateTime<Utc>| at.with_timezone(&zone).format("%Y-%m-%d %H:%M").to_string();
        let late = if due.is_late(row) { " LATE" } else { "" };
        table.push([
            row.id.clone(),
            local(row.taken_at),
            format!("{}:{:02}", seconds / 60, seconds % 60),
            or_dash(&row.called),
            format!("{}{lost}", state_word(row.state)),
            or_dash(&due.by(row).map(|by| local(by) + late).unwrap_or_default()),
            or_dash(row.callback.as_deref().unwrap_or_default()),
        ]);
    }
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
    for row in &table {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    writeln!(out, "times of {zone}")?;
    Ok(exit)
}

fn play(messages: &Messages, id: &str, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let Some(path) = sound(messages, id, out)? else {
        return Ok(Exit::Wrong);
    };
    for (player, arguments) in PLAYERS {
        match Program::new(player).args(arguments).arg(&path).status() {
            Ok(status) if status.success() => return Ok(Exit::Fine),
            Ok(_) => writeln!(out, "{player} could not play it")?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("starting {player}")),
        }
    }
    writeln!(out, "no player works here (aplay, play or ffplay); the sound is {}", path.display())?;
    writeln!(out, "take it to another machine by: hulplijn messages export {id} FILE.wav")?;
    Ok(Exit::Unable)
}

fn export(messages: &Messages, id: &str, to: Option<&Path>, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let Some(path) = sound(messages, id, out)? else {
        return Ok(Exit::Wrong);
    };
    let mut source = fs::File::open(&path).with_context(|| path.display().to_string())?;
    if to == Some(Path::new("-")) {
        io::copy(&mut source, out)?;
        return Ok(Exit::Fine);
    }
    let target = to.map_or_else(|| PathBuf::from(format!("{id}.wav")), Path::to_owned);
    let new = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&target);
    let mut file = match new {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            bail!("{} exists and is not overwritten", target.display())
        }
        Err(error) => return Err(error).with_context(|| target.display().to_string()),
    };
    io::copy(&mut source, &mut file)?;
    writeln!(out, "{}", target.display())?;
    Ok(Exit::Fine)
}

/// The sound file of a message; says what is missing otherwise.
fn sound(messages: &Messages, id: &str, out: &mut dyn Write) -> anyhow::Result<Option<PathBuf>> {
    match messages.get(id) {
        Ok(_) => {}
        Err(error @ StoreError::NoSuchMessage(_)) => {
            writeln!(out, "{error}")?;
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    }
    let path = messages.recording(id);
    if path.is_none() {
        writeln!(out, "the sound of `{id}` is not there")?;
    }
    Ok(path)
}

/// Does `job` for each id; one that is not there does not stop the others.
fn each(
    ids: &[String],
    out: &mut dyn Write,
    word: &str,
    job: impl Fn(&str) -> Result<(), StoreError>,
) -> anyhow::Result<Exit> {
    let mut exit = Exit::Fine;
    for id in ids {
        match job(id) {
            Ok(()) => writeln!(out, "{id} {word}")?,
            Err(error @ StoreError::NoSuchMessage(_)) => {
                writeln!(out, "{error}")?;
                exit = Exit::Wrong;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(exit)
}

fn state_word(state: MessageState) -> &'static str {
    match state {
        MessageState::New => "new",
        MessageState::Interrupted => "interrupted",
        MessageState::Done => "done",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::database::{Database, create_folders};
    use crate::store::request::wav_path;
    use crate::store::sqlite::tests::{Scratch, row};

    fn filled() -> Scratch {
        let scratch = Scratch::new();
        create_folders(scratch.path()).expect("made");
        let database = Database::open(scratch.path()).expect("opens");
        database.save(&row("aaa2")).expect("saved");
        let with_number = MessageRow { callback: Some("0470123456".to_owned()), ..row("aaa3") };
        database.save(&with_number).expect("saved");
        fs::write(wav_path(scratch.path(), "aaa2"), b"sound").expect("written");
        scratch
    }

    fn command(scratch: &Scratch, command: Command) -> (Exit, String) {
        let arguments =
            Arguments { command, config: scratch.path().join("none"), data: Some(scratch.path().to_owned()) };
        let mut out = Vec::new();
        let exit = run(&arguments, &mut out).expect("can be done");
        (exit, String::from_utf8(out).expect("text"))
    }

    #[test]
    fn the_list_is_a_table_or_json() {
        let scratch = filled();
        let (exit, text) = command(&scratch, Command::List { json: false, open: false });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(exit, Exit::Fine);
        assert_eq!(
            lines,
            [
                "ID    TAKEN             LENGTH  CALLED  STATE          ANSWER BY  CALL BACK",
                "aaa2  2026-09-21 14:13  0:12    1712    new            -          -",
                "aaa3  2026-09-21 14:13  0:12    1712    new, no sound  -          0470123456",
                "times of UTC",
            ]
        );
        let (_, text) = command(&scratch, Command::List { json: true, open: false });
        let listed: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(listed.pointer("/1/callback"), Some(&"0470123456".into()));
        assert_eq!(listed.pointer("/0/seconds"), Some(&12.34.into()));
    }

    #[test]
    fn a_message_that_waits_longer_than_promised_is_marked_late() {
        let scratch = filled();
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
        let list = |json, open| {
            let command = Command::List { json, open };
            let arguments =
                Arguments { command, config: config.clone(), data: Some(scratch.path().to_owned()) };
            let mut out = Vec::new();
            run(&arguments, &mut out).expect("can be done");
            String::from_utf8(out).expect("text")
        };
        let listed: serde_json::Value = serde_json::from_str(&list(true, true)).expect("JSON");
        // Taken on a Monday: by Wednesday at five in Brussels.
        assert_eq!(listed.pointer("/0/answer_by"), Some(&"2026-09-23T15:00:00Z".into()));
        assert_eq!(listed.pointer("/0/late"), Some(&true.into()));
        assert!(list(false, true).contains("2026-09-23 17:00 LATE"));
        command(&scratch, Command::Done { ids: vec!["aaa2".to_owned()] });
        assert!(!list(false, false).lines().any(|line| line.starts_with("aaa2") && line.contains("LATE")));
    }

    #[test]
    fn a_database_that_cannot_be_read_is_not_taken_for_one_without_messages() {
        let scratch = Scratch::new();
        std::fs::create_dir_all(scratch.path().join("hulplijn.sqlite")).expect("a directory in its place");
        let (exit, text) = command(&scratch, Command::List { json: false, open: false });
        assert_eq!((exit, text.as_str()), (Exit::Unable, "the messages can't be read\n"));
        let (exit, _) = command(&scratch, Command::List { json: true, open: false });
        assert_eq!(exit, Exit::Unable);
    }

    #[test]
    fn done_and_delete_tell_what_is_not_there() {
        let scratch = filled();
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        let (exit, text) = command(&scratch, Command::Done { ids: ids(&["aaa2", "zzz9"]) });
        assert_eq!((exit, text.as_str()), (Exit::Wrong, "aaa2 done\nthere is no message `zzz9`\n"));
        let (_, text) = command(&scratch, Command::List { json: false, open: true });
        assert!(!text.contains("aaa2") && text.contains("aaa3"));
        let (exit, _) = command(&scratch, Command::Delete { ids: ids(&["aaa2", "aaa3"]) });
        let (_, text) = command(&scratch, Command::List { json: false, open: false });
        assert_eq!((exit, text.as_str()), (Exit::Fine, "no messages\n"));
        assert!(!wav_path(scratch.path(), "aaa2").exists());
    }

    #[test]
    fn an_export_is_a_private_copy_and_overwrites_nothing() {
        use std::os::unix::fs::PermissionsExt as _;
        let scratch = filled();
        let to = scratch.path().join("copy.wav");
        let export = || Command::Export { id: "aaa2".to_owned(), to: Some(to.clone()) };
        assert_eq!(command(&scratch, export()).0, Exit::Fine);
        assert_eq!(fs::read(&to).expect("there"), b"sound");
        assert_eq!(fs::metadata(&to).expect("there").permissions().mode() & 0o777, 0o600);
        let again = Arguments {
            command: export(),
            config: PathBuf::from("none"),
            data: Some(scratch.path().to_owned()),
        };
        assert!(run(&again, &mut Vec::new()).is_err());
        let dash = Command::Export { id: "aaa2".to_owned(), to: Some("-".into()) };
        assert_eq!(command(&scratch, dash).1, "sound");
        let missing = Command::Export { id: "aaa3".to_owned(), to: None };
        assert_eq!(
            command(&scratch, missing),
            (Exit::Wrong, "the sound of `aaa3` is not there\n".to_owned())
        );
    }
}
