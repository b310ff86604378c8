use super::*;
use crate::net::guard::tests::{open_door, strict_door};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub const OPTIONS: &[u8] =
    b"OPTIONS sip:pbx SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\n\
    To: <sip:pbx>\r\nCall-ID: c1\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n";

/// A listener on the loopback, and in place of the engine the test.
pub struct Bench {
    pub address: SocketAddr,
    pub plane: Arc<TcpPlane>,
    pub arrivals: mpsc::Receiver<Arrival>,
    _server: JoinSet<()>,
}

async fn bench(patience: Patience, connections: usize) -> Bench {
    bench_with(patience, connections, None).await
}

pub async fn bench_with(patience: Patience, connections: usize, tls: Option<Arc<Tls>>) -> Bench {
    bench_behind(open_door(), patience, connections, tls).await
}

pub async fn bench_behind(door: Door, patience: Patience, connections: usize, tls: Option<Arc<Tls>>) -> Bench {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, arrivals) = mpsc::channel(16);
    let waker = Arc::new(Waker::new().unwrap());
    let plane = Arc::new(TcpPlane::new(sender, waker, Arc::default(), patience, Arc::new(door), connections));
    let mut server = JoinSet::new();
    server.spawn(plane.clone().serve(ListenerId(1), listener, tls));
    Bench { address, plane, arrivals, _server: server }
}

pub fn patient() -> Patience {
    Patience::new(3600)
}

fn impatient() -> Patience {
    let short = Duration::from_millis(50);
    Patience { handshake: short, first: short, idle: short, half: short, write: short }
}

/// A connection from that address of the loopback.
pub async fn connect_from(host: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((host, 0))).unwrap();
    socket.connect(to).await.unwrap()
}

/// Whether the other end closes, or has closed, without a word.
pub async fn is_turned_away(stream: &mut TcpStream) -> bool {
    stream.read(&mut [0; 8]).await.unwrap_or(0) == 0
}

impl Bench {
    pub async fn next(&mut self) -> Arrival {
        tokio::time::timeout(Duration::from_secs(10), self.arrivals.recv()).await.expect("in time").expect("alive")
    }

    pub async fn opened(&mut self) -> Arc<Connection> {
        match self.next().await {
            Arrival::Opened(connection) => connection,
            _ => panic!("a connection opens first"),
        }
    }

    pub async fn message(&mut self) -> (Flow, Message) {
        match self.next().await {
            Arrival::Message { flow, message } => (flow, message),
            Arrival::Opened(_) => panic!("opened instead of a message"),
            Arrival::Closed(_) => panic!("closed instead of a message"),
        }
    }

    pub async fn closed(&mut self) -> ConnectionId {
        match self.next().await {
            Arrival::Closed(id) => id,
            _ => panic!("the connection closes"),
        }
    }
}

#[tokio::test]
async fn messages_are_cut_from_the_stream_and_answered_on_it() {
    let mut bench = bench(patient(), 10).await;
    let mut phone = TcpStream::connect(bench.address).await.unwrap();
    let connection = bench.opened().await;
    // Two messages and a half in one write, the rest later.
    let (head, tail) = OPTIONS.split_at(40);
    phone.write_all(&[OPTIONS, OPTIONS, head].concat()).await.unwrap();
    for _ in 0..2 {
        let (flow, message) = bench.message().await;
        assert_eq!((flow.connection, flow.listener), (Some(connection.id()), ListenerId(1)));
        assert_eq!((flow.remote, flow.local), (phone.local_addr().unwrap(), bench.address.ip()));
        assert_eq!(message.bytes(), OPTIONS);
    }
    phone.write_all(tail).await.unwrap();
    assert_eq!(bench.message().await.1.bytes(), OPTIONS);

    connection.send(Bytes::from_static(b"SIP/2.0 200 OK\r\n\r\n")).unwrap();
    let mut answer = [0; 18];
    phone.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"SIP/2.0 200 OK\r\n\r\n");

    drop(phone);
    assert_eq!(bench.closed().await, connection.id());
    assert_eq!(connection.send(Bytes::from_static(b"x")), Err(NotSent));
}

#[tokio::test]
async fn a_ping_gets_its_pong() {
    let mut bench = bench(patient(), 10).await;
    let mut phone = TcpStream::connect(bench.address).await.unwrap();
    let _connection = bench.opened().await;
    phone.write_all(b"\r\n\r\n").await.unwrap();
    let mut pong = [0; 2];
    phone.read_exact(&mut pong).await.unwrap();
    assert_eq!(&pong, b"\r\n");
}

#[tokio::test]
async fn garbage_ends_the_connection_and_is_counted() {
    let mut bench = bench(patient(), 10).await;
    let mut phone = TcpStream::connect(bench.address).await.unwrap();
    bench.opened().await;
    phone.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello\r\n\r\n").await.unwrap();
    bench.closed().await;
    assert_eq!(phone.read(&mut [0; 8]).await.unwrap_or(0), 0);
    assert_eq!(bench.plane.counters.garbage.get(), 1);
}

#[tokio::test]
async fn a_silent_peer_and_half_a_message_are_not_waited_for() {
    let mut bench = bench(impatient(), 10).await;
    let silent = TcpStream::connect(bench.address).await.unwrap();
    bench.opened().await;
    bench.closed().await;
    drop(silent);

    let long = Duration::from_secs(3600);
    let mut half = self::bench(Patience { half: Duration::from_millis(50), ..patient() }, 10).await;
    assert!(half.plane.patience.first < long);
    let mut phone = TcpStream::connect(half.address).await.unwrap();
    half.opened().await;
    phone.write_all(&OPTIONS[..30]).await.unwrap();
    half.closed().await;
}

#[tokio::test]
async fn line_ends_alone_do_not_hold_a_connection() {
    let mut bench = bench(impatient(), 10).await;
    let mut phone = TcpStream::connect(bench.address).await.unwrap();
    bench.opened().await;
    let pinging = async {
        loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if phone.write_all(b"\r\n\r\n").await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = pinging => {}
        _ = bench.closed() => {}
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_costs_a_bounded_queue_and_then_its_connection() {
    let mut bench = bench(Patience { write: Duration::from_millis(200), ..patient() }, 10).await;
    let phone = TcpStream::connect(bench.address).await.unwrap();
    let connection = bench.opened().await;
    let message = Bytes::from(vec![b'x'; 32 * 1024]);
    let mut taken = 0;
    while connection.send(message.clone()).is_ok() {
        taken += message.len();
        assert!(taken < 64 * 1024 * 1024, "a queue without end");
    }
    assert_eq!(bench.closed().await, connection.id());
    drop(phone);
}

#[tokio::test]
async fn what_had_to_wait_arrives_whole_and_in_order() {
    let mut bench = bench(patient(), 10).await;
    let mut phone = TcpStream::connect(bench.address).await.unwrap();
    let connection = bench.opened().await;
    let mut sent = Vec::new();
    for n in 0u32.. {
        let message: Vec<u8> = n.to_be_bytes().repeat(4000);
        if connection.send(Bytes::from(message.clone())).is_err() {
            break;
        }
        sent.extend(message);
    }
    let mut got = vec![0; sent.len()];
    phone.read_exact(&mut got).await.unwrap();
    assert!(got == sent);
    // And the connection is as good as before.
    connection.send(Bytes::from_static(b"last")).unwrap();
    let mut last = [0; 4];
    phone.read_exact(&mut last).await.unwrap();
    assert_eq!(&last, b"last");
}

#[tokio::test]
async fn above_the_limit_connections_are_refused_until_one_closes() {
    let mut bench = bench(patient(), 2).await;
    let first = TcpStream::connect(bench.address).await.unwrap();
    bench.opened().await;
    let _second = TcpStream::connect(bench.address).await.unwrap();
    bench.opened().await;
    let mut third = TcpStream::connect(bench.address).await.unwrap();
    assert_eq!(third.read(&mut [0; 8]).await.unwrap_or(0), 0);
    assert_eq!(bench.plane.counters.tcp_refused.get(), 1);
    drop(first);
    bench.closed().await;
    // The place is free as soon as the task has ended, a moment after it said so.
    let mut fourth = TcpStream::connect(bench.address).await.unwrap();
    while bench.plane.counters.tcp_open.get() > 1 && bench.arrivals.is_empty() {
        tokio::task::yield_now().await;
        if fourth.try_read(&mut [0; 8]).is_ok_and(|n| n == 0) {
            fourth = TcpStream::connect(bench.address).await.unwrap();
        }
    }
    bench.opened().await;
}

#[tokio::test]
async fn a_source_with_too_many_connections_gets_no_more_and_another_does() {
    let mut bench = bench_behind(strict_door(2), patient(), 100, None).await;
    let mut greedy = Vec::new();
    for _ in 0..2 {
        greedy.push(connect_from([127, 0, 0, 66], bench.address).await);
        bench.opened().await;
    }
    assert!(is_turned_away(&mut connect_from([127, 0, 0, 66], bench.address).await).await);
    assert_eq!(bench.plane.counters.tcp_unwelcome.get(), 1);
    let _phone = connect_from([127, 0, 0, 2], bench.address).await;
    bench.opened().await;
}

#[tokio::test]
async fn a_byte_now_and_then_does_not_make_half_a_message_last() {
    let mut bench = bench(Patience { half: Duration::from_millis(300), ..patient() }, 10).await;
    let mut phone = TcpStream::connect(bench.address).await.unwrap();
    bench.opened().await;
    let dribbling = async {
        for byte in OPTIONS.iter().cycle() {
            if phone.write_all(&[*byte]).await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = dribbling => {}
        _ = bench.closed() => {}
    }
}

#[tokio::test]
async fn only_so_many_hold_half_of_a_long_message() {
    let mut bench = bench(patient(), 10).await;
    let long = [&OPTIONS[..OPTIONS.len() - 2], b"X: ", &[b'x'; 2 * limits::HALF_BYTES]].concat();
    let mut first = TcpStream::connect(bench.address).await.unwrap();
    bench.opened().await;
    first.write_all(&long).await.unwrap();
    while bench.plane.long.available_permits() == limits::LONG_HALVES {
        tokio::task::yield_now().await;
    }
    let all = bench.plane.long.clone().acquire_many_owned(limits::LONG_HALVES as u32 - 1).await.unwrap();
    let mut late = TcpStream::connect(bench.address).await.unwrap();
    let id = bench.opened().await.id();
    late.write_all(&long).await.unwrap();
    assert_eq!(bench.closed().await, id);
    // Who holds one may end it, and then the next has its place.
    first.write_all(b"\r\n\r\n").await.unwrap();
    bench.message().await;
    drop(all);
    assert_eq!(bench.plane.long.available_permits(), limits::LONG_HALVES);
}

#[tokio::test]
async fn when_few_places_are_left_newcomers_have_less_time() {
    let mut bench = bench(Patience { first: Duration::from_millis(500), ..patient() }, 4).await;
    let _first = TcpStream::connect(bench.address).await.unwrap();
    let slow = bench.opened().await.id();
    let mut last = slow;
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(TcpStream::connect(bench.address).await.unwrap());
        last = bench.opened().await.id();
    }
    assert_eq!(bench.closed().await, last);
}
