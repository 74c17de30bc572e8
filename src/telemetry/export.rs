//! Notices as Prometheus metrics, prefix `hulplijn_`. Every label's values are a closed list or come
//! from the configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use super::notice::{Drop as Dropped, LineWord, Miss, Notice, Outcome, Security, TrunkWord, WebFault};
use crate::base::id::LineKey;

/// Waits and ring times, in seconds.
const WAIT_BUCKETS: [f64; 11] = [1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0];
/// Calls, talks and messages, in seconds.
const TALK_BUCKETS: [f64; 10] = [5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 2400.0, 3600.0];
/// Bad, poor, fair, good, and what a telephone can give at best.
const MOS_BUCKETS: [f64; 8] = [1.5, 2.0, 2.5, 3.1, 3.6, 4.0, 4.3, 4.5];

/// What the configuration calls the lines and queues.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    pub lines: BTreeMap<LineKey, String>,
    /// In the order of `Notice::QueueLength::queue`.
    pub queues: Vec<String>,
    /// In the order of `Notice::Trunk::trunk`.
    pub trunks: Vec<String>,
    /// Those of them that are registered with, or asked whether they are there.
    pub watched: Vec<String>,
}

impl Names {
    pub fn line(&self, key: LineKey) -> &str {
        self.lines.get(&key).map_or("gone", String::as_str)
    }

    pub fn trunk(&self, index: u32) -> &str {
        self.trunks.get(index as usize).map_or("gone", String::as_str)
    }

    pub fn queue(&self, index: u32) -> &str {
        self.queues.get(index as usize).map_or("gone", String::as_str)
    }
}

/// All metrics of the switch.
pub struct Metrics {
    registry: Registry,
    calls: IntCounterVec,
    calls_arrived: IntCounter,
    calls_answered: IntCounter,
    calls_in_progress: IntGauge,
    call_seconds: HistogramVec,
    queue_length: IntGaugeVec,
    queued: IntCounter,
    conferences: IntCounter,
    queue_wait: Histogram,
    ring: HistogramVec,
    talk: Histogram,
    offers: IntCounterVec,
    missed: IntCounterVec,
    lines: IntGaugeVec,
    lines_registered: IntGauge,
    subscriptions: IntGauge,
    messages: IntCounter,
    messages_interrupted: IntCounter,
    message_seconds: Histogram,
    mos: Histogram,
    one_way: IntCounter,
    rtp: IntCounterVec,
    legs: IntCounterVec,
    web_failures: IntCounterVec,
    sip_refused: IntCounterVec,
    dropped: IntCounterVec,
    trunk_up: IntGaugeVec,
    set_aside: IntCounter,
    auth_failures: IntCounter,
    failures: IntCounterVec,
    log_lines_lost: IntCounter,
    certificates_until: IntGauge,
    config_generation: IntGauge,
    config_refused: IntCounter,
    draining: IntGauge,
    present: Mutex<Present>,
}

/// What gauges are computed from.
#[derive(Default)]
struct Present {
    lines: BTreeMap<LineKey, LineWord>,
    registered: BTreeSet<LineKey>,
    calls: i64,
}

impl Metrics {
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new_custom(Some("hulplijn".to_owned()), None)?;
        let r = &registry;
        let metrics = Self {
            calls: counters(r, "calls_total", "Calls that ended, by outcome.", &["outcome"])?,
            calls_arrived: counter(r, "calls_arrived_total", "Calls that came in.")?,
            calls_answered: counter(r, "calls_answered_total", "Calls that were answered.")?,
            calls_in_progress: gauge(r, "calls_in_progress", "Calls that have not ended.")?,
            call_seconds: histograms(r, "call_seconds", "How long calls lasted, by outcome.", "outcome")?,
            queue_length: gauges(r, "queue_length", "Callers who wait, by queue.", "queue")?,
            conferences: counter(r, "conferences_total", "Times a third was brought to a caller.")?,
            queued: counter(r, "queued_total", "Callers who began to wait for a line.")?,
            queue_wait: histogram(r, "queue_wait_seconds", "Waits that ended with a line.", &WAIT_BUCKETS)?,
            ring: histograms(r, "ring_seconds", "How long lines rang, by how it ended.", "result")?,
            talk: histogram(r, "talk_seconds", "How long caller and line talked.", &TALK_BUCKETS)?,
            offers: counters(r, "offers_total", "Calls offered, by line.", &["line"])?,
            missed: counters(r, "missed_total", "Offers that a line did not take.", &["line", "reason"])?,
            lines: gauges(r, "lines", "Lines, by state.", "state")?,
            trunk_up: gauges(
                r,
                "trunk_up",
                "1 when the carrier answers and has our registration; 0 until then.",
                "trunk",
            )?,
            set_aside: counter(
                r,
                "places_set_aside_total",
                "Addresses that failed and are tried last for a while.",
            )?,
            lines_registered: gauge(r, "lines_registered", "Lines with a registered phone.")?,
            subscriptions: gauge(r, "subscriptions", "Subscriptions of phones that are open.")?,
            messages: counter(r, "messages_total", "Messages that callers left.")?,
            messages_interrupted: counter(
                r,
                "messages_interrupted_total",
                "Recordings that broke off; what was flushed is kept.",
            )?,
            message_seconds: histogram(r, "message_seconds", "Length of messages.", &TALK_BUCKETS)?,
            legs: counters(
                r,
                "media_legs_total",
                "Sides of calls whose audio has ended, by how it was encrypted.",
                &["security"],
            )?,
            web_failures: counters(
                r,
                "web_failures_total",
                "Sides of calls with browsers that came to no sound, by reason.",
                &["reason"],
            )?,
            mos: histogram(
                r,
                "call_quality_mos",
                "How well each side of a call was heard: mean opinion score.",
                &MOS_BUCKETS,
            )?,
            one_way: counter(r, "one_way_audio_total", "Calls in which only one side was heard.")?,
            rtp: counters(r, "rtp_packets_total", "RTP packets, by what became of them.", &["kind"])?,
            sip_refused: counters(r, "sip_refused_total", "SIP requests refused, by status.", &["status"])?,
            dropped: counters(r, "dropped_total", "Dropped without an answer, by reason.", &["reason"])?,
            auth_failures: counter(r, "auth_failures_total", "Wrong passwords.")?,
            failures: counters(r, "failures_total", "Faults on our side, by part.", &["part"])?,
            log_lines_lost: counter(
                r,
                "log_lines_lost_total",
                "Log lines left out: its reader is too slow.",
            )?,
            certificates_until: gauge(
                r,
                "certificate_expires_timestamp_seconds",
                "When the first TLS certificate runs out; 0: there is none.",
            )?,
            config_generation: gauge(r, "config_generation", "Serial number of the configuration in force.")?,
            config_refused: counter(r, "config_refused_total", "Configurations that had mistakes.")?,
            draining: gauge(r, "draining", "1 when no new calls are taken.")?,
            present: Mutex::new(Present::default()),
            registry,
        };
        metrics.begin_at_zero();
        Ok(metrics)
    }

    /// Log lines that were left out since the start.
    pub fn lines_lost(&self, total: u64) {
        self.log_lines_lost.inc_by(total.saturating_sub(self.log_lines_lost.get()));
    }

    /// When the first of our certificates runs out, in seconds since 1970.
    pub fn certificates_until(&self, time: Option<u64>) {
        self.certificates_until.set(count(time.unwrap_or_default()));
    }

    /// Counts a notice.
    pub fn record(&self, notice: &Notice, names: &Names) {
        match notice {
            Notice::Started { generation } => {
                self.config_generation.set(count(*generation));
                self.name_at_zero(names);
            }
            Notice::CallArrived { .. } => {
                self.calls_arrived.inc();
                self.change_calls(1);
            }
            Notice::Refused { status } => self.refused(*status),
            Notice::Answered { .. } => self.calls_answered.inc(),
            Notice::Queued { .. } => self.queued.inc(),
            Notice::Offered { line, .. } => self.offers.with_label_values(&[names.line(*line)]).inc(),
            Notice::Missed { line, miss, rang, .. } => {
                self.missed.with_label_values(&[names.line(*line), miss.word()]).inc();
                self.ring.with_label_values(&[miss.word()]).observe(seconds(*rang));
            }
            Notice::Joined { waited, rang, .. } => {
                self.queue_wait.observe(seconds(*waited));
                self.ring.with_label_values(&["answered"]).observe(seconds(*rang));
            }
            Notice::Ended { outcome, lasted, talked, .. } => self.ended(*outcome, *lasted, *talked),
            Notice::Subscriptions { open } => self.subscriptions.set(i64::from(*open)),
            Notice::QueueLength { queue, length } => {
                self.queue_length.with_label_values(&[names.queue(*queue)]).set(i64::from(*length));
            }
            Notice::Trunk { trunk, state } => {
                let up = i64::from(*state == TrunkWord::Up);
                self.trunk_up.with_label_values(&[names.trunk(*trunk)]).set(up);
            }
            Notice::SetAside { .. } => self.set_aside.inc(),
            Notice::LineState { line, state } => self.change(|present| {
                present.lines.insert(*line, *state);
            }),
            Notice::MessageTaken { length } => {
                self.messages.inc();
                self.message_seconds.observe(seconds(*length));
            }
            Notice::MessageInterrupted => self.messages_interrupted.inc(),
            Notice::StoreFailed => self.failed("store"),
            Notice::DiskFull => self.failed("disk"),
            Notice::MediaFailed => self.failed("media"),
            Notice::WebFailed { why, .. } => self.web_failures.with_label_values(&[why.word()]).inc(),
            Notice::PromptMissing => self.failed("prompt"),
            Notice::CallPanicked { .. } => self.failed("panic"),
            Notice::Overload => self.failed("overload"),
            Notice::MediaStats {
                received,
                lost,
                late,
                foreign,
                malformed,
                flood,
                forged,
                replayed,
                security,
            } => {
                self.legs.with_label_values(&[security.word()]).inc();
                let kinds = [received, lost, late, foreign, malformed, flood, forged, replayed];
                for (kind, value) in RTP_KINDS.iter().zip(kinds) {
                    self.rtp.with_label_values(&[kind]).inc_by(*value);
                }
            }
            Notice::Quality { mos } => self.mos.observe(f64::from(*mos) / 100.0),
            Notice::OneWay { .. } => self.one_way.inc(),
            Notice::Dropped { reason, count } => {
                self.dropped.with_label_values(&[reason.word()]).inc_by(*count);
            }
            Notice::AuthFailed { .. } => self.auth_failures.inc(),
            // What it does is seen in the line's state.
            Notice::BroughtTogether { .. } => self.conferences.inc(),
            Notice::LineCode { .. } | Notice::Consulted { .. } | Notice::HandedOver { .. } => {}
            Notice::Registered { line } => self.change(|present| {
                present.registered.insert(*line);
            }),
            Notice::Unregistered { line } => self.change(|present| {
                present.registered.remove(line);
            }),
            Notice::ConfigApplied { generation } => self.config_applied(*generation, names),
            Notice::ConfigRefused { .. } => self.config_refused.inc(),
            Notice::Draining { .. } => self.draining.set(1),
        }
    }

    /// The text that `/metrics` answers, in Prometheus' text format 0.0.4.
    pub fn text(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }

    fn ended(&self, outcome: Outcome, lasted: Duration, talked: Duration) {
        self.calls.with_label_values(&[outcome.word()]).inc();
        self.call_seconds.with_label_values(&[outcome.word()]).observe(seconds(lasted));
        if matches!(outcome, Outcome::Joined | Outcome::Referred) {
            self.talk.observe(seconds(talked));
        }
        self.change_calls(-1);
    }

    /// A status outside what a request can be refused with is counted together.
    fn refused(&self, status: u16) {
        let text = if (300..700).contains(&status) { status.to_string() } else { "other".to_owned() };
        self.sip_refused.with_label_values(&[&text]).inc();
    }

    fn failed(&self, part: &str) {
        self.failures.with_label_values(&[part]).inc();
    }

    /// Lines and queues that the new configuration does not have are no longer shown.
    fn config_applied(&self, generation: u64, names: &Names) {
        self.config_generation.set(count(generation));
        self.queue_length.reset();
        for queue in &names.queues {
            self.queue_length.with_label_values(&[queue]).set(0);
        }
        self.name_at_zero(names);
        self.change(|present| {
            present.lines.retain(|line, _| names.lines.contains_key(line));
            present.registered.retain(|line| names.lines.contains_key(line));
        });
    }

    fn change_calls(&self, by: i64) {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        present.calls = (present.calls + by).max(0);
        self.calls_in_progress.set(present.calls);
    }

    fn change(&self, change: impl FnOnce(&mut Present)) {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut present);
        for state in LineWord::ALL {
            let lines = present.lines.values().filter(|word| **word == state).count();
            self.lines.with_label_values(&[state.word()]).set(count(lines as u64));
        }
        self.lines_registered.set(count(present.registered.len() as u64));
    }

    /// The same of what the configuration names. What has a value keeps it.
    fn name_at_zero(&self, names: &Names) {
        for line in names.lines.values() {
            self.offers.with_label_values(&[line]);
            for miss in Miss::ALL {
                self.missed.with_label_values(&[line.as_str(), miss.word()]);
            }
        }
        for queue in &names.queues {
            self.queue_length.with_label_values(&[queue]);
        }
        for trunk in &names.watched {
            self.trunk_up.with_label_values(&[trunk]);
        }
    }

    /// A counter that is there from the start shows its first increase.
    fn begin_at_zero(&self) {
        for outcome in Outcome::ALL {
            self.calls.with_label_values(&[outcome.word()]);
            self.call_seconds.with_label_values(&[outcome.word()]);
        }
        for result in Miss::ALL.map(Miss::word).into_iter().chain(["answered"]) {
            self.ring.with_label_values(&[result]);
        }
        for reason in Dropped::ALL {
            self.dropped.with_label_values(&[reason.word()]);
        }
        for part in PARTS {
            self.failures.with_label_values(&[part]);
        }
        for why in WebFault::ALL {
            self.web_failures.with_label_values(&[why.word()]);
        }
        for security in Security::ALL {
            self.legs.with_label_values(&[security.word()]);
        }
        for kind in RTP_KINDS {
            self.rtp.with_label_values(&[kind]);
        }
        self.change(|_| {});
    }
}

/// What becomes of an RTP packet, as the metrics write it.
pub const RTP_KINDS: [&str; 8] =
    ["received", "lost", "late", "foreign", "malformed", "flood", "forged", "replayed"];

/// Where a fault of ours can be, as the metrics write it.
pub const PARTS: [&str; 6] = ["store", "disk", "media", "prompt", "panic", "overload"];

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    let metric = IntCounter::new(name, help)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    let metric = IntGauge::new(name, help)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn gauges(
    registry: &Registry,
    name: &str,
    help: &str,
    label: &str,
) -> Result<IntGaugeVec, prometheus::Error> {
    let metric = IntGaugeVec::new(Opts::new(name, help), &[label])?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn histogram(
    registry: &Registry,
    name: &str,
    help: &str,
    buckets: &[f64],
) -> Result<Histogram, prometheus::Error> {
    let metric = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn histograms(
    registry: &Registry,
    name: &str,
    help: &str,
    label: &str,
) -> Result<HistogramVec, prometheus::Error> {
    let buckets = if label == "result" { WAIT_BUCKETS.to_vec() } else { TALK_BUCKETS.to_vec() };
    let metric = HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), &[label])?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::CallKey;

    fn names() -> Names {
        Names {
            lines: BTreeMap::from([(LineKey(1), "gent-1".to_owned()), (LineKey(2), "brugge-1".to_owned())]),
            queues: vec!["main".to_owned()],
            trunks: vec!["plain".to_owned(), "asked".to_owned()],
            watched: vec!["asked".to_owned()],
        }
    }

    #[test]
    fn what_the_configuration_names_is_there_at_zero_so_that_its_first_increase_is_seen() {
        let (metrics, names) = (Metrics::new().expect("metrics"), names());
        metrics.record(&Notice::Started { generation: 1 }, &names);
        has(&metrics, "hulplijn_offers_total{line=\"gent-1\"} 0");
        has(&metrics, "hulplijn_missed_total{line=\"brugge-1\",reason=\"no_answer\"} 0");
        has(&metrics, "hulplijn_queue_length{queue=\"main\"} 0");
        has(&metrics, "hulplijn_ring_seconds_count{result=\"answered\"} 0");
        has(&metrics, "hulplijn_trunk_up{trunk=\"asked\"} 0");
        assert!(!metrics.text().contains("trunk=\"plain\""), "nobody asks it");
        metrics.record(&Notice::Trunk { trunk: 1, state: TrunkWord::Up }, &names);
        metrics.record(&Notice::ConfigApplied { generation: 2 }, &names);
        has(&metrics, "hulplijn_trunk_up{trunk=\"asked\"} 1");
    }

    fn has(metrics: &Metrics, line: &str) {
        let text = metrics.text();
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }

    #[test]
    fn a_call_is_counted_from_its_arrival_to_its_end() {
        let (metrics, names, call) = (Metrics::new().expect("metrics"), names(), CallKey(1));
        has(&metrics, "hulplijn_calls_total{outcome=\"joined\"} 0");
        let s = Duration::from_secs;
        metrics.record(&Notice::CallArrived { call }, &names);
        metrics.record(&Notice::QueueLength { queue: 0, length: 1 }, &names);
        has(&metrics, "hulplijn_calls_in_progress 1");
        has(&metrics, "hulplijn_queue_length{queue=\"main\"} 1");
        metrics.record(&Notice::Offered { call, line: LineKey(1) }, &names);
        let missed = Notice::Missed { call, line: LineKey(1), miss: Miss::Busy, rang: s(0) };
        metrics.record(&missed, &names);
        metrics.record(&Notice::Joined { call, line: LineKey(2), waited: s(12), rang: s(4) }, &names);
        let ended = Notice::Ended { call, outcome: Outcome::Joined, lasted: s(100), talked: s(80) };
        metrics.record(&ended, &names);
        has(&metrics, "hulplijn_calls_in_progress 0");
        has(&metrics, "hulplijn_calls_total{outcome=\"joined\"} 1");
        has(&metrics, "hulplijn_missed_total{line=\"gent-1\",reason=\"busy\"} 1");
        has(&metrics, "hulplijn_queue_wait_seconds_sum 12");
        has(&metrics, "hulplijn_queue_wait_seconds_bucket{le=\"20\"} 1");
        has(&metrics, "hulplijn_talk_seconds_sum 80");
        has(&metrics, "hulplijn_ring_seconds_count{result=\"answered\"} 1");
    }

    #[test]
    fn lines_are_counted_by_state_and_forgotten_with_the_configuration() {
        let (metrics, mut names) = (Metrics::new().expect("metrics"), names());
        for line in [LineKey(1), LineKey(2)] {
            metrics.record(&Notice::Registered { line }, &names);
            metrics.record(&Notice::LineState { line, state: LineWord::Free }, &names);
        }
        metrics.record(&Notice::LineState { line: LineKey(1), state: LineWord::Busy }, &names);
        has(&metrics, "hulplijn_lines{state=\"free\"} 1");
        has(&metrics, "hulplijn_lines{state=\"busy\"} 1");
        has(&metrics, "hulplijn_lines_registered 2");
        names.lines.remove(&LineKey(1));
        metrics.record(&Notice::ConfigApplied { generation: 2 }, &names);
        has(&metrics, "hulplijn_lines{state=\"busy\"} 0");
        has(&metrics, "hulplijn_lines_registered 1");
        has(&metrics, "hulplijn_config_generation 2");
    }

    #[test]
    fn faults_packets_and_refusals_are_counted() {
        let (metrics, names) = (Metrics::new().expect("metrics"), names());
        let stats = Notice::MediaStats {
            received: 500,
            lost: 3,
            late: 2,
            foreign: 1,
            malformed: 4,
            flood: 5,
            forged: 7,
            replayed: 6,
            security: Security::AeadAes256Gcm,
        };
        for notice in [
            stats,
            Notice::Refused { status: 404 },
            Notice::Refused { status: 9 },
            Notice::Dropped { reason: Dropped::Flood, count: 7 },
            Notice::AuthFailed { line: None },
            Notice::StoreFailed,
            Notice::MessageTaken { length: Duration::from_secs(20) },
            Notice::MessageInterrupted,
            Notice::ConfigRefused { mistakes: 3 },
            Notice::Draining { calls: 0 },
        ] {
            metrics.record(&notice, &names);
        }
        for line in [
            "hulplijn_rtp_packets_total{kind=\"lost\"} 3",
            "hulplijn_rtp_packets_total{kind=\"malformed\"} 4",
            "hulplijn_rtp_packets_total{kind=\"flood\"} 5",
            "hulplijn_rtp_packets_total{kind=\"forged\"} 7",
            "hulplijn_rtp_packets_total{kind=\"replayed\"} 6",
            "hulplijn_media_legs_total{security=\"aead_aes_256_gcm\"} 1",
            "hulplijn_media_legs_total{security=\"none\"} 0",
            "hulplijn_sip_refused_total{status=\"404\"} 1",
            "hulplijn_sip_refused_total{status=\"other\"} 1",
            "hulplijn_dropped_total{reason=\"flood\"} 7",
            "hulplijn_auth_failures_total 1",
            "hulplijn_failures_total{part=\"store\"} 1",
            "hulplijn_messages_total 1",
            "hulplijn_messages_interrupted_total 1",
            "hulplijn_config_refused_total 1",
            "hulplijn_draining 1",
        ] {
            has(&metrics, line);
        }
    }
}
