//! The certificate of SIP over TLS: the configured one, or one of our own making in the data directory.

use crate::engine::config::Listener;
use crate::engine::flow::Transport;
use crate::net::certificate;
use crate::net::tls::{Tls, TlsError, TlsFiles, WATCH};
use crate::node::config::Config;
use crate::node::sockets::reachable;
use std::sync::Arc;

/// None when nobody listens for TLS. From here on the files are watched.
pub fn open(config: &Config, listeners: &[Listener]) -> Result<Option<Arc<Tls>>, TlsError> {
    if !listeners.iter().any(|listener| listener.transport == Transport::Tls) {
        return Ok(None);
    }
    let (certificate, key) = match config.tls.identity.clone() {
        Some(identity) => identity,
        None => certificate::of_our_own(&config.data_dir, names(listeners))?,
    };
    let tls = Arc::new(Tls::new(TlsFiles { certificate, key, client_ca: config.tls.client_ca.clone() })?);
    tokio::spawn(tls.clone().watch(WATCH));
    Ok(Some(tls))
}

/// What phones may call us: this host's name, and the addresses they reach us at.
fn names(listeners: &[Listener]) -> Vec<String> {
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    // A certificate's name is ASCII; other host names are for the network's eyes only.
    let mut names: Vec<String> = host.into_iter().filter(|name| !name.is_empty() && name.is_ascii()).collect();
    let advertised = listeners.iter().filter_map(|listener| listener.advertise);
    let bound = reachable(listeners).into_iter().map(|(_, address)| address);
    for address in advertised.chain(bound) {
        let name = address.ip().to_string();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
