//! Failed log-ins at one source, user by user.

use crate::base::limits;
use crate::base::now::Micros;
use std::time::Duration;

#[derive(Default)]
pub(super) struct Failures {
    users: Vec<Failing>,
}

struct Failing {
    /// A hash.
    user: u64,
    count: u32,
    first: Micros,
    last: Micros,
}

impl Failures {
    /// Counts a failure; how many this user has within the window. When too many users fail to be counted one by one,
    /// each further one has had enough.
    pub fn count(&mut self, now: Micros, window: Duration, user: u64) -> u32 {
        self.users.retain(|failing| now.since(failing.first) <= window);
        if let Some(failing) = self.users.iter_mut().find(|failing| failing.user == user) {
            (failing.count, failing.last) = (failing.count + 1, now);
            return failing.count;
        }
        if self.users.len() >= limits::GUARD_USERS {
            return u32::MAX;
        }
        self.users.push(Failing { user, count: 1, first: now, last: now });
        1
    }

    /// Different users that failed within the window of the last count.
    pub fn users(&self) -> usize {
        self.users.len()
    }

    pub fn is_recent(&self, now: Micros, window: Duration) -> bool {
        self.users.iter().any(|failing| now.since(failing.last) <= window)
    }

    /// The user begins anew, and is still one of those that failed.
    pub fn forgive(&mut self, user: u64) {
        if let Some(failing) = self.users.iter_mut().find(|failing| failing.user == user) {
            failing.count = 0;
        }
    }

    pub fn forget(&mut self, user: u64) {
        self.users.retain(|failing| failing.user != user);
    }

    pub fn forget_all(&mut self) {
        self.users.clear();
    }
}
