//! `strowger health`: asks a running daemon's `/healthz`, for supervisors that run a command.

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long the daemon may take for each step.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer read, bytes.
const ANSWER: u64 = 64 * 1024;

/// What `/healthz` says at that listener.
///
/// # Errors
/// Nobody answers there, or not all is well; then the reasons.
pub fn ask(listen: SocketAddr) -> Result<String> {
    if listen.port() == 0 {
        bail!("http.listen has port 0, so nobody knows where the daemon is: name the port with --http-listen");
    }
    let answer = get(listen).with_context(|| format!("no answer from http://{listen}/healthz"))?;
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { bail!("{listen} does not speak HTTP") };
    if head.split(' ').nth(1) == Some("200") {
        return Ok(body.trim_end().to_owned());
    }
    bail!("not well: {}", body.trim_end());
}

fn get(address: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
