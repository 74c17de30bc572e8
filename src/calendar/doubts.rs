//! Hours that are allowed and hardly meant: what was written for a day that is over, turns with begin and end
//! exchanged. The line is opened and closed by them all the same.

use chrono::{DateTime, Days, Utc};
use chrono_tz::Tz;

use super::zone::{Edge, resolve};
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{self, At, Interval};

/// A turn past midnight that is longer, in minutes, looks like a day with begin and end exchanged.
const LONG_NIGHT: u16 = 12 * 60;
const MIDNIGHT: u16 = 24 * 60;

/// Everything doubtful in the hours, seen from this moment. Nothing without a zone: that is a mistake of its own.
pub fn find(helpline: &raw::Helpline, hours: &raw::Hours, now: DateTime<Utc>) -> Vec<Diagnostic> {
    let Ok(zone) = helpline.zone.value.parse::<Tz>() else { return Vec::new() };
    let turns = hours.week.iter().flatten().chain(hours.exceptions.iter().flat_map(|e| &e.intervals));
    let mut found: Vec<Diagnostic> = turns.filter_map(exchanged).collect();
    found.extend(hours.closed_until.as_ref().and_then(|until| {
        let over = resolve(zone, until.value, Edge::End).is_some_and(|end| end <= now);
        let what = format!("`closed-until` {} is over, so it closes nothing", until.value);
        over.then(|| {
            Diagnostic::warning(&until.place, what).allowed("a moment to come, or no `closed-until`")
        })
    }));
    // A turn past midnight belongs to the day on which it begins.
    let last = now.with_timezone(&zone).date_naive().checked_sub_days(Days::new(1));
    for date in hours.exceptions.iter().map(|exception| &exception.date) {
        if last.is_some_and(|last| date.value < last) {
            let what = format!("the exception for {} is over, so it changes nothing", date.value);
            found.push(Diagnostic::warning(&date.place, what).allowed("a day to come; else take it out"));
        }
    }
    found
}

fn exchanged(turn: &At<Interval>) -> Option<Diagnostic> {
    let Interval { from, to } = turn.value;
    let length = to.saturating_sub(from);
    if to <= MIDNIGHT || length <= LONG_NIGHT {
        return None;
    }
    let (from, to) = (clock(from), clock(to - MIDNIGHT));
    let what = format!("`{from}-{to}` is open for {} hours, until {to} of the next day", length.div_ceil(60));
    let allowed = format!(
        "`{to}-{from}` if begin and end are exchanged; if it is meant, `{from}-24:00` and `00:00-{to}` on the next day"
    );
    Some(Diagnostic::warning(&turn.place, what).allowed(allowed))
}

fn clock(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}
