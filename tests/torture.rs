//! The SIP parser against what others wrote: RFC 4475 and RFC 5118, real phones, an independent parser, and chance.

#[path = "torture/allocation.rs"]
mod allocation;
#[path = "torture/corpus.rs"]
mod corpus;
#[path = "torture/oracle.rs"]
mod oracle;
#[path = "torture/phones.rs"]
mod phones;
#[path = "torture/random.rs"]
mod random;
#[path = "torture/rfc4475.rs"]
mod rfc4475;
#[path = "torture/rfc5118.rs"]
mod rfc5118;
