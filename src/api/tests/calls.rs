use super::shape::{assert_same_shape, example};
use super::*;
use crate::base::cause::Cause;
use crate::base::ids::{CallId, LegId, ListenerId};
use crate::engine::event::{CallState, TraceEntry};
use crate::engine::flow::{Flow, Transport};
use crate::store::tenants::TenantChange;
use serde_json::json;

fn started(call: u64, call_id: &str, from: &str, to: &str) -> EventBody {
    EventBody::CallStarted {
        call: CallId(call),
        call_id: call_id.into(),
        tenant: DEFAULT_TENANT,
        from: from.into(),
        to: to.into(),
    }
}

fn state(call: u64, state: CallState) -> EventBody {
    EventBody::CallState { call: CallId(call), state }
}

async fn two_calls() -> Office {
    let mut office = Office::open().await;
    office.event(TEN, started(1, "call-123", "1001", "1002"));
    office.event(TEN, started(2, "call-456", "1003", "1004"));
    office.event(Timestamp(TEN.0 + 5_000_000), state(1, CallState::Connected));
    office.event(Timestamp(TEN.0 + 6_000_000), state(2, CallState::Ringing));
    office
}

#[tokio::test]
async fn the_status_is_as_documented() {
    let mut office = two_calls().await;
    office.board.set_calls_before(DEFAULT_TENANT, 143);
    for extension in ["1001", "1002", "1003"] {
        office.event(TEN, EventBody::Registered { tenant: DEFAULT_TENANT, extension: extension.into(), contacts: 2 });
    }
    let mut expected = example("status");
    expected["active_recordings"] = json!(0);
    assert_eq!(office.get("/api/status").await.ok(), expected);
}

#[tokio::test]
async fn the_calls_going_on_are_lines_of_text_as_documented() {
    let mut office = two_calls().await;
    assert_eq!(office.get("/api/calls").await.ok(), example("calls"));
    office.event(TEN, EventBody::CallEnded { call: CallId(1), cause: Cause::Normal, cdr: None });
    assert_eq!(office.get("/api/calls?detail=false").await.ok(), json!(["Call call-456: 1003 -> 1004 (ringing)"]));
}

#[tokio::test]
async fn with_detail_they_are_objects_in_the_tenants_time() {
    let office = two_calls().await;
    let berlin = TenantChange { time_zone: Some("Europe/Berlin".to_string()), ..TenantChange::default() };
    office.store.update_tenant(DEFAULT_TENANT, &berlin).await.unwrap();
    let expected = json!([
        {
            "call_id": "call-123", "from": "1001", "to": "1002", "state": "connected",
            "start_time": "2024-01-15T11:00:00", "answer_time": "2024-01-15T11:00:05"
        },
        {
            "call_id": "call-456", "from": "1003", "to": "1004", "state": "ringing",
            "start_time": "2024-01-15T11:00:00", "answer_time": null
        },
    ]);
    assert_eq!(office.get("/api/calls?detail=true").await.ok(), expected);
    assert!(office.get("/api/calls?detail=perhaps").await.error(400).contains("`detail`"));
}

async fn traced_call() -> Office {
    let mut office = Office::open().await;
    let flow = Flow {
        listener: ListenerId(0),
        transport: Transport::Tcp,
        local: [192, 0, 2, 1].into(),
        remote: ([192, 0, 2, 10], 5060).into(),
        connection: None,
    };
    let invite = "INVITE sip:1002@office SIP/2.0\r\nAuthorization: Digest response=\"c0ffee\"\r\n\r\n";
    let trace = |entry| EventBody::Trace { call: CallId(7), entry };
    office.event(TEN, started(7, "call-1-7", "1001", "1002"));
    office.event(TEN, trace(TraceEntry::Received { leg: LegId(3), flow, bytes: invite.into() }));
    office.event(Timestamp(TEN.0 + 1_500), trace(TraceEntry::Decision { text: "1002 has no contact".into() }));
    let busy = "SIP/2.0 480 Temporarily Unavailable\r\nCSeq: 1 INVITE\r\n\r\n";
    office.event(Timestamp(TEN.0 + 2_000), trace(TraceEntry::Sent { leg: LegId(3), flow, bytes: busy.into() }));
    office
}

#[tokio::test]
async fn a_calls_trace_is_served_without_its_secrets() {
    let mut office = traced_call().await;
    let trace = office.get("/api/calls/call-1-7/trace").await.ok();
    let expected = json!({
        "call_id": "call-1-7", "from": "1001", "to": "1002", "end_time": null, "truncated": false,
        "entries": [
            {
                "time": "2024-01-15T10:00:00.000000", "direction": "in", "leg": 3, "peer": "192.0.2.10:5060",
                "transport": "tcp", "summary": "INVITE",
                "message": "INVITE sip:1002@office SIP/2.0\r\nAuthorization: [redacted]\r\n\r\n"
            },
            { "time": "2024-01-15T10:00:00.001500", "decision": "1002 has no contact" },
            {
                "time": "2024-01-15T10:00:00.002000", "direction": "out", "leg": 3, "peer": "192.0.2.10:5060",
                "transport": "tcp", "summary": "480 Temporarily Unavailable",
                "message": "SIP/2.0 480 Temporarily Unavailable\r\nCSeq: 1 INVITE\r\n\r\n"
            },
        ]
    });
    assert_eq!(trace, expected);
    office.event(TEN, EventBody::CallEnded { call: CallId(7), cause: Cause::NotRegistered, cdr: None });
    let trace = office.get("/api/calls/call-1-7/trace?format=json").await.ok();
    assert_eq!(trace["end_time"], "2024-01-15T10:00:00.000000");
}

#[tokio::test]
async fn whoever_wants_text_gets_a_ladder() {
    let office = traced_call().await;
    let accepting = |accept: &str| {
        let request = Request::get("/api/calls/call-1-7/trace").header("host", "localhost").header("accept", accept);
        office.send(request.body(Body::empty()).unwrap())
    };
    for reply in [office.get("/api/calls/call-1-7/trace?format=text").await, accepting("text/plain").await] {
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.header("content-type"), "text/plain; charset=utf-8");
        assert!(reply.text.starts_with("Call call-1-7: 1001 -> 1002, going on\n"), "{}", reply.text);
        assert!(reply.text.contains("10:00:00.001  * 1002 has no contact\n"), "{}", reply.text);
        assert!(reply.text.contains("Authorization: [redacted]\n"), "{}", reply.text);
    }
    accepting("*/*").await.ok();
    accepting("application/json, text/plain").await.ok();
}

#[tokio::test]
async fn a_trace_nobody_kept_is_not_found() {
    let office = traced_call().await;
    assert_eq!(office.get("/api/calls/call-9/trace").await.error(404), "No trace of a call `call-9` is kept");
    assert_eq!(office.get("/api/calls/%ff%00/trace").await.status.as_u16(), 400);
    assert!(office.get("/api/calls/call-1-7/trace?format=pcap").await.error(400).contains("`format`"));
}

#[tokio::test]
async fn the_documented_error_has_one_key() {
    let office = Office::open().await;
    let reply = office.get("/api/nowhere").await;
    assert_eq!(reply.status.as_u16(), 404);
    assert_same_shape(&example("error"), &reply.json(), &[], &[]);
}
