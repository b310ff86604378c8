//! UDP: datagrams in batches, each with the local address it came to, answers leaving from that address.
//!
//! Everything here runs on the engine's thread and never blocks.

use crate::base::ids::{ListenerId, TransactionId};
use crate::base::limits;
use crate::engine::flow::{Flow, Transport};
use crate::net::counters::NetCounters;
use bytes::Bytes;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage, recvmmsg, sendmmsg,
};
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Datagrams of one system call.
pub const BATCH: usize = 32;

/// A datagram to be sent.
pub struct Datagram {
    pub flow: Flow,
    pub bytes: Bytes,
    /// Whom to tell if it can't be sent.
    pub key: Option<TransactionId>,
}

/// What one call of `send` left behind.
#[derive(PartialEq, Eq, Debug)]
pub enum Sent {
    /// Everything is with the kernel, or was refused by it.
    All,
    /// The kernel's buffer is full: try again when the socket is writable.
    Blocked,
}

pub struct UdpListener {
    id: ListenerId,
    socket: UdpSocket,
    bound: SocketAddr,
    buffers: Box<[u8]>,
    incoming: MultiHeaders<SockaddrStorage>,
    outgoing: MultiHeaders<SockaddrStorage>,
}

impl UdpListener {
    /// `socket` was made by `bind::udp`.
    pub fn new(id: ListenerId, socket: UdpSocket) -> io::Result<UdpListener> {
        let bound = socket.local_addr()?;
        let (incoming, outgoing) = (incoming_headers(bound), outgoing_headers(bound));
        let buffers = vec![0; BATCH * limits::MESSAGE_BYTES].into_boxed_slice();
        Ok(UdpListener { id, socket, bound, buffers, incoming, outgoing })
    }

    pub fn id(&self) -> ListenerId {
        self.id
    }

    pub fn bound(&self) -> SocketAddr {
        self.bound
    }

    /// Gives up to `BATCH` waiting datagrams to `sink`; returns how many there were.
    pub fn receive(&mut self, sink: &mut dyn FnMut(Flow, &[u8])) -> io::Result<usize> {
        let mut chunks = self.buffers.chunks_exact_mut(limits::MESSAGE_BYTES);
        let mut slices: [[IoSliceMut; 1]; BATCH] =
            std::array::from_fn(|_| [IoSliceMut::new(chunks.next().unwrap_or_default())]);
        let received =
            match recvmmsg(self.socket.as_raw_fd(), &mut self.incoming, &mut slices, MsgFlags::MSG_DONTWAIT, None) {
                Ok(received) => received,
                Err(Errno::EAGAIN | Errno::EINTR) => return Ok(0),
                // An ICMP error for something sent earlier; the next call receives again.
                Err(Errno::ECONNREFUSED | Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::EMSGSIZE) => return Ok(0),
                Err(e) => return Err(e.into()),
            };
        let (mut count, mut truncated) = (0, false);
        for message in received {
            count += 1;
            let Some(remote) = message.address.and_then(socket_address) else { continue };
            let local = match local_address(&message, self.bound) {
                Some(local) => local,
                None => {
                    truncated = true;
                    continue;
                }
            };
            let flow = Flow { listener: self.id, transport: Transport::Udp, local, remote, connection: None };
            sink(flow, message.iovs().next().unwrap_or_default());
        }
        if truncated {
            // A datagram without its local address shortened the space its header has for the next one's.
            self.incoming = incoming_headers(self.bound);
        }
        Ok(count)
    }

    /// Sends what is queued, in order; what the kernel refuses is told to `failed` and skipped.
    pub fn send(
        &mut self,
        queue: &mut VecDeque<Datagram>,
        counters: &NetCounters,
        failed: &mut dyn FnMut(TransactionId),
    ) -> Sent {
        while !queue.is_empty() {
            match self.send_run(queue) {
                Ok(sent) => {
                    counters.udp_sent.add(sent as u64);
                    queue.drain(..sent);
                }
                Err(Errno::EAGAIN) => return Sent::Blocked,
                Err(Errno::EINTR) => {}
                Err(_refused) => {
                    // The error is of the first datagram of the call, or an ICMP answer to an earlier one.
                    counters.udp_failed.add(1);
                    if let Some(key) = queue.pop_front().and_then(|datagram| datagram.key) {
                        failed(key);
                    }
                }
            }
        }
        Sent::All
    }

    /// One system call for the datagrams at the head that leave from the same local address.
    fn send_run(&mut self, queue: &mut VecDeque<Datagram>) -> nix::Result<usize> {
        let queue = queue.make_contiguous();
        let local = queue[0].flow.local;
        let run = if self.is_wildcard() {
            queue.iter().take(BATCH).take_while(|d| d.flow.local == local).count()
        } else {
            queue.len().min(BATCH)
        };
        let mut waiting = queue[..run].iter();
        let slices: [[IoSlice; 1]; BATCH] =
            std::array::from_fn(|_| [IoSlice::new(waiting.next().map_or(&[], |d| &d.bytes))]);
        let mut waiting = queue[..run].iter();
        let to: [Option<SockaddrStorage>; BATCH] =
            std::array::from_fn(|_| waiting.next().map(|d| SockaddrStorage::from(d.flow.remote)));
        let fd = self.socket.as_raw_fd();
        let (slices, to) = (&slices[..run], &to[..run]);
        let sent = if !self.is_wildcard() {
            sendmmsg(fd, &mut self.outgoing, slices, to, [], MsgFlags::MSG_DONTWAIT)?.count()
        } else {
            match local {
                IpAddr::V4(ip) => {
                    let from = packet_info_v4(ip);
                    let from = [ControlMessage::Ipv4PacketInfo(&from)];
                    sendmmsg(fd, &mut self.outgoing, slices, to, from, MsgFlags::MSG_DONTWAIT)?.count()
                }
                IpAddr::V6(ip) => {
                    let from = packet_info_v6(ip, queue[0].flow.remote);
                    let from = [ControlMessage::Ipv6PacketInfo(&from)];
                    sendmmsg(fd, &mut self.outgoing, slices, to, from, MsgFlags::MSG_DONTWAIT)?.count()
                }
            }
        };
        Ok(sent)
    }

    fn is_wildcard(&self) -> bool {
        self.bound.ip().is_unspecified()
    }
}

impl AsFd for UdpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn control_space(bound: SocketAddr) -> Vec<u8> {
    if bound.is_ipv4() { cmsg_space!(in_pktinfo) } else { cmsg_space!(in6_pktinfo) }
}

fn incoming_headers(bound: SocketAddr) -> MultiHeaders<SockaddrStorage> {
    MultiHeaders::preallocate(BATCH, Some(control_space(bound)))
}

/// A header with room for a control message must carry one: a socket bound to one address has none.
fn outgoing_headers(bound: SocketAddr) -> MultiHeaders<SockaddrStorage> {
    MultiHeaders::preallocate(BATCH, bound.ip().is_unspecified().then(|| control_space(bound)))
}

fn socket_address(address: SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::V4((*v4).into()));
    }
    address.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into()))
}

/// The address of ours a datagram came to.
fn local_address(message: &RecvMsg<SockaddrStorage>, bound: SocketAddr) -> Option<IpAddr> {
    if !bound.ip().is_unspecified() {
        return Some(bound.ip());
    }
    message.cmsgs().ok()?.find_map(|control| match control {
        // `ipi_spec_dst` is ours even when the datagram was sent to a broadcast address.
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some(IpAddr::V4(Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes())))
        }
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr))),
        _ => None,
    })
}

fn packet_info_v4(from: Ipv4Addr) -> in_pktinfo {
    let address = in_addr { s_addr: u32::from_ne_bytes(from.octets()) };
    in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address, ipi_addr: in_addr { s_addr: 0 } }
}

fn packet_info_v6(from: Ipv6Addr, to: SocketAddr) -> in6_pktinfo {
    // A link-local address means nothing without its interface.
    let interface = match to {
        SocketAddr::V6(to) if from.is_unicast_link_local() => to.scope_id(),
        _ => 0,
    };
    in6_pktinfo { ipi6_addr: in6_addr { s6_addr: from.octets() }, ipi6_ifindex: interface as _ }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::bind;
    use std::time::Duration;

    fn listener(address: &str) -> UdpListener {
        UdpListener::new(ListenerId(3), bind::udp(address.parse().unwrap()).unwrap()).unwrap()
    }

    fn phone(address: &str) -> UdpSocket {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    }

    /// Receives until `count` datagrams came; loopback delivers before `send_to` returns.
    fn receive(listener: &mut UdpListener, count: usize) -> Vec<(Flow, Vec<u8>)> {
        let mut got = Vec::new();
        while got.len() < count {
            let before = got.len();
            listener.receive(&mut |flow, bytes| got.push((flow, bytes.to_vec()))).unwrap();
            assert!(got.len() > before, "{} of {count} datagrams came", got.len());
        }
        got
    }

    fn answer(listener: &mut UdpListener, flows: &[Flow], text: &'static [u8]) {
        let mut queue: VecDeque<Datagram> =
            flows.iter().map(|flow| Datagram { flow: *flow, bytes: Bytes::from_static(text), key: None }).collect();
        let counters = NetCounters::default();
        assert_eq!(listener.send(&mut queue, &counters, &mut |_| ()), Sent::All);
        assert_eq!(counters.udp_sent.get(), flows.len() as u64);
    }

    #[test]
    fn a_wildcard_listener_answers_from_the_address_that_was_asked() {
        let mut listener = listener("0.0.0.0:0");
        let port = listener.bound().port();
        let phone = phone("127.0.0.1:0");
        // Twice round, so that headers are used again, with both addresses in one batch.
        for _ in 0..2 {
            for host in ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.3"] {
                phone.send_to(host.as_bytes(), (host, port)).unwrap();
            }
            let got = receive(&mut listener, 4);
            for (flow, bytes) in &got {
                assert_eq!(flow.local.to_string().as_bytes(), bytes);
                assert_eq!((flow.remote, flow.listener), (phone.local_addr().unwrap(), ListenerId(3)));
            }
            let flows: Vec<Flow> = got.iter().map(|(flow, _)| *flow).collect();
            answer(&mut listener, &flows, b"hello");
            for flow in flows {
                let mut buffer = [0; 16];
                let (len, from) = phone.recv_from(&mut buffer).unwrap();
                assert_eq!((&buffer[..len], from), (&b"hello"[..], SocketAddr::new(flow.local, port)));
            }
        }
    }

    #[test]
    fn more_datagrams_than_a_batch_all_come_and_all_leave_in_order() {
        let mut listener = listener("127.0.0.1:0");
        let phone = phone("127.0.0.1:0");
        for n in 0..100u32 {
            phone.send_to(&n.to_be_bytes(), listener.bound()).unwrap();
        }
        let got = receive(&mut listener, 100);
        assert!(got.iter().enumerate().all(|(n, (_, bytes))| bytes == &(n as u32).to_be_bytes()));
        let mut queue: VecDeque<Datagram> = got
            .iter()
            .map(|(flow, bytes)| Datagram { flow: *flow, bytes: Bytes::from(bytes.clone()), key: None })
            .collect();
        listener.send(&mut queue, &NetCounters::default(), &mut |_| ());
        for n in 0..100u32 {
            let mut buffer = [0; 16];
            let len = phone.recv(&mut buffer).unwrap();
            assert_eq!(buffer[..len], n.to_be_bytes());
        }
    }

    #[test]
    fn ipv6_works_the_same() {
        let mut listener = listener("[::]:0");
        let phone = phone("[::1]:0");
        phone.send_to(b"x", ("::1", listener.bound().port())).unwrap();
        let got = receive(&mut listener, 1);
        assert_eq!(got[0].0.local, "::1".parse::<IpAddr>().unwrap());
        answer(&mut listener, &[got[0].0], b"six");
        let mut buffer = [0; 8];
        assert_eq!(phone.recv(&mut buffer).unwrap(), 3);
    }

    #[test]
    fn what_the_kernel_refuses_is_told_and_the_rest_leaves() {
        let mut listener = listener("127.0.0.1:0");
        let phone = phone("127.0.0.1:0");
        let flow = |remote: SocketAddr| Flow {
            listener: ListenerId(3),
            transport: Transport::Udp,
            local: listener.bound().ip(),
            remote,
            connection: None,
        };
        let to_phone = flow(phone.local_addr().unwrap());
        // Longer than a datagram can be.
        let giant = Bytes::from(vec![b'x'; 65_530]);
        let mut queue = VecDeque::from([
            Datagram { flow: to_phone, bytes: Bytes::from_static(b"1"), key: None },
            Datagram { flow: to_phone, bytes: giant, key: Some(TransactionId(7)) },
            Datagram { flow: to_phone, bytes: Bytes::from_static(b"2"), key: None },
        ]);
        let counters = NetCounters::default();
        let mut failed = Vec::new();
        assert_eq!(listener.send(&mut queue, &counters, &mut |key| failed.push(key)), Sent::All);
        assert_eq!(failed, [TransactionId(7)]);
        assert_eq!((counters.udp_sent.get(), counters.udp_failed.get()), (2, 1));
        let mut buffer = [0; 8];
        assert_eq!(phone.recv(&mut buffer).unwrap(), 1);
        assert_eq!(phone.recv(&mut buffer).unwrap(), 1);
        assert_eq!(buffer[0], b'2');
    }

    #[test]
    fn a_closed_port_at_the_other_end_harms_nothing() {
        let mut listener = listener("127.0.0.1:0");
        let gone = phone("127.0.0.1:0");
        gone.send_to(b"x", listener.bound()).unwrap();
        let flow = receive(&mut listener, 1)[0].0;
        drop(gone);
        for _ in 0..3 {
            let mut queue = VecDeque::from([Datagram { flow, bytes: Bytes::from_static(b"are you there"), key: None }]);
            assert_eq!(listener.send(&mut queue, &NetCounters::default(), &mut |_| ()), Sent::All);
            assert_eq!(listener.receive(&mut |_, _| ()).unwrap(), 0);
        }
        let phone = phone("127.0.0.1:0");
        phone.send_to(b"y", listener.bound()).unwrap();
        assert_eq!(receive(&mut listener, 1)[0].1, b"y");
    }
}
