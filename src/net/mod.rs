//! SIP over UDP, TCP and TLS: bytes to messages and back.
//!
//! The engine's thread owns the UDP sockets itself ([`udp`]): a datagram crosses no queue and wakes no second thread.
//! Connections, plain or over TLS, are tokio tasks ([`tcp`]); what they read waits in one bounded queue until the engine's
//! thread takes it, and a connection whose peer is faster than the engine is read more slowly, never buffered without end.
//!
//! The [`guard`] says who is heard at all: a connection passes it before anything is read from it, TLS included.
//!
//! Invariant: nothing here decides anything about SIP. A datagram that is no SIP message is counted and dropped in
//! silence, so that a scanner learns nothing and can't flood the log.

pub mod bind;
pub mod certificate;
pub mod counters;
pub mod guard;
pub mod interfaces;
pub mod tcp;
pub mod tls;
pub mod told;
pub mod turns;
pub mod udp;
mod validity;
pub mod wake;
mod wire;
