//! Who was in trouble when: what excuses that something did not come.

use crate::clock::Time;

#[derive(Default)]
pub struct Trouble {
    spells: Vec<Spell>,
}

struct Spell {
    /// None: everybody.
    phone: Option<usize>,
    from: Time,
    until: Time,
}

impl Trouble {
    pub fn add(&mut self, phone: Option<usize>, from: Time, until: Time) {
        self.spells.push(Spell { phone, from, until });
    }

    pub fn excuses(&self, phone: usize, from: Time, until: Time) -> bool {
        let concerns = |spell: &&Spell| spell.phone.is_none_or(|other| other == phone);
        self.spells.iter().filter(concerns).any(|spell| spell.from <= until && from <= spell.until)
    }
}
