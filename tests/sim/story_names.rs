//! Names: a carrier behind SRV, one of whose machines is dead. The next one is tried within the same attempt, and
//! the dead one is left alone for a while.

use std::net::SocketAddr;
use std::time::Duration;

use hulplijn::config::raw::Config;
use hulplijn::sim::phone::{Deed, Manner, Script, Seen};
use hulplijn::sim::story::SUNDAY;
use hulplijn::sim::world::World;
use hulplijn::sip::target::{Answer, Naptr, Question, Srv};
use hulplijn::telemetry::notice::{Notice, Outcome};

const FIRST: &str = "10.0.3.1:5070";
const SECOND: &str = "10.0.3.2:5080";

fn service(priority: u16, port: u16, target: &str) -> Srv {
    Srv { priority, weight: 1, port, target: target.to_owned() }
}

/// A carrier known by its name alone, with two machines, the first of which has this manner. The helpline is
/// closed: who presses 1 has 106, over the carrier.
fn closed(first: Manner, change: impl FnOnce(&mut Config)) -> World {
    let mut world = World::with_config(SUNDAY, |config| {
        for trunk in &mut config.trunks {
            trunk.target.get_or_insert_default().value = "sip:carrier.example".to_owned();
        }
        change(config);
    });
    let services = vec![service(2, 5080, "two.carrier.example"), service(1, 5070, "one.carrier.example")];
    world.names.insert(Question::Services("_sip._udp.carrier.example".into()), Answer::Services(services));
    for (host, address) in [("one", FIRST), ("two", SECOND)] {
        let address: SocketAddr = address.parse().unwrap();
        let question = Question::Addresses(format!("{host}.carrier.example"));
        world.names.insert(question, Answer::Addresses(vec![address.ip()]));
    }
    let takes = Some("106".to_owned());
    world.phone("first", FIRST, Script { takes: takes.clone(), ..Script::manner(first) });
    world.phone("second", SECOND, Script { takes, ..Script::answers(1).then(20, Deed::HangUp) });
    world
}

/// A caller who asks for 106 and gets this machine; how long that took.
fn is_connected(world: &mut World, caller: &str, to: &str, within: u64) -> Duration {
    world.calls(caller, "1712", Script::default());
    world.until_hears(caller, "closed-menu");
    world.presses(caller, "1");
    world.until_hears(caller, "music");
    let began = world.elapsed();
    world.until(within, &format!("{caller} with {to}"), |world| world.hears(caller) == to);
    world.elapsed().saturating_sub(began)
}

fn set_aside(world: &World) -> usize {
    world.told(|notice| matches!(notice, Notice::SetAside { .. }))
}

fn invites(world: &World, name: &str) -> usize {
    world.at_phone(name).times(Seen::Invited)
}

#[test]
fn rfc_3263_4_3_the_second_machine_has_the_call_within_one_attempt_and_the_next_call_at_once() {
    let mut world = closed(Manner::Dead, |_| {});
    let first = is_connected(&mut world, "kim", "second", 8);
    assert!(first > Duration::from_secs(5), "{first:?}");
    assert_eq!((set_aside(&world), invites(&world, "second")), (1, 1));
    world.run_s(10);
    let next = is_connected(&mut world, "lou", "second", 3);
    assert!(next < Duration::from_millis(2500), "{next:?}");
    assert_eq!((set_aside(&world), invites(&world, "second")), (1, 2), "the dead one is not tried");
    world.run_s(30);
    assert_eq!(world.outcomes(), [Outcome::Referred, Outcome::Referred]);
    world.finish();
}

#[test]
fn rfc_3263_4_3_a_refusal_is_an_answer_for_all_machines() {
    for status in [404, 486, 500] {
        let mut world = closed(Manner::Refuses(status), |_| {});
        world.calls("kim", "1712", Script::default());
        world.until_hears("kim", "closed-menu");
        world.presses("kim", "1");
        world.until_hears("kim", "refer-failed");
        assert_eq!((invites(&world, "first"), invites(&world, "second"), set_aside(&world)), (1, 0, 0));
        world.finish();
    }
}

#[test]
fn a_machine_that_was_set_aside_is_tried_again_and_is_free_when_it_answers() {
    let mut world = closed(Manner::Refuses(503), |_| {});
    let first = is_connected(&mut world, "kim", "second", 4);
    assert!(first < Duration::from_secs(2), "a refusal costs no time: {first:?}");
    assert_eq!(set_aside(&world), 1);
    world.run_s(70);
    let index = world.phones.iter().position(|(name, _)| name == "first").unwrap();
    world.phones[index].1.script.manner = Manner::Answers(Duration::from_secs(1));
    is_connected(&mut world, "lou", "first", 4);
    world.finish();
}

#[test]
fn a_port_that_is_closed_is_passed_over_and_when_all_are_the_caller_hears_so() {
    let mut world = closed(Manner::Busy, |_| {});
    world.unreachable.insert(FIRST.parse().unwrap());
    is_connected(&mut world, "kim", "second", 3);
    world.unreachable.insert(SECOND.parse().unwrap());
    world.run_s(30);
    world.calls("lou", "1712", Script::default());
    world.until_hears("lou", "closed-menu");
    world.presses("lou", "1");
    world.until(15, "refer-failed", |world| world.hears("lou") == "refer-failed");
    // The first has been free again for a moment.
    assert_eq!(set_aside(&world), 3);
    world.finish();
}

#[test]
fn a_backup_carrier_is_called_before_machines_that_failed() {
    let mut world = closed(Manner::Dead, |config| {
        let mut backup = config.trunks[0].clone();
        backup.name.value = "backup".into();
        backup.target.get_or_insert_default().value = "sip:10.0.4.1:5060".into();
        config.trunks[0].backup = Some(backup.name.clone());
        config.trunks.push(backup);
    });
    let takes = Some("106".to_owned());
    let answers = Script::answers(1).then(10, Deed::HangUp);
    world.phone("backup", "10.0.4.1:5060", Script { takes, ..answers });
    world.unreachable.insert(SECOND.parse().unwrap());
    is_connected(&mut world, "kim", "backup", 9);
    world.run_s(15);
    let next = is_connected(&mut world, "lou", "backup", 3);
    assert!(next < Duration::from_millis(2500), "{next:?}");
    assert_eq!(set_aside(&world), 2);
    world.finish();
}

#[test]
fn rfc_3263_4_1_naptr_leads_past_transports_that_we_do_not_speak() {
    let mut world = closed(Manner::Answers(Duration::from_secs(1)), |_| {});
    let pointer = |order, services: &str, replacement: &str| Naptr {
        order,
        preference: 1,
        flags: "s".into(),
        services: services.into(),
        replacement: replacement.into(),
    };
    let pointers = vec![
        pointer(1, "SIPS+D2T", "_sips._tcp.carrier.example"),
        pointer(2, "SIP+D2U", "_here.carrier.example"),
    ];
    world.names.insert(Question::Pointers("carrier.example".into()), Answer::Pointers(pointers));
    let here = vec![service(1, 5080, "two.carrier.example")];
    world.names.insert(Question::Services("_here.carrier.example".into()), Answer::Services(here));
    is_connected(&mut world, "kim", "second", 4);
    assert_eq!(invites(&world, "first"), 0);
    world.finish();
}

#[test]
fn a_name_service_that_fails_now_and_then_loses_no_call_for_ever() {
    for n in 1..=6 {
        let mut world = closed(Manner::Answers(Duration::from_secs(1)), |_| {});
        world.faults.nth_dns = Some(n);
        world.calls("kim", "1712", Script::default());
        world.until_hears("kim", "closed-menu");
        world.presses("kim", "1");
        world.until(20, "106 or the words of its number", |world| {
            ["first", "second", "refer-failed"].contains(&world.hears("kim").as_str())
        });
        world.finish();
    }
}
