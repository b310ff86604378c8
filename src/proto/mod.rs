//! Bytes to types and back: SIP, SDP, RTP. Imports `base` alone.

pub mod sdp;
pub mod sip;
