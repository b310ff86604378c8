//! What a phone finds wrong with the other side.

use super::Phone;
use crate::clock::Time;

#[derive(Clone, Debug)]
pub struct Complaint {
    /// When that began which ended in the complaint.
    pub since: Time,
    pub at: Time,
    /// True if no loss, partition or restart excuses it.
    pub hard: bool,
    /// What rule was broken, always in the same words.
    pub rule: &'static str,
    pub detail: String,
}

impl Phone {
    /// Nothing excuses this.
    pub(super) fn complain(&mut self, rule: &'static str, detail: &str) {
        let detail = detail.to_string();
        self.complaints.push(Complaint { since: self.now, at: self.now, hard: true, rule, detail });
    }

    /// What did not come since `since`; a network in trouble since then excuses it.
    pub(super) fn miss(&mut self, since: Time, rule: &'static str, detail: &str) {
        let detail = detail.to_string();
        self.complaints.push(Complaint { since, at: self.now, hard: false, rule, detail });
    }
}
