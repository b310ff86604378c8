use super::*;
use crate::apps;
use crate::base::ids::TenantId;
use crate::directory::Directory;
use crate::engine::config::{EngineConfig, Listener};
use crate::engine::flow::Transport;
use crate::net::bind;
use crate::net::guard::tests::open_door;
use crate::net::tcp::{Patience, TcpPlane};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// A driver with a real engine on real sockets: UDP on the wildcard, TCP on loopback.
struct Bench {
    udp: SocketAddr,
    tcp: SocketAddr,
    inbox: Arc<Inbox>,
    net: Arc<NetCounters>,
    stats: Arc<Stats>,
    thread: Option<std::thread::JoinHandle<()>>,
    _runtime: tokio::runtime::Runtime,
}

fn bench() -> Bench {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let waker = Arc::new(Waker::new().unwrap());
    let inbox = Arc::new(Inbox::new(waker.clone()));
    let (net, stats) = (Arc::new(NetCounters::default()), Arc::new(Stats::default()));

    let socket = bind::udp("0.0.0.0:0".parse().unwrap()).unwrap();
    let udp = socket.local_addr().unwrap();
    let listener = bind::connections("127.0.0.1:0".parse().unwrap(), Transport::Tcp).unwrap();
    let tcp = listener.local_addr().unwrap();
    let door = Arc::new(open_door());
    let (sender, arrivals) = mpsc::channel(64);
    let plane = Arc::new(TcpPlane::new(sender, waker.clone(), net.clone(), Patience::new(3600), door.clone(), 100));
    let _guard = runtime.enter();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    runtime.spawn(plane.serve(ListenerId(1), listener, None));

    let listeners = [(0, Transport::Udp, udp), (1, Transport::Tcp, tcp)].map(|(id, transport, bind)| Listener {
        id: ListenerId(id),
        transport,
        bind,
        advertise: None,
        tenant: TenantId(1),
    });
    let directory = Arc::new(Directory::default());
    let engine = Engine::new(EngineConfig::new(1, listeners.into()), [7; 32], directory, apps::start);
    let outlets =
        Outlets { media: Box::new(|_| ()), records: Box::new(|_| ()), events: Arc::new(EventQueue::new(1_000)) };
    let sources = Sources { sockets: vec![(ListenerId(0), socket)], arrivals, inbox: inbox.clone(), waker, door };
    let nap = Duration::from_micros(200);
    let thread = std::thread::spawn({
        let (net, stats) = (net.clone(), stats.clone());
        move || Driver::new(engine, sources, outlets, nap, net, stats, &mut Rng::new([1; 32])).unwrap().run(Vec::new())
    });
    let thread = Some(thread);
    Bench { udp, tcp, inbox, net, stats, thread, _runtime: runtime }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.inbox.order(Order::Stop).unwrap();
        let ended = self.thread.take().unwrap().join();
        assert!(std::thread::panicking() || ended.is_ok());
    }
}

fn options(transport: &str, branch: u32) -> Vec<u8> {
    format!(
        "OPTIONS sip:pbx SIP/2.0\r\nVia: SIP/2.0/{transport} 127.0.0.1:9;rport;branch=z9hG4bK{branch}\r\n\
         From: <sip:probe@127.0.0.1>;tag=t{branch}\r\nTo: <sip:pbx>\r\nCall-ID: c{branch}\r\nCSeq: 1 OPTIONS\r\n\
         Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

fn phone() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

fn receive(phone: &UdpSocket) -> (String, SocketAddr) {
    let mut buffer = [0; 4096];
    let (len, from) = phone.recv_from(&mut buffer).expect("an answer");
    (String::from_utf8_lossy(&buffer[..len]).into_owned(), from)
}

#[test]
fn a_datagram_is_answered_from_the_address_that_was_asked() {
    let bench = bench();
    let phone = phone();
    for (n, host) in ["127.0.0.1", "127.0.0.9"].into_iter().enumerate() {
        phone.send_to(&options("UDP", n as u32), (host, bench.udp.port())).unwrap();
        let (answer, from) = receive(&phone);
        assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
        assert!(answer.contains(&format!("Call-ID: c{n}\r\n")), "{answer}");
        assert_eq!(from.ip().to_string(), host);
    }
}

#[test]
fn a_connection_is_answered_on_itself() {
    let bench = bench();
    let mut phone = TcpStream::connect(bench.tcp).unwrap();
    phone.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    phone.write_all(&[options("TCP", 1), options("TCP", 2)].concat()).unwrap();
    let mut answers = String::new();
    while answers.matches("\r\n\r\n").count() < 2 {
        let mut buffer = [0; 4096];
        let len = phone.read(&mut buffer).expect("an answer");
        assert!(len > 0, "closed after {answers}");
        answers.push_str(&String::from_utf8_lossy(&buffer[..len]));
    }
    assert_eq!(answers.matches("SIP/2.0 200 ").count(), 2, "{answers}");
    assert_eq!(bench.net.tcp_received.get(), 2);
}

#[test]
fn garbage_and_keep_alives_get_silence_and_are_counted() {
    let bench = bench();
    let phone = phone();
    let to = ("127.0.0.1", bench.udp.port());
    for nonsense in [&b"\r\n\r\n"[..], b"\0", b"", b"GET / HTTP/1.1\r\n\r\n", b"\x80\x00", &[0xff; 60_000]] {
        phone.send_to(nonsense, to).unwrap();
    }
    phone.send_to(&options("UDP", 1), to).unwrap();
    let (answer, _) = receive(&phone);
    assert!(answer.contains("Call-ID: c1\r\n"), "the first thing heard is the answer: {answer}");
    assert_eq!((bench.net.keepalives.get(), bench.net.garbage.get()), (3, 3));
}

#[test]
fn a_burst_is_answered_whole() {
    let bench = bench();
    let phone = phone();
    const BURST: u32 = 2_000;
    let mut answers = 0;
    for n in 0..BURST {
        phone.send_to(&options("UDP", n), ("127.0.0.1", bench.udp.port())).unwrap();
        // Ahead by at most 50, as the phone's own buffer is small.
        while n - answers >= 50 {
            receive(&phone);
            answers += 1;
        }
    }
    while answers < BURST {
        receive(&phone);
        answers += 1;
    }
    assert_eq!(bench.net.udp_received.get(), u64::from(BURST));
    let rests = bench.stats.wakeups.get() + bench.stats.naps.get();
    assert!(rests <= u64::from(BURST), "{rests} rests for {BURST} datagrams");
}

#[test]
fn commands_and_directories_are_taken_while_the_network_is_silent() {
    let bench = bench();
    let (done, drained) = oneshot::channel();
    bench.inbox.order(Order::Command { command: Command::Drain, done }).unwrap();
    assert_eq!(drained.blocking_recv(), Ok(CommandResult::Done));
    let (done, taken) = oneshot::channel();
    bench.inbox.order(Order::Directory { directory: Arc::new(Directory::default()), done }).unwrap();
    assert_eq!(taken.blocking_recv(), Ok(()));
}
