//! Which route needs which scope: one table. A route that is not in it is refused.

use std::collections::HashMap;
use std::sync::LazyLock;

use http::Method;
use protocol::access::Scope;

use super::Principal;

/// What a request must bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing: it holds nothing that is anybody's.
    Open,
    /// Any key that is good.
    Known,
    Of(Scope),
    /// The scope, and to be of the tenant `default`: it is about what all tenants share.
    System(Scope),
}

use Need::{Known, Of, Open, System};
use Scope::{Admin, Operate, Read, Submit, Work};

type Needs = &'static [(&'static str, Need)];

/// Every route of the router, in its order.
const ROUTES: &[(&str, Needs)] = &[
    ("/longtask", &[("POST", Of(Submit))]),
    ("/jobs", &[("GET", Of(Read))]),
    ("/jobs:batch", &[("POST", Of(Submit))]),
    ("/jobs:retry", &[("GET", Of(Read)), ("POST", Of(Operate))]),
    ("/jobs:retry/{id}", &[("DELETE", Of(Operate))]),
    ("/jobs/{id}", &[("GET", Of(Read)), ("PUT", Of(Submit)), ("DELETE", Of(Operate))]),
    ("/jobs/{id}/events", &[("GET", Of(Read))]),
    ("/jobs/{id}/result", &[("GET", Of(Read))]),
    ("/jobs/{id}/payload", &[("GET", Of(Read))]),
    ("/jobs/{id}/logs", &[("GET", Of(Read))]),
    ("/jobs/{id}/explain", &[("GET", Of(Read))]),
    ("/jobs/{id}/cancel", &[("POST", Of(Operate))]),
    ("/jobs/{id}/retry", &[("POST", Of(Operate))]),
    ("/leases", &[("POST", System(Work))]),
    ("/leases/{id}/heartbeat", &[("POST", System(Work))]),
    ("/leases/{id}/complete", &[("POST", System(Work))]),
    ("/leases/{id}/fail", &[("POST", System(Work))]),
    ("/leases/{id}/release", &[("POST", System(Work))]),
    ("/queues", &[("GET", System(Read))]),
    ("/queues/{queue}/pause", &[("POST", System(Operate))]),
    ("/queues/{queue}/resume", &[("POST", System(Operate))]),
    ("/schedules", &[("GET", Of(Read))]),
    ("/schedules/{name}", &[("GET", Of(Read)), ("PUT", Of(Operate)), ("DELETE", Of(Operate))]),
    ("/schedules/{name}/pause", &[("POST", Of(Operate))]),
    ("/schedules/{name}/resume", &[("POST", Of(Operate))]),
    ("/schedules/{name}/run", &[("POST", Of(Operate))]),
    ("/webhooks", &[("GET", System(Read))]),
    ("/webhooks/{name}", &[("GET", System(Read)), ("PUT", System(Operate)), ("DELETE", System(Operate))]),
    ("/webhooks/{name}/enable", &[("POST", System(Operate))]),
    ("/webhooks/{name}/disable", &[("POST", System(Operate))]),
    ("/webhooks/{name}/rotate", &[("POST", System(Operate))]),
    ("/webhooks/{name}/deliveries", &[("GET", System(Read))]),
    ("/webhooks/{name}/deliveries/{id}/resend", &[("POST", System(Operate))]),
    ("/webhooks/{name}/resend", &[("POST", System(Operate))]),
    ("/workers", &[("GET", System(Read))]),
    ("/tenants", &[("GET", System(Read))]),
    ("/tenants/{tenant}", &[("PUT", System(Operate))]),
    ("/data", &[("GET", Of(Read))]),
    ("/data/{key}", &[("GET", Of(Read)), ("PUT", Of(Submit)), ("DELETE", Of(Submit))]),
    ("/bytes/{key}", &[("GET", Of(Read)), ("PUT", Of(Submit))]),
    ("/cache/debug/{key}", &[("GET", Of(Read))]),
    ("/cache/{key}", &[("DELETE", Of(Operate))]),
    ("/cache:invalidate", &[("POST", Of(Operate))]),
    ("/keys", &[("GET", Of(Admin)), ("POST", Of(Admin))]),
    ("/keys/{id}", &[("GET", Of(Admin)), ("DELETE", Of(Admin))]),
    ("/keys/{id}/rotate", &[("POST", Of(Admin))]),
    ("/keys/{id}/limits", &[("PUT", Of(Admin))]),
    ("/audit", &[("GET", Of(Admin))]),
    ("/openapi.json", &[("GET", Open)]),
    ("/docs", &[("GET", Open)]),
    ("/docs/{file}", &[("GET", Open)]),
    ("/console", &[("GET", Open)]),
    ("/console/", &[("GET", Open)]),
    ("/console/{page}", &[("GET", Open)]),
    ("/console/jobs/{id}", &[("GET", Open)]),
    ("/console/assets/{file}", &[("GET", Open)]),
    ("/console/events", &[("GET", System(Read))]),
    ("/console/session", &[("GET", Known), ("POST", Open), ("DELETE", Known)]),
];

static BY_PATH: LazyLock<HashMap<&str, Needs>> = LazyLock::new(|| ROUTES.iter().copied().collect());

impl Need {
    /// Of a route; `None`: nobody wrote it into the table.
    pub(crate) fn of(path: &str, method: &Method) -> Option<Self> {
        let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
        BY_PATH.get(path)?.iter().find(|(known, _)| *known == method).map(|(_, need)| *need)
    }

    /// What a route answers to, as in `Allow`; `None`: it is not in the table.
    pub(super) fn methods_of(path: &str) -> Option<String> {
        let methods = BY_PATH.get(path)?.iter().map(|(method, _)| if *method == "GET" { "GET,HEAD" } else { method });
        Some(methods.collect::<Vec<_>>().join(","))
    }

    /// What the caller lacks, as words to put behind "needs"; `None`: nothing.
    pub(super) fn lacks(self, principal: &Principal) -> Option<(Scope, &'static str)> {
        match self {
            Open | Known => None,
            Of(scope) | System(scope) if !principal.scopes.allow(scope) => Some((scope, "")),
            Of(_) => None,
            System(scope) => (!principal.tenant.is_default()).then_some((scope, " of the tenant default")),
        }
    }
}

/// Every route with what it needs.
#[cfg(test)]
pub(crate) fn all() -> impl Iterator<Item = (&'static str, &'static str, Need)> {
    ROUTES.iter().flat_map(|(path, needs)| needs.iter().map(|(method, need)| (*path, *method, *need)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_need_is_met_by_its_scope_and_where_all_share_by_the_default_tenant() {
        let principal = |scopes: &str, tenant: &str| Principal {
            scopes: protocol::access::Scopes::of_words(scopes),
            tenant: tenant.parse().expect("a tenant"),
            ..Principal::of("a", protocol::access::Scopes::default())
        };
        let check = |need: Need, scopes: &str, tenant: &str, is_met: bool| {
            assert_eq!(need.lacks(&principal(scopes, tenant)).is_none(), is_met, "{need:?} {scopes} {tenant}");
        };
        check(Open, "", "acme", true);
        check(Known, "", "acme", true);
        check(Of(Read), "read", "acme", true);
        check(Of(Read), "submit work operate", "acme", false);
        check(Of(Operate), "admin", "acme", true);
        check(System(Operate), "operate", "default", true);
        check(System(Operate), "admin", "acme", false);
        check(System(Operate), "read", "default", false);
    }

    #[test]
    fn head_needs_what_get_does_and_an_unknown_route_is_none() {
        assert_eq!(Need::of("/jobs/{id}", &Method::HEAD), Some(Of(Read)));
        assert_eq!(Need::of("/jobs/{id}", &Method::PATCH), None);
        assert_eq!(Need::of("/nothing", &Method::GET), None);
        assert_eq!(Need::methods_of("/jobs/{id}").as_deref(), Some("GET,HEAD,PUT,DELETE"));
        assert_eq!(Need::methods_of("/nothing"), None);
    }
}
