//! Opens the listening sockets, and says what to do when one can't be opened.

use crate::engine::flow::Transport;
use crate::net::interfaces;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

/// What the kernel may hold for a UDP socket while the engine's thread naps or is busy, bytes.
const UDP_BUFFER: usize = 8 * 1024 * 1024;
/// Connections the kernel completes before we accept them.
const BACKLOG: i32 = 1024;

/// A socket that could not be opened: what, why, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {what}: {source}. {advice}")]
pub struct BindError {
    pub what: String,
    pub source: io::Error,
    pub advice: String,
}

impl BindError {
    /// `setting` names the key and flag that choose the address.
    pub fn new(what: impl fmt::Display, address: SocketAddr, source: io::Error, setting: &str) -> BindError {
        let advice = match source.kind() {
            io::ErrorKind::AddrInUse => format!(
                "Another program has port {port} already, often a second telephone exchange: `ss -lnptu 'sport = :{port}'` \
                 shows which. Stop it, or choose another port with {setting}",
                port = address.port()
            ),
            io::ErrorKind::AddrNotAvailable => {
                let have: Vec<String> = interfaces::addresses().iter().map(ToString::to_string).collect();
                format!(
                    "This host has no address {}; it has {}. Use one of these with {setting}, or 0.0.0.0 for all",
                    address.ip(),
                    have.join(", ")
                )
            }
            io::ErrorKind::PermissionDenied => format!(
                "Ports below 1024 need a privilege: choose a higher port with {setting}, or give the program the \
                 capability CAP_NET_BIND_SERVICE"
            ),
            _ => format!("Check {setting}"),
        };
        BindError { what: what.to_string(), source, advice }
    }
}

const SIP_SETTING: &str = "`sip.listen` in the configuration or --sip-listen";

/// Binds a UDP socket that tells each datagram's local address when `address` is a wildcard.
pub fn udp(address: SocketAddr) -> Result<UdpSocket, BindError> {
    let open = || -> io::Result<UdpSocket> {
        let socket = open(address, Type::DGRAM, Protocol::UDP)?;
        // Beyond the administrator's limit when we are root; else as much as allowed.
        if setsockopt(&socket, sockopt::RcvBufForce, &UDP_BUFFER).is_err() {
            socket.set_recv_buffer_size(UDP_BUFFER)?;
        }
        if setsockopt(&socket, sockopt::SndBufForce, &UDP_BUFFER).is_err() {
            socket.set_send_buffer_size(UDP_BUFFER)?;
        }
        if address.is_ipv4() {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        }
        socket.bind(&SockAddr::from(address))?;
        Ok(socket.into())
    };
    open().map_err(|e| BindError::new(format!("udp:{address}"), address, e, SIP_SETTING))
}

/// Binds and listens for connections of SIP, to be spoken to over `transport`.
pub fn connections(address: SocketAddr, transport: Transport) -> Result<TcpListener, BindError> {
    stream_listener(address)
        .map_err(|e| BindError::new(format!("{}:{address}", transport.param()), address, e, SIP_SETTING))
}

/// Binds and listens for HTTP.
pub fn http(address: SocketAddr) -> Result<TcpListener, BindError> {
    let setting = "`http.listen` in the configuration or --http-listen";
    stream_listener(address).map_err(|e| BindError::new(format!("http:{address}"), address, e, setting))
}

fn stream_listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = open(address, Type::STREAM, Protocol::TCP)?;
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn open(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        // So that 0.0.0.0 and [::] can be bound side by side, and no peer appears as ::ffff:192.0.2.1.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_explained() {
        let first = udp("127.0.0.1:0".parse().unwrap()).unwrap();
        let taken = first.local_addr().unwrap();
        let text = udp(taken).unwrap_err().to_string();
        assert!(text.starts_with(&format!("can't listen on udp:{taken}: Address already in use")), "{text}");
        assert!(text.contains("choose another port with `sip.listen`"), "{text}");
    }

    #[test]
    fn an_address_of_another_host_is_explained_with_our_own() {
        let text = connections("192.0.2.77:0".parse().unwrap(), Transport::Tls).unwrap_err().to_string();
        assert!(text.contains("This host has no address 192.0.2.77; it has ") && text.contains("127.0.0.1"), "{text}");
    }
}
