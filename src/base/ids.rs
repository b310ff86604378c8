//! Identities. Each is issued once by its owner and never reused within an epoch (one run of the daemon).

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

id!(/// A tenant's row id in the store; stable over restarts.
    TenantId(u32));
id!(/// One configured SIP listener; its index in the configuration.
    ListenerId(u16));
id!(/// One accepted or opened stream connection (TCP, later TLS and WebSocket).
    ConnectionId(u64));
id!(/// One party's dialog and media.
    LegId(u64));
id!(/// Legs under one app.
    CallId(u64));
id!(/// One RTP/RTCP socket pair of the media plane; its index in the pool.
    PortId(u32));
id!(/// One SIP transaction, server or client.
    TransactionId(u64));
id!(/// What a command's answer is recognised by.
    Token(u64));
id!(/// Position of a record in the journal's order; grows by one for each record of a run.
    RecordSeq(u64));
