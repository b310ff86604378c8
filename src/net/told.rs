//! A line of the log a minute, however often a thing happens: what strangers cause must not flood it.

use std::time::{Duration, Instant};

/// Between two lines.
const QUIET: Duration = Duration::from_secs(60);

/// How often something happened that the log tells of now and then.
#[derive(Default)]
pub struct Told {
    last: Option<Instant>,
    hidden: u64,
}

impl Told {
    /// How many were not told of since the last line, when it is time for one.
    pub fn tell(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.duration_since(last) < QUIET) {
            self.hidden += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.hidden))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_a_line_a_minute() {
        let (mut told, start) = (Told::default(), Instant::now());
        assert_eq!(told.tell(start), Some(0));
        assert_eq!((told.tell(start), told.tell(start + QUIET / 2)), (None, None));
        assert_eq!(told.tell(start + QUIET), Some(2));
        assert_eq!(told.tell(start + QUIET * 3), Some(0));
    }
}
