//! The network between the phones and the server: datagrams that are lost, doubled, late and out of order; connections that
//! deliver in order or break; NATs; and partitions. It decides what arrives when; the world's agenda lets it happen.

use crate::clock::{MS, SECOND, Time};
use crate::nat::Nat;
use crate::prng::Prng;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// What will arrive, and where.
#[derive(Debug)]
pub enum Arrival {
    DatagramAtServer {
        from: SocketAddr,
        to: SocketAddr,
        bytes: Vec<u8>,
    },
    DatagramAtPhone {
        phone: usize,
        from: SocketAddr,
        bytes: Vec<u8>,
    },
    /// A phone's connection attempt reaches the server.
    ConnectAtServer {
        connection: u64,
    },
    ConnectedAtPhone {
        connection: u64,
    },
    StreamAtServer {
        connection: u64,
        bytes: Vec<u8>,
    },
    StreamAtPhone {
        connection: u64,
        bytes: Vec<u8>,
    },
    BrokenAtServer {
        connection: u64,
    },
    BrokenAtPhone {
        connection: u64,
    },
}

/// How the path of one phone behaves, both ways.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// In ten-thousandths of the datagrams.
    pub loss: u64,
    pub duplicate: u64,
    /// How many are held back long enough to be overtaken.
    pub reorder: u64,
    pub delay: (Time, Time),
}

impl Weather {
    pub fn fair() -> Weather {
        Weather { loss: 0, duplicate: 0, reorder: 0, delay: (200, 3 * MS) }
    }
}

pub struct Path {
    pub address: SocketAddr,
    pub nat: Option<usize>,
    pub weather: Weather,
    /// Nothing passes until then.
    pub cut_until: Time,
    pub powered: bool,
}

pub struct Connection {
    pub phone: usize,
    /// The phone's address as the server sees it.
    pub peer: SocketAddr,
    pub server: SocketAddr,
    pub open_at_phone: bool,
    /// Accepted, and not yet known to be broken.
    pub open_at_server: bool,
    last_to_server: Time,
    last_to_phone: Time,
}

pub struct Network {
    pub paths: Vec<Path>,
    pub nats: Vec<Nat>,
    pub connections: BTreeMap<u64, Connection>,
    /// The server's machine answers (its process may be down all the same).
    pub server_cut_until: Time,
    next_connection: u64,
    rng: Prng,
    pub arrivals: Vec<(Time, Arrival)>,
}

impl Network {
    pub fn new(rng: Prng, nats: Vec<Nat>, paths: Vec<Path>) -> Network {
        Network {
            paths,
            nats,
            connections: BTreeMap::new(),
            server_cut_until: 0,
            next_connection: 1,
            rng,
            arrivals: Vec::new(),
        }
    }

    pub fn is_cut(&self, now: Time, phone: usize) -> bool {
        now < self.server_cut_until || now < self.paths[phone].cut_until
    }

    pub fn datagram_from_phone(&mut self, now: Time, phone: usize, to: SocketAddr, bytes: Vec<u8>) {
        let path = &self.paths[phone];
        let from = match path.nat {
            Some(nat) => self.nats[nat].outward(now, path.address, to),
            None => path.address,
        };
        // A call between phones without a server: only where nobody translates.
        let target = self.paths.iter().position(|path| path.address == to);
        for at in self.travel(now, phone) {
            let bytes = bytes.clone();
            let arrival = match target {
                Some(phone) => Arrival::DatagramAtPhone { phone, from, bytes },
                None => Arrival::DatagramAtServer { from, to, bytes },
            };
            self.arrivals.push((at, arrival));
        }
    }

    pub fn datagram_from_server(&mut self, now: Time, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        let inner = self.nats.iter().find_map(|nat| nat.inward(now, from, to)).unwrap_or(to);
        let Some(phone) = self.paths.iter().position(|path| path.address == inner) else { return };
        // A private address is nobody's from outside.
        if self.paths[phone].nat.is_some() && inner == to {
            return;
        }
        for at in self.travel(now, phone) {
            self.arrivals.push((at, Arrival::DatagramAtPhone { phone, from, bytes: bytes.clone() }));
        }
    }

    /// When the copies of one datagram arrive; none if it is lost.
    fn travel(&mut self, now: Time, phone: usize) -> Vec<Time> {
        let weather = self.paths[phone].weather;
        if self.is_cut(now, phone) || self.rng.permyriad(weather.loss) {
            return Vec::new();
        }
        let copies = if self.rng.permyriad(weather.duplicate) { 2 } else { 1 };
        let one = |rng: &mut Prng| {
            let held = if rng.permyriad(weather.reorder) { rng.range(10, 300) * MS } else { 0 };
            now + rng.range(weather.delay.0, weather.delay.1) + held
        };
        (0..copies).map(|_| one(&mut self.rng)).collect()
    }

    pub fn connect(&mut self, now: Time, phone: usize, server: SocketAddr) {
        let connection = self.next_connection;
        self.next_connection += 1;
        let path = &self.paths[phone];
        let inner = SocketAddr::new(path.address.ip(), 30_000 + (connection % 30_000) as u16);
        let peer = match path.nat {
            Some(nat) => self.nats[nat].outward(now, inner, server),
            None => inner,
        };
        let entry = Connection {
            phone,
            peer,
            server,
            open_at_phone: true,
            open_at_server: false,
            last_to_server: now,
            last_to_phone: now,
        };
        self.connections.insert(connection, entry);
        match self.stream_arrival(now, connection, true) {
            Some(at) => self.arrivals.push((at, Arrival::ConnectAtServer { connection })),
            None => self.arrivals.push((now + 10 * SECOND, Arrival::BrokenAtPhone { connection })),
        }
    }

    pub fn accept(&mut self, now: Time, connection: u64) {
        if let Some(entry) = self.connections.get_mut(&connection) {
            entry.open_at_server = true;
        }
        if let Some(at) = self.stream_arrival(now, connection, false) {
            self.arrivals.push((at, Arrival::ConnectedAtPhone { connection }));
        }
    }

    /// The connection of a phone, as the phone knows it.
    pub fn connection_of(&self, phone: usize) -> Option<u64> {
        self.connections.iter().find(|(_, c)| c.phone == phone && c.open_at_phone).map(|(id, _)| *id)
    }

    pub fn stream_from_phone(&mut self, now: Time, phone: usize, bytes: Vec<u8>) {
        let Some(connection) = self.connection_of(phone) else { return };
        match self.stream_arrival(now, connection, true) {
            Some(at) => self.arrivals.push((at, Arrival::StreamAtServer { connection, bytes })),
            None => self.break_connection(now, connection),
        }
    }

    /// False if the server knows the connection is gone.
    pub fn stream_from_server(&mut self, now: Time, connection: u64, bytes: Vec<u8>) -> bool {
        let Some(entry) = self.connections.get(&connection) else { return false };
        if !entry.open_at_server {
            return false;
        }
        if !entry.open_at_phone {
            // The phone's machine answers with a reset.
            let at = now + self.rng.range(1, 50) * MS;
            self.arrivals.push((at, Arrival::BrokenAtServer { connection }));
            return true;
        }
        match self.stream_arrival(now, connection, false) {
            Some(at) => self.arrivals.push((at, Arrival::StreamAtPhone { connection, bytes })),
            None => self.break_connection(now, connection),
        }
        true
    }

    /// In order; a partition delays, and one too long breaks.
    fn stream_arrival(&mut self, now: Time, connection: u64, to_server: bool) -> Option<Time> {
        let entry = self.connections.get_mut(&connection)?;
        let path = &self.paths[entry.phone];
        let free = path.cut_until.max(self.server_cut_until).max(now);
        if free > now + 15 * SECOND {
            return None;
        }
        let lost = self.rng.permyriad(path.weather.loss);
        let again = if lost { self.rng.range(200, 400) * MS } else { 0 };
        let after = self.rng.range(path.weather.delay.0, path.weather.delay.1) + again;
        let last = if to_server { &mut entry.last_to_server } else { &mut entry.last_to_phone };
        *last = (free + after).max(*last + 1);
        Some(*last)
    }

    /// Both ends learn of it, each in its own time.
    pub fn break_connection(&mut self, now: Time, connection: u64) {
        let Some(entry) = self.connections.get_mut(&connection) else { return };
        let (phone_at, server_at) = (now + self.rng.range(1, 3_000) * MS, now + self.rng.range(1, 3_000) * MS);
        // What is under way arrives before the end does.
        let (phone_at, server_at) = (phone_at.max(entry.last_to_phone + 1), server_at.max(entry.last_to_server + 1));
        self.arrivals.push((phone_at, Arrival::BrokenAtPhone { connection }));
        self.arrivals.push((server_at, Arrival::BrokenAtServer { connection }));
    }

    /// The phone lost power: the server learns of it late, or when it next sends something.
    pub fn abandon(&mut self, now: Time, phone: usize) {
        let Some(connection) = self.connection_of(phone) else { return };
        if let Some(entry) = self.connections.get_mut(&connection) {
            entry.open_at_phone = false;
        }
        let silent = self.rng.chance(50);
        let after = if silent { self.rng.range(20, 60) * SECOND } else { self.rng.range(1, 200) * MS };
        self.arrivals.push((now + after, Arrival::BrokenAtServer { connection }));
    }

    /// The server's process ended: every connection with it.
    pub fn drop_all_connections(&mut self, now: Time) {
        for (connection, entry) in &mut self.connections {
            entry.open_at_server = false;
            if entry.open_at_phone {
                let at = (now + self.rng.range(1, 100) * MS).max(entry.last_to_phone + 1);
                self.arrivals.push((at, Arrival::BrokenAtPhone { connection: *connection }));
            }
        }
    }
}
