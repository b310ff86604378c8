//! The dialplan: what a dialled number means in a tenant. Dialled digits are matched exactly; explicit numbers before
//! patterns, and among patterns the longest, then the one with more literal digits, then the first written.

use crate::base::limits::NUMBER_BYTES;

/// What a rule leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// An extension of that number.
    Extension,
    /// A conference room.
    Conference,
    /// The mailbox of the number after the star, or with `*97` one's own.
    Voicemail,
    /// A park slot.
    Park,
    /// A paging zone.
    Page,
    /// A call queue.
    Queue,
    /// The auto attendant.
    Attendant,
    /// An emergency number.
    Emergency,
    /// A feature code.
    Feature(Feature),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Feature {
    Pickup,
    ForwardOn,
    ForwardOff,
    DndOn,
    DndOff,
    Echo,
    Music,
    QueueLogin,
    QueueLogout,
}

impl Place {
    /// For traces and refusals: `501 Not Implemented` says which feature is missing.
    pub fn text(self) -> &'static str {
        match self {
            Place::Extension => "extension",
            Place::Conference => "conference room",
            Place::Voicemail => "voicemail",
            Place::Park => "park slot",
            Place::Page => "paging zone",
            Place::Queue => "queue",
            Place::Attendant => "auto attendant",
            Place::Emergency => "emergency call",
            Place::Feature(Feature::Pickup) => "call pickup",
            Place::Feature(Feature::ForwardOn | Feature::ForwardOff) => "call forwarding",
            Place::Feature(Feature::DndOn | Feature::DndOff) => "do not disturb",
            Place::Feature(Feature::Echo) => "echo test",
            Place::Feature(Feature::Music) => "music",
            Place::Feature(Feature::QueueLogin | Feature::QueueLogout) => "queue log-in",
        }
    }
}

/// One rule: a pattern of digits, `*`, `#`, `+` and `x` (any digit); a trailing `N` stands for one digit or more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    pub pattern: Box<str>,
    pub place: Place,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    rules: Vec<Rule>,
}

/// Why a rule is no rule.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PatternError {
    #[error("the pattern is empty")]
    Empty,
    #[error("the pattern is longer than {NUMBER_BYTES} characters")]
    TooLong,
    #[error(
        "`{0}` is not allowed in a pattern: use digits, *, #, +, x for any digit, and N at the end for one digit or more"
    )]
    Character(char),
}

impl Rule {
    pub fn new(pattern: &str, place: Place) -> Result<Rule, PatternError> {
        if pattern.is_empty() {
            return Err(PatternError::Empty);
        }
        if pattern.len() > NUMBER_BYTES {
            return Err(PatternError::TooLong);
        }
        let last = pattern.chars().count() - 1;
        for (at, c) in pattern.chars().enumerate() {
            let allowed = c.is_ascii_digit() || matches!(c, '*' | '#' | '+' | 'x') || (c == 'N' && at == last);
            if !allowed {
                return Err(PatternError::Character(c));
            }
        }
        Ok(Rule { pattern: pattern.into(), place })
    }

    fn matches(&self, dialled: &str) -> bool {
        let pattern = self.pattern.as_bytes();
        let digits = dialled.as_bytes();
        let (head, open) = match pattern.split_last() {
            Some((b'N', head)) => (head, true),
            _ => (pattern, false),
        };
        let length_fits = if open { digits.len() > head.len() } else { digits.len() == head.len() };
        length_fits
            && head.iter().zip(digits).all(|(p, d)| if *p == b'x' { d.is_ascii_digit() } else { p == d })
            && digits[head.len()..].iter().all(u8::is_ascii_digit)
    }

    /// Order of preference: explicit before pattern, longer first, more literal characters first.
    fn rank(&self) -> (bool, usize, usize) {
        let wild = self.pattern.bytes().filter(|b| matches!(b, b'x' | b'N')).count();
        (wild == 0, self.pattern.len(), self.pattern.len() - wild)
    }
}

impl Plan {
    pub fn new(rules: Vec<Rule>) -> Plan {
        let mut rules = rules;
        // A stable sort: among equals the first written stays first.
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.rank()));
        Plan { rules }
    }

    /// The rule a dialled number meets.
    pub fn route(&self, dialled: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.matches(dialled))
    }

    /// What whoever adds an extension of that number should know: explicit numbers of the plan come before extensions, its
    /// patterns after them.
    pub fn clash(&self, number: &str) -> Option<String> {
        let rule = self.route(number).filter(|rule| rule.place != Place::Extension)?;
        let (place, pattern) = (rule.place.text(), &rule.pattern);
        Some(if **pattern == *number {
            format!(
                "{number} is dialled for something else ({place}): phones of this extension can call, but can't be called"
            )
        } else {
            format!("Whoever dials {number} reaches this extension, and no {place} any more (dialplan rule {pattern})")
        })
    }

    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The sample configuration's plan.
    pub fn sample() -> Plan {
        use Feature::{DndOff, DndOn, Echo, ForwardOff, ForwardOn, Music, Pickup, QueueLogin, QueueLogout};
        use Place::{Attendant, Conference, Emergency, Extension, Page, Park, Queue, Voicemail};
        let table: [(&str, Place); 22] = [
            ("1xxx", Extension),
            ("2xxx", Conference),
            ("*1xxx", Voicemail),
            ("*97", Voicemail),
            ("7x", Park),
            ("7xx", Page),
            ("8xxx", Queue),
            ("0", Attendant),
            ("911", Emergency),
            ("9911", Emergency),
            ("112", Emergency),
            ("*3", Place::Feature(Pickup)),
            ("*31xxx", Place::Feature(Pickup)),
            ("*72N", Place::Feature(ForwardOn)),
            ("*73", Place::Feature(ForwardOff)),
            ("*78", Place::Feature(DndOn)),
            ("*79", Place::Feature(DndOff)),
            ("*85", Place::Feature(Echo)),
            ("*86", Place::Feature(Music)),
            ("*45", Place::Feature(QueueLogin)),
            ("*46", Place::Feature(QueueLogout)),
            ("*72", Place::Feature(ForwardOn)),
        ];
        let rules = table.into_iter().map(|(pattern, place)| Rule { pattern: pattern.into(), place });
        Plan::new(rules.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(dialled: &str) -> Option<Place> {
        Plan::sample().route(dialled).map(|rule| rule.place)
    }

    #[test]
    fn the_sample_plan_routes_every_documented_number() {
        assert_eq!(place("1001"), Some(Place::Extension));
        assert_eq!(place("2000"), Some(Place::Conference));
        assert_eq!(place("*1001"), Some(Place::Voicemail));
        assert_eq!(place("*97"), Some(Place::Voicemail));
        assert_eq!(place("70"), Some(Place::Park));
        assert_eq!(place("700"), Some(Place::Page));
        assert_eq!(place("8001"), Some(Place::Queue));
        assert_eq!(place("0"), Some(Place::Attendant));
        assert_eq!(place("112"), Some(Place::Emergency));
        assert_eq!(place("*72491234"), Some(Place::Feature(Feature::ForwardOn)));
        assert_eq!(place("*31002"), Some(Place::Feature(Feature::Pickup)));
        assert_eq!(place("*85"), Some(Place::Feature(Feature::Echo)));
        assert_eq!(place("10011"), None);
        assert_eq!(place("100"), None);
        assert_eq!(place("1o01"), None);
    }

    #[test]
    fn an_explicit_number_comes_before_a_pattern_and_the_longest_pattern_first() {
        let rule = |p, place| Rule::new(p, place).unwrap();
        let plan = Plan::new(vec![
            rule("N", Place::Queue),
            rule("9N", Place::Page),
            rule("1xxx", Place::Extension),
            rule("1000", Place::Attendant),
        ]);
        assert_eq!(plan.route("1000").map(|r| r.place), Some(Place::Attendant));
        assert_eq!(plan.route("1001").map(|r| r.place), Some(Place::Extension));
        assert_eq!(plan.route("955").map(|r| r.place), Some(Place::Page));
        assert_eq!(plan.route("455").map(|r| r.place), Some(Place::Queue));
    }

    #[test]
    fn numbers_with_another_meaning_are_told() {
        let clash = |number| Plan::sample().clash(number);
        assert_eq!(clash("1005"), None);
        assert_eq!(clash("300"), None);
        assert!(
            clash("911").unwrap().contains("(emergency call): phones of this extension can call, but can't be called")
        );
        assert!(clash("2001").unwrap().contains("reaches this extension, and no conference room any more"));
        assert!(clash("70").unwrap().contains("no park slot any more (dialplan rule 7x)"));
    }

    #[test]
    fn a_pattern_that_cannot_match_is_refused_with_its_character() {
        assert_eq!(Rule::new("1N1", Place::Park), Err(PatternError::Character('N')));
        assert_eq!(Rule::new("12a", Place::Park), Err(PatternError::Character('a')));
    }
}
