//! SIP messages (RFC 3261): an index of spans over the received bytes, headers typed on demand, one writer for what we
//! send.
//!
//! Invariant: nothing is allocated for a message we only look at, and no input makes anything here panic. Values are
//! bytes as received; invalid UTF-8 is carried unharmed.

pub mod address;
pub mod digest;
pub mod error;
pub mod headers;
pub mod index;
pub mod lex;
pub mod message;
pub mod method;
pub mod name;
pub mod stream;
pub mod uri;
pub mod validate;
pub mod via;
pub mod writer;
