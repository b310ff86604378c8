//! What a phone's messages travel over: a UDP socket, or TLS by hand with rustls.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Option<Duration> = Some(Duration::from_secs(15));

pub enum Link {
    Udp { socket: UdpSocket, server: SocketAddr },
    Tls { stream: Box<StreamOwned<ClientConnection, TcpStream>>, received: Vec<u8> },
}

impl Link {
    /// From an address of the loopback.
    pub fn udp(host: &str, server: SocketAddr) -> Link {
        let socket = UdpSocket::bind((host, 0)).unwrap();
        socket.set_read_timeout(PATIENCE).unwrap();
        Link::Udp { socket, server }
    }

    /// A connection that is made only when the server shows the certificate in that file, for the name it is reached by.
    ///
    /// Errors: the handshake failed.
    pub fn tls(server: SocketAddr, certificate: &Path) -> io::Result<Link> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = builder.with_root_certificates(roots).with_no_client_auth();
        let session = ClientConnection::new(Arc::new(config), ServerName::from(server.ip())).unwrap();
        let stream = TcpStream::connect(server)?;
        stream.set_read_timeout(PATIENCE)?;
        let mut stream = Box::new(StreamOwned::new(session, stream));
        stream.conn.complete_io(&mut stream.sock)?;
        Ok(Link::Tls { stream, received: Vec::new() })
    }

    pub fn address(&self) -> SocketAddr {
        match self {
            Link::Udp { socket, .. } => socket.local_addr().unwrap(),
            Link::Tls { stream, .. } => stream.sock.local_addr().unwrap(),
        }
    }

    pub fn via(&self) -> &'static str {
        match self {
            Link::Udp { .. } => "UDP",
            Link::Tls { .. } => "TLS",
        }
    }

    /// What a Contact says of it.
    pub fn parameter(&self) -> &'static str {
        match self {
            Link::Udp { .. } => "",
            Link::Tls { .. } => ";transport=tls",
        }
    }

    /// Whether nothing comes in that time.
    pub fn is_silent(&self, time: Duration) -> bool {
        let set = |patience| match self {
            Link::Udp { socket, .. } => socket.set_read_timeout(patience).unwrap(),
            Link::Tls { stream, .. } => stream.sock.set_read_timeout(patience).unwrap(),
        };
        set(Some(time));
        let is_silent = match self {
            Link::Udp { socket, .. } => socket.peek(&mut [0]).is_err(),
            Link::Tls { stream, .. } => stream.sock.peek(&mut [0]).is_err(),
        };
        set(PATIENCE);
        is_silent
    }

    pub fn send(&mut self, text: &str) {
        match self {
            Link::Udp { socket, server } => drop(socket.send_to(text.as_bytes(), *server).unwrap()),
            Link::Tls { stream, .. } => stream.write_all(text.as_bytes()).unwrap(),
        }
    }

    /// The next message; None when none comes in time.
    pub fn receive(&mut self) -> Option<String> {
        let mut buffer = [0; 8192];
        let bytes = match self {
            Link::Udp { socket, .. } => {
                let len = socket.recv(&mut buffer).ok()?;
                buffer[..len].to_vec()
            }
            Link::Tls { stream, received } => loop {
                if let Some(len) = whole(received) {
                    break received.drain(..len).collect();
                }
                match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => return None,
                    Ok(len) => received.extend(&buffer[..len]),
                }
            },
        };
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// How long the first message of a stream is, when it is all there.
fn whole(received: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(received);
    let head = text.find("\r\n\r\n")? + 4;
    let body = text[..head].split("Content-Length: ").nth(1)?.lines().next()?.parse::<usize>().ok()?;
    (received.len() >= head + body).then_some(head + body)
}
