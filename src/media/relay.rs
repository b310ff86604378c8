//! The packet path: what becomes of a packet that arrived at a port. No allocation, no lock; what signalling can work
//! out is worked out when it says so (`set`), not for each packet.

use crate::base::ids::PortId;
use crate::base::limits;
use crate::base::now::Micros;
use crate::engine::media::{Counters, PayloadMap, Stream};
use crate::media::counters::Reception;
use crate::media::latch::{Header, Latch, RtcpLatch, Verdict};
use crate::media::slot::{Slot, Table, Target};
use crate::media::sys;
use rtp_rs::RtpReader;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A port in use, on the thread that reads its sockets. What a packet touches comes first: with thousands of ports each
/// cache line is one from far away.
#[repr(C, align(64))]
pub struct Port {
    latch: Latch,
    budget: Budget,
    receive: bool,
    send: bool,
    /// RTP and RTCP on one port, as the peer signalled it.
    mux: bool,
    lease: u32,
    id: PortId,
    /// Whom the RTP socket is connected to.
    connected: Option<SocketAddr>,
    counters: Counters,
    reception: Reception,
    sink: Option<Route>,
    rtcp_latch: RtcpLatch,
    /// The totals as they were last told.
    told: Counters,
}

/// Where the peer's packets go.
struct Route {
    slot: usize,
    lease: u32,
    payloads: PayloadMap,
}

/// How many packets this second still has room for.
#[derive(Default)]
struct Budget {
    second: u64,
    taken: u32,
}

impl Port {
    pub fn new(id: PortId, lease: u32) -> Port {
        Port {
            id,
            lease,
            connected: None,
            receive: false,
            send: false,
            mux: false,
            sink: None,
            latch: Latch::default(),
            rtcp_latch: RtcpLatch::default(),
            reception: Reception::default(),
            counters: Counters::default(),
            told: Counters::default(),
            budget: Budget::default(),
        }
    }

    /// Takes a new task; `sink_lease` is the lease its sink's port has now.
    pub fn set(&mut self, table: &Table, now: Micros, stream: Stream, sink_lease: u32) {
        let own = table.get(self.id).map(Slot::address);
        let sink = stream.sink.as_ref().and_then(|sink| table.get(sink.port)).map(Slot::address);
        let usable = |peer: &SocketAddr| {
            let reachable = own.is_some_and(|own| own.is_ipv4() == peer.is_ipv4());
            // A peer that claims to be one of our two ends would make us talk to ourselves, as fast as we can.
            reachable && !peer.ip().is_unspecified() && peer.port() != 0 && Some(*peer) != own && Some(*peer) != sink
        };
        let remote = stream.remote.filter(|remote| usable(&remote.rtp));
        self.receive = stream.receive;
        self.send = stream.send && remote.is_some();
        if let Some(remote) = &remote {
            self.mux = remote.rtcp == remote.rtp;
        }
        self.latch.set(remote.map(|remote| remote.rtp), stream.generation);
        self.rtcp_latch.set(remote.map(|remote| remote.rtcp).filter(usable));
        self.reception.set_clock(stream.clock_rate);
        self.sink =
            stream.sink.map(|sink| Route { slot: sink.port.0 as usize, lease: sink_lease, payloads: sink.payloads });
        self.connect(table, now);
        self.publish(table);
    }

    /// Connects the RTP socket to a peer nobody can displace, for as long as that is so: the kernel then looks up the way to it
    /// once and not for each packet, and keeps everybody else's packets away. To be asked again within `SETTLED`.
    pub fn connect(&mut self, table: &Table, now: Micros) {
        let settled = self.latch.settled(now);
        if settled == self.connected {
            return;
        }
        self.disconnect(table);
        let Some((peer, sockets)) = settled.zip(table.get(self.id).and_then(Slot::sockets)) else { return };
        // Without it the packets go as they did.
        if sockets.rtp.connect(peer).is_ok() {
            self.connected = Some(peer);
            self.publish(table);
        }
    }

    /// Lets the RTP socket hear everybody again.
    pub fn disconnect(&mut self, table: &Table) {
        if self.connected.take().is_none() {
            return;
        }
        // First nobody may count on it any more.
        self.publish(table);
        if let Some(sockets) = table.get(self.id).and_then(Slot::sockets)
            && let Err(error) = sys::disconnect(&sockets.rtp)
        {
            tracing::error!("RTP port {} stays deaf to all but its last peer: {error}", self.id);
        }
    }

    pub fn is_connected(&self) -> bool {
        self.connected.is_some()
    }

    /// Handles a packet of the RTP socket. Returns the peer's address if it was learnt from this packet.
    #[inline]
    pub fn rtp(&mut self, table: &Table, now: Micros, from: SocketAddr, packet: &mut [u8]) -> Option<SocketAddr> {
        if is_rtcp(packet) {
            self.rtcp(table, now, from, packet);
            return None;
        }
        let Some((payload, header)) = self.read(now, packet) else {
            self.counters.dropped += 1;
            return None;
        };
        let verdict = self.latch.packet(now, from, header);
        if verdict == Verdict::Refuse {
            self.counters.dropped += 1;
            return None;
        }
        self.counters.received += 1;
        self.counters.received_bytes += packet.len() as u64;
        self.reception.packet(now, payload, header);
        if !(self.receive && self.forward(table, payload, packet)) {
            self.counters.dropped += 1;
        }
        if verdict == Verdict::Accept {
            return None;
        }
        self.publish(table);
        self.latch.destination()
    }

    /// Handles a packet of the RTCP socket. It passes in a hold, too (RFC 3264 §5.1): it says that the peer is alive.
    #[cold]
    pub fn rtcp(&mut self, table: &Table, now: Micros, from: SocketAddr, packet: &[u8]) {
        let ip = self.latch.source_ip();
        if !(is_rtcp(packet) && self.budget.take(now)) {
            self.counters.dropped += 1;
            return;
        }
        match self.rtcp_latch.packet(now, from, ip) {
            Verdict::Refuse => {
                self.counters.dropped += 1;
                return;
            }
            Verdict::Latched => self.publish(table),
            Verdict::Accept => {}
        }
        let sent = self.sink.as_ref().is_some_and(|sink| {
            sink.with_target(table, |slot, target| {
                let sockets = slot.sockets()?;
                let socket = if target.mux { &sockets.rtp } else { &sockets.rtcp };
                send(socket, packet, target.rtcp?, false)
            })
        });
        if sent {
            self.counters.rtcp += 1;
        } else {
            self.counters.dropped += 1;
        }
    }

    /// A datagram nobody can use: too long, or not to be read.
    pub fn drop_one(&mut self) {
        self.counters.dropped += 1;
    }

    pub fn id(&self) -> PortId {
        self.id
    }

    /// The totals, if they changed since they were last asked for.
    pub fn changed_counters(&mut self, table: &Table) -> Option<Counters> {
        let counters = self.counters(table);
        let changed = counters != self.told;
        self.told = counters;
        changed.then_some(counters)
    }

    pub fn counters(&self, table: &Table) -> Counters {
        let slot = table.get(self.id);
        Counters {
            sent: slot.map_or(0, |slot| slot.sent.load(Ordering::Relaxed)),
            sent_bytes: slot.map_or(0, |slot| slot.sent_bytes.load(Ordering::Relaxed)),
            lost: self.reception.lost(),
            jitter: self.reception.jitter(),
            ..self.counters
        }
    }

    #[inline]
    fn read(&mut self, now: Micros, packet: &[u8]) -> Option<(u8, Header)> {
        let rtp = RtpReader::new(packet).ok()?;
        let header = Header { ssrc: rtp.ssrc(), sequence: rtp.sequence_number().into(), timestamp: rtp.timestamp() };
        self.budget.take(now).then(|| (rtp.payload_type(), header))
    }

    /// Sends the packet on to the sink's peer under the payload number agreed there.
    #[inline]
    fn forward(&self, table: &Table, payload: u8, packet: &mut [u8]) -> bool {
        let Some(sink) = &self.sink else { return false };
        let Some(payload) = sink.payloads.get(payload) else { return false };
        // The marker bit stays.
        packet[1] = packet[1] & 0x80 | payload;
        sink.with_target(table, |slot, target| {
            send(&slot.sockets()?.rtp, packet, target.rtp?, target.connected)?;
            slot.count_sent(packet.len());
            Some(())
        })
    }

    /// Says where packets for the peer go, to whoever has some.
    fn publish(&self, table: &Table) {
        let Some(slot) = table.get(self.id) else { return };
        let rtcp =
            if self.mux { self.latch.destination() } else { self.rtcp_latch.destination(self.latch.source_ip()) };
        let rtp = self.latch.destination().filter(|_| self.send);
        let connected = rtp.is_some() && rtp == self.connected;
        let target = Target { lease: self.lease, mux: self.mux, connected, rtp, rtcp };
        let unchanged = slot.target.load().as_deref() == Some(&target);
        if !unchanged {
            slot.target.store(Some(Arc::new(target)));
        }
    }
}

impl Route {
    #[inline]
    fn with_target(&self, table: &Table, send: impl FnOnce(&Slot, &Target) -> Option<()>) -> bool {
        let Some(slot) = table.get(PortId(self.slot as u32)) else { return false };
        let target = slot.target.load();
        match target.as_deref() {
            Some(target) if target.lease == self.lease => send(slot, target).is_some(),
            _ => false,
        }
    }
}

impl Budget {
    #[inline]
    fn take(&mut self, now: Micros) -> bool {
        // 2^20 µs are near enough to a second and cost no division.
        let second = now.0 >> 20;
        if second != self.second {
            *self = Budget { second, taken: 0 };
        }
        self.taken += 1;
        self.taken <= limits::PORT_PACKETS
    }
}

/// An error of a connected socket may be an earlier packet's (ICMP), or the socket is connected no longer: this packet is
/// sent again as to anybody.
#[inline]
fn send(socket: &UdpSocket, packet: &[u8], to: SocketAddr, connected: bool) -> Option<()> {
    if connected && socket.send(packet).is_ok() {
        return Some(());
    }
    socket.send_to(packet, to).ok().map(drop)
}

/// Tells RTCP from RTP on one port (RFC 5761 §4): the second byte is an RTCP packet type.
#[inline]
fn is_rtcp(packet: &[u8]) -> bool {
    packet.len() >= 8 && packet[0] >> 6 == 2 && (192..=223).contains(&packet[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_takes_so_many_packets_a_second() {
        let mut budget = Budget::default();
        let taken = |budget: &mut Budget, now| (0..9_000).filter(|_| budget.take(Micros(now))).count();
        assert_eq!(taken(&mut budget, 5_000_000), limits::PORT_PACKETS as usize);
        assert_eq!(taken(&mut budget, 6_100_000), limits::PORT_PACKETS as usize);
    }

    #[test]
    fn rtcp_is_told_from_rtp_by_its_second_byte() {
        let packet = |second| [0x80, second, 0, 1, 0, 0, 0, 1];
        // PCMU, PCMA with marker, dynamic with marker; then SR, RR, SDES, BYE, feedback.
        assert!([0, 0x88, 0xe0].iter().all(|second| !is_rtcp(&packet(*second))));
        assert!([200, 201, 202, 203, 205, 206].iter().all(|second| is_rtcp(&packet(*second))));
        assert!(!is_rtcp(&[0x80, 201, 0, 1]), "no room for an SSRC");
    }
}
