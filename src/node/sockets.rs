//! The listening sockets of SIP as configured, bound, and what a restart with other listeners makes of old contacts.

use crate::base::ids::ListenerId;
use crate::engine::config::Listener;
use crate::engine::flow::Transport;
use crate::engine::record::Binding;
use crate::net::{bind, interfaces};
use crate::node::config::Config;
use crate::node::rest;
use crate::store::tenants::TenantRow;
use anyhow::{Result, bail};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

pub struct Sockets {
    pub udp: Vec<(ListenerId, UdpSocket)>,
    /// For connections: TCP and TLS.
    pub streams: Vec<(ListenerId, Transport, TcpListener)>,
    /// Indexed by `ListenerId`.
    pub listeners: Vec<Listener>,
}

impl Sockets {
    pub fn bind(config: &Config, tenants: &[TenantRow]) -> Result<Sockets> {
        let mut sockets = Sockets { udp: Vec::new(), streams: Vec::new(), listeners: Vec::new() };
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
                transport @ (Transport::Tcp | Transport::Tls) => {
                    let socket = bind::connections(listener.bind, transport)?;
                    let bound = socket.local_addr()?;
                    sockets.streams.push((id, transport, socket));
                    bound
                }
            };
            sockets.listeners.extend(config.listener(index, bound, tenant));
        }
        if sockets.udp.len() > rest::SOCKETS {
            bail!("sip.listen: {} UDP listeners, at most {} are possible", sockets.udp.len(), rest::SOCKETS);
        }
        Ok(sockets)
    }
}

/// The addresses phones reach the listeners at, wildcards spelt out.
pub fn reachable(listeners: &[Listener]) -> Vec<(Transport, SocketAddr)> {
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

/// Contacts of before the restart, on the listeners of now: the configuration may list them in another order. A contact no
/// listener can reach any more is dropped; its phone has to register again. Returns how many were.
pub fn rehome(bindings: &mut Vec<Arc<Binding>>, listeners: &[Listener]) -> usize {
    let reaches = |listener: &Listener, binding: &Binding| {
        let (ip, local) = (listener.bind.ip(), binding.flow.local);
        let is_address = ip == local || (ip.is_unspecified() && ip.is_ipv4() == local.is_ipv4());
        listener.transport == binding.flow.transport && is_address
    };
    let before = bindings.len();
    bindings.retain_mut(|binding| {
        let same = listeners.get(usize::from(binding.flow.listener.0)).filter(|listener| reaches(listener, binding));
        let Some(home) = same.or_else(|| listeners.iter().find(|listener| reaches(listener, binding))) else {
            return false;
        };
        if home.id != binding.flow.listener {
            Arc::make_mut(binding).flow.listener = home.id;
        }
        true
    });
    before - bindings.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::TenantId;
    use crate::base::now::Timestamp;
    use crate::engine::flow::Flow;

    fn listener(id: u16, transport: Transport, bind: &str) -> Listener {
        let bind = bind.parse().unwrap();
        Listener { id: ListenerId(id), transport, bind, advertise: None, tenant: TenantId(1) }
    }

    fn binding(listener: u16, transport: Transport, local: &str) -> Arc<Binding> {
        Arc::new(Binding {
            tenant: TenantId(1),
            extension: "1001".into(),
            key: "k".into(),
            uri: "sip:1001@192.0.2.1".into(),
            params: "".into(),
            q: 1000,
            flow: Flow {
                listener: ListenerId(listener),
                transport,
                local: local.parse().unwrap(),
                remote: "192.0.2.1:5060".parse().unwrap(),
                connection: None,
            },
            expires: Timestamp(0),
            call_id: "c".into(),
            cseq: 1,
            user_agent: "".into(),
            path: Box::default(),
            allow: "".into(),
            registered_at: Timestamp(0),
        })
    }

    #[test]
    fn contacts_follow_their_listener_or_go() {
        use Transport::{Tcp, Udp};
        let listeners =
            [listener(0, Tcp, "0.0.0.0:5060"), listener(1, Udp, "192.0.2.9:5060"), listener(2, Udp, "0.0.0.0:5070")];
        let mut bindings = vec![
            binding(0, Udp, "192.0.2.9"),
            binding(2, Udp, "192.0.2.9"),
            binding(7, Tcp, "192.0.2.7"),
            binding(1, Udp, "2001:db8::1"),
        ];
        assert_eq!(rehome(&mut bindings, &listeners), 1);
        let homes: Vec<u16> = bindings.iter().map(|b| b.flow.listener.0).collect();
        assert_eq!(homes, [1, 2, 0]);
    }
}
