//! Starting: the store and what it remembers, sockets, media plane, engine thread, API, and the tasks between them. In this
//! order, so that nothing is promised before it can be kept: the first start's extensions are made, and their passwords shown,
//! when all that usually fails has not failed.

use crate::api::cors::Cors;
use crate::api::guard::{Auth, Guard};
use crate::api::{self, State};
use crate::apps;
use crate::base::rng::Rng;
use crate::board::Board;
use crate::board::metrics::Metrics;
use crate::board::trace::Bounds;
use crate::engine::Engine;
use crate::engine::config::Listener;
use crate::engine::flow::Transport;
use crate::engine::record::Binding;
use crate::media::{MediaConfig, MediaHandle, MediaPlane};
use crate::net::bind;
use crate::net::counters::NetCounters;
use crate::net::guard::{Door, Guard as SipGuard};
use crate::net::tcp::{Arrival, Patience, TcpPlane};
use crate::net::wake::Waker;
use crate::node::bans::BanKeeper;
use crate::node::certificates;
use crate::node::clock;
use crate::node::config::{self, Config};
use crate::node::driver::{Driver, Outlets, Sources};
use crate::node::events::{EventQueue, QUEUE};
use crate::node::exchange::Running;
use crate::node::figures::figures;
use crate::node::files::{self, Files};
use crate::node::first_start;
use crate::node::inbox::Inbox;
use crate::node::sockets::{Sockets, reachable, rehome};
use crate::node::stats::Stats;
use crate::node::stop::{self, End, Signals};
use crate::node::systemd::Systemd;
use crate::node::tasks;
use crate::store::Store;
use crate::store::recovery::Recovery;
use crate::store::tenants::DEFAULT_TENANT;
use crate::store::writer::{Writer, WriterConfig, WriterHandle};
use anyhow::{Result, anyhow, bail};
use std::io::{IsTerminal, Write};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tracing_subscriber::EnvFilter;

/// How long the engine's thread naps under load.
const ENGINE_NAP: Duration = Duration::from_micros(200);
/// Messages of connections that wait for the engine.
const ARRIVALS: usize = 4_096;
/// How long tasks may take to end when everything is written.
const TASKS_END: Duration = Duration::from_secs(1);

/// Runs the exchange until Ctrl-C or SIGTERM; the code says whether it ended in order.
pub fn run(config: Config) -> Result<ExitCode> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(text) if !text.is_empty() => {
            EnvFilter::try_new(&text).map_err(|error| anyhow!("RUST_LOG: `{text}` is no filter: {error}"))?
        }
        _ => config::log_filter(&config.log.level).map_err(|message| anyhow!("log.level: {message}"))?,
    };
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
    let files = files::raise();
    // The engine and the media have threads of their own; this is for the API, the database and connections.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let code = runtime.block_on(serve(config, files));
    runtime.shutdown_timeout(TASKS_END);
    code
}

/// What the parts share.
struct Shared {
    waker: Arc<Waker>,
    inbox: Arc<Inbox>,
    events: Arc<EventQueue>,
    net: Arc<NetCounters>,
    door: Arc<Door>,
    stats: Arc<Stats>,
}

async fn serve(config: Config, files: Files) -> Result<ExitCode> {
    let mut signals = Signals::new()?;
    let systemd = Arc::new(Systemd::from_environment()?);
    let (store, recovery) = open_store(&config.data_dir).await?;
    let sockets = Sockets::bind(&config, &store.tenants().await?)?;
    let listeners = sockets.listeners.clone();
    let tls = certificates::open(&config, &listeners)?;
    let http = TcpListener::from_std(bind::http(config.http.listen)?)?;
    let http_address = http.local_addr()?;
    let shared = shared(&config)?;
    let (media, media_handle) = start_media(&config, &listeners, files, &shared.inbox)?;

    if let Some(passwords) = store.bootstrap().await? {
        say(&first_start::table(&passwords, &reachable(&listeners)));
    }
    let (directory, version) = store.directory().await?;
    let engine_config = config.engine(store.next_epoch().await?, listeners.clone());
    let engine = Engine::new(engine_config, seed()?, Arc::new(directory), apps::start);
    let mut bindings = store.bindings(clock::wall()).await?;
    let homeless = rehome(&mut bindings, &listeners);
    if homeless > 0 {
        tracing::warn!("{homeless} contacts were registered at addresses we no longer listen on; they are dropped");
    }
    let bans = BanKeeper::start(&store, &shared.door, &bindings).await?;
    let journal = WriterConfig { fdatasync: config.journal.fdatasync, ..WriterConfig::default() };
    let (recorded, refused) = (shared.inbox.clone(), shared.inbox.clone());
    let writer = Writer::start(
        &store,
        recovery.journal,
        journal,
        move |upto, kept| recorded.recorded(upto, kept),
        move |is_refused| refused.records_refused(is_refused),
    )?;
    let (arrivals, messages) = mpsc::channel(ARRIVALS);
    let udp = Sources {
        sockets: sockets.udp,
        arrivals: messages,
        inbox: shared.inbox.clone(),
        waker: shared.waker.clone(),
        door: shared.door.clone(),
    };
    let outlets = outlets(media_handle, &writer, &shared);
    let (thread, ended) = start_engine(engine, udp, outlets, bindings, &shared)?;

    let plane = tcp_plane(&config, arrivals, files, &shared);
    for (id, transport, listener) in sockets.streams {
        let tls = tls.clone().filter(|_| transport == Transport::Tls);
        tokio::spawn(plane.clone().serve(id, TcpListener::from_std(listener)?, tls));
    }
    let running = Arc::new(Running::new(&shared.inbox, &store, &writer, media, version));
    let stop_api = serve_api(&config, http, &running, &shared).await?;
    tokio::spawn(tasks::watch(running.clone(), bans));
    // It answers when the bindings of before are its own. If it never does, `ended` says why below.
    if running.beat().await.is_ok() {
        announce(&listeners, http_address);
        systemd.ready();
    }
    let signs = tokio::spawn(tasks::give_signs_of_life(systemd.clone(), running.clone()));

    let end = tokio::select! {
        end = stop::drain(&mut signals, &running, &shared.stats, config.calls.drain_grace, &systemd) => end,
        _ = ended => End::Defect,
    };
    drop(stop_api);
    signs.abort();
    stop::finish(end, running, thread).await
}

fn shared(config: &Config) -> Result<Shared> {
    let waker = Arc::new(Waker::new()?);
    let guard = SipGuard::new(config.guard.clone(), &mut Rng::new(seed()?));
    Ok(Shared {
        inbox: Arc::new(Inbox::new(waker.clone())),
        waker,
        events: Arc::new(EventQueue::new(QUEUE)),
        net: Arc::default(),
        door: Arc::new(Door::new(guard, clock::mono)),
        stats: Arc::default(),
    })
}

fn tcp_plane(config: &Config, arrivals: mpsc::Sender<Arrival>, files: Files, shared: &Shared) -> Arc<TcpPlane> {
    let patience = Patience::new(config.registration.max_expires);
    let (waker, net, door) = (shared.waker.clone(), shared.net.clone(), shared.door.clone());
    Arc::new(TcpPlane::new(arrivals, waker, net, patience, door, files.connections))
}

/// The store as the last run left it. What an administrator should know of that is logged.
async fn open_store(data_dir: &Path) -> Result<(Store, Recovery)> {
    let store = Store::open(data_dir).await?;
    if let Some(text) = store.other_seals().await? {
        tracing::error!("{text}");
    }
    let recovery = store.recover(clock::wall()).await?;
    if recovery.closed_calls > 0 {
        tracing::warn!("the last run did not end in order: {} calls got the cause `restart`", recovery.closed_calls);
    }
    if recovery.lost > 0 {
        tracing::error!("{} records of the journal are damaged and lost", recovery.lost);
    }
    Ok((store, recovery))
}

fn start_media(
    config: &Config,
    listeners: &[Listener],
    files: Files,
    inbox: &Arc<Inbox>,
) -> Result<(MediaPlane, MediaHandle)> {
    let mut addresses: Vec<IpAddr> = config.rtp.addresses.clone();
    if addresses.is_empty() {
        for (_, address) in reachable(listeners) {
            if !addresses.contains(&address.ip()) {
                addresses.push(address.ip());
            }
        }
    }
    let ports = config.rtp.ports.clone();
    let room = room(&ports, addresses.len(), config.calls.max);
    let media =
        MediaConfig { threads: config.rtp.threads, ports, other_files: files.but_audio, ..MediaConfig::new(addresses) };
    let inbox = inbox.clone();
    let (plane, handle) = MediaPlane::start(media, move |event| inbox.media(event))?;
    // Where fewer ports can be opened than there are, that has been told with the calls they are enough for.
    if let (None, Some(room)) = (plane.shortage(), room) {
        tracing::info!("{room}");
    }
    Ok((plane, handle))
}

/// How many calls the RTP ports are enough for, when that is fewer than are allowed.
fn room(ports: &RangeInclusive<u16>, addresses: usize, max: usize) -> Option<String> {
    let (low, high) = (ports.start(), ports.end());
    let each = (usize::from(*high) - usize::from(*low)).div_ceil(2) / 2;
    let all = each.saturating_mul(addresses);
    let at = if addresses > 1 { format!(" at {addresses} addresses, {each} at each,") } else { String::new() };
    (all < max).then(|| format!("rtp.ports {low}-{high}{at} is enough for {all} calls at once; calls.max is {max}"))
}

fn outlets(mut media: MediaHandle, writer: &WriterHandle, shared: &Shared) -> Outlets {
    let writer = writer.clone();
    Outlets {
        media: Box::new(move |batch| {
            batch.for_each(|command| media.send(command));
            media.flush();
        }),
        records: Box::new(move |records| writer.append(records)),
        events: shared.events.clone(),
    }
}

/// The engine's thread; the receiver hears when it ends, in order or by a defect.
fn start_engine(
    engine: Engine,
    sources: Sources,
    outlets: Outlets,
    bindings: Vec<Arc<Binding>>,
    shared: &Shared,
) -> Result<(JoinHandle<()>, oneshot::Receiver<()>)> {
    let (alive, ended) = oneshot::channel::<()>();
    let (net, stats) = (shared.net.clone(), shared.stats.clone());
    let mut rng = Rng::new(seed()?);
    let body = move || {
        // Dropped with the thread, a panic included.
        let _alive = alive;
        match Driver::new(engine, sources, outlets, ENGINE_NAP, net, stats, &mut rng) {
            Ok(driver) => driver.run(bindings),
            Err(error) => tracing::error!("the engine's thread can't start: {error:#}"),
        }
    };
    Ok((Builder::new().name("engine".into()).spawn(body)?, ended))
}

fn seed() -> Result<[u8; 32]> {
    let mut seed = [0; 32];
    match getrandom::fill(&mut seed) {
        Ok(()) => Ok(seed),
        Err(error) => bail!("the operating system gives no random numbers: {error}"),
    }
}

/// Serves the API until what is returned is dropped.
/// Whose pages may ask though nobody is asked who they are.
fn trusted(config: &Config) -> Vec<String> {
    let origins = config.api.enable_cors.then_some(&config.api.cors_origins).into_iter().flatten();
    origins.filter_map(|origin| origin.to_str().ok().map(str::to_owned)).collect()
}

async fn serve_api(
    config: &Config,
    http: TcpListener,
    running: &Arc<Running>,
    shared: &Shared,
) -> Result<oneshot::Sender<()>> {
    let store = running.store.clone();
    let board = Arc::new(Board::new(Bounds::default()));
    for tenant in store.tenants().await? {
        board.set_calls_before(tenant.id, store.total_calls(Some(tenant.id)).await?);
    }
    let events = shared.events.clone();
    board.set_source(Box::new(move || events.take()));
    tokio::spawn(tasks::fold(shared.events.clone(), board.clone(), running.clone()));
    let (net, door, stats) = (shared.net.clone(), shared.door.clone(), shared.stats.clone());
    let figures = figures(net, door, stats, running.writer.clone(), shared.events.clone());
    let state = Arc::new(State {
        store,
        metrics: Metrics::new(board.clone(), figures),
        board,
        exchange: running.clone(),
        tenant: DEFAULT_TENANT,
        guard: Guard::new(Auth::None, trusted(config)),
        cors: match (config.api.enable_cors, config.api.cors_origins.as_slice()) {
            (false, _) => Cors::Off,
            (true, []) => Cors::All,
            (true, origins) => Cors::Only(origins.to_vec()),
        },
    });
    let (stop, stopped) = oneshot::channel();
    let stopped = async {
        let _ = stopped.await;
    };
    tokio::spawn(async move {
        if let Err(error) = api::serve(http, state, stopped).await {
            tracing::error!("the REST API ended: {error}");
        }
    });
    Ok(stop)
}

/// Tells whoever started us, and programs that read along, where we listen.
fn announce(listeners: &[Listener], http: SocketAddr) {
    for listener in listeners {
        say(&format!("listening sip {}:{}", listener.transport.param(), listener.bind));
    }
    say(&format!("listening http {http}"));
    say("ready");
}

/// A line on standard output. Whoever does not read it does not end us.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_ports_are_told_in_one_figure() {
        let said = "rtp.ports 10000-20000 is enough for 2500 calls at once; calls.max is 10000";
        assert_eq!(room(&(10_000..=20_000), 1, 10_000).as_deref(), Some(said));
        let said =
            "rtp.ports 10000-20000 at 2 addresses, 2500 at each, is enough for 5000 calls at once; calls.max is 10000";
        assert_eq!(room(&(10_000..=20_000), 2, 10_000).as_deref(), Some(said));
        assert_eq!(room(&(10_000..=20_000), 2, 5_000), None);
    }
}
