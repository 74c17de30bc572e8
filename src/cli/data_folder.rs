//! Who runs this program, and whether they may write the data folder: for one message that says what to do.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::store::database::StoreError;

/// Files that the store writes, where they are already there.
const WRITTEN: [&str; 5] =
    ["messages", "lock", "hulplijn.sqlite", "hulplijn.sqlite-wal", "hulplijn.sqlite-shm"];

/// The user who runs this program, by name where the machine knows one.
pub fn user() -> String {
    name_of(rustix::process::geteuid().as_raw())
}

fn name_of(user: u32) -> String {
    let known = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = known.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(user)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("user number {user}"))
}

/// Why the program's user can't keep messages in this folder, as far as can be told without writing.
pub fn trouble(data: &Path) -> Option<String> {
    let data = &plain(data);
    let Some(there) = existing(data) else { return Some("the path leads nowhere".to_owned()) };
    if !there.is_dir() {
        return Some(format!("{} is no folder", there.display()));
    }
    if access(&there, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        return Some(format!("{} {}", there.display(), belongs(&there)));
    }
    if there != *data {
        // It will be made there.
        return None;
    }
    let user = rustix::process::geteuid();
    let foreign = fs::metadata(data).is_ok_and(|meta| meta.uid() != user.as_raw());
    if foreign && !user.is_root() {
        // Only its owner can keep others out of it.
        return Some(format!("{} {}", data.display(), belongs(data)));
    }
    let refuses = |path: &PathBuf| path.exists() && access(path, Access::WRITE_OK).is_err();
    let refusing = WRITTEN.iter().map(|name| data.join(name)).find(refuses)?;
    Some(format!("{} {}", refusing.display(), belongs(&refusing)))
}

/// Said when the switch starts and finds that no message can be left.
pub fn refused(data: &Path, error: &StoreError) -> String {
    format!(
        "{}, as whom the switch runs, can't write the data folder {} ({}): calls are answered, but no message can be \
         left; needed: {}, then a restart",
        user(),
        plain(data).display(),
        trouble(data).unwrap_or_else(|| error.to_string()),
        remedy(data)
    )
}

/// Said when the switch starts and its database can't be used, but recordings can be kept.
pub fn waits(data: &Path) -> String {
    let folder = plain(data);
    let folder = folder.display();
    match trouble(data) {
        Some(why) => format!(
            "{}, as whom the switch runs, can't use the database in {folder} ({why}): messages are kept beside their \
             recordings until it can; needed: {}",
            user(),
            remedy(data)
        ),
        None => format!(
            "the database in {folder} can't be used (`store_refused` in the log says why): messages are kept beside \
             their recordings until it can; needed: a good copy of hulplijn.sqlite"
        ),
    }
}

/// What there is of a path: the path itself, or the nearest folder above it.
fn existing(path: &Path) -> Option<PathBuf> {
    let above = |path: &&Path| path.as_os_str().is_empty() || fs::symlink_metadata(path).is_ok();
    let found = path.ancestors().find(above)?;
    Some(if found.as_os_str().is_empty() { ".".into() } else { found.to_owned() })
}

/// A path without the `..` of a configuration, as it can be typed anywhere.
fn plain(path: &Path) -> PathBuf {
    let plain = existing(path).and_then(|there| {
        let rest = path.strip_prefix(&there).unwrap_or(path);
        let there = fs::canonicalize(&there).ok()?;
        // Joined with nothing, a path would end in a slash.
        Some(if rest.as_os_str().is_empty() { there } else { there.join(rest) })
    });
    plain.unwrap_or_else(|| path.to_owned())
}

fn belongs(path: &Path) -> String {
    match fs::metadata(path) {
        Ok(meta) => format!("belongs to {}", name_of(meta.uid())),
        Err(_) => "can't be looked at".to_owned(),
    }
}

/// What makes the folder one that the program's user can write.
pub fn remedy(data: &Path) -> String {
    let (user, data) = (user(), plain(data));
    let data = data.display();
    format!("a folder that belongs to {user}: `sudo mkdir -p {data} && sudo chown -R {user} {data}`")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::store::sqlite::tests::Scratch;

    #[test]
    fn a_folder_that_can_be_written_or_made_is_no_trouble() {
        let scratch = Scratch::new();
        assert_eq!(trouble(scratch.path()), None);
        assert_eq!(trouble(&scratch.path().join("not/yet")), None);
    }

    #[test]
    fn a_file_in_the_way_and_a_folder_without_the_right_to_write_are_named() {
        let scratch = Scratch::new();
        let file = scratch.path().join("file");
        fs::write(&file, "").expect("written");
        for data in [file.clone(), file.join("data")] {
            assert_eq!(trouble(&data), Some(format!("{} is no folder", file.display())));
        }
        // Root may write everywhere.
        let closed = scratch.path().join("closed");
        fs::create_dir(&closed).expect("made");
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).expect("set");
        let found = trouble(&closed.join("data"));
        let root = rustix::process::geteuid().is_root();
        assert_eq!(found, (!root).then(|| format!("{} belongs to {}", closed.display(), user())));
    }

    #[test]
    fn a_user_has_a_name_or_at_least_a_number() {
        assert_eq!(name_of(0), "root");
        assert_eq!(name_of(u32::MAX - 7), format!("user number {}", u32::MAX - 7));
    }
}
