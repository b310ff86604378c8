//! What must hold, whatever happens. Each oracle sees a part: the wire, forks, media directions and sessions on it, the
//! engine's inner state, its events and records, and at rest the agreement of everybody with everybody.

pub mod agreement;
pub mod books;
pub mod dialplan;
pub mod forks;
pub mod sessions;
pub mod state;
pub mod talks;
pub mod wire;

/// A rule that was broken.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The rule, always in the same words.
    pub rule: &'static str,
    pub detail: String,
}

/// Broken rules, the first of which ends the run.
#[derive(Default)]
pub struct Verdict {
    pub failures: Vec<Failure>,
}

impl Verdict {
    pub fn fail(&mut self, rule: &'static str, detail: impl Into<String>) {
        self.failures.push(Failure { rule, detail: detail.into() });
    }

    pub fn hold(&mut self, holds: bool, rule: &'static str, detail: impl FnOnce() -> String) {
        if !holds {
            self.fail(rule, detail());
        }
    }
}
