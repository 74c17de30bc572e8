//! Rows that the database refused, each as a small file beside its recording, until it takes them.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::database::{state_of, state_word};
use super::request::{MESSAGES, MessageRow, is_id};

/// A spooled row is read back only below this size.
const MAX_BYTES: u64 = 16 * 1024;

/// A row as it stands in its file.
#[derive(Serialize, Deserialize)]
struct Written {
    called: String,
    taken_at: DateTime<Utc>,
    length_ms: u64,
    state: String,
    #[serde(default)]
    callback: Option<String>,
}

/// Where the spooled row of a message stands.
pub fn path(data: &Path, id: &str) -> PathBuf {
    data.join(MESSAGES).join(format!("{id}.json"))
}

/// Writes a row durably: the file appears whole or not at all.
pub fn write(data: &Path, row: &MessageRow) -> io::Result<()> {
    let written = Written {
        called: row.called.clone(),
        taken_at: row.taken_at,
        length_ms: u64::try_from(row.length.as_millis()).unwrap_or(u64::MAX),
        state: state_word(row.state).to_owned(),
        callback: row.callback.clone(),
    };
    let path = path(data, &row.id);
    let half = path.with_extension("json-half");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&half)?;
    file.write_all(&serde_json::to_vec(&written)?)?;
    file.sync_all()?;
    fs::rename(&half, &path)?;
    sync_folder(&path)
}

/// Reads a spooled row; `None` when there is none.
pub fn read(data: &Path, id: &str) -> io::Result<Option<MessageRow>> {
    let path = path(data, id);
    let bytes = match fs::metadata(&path) {
        Ok(meta) if meta.len() > MAX_BYTES => return Err(io::ErrorKind::InvalidData.into()),
        Ok(_) => fs::read(&path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let written: Written = serde_json::from_slice(&bytes)?;
    Ok(Some(MessageRow {
        id: id.to_owned(),
        called: written.called,
        taken_at: written.taken_at,
        length: Duration::from_millis(written.length_ms),
        state: state_of(&written.state),
        callback: written.callback,
    }))
}

/// Removes a spooled row; a row that is not there is no fault.
pub fn remove(data: &Path, id: &str) -> io::Result<()> {
    match fs::remove_file(path(data, id)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Ids of all spooled rows, in order.
pub fn ids(data: &Path) -> Vec<String> {
    stems(data, ".json")
}

/// Ids of the files in the messages folder with this ending, in order. Other names are not ours.
pub(super) fn stems(data: &Path, ending: &str) -> Vec<String> {
    let Ok(folder) = fs::read_dir(data.join(MESSAGES)) else {
        return Vec::new();
    };
    let stem = |name: String| name.strip_suffix(ending).filter(|id| is_id(id)).map(str::to_owned);
    let names = folder.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut ids: Vec<String> = names.filter_map(stem).collect();
    ids.sort();
    ids
}

/// A rename is durable only when its folder is synced.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
}
