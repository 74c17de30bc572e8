//! What is shipped in `config/` can be used as it is.

use std::path::Path;

use hulplijn::calendar::schedule::Schedule;
use hulplijn::config::raw::Config;
use hulplijn::config::source::read;

/// Reads a shipped directory without any environment; there must be nothing to say about it.
fn shipped(dir: &str) -> Config {
    let reading = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(dir), &|_| None);
    let findings: Vec<String> = reading.findings.iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "{}", findings.join("\n"));
    reading.config.unwrap_or_else(|| panic!("{dir}: no finding and no configuration"))
}

#[test]
fn the_shipped_configurations_load_without_a_finding() {
    for dir in ["config", "config/examples/load"] {
        let config = shipped(dir);
        assert!(Schedule::compile(&config.helpline, &config.hours).is_ok(), "{dir}");
    }
}

#[test]
fn the_load_configuration_has_every_number_that_is_measured() {
    let config = shipped("config/examples/load");
    let dials: Vec<&str> = config.numbers.iter().map(|number| number.dial.value.as_str()).collect();
    assert_eq!(dials, ["answer", "prompt", "promptloop", "vm", "bridge", "queue", "ivr"]);
}

#[test]
fn a_newcomer_can_try_the_whole_way_at_night() {
    let config = shipped("config");
    let dials: Vec<&str> = config.numbers.iter().map(|number| number.dial.value.as_str()).collect();
    assert_eq!(dials, ["demo", "1712"]);
    let asks_the_calendar = |flow: &str| {
        let steps = config.flows.iter().filter(|f| f.name.value == flow).flat_map(|f| &f.steps);
        steps.into_iter().any(|step| matches!(step.action, hulplijn::config::raw::Action::Hours { .. }))
    };
    assert!(asks_the_calendar("1712") && !asks_the_calendar("demo"));
}
