//! Every bound in one place. At a bound we shed new work with a clear answer; calls in progress go first (DESIGN §2.7).

use std::time::Duration;

/// Longest SIP message accepted, bytes. Offsets into a message fit in 16 bits.
pub const MESSAGE_BYTES: usize = 65_535;
/// Most header fields in one message.
pub const HEADERS: usize = 256;
/// Longest SDP or other body we keep for a call, bytes.
pub const BODY_BYTES: usize = 32_768;
/// Most m-lines in one SDP.
pub const MEDIA_LINES: usize = 8;
/// Most payload types in one m-line.
pub const FORMATS: usize = 32;
/// Longest extension number, domain label or dialled string we route, bytes.
pub const NUMBER_BYTES: usize = 64;
/// Longest user part, display name or User-Agent we store, bytes.
pub const TEXT_BYTES: usize = 256;
/// Most Route and Record-Route entries of a dialog.
pub const ROUTES: usize = 16;
/// Longest route set, contact or identity of a dialog we keep, bytes.
pub const DIALOG_BYTES: usize = 4_096;
/// Early dialogs of one outgoing INVITE; more forks than this are ignored.
pub const EARLY_DIALOGS: usize = 8;
/// Contacts one call forks to.
pub const FORK: usize = 16;
/// Calls at once, unless configured otherwise.
pub const CALLS: usize = 10_000;
/// Bindings at once, unless configured otherwise.
pub const BINDINGS: usize = 100_000;
/// Server transactions at once; above it requests that start new work get 503.
pub const TRANSACTIONS: usize = 200_000;
/// Extensions of which the log tells within an hour that they are at a limit.
pub const NOTICES: usize = 256;
/// Nonces remembered for replay checks.
pub const NONCES: usize = 200_000;
/// Bytes of trace kept for one call.
pub const TRACE_BYTES: usize = 16 * 1024;
/// Bytes of trace kept in all.
pub const TRACE_TOTAL_BYTES: usize = 256 * 1024 * 1024;
/// Requests of one leg waiting for their turn (re-INVITEs after glare, INFOs).
pub const LEG_BACKLOG: usize = 16;
/// Connections of phones (TCP, TLS) at once, unless configured otherwise.
pub const CONNECTIONS: usize = 20_000;
/// TLS handshakes under way; more wait for their turn.
pub const HANDSHAKES: usize = 1_024;
/// Of these, of one source.
pub const HANDSHAKES_OF_ONE: usize = 128;
/// Connections that may hold more than `HALF_BYTES` of a message that is not whole; above it such are closed.
pub const LONG_HALVES: usize = 1_024;
/// How much of a message that is not whole any connection may hold, bytes.
pub const HALF_BYTES: usize = 8 * 1024;
/// Sources of SIP messages the guard remembers: more than `BINDINGS`, so that registered phones crowd nobody out.
pub const GUARD_SOURCES: usize = 131_072;
/// Sources whose failed log-ins are counted; a failure counts only from an address that has answered our challenge.
pub const GUARD_FAILURES: usize = 16_384;
/// Users of one source whose failed log-ins are counted.
pub const GUARD_USERS: usize = 32;
/// Bans at once; beyond it the one that ends first gives way.
pub const GUARD_BANS: usize = 10_000;
/// Packets a second one RTP port takes from its peer; a flood, or a loop of calls through ourselves, ends here.
pub const PORT_PACKETS: u32 = 5_000;
/// HTTP connections at once; more wait.
pub const HTTP_CONNECTIONS: usize = 512;
/// Longest body of an HTTP request, bytes.
pub const HTTP_BODY_BYTES: usize = 64 * 1024;
/// Longest time an HTTP request may take.
pub const HTTP_REQUEST_TIME: Duration = Duration::from_secs(10);
/// An HTTP connection on which nothing was read or written for so long is closed.
pub const HTTP_SILENCE: Duration = Duration::from_secs(75);
/// Most records one page of an HTTP answer holds.
pub const HTTP_PAGE: usize = 10_000;
