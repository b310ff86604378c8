//! The way of records from the engine to the database, without faults.

use super::*;
use crate::store::codec;
use crate::store::error::StoreError;

#[test]
fn every_record_reads_back_as_it_was_written() {
    let mut tcp = binding("1001", "<urn:uuid:00000000-0000-1000-8000-0015651b2c3d>;1", u32::MAX);
    tcp.flow.transport = Transport::Tcp;
    tcp.flow.connection = Some(ConnectionId(u64::MAX));
    tcp.flow.local = "2001:db8::1".parse().unwrap();
    tcp.flow.remote = "[fe80::1%3]:65535".parse().unwrap();
    tcp.user_agent = "Größe \u{0} \u{1F4DE}".into();
    tcp.path = [].into();
    tcp.params = "".into();
    tcp.expires = Timestamp(i64::MAX);
    tcp.registered_at = Timestamp(i64::MIN);
    let mut unanswered = cdr("call-1-2");
    unanswered.answer = None;
    unanswered.cause = Cause::Busy;
    unanswered.caller_packets = u64::MAX;
    let unbound = RecordBody::Unbound { tenant: TenantId(7), extension: "1001".into(), key: "".into() };
    let all = [
        bind("1001", "a", 1),
        RecordBody::Binding(Arc::new(tcp)),
        unbound,
        start("call-1-1"),
        end("call-1-1"),
        RecordBody::CallEnded(Arc::new(unanswered)),
    ];
    for body in all {
        let mut bytes = Vec::new();
        codec::encode(&body, &mut bytes);
        assert_eq!(codec::decode(&bytes), Ok(Some(body)));
        for length in 0..bytes.len() {
            assert_eq!(codec::decode(&bytes[..length]), Err(codec::Unreadable), "cut at {length}");
        }
        bytes.push(0);
        assert_eq!(codec::decode(&bytes), Err(codec::Unreadable), "a byte too many");
    }
}

#[test]
fn a_binding_comes_back_after_a_restart_as_it_was() {
    let (dir, store) = office();
    let mut v6 = binding("1001", "tcp", 9);
    v6.flow.transport = Transport::Tls;
    v6.flow.local = "2001:db8::1".parse().unwrap();
    v6.flow.remote = "[2001:db8::7]:40000".parse().unwrap();
    v6.flow.connection = Some(ConnectionId(17));
    let mut session = Session::start(&store, WriterConfig::default());
    assert!(session.record([bind("1001", "udp", 3), RecordBody::Binding(Arc::new(v6.clone()))]));
    session.writer.close();
    drop(store);
    v6.flow.connection = None;
    assert_eq!(bindings(&open(dir.path())), [v6, binding("1001", "udp", 3)]);
}

#[test]
fn of_one_contact_the_last_record_counts() {
    let (_dir, store) = office();
    let gone = |key: &str| RecordBody::Unbound { tenant: DEFAULT_TENANT, extension: "1001".into(), key: key.into() };
    let mut session = Session::start(&store, WriterConfig::default());
    assert!(session.record([bind("1001", "a", 1), bind("1001", "b", 1), bind("1001", "c", 1)]));
    session.wait_until_drained();
    assert!(session.record([
        bind("1001", "a", 2),
        gone("b"),
        gone("c"),
        bind("1001", "a", 3),
        bind("1001", "c", 2),
        bind("1001", "d", 1),
        gone("d"),
    ]));
    session.writer.close();
    let left: Vec<_> = bindings(&store).into_iter().map(|b| (b.key, b.cseq)).collect();
    assert_eq!(left, [("a".into(), 3), ("c".into(), 2)]);
}

#[test]
fn expired_contacts_and_those_of_removed_extensions_do_not_come_back() {
    let (_dir, store) = office();
    let mut session = Session::start(&store, WriterConfig::default());
    assert!(session.record([bind("1001", "a", 1), bind("1666", "nobody", 1)]));
    session.writer.close();
    assert_eq!(bindings(&store).len(), 1);
    let expires = binding("1001", "a", 1).expires;
    assert_eq!(block_on(store.bindings(Timestamp(expires.0 - 1))).unwrap().len(), 1);
    assert!(block_on(store.bindings(expires)).unwrap().is_empty());
}

#[test]
fn a_call_record_reads_as_the_api_shows_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut session = Session::start(&store, WriterConfig::default());
    assert!(session.record([start("call-1-1")]));
    session.wait_until_drained();
    assert!(cdrs(&store).is_empty(), "a running call has no record");
    let mut busy = cdr("call-1-2");
    busy.answer = None;
    busy.billsec = 0;
    busy.cause = Cause::Busy;
    assert!(session.record([end("call-1-1"), RecordBody::CallEnded(Arc::new(busy))]));
    session.writer.close();
    let rows = cdrs(&store);
    assert_eq!(rows.len(), 2);
    let row = &rows[0];
    assert_eq!((row.call_id.as_str(), row.linked_id.as_str()), ("call-1-1", "call-1-1"));
    assert_eq!((row.from.as_str(), row.to.as_str()), ("1001", "1002"));
    assert_eq!((row.start, row.answer.unwrap().0 - START.0, row.end.0 - START.0), (START, 5_000_000, 65_250_000));
    assert_eq!((row.duration, row.billsec), (65_250_000, 60_250_000));
    assert_eq!((row.disposition.as_str(), row.hangup_cause.as_str()), ("answered", "normal"));
    assert_eq!((row.caller_packets, row.callee_packets), (3012, 3010));
    assert_eq!(row.user_agent, "PolycomVVX-VVX_450-UA/6.3");
    assert_eq!((rows[1].disposition.as_str(), rows[1].hangup_cause.as_str()), ("busy", "busy"));
    assert_eq!(rows[1].answer, None);
    assert_eq!(recover(&store).closed_calls, 0);
}

#[test]
fn a_day_shows_its_newest_calls_and_pages_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut session = Session::start(&store, WriterConfig::default());
    let call = |n: i64, tenant: u32, at: i64| {
        let start = Timestamp(START.0 + at);
        RecordBody::CallEnded(Arc::new(Cdr { tenant: TenantId(tenant), start, ..cdr(&format!("call-1-{n}")) }))
    };
    let day = START..Timestamp(START.0 + 100);
    let mut all: Vec<_> = (0..10).map(|n| call(n, 1, n)).collect();
    all.extend([call(20, 1, -1), call(21, 1, 100), call(22, 2, 5)]);
    assert!(session.record(all));
    session.wait_until_drained();
    let list = |limit, after: Option<&str>| {
        let rows = block_on(store.cdrs(DEFAULT_TENANT, day.clone(), limit, after)).unwrap();
        rows.into_iter().map(|row| row.call_id.strip_prefix("call-1-").unwrap().parse().unwrap()).collect::<Vec<i64>>()
    };
    assert_eq!(list(100, None), (0..10).collect::<Vec<_>>());
    assert_eq!(list(3, None), [7, 8, 9]);
    assert_eq!(list(100, Some("call-1-9")), Vec::<i64>::new());
    // A long call that ends last started first: who pages on still sees it.
    assert!(session.record([call(11, 1, 2), call(12, 1, 50)]));
    session.writer.close();
    assert_eq!(list(1, Some("call-1-9")), [11]);
    assert_eq!(list(100, Some("call-1-9")), [11, 12]);
    let unknown = block_on(store.cdrs(DEFAULT_TENANT, day.clone(), 1, Some("call-1-22")));
    assert!(matches!(unknown, Err(StoreError::NotFound("Call"))), "another tenant's call is unknown");
    assert_eq!(block_on(store.total_calls(Some(DEFAULT_TENANT))).unwrap(), 14);
    assert_eq!(block_on(store.total_calls(None)).unwrap(), 15);
}

#[test]
fn each_answered_party_has_a_record_and_none_is_written_twice() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let second = RecordBody::CallEnded(Arc::new(Cdr { to: "1003".into(), ..cdr("call-1-1") }));
    for _ in 0..2 {
        let mut session = Session::start(&store, WriterConfig::default());
        assert!(session.record([start("call-1-1"), end("call-1-1"), second.clone(), end("call-1-1")]));
        session.wait_until_drained();
        assert!(session.record([start("call-1-1")]));
        session.writer.close();
    }
    let parties: Vec<_> = cdrs(&store).into_iter().map(|row| row.to).collect();
    assert_eq!(parties, ["1002", "1003"]);
    assert_eq!(recover(&store).closed_calls, 0, "a call that has its record is not opened again");
    assert_eq!(block_on(store.total_calls(None)).unwrap(), 1, "one call with two parties is one call");
}

#[test]
fn records_are_acknowledged_in_order_and_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut session = Session::start(&store, WriterConfig { group: Duration::ZERO, ..Default::default() });
    for n in 0..2_000u32 {
        session.append([bind("1001", &n.to_string(), n)]);
    }
    let mut last = 0;
    while last < 2_000 {
        let Told::Recorded(upto, true) = session.next_told() else { panic!("refused") };
        assert!(upto > last);
        last = upto;
    }
    let counters = session.writer.close();
    assert_eq!((counters.recorded, counters.lag, counters.lost, counters.shed), (2_000, 0, 0, 0));
}

#[test]
fn under_load_records_share_writes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut session = Session::start(&store, WriterConfig::default());
    let begin = Instant::now();
    for n in 0..200u32 {
        session.append([bind("1001", "a", n)]);
        std::thread::sleep(Duration::from_micros(500));
    }
    let groups_at_most = begin.elapsed().as_millis() / 10 + 2;
    let counters = session.writer.close();
    assert_eq!(counters.recorded, 200);
    assert!(u128::from(counters.groups) <= groups_at_most, "{} writes", counters.groups);
}

#[test]
fn files_the_database_has_taken_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let config =
        WriterConfig { group: Duration::ZERO, flush: Duration::ZERO, segment_bytes: 16 << 10, ..Default::default() };
    let mut session = Session::start(&store, config);
    for n in 0..1_000u32 {
        assert!(session.record([bind("1001", "a", n)]));
    }
    session.wait_until_drained();
    let journal = dir.path().join("journal");
    until("two files beside the lock", || std::fs::read_dir(&journal).unwrap().count() <= 3);
    assert!(session.writer.counters().journal_bytes <= 32 << 10);
}

#[test]
fn two_daemons_cannot_share_a_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let session = Session::start(&store, WriterConfig::default());
    let other = open(dir.path());
    let refused = block_on(other.recover(LATER)).unwrap_err();
    assert!(matches!(refused, StoreError::InUse { .. }), "{refused}");
    session.writer.close();
    recover(&other);
}
