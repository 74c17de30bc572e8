//! Belgian public holidays; Easter by the Gregorian computus (Meeus, Jones and Butcher).

use chrono::{Datelike as _, Days, NaiveDate};

/// The ten legal holidays of Belgium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holiday {
    NewYear,
    EasterMonday,
    LabourDay,
    Ascension,
    WhitMonday,
    NationalDay,
    Assumption,
    AllSaints,
    Armistice,
    Christmas,
}

/// The holiday that falls on a date, if any. (Ascension wins where it falls on 1 May.)
pub fn belgian_holiday(date: NaiveDate) -> Option<Holiday> {
    let easter = easter_sunday(date.year())?;
    let after = |days: u64| easter.checked_add_days(Days::new(days)) == Some(date);
    match (date.month(), date.day()) {
        _ if after(1) => Some(Holiday::EasterMonday),
        _ if after(39) => Some(Holiday::Ascension),
        _ if after(50) => Some(Holiday::WhitMonday),
        (1, 1) => Some(Holiday::NewYear),
        (5, 1) => Some(Holiday::LabourDay),
        (7, 21) => Some(Holiday::NationalDay),
        (8, 15) => Some(Holiday::Assumption),
        (11, 1) => Some(Holiday::AllSaints),
        (11, 11) => Some(Holiday::Armistice),
        (12, 25) => Some(Holiday::Christmas),
        _ => None,
    }
}

/// Easter Sunday of a Gregorian year.
pub fn easter_sunday(year: i32) -> Option<NaiveDate> {
    let golden = year.rem_euclid(19);
    let (century, of_century) = (year.div_euclid(100), year.rem_euclid(100));
    let (leaps, rest) = (century / 4, century % 4);
    let correction = (century - (century + 8) / 25 + 1) / 3;
    let epact = (19 * golden + century - leaps - correction + 15) % 30;
    let weekday = (32 + 2 * rest + 2 * (of_century / 4) - epact - of_century % 4) % 7;
    let late = (golden + 11 * epact + 22 * weekday) / 451;
    let day = epact + weekday - 7 * late + 114;
    NaiveDate::from_ymd_opt(year, (day / 31) as u32, (day % 31 + 1) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn easter_of_known_years() {
        for (year, month, day) in [
            (1818, 3, 22),
            (1943, 4, 25),
            (2000, 4, 23),
            (2008, 3, 23),
            (2019, 4, 21),
            (2024, 3, 31),
            (2025, 4, 20),
            (2026, 4, 5),
            (2027, 3, 28),
            (2038, 4, 25),
        ] {
            assert_eq!(easter_sunday(year), NaiveDate::from_ymd_opt(year, month, day), "{year}");
        }
    }

    #[test]
    fn the_ten_holidays_of_2026_and_no_other() {
        let first = NaiveDate::from_ymd_opt(2026, 1, 1).expect("a date");
        let found: Vec<String> = first
            .iter_days()
            .take(365)
            .filter(|d| belgian_holiday(*d).is_some())
            .map(|d| d.to_string())
            .collect();
        assert_eq!(
            found,
            [
                "2026-01-01",
                "2026-04-06",
                "2026-05-01",
                "2026-05-14",
                "2026-05-25",
                "2026-07-21",
                "2026-08-15",
                "2026-11-01",
                "2026-11-11",
                "2026-12-25"
            ]
        );
    }
}
