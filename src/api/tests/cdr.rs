use super::shape::{assert_same_shape, example};
use super::*;
use crate::base::cause::Cause;
use crate::base::ids::RecordSeq;
use crate::engine::record::{Cdr, Record, RecordBody};
use crate::store::tenants::TenantChange;
use crate::store::writer::{Writer, WriterConfig};
use serde_json::json;
use std::time::Duration;

/// A call that began so many seconds after [`TEN`], was answered after 5 s and lasted 930 s; or was not answered.
struct Past {
    call_id: String,
    second: i64,
    answered: bool,
}

fn past(call_id: &str, second: i64, answered: bool) -> Past {
    Past { call_id: call_id.to_string(), second, answered }
}

impl Past {
    fn record(&self) -> RecordBody {
        let start = Timestamp(TEN.0 + self.second * 1_000_000);
        let after = |seconds| start + Duration::from_secs(seconds);
        RecordBody::CallEnded(Arc::new(Cdr {
            call_id: self.call_id.as_str().into(),
            linked_id: self.call_id.as_str().into(),
            tenant: DEFAULT_TENANT,
            from: "1001".into(),
            to: "1002".into(),
            start,
            answer: self.answered.then(|| after(5)),
            end: after(930),
            duration: 930_900_000,
            billsec: if self.answered { 925_100_000 } else { 0 },
            cause: if self.answered { Cause::Normal } else { Cause::NoAnswer },
            user_agent: "Phone/1.0".into(),
            caller_packets: 0,
            callee_packets: 0,
        }))
    }
}

impl Office {
    /// Writes call records as the engine does, and waits until the database has them.
    async fn record(&self, calls: &[Past]) {
        let journal = self.store.recover(TEN).await.unwrap().journal;
        let writer = Writer::start(&self.store, journal, WriterConfig::default(), |_, _| {}, |_| {}).unwrap();
        let number = |(n, past): (usize, &Past)| Record { seq: RecordSeq(n as u64 + 1), body: past.record() };
        writer.append(calls.iter().enumerate().map(number).collect());
        let counters = tokio::task::spawn_blocking(move || writer.close()).await.unwrap();
        assert_eq!((counters.lag, counters.lost), (0, 0));
    }
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|cdr| cdr["call_id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_record_is_as_documented() {
    let office = Office::open().await;
    office.record(&[past("call-123", 0, true), past("call-124", 60, false)]).await;
    let list = office.get("/api/cdr?date=2024-01-15").await.ok();
    let ours = ["hangup_cause", "user_agent", "linked_id"];
    assert_same_shape(&example("cdr"), &list, &["answer_time", "recording_file"], &ours);
    let mut expected = example("cdr")[0].clone();
    expected["recording_file"] = Value::Null;
    expected["hangup_cause"] = json!("normal");
    expected["user_agent"] = json!("Phone/1.0");
    expected["linked_id"] = json!("call-123");
    assert_eq!(list[0], expected);
    assert_eq!(list[1]["answer_time"], Value::Null);
    assert_eq!(list[1]["disposition"], "no_answer");
}

#[tokio::test]
async fn a_day_is_the_tenants_day() {
    let office = Office::open().await;
    // 23:30 UTC is half past midnight of the next day in Berlin.
    office.record(&[past("noon", 2 * 3600, true), past("night", 13 * 3600 + 1800, true)]).await;
    assert_eq!(ids(&office.get("/api/cdr?date=2024-01-15").await.ok()), ["noon", "night"]);
    let berlin = TenantChange { time_zone: Some("Europe/Berlin".to_string()), ..TenantChange::default() };
    office.store.update_tenant(DEFAULT_TENANT, &berlin).await.unwrap();
    assert_eq!(ids(&office.get("/api/cdr?date=2024-01-15").await.ok()), ["noon"]);
    let next = office.get("/api/cdr?date=2024-01-16").await.ok();
    assert_eq!(next[0]["start_time"], "2024-01-16T00:30:00");
    // Today, whatever day it is, nobody called.
    assert_eq!(office.get("/api/cdr").await.ok(), json!([]));
}

#[tokio::test]
async fn the_newest_come_in_ascending_order_and_after_pages_on() {
    let office = Office::open().await;
    let calls: Vec<Past> = (0..120).map(|n| past(&format!("call-{n}"), n, true)).collect();
    office.record(&calls).await;
    let all = "/api/cdr?date=2024-01-15";
    let newest = office.get(all).await.ok();
    assert_eq!((ids(&newest).len(), ids(&newest)[0], ids(&newest)[99]), (100, "call-20", "call-119"));
    assert_eq!(ids(&office.get(&format!("{all}&limit=2")).await.ok()), ["call-118", "call-119"]);
    assert_eq!(ids(&office.get(&format!("{all}&limit=2&after=call-7")).await.ok()), ["call-8", "call-9"]);
    assert_eq!(office.get(&format!("{all}&after=call-119")).await.ok(), json!([]));
    let unknown = office.get(&format!("{all}&after=call-x")).await.error(400);
    assert_eq!(unknown, "`after`: no call `call-x` is recorded");
}

#[tokio::test]
async fn bad_dates_and_limits_are_refused() {
    let office = Office::open().await;
    for query in [
        "date=yesterday",
        "date=2024-02-30",
        "date=",
        "limit=0",
        "limit=-1",
        "limit=ten",
        "limit=",
        "limit=10001",
        "limit=1.5",
    ] {
        let name = query.split('=').next().unwrap();
        let error = office.get(&format!("/api/cdr?{query}")).await.error(400);
        assert!(error.contains(&format!("`{name}` must be")), "{query}: {error}");
    }
    assert!(!office.get("/api/cdr?limit=1&limit=2").await.error(400).is_empty());
    office.get("/api/cdr?limit=10000&date=9999-01-01").await.ok();
}
