//! Local minutes of a day to instants, with the hour that DST repeats and the one it skips.
//!
//! The rule: a time in the skipped hour means the moment at which the clock jumps; a time in the
//! repeated hour means the first of its two moments when something begins and the second when it ends,
//! so that a line is open for the whole of an hour that it promised.

use chrono::{DateTime, Days, Duration, LocalResult, NaiveDate, NaiveDateTime, TimeZone as _, Utc};
use chrono_tz::Tz;

/// Whether a local time begins or ends an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    Begin,
    End,
}

/// The instant of a minute of a local day; `minute` may be past 1440 (the next day).
pub fn instant(zone: Tz, date: NaiveDate, minute: u16, edge: Edge) -> Option<DateTime<Utc>> {
    let day = date.checked_add_days(Days::new(u64::from(minute / 1440)))?;
    let local = day.and_hms_opt(u32::from(minute % 1440) / 60, u32::from(minute % 60), 0)?;
    resolve(zone, local, edge)
}

/// The instant of a local time.
pub fn resolve(zone: Tz, local: NaiveDateTime, edge: Edge) -> Option<DateTime<Utc>> {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(at) => Some(at.with_timezone(&Utc)),
        LocalResult::Ambiguous(first, second) => {
            let at = if edge == Edge::Begin { first } else { second };
            Some(at.with_timezone(&Utc))
        }
        LocalResult::None => after_the_gap(zone, local),
    }
}

/// The first moment after the skipped time: gaps end on a minute and last at most a day.
fn after_the_gap(zone: Tz, local: NaiveDateTime) -> Option<DateTime<Utc>> {
    (1..=1440).find_map(|minutes| {
        let later = local.checked_add_signed(Duration::minutes(minutes))?;
        zone.from_local_datetime(&later).earliest().map(|at| at.with_timezone(&Utc))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono_tz::Europe::Brussels;

    fn at(date: &str, minute: u16, edge: Edge) -> String {
        let date = date.parse().expect("a date");
        instant(Brussels, date, minute, edge).map(|t| t.format("%FT%RZ").to_string()).unwrap_or_default()
    }

    #[test]
    fn winter_and_summer_time() {
        assert_eq!(at("2026-01-15", 9 * 60, Edge::Begin), "2026-01-15T08:00Z");
        assert_eq!(at("2026-07-15", 9 * 60, Edge::Begin), "2026-07-15T07:00Z");
        assert_eq!(at("2026-07-15", 25 * 60, Edge::End), "2026-07-15T23:00Z");
    }

    #[test]
    fn the_skipped_hour_means_the_moment_of_the_jump() {
        // 2026-03-29: 02:00 becomes 03:00, at 01:00 UTC.
        assert_eq!(at("2026-03-29", 150, Edge::Begin), "2026-03-29T01:00Z");
        assert_eq!(at("2026-03-29", 150, Edge::End), "2026-03-29T01:00Z");
    }

    #[test]
    fn the_repeated_hour_is_taken_whole() {
        // 2026-10-25: 03:00 becomes 02:00, at 01:00 UTC.
        assert_eq!(at("2026-10-25", 150, Edge::Begin), "2026-10-25T00:30Z");
        assert_eq!(at("2026-10-25", 150, Edge::End), "2026-10-25T01:30Z");
    }
}
