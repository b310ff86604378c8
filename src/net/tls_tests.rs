use super::*;
use crate::base::limits;
use crate::base::now::Micros;
use crate::engine::flow::Transport;
use crate::net::certificate;
use crate::net::guard::Reason;
use crate::net::guard::tests::strict_door;
use crate::net::tcp::tests::{OPTIONS, bench_behind, bench_with, connect_from, is_turned_away, patient};
use crate::net::tcp::{NotSent, Patience};
use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, SupportedProtocolVersion, version};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const NAME: &str = "pbx.example";

fn files(folder: &TempDir) -> TlsFiles {
    let (certificate, key) = certificate::of_our_own(folder.path(), vec![NAME.to_owned()]).unwrap();
    TlsFiles { certificate, key, client_ca: None }
}

/// A phone that trusts exactly the certificate in `files` as it is now.
fn phone(files: &TlsFiles, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_protocol_versions(versions).unwrap();
    builder.with_root_certificates(trust(&files.certificate)).with_no_client_auth()
}

fn trust(certificate: &Path) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
    roots
}

async fn connect(at: SocketAddr, config: ClientConfig) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(at).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(NAME).unwrap(), stream).await
}

/// Whether the peer's end closes, having said nothing but alerts.
async fn is_refused(stream: &mut TcpStream) -> bool {
    let mut said = Vec::new();
    // A reset is a refusal, too.
    let _ = stream.read_to_end(&mut said).await;
    said.is_empty() || said[0] == 0x15
}

#[tokio::test]
async fn messages_travel_over_both_versions_of_tls() {
    for version in [&version::TLS12, &version::TLS13] {
        let folder = tempfile::tempdir().unwrap();
        let files = files(&folder);
        let tls = Arc::new(Tls::new(files.clone()).unwrap());
        let mut bench = bench_with(patient(), 10, Some(tls)).await;
        let mut phone = connect(bench.address, phone(&files, &[version])).await.unwrap();
        let (head, tail) = OPTIONS.split_at(40);
        phone.write_all(&[OPTIONS, head].concat()).await.unwrap();
        let connection = bench.opened().await;
        assert_eq!(connection.flow().transport, Transport::Tls);
        let (flow, message) = bench.message().await;
        assert_eq!((flow, message.bytes().as_ref()), (connection.flow(), OPTIONS));
        phone.write_all(tail).await.unwrap();
        assert_eq!(bench.message().await.1.bytes(), OPTIONS);
        connection.send(Bytes::from_static(b"SIP/2.0 200 OK\r\n\r\n")).unwrap();
        let mut answer = [0; 18];
        phone.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"SIP/2.0 200 OK\r\n\r\n");
        // The peer says goodbye as TLS has it, and waits for ours before it closes.
        phone.shutdown().await.unwrap();
        assert_eq!(bench.closed().await, connection.id());
        assert_eq!(phone.read(&mut answer).await.unwrap(), 0);
        assert_eq!(connection.send(Bytes::from_static(b"x")), Err(NotSent));
        assert_eq!(bench.plane.counters.tls_agreed.get(), 1);
    }
}

#[tokio::test]
async fn what_had_to_wait_arrives_whole_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let files = files(&folder);
    let tls = Arc::new(Tls::new(files.clone()).unwrap());
    let mut bench = bench_with(patient(), 10, Some(tls)).await;
    let mut phone = connect(bench.address, phone(&files, &[&version::TLS13])).await.unwrap();
    let connection = bench.opened().await;
    let mut sent = Vec::new();
    for n in 0u32.. {
        let message: Vec<u8> = n.to_be_bytes().repeat(4000);
        if connection.send(Bytes::from(message.clone())).is_err() {
            break;
        }
        sent.extend(message);
        assert!(sent.len() < 64 * 1024 * 1024, "a queue without end");
    }
    let mut got = vec![0; sent.len()];
    phone.read_exact(&mut got).await.unwrap();
    assert!(got == sent);
    connection.send(Bytes::from_static(b"last")).unwrap();
    let mut last = [0; 4];
    phone.read_exact(&mut last).await.unwrap();
    assert_eq!(&last, b"last");
}

/// A ClientHello of TLS 1.0 with one cipher and no extension.
fn hello_of_1999() -> Vec<u8> {
    let mut hello = vec![0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 1];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0, 0x2f, 1, 0]);
    hello
}

#[tokio::test]
async fn what_is_no_tls_or_too_old_never_reaches_the_engine() {
    let folder = tempfile::tempdir().unwrap();
    let tls = Arc::new(Tls::new(files(&folder)).unwrap());
    let bench = bench_with(patient(), 10, Some(tls.clone())).await;
    for said in [OPTIONS.to_vec(), hello_of_1999()] {
        let mut phone = TcpStream::connect(bench.address).await.unwrap();
        phone.write_all(&said).await.unwrap();
        assert!(is_refused(&mut phone).await);
    }
    assert_eq!((bench.plane.counters.tls_failed.get(), bench.arrivals.len()), (2, 0));
    // The log tells of old phones, and says what to do; not of what was no phone.
    let mut session = tls.session().unwrap();
    session.read_tls(&mut hello_of_1999().as_slice()).unwrap();
    let (_, why) = explain(&session.process_new_packets().unwrap_err()).unwrap();
    assert!(why.contains("TLS 1.1 or older") && why.contains("firmware"), "{why}");
    let mut session = tls.session().unwrap();
    session.read_tls(&mut &OPTIONS[..]).unwrap();
    assert!(explain(&session.process_new_packets().unwrap_err()).is_none());
}

#[tokio::test]
async fn a_handshake_is_not_waited_for_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let tls = Arc::new(Tls::new(files(&folder)).unwrap());
    let patience = Patience { handshake: Duration::from_millis(50), ..patient() };
    let bench = bench_with(patience, 10, Some(tls)).await;
    let mut silent = TcpStream::connect(bench.address).await.unwrap();
    assert!(is_refused(&mut silent).await);
    let mut half = TcpStream::connect(bench.address).await.unwrap();
    half.write_all(&hello_of_1999()[..20]).await.unwrap();
    assert!(is_refused(&mut half).await);
    assert_eq!((bench.plane.counters.tls_failed.get(), bench.arrivals.len()), (2, 0));
}

#[tokio::test]
async fn above_the_limit_of_handshakes_phones_wait_and_are_not_refused() {
    let folder = tempfile::tempdir().unwrap();
    let files = files(&folder);
    let tls = Arc::new(Tls::new(files.clone()).unwrap());
    let mut bench = bench_with(patient(), 10, Some(tls)).await;
    let plane = bench.plane.clone();
    let mut under_way = Vec::new();
    for _ in 0..limits::HANDSHAKES_OF_ONE {
        under_way.push(plane.turns.wait(bench.address.ip().into()).await);
    }
    let mut connecting = std::pin::pin!(connect(bench.address, phone(&files, &[&version::TLS13])));
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut connecting).await.is_err());
    assert_eq!((plane.counters.tls_agreed.get(), plane.counters.tls_failed.get()), (0, 0));
    under_way.pop();
    let _phone = connecting.await.unwrap();
    bench.opened().await;
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections_and_a_broken_one_for_none() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (ours, new) = (files(&folder), files(&other));
    let before = phone(&ours, &[&version::TLS13]);
    let tls = Arc::new(Tls::new(ours.clone()).unwrap());
    let _watch = tokio::spawn(tls.clone().watch(Duration::from_millis(5)));
    let mut bench = bench_with(patient(), 10, Some(tls)).await;
    let mut old_phone = connect(bench.address, before.clone()).await.unwrap();
    let old = bench.opened().await;

    // A key that does not belong to it: the old one stays.
    fs::copy(&new.certificate, &ours.certificate).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let _second = connect(bench.address, before.clone()).await.unwrap();
    bench.opened().await;

    // Nor is one taken that has run out.
    let (key, mut params) = (KeyPair::generate().unwrap(), CertificateParams::new(vec![NAME.to_owned()]).unwrap());
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    fs::write(&ours.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(&ours.key, key.serialize_pem()).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let _third = connect(bench.address, before.clone()).await.unwrap();
    bench.opened().await;

    fs::copy(&new.certificate, &ours.certificate).unwrap();
    fs::copy(&new.key, &ours.key).unwrap();
    let after = phone(&new, &[&version::TLS13]);
    let deadline = Instant::now() + Duration::from_secs(10);
    while connect(bench.address, after.clone()).await.is_err() {
        assert!(Instant::now() < deadline, "the new certificate is not used");
        while bench.arrivals.try_recv().is_ok() {}
    }
    assert!(connect(bench.address, before).await.is_err());

    old.send(Bytes::from_static(b"still here")).unwrap();
    let mut said = [0; 10];
    old_phone.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"still here");
}

#[tokio::test]
async fn with_an_authority_only_phones_it_has_signed_come_in() {
    let folder = tempfile::tempdir().unwrap();
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let client_ca = folder.path().join("ca.crt");
    fs::write(&client_ca, authority.self_signed(&authority_key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let signed = CertificateParams::new(vec!["phone".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();

    let files = TlsFiles { client_ca: Some(client_ca), ..files(&folder) };
    let mut bench = bench_with(patient(), 10, Some(Arc::new(Tls::new(files.clone()).unwrap()))).await;
    // In TLS 1.3 the client believes in the connection before the server has looked at it.
    if let Ok(mut stranger) = connect(bench.address, phone(&files, &[&version::TLS13])).await {
        assert!(stranger.read(&mut [0; 8]).await.is_err());
    }
    assert_eq!((bench.plane.counters.tls_failed.get(), bench.arrivals.len()), (1, 0));

    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let known = builder
        .with_root_certificates(trust(&files.certificate))
        .with_client_auth_cert(vec![signed.der().clone()], key)
        .unwrap();
    let _phone = connect(bench.address, known).await.unwrap();
    bench.opened().await;
}

#[test]
fn files_that_are_of_no_use_are_explained() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (good, strange) = (files(&folder), files(&other));
    let said = |files: &TlsFiles| files.check().unwrap_err().to_string();
    let gone = TlsFiles { certificate: folder.path().join("gone.crt"), ..good.clone() };
    assert!(said(&gone).contains("tls.certificate: ") && said(&gone).contains("gone.crt can't be read: No such file"));
    let swapped = TlsFiles { certificate: good.key.clone(), key: good.certificate.clone(), client_ca: None };
    assert!(said(&swapped).contains("holds no certificate in PEM form"), "{}", said(&swapped));
    let no_key = TlsFiles { key: good.certificate.clone(), ..good.clone() };
    assert!(said(&no_key).contains("tls.key: ") && said(&no_key).contains("no private key"), "{}", said(&no_key));
    let mixed = TlsFiles { key: strange.key, ..good };
    assert!(said(&mixed).contains("does not belong to the certificate"), "{}", said(&mixed));
}

#[tokio::test]
async fn a_banned_source_hears_nothing_not_even_tls() {
    let folder = tempfile::tempdir().unwrap();
    let tls = Arc::new(Tls::new(files(&folder)).unwrap());
    let door = strict_door(10);
    let banned = "127.0.0.66".parse().unwrap();
    door.guard().ban(Micros(0), banned, None, Duration::from_secs(60), Reason::ManyUsers);
    let bench = bench_behind(door, patient(), 10, Some(tls)).await;
    let mut guesser = connect_from([127, 0, 0, 66], bench.address).await;
    // Whether the kernel takes it does not matter.
    let _ = guesser.write_all(&hello_of_1999()).await;
    assert!(is_turned_away(&mut guesser).await);
    let counters = &bench.plane.counters;
    assert_eq!((counters.tcp_unwelcome.get(), counters.tcp_accepted.get(), counters.tls_failed.get()), (1, 0, 0));
}

#[tokio::test]
async fn handshakes_that_lead_nowhere_use_up_their_sources_allowance_alone() {
    let folder = tempfile::tempdir().unwrap();
    let files = files(&folder);
    let tls = Arc::new(Tls::new(files.clone()).unwrap());
    let mut bench = bench_behind(strict_door(25), patient(), 100, Some(tls)).await;
    let counters = bench.plane.counters.clone();
    // The first counts for ten, and so the second and third; then nothing is left.
    for failed in 1..=3 {
        let mut scanner = connect_from([127, 0, 0, 66], bench.address).await;
        scanner.write_all(OPTIONS).await.unwrap();
        assert!(is_refused(&mut scanner).await);
        while counters.tcp_open.get() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(counters.tls_failed.get(), failed);
    }
    assert!(is_turned_away(&mut connect_from([127, 0, 0, 66], bench.address).await).await);
    assert_eq!((counters.tls_failed.get(), counters.tcp_unwelcome.get()), (3, 1));
    let _phone = connect(bench.address, phone(&files, &[&version::TLS13])).await.unwrap();
    bench.opened().await;
}

#[tokio::test]
async fn a_source_that_never_ends_its_handshakes_delays_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let files = files(&folder);
    let tls = Arc::new(Tls::new(files.clone()).unwrap());
    let mut bench = bench_behind(strict_door(200), patient(), 400, Some(tls)).await;
    let mut endless = Vec::new();
    for _ in 0..limits::HANDSHAKES_OF_ONE + 20 {
        let mut stalled = connect_from([127, 0, 0, 66], bench.address).await;
        stalled.write_all(&hello_of_1999()[..20]).await.unwrap();
        endless.push(stalled);
    }
    let _phone = connect(bench.address, phone(&files, &[&version::TLS13])).await.unwrap();
    bench.opened().await;
    assert_eq!((bench.plane.counters.tls_agreed.get(), bench.plane.counters.tls_failed.get()), (1, 0));
}
