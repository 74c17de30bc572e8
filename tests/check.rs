//! `hulplijn check`: every mistake at once, with file, line, what was found, what is allowed, the nearest name.

mod support;

use std::fs;

use support::Site;
use support::server::{HELPLINE, binary};

/// Checks the usual configuration with this change; exit code, findings, and the text that was checked.
fn check(change: impl Fn(&str) -> String) -> (Option<i32>, Vec<String>, String) {
    let text = change(HELPLINE);
    assert_ne!(text, HELPLINE, "the change changes nothing");
    let site = Site::new(&text);
    let output = site.command(&["check"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), said.lines().map(str::to_owned).collect(), text)
}

/// The number of the line that this stands in.
fn line_of(text: &str, found: &str) -> usize {
    1 + text.lines().position(|line| line.contains(found)).unwrap_or_else(|| panic!("no {found}"))
}

/// One change, one mistake: it is named where it stands, with these words.
fn finds(from: &str, to: &str, stands: &str, words: &[&str]) {
    assert!(HELPLINE.contains(from), "the usual configuration has no {from}");
    let (code, findings, text) = check(|text| text.replacen(from, to, 1));
    assert_eq!(code, Some(1), "{findings:?}");
    let place = format!("all.toml:{}: error:", line_of(&text, stands));
    let found = findings.iter().find(|f| f.contains(&place) && words.iter().all(|word| f.contains(word)));
    assert!(found.is_some(), "no `{place}` with {words:?} among\n{}", findings.join("\n"));
}

#[test]
fn a_good_configuration_has_nothing_to_say() {
    let site = Site::new(HELPLINE);
    let output = site.command(&["check"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!((output.status.code(), said.as_str()), (Some(0), "0 errors, 0 warnings\n"));
}

#[test]
fn an_unknown_key_with_the_nearest_name() {
    finds("dial = \"wait\"", "dail = \"wait\"", "dail", &["unknown key `dail`", "did you mean `dial`?"]);
    finds("wrap-up = \"0s\"", "wrapup = \"0s\"", "wrapup", &["`wrapup`", "did you mean `wrap-up`?"]);
}

#[test]
fn an_unknown_name_with_the_nearest_one() {
    finds("lines = [\"anna\"]", "lines = [\"ana\"]", "lines = [\"ana\"]", &["`ana`", "did you mean `anna`?"]);
    finds("queue = \"fixed\"", "queue = \"fixd\"", "queue = \"fixd\"", &["`fixd`", "did you mean `fixed`?"]);
    let step = "next = \"queue\" }";
    finds(step, "next = \"queu\" }", "next = \"queu\"", &["`queu`", "did you mean `queue`?"]);
}

#[test]
fn a_password_that_is_kept_as_a_digest() {
    use std::io::Write as _;
    let site = Site::new(HELPLINE);
    let mut command = binary();
    command.arg("password").arg("anna").arg("--config").arg(site.config());
    let pipe = std::process::Stdio::piped;
    let mut child = command.stdin(pipe()).stdout(pipe()).spawn().expect("started");
    child.stdin.take().expect("a pipe").write_all(b"geheim-anna\n").expect("written");
    let made = String::from_utf8(child.wait_with_output().expect("ended").stdout).expect("text");
    assert!(made.starts_with("password = \"ha1:sha-256:") && made.contains(" md5:"), "{made}");
    let with = |line: &str| HELPLINE.replace("password = \"geheim-anna\"", line);
    let server = Site::new(&with(made.trim())).start();
    let mut phone = server.phone(4);
    let mut registration = support::Registration::new(&phone, "anna", "geheim-anna");
    registration.succeed(&mut phone, support::Algorithm::Sha256);
    registration.succeed(&mut phone, support::Algorithm::Md5);
    finds("geheim-anna", "ha1:sha-256:12", "ha1:", &["`anna`", "hulplijn password anna"]);
    let one = format!("ha1:md5:{}", "0".repeat(32));
    finds("geheim-anna", &one, "ha1:", &["has none for sha-256"]);
}

#[test]
fn a_missing_prompt() {
    let words = ["`welkome`", "missing in every language"];
    finds("prompts = [\"welcome\", ", "prompts = [\"welkome\", ", "welkome", &words);
}

#[test]
fn a_language_without_a_folder_is_one_error_with_those_that_are_there() {
    let words = ["there is no folder", "prompts/de", "`en`, `fr`, `nl`", "hulplijn prompts make"];
    finds("languages = [\"nl\", \"fr\", \"en\"]", "languages = [\"de\"]", "languages = [\"de\"]", &words);
}

#[test]
fn a_step_that_nothing_leads_to() {
    let lost = "[flow.wait]\nstart = \"wait\"\nstep.lost = { do = \"wait\" }";
    finds("[flow.wait]\nstart = \"wait\"", lost, "step.lost", &["`lost`", "reach"]);
}

#[test]
fn a_step_without_a_way_out() {
    let circle = "step.say = { do = \"play\", prompts = [\"goodbye\"], next = \"say\" }";
    finds("step.say = { do = \"hangup\", prompts = [\"goodbye\"] }", circle, "step.say", &["`say`"]);
}

#[test]
fn hours_that_overlap() {
    let twice = "monday = [\"09:00-17:00\", \"16:00-18:00\"]";
    finds("monday = [\"00:00-24:00\"]", twice, "monday", &["overlap"]);
}

#[test]
fn values_that_are_none_and_what_is_allowed() {
    finds("zone = \"Europe/Brussels\"", "zone = \"Europe/Brussel\"", "zone =", &["Europe/Brussel"]);
    finds("ring = \"20s\"", "ring = 20", "ring = 20", &["unit"]);
    finds("address = \"NET.1:5060\"", "address = \"localhost\"", "localhost", &["allowed"]);
    finds("name = \"1712\"", "name = 1712", "name = 1712", &["allowed"]);
    finds("transport = \"udp\"", "transport = \"upd\"", "\"upd\"", &["udp"]);
}

#[test]
fn a_secret_that_is_not_there_is_named_and_never_printed() {
    let from = "password = \"geheim-anna\"";
    finds(from, "password = { env = \"NO_SUCH_VARIABLE\" }", "NO_SUCH_VARIABLE", &["not set"]);
    finds(from, "password = { file = \"/no/such/secret\" }", "/no/such/secret", &["cannot be read"]);
    let (_, findings, _) = check(|text| text.replace("dial = \"wait\"", "dail = \"wait\""));
    assert!(!findings.join("\n").contains("geheim"));
}

#[test]
fn what_is_no_toml_is_named_by_its_line() {
    finds("[registrar]", "[registrar", "[registrar", &[]);
}

#[test]
fn one_forgotten_quote_is_one_error_and_what_follows_is_not_judged() {
    let (code, findings, text) = check(|text| text.replacen("realm = \"test\"", "realm = \"test", 1));
    assert_eq!(code, Some(1));
    let [only, sum] = &findings[..] else { panic!("one error: {findings:#?}") };
    assert!(only.contains(&format!("all.toml:{}: error:", line_of(&text, "realm = "))), "{only}");
    assert!(only.contains("what follows in this file was not judged"), "{only}");
    assert_eq!(sum, "1 error, 0 warnings");
}

#[test]
fn a_missing_folder_of_prompts_is_one_error_and_not_one_for_each_prompt() {
    let (code, findings, text) = check(|text| text.replacen("\"../prompts\"", "\"../promts\"", 1));
    assert_eq!(code, Some(1));
    let [only, sum] = &findings[..] else { panic!("one error: {findings:#?}") };
    assert!(
        only.contains(&format!("all.toml:{}: error: the folder of prompts", line_of(&text, "promts"))),
        "{only}"
    );
    assert_eq!(sum, "1 error, 0 warnings");
}

#[test]
fn a_fixed_line_that_no_listener_can_call() {
    let from = "sip:fixed@NET.3:5060";
    finds(
        from,
        "sip:fixed@[::1]:5060",
        "fixed@[::1]",
        &["no [[listen]] has udp and IPv6", "allowed: a [[listen]]"],
    );
    let udp = "transport = \"tcp\"\naddress = \"NET.1:5060\"";
    let (code, findings, text) = check(|text| {
        let only_udp = text.replacen(udp, "transport = \"udp\"\naddress = \"NET.1:5070\"", 1);
        only_udp.replacen(from, "sip:fixed@NET.3:5060;transport=tcp", 1)
    });
    let place =
        format!("all.toml:{}: error: no [[listen]] has tcp and IPv4", line_of(&text, "transport=tcp"));
    assert!(
        code == Some(1) && findings.iter().any(|f| f.contains(&place)),
        "no `{place}` among {findings:#?}"
    );
}

#[test]
fn a_file_in_place_of_the_directory_and_a_directory_that_is_not_there() {
    let site = Site::new(HELPLINE);
    let said = |config: &str| {
        let output = binary().args(["check", "--config", config]).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let dir = site.config().display().to_string();
    let (code, file) = said(&format!("{dir}/all.toml"));
    assert!(
        code == Some(1) && file.contains(&format!("allowed: its directory, as in `--config {dir}`")),
        "{file}"
    );
    let (code, nothing) = said(&format!("{dir}/none"));
    assert!(code == Some(1) && nothing.contains("named by `--config DIR`"), "{nothing}");
}

// --- what is allowed and hardly meant -------------------------------------------------------------------

/// One change, one warning: it is named where it stands, with these words, and nothing is refused.
fn warns(from: &str, to: &str, stands: &str, words: &[&str]) {
    let (code, findings, text) = check(|text| text.replacen(from, to, 1));
    assert_eq!(code, Some(0), "{findings:?}");
    let [warning, sum] = &findings[..] else { panic!("one warning: {findings:#?}") };
    let place = format!("all.toml:{}: warning:", line_of(&text, stands));
    assert!(
        warning.contains(&place) && words.iter().all(|word| warning.contains(word)),
        "{place}: {warning}"
    );
    assert_eq!(sum, "0 errors, 1 warning");
}

#[test]
fn opening_hours_with_begin_and_end_exchanged_are_doubted_and_a_night_is_not() {
    let all_day = "saturday = [\"00:00-24:00\"]\nsunday = [\"00:00-24:00\"]";
    let night = "saturday = [\"20:00-08:00\"]\nsunday = []";
    let (code, findings, _) = check(|text| text.replacen(all_day, night, 1));
    assert_eq!((code, findings), (Some(0), vec!["0 errors, 0 warnings".to_owned()]));
    let exchanged = "saturday = [\"17:00-09:00\"]\nsunday = []";
    let words = ["`17:00-09:00` is open for 16 hours, until 09:00 of the next day", "`09:00-17:00` if"];
    warns(all_day, exchanged, "17:00-09:00", &words);
}

#[test]
fn a_closing_and_an_exception_that_are_over_are_doubted() {
    let hours = "[hours]\n";
    let over = "[hours]\nclosed-until = \"2020-01-02T09:00\"\n";
    warns(hours, over, "closed-until", &["`closed-until` 2020-01-02 09:00:00 is over", "closes nothing"]);
    let exception =
        "[[exception]]\ndate = \"2020-12-24\"\n\n[[exception]]\ndate = \"2999-12-24\"\n\n[hours]\n";
    warns(hours, exception, "2020-12-24", &["the exception for 2020-12-24 is over"]);
}

#[test]
fn a_data_folder_that_cannot_be_written() {
    // A file in its place: not even root can write there.
    let words = ["can't write the data folder", "all.toml is no folder", "sudo chown -R", "sudo -u USER"];
    warns("data = \"../data\"", "data = \"all.toml\"", "data = ", &words);
}

#[test]
fn texts_that_cannot_be_read_are_named_by_file_and_line_though_all_recordings_are_there() {
    let site = Site::new(HELPLINE);
    let texts = site.dir.join("prompts/nl/texts.toml");
    fs::write(&texts, "welcome = \"Goedendag.\"\ngoodbye = \"Tot ziens.\nnext = \"x\"\n").expect("written");
    let output = site.command(&["check"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("nl/texts.toml:2: warning: the texts of the prompts can't be read: "), "{said}");
    assert!(said.contains("allowed: lines such as welcome ="), "{said}");
    assert!(said.ends_with("0 errors, 1 warning\n"), "{said}");
    for command in ["make", "check"] {
        let output = site.command(&["prompts", command]);
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(said.contains("nl/texts.toml:2: error: the texts of the prompts can't be read: "), "{said}");
    }
}

#[test]
fn two_lines_with_one_uri() {
    let double = "name = \"double\"\nuri = \"sip:fixed@NET.3:5060\"\n\n[[line]]\nname = \"anna\"";
    let (code, findings, text) = check(|text| text.replacen("name = \"anna\"", double, 1));
    assert_eq!(code, Some(1));
    let second = line_of(&text, "\"double\"") + 1;
    let place = format!("all.toml:{second}: error:");
    let first = format!("all.toml:{}", line_of(&text, "uri ="));
    let found =
        findings.iter().find(|f| f.contains(&place) && f.contains("already in") && f.contains(&first));
    assert!(found.is_some(), "no `{place}` with `{first}` among\n{}", findings.join("\n"));
}

#[test]
fn all_mistakes_at_once_in_the_order_of_the_file_and_none_that_only_follows_from_another() {
    let changes = [
        ("ports = \"20000-20399\"", "ports = \"many\""),
        ("monday = [\"00:00-24:00\"]", "monday = [\"25:00-26:00\"]"),
        ("tuesday = [\"00:00-24:00\"]", "tuesday = [\"09:00-12:00\", \"11:00-13:00\"]"),
        ("lines = [\"anna\"]", "lines = [\"ana\"]"),
        ("dial = \"wait\"", "dail = \"wait\""),
        ("prompts = [\"welcome\", ", "prompts = [\"welkome\", "),
        // A step that can't be read makes neither itself nor those after it look lost.
        ("step.two = { do = \"hangup\"", "step.two = { do = \"hang\""),
    ];
    let (code, findings, text) =
        check(|text| changes.iter().fold(text.to_owned(), |text, (from, to)| text.replacen(from, to, 1)));
    assert_eq!(code, Some(1));
    let place_of = |to: &str| format!("all.toml:{}: error:", line_of(&text, to));
    let mut places: Vec<String> = changes.iter().map(|(_, to)| place_of(to)).collect();
    // Without `dial` the number lacks it, which is said beside the slip.
    places.push(format!("all.toml:{}: error:", line_of(&text, "dail") - 1));
    for place in &places {
        assert!(findings.iter().any(|f| f.contains(place)), "no {place}\n{}", findings.join("\n"));
    }
    let errors: Vec<&String> = findings.iter().filter(|f| f.contains(": error:")).collect();
    let strange = errors.iter().find(|f| !places.iter().any(|place| f.contains(place)));
    assert!(strange.is_none(), "{strange:?}");
    let numbers = errors.iter().filter_map(|f| f.split("all.toml:").nth(1)?.split(':').next()?.parse().ok());
    assert!(numbers.collect::<Vec<usize>>().is_sorted(), "{}", findings.join("\n"));
}
