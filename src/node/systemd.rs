//! What systemd is told (sd_notify(3)): that we are ready, that we stop, and, if it asks, that we are alive.
//!
//! Invariant: a sign of life leaves only when the whole exchange gave one: a daemon whose engine hangs is killed and started
//! again. Without systemd nothing here does anything.

use anyhow::{Context, Result, bail};
use std::env;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Signs of life in the time after which systemd gives us up: one may be lost or late.
const SIGNS: u32 = 3;

pub struct Systemd {
    /// None when nobody wants to know.
    socket: Option<UnixDatagram>,
    /// After so long without a sign of life we are killed.
    watchdog: Option<Duration>,
}

impl Systemd {
    /// As `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` say.
    pub fn from_environment() -> Result<Systemd> {
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(Systemd { socket: None, watchdog: None });
        };
        let socket = connect(name.as_bytes()).with_context(|| format!("NOTIFY_SOCKET `{}`", name.display()))?;
        let number = |name| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let is_for_us = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|after| is_for_us && *after > 0).map(Duration::from_micros);
        Ok(Systemd { socket: Some(socket), watchdog })
    }

    /// The phones can come.
    pub fn ready(&self) {
        self.tell("READY=1\nSTATUS=Taking calls");
    }

    /// No new calls; running ones may go on for a while.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=Letting running calls end");
    }

    /// Gives signs of life for ever, each after `is_alive` said yes in time; returns at once if systemd wants none.
    pub async fn give_signs_of_life<F: Future<Output = bool>>(&self, is_alive: impl Fn() -> F) {
        let Some(watchdog) = self.watchdog else { return };
        let every = watchdog / SIGNS;
        loop {
            match timeout(watchdog, is_alive()).await {
                Ok(true) => self.tell("WATCHDOG=1"),
                Ok(false) => {
                    tracing::error!("no sign of life for systemd's watchdog: a part of the exchange has ended")
                }
                Err(_) => {
                    tracing::error!("no sign of life for systemd's watchdog: the engine's thread does not answer")
                }
            }
            sleep(every).await;
        }
    }

    fn tell(&self, state: &str) {
        // The manager's socket takes far more than we say; should it not, the next sign of life says as much.
        if let Some(Err(error)) = self.socket.as_ref().map(|socket| socket.send(state.as_bytes())) {
            tracing::warn!("systemd could not be told `{}`: {error}", state.replace('\n', " "));
        }
    }
}

/// A path, or an abstract name after `@`.
fn connect(name: &[u8]) -> Result<UnixDatagram> {
    let address = match name {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
        _ => bail!("it must be a path or an abstract name; run under systemd, or unset the variable"),
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::sync::atomic::{AtomicU32, Ordering};

    const WATCHDOG: Duration = Duration::from_millis(60);

    /// What the manager hears in five watchdog times from a daemon whose parts answer like this.
    fn heard<F: Future<Output = bool>>(is_alive: impl Fn() -> F) -> Vec<String> {
        let (manager, ours) = UnixDatagram::pair().unwrap();
        manager.set_nonblocking(true).unwrap();
        let systemd = Systemd { socket: Some(ours), watchdog: Some(WATCHDOG) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let signs = async { timeout(WATCHDOG * 5, systemd.give_signs_of_life(is_alive)).await };
        assert!(runtime.block_on(signs).is_err());
        let mut heard = Vec::new();
        let mut buffer = [0; 100];
        loop {
            match manager.recv(&mut buffer) {
                Ok(length) => heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return heard,
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn signs_of_life_come_while_every_part_is_alive() {
        let heard = heard(|| async { true });
        assert!(heard.len() >= 4 && heard.iter().all(|sign| sign == "WATCHDOG=1"), "{heard:?}");
    }

    #[test]
    fn a_part_that_has_ended_or_hangs_ends_the_signs() {
        assert_eq!(heard(|| async { false }), [""; 0]);
        assert_eq!(heard(std::future::pending), [""; 0]);
        let asked = AtomicU32::new(0);
        let heard = heard(|| std::future::ready(asked.fetch_add(1, Ordering::Relaxed) < 2));
        assert_eq!(heard, ["WATCHDOG=1"; 2]);
    }

    #[test]
    fn a_name_that_is_no_socket_is_refused_with_a_reason() {
        let told = |name: &[u8]| format!("{:#}", connect(name).unwrap_err());
        assert!(told(b"vsock:2:1234").contains("a path or an abstract name"));
        assert!(told(b"/nowhere/notify").contains("No such file"));
    }
}
