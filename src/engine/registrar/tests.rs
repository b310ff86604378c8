use super::*;
use crate::base::ids::ListenerId;
use crate::base::now::Timestamp;
use crate::engine::flow::Transport;

const TENANT: TenantId = TenantId(1);
const START: i64 = 1_700_000_000_000_000;

fn at(seconds: u64) -> Now {
    Now { mono: Micros(seconds * 1_000_000), wall: Timestamp(START + seconds as i64 * 1_000_000) }
}

fn udp(port: u16) -> Flow {
    Flow {
        listener: ListenerId(0),
        transport: Transport::Udp,
        local: "192.0.2.1".parse().unwrap(),
        remote: std::net::SocketAddr::new("198.51.100.7".parse().unwrap(), port),
        connection: None,
    }
}

fn tcp(connection: u64) -> Flow {
    Flow { transport: Transport::Tcp, connection: Some(ConnectionId(connection)), ..udp(40_000) }
}

/// A REGISTER of Call-ID `c` with these header lines.
fn request(cseq: u32, headers: &str) -> Message {
    let text = format!(
        "REGISTER sip:pbx.example SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK{cseq}\r\nFrom: <sip:1001@pbx.example>;tag=f\r\n\
         To: <sip:1001@pbx.example>\r\nCall-ID: c\r\nCSeq: {cseq} REGISTER\r\n{headers}\r\n"
    );
    let message = Message::parse(text.into()).unwrap();
    message.validate().unwrap();
    message
}

fn other_call_id(cseq: u32, headers: &str) -> Message {
    let text = String::from_utf8(request(cseq, headers).bytes().to_vec()).unwrap();
    Message::parse(text.replace("Call-ID: c", "Call-ID: d").into()).unwrap()
}

struct Office(Registrar);

impl Office {
    fn new() -> Office {
        let limits = RegistrationLimits { max_contacts: 3, ..RegistrationLimits::default() };
        Office(Registrar::new(limits, 100))
    }

    fn try_register(&mut self, now: Now, message: &Message, flow: Flow) -> Result<Change, Refused> {
        self.0.register(now, TENANT, "1001", message, flow)
    }

    fn register(&mut self, seconds: u64, message: &Message, flow: Flow) {
        let change = self.try_register(at(seconds), message, flow).unwrap();
        self.0.commit(change);
    }

    fn refused(&mut self, message: &Message) -> (u16, &'static str) {
        let refused = self.try_register(at(0), message, udp(5060)).unwrap_err();
        (refused.status, refused.phrase)
    }

    /// The contact URIs in the order calls try them.
    fn contacts(&self, seconds: u64) -> Vec<String> {
        self.0.contacts(TENANT, "1001", at(seconds)).map(|b| b.uri.to_string()).collect()
    }

    /// What a 200 lists.
    fn answer(&self, seconds: u64, message: &Message) -> Vec<String> {
        let mut writer = Writer::response(200, "OK");
        self.0.write_answer(at(seconds), TENANT, "1001", message, &mut writer);
        let answer = Message::parse(writer.finish()).unwrap();
        answer
            .all()
            .filter(|(name, ..)| matches!(name, Name::Contact | Name::Path))
            .map(|(_, name, value)| format!("{}: {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value)))
            .collect()
    }
}

const A: &str = "sip:1001@10.0.0.1:5060";
const B: &str = "sip:1001@10.0.0.2:5060";

#[test]
fn contacts_are_bound_refreshed_listed_and_removed() {
    let mut office = Office::new();
    let first = request(
        1,
        &format!(
            "Contact: <{A}>;q=0.5, <{B}>;expires=120\r\nExpires: 600\r\nUser-Agent: T46\r\nAllow: INVITE, ACK\r\nAllow: BYE\r\nPath: <sip:p1;lr>, <sip:p2;lr>\r\n"
        ),
    );
    let change = office.try_register(at(0), &first, udp(5060)).unwrap();
    let [RecordBody::Binding(a), RecordBody::Binding(b)] = change.records() else { panic!("{change:?}") };
    assert_eq!((&*a.uri, a.q, a.cseq, &*a.call_id, &*a.user_agent), (A, 500, 1, "c", "T46"));
    assert_eq!((&*a.allow, a.path.len(), &*a.path[1]), ("INVITE, ACK, BYE", 2, "<sip:p2;lr>"));
    assert_eq!((a.expires, b.expires), (at(600).wall, at(120).wall));
    assert_eq!((a.flow, a.registered_at), (udp(5060), at(0).wall));
    office.0.commit(change);
    assert_eq!(office.contacts(0), [B, A], "q first");
    assert_eq!(
        office.answer(20, &first),
        [
            format!("Contact: <{A}>;q=0.500;expires=580"),
            format!("Contact: <{B}>;expires=100"),
            "Path: <sip:p1;lr>, <sip:p2;lr>".into()
        ]
    );
    office.register(60, &request(2, &format!("Contact: <{A}>\r\nExpires: 300\r\n")), udp(5061));
    let refreshed = office.0.contacts(TENANT, "1001", at(60)).find(|b| &*b.uri == A).unwrap();
    assert_eq!((refreshed.registered_at, refreshed.flow.remote.port(), refreshed.q), (at(0).wall, 5061, 1000));
    office.register(61, &request(3, &format!("Contact: <{B}>;expires=0\r\n")), udp(5060));
    assert_eq!(office.contacts(61), [A]);
    assert_eq!((office.0.is_bound_flow(&udp(5060)), office.0.is_bound_flow(&udp(5061))), (false, true));
}

#[test]
fn a_fetch_changes_nothing() {
    let mut office = Office::new();
    office.register(0, &request(1, &format!("Contact: <{A}>\r\n")), udp(5060));
    let fetch = request(2, "Expires: 0\r\n");
    let change = office.try_register(at(1), &fetch, udp(5060)).unwrap();
    assert!(change.records().is_empty());
    office.0.commit(change);
    assert_eq!(office.answer(1, &fetch), [format!("Contact: <{A}>;expires=3599")]);
}

#[test]
fn a_phone_knows_its_contact_by_the_parameters_it_gave_it() {
    let mut office = Office::new();
    let given = ";+sip.instance=\"<urn:uuid:f81d4fae>\";reg-id=1;+sip.rendering=\"no, really\";flag";
    let first = request(1, &format!("Contact: <{A}>{given};Q=0.5;Expires=60\r\n"));
    office.register(0, &first, udp(5060));
    assert_eq!(office.answer(0, &first), [format!("Contact: <{A}>{given};q=0.500;expires=60")]);
    let (long, fits) = ("x".repeat(600), "y".repeat(505));
    office.register(0, &request(2, &format!("Contact: <{A}>{given};expires=0\r\n")), udp(5060));
    let second = request(3, &format!("Contact: <{B}>;a={long};b=\"1\r\n 2\";c={fits};d\r\n"));
    office.register(0, &second, udp(5060));
    assert_eq!(office.answer(0, &second), [format!("Contact: <{B}>;b=\"1 2\";d;expires=3600")], "as many as fit");
}

#[test]
fn expiry_has_bounds() {
    let mut office = Office::new();
    let brief =
        office.try_register(at(0), &request(1, &format!("Contact: <{A}>;expires=59\r\n")), udp(5060)).unwrap_err();
    assert_eq!((brief.status, brief.phrase), (423, "Interval Too Brief"));
    assert_eq!(brief.headers, [("Min-Expires", "60".to_owned())]);
    let long = request(1, &format!("Contact: <{A}>\r\nExpires: 999999\r\n"));
    office.register(0, &long, udp(5060));
    assert_eq!(office.answer(0, &long), [format!("Contact: <{A}>;expires=7200")]);
    // Malformed ones count as absent.
    let odd = request(2, &format!("Contact: <{A}>;expires=soon\r\nExpires: later\r\n"));
    office.register(0, &odd, udp(5060));
    assert_eq!(office.answer(0, &odd), [format!("Contact: <{A}>;expires=3600")]);
}

#[test]
fn the_wildcard_removes_all_and_nothing_else() {
    let mut office = Office::new();
    office.register(0, &request(1, &format!("Contact: <{A}>\r\nContact: <{B}>\r\n")), udp(5060));
    for bad in ["Contact: *\r\n", "Contact: *\r\nExpires: 60\r\n", "Contact: *, <sip:x@h>\r\nExpires: 0\r\n"] {
        assert_eq!(office.refused(&request(2, bad)), (400, "Bad Wildcard Contact"), "{bad}");
    }
    assert_eq!(office.contacts(0).len(), 2);
    let change = office.try_register(at(0), &request(2, "Contact: *\r\nExpires: 0\r\n"), udp(5060)).unwrap();
    assert_eq!(change.records().len(), 2);
    office.0.commit(change);
    assert!(office.contacts(0).is_empty() && office.0.is_empty() && office.0.next_expiry().is_none());
}

#[test]
fn a_late_register_of_the_same_call_id_changes_nothing() {
    let mut office = Office::new();
    office.register(0, &request(5, &format!("Contact: <{A}>\r\n")), udp(5060));
    for cseq in [4, 5] {
        assert_eq!(
            office.refused(&request(cseq, &format!("Contact: <{A}>;expires=0\r\n"))),
            (400, "CSeq Out Of Order")
        );
        assert_eq!(office.refused(&request(cseq, "Contact: *\r\nExpires: 0\r\n")), (400, "CSeq Out Of Order"));
        // Nothing of a request is done when a part of it is late.
        assert_eq!(office.refused(&request(cseq, &format!("Contact: <{B}>, <{A}>\r\n"))), (400, "CSeq Out Of Order"));
    }
    assert_eq!(office.contacts(0), [A]);
    // Another Call-ID (the phone was restarted) starts a new order.
    office.register(0, &other_call_id(1, &format!("Contact: <{A}>;expires=0\r\n")), udp(5060));
    assert!(office.contacts(0).is_empty());
}

#[test]
fn a_phone_that_names_its_instance_has_one_binding() {
    let mut office = Office::new();
    let contact = |uri: &str, more: &str| format!("Contact: <{uri}>;+sip.instance=\"<urn:uuid:f81d4fae>\"{more}\r\n");
    office.register(0, &request(1, &contact(A, "")), udp(5060));
    office.register(0, &other_call_id(1, &contact(B, "")), udp(5061));
    assert_eq!(office.contacts(0), [B]);
    // Two flows of one instance are two bindings.
    office.register(0, &request(2, &contact(A, ";reg-id=1")), udp(5060));
    office.register(0, &request(3, &contact(A, ";reg-id=2")), udp(5060));
    assert_eq!(office.contacts(0).len(), 3);
    // So are two contacts in one request.
    let mut office = Office::new();
    let both = format!("{}{}", contact(A, ""), contact(B, ""));
    office.register(0, &request(1, &both), udp(5060));
    assert_eq!(office.contacts(0), [A, B]);
}

#[test]
fn limits() {
    let mut office = Office::new();
    for port in 1..=3 {
        office.register(0, &request(port, &format!("Contact: <sip:a@h:{port}>\r\n")), udp(5060));
    }
    assert_eq!(office.refused(&request(9, "Contact: <sip:a@h:4>\r\n")), (403, "Too Many Contacts"));
    let refused = office.try_register(at(0), &request(9, "Contact: <sip:a@h:4>\r\n"), udp(5060)).unwrap_err();
    let [("Warning", warning)] = &refused.headers[..] else { panic!("{refused:?}") };
    assert!(
        warning.starts_with("399 strowger \"1001 has 3 contacts, as many as registration.max_contacts"),
        "{warning}"
    );
    assert_eq!(refused.notice, None, "it was told before");
    // A refresh is no new contact, and a removal in the same request makes room.
    office.register(0, &request(9, "Contact: <sip:a@h:3>\r\n"), udp(5060));
    office.register(0, &request(10, "Contact: <sip:a@h:4>, <sip:a@h:1>;expires=0\r\n"), udp(5060));
    let many: String = (0..50).map(|i| format!("Contact: <sip:a@h:{i}>;expires=0\r\n")).collect();
    assert_eq!(office.refused(&request(11, &many)), (403, "Too Many Contacts"));
    assert_eq!(
        office.refused(&request(11, &format!("Contact: <sip:{}@h>\r\n", "a".repeat(600)))),
        (400, "Contact Too Long")
    );
    assert_eq!(office.refused(&request(11, "Contact: <tel:+1234>\r\n")), (400, "Unsupported Contact Scheme"));
    let mut full = Registrar::new(RegistrationLimits::default(), 1);
    let change = full.register(at(0), TENANT, "1", &request(1, &format!("Contact: <{A}>\r\n")), udp(1)).unwrap();
    full.commit(change);
    let refused = full.register(at(0), TENANT, "2", &request(1, &format!("Contact: <{A}>\r\n")), udp(1)).unwrap_err();
    assert_eq!((refused.status, refused.headers.len()), (503, 1));
}

#[test]
fn bindings_run_out() {
    let mut office = Office::new();
    office.register(0, &request(1, &format!("Contact: <{A}>;expires=60, <{B}>;expires=120\r\n")), udp(5060));
    assert_eq!(office.0.next_expiry(), Some(at(60).mono));
    assert!(office.0.expire(at(59)).is_empty());
    assert_eq!(office.contacts(60), [B], "nobody calls a contact that ran out a moment ago");
    let gone = office.0.expire(at(60));
    let [(TENANT, extension, RecordBody::Unbound { key, .. })] = gone.as_slice() else { panic!("{gone:?}") };
    assert_eq!((&**extension, &**key), ("1001", A));
    // A refresh moves the moment.
    office.register(100, &request(2, &format!("Contact: <{B}>;expires=60\r\n")), udp(5060));
    assert!(office.0.expire(at(159)).is_empty());
    assert_eq!(office.0.expire(at(160)).len(), 1);
    assert_eq!((office.0.len(), office.0.bound_extensions().count()), (0, 0));
}

#[test]
fn a_dead_connection_takes_its_contacts_with_it() {
    let mut office = Office::new();
    office.register(0, &request(1, &format!("Contact: <{A}>\r\n")), tcp(1));
    office.register(0, &other_call_id(1, &format!("Contact: <{B}>\r\n")), tcp(2));
    assert!(office.0.is_bound_flow(&tcp(1)));
    assert_eq!(office.0.flow_closed(ConnectionId(1)).len(), 1);
    assert_eq!((office.contacts(0), office.0.is_bound_flow(&tcp(1))), (vec![B.to_owned()], false));
    // One that has moved to a new connection stays.
    office.register(1, &other_call_id(2, &format!("Contact: <{B}>\r\n")), tcp(3));
    assert!(office.0.flow_closed(ConnectionId(2)).is_empty());
    assert_eq!(office.contacts(1), [B]);
}

#[test]
fn after_a_restart() {
    let mut before = Office::new();
    before.register(0, &request(1, &format!("Contact: <{A}>;expires=60, <sip:x@h>;expires=70\r\n")), udp(5060));
    before.register(0, &request(2, &format!("Contact: <{B}>\r\n")), tcp(1));
    let bindings: Vec<_> = before.0.bindings().cloned().collect();
    // The monotonic clock starts anew; the wall clock says 65 s have passed.
    let mut after = Office::new();
    after.0.restore(bindings, Now { mono: Micros(7), wall: at(65).wall });
    let now = |seconds: u64| Now { mono: Micros(7 + seconds * 1_000_000), wall: at(65 + seconds).wall };
    let uris = |office: &Office, now: Now| {
        office.0.contacts(TENANT, "1001", now).map(|b| b.uri.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(uris(&after, now(0)), ["sip:x@h"], "one has run out, one waits for its phone to connect again");
    assert_eq!((after.0.len(), after.0.awaiting(TENANT, "1001").count()), (3, 1));
    assert_eq!(after.0.expire(now(0)).len(), 1);
    // A new connection with the number of an old one is not that one.
    assert!(after.0.flow_closed(ConnectionId(1)).is_empty());
    let change = after.try_register(now(1), &request(3, &format!("Contact: <{B}>\r\n")), tcp(1)).unwrap();
    after.0.commit(change);
    assert_eq!((uris(&after, now(1)).len(), after.0.awaiting(TENANT, "1001").count()), (2, 0));
    assert_eq!(after.0.expire(now(5)).len(), 1);
}

#[test]
fn contacts_whose_connection_a_restart_cut_give_way_at_the_limit() {
    let mut before = Office::new();
    for port in 1..=2 {
        before.register(0, &request(port, &format!("Contact: <sip:tcp@h:{port}>\r\n")), tcp(u64::from(port)));
    }
    before.register(0, &request(3, "Contact: <sip:udp@h>\r\n"), udp(5060));
    let mut after = Office::new();
    after.0.restore(before.0.bindings().cloned().collect(), at(0));
    // The limit is 3. The phones come back from other ports.
    after.register(0, &request(4, "Contact: <sip:tcp@h:3>\r\n"), tcp(7));
    assert_eq!((after.0.len(), after.0.awaiting(TENANT, "1001").count()), (3, 1));
    let change = after.try_register(at(0), &request(5, "Contact: <sip:tcp@h:4>\r\n"), tcp(8)).unwrap();
    let [RecordBody::Binding(new), RecordBody::Unbound { key, .. }] = change.records() else { panic!("{change:?}") };
    assert_eq!((&*new.uri, &**key), ("sip:tcp@h:4", "sip:tcp@h:2"));
    after.0.rollback(change);
    assert_eq!((after.0.len(), after.0.awaiting(TENANT, "1001").count()), (3, 1), "the journal refused: as before");
    after.register(0, &request(6, "Contact: <sip:tcp@h:4>\r\n"), tcp(8));
    assert_eq!((after.contacts(0).len(), after.0.awaiting(TENANT, "1001").count()), (3, 0));
    assert_eq!(after.refused(&request(7, "Contact: <sip:tcp@h:5>\r\n")), (403, "Too Many Contacts"));
}

#[test]
fn tenants_and_extensions_are_apart() {
    let mut registrar = Registrar::new(RegistrationLimits::default(), 100);
    for (tenant, extension) in [(TenantId(2), "1001"), (TENANT, "1002"), (TENANT, "1001")] {
        let change =
            registrar.register(at(0), tenant, extension, &request(1, &format!("Contact: <{A}>\r\n")), udp(1)).unwrap();
        registrar.commit(change);
    }
    let bound: Vec<_> = registrar.bound_extensions().collect();
    assert_eq!(bound, [(TENANT, "1001"), (TENANT, "1002"), (TenantId(2), "1001")]);
    assert_eq!(registrar.remove_extension(TENANT, "1001").len(), 1);
    assert_eq!(registrar.contacts(TENANT, "1001", at(0)).count(), 0);
    assert_eq!(registrar.contacts(TenantId(2), "1001", at(0)).count(), 1);
    assert_eq!(registrar.len(), 2);
}

#[test]
fn what_the_journal_refuses_is_undone() {
    let mut office = Office::new();
    office.register(0, &request(1, &format!("Contact: <{A}>;expires=600\r\n")), udp(5060));
    let change =
        office.try_register(at(10), &request(2, &format!("Contact: <{A}>;expires=0, <{B}>\r\n")), udp(5061)).unwrap();
    assert_eq!(office.contacts(10), [B]);
    office.0.rollback(change);
    assert_eq!(office.contacts(10), [A]);
    assert_eq!(office.0.next_expiry(), Some(at(600).mono));
    assert_eq!((office.0.is_bound_flow(&udp(5060)), office.0.is_bound_flow(&udp(5061))), (true, false));
    // And the same REGISTER may be sent again: its CSeq was not spent.
    office.register(11, &request(2, &format!("Contact: <{A}>;expires=700\r\n")), udp(5060));
}

/// Every order of undoing and committing three changes of one contact, with what must be left.
#[test]
fn changes_may_be_undone_in_any_order() {
    let steps = ["Contact: <sip:x@h>;q=0.1\r\n", "Contact: <sip:x@h>;expires=0\r\n", "Contact: <sip:x@h>;q=0.3\r\n"];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        for kept in 0..8u8 {
            let mut office = Office::new();
            office.register(0, &request(1, "Contact: <sip:x@h>;q=0.9\r\n"), udp(5060));
            let mut changes: Vec<_> = (0..)
                .zip(steps)
                .map(|(i, step)| office.try_register(at(1), &request(2 + i, step), udp(5060)).ok())
                .collect();
            for i in order {
                let change = changes[i].take().unwrap();
                if kept >> i & 1 == 1 { office.0.commit(change) } else { office.0.rollback(change) }
            }
            let last_kept = (0..3).rev().find(|i| kept >> i & 1 == 1);
            let expected: &[u16] = match last_kept {
                None => &[900],
                Some(0) => &[100],
                Some(1) => &[],
                _ => &[300],
            };
            let left: Vec<u16> = office.0.contacts(TENANT, "1001", at(1)).map(|b| b.q).collect();
            assert_eq!(left, expected, "order {order:?}, kept {kept:03b}");
        }
    }
}

#[test]
fn what_ended_meanwhile_does_not_come_back() {
    let mut office = Office::new();
    office.register(0, &request(1, &format!("Contact: <{A}>\r\n")), tcp(1));
    let change = office.try_register(at(1), &request(2, &format!("Contact: <{A}>\r\n")), tcp(2)).unwrap();
    assert!(office.0.flow_closed(ConnectionId(1)).is_empty());
    office.0.rollback(change);
    assert!(office.0.is_empty());

    let change = office.try_register(at(1), &request(3, &format!("Contact: <{A}>\r\n")), tcp(3)).unwrap();
    office.0.flow_closed(ConnectionId(3));
    office.0.rollback(change);
    assert!(office.0.is_empty());

    office.register(1, &request(4, &format!("Contact: <{A}>\r\n")), udp(5060));
    let change = office.try_register(at(1), &request(5, "Contact: *\r\nExpires: 0\r\n"), udp(5060)).unwrap();
    office.0.remove_extension(TENANT, "1001");
    office.0.rollback(change);
    assert!(office.0.is_empty() && office.0.next_expiry().is_none());
}
