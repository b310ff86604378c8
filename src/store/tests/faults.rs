//! Locked databases, full disks, bursts: what the engine is told, and what is left in the end.

use super::*;
use sqlx::sqlite::SqliteConnection;
use sqlx::{ConnectOptions, Connection};
use std::process::Command;

/// Another program that holds the database.
struct Locker(SqliteConnection);

impl Locker {
    fn lock(store: &Store) -> Locker {
        block_on(async {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&store.0.path);
            let mut connection = options.busy_timeout(PATIENCE).connect().await.unwrap();
            sqlx::query("BEGIN EXCLUSIVE").execute(&mut connection).await.unwrap();
            Locker(connection)
        })
    }

    fn unlock(self) {
        block_on(self.0.close()).unwrap();
    }
}

#[test]
fn a_locked_database_delays_no_registration() {
    let (_dir, store) = office();
    let mut session = Session::start(&store, WriterConfig::default());
    assert!(session.record([bind("1001", "first", 1)]));
    let locker = Locker::lock(&store);
    let begin = Instant::now();
    for n in 0..20 {
        assert!(session.record([bind("1001", &n.to_string(), n)]));
    }
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(2), "twenty registrations took {took:?}");
    until("the writer meets the lock", || session.writer.counters().database_errors > 0);
    assert!(session.writer.counters().lag >= 20);
    assert!(session.told.try_iter().all(|told| told != Told::Refused(true)), "nothing is refused");
    locker.unlock();
    session.wait_until_drained();
    assert_eq!(bindings(&store).len(), 21);
}

#[test]
fn what_the_database_never_took_is_there_after_a_restart() {
    let (_dir, store) = office();
    let mut session = Session::start(&store, WriterConfig::default());
    let locker = Locker::lock(&store);
    assert!(session.record([bind("1001", "a", 1), start("call-1-1"), end("call-1-1"), start("call-1-2")]));
    let counters = session.writer.close();
    assert_eq!(counters.lag, 4);
    locker.unlock();
    assert!(bindings(&store).is_empty());

    let recovery = recover(&store);
    assert_eq!((recovery.replayed, recovery.closed_calls, recovery.lost), (4, 1, 0));
    assert_eq!(bindings(&store), [binding("1001", "a", 1)]);
    let calls: Vec<_> = cdrs(&store).into_iter().map(|row| (row.call_id, row.hangup_cause)).collect();
    assert_eq!(calls, [("call-1-1".into(), "normal".into()), ("call-1-2".into(), "restart".into())]);
}

#[test]
fn a_call_cut_off_by_a_restart_ends_with_the_last_sign_of_life() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut session = Session::start(&store, WriterConfig::default());
    let mut refresh = binding("1001", "a", 2);
    refresh.registered_at = Timestamp(START.0 + 90_000_000);
    assert!(session.record([start("call-1-1"), RecordBody::Binding(Arc::new(refresh))]));
    session.writer.close();
    assert_eq!(recover(&store).closed_calls, 1);
    let rows = cdrs(&store);
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].start, rows[0].end.0 - START.0, rows[0].duration), (START, 90_000_000, 90_000_000));
    assert_eq!((rows[0].disposition.as_str(), rows[0].hangup_cause.as_str()), ("failed", "restart"));
    assert_eq!((rows[0].from.as_str(), rows[0].linked_id.as_str()), ("1001", "call-1-1"));
    assert_eq!(recover(&store).closed_calls, 0);
    assert_eq!(cdrs(&store).len(), 1);
}

#[test]
fn the_same_journal_replayed_again_changes_nothing() {
    let (dir, store) = office();
    let mut session = Session::start(&store, WriterConfig::default());
    let locker = Locker::lock(&store);
    let gone = RecordBody::Unbound { tenant: DEFAULT_TENANT, extension: "1001".into(), key: "b".into() };
    assert!(session.record([bind("1001", "a", 1), bind("1001", "b", 1), start("call-1-1"), start("call-1-2")]));
    assert!(session.record([bind("1001", "a", 2), gone, end("call-1-1")]));
    session.writer.close();
    locker.unlock();
    let segment = dir.path().join("journal/00000000000000000001.log");
    let journal = std::fs::read(&segment).unwrap();
    recover(&store);
    let (contacts, calls) = (bindings(&store), cdrs(&store));
    assert_eq!((contacts.len(), calls.len()), (1, 2));

    // As if the process had been killed between the database's commit and the removal of the file.
    std::fs::write(&segment, &journal).unwrap();
    let again = recover(&store);
    assert_eq!((again.replayed, again.closed_calls), (0, 0));
    drop(again);
    // And as if the database's note of its position had not been made.
    std::fs::write(&segment, &journal).unwrap();
    block_on(sqlx::query("UPDATE meta SET value = 0 WHERE key = 'journal_applied'").execute(store.pool())).unwrap();
    assert_eq!(recover(&store).replayed, 7);
    assert_eq!((bindings(&store), cdrs(&store)), (contacts, calls));
    assert_eq!(block_on(store.total_calls(None)).unwrap(), 2);
}

#[test]
fn a_torn_tail_is_cut_off_and_the_journal_goes_on() {
    let (dir, store) = office();
    let mut session = Session::start(&store, WriterConfig::default());
    let locker = Locker::lock(&store);
    assert!(session.record([bind("1001", "a", 1), bind("1001", "b", 1)]));
    session.writer.close();
    locker.unlock();
    let segment = dir.path().join("journal/00000000000000000001.log");
    let length = std::fs::metadata(&segment).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&segment).unwrap().set_len(length - 1).unwrap();
    let recovery = recover(&store);
    assert_eq!((recovery.replayed, recovery.lost), (1, 0));
    assert!(recovery.torn_bytes > 0);
    drop(recovery);
    let mut session = Session::start(&store, WriterConfig::default());
    assert!(session.record([bind("1001", "c", 1)]));
    session.writer.close();
    let keys: Vec<_> = bindings(&store).into_iter().map(|binding| binding.key).collect();
    assert_eq!(keys, ["a".into(), "c".into()]);
}

#[test]
fn when_journal_and_database_refuse_calls_are_refused_until_one_works_again() {
    let (_dir, store) = office();
    let config =
        WriterConfig { group: Duration::ZERO, segment_bytes: 8 << 10, journal_bytes: 32 << 10, ..Default::default() };
    let mut session = Session::start(&store, config);
    let locker = Locker::lock(&store);
    let mut kept = 0;
    // The journal takes what fits, the database nothing.
    while session.record([bind("1001", &format!("kept-{kept}"), 1)]) {
        kept += 1;
        assert!(kept < 1_000, "the journal's bound does not hold");
    }
    assert!(kept > 50);
    assert!(session.writer.counters().refused);
    assert!(session.writer.counters().journal_bytes <= 32 << 10);
    // Calls that run on end meanwhile: their records wait, registrations are refused at once.
    for n in 0..200 {
        session.append([end(&format!("call-1-{n}")), bind("1001", "refused", n)]);
    }
    assert!(!session.record([bind("1001", "refused", 1)]));
    assert!(session.writer.counters().held > 0);
    locker.unlock();
    session.wait_until_refused(false);
    assert!(session.record([bind("1001", "afterwards", 1)]));
    session.wait_until_drained();
    let counters = session.writer.close();
    assert_eq!((counters.lost, counters.held, counters.refused), (0, 0, false));
    assert_eq!(cdrs(&store).len(), 200, "no call record is lost");
    let keys: Vec<_> = bindings(&store).into_iter().map(|binding| binding.key).collect();
    assert_eq!(keys.iter().filter(|key| key.starts_with("kept-")).count(), kept);
    assert!(keys.contains(&"afterwards".into()));
}

#[test]
fn more_than_the_queue_holds_is_refused_and_every_registration_has_its_answer() {
    let (_dir, store) = office();
    // After its first write the journal thread waits so long for more that the queue overflows.
    let config = WriterConfig { queue: 100, group: Duration::from_millis(300), ..Default::default() };
    let mut session = Session::start(&store, config);
    assert!(session.record([bind("1001", "first", 1)]));
    for n in 0..150 {
        session.append([bind("1001", &n.to_string(), 1), end(&format!("call-1-{n}"))]);
    }
    let heard = session.wait_until_refused(false);
    assert!(heard.iter().any(|(_, kept)| !kept), "the queue's bound does not hold");
    assert!(session.record([bind("1001", "last", 1)]));
    let counters = session.writer.close();
    assert_eq!(counters.lost, 0);
    assert_eq!(cdrs(&store).len(), 150, "call records come before registrations");
    let contacts = bindings(&store).len() as u64;
    assert!(counters.shed > 0);
    assert_eq!(contacts + counters.shed, 152, "a contact is kept or refused");
}

/// Runs the named test again as a child that may mount file systems of its own, with `directory` for its data. False with the
/// reason printed if the kernel does not allow it.
fn in_own_mounts(test: &str, directory: &Path) -> bool {
    let unshare = |command: &[&str]| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--mount"]).args(command);
        unshare
    };
    let allowed = unshare(&["mount", "-t", "tmpfs", "tmpfs", "/tmp"]).output();
    match allowed {
        Ok(output) if output.status.success() => {}
        other => {
            eprintln!("skipped: this kernel does not let us mount a small disk: {other:?}");
            return false;
        }
    }
    let program = std::env::current_exe().unwrap();
    let output =
        unshare(&[program.to_str().unwrap(), "--exact", test, "--nocapture"]).env(MOUNTS, directory).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}{text}", String::from_utf8_lossy(&output.stdout));
    true
}

const MOUNTS: &str = "STROWGER_TEST_MOUNTS";

fn small_disk(at: &Path, kib: usize) {
    std::fs::create_dir_all(at).unwrap();
    let size = format!("size={kib}k");
    let done = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).status().unwrap();
    assert!(done.success());
}

/// Takes all room there is.
fn fill(disk: &Path) -> std::path::PathBuf {
    use std::io::Write;
    let path = disk.join("ballast");
    let mut file = std::fs::File::create(&path).unwrap();
    while file.write(&[0x55; 4096]).is_ok() {}
    path
}

#[test]
fn on_a_full_disk_calls_are_refused_and_no_record_is_lost() {
    let Some(data) = std::env::var_os(MOUNTS) else {
        let dir = tempfile::tempdir().unwrap();
        in_own_mounts("store::tests::faults::on_a_full_disk_calls_are_refused_and_no_record_is_lost", dir.path());
        return;
    };
    let data = Path::new(&data);
    small_disk(data, 4096);
    let store = open(data);
    add_extension(&store, "1001");
    let config = WriterConfig { group: Duration::ZERO, segment_bytes: 16 << 10, ..Default::default() };
    let mut session = Session::start(&store, config);
    assert!(session.record([start("call-1-0"), bind("1001", "before", 1)]));
    let ballast = fill(data);
    let mut kept = 0;
    while session.record([start(&format!("call-1-{}", kept + 1)), bind("1001", &format!("kept-{kept}"), 1)]) {
        kept += 1;
        assert!(kept < 100_000, "the disk is never full");
    }
    assert!(session.writer.counters().journal_errors > 0);
    assert!(session.writer.counters().refused);
    for n in 0..=kept {
        session.append([end(&format!("call-1-{n}"))]);
    }
    assert!(!session.record([bind("1001", "refused", 1)]));
    std::fs::remove_file(ballast).unwrap();
    session.wait_until_refused(false);
    assert!(session.record([bind("1001", "afterwards", 1)]));
    session.wait_until_drained();
    let counters = session.writer.close();
    assert_eq!((counters.lost, counters.held), (0, 0));
    // One more call began in the refused group; its start is a record as any other.
    let rows = cdrs(&store);
    assert_eq!(rows.iter().filter(|row| row.hangup_cause == "normal").count(), kept + 1);
    assert_eq!(recover(&store).closed_calls, 1);
    let keys: Vec<_> = bindings(&store).into_iter().map(|binding| binding.key).collect();
    assert!(keys.contains(&"before".into()) && keys.contains(&"afterwards".into()));
    assert_eq!(keys.iter().filter(|key| key.starts_with("kept-")).count(), kept);
    eprintln!("{kept} registrations fitted on the full disk");
}

#[test]
fn when_only_the_journals_disk_is_full_the_database_takes_the_records() {
    let Some(data) = std::env::var_os(MOUNTS) else {
        let dir = tempfile::tempdir().unwrap();
        in_own_mounts(
            "store::tests::faults::when_only_the_journals_disk_is_full_the_database_takes_the_records",
            dir.path(),
        );
        return;
    };
    let data = Path::new(&data);
    small_disk(&data.join("journal"), 64);
    let store = open(data);
    add_extension(&store, "1001");
    let config = WriterConfig { group: Duration::ZERO, segment_bytes: 8 << 10, ..Default::default() };
    let mut session = Session::start(&store, config);
    assert!(session.record([start("call-1-0"), bind("1001", "before", 1)]));
    fill(&data.join("journal"));
    for n in 0..100 {
        assert!(session.record([start(&format!("call-2-{n}")), bind("1001", &n.to_string(), 1)]));
    }
    let counters = session.writer.counters();
    assert!(counters.journal_errors > 0, "the disk was not full");
    assert!(!counters.refused);
    // No flush is waited for: who has the acknowledgement finds the record in the database or the journal.
    session.writer.close();
    assert_eq!(bindings(&store).len(), 101);
    assert_eq!(recover(&store).closed_calls, 101);
}

#[test]
fn with_fdatasync_records_are_kept_all_the_same() {
    let (_dir, store) = office();
    let mut session = Session::start(&store, WriterConfig { fdatasync: true, ..Default::default() });
    for n in 0..20 {
        assert!(session.record([bind("1001", &n.to_string(), n)]));
    }
    session.writer.close();
    assert_eq!(bindings(&store).len(), 20);
}
