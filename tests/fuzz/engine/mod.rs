//! Target `engine`: an office of four phones, a clock, a journal and a media plane, all of whose doings the script decides.
//! What phones say is well-formed unless the script wants otherwise: what they say when is what is tried here.
//!
//! After every step the rules of `oracle` hold; what the engine sends can be read. In the end everybody falls silent, and
//! the engine must come to rest with nothing left.

mod office;
mod oracle;
mod phones;
#[path = "../../sim/sip/mod.rs"]
#[allow(dead_code, reason = "the simulation's; it needs more of it")]
mod wire;
mod words;

use crate::script::Script;
use office::Office;

/// Steps of one script.
const STEPS: usize = 300;

pub fn run(bytes: &[u8]) {
    play(bytes).close();
}

fn play(bytes: &[u8]) -> Office {
    let mut script = Script::new(bytes);
    let mut office = Office::open(script.byte());
    for _ in 0..STEPS {
        if script.is_over() {
            break;
        }
        office.step(&mut script);
    }
    office
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Phone 0 calls 1002, the journal takes the record, one of the two phones rings and answers, the caller says ACK to
    /// whatever it got last, and hangs up.
    const CALL: &[&[u8]] = &[
        &[0],
        &[20, 0, 0, 0, 1, 0, 0, 0],
        &[184, 0],
        &[60, 0, 0, 0, 0, 0, 0],
        &[60, 0, 1, 0, 1, 0, 0],
        &[184, 0],
        &[110, 0, 1, 0, 0, 0, 0],
        &[110, 1, 1, 0, 0, 0, 0],
        &[110, 2, 1, 0, 0, 0, 0],
    ];

    #[test]
    fn a_script_gets_as_far_as_a_call() {
        let office = play(&CALL.concat());
        assert!(office.has_answered_call(), "{:?}", office.received);
        office.close();
    }

    #[test]
    fn a_phone_registers_with_its_password() {
        let office = play(&[&[0][..], &[4, 0, 0, 0, 0, 0, 0, 0], &[184, 0]].concat());
        let (phone, answer) = office.received.back().unwrap();
        assert_eq!((*phone, answer.code()), (0, Some(200)), "{answer:?}");
        office.close();
    }
}
