//! Numbers, digits and hours as names of prompts, in the order in which they are spoken.

use chrono::Weekday;

use crate::calendar::schedule::LocalTime;

/// The highest number that has a prompt of its own.
pub const HIGHEST: u32 = 59;
/// A weekday alone says which day is meant only within a week.
const NAMED_DAYS: u32 = 7;

/// `number-7`; past the highest one `number-more`.
pub fn number(n: u32) -> String {
    if n > HIGHEST { "number-more".to_owned() } else { format!("number-{n}") }
}

/// Each digit on its own; other characters are left out.
pub fn digits(text: &str) -> Vec<String> {
    text.chars().filter_map(|c| c.to_digit(10)).map(number).collect()
}

/// "We are open again on Monday at nine"; nothing when the day is more than a week away.
pub fn next_opening(at: &LocalTime) -> Vec<String> {
    let mut says: Vec<String> = match at.days_ahead {
        0 => vec!["opens-today".into()],
        1 => vec!["opens-tomorrow".into()],
        2..NAMED_DAYS => vec!["opens-again".into(), day(at.weekday).into()],
        _ => return Vec::new(),
    };
    says.push("at-hour".into());
    says.push(format!("hour-{}", at.hour));
    if at.minute > 0 {
        says.push(number(u32::from(at.minute)));
    }
    says
}

fn day(weekday: Weekday) -> &'static str {
    match weekday {
        Weekday::Mon => "day-monday",
        Weekday::Tue => "day-tuesday",
        Weekday::Wed => "day-wednesday",
        Weekday::Thu => "day-thursday",
        Weekday::Fri => "day-friday",
        Weekday::Sat => "day-saturday",
        Weekday::Sun => "day-sunday",
    }
}

/// Every prompt that this file may ask for.
pub fn vocabulary() -> Vec<String> {
    use Weekday::{Fri, Mon, Sat, Sun, Thu, Tue, Wed};
    let days = [Mon, Tue, Wed, Thu, Fri, Sat, Sun].map(|d| day(d).to_owned());
    let fixed = ["opens-again", "opens-today", "opens-tomorrow", "at-hour"].map(str::to_owned);
    let hours = (0..24).map(|h| format!("hour-{h}"));
    fixed.into_iter().chain(days).chain(hours).chain((0..=HIGHEST + 1).map(number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_opening_is_spoken_with_day_and_hour() {
        let at = |days_ahead, hour, minute| LocalTime { weekday: Weekday::Mon, hour, minute, days_ahead };
        let cases = [
            (at(0, 9, 0), "opens-today at-hour hour-9"),
            (at(1, 9, 30), "opens-tomorrow at-hour hour-9 number-30"),
            (at(3, 17, 0), "opens-again day-monday at-hour hour-17"),
            (at(7, 9, 0), ""),
        ];
        for (time, spoken) in cases {
            assert_eq!(next_opening(&time).join(" "), spoken);
        }
        assert_eq!(number(60), "number-more");
        assert_eq!(digits("0-9").join(" "), "number-0 number-9");
    }
}
