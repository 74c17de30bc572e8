//! The operator's side of the messages: usable while the switch runs, and also when the database is
//! out of order, because spooled rows are shown too.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use super::database::{Database, StoreError};
use super::request::{MessageRow, MessageState, is_id, wav_path};
use super::{recovery, spool};
use crate::base::time::Now;

/// The messages of one data directory.
pub struct Messages {
    data: PathBuf,
    /// `None` when no message was ever taken, or when the database refuses.
    database: Option<Database>,
    trouble: Option<StoreError>,
}

impl Messages {
    /// Opens what there is. A database that refuses leaves the spooled messages; `trouble` says why.
    pub fn open(data: &Path) -> Self {
        let (database, trouble) = match Database::open_existing(data) {
            Ok(database) => (database, None),
            Err(error) => (None, Some(error)),
        };
        Self { data: data.to_owned(), database, trouble }
    }

    /// Why the database can't be read, so that only spooled messages are known.
    pub fn trouble(&self) -> Option<&StoreError> {
        self.trouble.as_ref()
    }

    /// Whether no switch has ever kept anything here: no database, and no row that waits for one.
    pub fn is_nowhere(&self) -> bool {
        self.database.is_none() && self.trouble.is_none() && spool::ids(&self.data).is_empty()
    }

    /// All messages, oldest first.
    pub fn list(&self) -> Result<Vec<MessageRow>, StoreError> {
        let mut rows = self.database.as_ref().map_or(Ok(Vec::new()), Database::list)?;
        for id in spool::ids(&self.data) {
            if !rows.iter().any(|row| row.id == id) {
                rows.extend(spool::read(&self.data, &id).ok().flatten());
            }
        }
        rows.sort_by(|a, b| (a.taken_at, &a.id).cmp(&(b.taken_at, &b.id)));
        Ok(rows)
    }

    /// How many messages wait, and how many were handled; those that wait for the database are among them. Of a
    /// database that refuses nothing is counted: look at `trouble` first.
    pub fn count(&self) -> Result<(u32, u32), StoreError> {
        let (mut new, mut done) = self.database.as_ref().map_or(Ok((0, 0)), Database::count)?;
        for id in spool::ids(&self.data) {
            let known = self.database.as_ref().map_or(Ok(None), |database| database.get(&id))?.is_some();
            match spool::read(&self.data, &id).ok().flatten().filter(|_| !known).map(|row| row.state) {
                Some(MessageState::Done) => done += 1,
                Some(MessageState::New | MessageState::Interrupted) => new += 1,
                None => {}
            }
        }
        Ok((new, done))
    }

    pub fn get(&self, id: &str) -> Result<MessageRow, StoreError> {
        let missing = || StoreError::NoSuchMessage(id.to_owned());
        if !is_id(id) {
            return Err(missing());
        }
        let row = self.database.as_ref().map_or(Ok(None), |database| database.get(id))?;
        row.or_else(|| spool::read(&self.data, id).ok().flatten()).ok_or_else(missing)
    }

    /// Where the recording of a message stands, if it is there.
    pub fn recording(&self, id: &str) -> Option<PathBuf> {
        Some(wav_path(&self.data, id)).filter(|path| is_id(id) && path.exists())
    }

    /// Marks a message as handled.
    pub fn set_done(&self, id: &str) -> Result<(), StoreError> {
        let row = self.get(id)?;
        let in_database = self.database.as_ref().map_or(Ok(false), |d| d.set_done(id, Now::read().utc))?;
        if !in_database {
            let row = MessageRow { state: MessageState::Done, ..row };
            spool::write(&self.data, &row)
                .map_err(|error| StoreError::io(&spool::path(&self.data, id), error))?;
        }
        Ok(())
    }

    /// Deletes a message: the recording first, so that a crash between can't bring it back.
    pub fn delete(&self, id: &str) -> Result<(), StoreError> {
        if !is_id(id) {
            return Err(StoreError::NoSuchMessage(id.to_owned()));
        }
        let files = recovery::remove_files(&self.data, id)
            .map_err(|error| StoreError::io(&wav_path(&self.data, id), error))?;
        let row = self.database.as_ref().map_or(Ok(false), |database| database.delete(id))?;
        if files || row { Ok(()) } else { Err(StoreError::NoSuchMessage(id.to_owned())) }
    }

    /// Deletes what was marked as handled before this time; gives how many.
    pub fn delete_done_before(&self, time: DateTime<Utc>) -> Result<usize, StoreError> {
        let ids = self.database.as_ref().map_or(Ok(Vec::new()), |database| database.done_before(time))?;
        ids.iter().try_for_each(|id| self.delete(id))?;
        Ok(ids.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::database::create_folders;
    use crate::store::sqlite::tests::{Scratch, row};

    fn taken(scratch: &Scratch, id: &str) -> Database {
        create_folders(scratch.path()).expect("made");
        std::fs::write(wav_path(scratch.path(), id), b"sound").expect("written");
        let database = Database::open(scratch.path()).expect("opens");
        database.save(&row(id)).expect("saved");
        database
    }

    #[test]
    fn an_empty_directory_has_no_messages() {
        let scratch = Scratch::new();
        let messages = Messages::open(scratch.path());
        assert!(messages.list().expect("read").is_empty());
        assert_eq!(messages.count().expect("counted"), (0, 0));
        assert!(matches!(messages.get("abcd"), Err(StoreError::NoSuchMessage(_))));
    }

    #[test]
    fn a_message_is_listed_done_and_deleted_while_the_switch_has_the_database_open() {
        let scratch = Scratch::new();
        let switch = taken(&scratch, "aaa2");
        let messages = Messages::open(scratch.path());
        assert!(messages.recording("aaa2").is_some());
        assert_eq!(messages.count().expect("counted"), (1, 0));
        messages.set_done("aaa2").expect("marked");
        assert_eq!(messages.count().expect("counted"), (0, 1));
        assert_eq!(switch.get("aaa2").expect("read").map(|r| r.state), Some(MessageState::Done));
        messages.delete("aaa2").expect("deleted");
        assert!(messages.recording("aaa2").is_none() && switch.list().expect("read").is_empty());
        assert!(messages.delete("aaa2").is_err());
        assert!(messages.delete("../hulplijn").is_err());
    }

    #[test]
    fn a_spooled_row_is_shown_and_can_be_marked_and_deleted() {
        let scratch = Scratch::new();
        let _switch = taken(&scratch, "bbb2");
        spool::write(scratch.path(), &row("bbb3")).expect("spooled");
        let messages = Messages::open(scratch.path());
        assert_eq!(messages.list().expect("read").len(), 2);
        assert_eq!(messages.count().expect("counted"), (2, 0));
        messages.set_done("bbb3").expect("marked");
        assert_eq!(messages.count().expect("counted"), (1, 1));
        assert_eq!(messages.get("bbb3").expect("read").state, MessageState::Done);
        messages.delete("bbb3").expect("deleted");
        assert_eq!(messages.list().expect("read").len(), 1);
    }

    #[test]
    fn a_broken_database_leaves_the_spooled_messages() {
        let scratch = Scratch::new();
        create_folders(scratch.path()).expect("made");
        std::fs::create_dir(crate::store::database::path(scratch.path())).expect("in the way");
        spool::write(scratch.path(), &row("bbb4")).expect("spooled");
        let messages = Messages::open(scratch.path());
        assert!(messages.trouble().is_some());
        assert_eq!(messages.list().expect("read").len(), 1);
    }

    #[test]
    fn handled_messages_go_after_their_time() {
        let scratch = Scratch::new();
        let _switch = taken(&scratch, "ccc2");
        let messages = Messages::open(scratch.path());
        let later = Utc::now() + chrono::Duration::days(1);
        assert_eq!(messages.delete_done_before(later).expect("done"), 0, "only handled ones");
        messages.set_done("ccc2").expect("marked");
        assert_eq!(messages.delete_done_before(later).expect("done"), 1);
        assert!(messages.list().expect("read").is_empty());
    }
}
