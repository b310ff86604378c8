//! Proof that the simulation finds bugs: each planted one breaks a rule within so many seeds. `scripts/mutants` runs it.

use crate::run::{Campaign, campaign};
use strowger::base::mutant::{Mutant, plant};

/// In how many offices each planted bug is found.
const SEEDS: u64 = 2_000;

/// The bugs `SIM_MUTANT` names, or all.
fn chosen() -> Vec<Mutant> {
    let name = std::env::var("SIM_MUTANT").unwrap_or_default();
    Mutant::ALL.into_iter().filter(|mutant| name.is_empty() || format!("{mutant:?}") == name).collect()
}

#[test]
fn each_planted_bug_is_found() {
    plant(None);
    let sound = campaign(&Campaign { from: 1, count: 100, stop_early: true });
    assert!(sound.failures.is_empty(), "the engine fails without a planted bug: run scripts/seeds first");
    println!("{:<24} {:>6}  rule that caught it", "planted bug", "seeds");
    let mut missed = Vec::new();
    for mutant in chosen() {
        plant(Some(mutant));
        let outcome = campaign(&Campaign { from: 1, count: SEEDS, stop_early: true });
        let name = format!("{mutant:?}");
        match outcome.failures.first().and_then(|report| Some((report.seed, report.failure.as_ref()?.rule))) {
            Some((seed, rule)) => println!("{name:<24} {seed:>6}  {rule}"),
            None => {
                println!("{name:<24} {:>6}  NOT FOUND", outcome.runs);
                missed.push(name);
            }
        }
    }
    plant(None);
    assert!(missed.is_empty(), "not found within {SEEDS} seeds: {}", missed.join(", "));
}
