//! What a connection's bytes pass on their way: the kernel's stream alone, or TLS on it.
//!
//! Nothing here waits: whoever calls has seen that the stream is ready, or is told `WouldBlock`. So TLS needs no task of its
//! own to write, and an answer leaves on the engine's thread as it does on plain TCP.
//!
//! Invariant: plaintext is encrypted only when all that was encrypted before has left, so that TLS holds at most one
//! message.

use bytes::BytesMut;
use rustls::ServerConnection;
use std::io::{self, IoSlice, Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::net::TcpStream;

/// What one read takes at most.
const READ_BYTES: usize = 4 * 1024;

pub struct Wire {
    pub stream: TcpStream,
    session: Option<Box<Mutex<ServerConnection>>>,
}

impl Wire {
    /// With a session, TLS; without, the bytes as they are.
    pub fn new(stream: TcpStream, session: Option<ServerConnection>) -> Wire {
        Wire { stream, session: session.map(|session| Box::new(Mutex::new(session))) }
    }

    /// Appends what came; false at the end of the stream.
    ///
    /// Errors: `WouldBlock`; those of the stream; a `rustls::Error` inside, when the peer does not speak TLS as it must: it
    /// has been told.
    pub fn read(&self, into: &mut BytesMut) -> io::Result<bool> {
        let Some(mut session) = self.session() else {
            into.reserve(READ_BYTES);
            return Ok(self.stream.try_read_buf(into)? > 0);
        };
        let received = session.read_tls(&mut Unwaiting(&self.stream))?;
        let state = match session.process_new_packets() {
            Ok(state) => state,
            Err(error) => {
                // The alert: lost if the kernel does not take it, for the connection ends here.
                let _ = write_out(&mut session, &self.stream);
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        };
        let start = into.len();
        into.resize(start + state.plaintext_bytes_to_read(), 0);
        session.reader().read_exact(&mut into[start..])?;
        Ok(received > 0 && !state.peer_has_closed())
    }

    /// Writes a part of `bytes`, at least one; with TLS, takes it.
    ///
    /// Errors: `WouldBlock` when nothing was taken; those of the stream.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let Some(mut session) = self.session() else { return self.stream.try_write(bytes) };
        write_out(&mut session, &self.stream)?;
        if session.wants_write() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taken = session.writer().write(bytes)?;
        write_out(&mut session, &self.stream)?;
        Ok(taken)
    }

    /// Writes what TLS holds, as far as the kernel takes it; returns how many bytes.
    pub fn flush(&self) -> io::Result<usize> {
        self.session().map_or(Ok(0), |mut session| write_out(&mut session, &self.stream))
    }

    /// Whether TLS holds something to be written.
    pub fn is_pending(&self) -> bool {
        self.session().is_some_and(|session| session.wants_write())
    }

    /// Whether TLS has yet to agree with the peer.
    pub fn is_handshaking(&self) -> bool {
        self.session().is_some_and(|session| session.is_handshaking())
    }

    /// Tells the peer of the end, as far as it listens (RFC 8446 §6.1).
    pub fn close(&self) {
        if let Some(mut session) = self.session() {
            session.send_close_notify();
            let _ = write_out(&mut session, &self.stream);
        }
    }

    fn session(&self) -> Option<MutexGuard<'_, ServerConnection>> {
        self.session.as_ref().map(|session| session.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn write_out(session: &mut ServerConnection, stream: &TcpStream) -> io::Result<usize> {
    let mut total = 0;
    while session.wants_write() {
        match session.write_tls(&mut Unwaiting(stream)) {
            Ok(written) => total += written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(total)
}

/// The stream for callers that can't wait.
struct Unwaiting<'a>(&'a TcpStream);

impl Read for Unwaiting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Unwaiting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
