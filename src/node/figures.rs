//! The figures of sockets, journal and ports for `/metrics`.

use crate::board::metrics::{Figure, Figures, Value};
use crate::net::counters::NetCounters;
use crate::net::guard::Door;
use crate::node::events::EventQueue;
use crate::node::stats::Stats;
use crate::store::writer::WriterHandle;
use std::sync::Arc;

pub fn figures(
    net: Arc<NetCounters>,
    door: Arc<Door>,
    stats: Arc<Stats>,
    writer: WriterHandle,
    events: Arc<EventQueue>,
) -> Figures {
    Box::new(move || {
        let journal = writer.counters();
        let counter = |name, help, value: u64| Figure { name, help, value: Value::Counter(value) };
        let gauge = |name, help, value: u64| Figure { name, help, value: Value::Gauge(value as f64) };
        vec![
            counter("sip_udp_received", "SIP datagrams received", net.udp_received.get()),
            counter("sip_udp_sent", "SIP datagrams sent", net.udp_sent.get()),
            counter("sip_udp_failed", "SIP datagrams the system refused to send", net.udp_failed.get()),
            counter("sip_tcp_received", "SIP messages received on connections", net.tcp_received.get()),
            counter("sip_tcp_sent", "SIP messages sent on connections", net.tcp_sent.get()),
            counter("sip_tcp_failed", "SIP messages whose connection was gone or slow", net.tcp_failed.get()),
            counter("sip_tcp_refused", "Connections refused because too many are open", net.tcp_refused.get()),
            gauge("sip_tcp_connections", "SIP connections open", net.tcp_open.get()),
            counter("sip_tls_agreed", "TLS handshakes that ended in a connection", net.tls_agreed.get()),
            counter("sip_tls_failed", "TLS handshakes that failed or took too long", net.tls_failed.get()),
            counter("sip_garbage", "Received and no SIP message", net.garbage.get()),
            counter("sip_banned", "Messages of banned sources and users, dropped", net.banned.get()),
            counter("sip_too_fast", "Messages of sources that send too many, dropped", net.too_fast.get()),
            counter("sip_scanners", "Messages of scanners, dropped", net.scanners.get()),
            counter("sip_malformed", "Malformed messages after their source's first, dropped", net.malformed.get()),
            counter("sip_failed_logins", "Wrong credentials", net.failed_logins.get()),
            counter("sip_tcp_unwelcome", "Connections of banned or greedy sources, refused", net.tcp_unwelcome.get()),
            counter("bans_imposed", "Bans imposed since the start", net.bans.get()),
            gauge("bans", "Bans now", door.banned() as u64),
            counter("sip_keepalives", "Keep-alives received", net.keepalives.get()),
            counter("engine_inputs", "Inputs the engine has handled", stats.inputs.get()),
            counter("engine_wakeups", "Times the engine's thread was woken", stats.wakeups.get()),
            counter("events_dropped", "Events that found their queue full", events.lost()),
            counter("journal_records", "Records the journal has taken", journal.recorded),
            counter("journal_lost", "Call records that are gone", journal.lost),
            counter("journal_errors", "Writes the journal's disk refused", journal.journal_errors),
            counter("database_errors", "Transactions the database refused", journal.database_errors),
            counter("registrations_shed", "Registrations refused because nothing could be recorded", journal.shed),
            gauge("journal_bytes", "Bytes of the journal", journal.journal_bytes),
            gauge("database_lag_records", "Records the database does not have yet", journal.lag),
        ]
    })
}
