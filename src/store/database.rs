//! The tables in the embedded SQLite, and nothing else: open, write, read.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, params};

use super::request::{BindingRow, MESSAGES, MessageRow, MessageState};
use crate::base::time::Now;

/// The version of the tables, kept in `user_version`. A database of a later version is refused, so
/// that an older switch does not write rows that the newer one can't read.
const SCHEMA: i64 = 2;
/// How long a write waits for an operator's command that holds the lock.
const BUSY: Duration = Duration::from_secs(2);

/// Why the store can't do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("the database refuses: {0}")]
    Database(#[from] rusqlite::Error),
    #[error("the database is of version {found}, this program knows versions up to {SCHEMA}")]
    TooNew { found: i64 },
    #[error("{} is in use by another switch", data.display())]
    InUse { data: PathBuf },
    #[error("there is no message `{0}`")]
    NoSuchMessage(String),
}

impl StoreError {
    pub(super) fn io(path: &Path, error: io::Error) -> Self {
        Self::Io { path: path.to_owned(), error }
    }
}

/// One open database file.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
    path: PathBuf,
    /// Device and inode at open: a file that was moved away must not be written on.
    file: (u64, u64),
}

impl Database {
    /// Opens or creates the database of a data directory.
    pub fn open(data: &Path) -> Result<Self, StoreError> {
        let path = path(data);
        create_private(&path).map_err(|e| StoreError::io(&path, e))?;
        Self::connect(path)
    }

    /// Opens the database if there is one.
    pub fn open_existing(data: &Path) -> Result<Option<Self>, StoreError> {
        let path = path(data);
        if path.try_exists().map_err(|e| StoreError::io(&path, e))? {
            Self::connect(path).map(Some)
        } else {
            Ok(None)
        }
    }

    fn connect(path: PathBuf) -> Result<Self, StoreError> {
        let file = identity(&path).map_err(|e| StoreError::io(&path, e))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&path, flags)?;
        connection.busy_timeout(BUSY)?;
        // FULL: a commit is on the disk when it returns, also in WAL mode. A deleted row's callback
        // number is overwritten and not only unlinked.
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "secure_delete", "ON")?;
        migrate(&mut connection)?;
        Ok(Self { connection, path, file })
    }

    /// Whether the file that was opened is still the one at its path.
    pub fn is_in_place(&self) -> bool {
        identity(&self.path).is_ok_and(|file| file == self.file)
    }

    /// Writes a message. The same id again changes the row, except that a handled one stays handled.
    pub fn save(&self, row: &MessageRow) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "INSERT INTO message (id, called, taken_at_ms, length_ms, state, callback, done_at_ms) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
             ON CONFLICT (id) DO UPDATE SET called = excluded.called, taken_at_ms = excluded.taken_at_ms, \
             length_ms = excluded.length_ms, callback = excluded.callback, \
             state = CASE state WHEN 'done' THEN state ELSE excluded.state END",
            )?
            .execute(params![
                row.id,
                row.called,
                row.taken_at.timestamp_millis(),
                i64::try_from(row.length.as_millis()).unwrap_or(i64::MAX),
                state_word(row.state),
                row.callback,
                (row.state == MessageState::Done).then(|| Now::read().utc.timestamp_millis()),
            ])?;
        Ok(())
    }

    /// All messages, oldest first.
    pub fn list(&self) -> Result<Vec<MessageRow>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, called, taken_at_ms, length_ms, state, callback FROM message ORDER BY taken_at_ms, id",
        )?;
        let rows = statement.query_map([], read_row)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// How many messages wait, and how many were handled.
    pub fn count(&self) -> Result<(u32, u32), StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT count(*), coalesce(sum(state = 'done'), 0) FROM message")?;
        let (all, done): (u32, u32) = statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok((all.saturating_sub(done), done))
    }

    pub fn get(&self, id: &str) -> Result<Option<MessageRow>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, called, taken_at_ms, length_ms, state, callback FROM message WHERE id = ?1",
        )?;
        Ok(statement.query_row([id], read_row).optional()?)
    }

    /// Marks a message as handled; tells whether there is such a message.
    pub fn set_done(&self, id: &str, at: DateTime<Utc>) -> Result<bool, StoreError> {
        let changed = self.connection.execute(
            "UPDATE message SET state = 'done', done_at_ms = coalesce(done_at_ms, ?2) WHERE id = ?1",
            params![id, at.timestamp_millis()],
        )?;
        Ok(changed > 0)
    }

    /// Removes a row and its trace in the write-ahead log; tells whether there was one.
    pub fn delete(&self, id: &str) -> Result<bool, StoreError> {
        let changed = self.connection.execute("DELETE FROM message WHERE id = ?1", [id])?;
        if changed > 0 {
            // A reader may hold the log; it is then cut at a later checkpoint.
            let _ = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        }
        Ok(changed > 0)
    }

    /// Ids of messages that were marked as handled before this time.
    pub fn done_before(&self, time: DateTime<Utc>) -> Result<Vec<String>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT id FROM message WHERE state = 'done' AND done_at_ms < ?1 ORDER BY id")?;
        let ids = statement.query_map([time.timestamp_millis()], |row| row.get(0))?;
        Ok(ids.collect::<Result<_, _>>()?)
    }

    /// Writes a word that survives a restart.
    pub fn save_word(&self, key: &str, value: &str) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "INSERT INTO word (key, value) VALUES (?1, ?2) \
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            )?
            .execute([key, value])?;
        Ok(())
    }

    /// Puts these in place of a line's registrations.
    pub fn save_bindings(&mut self, line: &str, rows: &[BindingRow]) -> Result<(), StoreError> {
        let transaction = self.connection.transaction()?;
        transaction.prepare_cached("DELETE FROM binding WHERE line = ?1")?.execute([line])?;
        for (place, row) in rows.iter().enumerate() {
            transaction.prepare_cached("INSERT INTO binding VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?.execute(
                params![
                    line,
                    i64::try_from(place).unwrap_or(i64::MAX),
                    row.contact,
                    row.path.join("\n"),
                    row.local.to_string(),
                    row.peer.to_string(),
                    row.expires_at.timestamp_millis(),
                ],
            )?;
        }
        Ok(transaction.commit()?)
    }

    /// The registrations that have not run out, by line; forgets the others.
    pub fn bindings(&self, now: DateTime<Utc>) -> Result<BTreeMap<String, Vec<BindingRow>>, StoreError> {
        let over = now.timestamp_millis();
        self.connection.execute("DELETE FROM binding WHERE expires_at_ms <= ?1", [over])?;
        let mut statement = self.connection.prepare_cached(
            "SELECT line, contact, path, local, peer, expires_at_ms FROM binding ORDER BY line, place",
        )?;
        let mut found: BTreeMap<String, Vec<BindingRow>> = BTreeMap::new();
        for row in statement.query_map([], |row| Ok((row.get(0)?, read_binding(row)?)))? {
            let (line, binding) = row?;
            found.entry(line).or_default().extend(binding);
        }
        Ok(found)
    }

    pub fn words(&self) -> Result<BTreeMap<String, String>, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT key, value FROM word")?;
        let words = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(words.collect::<Result<_, _>>()?)
    }
}

/// Where the database of a data directory stands.
pub fn path(data: &Path) -> PathBuf {
    data.join("hulplijn.sqlite")
}

/// Makes the data directory and its messages folder, readable by the owner only.
pub fn create_folders(data: &Path) -> Result<(), StoreError> {
    let messages = data.join(MESSAGES);
    fs::create_dir_all(&messages).map_err(|e| StoreError::io(&messages, e))?;
    for folder in [data, &messages] {
        let mode = fs::Permissions::from_mode(0o700);
        fs::set_permissions(folder, mode).map_err(|e| StoreError::io(folder, e))?;
    }
    Ok(())
}

pub(super) fn state_word(state: MessageState) -> &'static str {
    match state {
        MessageState::New => "new",
        MessageState::Interrupted => "interrupted",
        MessageState::Done => "done",
    }
}

pub(super) fn state_of(word: &str) -> MessageState {
    match word {
        "done" => MessageState::Done,
        "interrupted" => MessageState::Interrupted,
        _ => MessageState::New,
    }
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > SCHEMA {
        return Err(StoreError::TooNew { found });
    }
    if found == SCHEMA {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS message (
             id TEXT PRIMARY KEY,
             called TEXT NOT NULL,
             taken_at_ms INTEGER NOT NULL,
             length_ms INTEGER NOT NULL,
             state TEXT NOT NULL CHECK (state IN ('new', 'interrupted', 'done')),
             callback TEXT,
             done_at_ms INTEGER
         ) STRICT;
         CREATE TABLE IF NOT EXISTS word (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
         CREATE TABLE IF NOT EXISTS binding (
             line TEXT NOT NULL,
             place INTEGER NOT NULL,
             contact TEXT NOT NULL,
             path TEXT NOT NULL,
             local TEXT NOT NULL,
             peer TEXT NOT NULL,
             expires_at_ms INTEGER NOT NULL,
             PRIMARY KEY (line, place)
         ) STRICT;",
    )?;
    transaction.pragma_update(None, "user_version", SCHEMA)?;
    Ok(transaction.commit()?)
}

fn read_row(row: &Row) -> rusqlite::Result<MessageRow> {
    Ok(MessageRow {
        id: row.get(0)?,
        called: row.get(1)?,
        taken_at: DateTime::from_timestamp_millis(row.get(2)?).unwrap_or_default(),
        length: Duration::from_millis(u64::try_from(row.get::<_, i64>(3)?).unwrap_or(0)),
        state: state_of(&row.get::<_, String>(4)?),
        callback: row.get(5)?,
    })
}

/// `None`: not as we write them.
fn read_binding(row: &Row) -> rusqlite::Result<Option<BindingRow>> {
    let (contact, path): (String, String) = (row.get(1)?, row.get(2)?);
    let (local, peer): (String, String) = (row.get(3)?, row.get(4)?);
    let expires_at = DateTime::from_timestamp_millis(row.get(5)?);
    let addresses = (local.parse().ok(), peer.parse().ok(), expires_at);
    let (Some(local), Some(peer), Some(expires_at)) = addresses else { return Ok(None) };
    let path = path.lines().map(str::to_owned).collect();
    Ok(Some(BindingRow { contact, path, local, peer, expires_at }))
}

/// SQLite gives its log files the mode of the database file, so that one is made first.
fn create_private(path: &Path) -> io::Result<()> {
    fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path).map(|_| ())
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|data| (data.dev(), data.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::tests::{Scratch, row};

    #[test]
    fn rows_and_words_come_back_as_they_were_written() {
        let scratch = Scratch::new();
        let database = Database::open(scratch.path()).expect("opens");
        let one = MessageRow { callback: Some("0470123456".to_owned()), ..row("aaaa") };
        database.save(&one).expect("saved");
        database.save(&one).expect("the same again is no fault");
        database.save_word("line/gent", "in").expect("saved");
        database.save_word("line/gent", "out").expect("saved");
        drop(database);
        let database = Database::open_existing(scratch.path()).expect("opens").expect("is there");
        assert!(database.list().expect("read") == [one.clone()]);
        assert!(database.get("aaaa").expect("read") == Some(one));
        assert_eq!(database.words().expect("read"), BTreeMap::from([("line/gent".into(), "out".into())]));
    }

    #[test]
    fn registrations_come_back_until_they_run_out_and_replace_each_other() {
        let scratch = Scratch::new();
        let now = Utc::now();
        let row = |port: u16, seconds: i64| BindingRow {
            contact: format!("sip:anna@192.0.2.1:{port}"),
            path: vec!["<sip:p1;lr>".to_owned(), "<sip:p2;lr>".to_owned()],
            local: "127.0.0.1:5060".parse().expect("address"),
            peer: "[2001:db8::1]:5070".parse().expect("address"),
            expires_at: DateTime::from_timestamp_millis(now.timestamp_millis()).expect("time")
                + chrono::Duration::seconds(seconds),
        };
        let mut database = Database::open(scratch.path()).expect("opens");
        database.save_bindings("anna", &[row(1, 60), row(2, 60)]).expect("saved");
        database.save_bindings("anna", &[row(2, 60), row(3, -1)]).expect("saved");
        database.save_bindings("bert", &[row(4, 60)]).expect("saved");
        database.save_bindings("bert", &[]).expect("saved");
        drop(database);
        let database = Database::open(scratch.path()).expect("opens");
        let found = database.bindings(now).expect("read");
        assert!(found == BTreeMap::from([("anna".to_owned(), vec![row(2, 60)])]));
        assert!(database.bindings(now + chrono::Duration::seconds(61)).expect("read").is_empty());
    }

    #[test]
    fn a_database_of_the_first_version_gains_the_registrations() {
        let scratch = Scratch::new();
        let database = Database::open(scratch.path()).expect("opens");
        database.save_word("line/gent", "in").expect("saved");
        database.connection.execute("DROP TABLE binding", []).expect("dropped");
        database.connection.pragma_update(None, "user_version", 1).expect("written");
        drop(database);
        let mut database = Database::open(scratch.path()).expect("opens");
        database.save_bindings("anna", &[]).expect("saved");
        assert_eq!(database.words().expect("read").len(), 1);
    }

    #[test]
    fn done_stays_done_and_a_deleted_number_leaves_no_trace() {
        let scratch = Scratch::new();
        let database = Database::open(scratch.path()).expect("opens");
        database.save(&MessageRow { callback: Some("0470999888".to_owned()), ..row("bbbb") }).expect("saved");
        let before = Utc::now();
        assert!(database.set_done("bbbb", before).expect("written"));
        database.save(&row("bbbb")).expect("a late repetition");
        assert_eq!(database.get("bbbb").expect("read").map(|r| r.state), Some(MessageState::Done));
        assert!(database.done_before(before).expect("read").is_empty());
        assert_eq!(database.done_before(before + chrono::Duration::seconds(1)).expect("read"), ["bbbb"]);
        assert!(database.delete("bbbb").expect("written") && !database.delete("bbbb").expect("written"));
        for file in fs::read_dir(scratch.path()).expect("folder").flatten() {
            let bytes = fs::read(file.path()).unwrap_or_default();
            assert!(!bytes.windows(10).any(|w| w == b"0470999888"), "{:?}", file.file_name());
        }
    }

    #[test]
    fn files_are_private_and_a_later_schema_is_refused() {
        let scratch = Scratch::new();
        create_folders(scratch.path()).expect("made");
        let database = Database::open(scratch.path()).expect("opens");
        database.save(&row("cccc")).expect("saved");
        for file in fs::read_dir(scratch.path()).expect("folder").flatten() {
            let mode = file.metadata().expect("there").permissions().mode() & 0o777;
            let wanted = if file.path().is_dir() { 0o700 } else { 0o600 };
            assert_eq!(mode, wanted, "{:?}", file.file_name());
        }
        database.connection.pragma_update(None, "user_version", 99).expect("written");
        drop(database);
        assert!(matches!(Database::open(scratch.path()), Err(StoreError::TooNew { found: 99 })));
    }
}
