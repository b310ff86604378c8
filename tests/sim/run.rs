//! A whole run, from the first boot to rest, and what is looked at on the way; and many runs, on all processors.

use crate::clock::{GIVE_UP, SECOND};
use crate::coverage::Coverage;
use crate::oracle::agreement::{End, Scene};
use crate::oracle::dialplan::{self, Attempt};
use crate::oracle::{Failure, state};
use crate::phone::call::{CallLog, Ending};
use crate::scenario::{Fault, Mood, Scenario};
use crate::world::World;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use strowger::engine::record::Binding;

#[derive(Default, Clone, Debug)]
pub struct Tally {
    pub calls: u64,
    pub answered: u64,
    pub standing: u64,
    pub steps: u64,
}

pub struct Report {
    pub seed: u64,
    pub hash: u64,
    pub failure: Option<Failure>,
    /// Scenario, ladder and decisions; only of failing runs.
    pub story: String,
    pub tally: Tally,
    pub coverage: Coverage,
}

pub fn run(seed: u64, whole: bool) -> Report {
    let mut world = World::new(Scenario::of(seed));
    let outcome = catch_unwind(AssertUnwindSafe(|| play(&mut world)));
    if let Err(panic) = outcome {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
        world.verdict.fail("the engine does not panic", text.unwrap_or_default());
    }
    let failure = world.verdict.failures.first().cloned();
    let story = failure
        .as_ref()
        .map_or(String::new(), |_| format!("{}\n{}", world.scenario.describe(), world.ladder.text(whole)));
    let standing = world.standing;
    Report {
        seed,
        hash: world.hash(),
        failure,
        story,
        tally: Tally { calls: world.books.ended, answered: world.books.answered, standing, steps: world.steps },
        coverage: world.coverage,
    }
}

fn play(world: &mut World) {
    let active = world.scenario.active;
    if world.scenario.mood == Mood::Storm {
        world.trouble.add(None, 0, active + 3 * GIVE_UP);
    }
    world.run_until(active);
    if world.failed() {
        return;
    }
    world.mend_everything();
    world.phones.iter_mut().for_each(|phone| phone.freeze());
    // What rings is answered or given up; what was offered is answered.
    world.run_until(active + GIVE_UP + world.scenario.ring_timeout + 10 * SECOND);
    agree(world);
    if world.failed() {
        return;
    }
    let now = world.now;
    world.note("everybody hangs up".into());
    world.phones.iter_mut().for_each(|phone| phone.stop(now));
    come_to_rest(world);
    probe(world);
    leave(world);
}

/// Everything settles within 64·T1; calls of phones that lost their memory when their session runs out.
fn come_to_rest(world: &mut World) {
    let quirky = world.phones.iter().any(|phone| {
        let quirks = &phone.profile.quirks;
        quirks.forgets > 0 || quirks.never_acks > 0 || quirks.answers_twice > 0 || quirks.garbage > 0
    });
    let broken = !matches!(world.scenario.mood, Mood::Clear | Mood::Rain);
    let forgiven = if quirky || broken { 300 * SECOND + 2 * GIVE_UP } else { 0 };
    let end = world.now + GIVE_UP + 2 * SECOND + forgiven;
    while world.now < end && !world.failed() && !at_rest(world) {
        world.run_until((world.now + SECOND).min(end));
    }
    if world.failed() {
        return;
    }
    state::judge_rest(&world.audit, &mut world.verdict);
    judge_tenancy(world);
    judge_outcomes(world);
    judge_messages(world);
    world.books.judge_rest(&mut world.verdict);
    world.wire.judge_rest(&mut world.verdict);
    for phone in &world.phones {
        let quiet = phone.is_quiet();
        world
            .verdict
            .hold(quiet, "phones come to rest", || format!("phone {}: {}", phone.profile.index, phone.unfinished()));
    }
}

fn at_rest(world: &World) -> bool {
    state::is_at_rest(&world.audit) && world.phones.iter().all(|phone| phone.is_quiet())
}

/// No call joins phones of different tenants.
fn judge_tenancy(world: &mut World) {
    let mut tenant_of_call = BTreeMap::new();
    for (phone, tenant) in world.phones.iter().zip(&world.scenario.tenant_of) {
        for log in &phone.logs {
            let Some(call) = world.books.call_of(&log.call_id) else { continue };
            let first = *tenant_of_call.entry(call).or_insert(*tenant);
            let direction = if log.outgoing { "called" } else { "was called by" };
            world.verdict.hold(first == *tenant, "tenants can't reach each other", || {
                format!("phone {} {direction} {}", phone.profile.index, log.peer)
            });
        }
    }
}

/// In a clear office the outcome of every call follows from the number dialled and what the phones said.
fn judge_outcomes(world: &mut World) {
    let clear = world.scenario.mood == Mood::Clear && !world.scenario.is_patient();
    if !clear || world.ports_were_short {
        return;
    }
    let mut rung: BTreeMap<_, Vec<&CallLog>> = BTreeMap::new();
    for log in world.phones.iter().flat_map(|phone| &phone.logs).filter(|log| !log.outgoing && !log.ghost) {
        if let Some(call) = world.books.call_of(&log.call_id) {
            rung.entry(call).or_default().push(log);
        }
    }
    for (phone, tenant) in world.phones.iter().zip(&world.scenario.tenant_of) {
        for log in phone.logs.iter().filter(|log| log.outgoing && log.cancelled.is_none()) {
            let Some(call) = world.books.call_of(&log.call_id) else { continue };
            let attempt = Attempt {
                log,
                exists: world.scenario.has_extension(*tenant, &log.peer),
                rung: rung.get(&call).cloned().unwrap_or_default(),
            };
            dialplan::judge(&attempt, &mut world.verdict);
        }
    }
}

/// A MESSAGE that was accepted has arrived, once at each phone, and nowhere in another tenant.
fn judge_messages(world: &mut World) {
    let got: Vec<(usize, &String)> = world
        .phones
        .iter()
        .flat_map(|phone| phone.messages_got.iter().map(|body| (phone.profile.index, body)))
        .collect();
    for phone in &world.phones {
        for body in &phone.messages_accepted {
            let arrived = got.iter().any(|(_, other)| *other == body);
            world.verdict.hold(arrived, "an accepted MESSAGE arrives", || body.clone());
            let tenant = world.scenario.tenant_of[phone.profile.index];
            let strayed = got.iter().any(|(at, other)| *other == body && world.scenario.tenant_of[*at] != tenant);
            world.verdict.hold(!strayed, "tenants can't reach each other", || body.clone());
        }
    }
    for (at, (phone, body)) in got.iter().enumerate() {
        let twice = got[..at].contains(&(*phone, *body));
        let excused = world.trouble.excuses(*phone, 0, world.now);
        world.verdict.hold(!twice || excused, "a MESSAGE arrives once", || format!("phone {phone}: {body}"));
    }
}

/// Everybody pulls the plug: when the registrations have run out, the engine holds nothing any more.
fn leave(world: &mut World) {
    if world.failed() {
        return;
    }
    world.note("everybody leaves".into());
    for phone in 0..world.phones.len() {
        world.unplug(phone);
    }
    world.run_until(world.now + 130 * SECOND + GIVE_UP);
    if !world.failed() {
        state::judge_emptiness(&world.audit, &mut world.verdict);
    }
}

/// The phones, the engine and the media plane agree on the calls that stand.
fn agree(world: &mut World) {
    if world.failed() {
        return;
    }
    let mut ends = Vec::new();
    for phone in &world.phones {
        for call in phone.calls.values() {
            let since = phone.logs[call.log].started;
            let sound = !world.trouble.excuses(phone.profile.index, since, world.now);
            ends.push(End { phone, call, sound });
        }
    }
    let scene = Scene { ends, audit: &world.audit, plane: &world.daemon.plane };
    world.standing += scene.judge(&mut world.verdict);
}

/// After all that, two phones call each other: the exchange still works.
fn probe(world: &mut World) {
    if world.failed() {
        return;
    }
    world.note("the test call".into());
    // Every phone has registered again by now: none asks for more than 120 s.
    world.run_until(world.now + 130 * SECOND);
    world.phones.iter_mut().for_each(|phone| phone.behave());
    judge_bindings(world);
    let fit: Vec<usize> = (0..world.phones.len()).filter(|phone| is_fit(world, *phone)).collect();
    let pair = fit.iter().find_map(|caller| {
        let callee = fit.iter().find(|callee| may_call(world, *caller, **callee))?;
        Some((*caller, *callee))
    });
    let Some((caller, callee)) = pair else { return };
    let number = world.phones[callee].profile.extension.clone();
    let logged = world.phones[caller].logs.len();
    world.phones[caller].dial_now(world.now, &number);
    let begun = world.now;
    world.run_until(begun + 12 * SECOND);
    if world.failed() {
        return;
    }
    let log = world.phones[caller].logs.get(logged).cloned();
    let up = log.as_ref().is_some_and(|log| log.confirmed.is_some() && log.ending == Ending::Open);
    world.verdict.hold(up, "after the faults calls work again", || format!("phone {caller} dialled {number}: {log:?}"));
    agree(world);
    let now = world.now;
    world.phones.iter_mut().for_each(|phone| phone.stop(now));
    come_to_rest(world);
}

/// What a phone was told about its registration is what the engine has and the journal kept.
fn judge_bindings(world: &mut World) {
    for phone in &world.phones {
        let stands = phone.powered && phone.registration.stands(world.now);
        let address = phone.profile.address.to_string();
        let tenant = world.scenario.tenant_of[phone.profile.index];
        let fits = |binding: &&Arc<Binding>| {
            binding.tenant == tenant && *binding.extension == *phone.profile.extension && binding.uri.contains(&address)
        };
        let engine = world.wire.bindings().any(|binding| fits(&binding));
        let journal = world.daemon.journal.bindings.values().any(|binding| fits(&binding));
        world.verdict.hold(!stands || (engine && journal), "a registered phone has its binding", || {
            format!("phone {} at {address}: engine {engine}, journal {journal}", phone.profile.index)
        });
    }
    let refused = world.scenario.faults.iter().any(|(_, fault)| matches!(fault, Fault::RefuseRecords { .. }));
    if refused {
        // What was removed and could not be written may or may not be there.
        return;
    }
    let (told, has) = (world.wire.bindings().count(), world.audit.bindings);
    world.verdict.hold(told == has, "bindings are those recorded", || format!("{has} bindings, {told} recorded"));
}

fn is_fit(world: &World, phone: usize) -> bool {
    let phone = &world.phones[phone];
    phone.powered && phone.connected && phone.registration.stands(world.now) && !phone.profile.quirks.wrong_password
}

fn may_call(world: &World, caller: usize, callee: usize) -> bool {
    let (one, two) = (&world.phones[caller].profile, &world.phones[callee].profile);
    let common = one.make.codecs.iter().any(|(_, name)| {
        !name.starts_with("telephone-event") && two.make.codecs.iter().any(|(_, other)| other == name)
    });
    world.scenario.tenant_of[caller] == world.scenario.tenant_of[callee]
        && one.extension != two.extension
        && common
        && world.scenario.ports >= 12
}

/// How many to run, and where to begin.
pub struct Campaign {
    pub from: u64,
    pub count: u64,
    /// Ends with the first failure.
    pub stop_early: bool,
}

pub struct Outcome {
    pub failures: Vec<Report>,
    pub runs: u64,
    pub tally: Tally,
    pub coverage: Coverage,
}

/// Runs seeds on all processors. Failures come in the order of their seeds.
pub fn campaign(plan: &Campaign) -> Outcome {
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let outcome =
        Mutex::new(Outcome { failures: Vec::new(), runs: 0, tally: Tally::default(), coverage: Coverage::default() });
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= plan.count || (plan.stop_early && stop.load(Ordering::Relaxed)) {
                        return;
                    }
                    let report = run(plan.from + index, false);
                    let mut outcome = outcome.lock().expect("no run panics outside its own guard");
                    outcome.runs += 1;
                    outcome.tally.calls += report.tally.calls;
                    outcome.tally.answered += report.tally.answered;
                    outcome.tally.standing += report.tally.standing;
                    outcome.tally.steps += report.tally.steps;
                    outcome.coverage.add(&report.coverage);
                    if report.failure.is_some() {
                        stop.store(true, Ordering::Relaxed);
                        outcome.failures.push(report);
                    }
                }
            });
        }
    });
    let mut outcome = outcome.into_inner().expect("no run panics outside its own guard");
    outcome.failures.sort_by_key(|report| report.seed);
    outcome
}

/// What a person needs to see of a failed run.
pub fn explain(report: &Report) -> String {
    let failure = report.failure.as_ref().map_or(String::new(), |f| format!("{}: {}", f.rule, f.detail));
    let replay =
        format!("SIM_SEED={} cargo test --no-default-features --test sim -- one_seed --nocapture", report.seed);
    format!("seed {} broke a rule\n{}\n{failure}\nreplay: {replay}\n", report.seed, report.story)
}
