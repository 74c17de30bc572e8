//! What a crash left behind: a recording without its ending gets a header that tells its real length,
//! its final name and a row that says it was interrupted.

use std::fs;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::request::{MESSAGES, MessageRow, MessageState, is_id, wav_path};
use super::spool;

/// Bytes a second of our recordings: 8 kHz, 16 bit, mono.
const BYTES_PER_SECOND: u64 = 16_000;
/// Length of the header that recordings begin with.
const HEADER: u64 = 44;
/// Endings of a recording that is not whole.
const HALF: [&str; 2] = [".wav.part", ".part"];

/// Repairs every recording that was left half. One without sound is removed. A file that can't be
/// repaired stays as it is for the next start.
pub fn repair_all(data: &Path) -> Vec<MessageRow> {
    let mut found = Vec::new();
    for ending in HALF {
        for id in spool::stems(data, ending) {
            let half = data.join(MESSAGES).join(format!("{id}{ending}"));
            match repair(data, &half, &id) {
                Ok(Some(row)) => found.push(row),
                Ok(None) => {}
                Err(error) => tracing::error!(event = "recording_not_repaired", kind = ?error.kind()),
            }
        }
    }
    found
}

/// Whole recordings that `known` says nothing of: the crash came between the file and its row.
pub fn orphans(data: &Path, known: impl Fn(&str) -> bool) -> Vec<MessageRow> {
    let ids = spool::stems(data, ".wav").into_iter().filter(|id| !known(id));
    ids.filter_map(|id| row_of(data, &wav_path(data, &id), &id).ok()).collect()
}

fn repair(data: &Path, half: &Path, id: &str) -> io::Result<Option<MessageRow>> {
    let whole = wav_path(data, id);
    if mend_header(half)? == 0 {
        fs::remove_file(half)?;
        return Ok(None);
    }
    if whole.try_exists()? {
        // A whole recording of that name is better than the half one.
        fs::remove_file(half)?;
        return Ok(None);
    }
    fs::set_permissions(half, fs::Permissions::from_mode(0o600))?;
    let row = row_of(data, half, id)?;
    fs::rename(half, &whole)?;
    spool::sync_folder(&whole)?;
    Ok(Some(row))
}

/// Makes the header of a recording tell the length that the file really has; gives the bytes of sound.
fn mend_header(path: &Path) -> io::Result<u64> {
    let mut file = fs::OpenOptions::new().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    let mut head = Vec::new();
    (&mut file).take(256).read_to_end(&mut head)?;
    let start = sound_start(&head);
    let sound = length.saturating_sub(start.unwrap_or(HEADER)) & !1;
    if sound == 0 {
        return Ok(0);
    }
    let size = u32::try_from(sound).map_err(|_| io::ErrorKind::FileTooLarge)?;
    file.set_len(start.unwrap_or(HEADER) + sound)?;
    if let Some(start) = start {
        write_at(&mut file, 4, (start as u32 - 8).saturating_add(size))?;
        write_at(&mut file, start - 4, size)?;
    } else {
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&header(size))?;
    }
    file.sync_all()?;
    Ok(sound)
}

/// Where the sound begins, when the header is readable up to its `data` chunk.
fn sound_start(head: &[u8]) -> Option<u64> {
    if head.get(..4)? != b"RIFF" || head.get(8..12)? != b"WAVE" {
        return None;
    }
    let mut at = 12;
    loop {
        let name = head.get(at..at + 4)?;
        if name == b"data" {
            return head.get(at + 4..at + 8).map(|_| at as u64 + 8);
        }
        let size = head.get(at + 4..at + 8)?;
        let size = u32::from_le_bytes(size.try_into().ok()?) as usize;
        at = at.checked_add(8)?.checked_add(size)?.checked_add(size & 1)?;
    }
}

/// A header for 8 kHz, 16 bit, mono and this many bytes of sound.
fn header(sound: u32) -> Vec<u8> {
    let mut bytes = b"RIFF".to_vec();
    bytes.extend(sound.saturating_add(36).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16u32.to_le_bytes());
    // PCM, one channel.
    bytes.extend([1, 0, 1, 0]);
    bytes.extend(8000u32.to_le_bytes());
    bytes.extend((BYTES_PER_SECOND as u32).to_le_bytes());
    // Two bytes a frame, 16 bits.
    bytes.extend([2, 0, 16, 0]);
    bytes.extend(b"data");
    bytes.extend(sound.to_le_bytes());
    bytes
}

fn write_at(file: &mut fs::File, at: u64, value: u32) -> io::Result<()> {
    file.seek(SeekFrom::Start(at))?;
    file.write_all(&value.to_le_bytes())
}

/// The row of a recording that has none: what the spool says, else what the file itself tells.
fn row_of(data: &Path, file: &Path, id: &str) -> io::Result<MessageRow> {
    let meta = fs::metadata(file)?;
    let length = Duration::from_millis(meta.len().saturating_sub(HEADER) * 1000 / BYTES_PER_SECOND);
    if let Ok(Some(row)) = spool::read(data, id) {
        return Ok(MessageRow { length, state: MessageState::Interrupted, ..row });
    }
    let ended = DateTime::<Utc>::from(meta.modified()?);
    let taken_at = ended - chrono::Duration::from_std(length).unwrap_or_default();
    Ok(MessageRow {
        id: id.to_owned(),
        called: String::new(),
        taken_at,
        length,
        state: MessageState::Interrupted,
        callback: None,
    })
}

/// Removes what belongs to a message on the disk, the recording first.
pub(super) fn remove_files(data: &Path, id: &str) -> io::Result<bool> {
    if !is_id(id) {
        return Ok(false);
    }
    let mut there = false;
    let endings = ["wav", "wav.part", "part", "json"];
    let paths: Vec<PathBuf> =
        endings.iter().map(|ending| data.join(MESSAGES).join(format!("{id}.{ending}"))).collect();
    for path in paths {
        match fs::remove_file(&path) {
            Ok(()) => there = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(there)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::database::create_folders;
    use crate::store::sqlite::tests::{Scratch, row};

    /// A recording whose header still tells a length of nothing.
    fn half(seconds: usize) -> Vec<u8> {
        let mut bytes = header(0);
        bytes.extend(std::iter::repeat_n([0x34, 0x12], seconds * 8000).flatten());
        bytes
    }

    fn place(scratch: &Scratch, name: &str, bytes: &[u8]) {
        create_folders(scratch.path()).expect("made");
        fs::write(scratch.path().join(MESSAGES).join(name), bytes).expect("written");
    }

    #[test]
    fn a_recording_that_a_crash_cut_off_is_whole_again_and_says_so() {
        let scratch = Scratch::new();
        let mut odd = half(3);
        odd.push(7);
        place(&scratch, "abc2.wav.part", &odd);
        place(&scratch, "abc3.part", &half(1));
        let found = repair_all(scratch.path());
        let seen: Vec<_> = found.iter().map(|f| (f.id.as_str(), f.length.as_secs(), f.state)).collect();
        assert_eq!(seen, [("abc2", 3, MessageState::Interrupted), ("abc3", 1, MessageState::Interrupted)]);
        let wav = hound::WavReader::open(wav_path(scratch.path(), "abc2")).expect("readable");
        assert_eq!((wav.duration(), wav.spec().sample_rate), (24_000, 8000));
        assert!(spool::stems(scratch.path(), ".part").is_empty());
    }

    #[test]
    fn a_lost_header_is_written_anew_and_a_recording_without_sound_goes() {
        let scratch = Scratch::new();
        let mut zeros = half(2);
        zeros[..44].fill(0);
        place(&scratch, "def2.wav.part", &zeros);
        place(&scratch, "def3.wav.part", &header(0));
        place(&scratch, "def4.wav.part", b"");
        let found = repair_all(scratch.path());
        assert_eq!(found.iter().map(|f| f.id.as_str()).collect::<Vec<_>>(), ["def2"]);
        let wav = hound::WavReader::open(wav_path(scratch.path(), "def2")).expect("readable");
        assert_eq!(wav.duration(), 16_000);
        assert_eq!(fs::read_dir(scratch.path().join(MESSAGES)).expect("folder").count(), 1);
    }

    #[test]
    fn a_header_with_more_chunks_is_kept() {
        let mut bytes = b"RIFF\0\0\0\0WAVEfmt \x12\0\0\0".to_vec();
        bytes.extend([1, 0, 1, 0, 0x40, 0x1f, 0, 0, 0x80, 0x3e, 0, 0, 2, 0, 16, 0, 0, 0]);
        bytes.extend(b"data\0\0\0\0");
        bytes.extend([1; 1600]);
        let scratch = Scratch::new();
        place(&scratch, "ghi2.part", &bytes);
        assert_eq!(repair_all(scratch.path()).len(), 1);
        let wav = hound::WavReader::open(wav_path(scratch.path(), "ghi2")).expect("readable");
        assert_eq!(wav.duration(), 800);
    }

    #[test]
    fn names_that_are_not_ours_are_left_alone_and_the_spool_tells_the_number() {
        let scratch = Scratch::new();
        place(&scratch, "NOT ours.part", &half(1));
        place(&scratch, "jkl2.wav.part", &half(1));
        spool::write(scratch.path(), &row("jkl2")).expect("spooled");
        let found = repair_all(scratch.path());
        assert_eq!(found.len(), 1);
        assert_eq!(found.first().map(|f| f.called.as_str()), Some("1712"));
        assert!(scratch.path().join("messages/NOT ours.part").exists());
        let orphans = orphans(scratch.path(), |_| false);
        assert_eq!(orphans.len(), 1);
    }
}
