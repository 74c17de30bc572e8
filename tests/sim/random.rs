//! Worlds drawn from seeds: 0 to 20 % loss, reordering, repetition, any script, faults, the operator's
//! reload. `SIM_SEEDS=n` runs more of them, `SEED=n` runs one with its trace.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hulplijn::base::id::Rng;
use hulplijn::sim::link::Weather;
use hulplijn::sim::phone::{Deed, Manner, Phone, Script};
use hulplijn::sim::story::{TUESDAY, policy};
use hulplijn::sim::world::{Setup, World};
use hulplijn::telemetry::notice::Notice;

const SEEDS: u64 = 500;
/// Worlds in which a third was brought to a caller.
static TOGETHER: AtomicU64 = AtomicU64::new(0);
const THREADS: u64 = 2;

#[test]
fn every_caller_is_helped_or_told_in_any_weather_and_nothing_is_left() {
    if let Some(seed) = number("SEED") {
        return live(seed, true).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
    }
    let seeds = number("SIM_SEEDS").unwrap_or(SEEDS);
    let broken: Vec<(u64, String)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|t| {
                scope.spawn(move || {
                    (0..seeds).filter(|s| s % THREADS == t).filter_map(attempt).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|t| t.join().unwrap()).collect()
    });
    for (seed, what) in &broken {
        eprintln!("SEED={seed}: {what}");
    }
    if let Some((seed, what)) = broken.first() {
        let _ = catch_unwind(|| live(*seed, true).unwrap());
        panic!("{} of {seeds} seeds are broken; the first is SEED={seed}: {what}", broken.len());
    }
    let together = TOGETHER.load(Ordering::Relaxed);
    assert!(together * 50 >= seeds, "only {together} of {seeds} worlds had a third");
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn attempt(seed: u64) -> Option<(u64, String)> {
    match catch_unwind(AssertUnwindSafe(|| live(seed, false))) {
        Ok(Ok(())) => None,
        Ok(Err(broken)) => Some((seed, broken)),
        Err(_) => Some((seed, "a panic".to_owned())),
    }
}

/// One world from its first call to the empty table.
fn live(seed: u64, traced: bool) -> Result<(), String> {
    let mut rng = Rng::from_number(seed);
    let weather = Weather::draw(&mut rng);
    let start = TUESDAY.parse().unwrap_or_default();
    let setup =
        Setup { policy: policy(1, None, |_| {}), start, seed: rng.u64(), weather, traced, wired: false };
    let mut world = World::new(setup);
    world.know_names();
    let result = life(&mut world, &mut rng);
    let together = world.told(|notice| matches!(notice, Notice::BroughtTogether { .. })) > 0;
    TOGETHER.fetch_add(together.into(), Ordering::Relaxed);
    if result.is_err() {
        world.trace.print();
    }
    result
}

fn life(world: &mut World, rng: &mut Rng) -> Result<(), String> {
    people(world, rng);
    if rng.below(3) == 0 {
        world.check.faults_expected = true;
        (world.faults.media_rate, world.faults.store_rate, world.faults.dns_rate) = (30, 100, 100);
    }
    for _ in 0..rng.below(40) + 10 {
        world.try_run(Duration::from_millis(rng.below(15_000)))?;
        happening(world, rng)?;
    }
    calm(world)?;
    world.try_finish()
}

/// The faults stop, and nobody plays tricks in calls to come; within a quarter of an hour every caller is with somebody, or the call is over.
fn calm(world: &mut World) -> Result<(), String> {
    world.faults.stop();
    world.phones.iter_mut().for_each(|(_, phone)| phone.script.deeds.clear());
    world.set_weather(Weather::FAIR);
    world.try_run(Duration::from_secs(15 * 60))?;
    let snapshot = world.snapshot();
    let stranded = snapshot.calls - snapshot.joined - snapshot.consultations;
    if stranded > 0 {
        return Err(format!("{stranded} callers are neither with somebody nor told"));
    }
    Ok(())
}

fn people(world: &mut World, rng: &mut Rng) {
    for name in ["anna", "bart", "cleo", "centre", "eva"] {
        if rng.below(4) > 0 {
            let script = counsellor(rng);
            world.line(name, script);
        }
    }
    for number in ["106", "+32470000000"] {
        let script = counsellor(rng);
        world.carried(number, number, script.then(2, Deed::Press('1')));
    }
}

fn within(rng: &mut Rng, most: u64) -> Duration {
    Duration::from_millis(rng.below(most * 1000))
}

fn counsellor(rng: &mut Rng) -> Script {
    let manner = match rng.below(16) {
        0..=7 => Manner::Answers(within(rng, 12)),
        8 => Manner::NeverAnswers,
        9 => Manner::Busy,
        10 => Manner::Declines,
        11 => Manner::Dead,
        12 => Manner::AnswersAndHangsUp(within(rng, 10)),
        13 => Manner::RingsThenDeclines(within(rng, 20)),
        14 => Manner::AnswersBadly(within(rng, 5)),
        _ => Manner::Refuses([480, 404, 500, 302, 487, 408, 503][rng.below(7) as usize]),
    };
    let mut script = Script::manner(manner);
    for _ in 0..rng.below(4) {
        let after = within(rng, 60);
        let deed = match rng.below(9) {
            0 => Deed::Reinvite("sendonly"),
            1 => Deed::Reinvite("sendrecv"),
            2 => Deed::MoveMedia,
            3 => Deed::Refer(format!(
                "sip:{}@10.0.0.1",
                ["anna", "bart", "cleo", "106", "0900", "x"][rng.below(6) as usize]
            )),
            4 => Deed::AskForOffer,
            5 => Deed::Vanish,
            6 => Deed::HandOver("sip:bart@10.0.0.1".to_owned()),
            _ => Deed::HangUp,
        };
        script.deeds.push((after, deed));
    }
    script
}

fn caller(rng: &mut Rng) -> Script {
    let mut script = Script { speaks: within(rng, 30), ..Script::default() };
    match rng.below(24) {
        0 => script.cancels_after = Some(within(rng, 2)),
        1 => script.cancels_at_answer = true,
        2 => script.never_acks = true,
        3 => script.bye_before_ack = true,
        4 => script.late_offer = true,
        5 => (script.late_offer, script.forgets_answer) = (true, true),
        6 => script.acks_lost = 1 + rng.below(6) as u32,
        _ => {}
    }
    for _ in 0..rng.below(8) {
        let after = within(rng, 120);
        let key = ['1', '2', '3', '4', '#', '*', '7'][rng.below(7) as usize];
        let deed = match rng.below(12) {
            0 => Deed::Reinvite("sendonly"),
            1 => Deed::Reinvite("sendrecv"),
            2 => Deed::AskForOffer,
            3 => Deed::MoveMedia,
            4 => Deed::HangUp,
            5 => Deed::Vanish,
            6 => Deed::PressByInfo(key),
            7 => Deed::LateCancel,
            _ => Deed::Press(key),
        };
        script.deeds.push((after, deed));
    }
    script
}

/// A counsellor with a call asks a colleague, or whom no counsellor may, and mostly hands the caller over, sooner or
/// later than the colleague answers, or brings the two together.
fn asks(world: &mut World, rng: &mut Rng) -> Result<(), String> {
    let there = |world: &World, at: &usize| {
        let phone = &world.phones[*at].1;
        phone.script.registers.is_some() && phone.calls_up() > 0
    };
    let there: Vec<usize> = (0..world.phones.len()).filter(|at| there(world, at)).collect();
    let Some(index) = there.get(rng.below(1 + there.len() as u64) as usize).copied() else { return Ok(()) };
    let whom = ["anna", "bart", "cleo", "centre", "eva", "dirk", "106", "0900"][rng.below(8) as usize];
    world.with(index, |phone, now| phone.dial(now, whom));
    world.try_run(within(rng, 20))?;
    let deed = Deed::HandOver("sip:bart@10.0.0.1".to_owned());
    match rng.below(12) {
        0 => {}
        1 => world.with(index, |phone, now| phone.act(now, deed)),
        2..=6 => world.with(index, |phone, now| phone.act_on_first(now, deed)),
        _ => brings_together(world, rng, index),
    }
    Ok(())
}

/// The counsellor presses the code, in either call, and now and then somebody does something in the same moment.
fn brings_together(world: &mut World, rng: &mut Rng, index: usize) {
    let in_first = rng.below(3) == 0;
    for key in "*75".chars() {
        let deed = if rng.below(8) == 0 { Deed::PressByInfo(key) } else { Deed::Press(key) };
        world.with(
            index,
            |phone, now| {
                if in_first { phone.act_on_first(now, deed) } else { phone.act(now, deed) }
            },
        );
    }
    if rng.below(3) == 0 {
        let other = rng.below(world.phones.len() as u64) as usize;
        let deed = [Deed::HangUp, Deed::Reinvite("sendonly"), Deed::Vanish][rng.below(3) as usize].clone();
        world.with(other, |phone, now| phone.act(now, deed));
    }
}

fn happening(world: &mut World, rng: &mut Rng) -> Result<(), String> {
    let any = |world: &World, rng: &mut Rng| rng.below(world.phones.len() as u64) as usize;
    match rng.below(13) {
        10..=12 => return asks(world, rng),
        0..=4 => {
            let name = format!("caller-{}", world.phones.len());
            let numbers = [
                "1712", "1712", "1712", "direct", "all", "mobile", "order", "robin", "named", "vm", "0",
                "*11",
            ];
            let number = numbers[rng.below(12) as usize];
            let script = caller(rng);
            world.calls(&name, number, script);
        }
        5 => {
            let index = any(world, rng);
            world.with(index, |phone, now| phone.act(now, Deed::HangUp));
        }
        6 => {
            let index = any(world, rng);
            let deed = counsellor(rng).deeds.pop().map_or(Deed::Press('2'), |(_, deed)| deed);
            world.with(index, |phone, now| phone.act(now, deed));
        }
        7 => {
            let index = any(world, rng);
            world.with(index, Phone::unregister);
        }
        8 => {
            let weather = Weather::draw(rng);
            world.set_weather(weather);
        }
        _ => {
            let generation = world.policy.generation + 1;
            let gone = rng.below(6) as usize;
            let next = policy(generation, Some(&world.policy), |config| {
                for queue in &mut config.queues {
                    let name = ["anna", "bart", "cleo", "", "", ""][gone];
                    if queue.lines.len() > 1 {
                        queue.lines.retain(|line| line.value != name);
                    }
                }
            });
            world.reload(next);
        }
    }
    Ok(())
}
