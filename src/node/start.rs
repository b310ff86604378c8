//! Starting: the store and what it remembers, sockets, media plane, engine thread, API, and the tasks between them. In this
//! order, so that nothing is promised before it can be kept.

use crate::api::cors::Cors;
use crate::api::guard::{Auth, Guard};
use crate::api::{self, State};
use crate::apps;
use crate::base::ids::ListenerId;
use crate::base::limits;
use crate::base::rng::Rng;
use crate::board::Board;
use crate::board::metrics::Metrics;
use crate::board::trace::Bounds;
use crate::engine::Engine;
use crate::engine::config::Listener;
use crate::engine::flow::Transport;
use crate::engine::io::Command;
use crate::media::{MediaConfig, MediaPlane};
use crate::net::counters::NetCounters;
use crate::net::tcp::{Patience, TcpPlane};
use crate::net::wake::Waker;
use crate::net::{bind, interfaces};
use crate::node::clock;
use crate::node::config::Config;
use crate::node::driver::{Driver, Outlets, Sources};
use crate::node::events::{EventQueue, NAP, QUEUE};
use crate::node::exchange::Running;
use crate::node::figures::figures;
use crate::node::first_start;
use crate::node::inbox::{Inbox, Order};
use crate::node::stats::Stats;
use crate::node::stop::{self, Signals};
use crate::store::Store;
use crate::store::tenants::DEFAULT_TENANT;
use crate::store::writer::{Writer, WriterConfig};
use anyhow::{Context, Result, bail};
use std::io::IsTerminal;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use tokio::sync::mpsc;

/// How long the engine's thread naps under load.
const ENGINE_NAP: Duration = Duration::from_micros(200);
/// Messages of connections that wait for the engine.
const ARRIVALS: usize = 4_096;
/// How often the database is asked whether an administrator changed something from another process.
const WATCH: Duration = Duration::from_secs(1);

/// Runs the exchange until Ctrl-C or SIGTERM.
pub fn run(config: Config) -> Result<()> {
    let level = std::env::var("RUST_LOG").unwrap_or_else(|_| config.log.level.clone());
    let filter = tracing_subscriber::EnvFilter::try_new(&level)
        .with_context(|| format!("log.level: `{level}` is no filter: use error, warn, info, debug or trace"))?;
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
    // The engine and the media have threads of their own; this is for the API, the database and connections.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(serve(config))
}

/// The listeners of SIP, bound.
struct Sockets {
    udp: Vec<(ListenerId, UdpSocket)>,
    tcp: Vec<(ListenerId, std::net::TcpListener)>,
    listeners: Vec<Listener>,
}

async fn serve(config: Config) -> Result<()> {
    let mut signals = Signals::new()?;
    let store = Store::open(&config.data_dir).await?;
    let recovery = store.recover(clock::wall()).await?;
    if recovery.closed_calls > 0 {
        tracing::warn!("the last run did not end in order: {} calls got the cause `restart`", recovery.closed_calls);
    }
    if recovery.lost > 0 {
        tracing::error!("{} records of the journal are damaged and lost", recovery.lost);
    }
    let epoch = store.next_epoch().await?;
    let passwords = store.bootstrap().await?;
    let (directory, version) = store.directory().await?;
    let bindings = store.bindings(clock::wall()).await?;

    let sockets = bind_all(&config, &store).await?;
    let http = bind::http(config.http.listen)?;
    let http_address = http.local_addr()?;
    let listeners = sockets.listeners.clone();

    let waker = Arc::new(Waker::new()?);
    let inbox = Arc::new(Inbox::new(waker.clone()));
    let events = Arc::new(EventQueue::new(QUEUE));
    let (net, stats) = (Arc::new(NetCounters::default()), Arc::new(Stats::default()));

    let writer_config = WriterConfig { fdatasync: config.journal.fdatasync, ..WriterConfig::default() };
    let (recorded, refused) = (inbox.clone(), inbox.clone());
    let writer = Writer::start(
        &store,
        recovery.journal,
        writer_config,
        move |upto, kept| recorded.recorded(upto, kept),
        move |is_refused| refused.records_refused(is_refused),
    )?;
    let grants = inbox.clone();
    let (media, mut commands) = MediaPlane::start(media_config(&config, &listeners), move |event| grants.media(event))?;
    warn_of_few_ports(&config);

    let engine = Engine::new(config.engine(epoch, listeners.clone()), seed()?, Arc::new(directory), apps::start);
    let appender = writer.clone();
    let outlets = Outlets {
        media: Box::new(move |batch| {
            batch.for_each(|command| commands.send(command));
            commands.flush();
        }),
        records: Box::new(move |records| appender.append(records)),
        events: events.clone(),
    };
    let (arrivals_in, arrivals) = mpsc::channel(ARRIVALS);
    let sources = Sources { sockets: sockets.udp, arrivals, inbox: inbox.clone(), waker: waker.clone() };
    let is_dead = Arc::new(AtomicBool::new(false));
    let thread = {
        let (net, stats, is_dead) = (net.clone(), stats.clone(), is_dead.clone());
        let mut rng = Rng::new(seed()?);
        spawn_engine(is_dead, move || {
            Driver::new(engine, sources, outlets, ENGINE_NAP, net, stats, &mut rng)?.run(bindings);
            Ok(())
        })?
    };

    let patience = Patience::new(config.registration.max_expires);
    let plane = TcpPlane::new(arrivals_in, waker, net.clone(), patience, limits::CONNECTIONS);
    let plane = Arc::new(plane);
    for (id, listener) in sockets.tcp {
        tokio::spawn(plane.clone().serve(id, tokio::net::TcpListener::from_std(listener)?));
    }

    let board = Arc::new(Board::new(Bounds::default()));
    for tenant in store.tenants().await? {
        board.set_calls_before(tenant.id, store.total_calls(Some(tenant.id)).await?);
    }
    let running = Arc::new(Running {
        inbox: inbox.clone(),
        store: store.clone(),
        writer: writer.clone(),
        media: Some(media).into(),
        version: AtomicU64::new(version),
        refreshing: Default::default(),
        is_dead,
    });
    tokio::spawn(fold(events.clone(), board.clone(), running.clone()));
    tokio::spawn(watch(running.clone()));
    let state = Arc::new(State {
        store: store.clone(),
        metrics: Metrics::new(board.clone(), figures(net, stats.clone(), writer.clone(), events)),
        board,
        exchange: running.clone(),
        tenant: DEFAULT_TENANT,
        guard: Guard::new(Auth::None, Vec::new()),
        cors: if config.api.enable_cors { Cors::All } else { Cors::Off },
    });
    let http = tokio::net::TcpListener::from_std(http)?;
    let api = tokio::spawn(api::serve(http, state, std::future::pending()));

    announce(passwords.as_deref(), &listeners, http_address);
    stop::drain(&mut signals, &running, &stats, config.calls.drain_grace).await;
    finish(&running, &inbox, thread, api).await;
    store.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// Ends the engine's thread, then the journal with everything in it, then the media.
async fn finish(
    running: &Arc<Running>,
    inbox: &Inbox,
    thread: JoinHandle<()>,
    api: tokio::task::JoinHandle<Result<(), api::ServeError>>,
) {
    api.abort();
    let _ = inbox.order(Order::Stop);
    let running = running.clone();
    let ended = tokio::task::spawn_blocking(move || {
        let ended = thread.join();
        running.writer.close();
        let media = running.media.lock().map(|mut media| media.take());
        drop(media);
        ended.is_ok()
    });
    if !ended.await.unwrap_or(false) {
        tracing::error!("the engine's thread ended with a defect");
    }
}

/// The engine's thread. A panic there is a defect: it is told, and `/healthz` shows it.
fn spawn_engine(is_dead: Arc<AtomicBool>, run: impl FnOnce() -> Result<()> + Send + 'static) -> Result<JoinHandle<()>> {
    struct Flag(Arc<AtomicBool>);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
    let body = move || {
        let _flag = Flag(is_dead);
        if let Err(error) = run() {
            tracing::error!("the engine's thread can't start: {error:#}");
        }
    };
    Ok(Builder::new().name("engine".into()).spawn(body)?)
}

fn seed() -> Result<[u8; 32]> {
    let mut seed = [0; 32];
    match getrandom::fill(&mut seed) {
        Ok(()) => Ok(seed),
        Err(error) => bail!("the operating system gives no random numbers: {error}"),
    }
}

async fn bind_all(config: &Config, store: &Store) -> Result<Sockets> {
    let tenants = store.tenants().await?;
    let mut sockets = Sockets { udp: Vec::new(), tcp: Vec::new(), listeners: Vec::new() };
    for (index, listener) in config.sip.iter().enumerate() {
        let tenant = tenants.iter().find(|tenant| tenant.name == listener.tenant).map(|tenant| tenant.id);
        let Some(tenant) = tenant else {
            let name = &listener.tenant;
            bail!("sip.listen[{index}].tenant: there is no tenant `{name}`: strowger tenants list shows all");
        };
        let id = ListenerId(u16::try_from(index)?);
        let bound = match listener.transport {
            Transport::Udp => {
                let socket = bind::udp(listener.bind)?;
                let bound = socket.local_addr()?;
                sockets.udp.push((id, socket));
                bound
            }
            Transport::Tcp => {
                let socket = bind::tcp(listener.bind)?;
                let bound = socket.local_addr()?;
                sockets.tcp.push((id, socket));
                bound
            }
        };
        sockets.listeners.extend(config.listener(index, bound, tenant));
    }
    Ok(sockets)
}

/// The addresses phones reach the listeners at, wildcards spelt out.
fn reachable(listeners: &[Listener]) -> Vec<(Transport, SocketAddr)> {
    let mut found = Vec::new();
    for listener in listeners {
        let ips = match listener.bind.ip() {
            ip if ip.is_unspecified() => interfaces::behind_wildcard(ip.is_ipv4()),
            ip => vec![ip],
        };
        found.extend(ips.into_iter().map(|ip| (listener.transport, SocketAddr::new(ip, listener.bind.port()))));
    }
    found
}

fn media_config(config: &Config, listeners: &[Listener]) -> MediaConfig {
    let mut addresses: Vec<IpAddr> = config.rtp.addresses.clone();
    if addresses.is_empty() {
        for (_, address) in reachable(listeners) {
            if !addresses.contains(&address.ip()) {
                addresses.push(address.ip());
            }
        }
    }
    MediaConfig { threads: config.rtp.threads, ports: config.rtp.ports.clone(), ..MediaConfig::new(addresses) }
}

fn warn_of_few_ports(config: &Config) {
    let pairs = (usize::from(*config.rtp.ports.end()) - usize::from(*config.rtp.ports.start())).div_ceil(2);
    if pairs < config.calls.max.saturating_mul(2) {
        tracing::info!(
            "rtp.ports {}-{} is enough for {} calls at once; calls.max is {}",
            config.rtp.ports.start(),
            config.rtp.ports.end(),
            pairs / 2,
            config.calls.max
        );
    }
}

/// Tells whoever started us, and programs that read along, where we listen.
fn announce(passwords: Option<&[(String, String)]>, listeners: &[Listener], http: SocketAddr) {
    if let Some(passwords) = passwords {
        println!("{}", first_start::table(passwords, &reachable(listeners)));
    }
    for listener in listeners {
        println!("listening sip {}:{}", listener.transport.param(), listener.bind);
    }
    println!("listening http {http}");
    println!("ready");
}

/// Folds the engine's events into the board, for ever.
async fn fold(events: Arc<EventQueue>, board: Arc<Board>, running: Arc<Running>) {
    loop {
        for event in events.take().await {
            board.apply(&event);
        }
        if board.needs_snapshot() {
            tracing::warn!("the board lost events and asks the engine for the whole state");
            // If it can't be had now, the next round asks again.
            let _ = running.order(Command::Snapshot).await;
        }
        tokio::time::sleep(NAP).await;
    }
}

/// Notices what an administrator changed from another process, for ever.
async fn watch(running: Arc<Running>) {
    let mut is_well = true;
    loop {
        tokio::time::sleep(WATCH).await;
        match running.refresh_directory(false).await {
            Ok(()) => is_well = true,
            Err(error) if is_well => {
                tracing::warn!("can't look for changes of extensions: {error}");
                is_well = false;
            }
            Err(_) => {}
        }
    }
}
