//! The ports of all programs, taken before any of them starts: who finds one taken is told which, and how to change it.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context;
use chassis::config::ExitWith;
use tokio::net::TcpListener;

use super::plan::{Plan, collisions};

/// `EX_CANTCREAT` of sysexits.h.
const TAKEN: u8 = 73;

#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) store: TcpListener,
    pub(crate) cache: TcpListener,
    pub(crate) gateways: Vec<TcpListener>,
    pub(crate) worker: TcpListener,
    pub(crate) lb: lb::Listeners,
}

/// Where the programs are, as one calls them.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) store: SocketAddr,
    pub(crate) cache: SocketAddr,
    pub(crate) gateways: Vec<SocketAddr>,
    pub(crate) worker: SocketAddr,
    pub(crate) lb: SocketAddr,
    /// Of operators of the balancer.
    pub(crate) lb_admin: Option<SocketAddr>,
}

impl Bound {
    /// # Errors
    /// That an address is taken, or cannot be listened at.
    pub(crate) async fn bind(plan: &Plan) -> anyhow::Result<Self> {
        if let Some(sentence) = collisions(&plan.listens()) {
            return Err(ExitWith { status: 64, sentence }.into());
        }
        let mut gateways = Vec::new();
        for gateway in &plan.gateways {
            gateways.push(listen("gateway", "LONGSHORE_GATEWAY_LISTEN", gateway.listen).await?);
        }
        let balancer = listen("balancer", "LONGSHORE_LB_LISTEN", plan.lb.listen()).await?;
        Ok(Self {
            gateways,
            store: listen("store", "LONGSHORE_STORE_LISTEN", plan.store.listen).await?,
            cache: listen("cache", "LONGSHORE_CACHE_LISTEN", plan.cache.listen).await?,
            worker: listen("worker", "LONGSHORE_WORKER_LISTEN", plan.worker.listen).await?,
            lb: lb::Listeners::beside(balancer, &plan.lb).await?,
        })
    }

    /// # Errors
    /// When the system does not say what it bound.
    pub(crate) fn places(&self) -> std::io::Result<Places> {
        let gateways: std::io::Result<Vec<_>> = self.gateways.iter().map(place).collect();
        Ok(Places {
            store: place(&self.store)?,
            cache: place(&self.cache)?,
            gateways: gateways?,
            worker: place(&self.worker)?,
            lb: place(&self.lb.plain)?,
            lb_admin: self.lb.admin.as_ref().map(place).transpose()?,
        })
    }
}

impl Places {
    pub(crate) fn all(&self) -> impl Iterator<Item = SocketAddr> {
        [self.store, self.cache].into_iter().chain(self.gateways.clone()).chain([self.worker, self.lb])
    }
}

async fn listen(what: &str, variable: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    match chassis::listen::listen(address).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            Err(ExitWith { status: TAKEN, sentence: taken(what, variable, address) }.into())
        }
        Err(error) => Err(error).with_context(|| format!("listening at {address} for the {what} ({variable})")),
    }
}

fn taken(what: &str, variable: &str, address: SocketAddr) -> String {
    let other = SocketAddr::new(address.ip(), address.port().wrapping_add(100));
    let list = if variable == "LONGSHORE_GATEWAY_LISTEN" {
        " (one address for each gateway, separated by commas)"
    } else {
        ""
    };
    format!(
        "{address}, where the {what} should listen, is in use: stop the other program (another `longshore up`?), \
         or choose another address, such as {variable}={other}{list}."
    )
}

/// Where to call a listener: one that listens everywhere is called here.
fn place(listener: &TcpListener) -> std::io::Result<SocketAddr> {
    let mut address = listener.local_addr()?;
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    Ok(address)
}
