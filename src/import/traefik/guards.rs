//! Lists of clients that are let in.

use super::Importer;
use super::conditions::network;
use super::effects::Effects;
use super::middlewares::Applied;
use super::routers::Group;

impl Importer<'_> {
    /// `ipAllowList`. Without a strategy Traefik compares the peer; unstick compares the client that `trusted_proxies`
    /// name. Where these may differ, the route is closed.
    pub(super) fn allow_list(&mut self, applied: &Applied<'_>, group: &Group, effects: &mut Effects) {
        let Applied { node, said, router } = applied;
        let ranges = node.texts_at("sourceRange");
        let networks: Option<Vec<_>> = ranges.iter().map(|range| network(range)).collect();
        let networks = networks.filter(|networks| !networks.is_empty());
        let has_strategy = node.get("ipStrategy").is_some_and(|node| !node.entries().is_empty());
        match networks {
            Some(networks) if !has_strategy && !group.trusts => effects.let_in(&networks),
            None => {
                effects.is_closed = true;
                let why = "this list is empty, or has what is no network; its routes answer 403";
                self.of_router(*router, &node.place, said.clone(), why, "write `allow`, then remove `deny`");
            }
            Some(_) if has_strategy => effects.is_closed = true,
            Some(_) => {
                effects.is_closed = true;
                let why = "Traefik compares the address of the proxy in front of it here, unstick that of the client \
                           behind it; its routes answer 403";
                self.of_router(
                    *router,
                    &node.place,
                    said.clone(),
                    why,
                    "write `allow` as it is meant, then remove `deny`",
                );
            }
        }
        if node.number_at("rejectStatusCode").is_some_and(|status| status != 403) {
            let said = format!("{said}.rejectStatusCode");
            self.of_router(*router, &node.place, said, "who is not let in gets a 403", "see [errors]");
        }
    }
}
