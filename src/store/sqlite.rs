//! The store's thread. Nothing that it is asked is lost while its disk lives: what the database
//! refuses is spooled beside the recording and tried again.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;

use super::database::{Database, StoreError, create_folders};
use super::request::{BindingRow, MessageRow, StoreReply, StoreRequest};
use super::{recovery, spool};
use crate::base::bounded::Full;
use crate::base::time::Now;

/// Requests that may wait for the disk; a further one comes back to the sender.
const REQUESTS: usize = 1024;
/// Replies that may wait for the switch; then the thread waits.
const REPLIES: usize = 1024;
/// Rows held in memory when even the spool refuses. A further one is given up; its recording is
/// found at the next start.
const HELD: usize = 1000;
/// Time to the first new attempt at a database that refused; it doubles up to the longest.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// The store as the switch's driver holds it.
pub struct Store {
    requests: SyncSender<StoreRequest>,
    thread: JoinHandle<()>,
    healthy: Arc<AtomicBool>,
    words: BTreeMap<String, String>,
    bindings: BTreeMap<String, Vec<BindingRow>>,
    recovered: Vec<String>,
}

impl Store {
    /// Opens the store of a data directory and puts right what a crash left. A database that refuses is
    /// no error here: the store then spools, and `healthy` says so.
    pub fn open(data: &Path) -> Result<(Self, mpsc::Receiver<StoreReply>), StoreError> {
        Self::open_with(data, FIRST_BACKOFF)
    }

    fn open_with(data: &Path, backoff: Duration) -> Result<(Self, mpsc::Receiver<StoreReply>), StoreError> {
        let mut worker = Worker::open(data, backoff)?;
        let (words, bindings) = (worker.load_words(), worker.load_bindings());
        let recovered = std::mem::take(&mut worker.recovered);
        let healthy = Arc::clone(&worker.healthy);
        let (requests, inbox) = sync_channel(REQUESTS);
        let (outbox, replies) = mpsc::channel(REPLIES);
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || worker.run(&inbox, &outbox))
            .map_err(|error| StoreError::io(data, error))?;
        Ok((Self { requests, thread, healthy, words, bindings, recovered }, replies))
    }

    /// Hands over a request without waiting. It comes back when the store can't keep up.
    pub fn send(&self, request: StoreRequest) -> Result<(), Full<StoreRequest>> {
        self.requests.try_send(request).map_err(|error| match error {
            TrySendError::Full(request) | TrySendError::Disconnected(request) => Full(request),
        })
    }

    /// Whether everything that was asked is in the database.
    pub fn healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed) && !self.thread.is_finished()
    }

    /// The words that an earlier run saved, as they were at open.
    pub fn words(&self) -> &BTreeMap<String, String> {
        &self.words
    }

    /// The registrations that an earlier run saved and that have not run out, as they were at open.
    pub fn bindings(&self) -> &BTreeMap<String, Vec<BindingRow>> {
        &self.bindings
    }

    /// Messages that a crash had cut off and that were put right at open.
    pub fn recovered(&self) -> &[String] {
        &self.recovered
    }

    /// Waits until everything handed over is written. The receiver of replies must be read or dropped.
    pub fn close(self) {
        drop(self.requests);
        // The thread's own panic has been reported by the panic hook.
        let _ = self.thread.join();
    }
}

/// Where a row waits for the database.
enum Waiting {
    /// In its file beside the recording.
    Spooled,
    /// In memory: the disk takes nothing.
    Held(MessageRow),
}

/// What the thread owns.
struct Worker {
    data: PathBuf,
    database: Option<Database>,
    waiting: BTreeMap<String, Waiting>,
    words: BTreeMap<String, String>,
    recovered: Vec<String>,
    healthy: Arc<AtomicBool>,
    first_backoff: Duration,
    backoff: Duration,
    /// Locked as long as the thread lives: a second switch would take our recordings for left ones.
    _lock: fs::File,
}

impl Worker {
    fn open(data: &Path, backoff: Duration) -> Result<Self, StoreError> {
        create_folders(data)?;
        let lock = lock(data)?;
        let database = match Database::open(data) {
            Ok(database) => Some(database),
            Err(error @ StoreError::TooNew { .. }) => return Err(error),
            Err(error) => {
                report(&error);
                None
            }
        };
        let mut worker = Self {
            data: data.to_owned(),
            healthy: Arc::new(AtomicBool::new(database.is_some())),
            database,
            waiting: BTreeMap::new(),
            words: BTreeMap::new(),
            recovered: Vec::new(),
            first_backoff: backoff,
            backoff,
            _lock: lock,
        };
        worker.put_right();
        Ok(worker)
    }

    /// Spooled rows first, so that the row of an interrupted recording says so in the end.
    fn put_right(&mut self) {
        self.waiting = spool::ids(&self.data).into_iter().map(|id| (id, Waiting::Spooled)).collect();
        let mut found = recovery::repair_all(&self.data);
        self.retry();
        if let Some(database) = &self.database {
            let known = |id: &str| {
                self.waiting.contains_key(id)
                    || !matches!(database.get(id), Ok(None))
                    || found.iter().any(|f| f.id == id)
            };
            let orphans = recovery::orphans(&self.data, known);
            found.extend(orphans);
        }
        for row in found {
            self.recovered.push(row.id.clone());
            self.save(row);
        }
        self.note_health();
    }

    fn load_words(&self) -> BTreeMap<String, String> {
        self.database.as_ref().and_then(|database| database.words().ok()).unwrap_or_default()
    }

    fn load_bindings(&self) -> BTreeMap<String, Vec<BindingRow>> {
        let now = Now::read().utc;
        self.database.as_ref().and_then(|database| database.bindings(now).ok()).unwrap_or_default()
    }

    fn run(mut self, inbox: &Receiver<StoreRequest>, outbox: &mpsc::Sender<StoreReply>) {
        loop {
            let patience = if self.is_behind() { self.backoff } else { Duration::MAX };
            let replies = match inbox.recv_timeout(patience) {
                Ok(request) => self.handle(request),
                Err(RecvTimeoutError::Timeout) => self.retry(),
                Err(RecvTimeoutError::Disconnected) => {
                    self.retry();
                    return;
                }
            };
            for reply in replies {
                // A switch that hears no replies any more is going down; its rows are still written.
                let _ = outbox.blocking_send(reply);
            }
        }
    }

    fn handle(&mut self, request: StoreRequest) -> Vec<StoreReply> {
        let mut replies = Vec::new();
        let written = match request {
            StoreRequest::SaveMessage(row) => {
                let id = row.id.clone();
                let written = self.save(row);
                replies.push(if written { StoreReply::Saved { id } } else { StoreReply::Failed { id } });
                written
            }
            StoreRequest::SaveWord { key, value } => {
                let result = self.write(|database| database.save_word(&key, &value));
                if result {
                    self.words.remove(&key)
                } else {
                    self.words.insert(key, value)
                };
                result
            }
            StoreRequest::SaveBindings { line, rows } => {
                self.write(|database| database.save_bindings(&line, &rows))
            }
        };
        if written && self.is_behind() {
            replies.extend(self.retry());
        }
        self.note_health();
        replies
    }

    /// Writes a message, or keeps it for later; tells whether it is in the database.
    fn save(&mut self, row: MessageRow) -> bool {
        if self.write(|database| database.save(&row)) {
            // A row of an earlier failure is out of date now.
            self.forget(&row.id);
            return true;
        }
        match spool::write(&self.data, &row) {
            Ok(()) => {
                self.waiting.insert(row.id, Waiting::Spooled);
            }
            Err(error) => {
                report(&StoreError::io(&self.data, error));
                if self.waiting.len() < HELD || self.waiting.contains_key(&row.id) {
                    self.waiting.insert(row.id.clone(), Waiting::Held(row));
                }
            }
        }
        false
    }

    /// Tries everything that waits; stops at the first refusal and waits twice as long.
    fn retry(&mut self) -> Vec<StoreReply> {
        let mut replies = Vec::new();
        for (key, value) in self.words.clone() {
            if !self.write(|database| database.save_word(&key, &value)) {
                return self.refused(replies);
            }
            self.words.remove(&key);
        }
        for id in self.waiting.keys().cloned().collect::<Vec<_>>() {
            match self.waiting_row(&id) {
                Ok(None) => {
                    self.waiting.remove(&id);
                }
                Ok(Some(row)) => {
                    if !self.save(row) {
                        return self.refused(replies);
                    }
                    replies.push(StoreReply::Saved { id });
                }
                Err(error) => {
                    report(&StoreError::io(&self.data, error));
                    return self.refused(replies);
                }
            }
        }
        self.backoff = self.first_backoff;
        self.note_health();
        replies
    }

    fn refused(&mut self, replies: Vec<StoreReply>) -> Vec<StoreReply> {
        self.backoff = (self.backoff * 2).min(LONGEST_BACKOFF);
        self.note_health();
        replies
    }

    /// The row that waits under this id; `None` when the operator has deleted it or it can't be read as
    /// a row. That file is set aside, and its recording is found at the next start.
    fn waiting_row(&self, id: &str) -> io::Result<Option<MessageRow>> {
        if let Some(Waiting::Held(row)) = self.waiting.get(id) {
            return Ok(Some(row.clone()));
        }
        match spool::read(&self.data, id) {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
            {
                let path = spool::path(&self.data, id);
                tracing::error!(event = "spooled_row_unreadable");
                fs::rename(&path, path.with_extension("json-unreadable"))?;
                Ok(None)
            }
            result => result,
        }
    }

    /// Removes a row's waiting copy once the database has it.
    fn forget(&mut self, id: &str) {
        if self.waiting.remove(id).is_some() {
            if let Err(error) = spool::remove(&self.data, id) {
                report(&StoreError::io(&self.data, error));
            }
        }
    }

    /// Does one write, on a database opened anew when the file is gone or refused before.
    fn write(&mut self, job: impl FnOnce(&mut Database) -> Result<(), StoreError>) -> bool {
        let result = self.database_in_place().and_then(job);
        if let Err(error) = &result {
            report(error);
            self.database = None;
        }
        result.is_ok()
    }

    fn database_in_place(&mut self) -> Result<&mut Database, StoreError> {
        let usable = self.database.take().filter(Database::is_in_place);
        let database = if let Some(database) = usable {
            database
        } else {
            create_folders(&self.data)?;
            Database::open(&self.data)?
        };
        Ok(self.database.insert(database))
    }

    /// A write that fails drops the database, so there is one exactly when the last write worked.
    fn note_health(&self) {
        self.healthy.store(self.database.is_some() && !self.is_behind(), Ordering::Relaxed);
    }

    fn is_behind(&self) -> bool {
        !self.waiting.is_empty() || !self.words.is_empty()
    }
}

/// Takes the data directory for this process; the system gives it back when the process ends.
fn lock(data: &Path) -> Result<fs::File, StoreError> {
    let path = data.join("lock");
    let mut options = fs::OpenOptions::new();
    let file = options.create(true).append(true).mode(0o600).open(&path);
    let file = file.map_err(|error| StoreError::io(&path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(StoreError::InUse { data: data.to_owned() }),
        Err(fs::TryLockError::Error(error)) => Err(StoreError::io(&path, error)),
    }
}

/// Logs what refused, by its kind only: no text of the database, which could quote a value.
fn report(error: &StoreError) {
    match error {
        StoreError::Io { error, .. } => tracing::error!(event = "store_refused", kind = ?error.kind()),
        StoreError::Database(error) => {
            tracing::error!(event = "store_refused", code = ?error.sqlite_error_code());
        }
        StoreError::TooNew { found } => tracing::error!(event = "store_refused", version = found),
        StoreError::NoSuchMessage(_) | StoreError::InUse { .. } => tracing::error!(event = "store_refused"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::base::id::Rng;
    use crate::store::database;
    use crate::store::messages::Messages;
    use crate::store::request::{MESSAGES, MessageState, wav_path};

    /// A folder of its own for one test, removed at its end.
    pub struct Scratch(PathBuf);

    impl Scratch {
        pub fn new() -> Self {
            let mut seed = [0; 32];
            io::Read::read_exact(&mut fs::File::open("/dev/urandom").expect("a system"), &mut seed)
                .expect("random bytes");
            let path = std::env::temp_dir().join(format!("hulplijn-{}", Rng::from_seed(seed).token(16)));
            fs::create_dir(&path).expect("made");
            Self(path)
        }

        pub fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    pub fn row(id: &str) -> MessageRow {
        MessageRow {
            id: id.to_owned(),
            called: "1712".to_owned(),
            taken_at: chrono::DateTime::from_timestamp_millis(1_790_000_000_123).expect("a time"),
            length: Duration::from_millis(12_340),
            state: MessageState::New,
            callback: None,
        }
    }

    /// Puts a folder where the database should be, so that nobody, not even root, can open it.
    fn block(scratch: &Scratch) {
        for ending in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(scratch.path().join(format!("hulplijn.sqlite{ending}")));
        }
        fs::create_dir(database::path(scratch.path())).expect("blocked");
    }

    fn unblock(scratch: &Scratch) {
        fs::remove_dir(database::path(scratch.path())).expect("free again");
    }

    fn saved(id: &str) -> StoreReply {
        StoreReply::Saved { id: id.to_owned() }
    }

    fn failed(id: &str) -> StoreReply {
        StoreReply::Failed { id: id.to_owned() }
    }

    #[test]
    fn a_message_is_saved_and_a_word_survives_a_restart() {
        let scratch = Scratch::new();
        let (store, mut replies) = Store::open(scratch.path()).expect("opens");
        assert!(store.send(StoreRequest::SaveMessage(row("aaa2"))).is_ok());
        let word = StoreRequest::SaveWord { key: "line/gent".to_owned(), value: "in".to_owned() };
        assert!(store.send(word).is_ok());
        assert_eq!(replies.blocking_recv(), Some(saved("aaa2")));
        assert!(store.healthy());
        store.close();
        let (store, _replies) = Store::open(scratch.path()).expect("opens");
        assert!(matches!(Store::open(scratch.path()), Err(StoreError::InUse { .. })), "one switch at a time");
        assert_eq!(store.words().get("line/gent").map(String::as_str), Some("in"));
        assert!(store.recovered().is_empty(), "a row without its file is not for recovery");
        store.close();
    }

    #[test]
    fn a_database_that_goes_away_costs_no_message() {
        let scratch = Scratch::new();
        let (store, mut replies) = Store::open_with(scratch.path(), Duration::from_millis(1)).expect("opens");
        assert!(store.send(StoreRequest::SaveMessage(row("aaa2"))).is_ok());
        assert_eq!(replies.blocking_recv(), Some(saved("aaa2")));
        block(&scratch);
        assert!(store.send(StoreRequest::SaveMessage(row("aaa3"))).is_ok());
        assert_eq!(replies.blocking_recv(), Some(failed("aaa3")));
        assert!(!store.healthy() && spool::path(scratch.path(), "aaa3").exists());
        unblock(&scratch);
        assert_eq!(replies.blocking_recv(), Some(saved("aaa3")), "taken in by a later attempt");
        store.close();
        assert!(spool::ids(scratch.path()).is_empty());
        let rows = Messages::open(scratch.path()).list().expect("read");
        assert!(rows == [row("aaa3")]);
    }

    #[test]
    fn each_refusal_doubles_the_wait_and_a_success_takes_all() {
        let scratch = Scratch::new();
        let mut worker = Worker::open(scratch.path(), Duration::from_secs(1)).expect("opens");
        block(&scratch);
        for id in ["aaa2", "aaa3"] {
            assert_eq!(worker.handle(StoreRequest::SaveMessage(row(id))), [failed(id)]);
        }
        let word = |value: &str| StoreRequest::SaveWord { key: "k".to_owned(), value: value.to_owned() };
        assert!(!worker.healthy.load(Ordering::Relaxed));
        assert!(worker.handle(word("old")).is_empty() && worker.handle(word("new")).is_empty());
        let waits: Vec<u64> = (0..8)
            .map(|_| {
                assert!(worker.retry().is_empty());
                worker.backoff.as_secs()
            })
            .collect();
        assert_eq!(waits, [2, 4, 8, 16, 32, 60, 60, 60]);
        unblock(&scratch);
        let replies = worker.handle(StoreRequest::SaveMessage(row("aaa4")));
        assert_eq!(replies, [saved("aaa4"), saved("aaa2"), saved("aaa3")]);
        assert!(!worker.is_behind() && worker.healthy.load(Ordering::Relaxed));
        assert_eq!(worker.load_words().get("k").map(String::as_str), Some("new"));
        assert_eq!(worker.backoff, Duration::from_secs(1));
        block(&scratch);
        worker.handle(word("newer"));
        unblock(&scratch);
        assert!(worker.retry().is_empty() && worker.healthy.load(Ordering::Relaxed), "words alone");
    }

    #[test]
    fn a_broken_database_at_start_is_survived_and_the_spool_taken_in_later() {
        let scratch = Scratch::new();
        fs::write(database::path(scratch.path()), b"this is no database, it is a text of some length")
            .expect("written");
        create_folders(scratch.path()).expect("made");
        let half = wav_path(scratch.path(), "bbb2").with_extension("wav.part");
        fs::write(&half, vec![1; 16_044]).expect("written");
        let worker = Worker::open(scratch.path(), Duration::from_secs(1)).expect("opens all the same");
        assert!(!worker.healthy.load(Ordering::Relaxed) && worker.recovered == ["bbb2"]);
        drop(worker);
        fs::remove_file(database::path(scratch.path())).expect("removed by the operator");
        let worker = Worker::open(scratch.path(), Duration::from_secs(1)).expect("opens");
        assert!(worker.healthy.load(Ordering::Relaxed) && spool::ids(scratch.path()).is_empty());
        let found = worker.database.as_ref().and_then(|d| d.get("bbb2").ok().flatten());
        assert!(found.is_some_and(|row| {
            row.state == MessageState::Interrupted && row.length == Duration::from_secs(1)
        }));
    }

    #[test]
    fn a_disk_that_takes_nothing_keeps_the_row_in_memory() {
        let scratch = Scratch::new();
        let mut worker = Worker::open(scratch.path(), Duration::from_secs(1)).expect("opens");
        block(&scratch);
        let messages = scratch.path().join(MESSAGES);
        fs::remove_dir(&messages).expect("empty");
        fs::write(&messages, b"a file in the way").expect("written");
        assert_eq!(worker.handle(StoreRequest::SaveMessage(row("ccc2"))), [failed("ccc2")]);
        assert!(matches!(worker.waiting.get("ccc2"), Some(Waiting::Held(_))));
        fs::remove_file(&messages).expect("removed");
        unblock(&scratch);
        assert_eq!(worker.retry(), [saved("ccc2")]);
    }

    #[test]
    fn what_the_operator_deletes_meanwhile_does_not_come_back() {
        let scratch = Scratch::new();
        let mut worker = Worker::open(scratch.path(), Duration::from_secs(1)).expect("opens");
        block(&scratch);
        worker.handle(StoreRequest::SaveMessage(row("ddd2")));
        worker.handle(StoreRequest::SaveMessage(row("ddd3")));
        spool::remove(scratch.path(), "ddd2").expect("removed");
        fs::write(spool::path(scratch.path(), "ddd3"), b"{").expect("damaged");
        unblock(&scratch);
        assert!(worker.retry().is_empty());
        assert!(!worker.is_behind());
        assert!(worker.database_in_place().is_ok_and(|d| d.list().is_ok_and(|rows| rows.is_empty())));
    }

    #[test]
    fn a_whole_recording_without_a_row_is_found() {
        let scratch = Scratch::new();
        create_folders(scratch.path()).expect("made");
        for id in ["eee2", "eee3"] {
            fs::write(wav_path(scratch.path(), id), vec![0; 32_044]).expect("written");
        }
        let worker = Worker::open(scratch.path(), Duration::from_secs(1)).expect("opens");
        assert_eq!(worker.recovered, ["eee2", "eee3"]);
    }

    #[test]
    fn a_lock_held_by_someone_else_is_a_refusal_and_not_a_loss() {
        let scratch = Scratch::new();
        let mut worker = Worker::open(scratch.path(), Duration::from_secs(1)).expect("opens");
        let other = rusqlite::Connection::open(database::path(scratch.path())).expect("opens");
        other.execute_batch("BEGIN IMMEDIATE").expect("locked");
        let path = database::path(scratch.path());
        assert!(path.exists());
        assert_eq!(worker.handle(StoreRequest::SaveMessage(row("fff2"))), [failed("fff2")]);
        other.execute_batch("ROLLBACK").expect("free");
        assert_eq!(worker.retry(), [saved("fff2")]);
    }
}
