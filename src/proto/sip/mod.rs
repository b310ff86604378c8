//! SIP messages (RFC 3261): an index of spans over the received bytes, headers typed on demand.

pub mod message;
