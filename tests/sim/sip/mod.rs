//! The phones' SIP: text in, text out, written from the RFCs and sharing nothing with the product.

pub mod digest;
pub mod sdp;
pub mod text;
