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

/// "We are open again on Monday, from nine until half past five"; only "at nine" when it is open past that day; nothing
/// when the day is more than a week away.
pub fn next_opening(at: &LocalTime, closing: Option<&LocalTime>) -> Vec<String> {
    let mut says: Vec<String> = match at.days_ahead {
        0 => vec!["opens-today".into()],
        1 => vec!["opens-tomorrow".into()],
        2..NAMED_DAYS => vec!["opens-again".into(), day(at.weekday).into()],
        _ => return Vec::new(),
    };
    let Some(closing) = closing.filter(|closing| is_of_one_turn(*at, **closing)) else {
        says.push("at-hour".into());
        says.extend(time(*at));
        return says;
    };
    says.push("from-hour".into());
    says.extend(time(*at));
    says.push("until-hour".into());
    says.extend(time(*closing));
    says
}

/// "We are open until ten"; nothing when that is not today, nor in the coming night.
pub fn closing(now: &LocalTime, at: &LocalTime) -> Vec<String> {
    if !is_of_one_turn(*now, *at) {
        return Vec::new();
    }
    std::iter::once("open-until".to_owned()).chain(time(*at)).collect()
}

/// Whether the hour alone says which moment is meant.
fn is_of_one_turn(from: LocalTime, to: LocalTime) -> bool {
    let minutes = |time: LocalTime| u32::from(time.hour) * 60 + u32::from(time.minute);
    match to.days_ahead.checked_sub(from.days_ahead) {
        Some(0) => true,
        Some(1) => minutes(to) < minutes(from),
        _ => false,
    }
}

/// `hour-9`, `half-9` (half past nine, `half tien`, `neuf heures et demie`), `hour-9 number-15`.
fn time(at: LocalTime) -> Vec<String> {
    let hour = at.hour;
    match at.minute {
        0 => vec![format!("hour-{hour}")],
        30 => vec![format!("half-{hour}")],
        minute => std::iter::once(format!("hour-{hour}")).chain(number(minute.into())).collect(),
    }
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
    let fixed =
        ["opens-again", "opens-today", "opens-tomorrow", "open-until", "at-hour", "from-hour", "until-hour"]
            .map(str::to_owned);
    let hours = (0..24).flat_map(|h| [format!("hour-{h}"), format!("half-{h}")]);
    fixed.into_iter().chain(days).chain(hours).chain((0..60).flat_map(number)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_opening_is_spoken_with_day_and_hour() {
        let at = |days_ahead, hour, minute| LocalTime { weekday: Weekday::Mon, hour, minute, days_ahead };
        let cases = [
            (at(0, 9, 0), None, "opens-today at-hour hour-9"),
            (at(1, 9, 30), None, "opens-tomorrow at-hour half-9"),
            (at(3, 17, 15), None, "opens-again day-monday at-hour hour-17 number-15"),
            (at(7, 9, 0), Some(at(7, 17, 0)), ""),
            (at(3, 9, 0), Some(at(3, 17, 30)), "opens-again day-monday from-hour hour-9 until-hour half-17"),
            (at(0, 22, 0), Some(at(1, 6, 0)), "opens-today from-hour hour-22 until-hour hour-6"),
            // Day and night from then on: an hour would be of another day than it seems.
            (at(1, 9, 0), Some(at(2, 9, 0)), "opens-tomorrow at-hour hour-9"),
            (at(1, 9, 0), Some(at(4, 8, 0)), "opens-tomorrow at-hour hour-9"),
        ];
        for (time, until, spoken) in cases {
            assert_eq!(next_opening(&time, until.as_ref()).join(" "), spoken);
        }
        assert_eq!(closing(&at(0, 9, 1), &at(0, 22, 0)).join(" "), "open-until hour-22");
        assert_eq!(closing(&at(0, 20, 0), &at(1, 2, 30)).join(" "), "open-until half-2");
        assert_eq!(closing(&at(0, 1, 0), &at(1, 2, 0)).join(" "), "");
        assert_eq!(number(1000).join(" "), "number-more");
        assert_eq!(digits("0-9").join(" "), "number-0 number-9");
    }

    fn texts(language: &str) -> toml::Table {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("prompts");
        let text = std::fs::read_to_string(root.join(language).join("texts.toml")).expect("the texts");
        text.parse().expect("valid TOML")
    }

    #[test]
    fn opening_hours_are_whole_sentences_in_each_language() {
        let at = |days_ahead, hour, minute| LocalTime { weekday: Weekday::Mon, hour, minute, days_ahead };
        let monday = next_opening(&at(3, 9, 0), Some(&at(3, 17, 30)));
        let tomorrow = next_opening(&at(1, 12, 30), None);
        let now = closing(&at(0, 9, 0), &at(0, 22, 0));
        let sentences = [
            (
                "nl",
                "We zijn opnieuw open op maandag van negen uur tot half zes 's middags",
                "We zijn morgen opnieuw open om half één 's middags",
                "We zijn open tot tweeëntwintig uur",
            ),
            (
                "fr",
                "Nous rouvrons lundi de neuf heures à dix-sept heures et demie",
                "Nous rouvrons demain à midi et demi",
                "Nous sommes ouverts jusqu'à vingt-deux heures",
            ),
            (
                "en",
                "We are open again on Monday from nine a.m. until half past five p.m.",
                "We are open again tomorrow at half past noon",
                "We are open until ten p.m.",
            ),
        ];
        for (language, on_monday, on_tomorrow, until) in sentences {
            let texts = texts(language);
            let said = |parts: &[String]| {
                let text = |part: &String| texts.get(part).and_then(toml::Value::as_str).unwrap_or("nothing");
                parts.iter().map(text).collect::<Vec<_>>().join(" ")
            };
            assert_eq!([said(&monday), said(&tomorrow), said(&now)], [on_monday, on_tomorrow, until]);
        }
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
        for language in ["nl", "fr", "en"] {
            let texts = texts(language);
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
