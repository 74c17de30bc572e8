//! Weekly hours, holidays, exceptions and the operator's override: is the line open at an instant, why,
//! and until when. An exception beats a holiday, a holiday beats the week, the override beats all.

use std::collections::BTreeMap;

use chrono::{DateTime, Datelike as _, Days, NaiveDate, Timelike as _, Utc, Weekday};
use chrono_tz::Tz;

use super::holidays::{Holiday, belgian_holiday};
use super::zone::{Edge, instant, resolve};
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::{self, At, Interval};

/// How far ahead a next opening is looked for.
const HORIZON_DAYS: u64 = 400;

/// What decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    Week,
    Holiday(Holiday),
    /// A dated exception that is marked as a holiday.
    ExceptionHoliday,
    Exception,
    Override,
}

/// The answer for one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    pub open: bool,
    pub why: Why,
    /// When `open` changes next; `None` when it does not within 400 days.
    pub until: Option<DateTime<Utc>>,
}

impl State {
    /// Closed because of a holiday, so that the flow may say so.
    pub fn is_holiday(&self) -> bool {
        !self.open && matches!(self.why, Why::Holiday(_) | Why::ExceptionHoliday)
    }
}

/// A local time as it is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime {
    pub weekday: Weekday,
    /// 0..=23
    pub hour: u8,
    /// 0..=59
    pub minute: u8,
    /// 0 today, 1 tomorrow.
    pub days_ahead: u32,
}

#[derive(Debug, Clone)]
struct Day {
    intervals: Vec<Interval>,
    why: Why,
}

/// The compiled opening hours.
#[derive(Debug, Clone)]
pub struct Schedule {
    zone: Tz,
    week: [Vec<Interval>; 7],
    belgian_holidays: bool,
    exceptions: BTreeMap<NaiveDate, Day>,
    closed_until: Option<DateTime<Utc>>,
}

impl Schedule {
    /// Checks and compiles; all mistakes at once.
    pub fn compile(helpline: &raw::Helpline, hours: &raw::Hours) -> Result<Self, Vec<Diagnostic>> {
        let mut mistakes = Vec::new();
        let zone = helpline.zone.value.parse::<Tz>();
        if zone.is_err() {
            let what = format!("unknown time zone `{}`", helpline.zone.value);
            let names = chrono_tz::TZ_VARIANTS.iter().map(|z| z.name());
            mistakes.push(
                Diagnostic::error(&helpline.zone.place, what)
                    .allowed("an IANA zone such as Europe/Brussels")
                    .nearest(&helpline.zone.value, names),
            );
        }
        let week = std::array::from_fn(|day| {
            let next = hours.week.get((day + 1) % 7).map_or(&[][..], Vec::as_slice);
            let today = hours.week.get(day).map_or(&[][..], Vec::as_slice);
            check_overlaps(today, next, &mut mistakes);
            sorted(today)
        });
        let exceptions = compile_exceptions(&hours.exceptions, &mut mistakes);
        match zone {
            Ok(zone) if mistakes.is_empty() => {
                let closed_until =
                    hours.closed_until.as_ref().and_then(|at| resolve(zone, at.value, Edge::End));
                let belgian_holidays = hours.belgian_holidays.value;
                Ok(Self { zone, week, belgian_holidays, exceptions, closed_until })
            }
            _ => Err(mistakes),
        }
    }

    /// Sets or lifts the operator's override at run time.
    pub fn set_closed_until(&mut self, until: Option<DateTime<Utc>>) {
        self.closed_until = until;
    }

    /// Open or closed at an instant.
    pub fn state_at(&self, utc: DateTime<Utc>) -> State {
        let (open, why) = self.decide(utc);
        State { open, why, until: self.next_change(utc, open) }
    }

    /// When the line opens next, as spoken in the helpline's zone; `None` when it does not within 400 days.
    pub fn next_opening(&self, utc: DateTime<Utc>) -> Option<LocalTime> {
        Some(self.spoken(utc, self.opens(utc)?))
    }

    /// When it closes, as spoken: now when it is open, else after its next opening.
    pub fn closing(&self, utc: DateTime<Utc>) -> Option<LocalTime> {
        let open_at = if self.decide(utc).0 { utc } else { self.opens(utc)? };
        Some(self.spoken(utc, self.next_change(open_at, true)?))
    }

    /// A time as it is spoken at `utc`.
    pub fn spoken(&self, utc: DateTime<Utc>, at: DateTime<Utc>) -> LocalTime {
        let (here, there) = (utc.with_timezone(&self.zone), at.with_timezone(&self.zone));
        let days_ahead = (there.date_naive() - here.date_naive()).num_days().max(0) as u32;
        let (hour, minute) = (there.hour() as u8, there.minute() as u8);
        LocalTime { weekday: there.weekday(), hour, minute, days_ahead }
    }

    fn opens(&self, utc: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.edges(utc).find(|at| *at > utc && self.decide(*at).0 && !self.decide(*at - TICK).0)
    }

    /// By when something of `utc` is to be done within so many working days: the end of the last of them.
    /// A working day has opening hours; the day itself does not count. `None` for 0 days, or when the line
    /// is not open so often within 400 days.
    pub fn end_of_working_day(&self, utc: DateTime<Utc>, days: u32) -> Option<DateTime<Utc>> {
        let today = utc.with_timezone(&self.zone).date_naive();
        let ahead = (1..HORIZON_DAYS).filter_map(|n| today.checked_add_days(Days::new(n)));
        let working = ahead.filter_map(|date| {
            let last = self.day(date).intervals.iter().map(|interval| interval.to).max()?;
            instant(self.zone, date, last, Edge::End)
        });
        working
            .filter(|end| self.closed_until.is_none_or(|until| *end > until))
            .nth(days.checked_sub(1)? as usize)
    }

    /// The zone in which hours are meant.
    pub fn zone(&self) -> Tz {
        self.zone
    }

    fn decide(&self, utc: DateTime<Utc>) -> (bool, Why) {
        if self.closed_until.is_some_and(|until| utc < until) {
            return (false, Why::Override);
        }
        let today = utc.with_timezone(&self.zone).date_naive();
        let day = self.day(today);
        if let Some(why) = self.covering(today, &day, utc) {
            return (true, why);
        }
        // Yesterday's interval may reach past midnight.
        let yesterday =
            today.checked_sub_days(Days::new(1)).and_then(|y| self.covering(y, &self.day(y), utc));
        match yesterday {
            Some(why) => (true, why),
            None => (false, day.why),
        }
    }

    fn covering(&self, date: NaiveDate, day: &Day, utc: DateTime<Utc>) -> Option<Why> {
        let covers = |i: &Interval| {
            let from = instant(self.zone, date, i.from, Edge::Begin);
            let to = instant(self.zone, date, i.to, Edge::End);
            from.is_some_and(|from| from <= utc) && to.is_some_and(|to| utc < to)
        };
        day.intervals.iter().any(covers).then_some(day.why)
    }

    fn day(&self, date: NaiveDate) -> Day {
        if let Some(day) = self.exceptions.get(&date) {
            return day.clone();
        }
        if let Some(holiday) = self.belgian_holidays.then(|| belgian_holiday(date)).flatten() {
            return Day { intervals: Vec::new(), why: Why::Holiday(holiday) };
        }
        let weekday = date.weekday().num_days_from_monday() as usize;
        Day { intervals: self.week.get(weekday).cloned().unwrap_or_default(), why: Why::Week }
    }

    fn next_change(&self, utc: DateTime<Utc>, open: bool) -> Option<DateTime<Utc>> {
        self.edges(utc).find(|at| *at > utc && self.decide(*at).0 != open)
    }

    /// Every instant at which something may change, in order, from yesterday's intervals on.
    fn edges(&self, utc: DateTime<Utc>) -> impl Iterator<Item = DateTime<Utc>> {
        let first = utc.with_timezone(&self.zone).date_naive().checked_sub_days(Days::new(1));
        let days = (0..HORIZON_DAYS).filter_map(move |n| first?.checked_add_days(Days::new(n)));
        let until = self.closed_until;
        days.flat_map(move |date| {
            let mut edges: Vec<DateTime<Utc>> = Vec::new();
            for interval in &self.day(date).intervals {
                edges.extend(instant(self.zone, date, interval.from, Edge::Begin));
                edges.extend(instant(self.zone, date, interval.to, Edge::End));
            }
            let same_day = |until: &DateTime<Utc>| until.with_timezone(&self.zone).date_naive() == date;
            edges.extend(until.filter(same_day));
            edges.sort_unstable();
            edges
        })
    }
}

const TICK: chrono::Duration = chrono::Duration::milliseconds(1);

fn sorted(intervals: &[At<Interval>]) -> Vec<Interval> {
    let mut values: Vec<Interval> = intervals.iter().map(|i| i.value).collect();
    values.sort_unstable();
    values
}

/// Overlaps within a day, and of a day's interval past midnight with the next day's.
fn check_overlaps(today: &[At<Interval>], next: &[At<Interval>], mistakes: &mut Vec<Diagnostic>) {
    for (index, a) in today.iter().enumerate() {
        let tomorrow = next.iter().map(|b| (b, b.value.from + 1440, b.value.to + 1440));
        let same = today.iter().skip(index + 1).map(|b| (b, b.value.from, b.value.to));
        for (b, from, to) in same.chain(tomorrow) {
            if a.value.from < to && from < a.value.to {
                let what = format!("the hours overlap with those of line {}", a.place.line);
                mistakes.push(Diagnostic::error(&b.place, what).allowed("intervals that do not meet"));
            }
        }
    }
}

fn compile_exceptions(
    exceptions: &[raw::Exception],
    mistakes: &mut Vec<Diagnostic>,
) -> BTreeMap<NaiveDate, Day> {
    let mut days = BTreeMap::new();
    for exception in exceptions {
        check_overlaps(&exception.intervals, &[], mistakes);
        let why = if exception.holiday { Why::ExceptionHoliday } else { Why::Exception };
        let day = Day { intervals: sorted(&exception.intervals), why };
        if days.insert(exception.date.value, day).is_some() {
            let what = format!("a second exception for {}", exception.date.value);
            mistakes.push(Diagnostic::error(&exception.date.place, what).allowed("one exception a date"));
        }
    }
    days
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::raw::Place;

    fn at<T>(value: T) -> At<T> {
        At { value, place: Place::default() }
    }

    fn helpline(zone: &str) -> raw::Helpline {
        let word = || at(String::new());
        raw::Helpline {
            name: word(),
            zone: at(zone.into()),
            languages: Vec::new(),
            codecs: Vec::new(),
            music: Vec::new(),
            music_level_dbov: at(-32),
            log_in: word(),
            log_out: word(),
            pause: word(),
            resume: word(),
            conference: word(),
        }
    }

    fn office() -> raw::Hours {
        let day = || vec![at(Interval { from: 9 * 60, to: 17 * 60 })];
        raw::Hours {
            place: Place::default(),
            week: [day(), day(), day(), day(), day(), Vec::new(), Vec::new()],
            belgian_holidays: at(true),
            exceptions: Vec::new(),
            closed_until: None,
        }
    }

    fn compiled(hours: &raw::Hours) -> Schedule {
        Schedule::compile(&helpline("Europe/Brussels"), hours).unwrap_or_else(|m| panic!("{m:?}"))
    }

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap_or_else(|_| panic!("{text}"))
    }

    #[test]
    fn working_days_from_nine_to_five_in_brussels() {
        let s = compiled(&office());
        for (when, open, until) in [
            ("2026-11-23T07:59:59Z", false, "2026-11-23T08:00:00Z"),
            ("2026-11-23T08:00:00Z", true, "2026-11-23T16:00:00Z"),
            ("2026-11-23T15:59:59Z", true, "2026-11-23T16:00:00Z"),
            ("2026-11-23T16:00:00Z", false, "2026-11-24T08:00:00Z"),
            ("2026-11-27T16:00:00Z", false, "2026-11-30T08:00:00Z"),
            ("2026-07-20T15:00:00Z", false, "2026-07-22T07:00:00Z"),
        ] {
            let state = s.state_at(utc(when));
            assert_eq!((state.open, state.until), (open, Some(utc(until))), "{when}");
        }
    }

    #[test]
    fn answered_within_two_working_days() {
        let s = compiled(&office());
        for (when, days, by) in [
            ("2026-11-23T10:00:00Z", 2, Some("2026-11-25T16:00:00Z")),
            ("2026-11-27T20:00:00Z", 2, Some("2026-12-01T16:00:00Z")),
            ("2026-11-28T10:00:00Z", 2, Some("2026-12-01T16:00:00Z")),
            // 11 November is a holiday.
            ("2026-11-10T10:00:00Z", 2, Some("2026-11-13T16:00:00Z")),
            ("2026-11-23T10:00:00Z", 1, Some("2026-11-24T16:00:00Z")),
            ("2026-11-23T10:00:00Z", 0, None),
        ] {
            assert_eq!(s.end_of_working_day(utc(when), days), by.map(utc), "{when} {days}");
        }
    }

    #[test]
    fn a_holiday_says_so_and_an_exception_beats_it() {
        let mut hours = office();
        assert!(compiled(&hours).state_at(utc("2026-11-11T10:00:00Z")).is_holiday());
        let open = vec![at(Interval { from: 600, to: 720 })];
        let date = at(NaiveDate::from_ymd_opt(2026, 11, 11).expect("a date"));
        hours.exceptions.push(raw::Exception { date, intervals: open, holiday: false });
        let state = compiled(&hours).state_at(utc("2026-11-11T10:00:00Z"));
        assert_eq!(
            (state.open, state.why, state.until),
            (true, Why::Exception, Some(utc("2026-11-11T11:00:00Z")))
        );
    }

    #[test]
    fn the_operators_override_beats_all_and_ends() {
        let mut hours = office();
        hours.closed_until = Some(at("2026-11-23T13:30:00".parse().expect("a time")));
        let s = compiled(&hours);
        let state = s.state_at(utc("2026-11-23T09:00:00Z"));
        assert_eq!(
            (state.open, state.why, state.until),
            (false, Why::Override, Some(utc("2026-11-23T12:30:00Z")))
        );
        let opening = s.next_opening(utc("2026-11-23T09:00:00Z"));
        assert_eq!(opening.map(|o| (o.hour, o.minute, o.days_ahead)), Some((13, 30, 0)));
    }

    #[test]
    fn the_next_opening_is_spoken_as_weekday_and_hour() {
        let s = compiled(&office());
        let opening = s.next_opening(utc("2026-12-24T17:00:00Z"));
        let expected = LocalTime { weekday: Weekday::Mon, hour: 9, minute: 0, days_ahead: 4 };
        assert_eq!(opening, Some(expected), "Christmas is a Friday");
        let closing = s.closing(utc("2026-12-24T17:00:00Z"));
        assert_eq!(closing, Some(LocalTime { hour: 17, ..expected }), "of the same turn");
        let today = s.closing(utc("2026-12-22T10:00:00Z")).map(|at| (at.hour, at.days_ahead));
        assert_eq!(today, Some((17, 0)), "it is open");
        let never = raw::Hours { week: Default::default(), ..office() };
        assert_eq!(compiled(&never).next_opening(utc("2026-12-24T17:00:00Z")), None);
    }

    #[test]
    fn hours_past_midnight_and_round_the_clock() {
        let mut hours = office();
        hours.week[0] = vec![at(Interval { from: 22 * 60, to: 30 * 60 })];
        let s = compiled(&hours);
        assert!(s.state_at(utc("2026-11-24T04:59:00Z")).open, "Tuesday 05:59, Monday's interval");
        assert!(!s.state_at(utc("2026-11-24T05:00:00Z")).open);
        hours.week = std::array::from_fn(|_| vec![at(Interval { from: 0, to: 1440 })]);
        hours.belgian_holidays = at(false);
        let state = compiled(&hours).state_at(utc("2026-11-24T05:00:00Z"));
        assert_eq!((state.open, state.until), (true, None));
    }

    #[test]
    fn state_at_agrees_with_a_naive_scan_of_both_dst_days() {
        let mut hours = office();
        hours.week[6] = vec![at(Interval { from: 90, to: 150 }), at(Interval { from: 165, to: 200 })];
        let s = compiled(&hours);
        for (day, length) in [("2026-03-28T23:00:00Z", 23), ("2026-10-24T22:00:00Z", 25)] {
            let start = utc(day);
            for minute in 0..length * 60 {
                let now = start + chrono::Duration::minutes(minute);
                let state = s.state_at(now);
                let until = state.until.expect("it changes again");
                let mut scan = now;
                while scan < until {
                    assert_eq!(s.state_at(scan).open, state.open, "{now} {scan}");
                    scan += chrono::Duration::minutes(7);
                }
                assert_ne!(s.state_at(until).open, state.open, "{now}");
            }
        }
        // 01:30–02:30 and 02:45–03:20 on the day that has 02:00–03:00 twice, once, and not at all.
        let open_minutes = |day: &str| {
            let start = utc(day);
            (0..360).filter(|m| s.state_at(start + chrono::Duration::minutes(*m)).open).count()
        };
        assert_eq!(open_minutes("2026-11-14T23:00:00Z"), 95, "an ordinary Sunday");
        assert_eq!(
            open_minutes("2026-10-24T22:00:00Z"),
            170,
            "the repeated hour is open whole, in both its turns"
        );
        assert_eq!(open_minutes("2026-03-28T23:00:00Z"), 50, "the skipped hour does not count");
    }

    #[test]
    fn mistakes_are_named_all_at_once() {
        let mut hours = office();
        hours.week[0].push(at(Interval { from: 16 * 60, to: 18 * 60 }));
        hours.week[1].push(at(Interval { from: 23 * 60, to: 34 * 60 }));
        let mistakes = Schedule::compile(&helpline("Europe/Brusels"), &hours).err().unwrap_or_default();
        assert_eq!(mistakes.len(), 3, "{mistakes:?}");
        assert_eq!(mistakes.first().and_then(|m| m.nearest.as_deref()), Some("Europe/Brussels"));
    }
}
