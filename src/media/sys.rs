//! What the media plane asks of the operating system beyond std: readiness, wake-ups, limits.

use crate::base::now::Micros;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, SockRef, Socket, Type};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::time::{Duration, Instant};

/// Bytes a socket may hold for us; the kernel doubles it for its own bookkeeping. Over a second of G.711, or a burst of
/// video frames: more would only be stale when it is read.
const RECEIVE_BUFFER: usize = 64 * 1024;
/// DSCP EF (RFC 3246, RFC 4594 §4.1) as a TOS byte.
const TOS_EXPEDITED: u32 = 46 << 2;

/// The media plane's monotonic clock, shared by its threads.
#[derive(Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    pub fn start() -> Clock {
        Clock(Instant::now())
    }

    pub fn now(&self) -> Micros {
        Micros(self.0.elapsed().as_micros() as u64)
    }
}

/// Opens a non-blocking UDP socket on exactly this address, marked for expedited forwarding.
pub fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    // Refused in some containers; the audio is the same without.
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        let _ = socket.set_tclass_v6(TOS_EXPEDITED);
    } else {
        let _ = socket.set_tos_v4(TOS_EXPEDITED);
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Undoes a UDP socket's `connect`: it stays bound to its address and hears everybody again.
pub fn disconnect(socket: &UdpSocket) -> io::Result<()> {
    // All zero is AF_UNSPEC, which connect(2) takes as the wish to be connected to nobody.
    let nobody = SockAddrStorage::zeroed();
    let length = nobody.size_of();
    // SAFETY: the storage is initialised in all its `length` bytes.
    let nobody = unsafe { SockAddr::new(nobody, length) };
    SockRef::from(socket).connect(&nobody)
}

/// Lets the process open `wanted` files if it may; returns how many it may open now.
pub fn raise_file_limit(wanted: u64) -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= wanted {
        return Ok(soft);
    }
    // Only root may raise the hard limit, and not in every container.
    if hard < wanted && setrlimit(Resource::RLIMIT_NOFILE, wanted as rlim_t, wanted as rlim_t).is_ok() {
        return Ok(wanted);
    }
    let reachable = wanted.min(hard);
    setrlimit(Resource::RLIMIT_NOFILE, reachable, hard)?;
    Ok(reachable)
}

/// Lets naps of the calling thread end when they should, not 50 µs later.
pub fn exact_naps() {
    let _ = prctl::set_timerslack(1_000);
}

/// Which sockets have something, named by a number.
pub struct Poll {
    registry: Registry,
    ready: Vec<EpollEvent>,
}

/// Which sockets a poll watches; any thread may change that.
#[derive(Clone)]
pub struct Registry(Arc<Epoll>);

impl Registry {
    /// Watches a socket, if it is not watched already.
    pub fn add(&self, socket: &UdpSocket, name: u64) -> io::Result<()> {
        match self.0.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, name)) {
            Ok(()) | Err(Errno::EEXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub fn remove(&self, socket: &UdpSocket) -> io::Result<()> {
        Ok(self.0.delete(socket)?)
    }
}

impl Poll {
    pub fn new(batch: usize) -> io::Result<Poll> {
        let registry = Registry(Arc::new(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?));
        Ok(Poll { registry, ready: vec![EpollEvent::empty(); batch] })
    }

    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Waits until something is ready, at most `timeout` (rounded up to ms); returns how many are.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let timeout = match timeout {
            None => EpollTimeout::NONE,
            Some(limit) => {
                let ms = limit.as_micros().div_ceil(1_000).min(60_000) as u16;
                EpollTimeout::from(ms)
            }
        };
        match self.registry.0.wait(&mut self.ready, timeout) {
            Ok(count) => Ok(count),
            Err(Errno::EINTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    pub fn ready(&self, index: usize) -> u64 {
        self.ready[index].data()
    }
}

/// Wakes a thread that waits in its `Poll`, and costs nothing while it does not.
#[derive(Clone)]
pub struct Wake(Arc<WakeInner>);

struct WakeInner {
    event: EventFd,
    asleep: AtomicBool,
}

impl Wake {
    pub fn new(poll: &Poll, name: u64) -> io::Result<Wake> {
        let event = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        poll.registry.0.add(&event, EpollEvent::new(EpollFlags::EPOLLIN, name))?;
        Ok(Wake(Arc::new(WakeInner { event, asleep: AtomicBool::new(false) })))
    }

    /// To be called after the work was made visible.
    pub fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.0.asleep.swap(false, Ordering::SeqCst) {
            // Fails only when 2^64 - 1 wake-ups are pending.
            let _ = self.0.event.write(1);
        }
    }

    /// To be called by the thread before it looks for work for the last time and waits.
    pub fn falling_asleep(&self) {
        self.0.asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    pub fn awake(&self) {
        self.0.asleep.store(false, Ordering::SeqCst);
    }

    /// Takes the wake-ups that are pending.
    pub fn clear(&self) {
        let _ = self.0.event.read();
    }
}
