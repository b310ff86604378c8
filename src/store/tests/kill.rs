//! SIGKILL at random instants: whatever was acknowledged is there afterwards, and every call has its record once.

use super::*;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

const CHILD: &str = "STROWGER_TEST_KILL";
const NAME: &str = "store::tests::kill::a_killed_process_loses_nothing_it_acknowledged";
const ROUNDS: u32 = 100;
const CONTACTS: u32 = 50;

/// The record with that number: of twenty, ten are registrations, five begin a call and five end one begun before.
fn body(round: u32, seq: u32) -> RecordBody {
    let call = |number: u32| format!("call-{round}-{number}");
    match seq % 4 {
        0 | 2 => RecordBody::Binding(Arc::new(Binding {
            call_id: format!("round-{round}").into(),
            ..binding("1001", &(seq / 2 % CONTACTS).to_string(), seq)
        })),
        1 => start(&call(seq)),
        // The last few calls are always open.
        _ if seq > 40 => end(&call(seq - 42)),
        _ => bind("1001", "filler", seq),
    }
}

/// Writes until it is killed, and says on its standard output what it was told.
fn child(data_dir: &Path, round: u32) {
    let store = open(data_dir);
    let config = WriterConfig {
        group: Duration::from_millis(1),
        flush: Duration::from_millis(5),
        segment_bytes: 32 << 10,
        ..Default::default()
    };
    let journal = recover(&store).journal;
    let on_recorded = |upto: RecordSeq, kept: bool| {
        let line = format!("{upto} {kept}\n");
        // One write: a line is there whole or not at all.
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    };
    let writer = Writer::start(&store, journal, config, on_recorded, |_| {}).unwrap();
    let mut seq = 0;
    loop {
        let records = (0..4).map(|_| {
            seq += 1;
            Record { seq: RecordSeq(seq.into()), body: body(round, seq) }
        });
        writer.append(records.collect());
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Runs a child for `life` after its first acknowledgement, kills it, and returns the last it heard.
fn run_and_kill(data_dir: &Path, round: u32, life: Duration) -> u32 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(CHILD, format!("{round} {}", data_dir.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut last = 0;
    let mut hear = |line: String| {
        let (upto, kept) = line.split_once(' ').unwrap_or_else(|| panic!("the child says: {line}"));
        assert_eq!(kept, "true");
        last = upto.parse().unwrap();
    };
    hear(lines.next().expect("the child dies by itself").unwrap());
    std::thread::sleep(life);
    child.kill().unwrap();
    lines.map_while(Result::ok).for_each(&mut hear);
    child.wait().unwrap();
    last
}

#[test]
fn a_killed_process_loses_nothing_it_acknowledged() {
    if let Ok(task) = std::env::var(CHILD) {
        let (round, data_dir) = task.split_once(' ').unwrap();
        return child(Path::new(data_dir), round.parse().unwrap());
    }
    let dir = tempfile::tempdir().unwrap();
    add_extension(&open(dir.path()), "1001");
    let mut contacts: BTreeMap<String, u32> = BTreeMap::new();
    let mut calls: BTreeMap<String, bool> = BTreeMap::new();
    let mut acknowledged = 0;
    for round in 1..=ROUNDS {
        // Spread over the life of a file, a flush and a group.
        let life = Duration::from_micros(u64::from(round) * 7_919 % 60_000);
        let last = run_and_kill(dir.path(), round, life);
        acknowledged += last;
        contacts.clear();
        for seq in 1..=last {
            match body(round, seq) {
                RecordBody::Binding(binding) => drop(contacts.insert(binding.key.to_string(), binding.cseq)),
                RecordBody::CallStarted(start) => drop(calls.insert(start.call_id.to_string(), false)),
                RecordBody::CallEnded(cdr) => drop(calls.insert(cdr.call_id.to_string(), true)),
                RecordBody::Unbound { .. } => {}
            }
        }
        let store = open(dir.path());
        let recovery = recover(&store);
        assert_eq!(recovery.lost, 0, "round {round}");
        let found: BTreeMap<String, Binding> =
            bindings(&store).into_iter().map(|binding| (binding.key.to_string(), binding)).collect();
        for (key, cseq) in &contacts {
            let binding = found.get(key).unwrap_or_else(|| panic!("round {round}: contact {key} is lost"));
            assert_eq!(&*binding.call_id, format!("round-{round}"), "contact {key} is an old one");
            assert!(binding.cseq >= *cseq, "round {round}: contact {key} has {} after {cseq}", binding.cseq);
        }
    }
    let store = open(dir.path());
    let rows = cdrs(&store);
    let by_call: BTreeMap<&str, &str> = rows.iter().map(|row| (&*row.call_id, &*row.hangup_cause)).collect();
    assert_eq!(by_call.len(), rows.len(), "a call has two records");
    for (call, ended) in &calls {
        let cause = by_call.get(call.as_str()).unwrap_or_else(|| panic!("{call} has no record"));
        assert!(!ended || *cause == "normal", "the end of {call} is lost: {cause}");
    }
    let restarted: BTreeSet<_> =
        rows.iter().filter(|row| row.hangup_cause == "restart").map(|row| &row.call_id).collect();
    assert!(!restarted.is_empty());
    println!("{acknowledged} records acknowledged, {} calls, {} cut off", rows.len(), restarted.len());
}
