//! What the guard costs a message, with its lock: the way every datagram takes before it is parsed. Goal: tens of ns for a
//! registered phone among many.

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::net::IpAddr;
use std::time::Duration;
use strowger::base::limits;
use strowger::base::now::Micros;
use strowger::base::rng::Rng;
use strowger::net::guard::{Door, Guard, Rate, Reason, Settings, Source, Way};

const PHONES: u32 = 10_000;
const START: Micros = Micros(1_000_000_000);
const LONG: Duration = Duration::from_secs(1_000_000);

/// A guard that knows `PHONES` registered sources, a banned one, and trusts the loopback; rates are no bound here.
fn door() -> Door {
    let rate = Rate::new(1_000_000, u32::MAX);
    let settings = Settings {
        trusted: vec!["127.0.0.0/8".parse().expect("a network"), "::1".parse().expect("a network")],
        strangers: rate,
        registered: rate,
        connections: 1000,
        failures: 10,
        users: 10,
        window: Duration::from_secs(300),
        ban: Duration::from_secs(300),
        scanners: vec!["friendly-scanner".into()],
    };
    let mut guard = Guard::new(settings, &mut Rng::new([1; 32]));
    for n in 0..PHONES {
        guard.registered(START, phone(n), "1001", LONG);
    }
    guard.ban(START, Source::from(banned()), None, LONG, Reason::ManyUsers);
    Door::new(guard, || START)
}

fn phone(n: u32) -> IpAddr {
    IpAddr::from((0x0A00_0000 + n).to_be_bytes())
}

fn banned() -> IpAddr {
    IpAddr::from([192, 0, 2, 1])
}

fn guard(c: &mut Criterion) {
    let mut group = c.benchmark_group("guard");
    let door = door();
    let admit = |from: IpAddr| door.guard().admit(black_box(START), black_box(from), Way::Datagram);
    let trusted = IpAddr::from([127, 0, 0, 1]);
    group.bench_function("trusted", |b| b.iter(|| admit(trusted)));
    let mut n = 0u32;
    group.bench_function("one registered", |b| b.iter(|| admit(phone(7))));
    group.bench_function("registered of 10,000", |b| {
        b.iter(|| {
            // In no order, so that the table is not in the cache because it was just there.
            n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            admit(phone(n % PHONES))
        });
    });
    group.bench_function("banned", |b| b.iter(|| admit(banned())));
    let mut forged = 0x5000_0000u32;
    let mut stranger = || {
        forged = forged.wrapping_add(1);
        admit(IpAddr::from(forged.to_be_bytes()))
    };
    for _ in 0..limits::GUARD_SOURCES {
        let _ = stranger();
    }
    group.bench_function("forged, each a new sender, table full", |b| b.iter(&mut stranger));
    group.bench_function("registered of 10,000, after the flood", |b| {
        b.iter(|| {
            n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            admit(phone(n % PHONES))
        });
    });
    group.finish();
}

criterion_group!(benches, guard);
criterion_main!(benches);
