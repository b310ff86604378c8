//! What the transports count: written by their threads, read by the metrics.

use crate::net::guard::Silence;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Default, Debug)]
pub struct NetCounters {
    pub udp_received: Counter,
    pub udp_sent: Counter,
    /// Datagrams the kernel refused to send: no route, a firewall, a full buffer.
    pub udp_failed: Counter,
    pub tcp_received: Counter,
    pub tcp_sent: Counter,
    pub tcp_accepted: Counter,
    /// Connections refused because there are too many.
    pub tcp_refused: Counter,
    /// Connections refused because their source is banned or has too many.
    pub tcp_unwelcome: Counter,
    /// Connections now.
    pub tcp_open: Counter,
    /// Messages not sent because the connection was gone or its peer does not read.
    pub tcp_failed: Counter,
    /// TLS handshakes that ended in a connection.
    pub tls_agreed: Counter,
    /// TLS handshakes that failed or took too long.
    pub tls_failed: Counter,
    /// What arrived and is no SIP message; dropped in silence.
    pub garbage: Counter,
    /// What the guard met with silence: from banned sources or users,
    pub banned: Counter,
    /// from sources that send too much,
    pub too_fast: Counter,
    /// from scanners,
    pub scanners: Counter,
    /// and malformed messages after the first of their source.
    pub malformed: Counter,
    /// Bans imposed.
    pub bans: Counter,
    /// Wrong credentials in answer to a challenge of ours.
    pub failed_logins: Counter,
    /// Keep-alives: CRLF in a datagram or on a connection.
    pub keepalives: Counter,
}

impl NetCounters {
    pub fn silenced(&self, why: Silence) {
        let counter = match why {
            Silence::Banned => &self.banned,
            Silence::TooFast => &self.too_fast,
            Silence::Scanner => &self.scanners,
            Silence::Malformed => &self.malformed,
        };
        counter.add(1);
    }
}

/// A number that goes up, and for those that count what is now, down.
#[derive(Default, Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
