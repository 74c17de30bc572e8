//! Numbers, digits and hours as names of prompts, in the order in which they are spoken.

use chrono::Weekday;

use crate::calendar::schedule::LocalTime;

/// Numbers below this have a prompt of their own, in which languages differ most: `eenentwintig`, `nonante-neuf`.
const OWN: u32 = 100;
/// The highest number that is composed.
pub const HIGHEST: u32 = 999;
/// A weekday alone says which day is meant only within a week.
const NAMED_DAYS: u32 = 7;

/// `number-7`; `hundred-2-and number-7`, since what is said for a hundred may depend on what follows (`two hundred
/// and`, `deux cents` and `deux cent`); past the highest one `number-more`.
pub fn number(n: u32) -> Vec<String> {
    let (hundreds, rest) = (n / OWN, n % OWN);
    match (hundreds, rest) {
        _ if n > HIGHEST => vec!["number-more".to_owned()],
        (0, _) => vec![format!("number-{rest}")],
        (_, 0) => vec![format!("hundred-{hundreds}")],
        _ => vec![format!("hundred-{hundreds}-and"), format!("number-{rest}")],
    }
}

/// Every prompt that a number may ask for.
pub fn numbers() -> Vec<String> {
    let own = (0..OWN).map(|n| format!("number-{n}"));
    let hundreds = (1..OWN / 10).flat_map(|n| [format!("hundred-{n}"), format!("hundred-{n}-and")]);
    own.chain(hundreds).chain(["number-more".to_owned()]).collect()
}

/// Each digit on its own; other characters are left out.
pub fn digits(text: &str) -> Vec<String> {
    text.chars().filter_map(|c| c.to_digit(10)).flat_map(number).collect()
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
        says.extend(number(u32::from(at.minute)));
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
    fixed.into_iter().chain(days).chain(hours).chain((0..60).flat_map(number)).collect()
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
        assert_eq!(number(1000).join(" "), "number-more");
        assert_eq!(digits("0-9").join(" "), "number-0 number-9");
    }

    /// The words of a number as a Belgian would write them, from the rules of each language.
    fn words(language: &str, n: u32) -> String {
        let below_20 = |list: &str, n: u32| list.split(' ').nth(n as usize).unwrap_or_default().to_owned();
        let (hundreds, rest) = (n / 100, n % 100);
        let small = |n: u32| match language {
            "nl" => dutch(n, &below_20),
            "fr" => french(n, &below_20),
            _ => english(n, &below_20),
        };
        let hundred = match (language, hundreds, rest) {
            (_, 0, _) => return small(rest),
            ("nl", 1, _) => "honderd".to_owned(),
            ("nl", h, _) => format!("{}honderd", small(h)),
            ("fr", 1, _) => "cent".to_owned(),
            ("fr", h, 0) => format!("{} cents", small(h)),
            ("fr", h, _) => format!("{} cent", small(h)),
            (_, h, _) => format!("{} hundred", small(h)),
        };
        match (language, rest) {
            (_, 0) => hundred,
            ("en", _) => format!("{hundred} and {}", small(rest)),
            _ => format!("{hundred} {}", small(rest)),
        }
    }

    type List<'a> = &'a dyn Fn(&str, u32) -> String;

    fn dutch(n: u32, list: List<'_>) -> String {
        let ones = "nul één twee drie vier vijf zes zeven acht negen tien elf twaalf dertien veertien vijftien \
                    zestien zeventien achttien negentien";
        let tens = "- - twintig dertig veertig vijftig zestig zeventig tachtig negentig";
        match (n / 10, n % 10) {
            (0 | 1, _) => list(ones, n),
            (t, 0) => list(tens, t),
            (t, 1) => format!("eenen{}", list(tens, t)),
            // After an `e`, the `en` bears a diaeresis: tweeëntwintig.
            (t, o @ (2 | 3)) => format!("{}ën{}", list(ones, o), list(tens, t)),
            (t, o) => format!("{}en{}", list(ones, o), list(tens, t)),
        }
    }

    fn french(n: u32, list: List<'_>) -> String {
        let ones = "zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize \
                    dix-sept dix-huit dix-neuf";
        let tens = "- - vingt trente quarante cinquante soixante septante quatre-vingt nonante";
        match (n / 10, n % 10) {
            (0 | 1, _) => list(ones, n),
            (8, 0) => "quatre-vingts".to_owned(),
            (t, 0) => list(tens, t),
            (8, o) => format!("quatre-vingt-{}", list(ones, o)),
            (t, 1) => format!("{} et un", list(tens, t)),
            (t, o) => format!("{}-{}", list(tens, t), list(ones, o)),
        }
    }

    fn english(n: u32, list: List<'_>) -> String {
        let ones = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen \
                    sixteen seventeen eighteen nineteen";
        let tens = "- - twenty thirty forty fifty sixty seventy eighty ninety";
        match (n / 10, n % 10) {
            (0 | 1, _) => list(ones, n),
            (t, 0) => list(tens, t),
            (t, o) => format!("{}-{}", list(tens, t), list(ones, o)),
        }
    }

    #[test]
    fn numbers_up_to_999_are_spoken_as_each_language_has_them() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("prompts");
        for language in ["nl", "fr", "en"] {
            let text = std::fs::read_to_string(root.join(language).join("texts.toml")).expect("the texts");
            let texts: toml::Table = text.parse().expect("valid TOML");
            for n in 0..=HIGHEST {
                let said: Vec<&str> = number(n)
                    .iter()
                    .map(|part| texts.get(part).and_then(toml::Value::as_str).unwrap_or("nothing"))
                    .map(|part| part.trim_end_matches(','))
                    .collect();
                assert_eq!(said.join(" "), words(language, n), "{language} {n}");
            }
        }
        assert_eq!(number(21).join(" "), "number-21");
        assert_eq!(number(300).join(" "), "hundred-3");
        assert_eq!(number(971).join(" "), "hundred-9-and number-71");
        assert_eq!(
            (words("nl", 21), words("fr", 71), words("fr", 99)),
            ("eenentwintig".into(), "septante et un".into(), "nonante-neuf".into())
        );
    }

    #[test]
    fn parts_follow_each_other_without_a_gap_that_could_be_heard() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("prompts");
        for language in ["nl", "fr", "en"] {
            for part in vocabulary().into_iter().chain(numbers()) {
                let path = root.join(language).join(format!("{part}.wav"));
                let samples = crate::media::audio::read_wav(&path).expect("a prompt");
                let loud = |s: &i16| s.unsigned_abs() > 300;
                let before = samples.iter().position(loud).unwrap_or(samples.len());
                let after = samples.iter().rev().position(loud).unwrap_or(samples.len());
                // A stop such as the `t` of `acht` is silent before it bursts.
                assert!(
                    before <= 1200 && after <= 2400,
                    "{language}/{part}: {before} and {after} samples of silence"
                );
            }
        }
    }
}
