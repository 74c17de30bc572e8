//! Names: a carrier behind SRV, one of whose machines is dead; the next one is tried within the same attempt, and
//! the dead one is left alone for a while.

use std::net::SocketAddr;
use std::time::Duration;

use hulplijn::config::raw::Config;
use hulplijn::sim::phone::{Deed, Identity, Manner, Phone, Script, Seen};
use hulplijn::sim::story::{TUESDAY, seconds};
use hulplijn::sim::world::{SWITCH, World};
use hulplijn::sip::target::{Answer, Question, Service};
use hulplijn::telemetry::notice::{Notice, Outcome};

const FIRST: &str = "10.0.3.1:5070";
const SECOND: &str = "10.0.3.2:5080";

fn service(priority: u16, port: u16, target: &str) -> Service {
    Service { priority, weight: 1, port, target: target.to_owned() }
}

/// A carrier known by its name alone.
fn by_name(config: &mut Config) {
    for trunk in &mut config.trunks {
        trunk.target.get_or_insert_default().value = "sip:carrier.example".to_owned();
    }
}

/// A world with two machines of the carrier, the first of which has this manner.
fn world(first: Manner, change: impl FnOnce(&mut Config)) -> World {
    let mut world = World::with_config(TUESDAY, |config| {
        by_name(config);
        change(config);
    });
    let services = vec![service(2, 5080, "two.carrier.example"), service(1, 5070, "one.carrier.example")];
    world.names.insert(Question::Services("_sip._udp.carrier.example".into()), Answer::Services(services));
    for (host, address) in [("one", FIRST), ("two", SECOND)] {
        let address: SocketAddr = address.parse().unwrap();
        let question = Question::Addresses(format!("{host}.carrier.example"));
        world.names.insert(question, Answer::Addresses(vec![address.ip()]));
    }
    machine(&mut world, "first", FIRST, Script::manner(first));
    machine(&mut world, "second", SECOND, Script::answers(1).then(20, Deed::HangUp));
    world.run_s(1);
    world
}

fn machine(world: &mut World, name: &str, address: &str, script: Script) {
    world.phone(name, address, Script { takes: Some("106".to_owned()), ..script });
}

/// A caller who is to be connected with 106, who then hears it within this time; how long it took.
fn is_connected(world: &mut World, caller: &str, to: &str, within: u64) -> Duration {
    let began = world.elapsed();
    world.calls(caller, "secret", Script::default());
    world.until(within, &format!("{caller} with {to}"), |world| world.hears(caller) == to);
    world.elapsed() - began
}

fn set_aside(world: &World) -> usize {
    world.told(|notice| matches!(notice, Notice::SetAside { .. }))
}
