//! The deterministic simulation: whole offices of phones over a bad network against the engine, thousands of seeds. See
//! `docs/simulation.md`.

#![cfg_attr(
    feature = "mutants",
    expect(dead_code, unused_imports, reason = "while bugs are planted no test but theirs is built")
)]

mod clock;
mod coverage;
mod daemon;
mod journal;
mod ladder;
#[cfg(feature = "mutants")]
mod mutants;
mod nat;
mod network;
mod oracle;
mod phone;
mod plane;
mod prng;
mod run;
mod scenario;
mod selftest;
mod sip;
mod trouble;
mod world;

use run::{Campaign, campaign, explain, run};

/// How many offices `cargo test` runs, unless `SIM_SEEDS` says otherwise.
const OFFICES: u64 = 1_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Seeds that once failed, with a word on what they found.
fn once_failed() -> Vec<u64> {
    let lines = include_str!("seeds.txt").lines();
    lines.filter_map(|line| line.split(['#', ' ']).next()?.trim().parse().ok()).collect()
}

#[cfg(not(feature = "mutants"))]
#[test]
fn seeds_that_once_failed_pass() {
    let failed: Vec<String> = once_failed()
        .into_iter()
        .map(|seed| run(seed, false))
        .filter(|report| report.failure.is_some())
        .map(|report| explain(&report))
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[cfg(not(feature = "mutants"))]
#[test]
fn offices_keep_every_rule() {
    let plan = Campaign {
        from: number("SIM_FROM").unwrap_or(1),
        count: number("SIM_SEEDS").unwrap_or(OFFICES),
        stop_early: number("SIM_ALL").is_none(),
    };
    let outcome = campaign(&plan);
    println!("{} runs, {:?}", outcome.runs, outcome.tally);
    let failures = &outcome.failures;
    if number("SIM_ALL").is_some() {
        for report in failures {
            let failure = report.failure.as_ref().expect("only failures are kept");
            println!("seed {}: {}: {}", report.seed, failure.rule, failure.detail);
        }
        println!("{}", outcome.coverage.table());
    }
    assert!(failures.is_empty(), "{} of {} failed\n{}", failures.len(), outcome.runs, explain(&failures[0]));
    assert!(outcome.tally.answered > outcome.runs, "hardly any call was answered: {:?}", outcome.tally);
}

#[cfg(not(feature = "mutants"))]
#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [2, 3, 5, 7, 11] {
        let (one, two) = (run(seed, false), run(seed, false));
        assert_eq!((one.hash, one.tally.steps), (two.hash, two.tally.steps), "seed {seed}");
    }
}

/// Replays `SIM_SEED` with every message in full.
#[cfg(not(feature = "mutants"))]
#[test]
fn one_seed() {
    let Some(seed) = number("SIM_SEED") else { return };
    let report = run(seed, number("SIM_WHOLE").is_some());
    assert!(report.failure.is_none(), "{}", explain(&report));
    println!("seed {seed} passes: {:?}", report.tally);
}
