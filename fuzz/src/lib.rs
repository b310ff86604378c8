//! The targets, as the tests of `tests/fuzz` have them. The replay is theirs alone.

#[path = "../../tests/sim/clock.rs"]
pub mod clock;
#[path = "../../tests/fuzz/digest.rs"]
pub mod digest;
#[path = "../../tests/fuzz/engine/mod.rs"]
pub mod engine;
#[path = "../../tests/sim/journal.rs"]
pub mod journal;
#[path = "../../tests/sim/plane.rs"]
pub mod plane;
#[path = "../../tests/sim/prng.rs"]
pub mod prng;
#[path = "../../tests/fuzz/rtp.rs"]
pub mod rtp;
#[path = "../../tests/fuzz/script.rs"]
pub mod script;
#[path = "../../tests/fuzz/sdp.rs"]
pub mod sdp;
#[path = "../../tests/fuzz/sip.rs"]
pub mod sip;
#[path = "../../tests/fuzz/stream.rs"]
pub mod stream;
