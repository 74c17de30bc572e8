//! The choice: which line or lines ring next for a caller, and why. The same value that the switch uses
//! is what an operator is shown.

use std::time::Instant;

use super::line::{Line, WhyNot};
use crate::base::id::LineKey;
use crate::config::raw::Strategy;

/// The last line that round-robin rang.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoundRobin {
    last: Option<LineKey>,
}

/// Who rings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// One line, or several at once with ring-all; empty when nobody can ring now.
    pub lines: Vec<LineKey>,
    /// They were taken because they serve the caller's region.
    pub region: bool,
    /// Of the lines that were looked at: why each does not ring.
    pub passed_over: Vec<(LineKey, WhyNot)>,
}

/// Chooses among the queue's lines, given in the order of the config. Lines of the caller's zone go
/// first, then all; within that the lowest penalty; within that the strategy decides. `tried` are lines
/// that missed this caller already in the current round.
pub fn choose(
    strategy: Strategy,
    lines: &[&Line],
    zone: Option<&str>,
    tried: &[LineKey],
    round_robin: &mut RoundRobin,
    now: Instant,
) -> Choice {
    let mut passed_over = Vec::new();
    let mut ringable: Vec<&Line> = Vec::new();
    for line in lines.iter().copied().filter(|l| !tried.contains(&l.settings.key)) {
        match line.ringable(now) {
            Ok(()) => ringable.push(line),
            Err(why) => passed_over.push((line.settings.key, why)),
        }
    }
    let nearby = |line: &&Line| zone.is_some_and(|z| line.settings.zones.iter().any(|own| own == z));
    let region = ringable.iter().any(nearby);
    if region {
        ringable.retain(nearby);
    }
    let lowest = ringable.iter().map(|l| l.settings.penalty).min().unwrap_or(0);
    ringable.retain(|l| l.settings.penalty == lowest);
    let chosen = match strategy {
        Strategy::RingAll => ringable.iter().map(|l| l.settings.key).collect(),
        Strategy::InOrder => ringable.first().map(|l| l.settings.key).into_iter().collect(),
        Strategy::LongestIdle => {
            // `min_by_key` takes the first of equals: the order of the config.
            ringable.iter().min_by_key(|l| l.idle_since()).map(|l| l.settings.key).into_iter().collect()
        }
        Strategy::RoundRobin => after_last(lines, &ringable, round_robin).into_iter().collect(),
    };
    Choice { lines: chosen, region, passed_over }
}

/// The first ringable line behind the last one rung, in the order of the config, round the end.
fn after_last(all: &[&Line], ringable: &[&Line], round_robin: &mut RoundRobin) -> Option<LineKey> {
    let start = all.iter().position(|l| Some(l.settings.key) == round_robin.last).map_or(0, |at| at + 1);
    let rotated = all.iter().cycle().skip(start).take(all.len());
    let chosen =
        rotated.map(|l| l.settings.key).find(|key| ringable.iter().any(|l| l.settings.key == *key))?;
    round_robin.last = Some(chosen);
    Some(chosen)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::line::LineSettings;
    use super::*;
    use crate::base::time::Now;

    /// Lines 1, 2, 3; line 2 has been idle longest.
    fn lines(now: Instant) -> Vec<Line> {
        let idle = [30, 60, 10];
        (1..=3)
            .zip(idle)
            .map(|(n, idle)| {
                let zones = if n == 3 { vec!["09".to_owned()] } else { Vec::new() };
                let settings =
                    LineSettings { key: LineKey(n), name: format!("l{n}"), capacity: 1, penalty: 0, zones };
                Line::new(settings, true, true, now + Duration::from_secs(100 - idle))
            })
            .collect()
    }

    fn pick(
        strategy: Strategy,
        lines: &[Line],
        zone: Option<&str>,
        rr: &mut RoundRobin,
        now: Instant,
    ) -> Vec<u64> {
        let refs: Vec<&Line> = lines.iter().collect();
        choose(strategy, &refs, zone, &[], rr, now).lines.into_iter().map(|l| l.0).collect()
    }

    #[test]
    fn the_four_strategies() {
        let now = Now::read().at;
        let (all, mut rr) = (lines(now), RoundRobin::default());
        assert_eq!(pick(Strategy::InOrder, &all, None, &mut rr, now), [1]);
        assert_eq!(pick(Strategy::LongestIdle, &all, None, &mut rr, now), [2]);
        assert_eq!(pick(Strategy::RingAll, &all, None, &mut rr, now), [1, 2, 3]);
        let rounds: Vec<u64> =
            (0..5).flat_map(|_| pick(Strategy::RoundRobin, &all, None, &mut rr, now)).collect();
        assert_eq!(rounds, [1, 2, 3, 1, 2]);
    }

    #[test]
    fn round_robin_passes_over_who_cannot_ring() {
        let now = Now::read().at;
        let (mut all, mut rr) = (lines(now), RoundRobin::default());
        all[1].pause();
        let rounds: Vec<u64> =
            (0..4).flat_map(|_| pick(Strategy::RoundRobin, &all, None, &mut rr, now)).collect();
        assert_eq!(rounds, [1, 3, 1, 3]);
    }

    #[test]
    fn the_callers_region_first_when_known_then_all() {
        let now = Now::read().at;
        let (mut all, mut rr) = (lines(now), RoundRobin::default());
        assert_eq!(pick(Strategy::InOrder, &all, Some("09"), &mut rr, now), [3]);
        assert_eq!(pick(Strategy::InOrder, &all, Some("02"), &mut rr, now), [1]);
        all[2].offered();
        assert_eq!(pick(Strategy::InOrder, &all, Some("09"), &mut rr, now), [1], "the region is busy");
    }

    #[test]
    fn penalties_keep_lines_back_and_missed_lines_are_passed_over() {
        let now = Now::read().at;
        let mut all = lines(now);
        all[0].settings.penalty = 5;
        let refs: Vec<&Line> = all.iter().collect();
        let mut rr = RoundRobin::default();
        let chosen = |tried: &[LineKey], rr: &mut RoundRobin| {
            choose(Strategy::InOrder, &refs, None, tried, rr, now).lines.first().map(|l| l.0)
        };
        assert_eq!(chosen(&[], &mut rr), Some(2));
        assert_eq!(chosen(&[LineKey(2)], &mut rr), Some(3));
        assert_eq!(chosen(&[LineKey(2), LineKey(3)], &mut rr), Some(1));
        assert_eq!(chosen(&[LineKey(1), LineKey(2), LineKey(3)], &mut rr), None);
    }

    #[test]
    fn the_choice_says_why_the_others_do_not_ring() {
        let now = Now::read().at;
        let mut all = lines(now);
        all[0].log_out();
        all[1].offered();
        let refs: Vec<&Line> = all.iter().collect();
        let choice = choose(Strategy::RingAll, &refs, None, &[], &mut RoundRobin::default(), now);
        assert_eq!(choice.lines, [LineKey(3)]);
        assert_eq!(choice.passed_over, [(LineKey(1), WhyNot::LoggedOut), (LineKey(2), WhyNot::Busy)]);
    }
}
