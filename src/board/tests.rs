use super::trace::{Bounds, Direction, Rung};
use super::*;
use crate::base::cause::Cause;
use crate::base::ids::{CallId, LegId, ListenerId};
use crate::base::now::Timestamp;
use crate::engine::event::{CallSnapshot, CallState, Snapshot, TraceEntry};
use crate::engine::flow::{Flow, Transport};
use crate::engine::media::Counters;
use bytes::Bytes;
use std::sync::Arc;

const OFFICE: TenantId = TenantId(1);
const OTHER: TenantId = TenantId(2);
/// 2024-01-15T10:00:00Z
const START: i64 = 1_705_312_800_000_000;

/// Numbers events as the engine does.
#[derive(Default)]
struct Stream {
    seq: u64,
}

impl Stream {
    fn event(&mut self, body: EventBody) -> Event {
        self.seq += 1;
        Event { seq: self.seq, at: Timestamp(START + self.seq as i64 * 1_000), body }
    }
}

fn started(call: u64, tenant: TenantId) -> EventBody {
    EventBody::CallStarted {
        call: CallId(call),
        call_id: format!("call-1-{call}").into(),
        tenant,
        from: "1001".into(),
        to: "1002".into(),
    }
}

fn state(call: u64, state: CallState) -> EventBody {
    EventBody::CallState { call: CallId(call), state }
}

fn ended(call: u64, cause: Cause) -> EventBody {
    EventBody::CallEnded { call: CallId(call), cause, cdr: None }
}

fn flow(last: u8) -> Flow {
    Flow {
        listener: ListenerId(0),
        transport: Transport::Udp,
        local: [192, 0, 2, 1].into(),
        remote: ([192, 0, 2, last], 5060).into(),
        connection: None,
    }
}

fn received(call: u64, leg: u64, text: impl Into<Bytes>) -> EventBody {
    let entry = TraceEntry::Received { leg: LegId(leg), flow: flow(leg as u8), bytes: text.into() };
    EventBody::Trace { call: CallId(call), entry }
}

fn sent(call: u64, leg: u64, text: impl Into<Bytes>) -> EventBody {
    let entry = TraceEntry::Sent { leg: LegId(leg), flow: flow(leg as u8), bytes: text.into() };
    EventBody::Trace { call: CallId(call), entry }
}

fn decided(call: u64, text: &str) -> EventBody {
    EventBody::Trace { call: CallId(call), entry: TraceEntry::Decision { text: text.into() } }
}

fn board_of(bodies: Vec<EventBody>) -> Board {
    let (board, mut stream) = (Board::default(), Stream::default());
    bodies.into_iter().for_each(|body| board.apply(&stream.event(body)));
    board
}

#[test]
fn a_call_is_listed_with_its_state_until_it_ends_and_counted_for_ever() {
    let (board, mut stream) = (Board::default(), Stream::default());
    board.set_calls_before(OFFICE, 144);
    board.apply(&stream.event(started(1, OFFICE)));
    board.apply(&stream.event(started(2, OTHER)));
    board.apply(&stream.event(state(1, CallState::Ringing)));
    board.apply(&stream.event(state(1, CallState::Connected)));
    board.apply(&stream.event(state(1, CallState::Hold)));
    {
        let live = board.live();
        let calls: Vec<_> = live.calls(OFFICE).collect();
        assert_eq!(calls.len(), 1);
        assert_eq!((&*calls[0].call_id, calls[0].state), ("call-1-1", CallState::Hold));
        assert_eq!(calls[0].answered, Some(Timestamp(START + 4_000)));
        assert_eq!(live.status(OFFICE).active_calls, 1);
        assert_eq!(live.status(OFFICE).total_calls, 145);
        assert_eq!(live.status(OTHER).total_calls, 1);
    }
    board.apply(&stream.event(ended(1, Cause::Normal)));
    let live = board.live();
    assert_eq!(live.calls(OFFICE).count(), 0);
    assert_eq!(live.status(OFFICE).active_calls, 0);
    assert_eq!(live.status(OFFICE).total_calls, 145);
    assert_eq!(live.totals().calls_answered, 1);
    assert_eq!(live.totals().calls_ended.get(&Cause::Normal), Some(&1));
}

#[test]
fn registered_extensions_are_counted_by_tenant_whatever_their_contacts() {
    let bound = |tenant, contacts| EventBody::Registered { tenant, extension: "1001".into(), contacts };
    let removed = |tenant, contacts| EventBody::Unregistered { tenant, extension: "1001".into(), contacts };
    let board = board_of(vec![bound(OFFICE, 1), bound(OFFICE, 2), bound(OTHER, 1), removed(OFFICE, 1)]);
    assert_eq!(board.live().contacts(OFFICE, "1001"), 1);
    assert_eq!(board.live().status(OFFICE).registered_extensions, 1);
    assert_eq!(board.live().registrations(), (2, 2));
    assert_eq!((board.live().totals().contacts_added, board.live().totals().contacts_removed), (3, 1));
    let refreshed = board_of(vec![bound(OFFICE, 1), bound(OFFICE, 1), bound(OFFICE, 1)]);
    assert_eq!(refreshed.live().totals().contacts_added, 1);
    let board = board_of(vec![bound(OFFICE, 1), removed(OFFICE, 0)]);
    assert_eq!(board.live().contacts(OFFICE, "1001"), 0);
    assert_eq!(board.live().status(OFFICE).registered_extensions, 0);
}

#[test]
fn media_totals_grow_by_what_is_new_in_each_report() {
    let report = |call, leg, received| EventBody::Media {
        call: CallId(call),
        leg: LegId(leg),
        counters: Counters { received, sent: received / 2, ..Counters::default() },
    };
    let board = board_of(vec![
        started(1, OFFICE),
        report(1, 1, 50),
        report(1, 2, 40),
        report(1, 1, 100),
        ended(1, Cause::Normal),
        started(2, OFFICE),
        report(2, 3, 10),
    ]);
    assert_eq!(board.live().totals().media.received, 150);
    assert_eq!(board.live().totals().media.sent, 75);
}

#[test]
fn after_lost_events_a_snapshot_clears_what_is_gone_and_shows_what_was_missed() {
    let (board, mut stream) = (Board::default(), Stream::default());
    for body in [started(1, OFFICE), started(2, OFFICE), decided(1, "x"), decided(2, "x")] {
        board.apply(&stream.event(body));
    }
    board.apply(&stream.event(EventBody::Registered { tenant: OFFICE, extension: "1001".into(), contacts: 1 }));
    // Call 1 ends, call 3 begins, 1001 goes and 1002 comes, unseen.
    stream.seq += 4;
    assert!(!board.needs_snapshot());
    board.apply(&stream.event(state(2, CallState::Ringing)));
    assert!(board.needs_snapshot());
    assert_eq!(board.lost_events(), 4);
    assert_eq!(board.live().calls(OFFICE).count(), 2);

    let call = |n, answered| CallSnapshot {
        call: CallId(n),
        call_id: format!("call-1-{n}").into(),
        tenant: OFFICE,
        from: "1001".into(),
        to: "1002".into(),
        state: CallState::Connected,
        started: Timestamp(START),
        answered,
    };
    let snapshot = Snapshot {
        registered: vec![(OFFICE, "1002".into(), 2)],
        calls: vec![call(2, None), call(3, Some(Timestamp(START)))],
    };
    board.apply(&stream.event(EventBody::Snapshot(Arc::new(snapshot))));
    assert!(!board.needs_snapshot());
    let live = board.live();
    let calls: Vec<_> = live.calls(OFFICE).map(|c| (&*c.call_id, c.state)).collect();
    assert_eq!(calls, [("call-1-2", CallState::Connected), ("call-1-3", CallState::Connected)]);
    assert_eq!((live.contacts(OFFICE, "1001"), live.contacts(OFFICE, "1002")), (0, 2));
    let totals = live.totals();
    assert_eq!((totals.calls_started, totals.calls_forgotten, totals.calls_answered), (3, 1, 1));
    assert_eq!(live.status(OFFICE).active_calls, 2);
    assert!(board.trace(OFFICE, "call-1-1").unwrap().ended().is_some());
    assert!(board.trace(OFFICE, "call-1-2").unwrap().ended().is_none());
}

#[test]
fn an_event_that_comes_twice_counts_once() {
    let (board, mut stream) = (Board::default(), Stream::default());
    let first = stream.event(started(1, OFFICE));
    let second = stream.event(ended(1, Cause::Busy));
    for event in [&first, &second, &first, &second] {
        board.apply(event);
    }
    assert_eq!(board.live().totals().calls_started, 1);
    assert_eq!(board.live().active_calls(), 0);
    assert_eq!(board.lost_events(), 0);
}

#[test]
fn a_trace_goes_on_after_the_calls_end() {
    let board = board_of(vec![
        started(1, OFFICE),
        received(1, 1, "INVITE sip:1002@x SIP/2.0\r\nAuthorization: Digest response=\"secret\"\r\n\r\n"),
        decided(1, "1002 is an extension"),
        ended(1, Cause::Normal),
        sent(1, 1, "SIP/2.0 200 OK\r\nCSeq: 2 BYE\r\n\r\n"),
    ]);
    let trace = board.trace(OFFICE, "call-1-1").unwrap();
    assert_eq!(trace.rungs().count(), 3);
    assert!(trace.ended().is_some());
    assert!(!trace.is_truncated());
    let Some(Rung::Message { message, text, .. }) = trace.rungs().next() else { panic!("no message") };
    assert_eq!(message.direction, Direction::In);
    assert_eq!(text, b"INVITE sip:1002@x SIP/2.0\r\nAuthorization: [redacted]\r\n\r\n");
    assert!(board.trace(OTHER, "call-1-1").is_none(), "another tenant's call");
}

#[test]
fn a_long_call_keeps_how_it_began_and_what_came_last() {
    let (board, mut stream) = (Board::new(Bounds { call: 8_000, total: 1_000_000 }), Stream::default());
    board.apply(&stream.event(started(1, OFFICE)));
    for n in 0..500 {
        board.apply(&stream.event(decided(1, &format!("decision {n}"))));
    }
    let trace = board.trace(OFFICE, "call-1-1").unwrap();
    let lines: Vec<String> = trace
        .rungs()
        .map(|rung| match rung {
            Rung::Decision { text, .. } => text.into_owned(),
            Rung::Gap { omitted } => format!("gap {omitted}"),
            Rung::Message { .. } => String::new(),
        })
        .collect();
    assert_eq!(lines[0], "decision 0");
    assert_eq!(lines.last().unwrap(), "decision 499");
    // Before the gap and after it, nothing is missing.
    let gap = lines.iter().position(|line| line.starts_with("gap")).unwrap();
    let omitted: usize = lines[gap][4..].parse().unwrap();
    let first_after = gap + omitted;
    assert_eq!(lines.len() - 1 + omitted, 500);
    assert!((0..gap).all(|n| lines[n] == format!("decision {n}")));
    assert!((first_after..500).all(|n| lines[n - omitted + 1] == format!("decision {n}")));
    assert!(trace.is_truncated());
    assert!(board.trace_use().1 <= 8_000, "{:?}", board.trace_use());
}

#[test]
fn a_huge_message_is_cut_and_says_so() {
    let (board, mut stream) = (Board::default(), Stream::default());
    board.apply(&stream.event(started(1, OFFICE)));
    board.apply(&stream.event(received(1, 1, vec![b'x'; 60_000])));
    let trace = board.trace(OFFICE, "call-1-1").unwrap();
    let Some(Rung::Message { message, text, .. }) = trace.rungs().next() else { panic!("no message") };
    assert_eq!(text.len() + message.cut as usize, 60_000);
    assert!(trace.is_truncated());
    assert!(board.trace_use().1 <= crate::base::limits::TRACE_BYTES);
}

#[test]
fn when_all_traces_are_too_many_the_first_ended_goes_first_and_running_calls_last() {
    let bounds = Bounds { call: 4_000, total: 20_000 };
    let (board, mut stream) = (Board::new(bounds), Stream::default());
    board.apply(&stream.event(started(1, OFFICE)));
    for call in 2..40 {
        board.apply(&stream.event(started(call, OFFICE)));
        board.apply(&stream.event(decided(call, &"x".repeat(900))));
        board.apply(&stream.event(ended(call, Cause::Normal)));
        assert!(board.trace_use().1 <= 20_000);
    }
    assert!(board.trace(OFFICE, "call-1-1").is_some(), "a running call was forgotten before ended ones");
    assert!(board.trace(OFFICE, "call-1-2").is_none());
    assert!(board.trace(OFFICE, "call-1-39").is_some());
    // Nothing but running calls: the oldest goes.
    for call in 40..80 {
        board.apply(&stream.event(started(call, OFFICE)));
        board.apply(&stream.event(decided(call, &"x".repeat(900))));
    }
    assert!(board.trace_use().1 <= 20_000);
    assert!(board.trace(OFFICE, "call-1-1").is_none());
    assert!(board.trace(OFFICE, "call-1-79").is_some());
}

#[test]
fn metrics_show_the_fold_and_other_parts_figures() {
    let board = Arc::new(board_of(vec![
        started(1, OFFICE),
        started(2, OFFICE),
        ended(1, Cause::Busy),
        EventBody::Refused { tenant: OFFICE, cause: Cause::Unauthorized },
        EventBody::Registered { tenant: OFFICE, extension: "1001".into(), contacts: 3 },
    ]));
    let lost = metrics::Figure { name: "records_lost", help: "Lost", value: metrics::Value::Counter(7) };
    let text = metrics::Metrics::new(board, Box::new(move || vec![lost])).render().unwrap();
    for line in [
        "strowger_calls_started_total 2",
        "strowger_calls_ended_total{cause=\"busy\"} 1",
        "strowger_refused_total{cause=\"unauthorized\"} 1",
        "strowger_calls_active 1.0",
        "strowger_contacts 3.0",
        "strowger_events_lost_total 0",
        "strowger_records_lost_total 7",
        concat!("strowger_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
    ] {
        assert!(text.lines().any(|l| l == line), "no `{line}` in\n{text}");
    }
    assert!(text.contains("process_resident_memory_bytes "));
    assert!(text.ends_with("# EOF\n"));
}

/// Hours, minutes, seconds and milliseconds after [`START`].
fn clock(at: Timestamp) -> String {
    let ms = (at.0 - START) / 1_000;
    format!("10:{:02}:{:02}.{:03}", ms / 60_000, ms / 1_000 % 60, ms % 1_000)
}

#[test]
fn the_ladder_reads_as_it_is_written_down() {
    let sdp = "Content-Type: application/sdp\r\n\r\nv=0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:c2VjcmV0\r\n";
    let board = board_of(vec![
        started(1, OFFICE),
        received(
            1,
            10,
            format!("INVITE sip:1002@office SIP/2.0\r\nAuthorization: Digest x\r\nCSeq: 2 INVITE\r\n{sdp}"),
        ),
        sent(1, 10, "SIP/2.0 100 Trying\r\nCSeq: 2 INVITE\r\n\r\n"),
        decided(1, "1002 is an extension with 2 contacts: both ring"),
        sent(1, 20, format!("INVITE sip:1002@192.0.2.20 SIP/2.0\r\nCSeq: 1 INVITE\r\n{sdp}")),
        sent(1, 30, format!("INVITE sip:1002@192.0.2.30 SIP/2.0\r\nCSeq: 1 INVITE\r\n{sdp}")),
        received(1, 20, "SIP/2.0 180 Ringing\r\nCSeq: 1 INVITE\r\n\r\n"),
        sent(1, 10, "SIP/2.0 180 Ringing\r\nCSeq: 2 INVITE\r\n\r\n"),
        received(1, 30, format!("SIP/2.0 200 OK\r\nCSeq: 1 INVITE\r\n{sdp}")),
        decided(1, "leg 30 answered first: leg 20 is cancelled"),
        sent(1, 20, "CANCEL sip:1002@192.0.2.20 SIP/2.0\r\nCSeq: 1 CANCEL\r\n\r\n"),
        sent(1, 10, format!("SIP/2.0 200 OK\r\nCSeq: 2 INVITE\r\n{sdp}")),
        received(1, 10, "BYE sip:office SIP/2.0\r\nCSeq: 3 BYE\r\n\r\n"),
        ended(1, Cause::Normal),
        sent(1, 10, "SIP/2.0 200 OK\r\nCSeq: 3 BYE\r\n\r\n"),
    ]);
    let text = ladder::ladder(&board.trace(OFFICE, "call-1-1").unwrap(), &clock);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/api/ladder.txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(path).unwrap());
}
