//! The store on real SQLite files.

mod directory;
mod faults;
mod journal;
mod records;

use crate::base::cause::Cause;
use crate::base::ids::{ConnectionId, ListenerId, RecordSeq, TenantId};
use crate::base::now::Timestamp;
use crate::engine::flow::{Flow, Transport};
use crate::engine::record::{Binding, CallStart, Cdr, Record, RecordBody};
use crate::store::Store;
use crate::store::extensions::NewExtension;
use crate::store::recovery::Recovery;
use crate::store::tenants::DEFAULT_TENANT;
use crate::store::writer::{Writer, WriterConfig, WriterHandle};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Whatever should happen has happened by then, on a machine however busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// 2026-01-15T10:00:00Z.
const START: Timestamp = Timestamp(1_768_471_200_000_000);

const LATER: Timestamp = Timestamp(START.0 + 3_600_000_000);

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn open(data_dir: &Path) -> Store {
    block_on(Store::open(data_dir)).unwrap()
}

fn recover(store: &Store) -> Recovery {
    block_on(store.recover(LATER)).unwrap()
}

fn add_extension(store: &Store, number: &str) {
    let new = NewExtension {
        number: number.into(),
        name: format!("Extension {number}"),
        email: String::new(),
        password: "correct horse".into(),
        allow_external: true,
    };
    block_on(store.add_extension(DEFAULT_TENANT, &new)).unwrap();
}

/// A store with extension 1001; the directory lives as long as what is returned.
fn office() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    add_extension(&store, "1001");
    (dir, store)
}

fn binding(extension: &str, key: &str, cseq: u32) -> Binding {
    Binding {
        tenant: DEFAULT_TENANT,
        extension: extension.into(),
        key: key.into(),
        uri: format!("sip:{extension}@192.0.2.7:5062;transport=udp").into(),
        params: ";+sip.instance=\"<urn:uuid:f81d4fae>\";reg-id=1".into(),
        q: 700,
        flow: Flow {
            listener: ListenerId(0),
            transport: Transport::Udp,
            local: [192, 0, 2, 1].into(),
            remote: ([192, 0, 2, 7], 5062).into(),
            connection: None,
        },
        expires: Timestamp(START.0 + 7_200_000_000),
        call_id: "8f3c2ab0@192.0.2.7".into(),
        cseq,
        user_agent: "Yealink SIP-T46S 66.85.0.5".into(),
        path: ["<sip:edge1.example.com;lr>".into(), "<sip:[2001:db8::1]:5061;lr>".into()].into(),
        allow: "INVITE, ACK, CANCEL, BYE".into(),
        registered_at: START,
    }
}

fn bind(extension: &str, key: &str, cseq: u32) -> RecordBody {
    RecordBody::Binding(Arc::new(binding(extension, key, cseq)))
}

fn start(call_id: &str) -> RecordBody {
    RecordBody::CallStarted(Arc::new(CallStart {
        call_id: call_id.into(),
        tenant: DEFAULT_TENANT,
        from: "1001".into(),
        to: "1002".into(),
        start: START,
        user_agent: "PolycomVVX-VVX_450-UA/6.3".into(),
    }))
}

fn cdr(call_id: &str) -> Cdr {
    Cdr {
        call_id: call_id.into(),
        linked_id: call_id.into(),
        tenant: DEFAULT_TENANT,
        from: "1001".into(),
        to: "1002".into(),
        start: START,
        answer: Some(Timestamp(START.0 + 5_000_000)),
        end: Timestamp(START.0 + 65_250_000),
        duration: 65_250_000,
        billsec: 60_250_000,
        cause: Cause::Normal,
        user_agent: "PolycomVVX-VVX_450-UA/6.3".into(),
        caller_packets: 3012,
        callee_packets: 3010,
    }
}

fn end(call_id: &str) -> RecordBody {
    RecordBody::CallEnded(Arc::new(cdr(call_id)))
}

/// What the writer told the engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    Recorded(u64, bool),
    Refused(bool),
}

/// A writer and the engine's side of it.
struct Session {
    writer: WriterHandle,
    told: Receiver<Told>,
    seq: u64,
}

impl Session {
    fn start(store: &Store, config: WriterConfig) -> Session {
        let (recorded, told) = channel();
        let refused = recorded.clone();
        let writer = Writer::start(
            store,
            recover(store).journal,
            config,
            move |upto, kept| recorded.send(Told::Recorded(upto.0, kept)).unwrap_or_default(),
            move |refuses| refused.send(Told::Refused(refuses)).unwrap_or_default(),
        );
        Session { writer: writer.unwrap(), told, seq: 0 }
    }

    fn append(&mut self, bodies: impl IntoIterator<Item = RecordBody>) {
        let records = bodies.into_iter().map(|body| {
            self.seq += 1;
            Record { seq: RecordSeq(self.seq), body }
        });
        self.writer.append(records.collect());
    }

    fn next_told(&self) -> Told {
        self.told.recv_timeout(PATIENCE).expect("the writer says nothing")
    }

    /// Appends, and waits for the answer.
    fn record(&mut self, bodies: impl IntoIterator<Item = RecordBody>) -> bool {
        self.append(bodies);
        loop {
            if let Told::Recorded(upto, kept) = self.next_told()
                && upto == self.seq
            {
                return kept;
            }
        }
    }

    /// Until the writer said so; returns the acknowledgements heard meanwhile.
    fn wait_until_refused(&self, refused: bool) -> Vec<(u64, bool)> {
        let mut heard = Vec::new();
        loop {
            match self.next_told() {
                Told::Recorded(upto, kept) => heard.push((upto, kept)),
                Told::Refused(now) if now == refused => return heard,
                Told::Refused(_) => {}
            }
        }
    }

    fn wait_until_drained(&self) {
        until("the database has everything", || self.writer.counters().lag == 0);
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn cdrs(store: &Store) -> Vec<crate::store::cdr::CdrRow> {
    block_on(store.cdrs(DEFAULT_TENANT, Timestamp(0)..Timestamp(i64::MAX), 1_000_000, None)).unwrap()
}

fn bindings(store: &Store) -> Vec<Binding> {
    block_on(store.bindings(START)).unwrap().iter().map(|binding| Binding::clone(binding)).collect()
}
