//! The log and the panic message, so made that no text of a caller can come out: only this program's own
//! events are shown, and a panic tells where it was but not what it said.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;
use std::str::FromStr as _;

use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;

/// The environment variable that sets another level than the configuration.
pub const LEVEL_VARIABLE: &str = "HULPLIJN_LOG";
/// Lines that wait for a slow reader of the log; further ones are left out and counted.
const MOST_LINES: usize = 10_000;
/// Events of this crate have this target or one below it.
const OURS: &str = env!("CARGO_PKG_NAME");

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("`{0}` is no log level; allowed: off, error, warn, info, debug, trace")]
    Level(String),
    #[error("a log is already set up")]
    Twice,
}

/// The log while it runs. Dropping it writes what still waits; a reader who takes nothing is not waited for long.
pub struct Log {
    _writer: WorkerGuard,
    lost: ErrorCounter,
}

impl Log {
    /// Lines that were left out since the start, because whoever reads the log was too slow.
    pub fn lost_lines(&self) -> u64 {
        self.lost.dropped_lines() as u64
    }
}

/// Sets up the log on standard error and the panic hook. `HULPLIJN_LOG` goes before `level`. Lines are written by a
/// thread of their own: calls must not wait for a full pipe or a busy journal.
pub fn install(level: &str, json: bool) -> Result<Log, LogError> {
    let level = std::env::var(LEVEL_VARIABLE).unwrap_or_else(|_| level.to_owned());
    let builder =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(MOST_LINES).thread_name("log");
    let (writer, guard) = builder.finish(std::io::stderr());
    let lost = writer.error_counter();
    let subscriber = subscriber(&level, json, writer)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Twice)?;
    install_panic_hook();
    Ok(Log { _writer: guard, lost })
}

/// The log to any writer. Dependencies' spans and events are left out at every level: they may print
/// what came from the network.
pub fn subscriber<W>(
    level: &str,
    json: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let level = LevelFilter::from_str(level).map_err(|_| LogError::Level(level.to_owned()))?;
    let shown =
        filter_fn(move |metadata| is_ours(metadata) && *metadata.level() <= level).with_max_level_hint(level);
    let registry = tracing_subscriber::registry();
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    Ok(if json {
        Box::new(registry.with(lines.json().flatten_event(true).with_filter(shown)))
    } else {
        Box::new(registry.with(lines.with_ansi(false).with_filter(shown)))
    })
}

/// From now on a panic prints its place and a fixed sentence.
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(report_panic));
}

/// Never prints the payload: an `expect` or an index error can quote what came from outside. A
/// backtrace (with `RUST_BACKTRACE=1`) holds names of functions only.
fn report_panic(info: &PanicHookInfo) {
    let (file, line) = info.location().map_or(("unknown", 0), |place| (place.file(), place.line()));
    tracing::error!(
        event = "panic",
        file,
        line,
        "a fault in the program; its words are withheld because they may hold a caller's"
    );
    if !tracing::enabled!(tracing::Level::ERROR) {
        eprintln!("hulplijn: a fault in the program at {file}:{line}; its words are withheld");
    }
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        eprintln!("{trace}");
    }
}

fn is_ours(metadata: &Metadata) -> bool {
    let target = metadata.target();
    target == OURS || target.strip_prefix(OURS).is_some_and(|rest| rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::base::id::{CallKey, LineKey};
    use crate::telemetry::export::Names;
    use crate::telemetry::journal;
    use crate::telemetry::notice::{Miss, Notice};

    /// A writer whose text the test reads afterwards.
    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(level: &str, json: bool, job: impl FnOnce()) -> String {
        let paper = Paper::default();
        let pen = paper.clone();
        let subscriber = subscriber(level, json, move || pen.clone()).expect("a level");
        tracing::subscriber::with_default(subscriber, job);
        let bytes = paper.0.lock().expect("not poisoned").clone();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn only_our_own_events_are_shown_also_at_trace() {
        for json in [false, true] {
            let text = written("trace", json, || {
                let span = tracing::info_span!(target: "rusqlite", "statement", sql = "0470123456");
                let _in = span.enter();
                tracing::error!(target: "tokio::net", "secret 0470123456");
                tracing::error!(target: "hulplijnen", "secret 0470123456");
                tracing::trace!(target: "hulplijn::sip", "ours");
            });
            assert!(text.contains("ours") && !text.contains("0470123456"), "{text}");
            assert_eq!(text.lines().count(), 1);
        }
    }

    #[test]
    fn a_notice_is_one_line_with_typed_fields() {
        let (call, line) = (CallKey(7), LineKey(1));
        let names = Names { lines: [(line, "gent-1".to_owned())].into(), ..Names::default() };
        let rang = std::time::Duration::from_millis(1500);
        let text = written("info", true, || {
            journal::log(&Notice::Missed { call, line, miss: Miss::Busy, rang }, &names);
            journal::log(&Notice::QueueLength { queue: 0, length: 2 }, &names);
        });
        let value: serde_json::Value = serde_json::from_str(text.trim()).expect("one line of JSON");
        let field = |name: &str| value.get(name).cloned().unwrap_or_default();
        assert_eq!(
            (field("event"), field("line"), field("call"), field("rang_ms"), field("what")),
            ("missed".into(), "gent-1".into(), 7.into(), 1500.into(), "busy".into())
        );
        assert!(value.get("waited_ms").is_none(), "what does not apply is left out");
    }

    #[test]
    fn a_wrong_level_is_refused() {
        assert!(matches!(subscriber("loud", false, io::sink), Err(LogError::Level(_))));
    }

    #[test]
    fn a_panic_tells_its_place_and_not_its_words() {
        // The hook is of the whole process, so the report is caught by a thread of this test only.
        let text = written("error", false, || {
            let before = std::panic::take_hook();
            install_panic_hook();
            let result = std::panic::catch_unwind(|| panic!("caller 0470123456"));
            std::panic::set_hook(before);
            assert!(result.is_err());
        });
        assert!(text.contains("redact.rs") && text.contains("withheld"), "{text}");
        assert!(!text.contains("0470123456"));
    }
}
