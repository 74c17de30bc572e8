//! The thread that owns the recordings' files. A file grows under `NAME.wav.part` with a header that is
//! put right at each flush, and gets its name when it is whole and on the disk; a crash leaves a `.part`
//! that plays to its last flush. A slow disk never stalls the media clock.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use hound::{SampleFormat, WavSpec, WavWriter};

use super::audio::{self, RATE};
use super::command::{Clip, MediaEvent, RecordEnd};
use super::level;
use super::record::Taken;
use crate::base::id::{LegKey, PlayKey, TakeKey};
use crate::base::quiet::quiet_debug;
use crate::base::time::Now;

/// A crash loses at most this much of a recording.
const FLUSH: Duration = Duration::from_secs(1);

/// What the media threads ask.
pub enum Job {
    Begin {
        leg: LegKey,
        take: TakeKey,
        path: PathBuf,
        normalise_lufs: Option<i32>,
    },
    Samples {
        take: TakeKey,
        samples: Vec<i16>,
    },
    End {
        take: TakeKey,
        taken: Taken,
    },
    /// The leg is gone without an end of its recording: what is there of it is kept.
    Break {
        leg: LegKey,
    },
    /// Read a recording to be played.
    Load {
        leg: LegKey,
        play: PlayKey,
        path: PathBuf,
    },
    /// Remove a recording.
    Discard {
        path: PathBuf,
    },
    /// An event that must follow those of the jobs before.
    Tell(MediaEvent),
}

/// What comes of it.
#[derive(Debug)]
pub enum Done {
    Event(MediaEvent),
    Loaded { leg: LegKey, play: PlayKey, clip: Option<Arc<Clip>> },
}

/// Works until the media threads are gone; then ends what is open. `tell` may wait.
pub fn run(jobs: &Receiver<Job>, mut tell: impl FnMut(Done)) {
    let mut takes = Takes::default();
    let mut flush_at = Now::read().at + FLUSH;
    loop {
        match jobs.recv_timeout(flush_at.saturating_duration_since(Now::read().at)) {
            Ok(job) => {
                if let Some(done) = takes.handle(job) {
                    tell(done);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        let now = Now::read().at;
        if now >= flush_at {
            flush_at = now + FLUSH;
            takes.flush_all().into_iter().for_each(&mut tell);
        }
    }
    for (_, take) in std::mem::take(&mut takes.open) {
        // Nobody is left to hear of it; the file is whole all the same.
        let _kept = take.finish();
    }
}

/// The name under which a recording grows.
pub fn part_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".part");
    name.into()
}

#[derive(Default)]
struct Takes {
    open: BTreeMap<TakeKey, Take>,
}

struct Take {
    leg: LegKey,
    path: PathBuf,
    file: File,
    wav: WavWriter<BufWriter<File>>,
    written: u64,
    unflushed: u64,
    normalise_lufs: Option<i32>,
}

impl Takes {
    fn handle(&mut self, job: Job) -> Option<Done> {
        match job {
            Job::Begin { leg, take, path, normalise_lufs } => {
                self.begin(take, Take::create(leg, path, normalise_lufs), leg)
            }
            Job::Samples { take, samples } => {
                let open = self.open.get_mut(&take)?;
                let result = open.write(&samples);
                self.check(take, result)
            }
            Job::End { take, taken } => self.open.remove(&take).map(|open| open.end(take, taken)),
            Job::Break { leg } => self.break_off(leg),
            Job::Load { leg, play, path } => {
                let samples = audio::read_wav(&path).ok();
                let clip = samples.map(|s| audio::clip("take", &s));
                Some(Done::Loaded { leg, play, clip })
            }
            Job::Discard { path } => {
                self.open.retain(|_, take| take.path != path);
                discard(&path);
                None
            }
            Job::Tell(event) => Some(Done::Event(event)),
        }
    }

    fn begin(&mut self, take: TakeKey, created: io::Result<Take>, leg: LegKey) -> Option<Done> {
        match created {
            Ok(open) => {
                self.open.insert(take, open);
                None
            }
            Err(_) => Some(recorded(leg, take, 0, RecordEnd::Disk, false)),
        }
    }

    /// A disk that refuses ends the recording; what it took before is kept.
    fn check(&mut self, take: TakeKey, result: io::Result<()>) -> Option<Done> {
        let open = result.is_err().then(|| self.open.remove(&take)).flatten()?;
        let leg = open.leg;
        let (kept, _) = open.finish();
        Some(recorded(leg, take, kept, RecordEnd::Disk, kept > 0))
    }

    fn break_off(&mut self, leg: LegKey) -> Option<Done> {
        let take = self.open.iter().find(|(_, open)| open.leg == leg).map(|(take, _)| *take)?;
        let (kept, _) = self.open.remove(&take)?.finish();
        Some(recorded(leg, take, kept, RecordEnd::Fault, kept > 0))
    }

    fn flush_all(&mut self) -> Vec<Done> {
        let results: Vec<(TakeKey, io::Result<()>)> =
            self.open.iter_mut().map(|(key, take)| (*key, take.flush())).collect();
        results.into_iter().filter_map(|(key, result)| self.check(key, result)).collect()
    }
}

impl Take {
    fn create(leg: LegKey, path: PathBuf, normalise_lufs: Option<i32>) -> io::Result<Self> {
        let spec =
            WavSpec { channels: 1, sample_rate: RATE, bits_per_sample: 16, sample_format: SampleFormat::Int };
        // What a caller said is for the switch's user alone, also where the directory is copied to.
        let file =
            File::options().write(true).create(true).truncate(true).mode(0o600).open(part_of(&path))?;
        let wav = WavWriter::new(BufWriter::new(file.try_clone()?), spec).map_err(as_io)?;
        Ok(Self { leg, path, file, wav, written: 0, unflushed: 0, normalise_lufs })
    }

    fn write(&mut self, samples: &[i16]) -> io::Result<()> {
        for sample in samples {
            self.wav.write_sample(*sample).map_err(as_io)?;
        }
        self.unflushed += samples.len() as u64;
        Ok(())
    }

    /// Puts the header right and gives everything to the operating system.
    fn flush(&mut self) -> io::Result<()> {
        if self.unflushed > 0 {
            self.wav.flush().map_err(as_io)?;
            self.written += self.unflushed;
            self.unflushed = 0;
        }
        Ok(())
    }

    fn end(self, take: TakeKey, taken: Taken) -> Done {
        let leg = self.leg;
        let (kept, whole) = self.finish();
        recorded(leg, take, kept, if whole { taken.end } else { RecordEnd::Disk }, taken.voice)
    }

    /// The samples that are on the disk under the final name, and whether they are all.
    fn finish(mut self) -> (u64, bool) {
        let mut whole = self.flush().is_ok();
        let Self { wav, file, path, written, normalise_lufs, .. } = self;
        // After a refused write the header stands at the last flush.
        drop(wav);
        let part = part_of(&path);
        if !whole && written == 0 {
            // Not even the beginning is there; if it can't be removed, the next start will find it.
            let _removed = fs::remove_file(part);
            return (0, false);
        }
        whole &= file.sync_all().is_ok();
        if fs::rename(&part, &path).is_err() {
            return (0, false);
        }
        // A bare name lies in the current directory.
        let directory = path.parent().map(|d| if d.as_os_str().is_empty() { Path::new(".") } else { d });
        let directory = directory.map_or(Ok(()), |d| File::open(d)?.sync_all());
        whole &= directory.is_ok();
        if let Some(lufs) = normalise_lufs.filter(|_| whole) {
            // Where it fails, the message is kept as it was spoken.
            let _changed = level::normalise(&path, lufs);
        }
        (written, whole)
    }
}

/// Removes a recording that the caller did not want to keep.
fn discard(path: &Path) {
    for path in [path.to_owned(), part_of(path)] {
        // It may never have been there.
        let _removed = fs::remove_file(path);
    }
}

fn recorded(leg: LegKey, take: TakeKey, samples: u64, end: RecordEnd, voice: bool) -> Done {
    let length = Duration::from_micros(samples * 125);
    Done::Event(MediaEvent::Recorded { leg, take, length, end, voice })
}

pub fn as_io(error: hound::Error) -> io::Error {
    match error {
        hound::Error::IoError(error) => error,
        other => io::Error::other(other),
    }
}

quiet_debug!(Job => "Job");

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("hulplijn-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("made");
        path
    }

    fn taken(end: RecordEnd, samples: u64) -> Taken {
        Taken { end, samples, voice: true }
    }

    fn begin(takes: &mut Takes, take: u64, path: &Path) -> Option<Done> {
        takes.handle(Job::Begin {
            leg: LegKey(1),
            take: TakeKey(take),
            path: path.to_owned(),
            normalise_lufs: None,
        })
    }

    fn event(done: Option<Done>) -> MediaEvent {
        match done {
            Some(Done::Event(event)) => event,
            other => panic!("no event: {other:?}"),
        }
    }

    fn recorded_event(take: u64, millis: u64, end: RecordEnd, voice: bool) -> MediaEvent {
        let length = Duration::from_millis(millis);
        MediaEvent::Recorded { leg: LegKey(1), take: TakeKey(take), length, end, voice }
    }

    #[test]
    fn a_file_appears_whole_under_its_name_and_a_crash_leaves_a_part_that_plays() {
        let directory = directory("writer");
        let path = directory.join("m.wav");
        let mut takes = Takes::default();
        assert!(begin(&mut takes, 1, &path).is_none());
        let samples: Vec<i16> = (0..4000).collect();
        takes.handle(Job::Samples { take: TakeKey(1), samples: samples.clone() });
        assert!(takes.flush_all().is_empty());
        takes.handle(Job::Samples { take: TakeKey(1), samples: samples.clone() });
        // What a crash would leave now.
        assert!(!path.exists());
        assert_eq!(audio::read_wav(&part_of(&path)).expect("it plays"), samples);
        let done = takes.handle(Job::End { take: TakeKey(1), taken: taken(RecordEnd::Key, 8000) });
        assert_eq!(event(done), recorded_event(1, 1000, RecordEnd::Key, true));
        assert_eq!(audio::read_wav(&path).expect("it plays"), [&samples[..], &samples].concat());
        assert!(!part_of(&path).exists() && takes.open.is_empty());
        let load = Job::Load { leg: LegKey(1), play: PlayKey(9), path: path.clone() };
        assert!(
            matches!(takes.handle(load), Some(Done::Loaded { clip: Some(c), .. }) if c.pcma.len() == 8000)
        );
        takes.handle(Job::Discard { path: path.clone() });
        assert!(!path.exists());
        let load = Job::Load { leg: LegKey(1), play: PlayKey(9), path };
        assert!(matches!(takes.handle(load), Some(Done::Loaded { clip: None, .. })));
        fs::remove_dir_all(directory).expect("removed");
    }

    #[test]
    fn a_disk_that_refuses_is_told_once_whatever_follows() {
        let mut takes = Takes::default();
        let done = begin(&mut takes, 1, Path::new("/nonexistent/dir/m.wav"));
        assert_eq!(event(done), recorded_event(1, 0, RecordEnd::Disk, false));
        assert!(takes.handle(Job::Samples { take: TakeKey(1), samples: vec![1; 100] }).is_none());
        assert!(takes.handle(Job::End { take: TakeKey(1), taken: taken(RecordEnd::Key, 100) }).is_none());
    }

    #[test]
    fn a_full_disk_in_mid_message_ends_it() {
        let directory = directory("full");
        let path = directory.join("m.wav");
        // A device that takes nothing.
        std::os::unix::fs::symlink("/dev/full", part_of(&path)).expect("linked");
        let mut takes = Takes::default();
        assert!(begin(&mut takes, 1, &path).is_none());
        takes.handle(Job::Samples { take: TakeKey(1), samples: vec![1; 2000] });
        let told: Vec<MediaEvent> = takes.flush_all().into_iter().map(|d| event(Some(d))).collect();
        assert_eq!(told, [recorded_event(1, 0, RecordEnd::Disk, false)]);
        assert!(takes.flush_all().is_empty());
        fs::remove_dir_all(directory).expect("removed");
    }

    #[test]
    fn the_end_of_the_plane_ends_what_is_open() {
        let directory = directory("end");
        let path = directory.join("m.wav");
        let (sender, jobs) = std::sync::mpsc::sync_channel(8);
        sender
            .send(Job::Begin { leg: LegKey(1), take: TakeKey(1), path: path.clone(), normalise_lufs: None })
            .expect("room");
        sender.send(Job::Samples { take: TakeKey(1), samples: vec![7; 2000] }).expect("room");
        drop(sender);
        run(&jobs, |done| panic!("nothing to tell: {done:?}"));
        assert_eq!(audio::read_wav(&path).expect("it plays"), vec![7; 2000]);
        fs::remove_dir_all(directory).expect("removed");
    }

    #[test]
    fn a_message_that_is_to_be_of_some_loudness_has_it_when_it_is_told_of() {
        let directory = directory("loudness");
        let path = directory.join("m.wav");
        let prompt = Path::new(env!("CARGO_MANIFEST_DIR")).join("prompts/nl/welcome.wav");
        let said: Vec<i16> = audio::read_wav(&prompt).expect("a prompt").iter().map(|s| s / 5).collect();
        let mut takes = Takes::default();
        let normalise_lufs = Some(-23);
        let begin = Job::Begin { leg: LegKey(1), take: TakeKey(1), path: path.clone(), normalise_lufs };
        assert!(takes.handle(begin).is_none());
        for samples in said.chunks(2000) {
            takes.handle(Job::Samples { take: TakeKey(1), samples: samples.to_vec() });
        }
        let taken = taken(RecordEnd::Key, said.len() as u64);
        let done = takes.handle(Job::End { take: TakeKey(1), taken });
        assert!(matches!(event(done), MediaEvent::Recorded { end: RecordEnd::Key, .. }));
        let kept = audio::measure(&audio::read_wav(&path).expect("it plays")).level_dbov;
        assert!(kept > audio::measure(&said).level_dbov + 8.0, "{kept}");
        fs::remove_dir_all(directory).expect("removed");
    }
}
