//! Which extensions the administrator was told of lately: a phone that is refused tries again and again, and one line an
//! hour says it all.

use crate::base::ids::TenantId;
use crate::base::limits;
use crate::base::now::Micros;
use std::collections::BTreeMap;
use std::time::Duration;

const AGAIN: Duration = Duration::from_secs(3600);

#[derive(Default)]
pub(super) struct Notices {
    told: BTreeMap<(TenantId, Box<str>), Micros>,
}

impl Notices {
    /// Whether to tell of this extension now. At most `limits::NOTICES` are told of within an hour.
    pub fn is_due(&mut self, now: Micros, tenant: TenantId, extension: &str) -> bool {
        if self.told.len() >= limits::NOTICES {
            self.told.retain(|_, told| now.since(*told) < AGAIN);
        }
        let key = (tenant, extension.into());
        let known = self.told.get(&key);
        let due = known.is_none_or(|told| now.since(*told) >= AGAIN);
        let room = known.is_some() || self.told.len() < limits::NOTICES;
        if due && room {
            self.told.insert(key, now);
        }
        due && room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: TenantId = TenantId(1);

    fn minutes(minutes: u64) -> Micros {
        Micros(minutes * 60_000_000)
    }

    #[test]
    fn an_extension_is_told_of_once_an_hour() {
        let mut notices = Notices::default();
        assert!(notices.is_due(minutes(0), TENANT, "1001"));
        assert!(!notices.is_due(minutes(59), TENANT, "1001"));
        assert!(notices.is_due(minutes(59), TENANT, "1002"));
        assert!(notices.is_due(minutes(60), TENANT, "1001"));
        assert!(!notices.is_due(minutes(61), TENANT, "1001"));
    }

    #[test]
    fn a_crowd_is_told_of_in_part_and_forgotten() {
        let mut notices = Notices::default();
        let told = (0..5_000).filter(|n| notices.is_due(minutes(0), TENANT, &n.to_string())).count();
        assert_eq!((told, notices.told.len()), (limits::NOTICES, limits::NOTICES));
        assert!(notices.is_due(minutes(60), TENANT, "4999"));
        assert_eq!(notices.told.len(), 1);
    }
}
