//! Turns at the TLS handshake, which costs far more than a message: so many are under way at most, and of one source only a
//! part of them. Who comes when there is none waits: after an outage all phones come at once, and one that is refused
//! comes back late.
//!
//! Invariant: a source whose handshakes never end delays its own alone.

use crate::base::limits;
use crate::net::guard::Source;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub struct Turns {
    all: Arc<Semaphore>,
    /// Of the sources that have a turn or wait for one.
    sources: Mutex<BTreeMap<Source, Queue>>,
}

struct Queue {
    turns: Arc<Semaphore>,
    /// That have a turn here or wait for one.
    members: usize,
}

impl Default for Turns {
    fn default() -> Turns {
        Turns { all: Arc::new(Semaphore::new(limits::HANDSHAKES)), sources: Mutex::default() }
    }
}

/// Given back when dropped.
pub struct Turn<'t> {
    _member: Member<'t>,
    _permits: [Option<OwnedSemaphorePermit>; 2],
}

impl Turns {
    /// Waits for a turn; those of one source get theirs in the order they came.
    pub async fn wait(&self, source: Source) -> Turn<'_> {
        let (member, turns) = self.enter(source);
        // First its own source's, so that nobody waits among all who could not begin.
        let own = turns.acquire_owned().await.ok();
        let of_all = self.all.clone().acquire_owned().await.ok();
        Turn { _member: member, _permits: [own, of_all] }
    }

    fn enter(&self, source: Source) -> (Member<'_>, Arc<Semaphore>) {
        let new = || Queue { turns: Arc::new(Semaphore::new(limits::HANDSHAKES_OF_ONE)), members: 0 };
        let mut sources = self.sources();
        let queue = sources.entry(source).or_insert_with(new);
        queue.members += 1;
        (Member { turns: self, source }, queue.turns.clone())
    }

    fn sources(&self) -> MutexGuard<'_, BTreeMap<Source, Queue>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that is counted in its source's queue, also if it goes away while it waits.
struct Member<'t> {
    turns: &'t Turns,
    source: Source,
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        let mut sources = self.turns.sources();
        if let Some(queue) = sources.get_mut(&self.source) {
            queue.members -= 1;
            if queue.members == 0 {
                sources.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::time::Duration;
    use tokio::time::timeout;

    fn source(text: &str) -> Source {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn who_never_ends_delays_its_own_source_alone() {
        let turns = Turns::default();
        let mut endless = Vec::new();
        for _ in 0..limits::HANDSHAKES_OF_ONE {
            endless.push(turns.wait(source("192.0.2.66")).await);
        }
        let soon = Duration::from_millis(20);
        let mut next = pin!(turns.wait(source("192.0.2.66")));
        assert!(timeout(soon, &mut next).await.is_err());
        assert!(timeout(soon, turns.wait(source("192.0.2.1"))).await.is_ok());
        endless.pop();
        assert!(timeout(soon, next).await.is_ok());
        // Nothing is remembered of who has gone.
        endless.clear();
        assert!(turns.sources().is_empty());
    }

    #[tokio::test]
    async fn all_sources_together_have_so_many_and_a_place_is_given_on() {
        let turns = Turns::default();
        let mut under_way = Vec::new();
        for n in 0..limits::HANDSHAKES {
            under_way.push(turns.wait(source(&format!("192.0.2.{}", n % 200))).await);
        }
        let mut phone = pin!(turns.wait(source("192.0.2.250")));
        assert!(timeout(Duration::from_millis(20), &mut phone).await.is_err());
        under_way.pop();
        assert!(timeout(Duration::from_secs(5), phone).await.is_ok());
    }
}
