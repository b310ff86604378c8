//! The media plane: RTP and RTCP between phones, on threads of its own. The engine says what a port does and hears
//! what happened; no packet crosses it.
//!
//! Who owns what: the pool thread binds sockets and grants ports; each media thread owns the state of the ports it
//! serves; the handle, on the engine's thread, knows which thread serves which port. They share the table of slots.

pub mod counters;
mod handle;
pub mod latch;
mod ports;
pub mod relay;
pub mod slot;
mod sys;
mod thread;

pub use handle::MediaHandle;

use crate::base::limits;
use crate::engine::media::MediaEvent;
use ports::{Policy, Pool};
use slot::Table;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use sys::{Clock, Poll, Wake};
use thread::{BATCH, WAKE, Worker};

/// Most media threads: more than the cores of any machine this is for.
const THREADS: usize = 64;
/// Commands a thread's ring holds: two for each port, at most this many. What does not fit waits at the handle.
const ORDERS: usize = 4_096;

#[derive(Clone, Debug)]
pub struct MediaConfig {
    /// Threads that relay, 1 to 64.
    pub threads: usize,
    /// The addresses our SDP names, one for each family or network; RTP leaves from exactly these.
    pub addresses: Vec<IpAddr>,
    /// UDP ports; a pair is an even one for RTP and the next for RTCP.
    pub ports: RangeInclusive<u16>,
    /// Pairs of each address kept bound and granted ahead of use.
    pub grant_ahead: usize,
    /// How long a released port is nobody's: late packets of the old call run out.
    pub rest: Duration,
    /// Most pairs that are opened, over all addresses.
    pub max_pairs: usize,
    /// Open files the rest of the daemon needs: connections, database.
    pub other_files: usize,
    /// How often a port's running totals are told, at least 1 s; None for never.
    pub count_every: Option<Duration>,
}

impl MediaConfig {
    /// The defaults on these addresses.
    pub fn new(addresses: Vec<IpAddr>) -> MediaConfig {
        MediaConfig {
            threads: 1,
            addresses,
            ports: 10_000..=20_000,
            grant_ahead: 256,
            rest: Duration::from_secs(30),
            max_pairs: 2 * limits::CALLS,
            other_files: 2_048,
            count_every: Some(Duration::from_secs(5)),
        }
    }

    /// Port pairs of each address: the first even port, and how many.
    fn pairs(&self) -> (u16, usize) {
        let (start, end) =
            (usize::from(*self.ports.start()).max(2).next_multiple_of(2), usize::from(*self.ports.end()));
        let count = (end + 1).saturating_sub(start) / 2;
        (if count == 0 { 0 } else { start as u16 }, count)
    }

    fn check(&self) -> Result<(), MediaError> {
        if self.threads == 0 || self.threads > THREADS {
            return Err(MediaError::Threads { threads: self.threads });
        }
        if self.addresses.is_empty() {
            return Err(MediaError::NoAddress);
        }
        if self.pairs().1 == 0 || self.max_pairs == 0 || self.grant_ahead == 0 {
            return Err(MediaError::NoPorts { first: *self.ports.start(), last: *self.ports.end() });
        }
        for address in &self.addresses {
            if address.is_unspecified() {
                return Err(MediaError::Wildcard { address: *address });
            }
            let probe = SocketAddr::new(*address, 0);
            sys::bind(probe).map_err(|source| MediaError::Address { address: *address, source })?;
        }
        Ok(())
    }
}

/// Why the media plane can't start.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    #[error("the number of media threads must be from 1 to {THREADS}, not {threads}")]
    Threads { threads: usize },
    #[error("no media address: name the address phones reach this machine's RTP at")]
    NoAddress,
    #[error(
        "{address} can't be a media address: SDP must name the concrete address phones send to; name one of this \
         machine's addresses"
    )]
    Wildcard { address: IpAddr },
    #[error("RTP can't be received at {address}: {source}; name one of this machine's addresses")]
    Address { address: IpAddr, source: io::Error },
    #[error("the RTP ports {first}-{last} hold no pair of an even port and the next; give at least two ports")]
    NoPorts { first: u16, last: u16 },
    #[error(
        "only {files} files may be open at once, too few for a single RTP port pair beside the {other} the rest of the \
         daemon needs; raise the limit (ulimit -n, LimitNOFILE= in systemd)"
    )]
    Files { files: u64, other: usize },
    #[error("the media threads can't be started: {0}")]
    System(#[from] io::Error),
}

/// The threads. They end with `shutdown`, or when this is dropped.
pub struct MediaPlane {
    stop: Arc<AtomicBool>,
    wakes: Vec<Wake>,
    threads: Vec<JoinHandle<()>>,
    shortage: Option<String>,
}

impl MediaPlane {
    /// Starts the threads. Grants follow as events, at once. `events` is called on the media threads and must not block.
    pub fn start<E>(config: MediaConfig, events: E) -> Result<(MediaPlane, MediaHandle), MediaError>
    where
        E: Fn(MediaEvent) + Send + Sync + Clone + 'static,
    {
        config.check()?;
        let (first, count) = config.pairs();
        let wanted = (count * config.addresses.len()).min(config.max_pairs);
        let files = sys::raise_file_limit((wanted.saturating_mul(2).saturating_add(config.other_files)) as u64)?;
        let (most, shortage) = fit(wanted, config.other_files, files)?;
        if let Some(shortage) = &shortage {
            tracing::warn!("{shortage}");
        }
        let table = Arc::new(Table::new(&config.addresses, first, count));
        let clock = Clock::start();
        let stop = Arc::new(AtomicBool::new(false));
        let mut plane = MediaPlane { stop: stop.clone(), wakes: Vec::new(), threads: Vec::new(), shortage };

        let polls = (0..config.threads).map(|_| Poll::new(BATCH)).collect::<io::Result<Vec<_>>>()?;
        let only = if let [poll] = &polls[..] { Some(poll.registry().clone()) } else { None };
        let (released, to_pool) = std::sync::mpsc::sync_channel(table.len());
        let policy = Policy { ahead: config.grant_ahead, rest: config.rest, most };
        let pool = Pool::new(table.clone(), clock, policy, to_pool, stop.clone(), events.clone(), only);
        plane.threads.push(Builder::new().name("media-ports".into()).spawn(move || pool.run())?);
        let pool = plane.threads[0].thread().clone();

        let mut lanes = Vec::new();
        for (n, poll) in polls.into_iter().enumerate() {
            let (producer, orders) = rtrb::RingBuffer::new((table.len().min(most) * 2).clamp(64, ORDERS));
            let wake = Wake::new(&poll, WAKE)?;
            plane.wakes.push(wake.clone());
            lanes.push((producer, wake.clone()));
            let worker = Worker {
                lane: n as u8,
                table: table.clone(),
                clock,
                poll,
                wake,
                orders,
                released: released.clone(),
                pool: pool.clone(),
                stop: stop.clone(),
                events: events.clone(),
                count_every: config.count_every.map(|every| every.max(Duration::from_secs(1))),
            };
            plane.threads.push(Builder::new().name(format!("media-{n}")).spawn(move || worker.run())?);
        }
        Ok((plane, MediaHandle::new(table, lanes, pool, config.grant_ahead)))
    }

    /// Why fewer ports can be opened than configured, in words for the administrator.
    pub fn shortage(&self) -> Option<&str> {
        self.shortage.as_deref()
    }

    /// Whether all threads still run; false means a defect ended one, and its calls are silent.
    pub fn is_alive(&self) -> bool {
        self.threads.iter().all(|thread| !thread.is_finished())
    }

    /// Ends the threads and closes the ports.
    pub fn shutdown(self) {}
}

impl Drop for MediaPlane {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.wakes.iter().for_each(Wake::wake);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            // A panic was told by the panic hook when it happened.
            let _ = thread.join();
        }
    }
}

/// How many of the wanted pairs may be opened under the process's file limit, and what to say if not all.
fn fit(wanted: usize, other: usize, files: u64) -> Result<(usize, Option<String>), MediaError> {
    let pairs = usize::try_from(files).unwrap_or(usize::MAX).saturating_sub(other) / 2;
    if pairs == 0 {
        return Err(MediaError::Files { files, other });
    }
    if pairs >= wanted {
        return Ok((wanted, None));
    }
    let calls = pairs / 2;
    let shortage = format!(
        "only {pairs} of {wanted} RTP port pairs can be opened, enough for about {calls} calls: {files} files may be \
         open at once, and {other} of them are kept for the rest of the daemon. Raise the limit (ulimit -n, \
         LimitNOFILE= in systemd) or narrow the RTP port range"
    );
    Ok((pairs, Some(shortage)))
}

#[cfg(test)]
mod tests;
