//! What the fuzzer runs (`fuzz/`, `scripts/fuzz`), and the replay of everything it was worth keeping: each file of the
//! corpora in `fuzz/corpus`, and the messages of `tests/data`. See `docs/fuzzing.md`.

#[path = "../sim/clock.rs"]
#[allow(dead_code, reason = "the simulation's; it needs more of it")]
mod clock;
mod digest;
mod engine;
#[path = "../sim/journal.rs"]
#[allow(dead_code, reason = "the simulation's; it needs more of it")]
mod journal;
#[path = "../sim/plane.rs"]
#[allow(dead_code, reason = "the simulation's; it needs more of it")]
mod plane;
#[path = "../sim/prng.rs"]
#[allow(dead_code, reason = "the simulation's; it needs more of it")]
mod prng;
mod replay;
#[cfg(feature = "media")]
mod rtp;
mod script;
mod sdp;
mod sip;
mod stream;

struct Target {
    /// The binary's in `fuzz/fuzz_targets`, and the corpus's.
    name: &'static str,
    run: fn(&[u8]),
    /// Folders of `tests/data` whose files are inputs as they are.
    data: &'static [&'static str],
}

/// A new parser of what the network sends gets a line here, a binary, and a corpus.
const TARGETS: &[Target] = &[
    Target { name: "digest", run: digest::run, data: &[] },
    Target { name: "engine", run: engine::run, data: &[] },
    #[cfg(feature = "media")]
    Target { name: "rtp", run: rtp::run, data: &[] },
    Target { name: "sdp", run: sdp::run, data: &[] },
    Target { name: "sip", run: sip::run, data: &["rfc4475", "rfc5118", "phones"] },
    Target { name: "stream", run: stream::run, data: &["rfc4475", "rfc5118", "phones"] },
];
