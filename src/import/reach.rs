//! Routes that no request reaches, and pools to which none leads: unstick refuses a file with one.

use super::imported::{At, Imported, Keys, Route};
use super::value::Value;

/// What a route asks for besides host, path and listener.
const CONDITIONS: [&str; 3] = ["method", "header", "query"];

impl Imported {
    /// Leaves away the pools to which no route leads.
    pub fn forget_pools(&mut self) {
        let routes = &self.routes;
        let is_named =
            |key: &str, name: &str| routes.iter().any(|route| route.keys.get(key).and_then(Value::text) == Some(name));
        self.pools.retain(|pool| is_named("pool", &pool.name) || is_named("fallback", &pool.name));
    }

    /// Leaves away the routes, and the hosts of routes, of which another route takes everything. What was noted of them
    /// stays.
    pub fn forget_unreached(&mut self) {
        let routes = std::mem::take(&mut self.routes);
        let mut places: Vec<Option<usize>> = Vec::new();
        for (nth, route) in routes.iter().enumerate() {
            let before: Vec<&Route> = routes
                .iter()
                .enumerate()
                .filter(|(other, before)| is_before(before, *other, route, nth))
                .map(|(_, route)| route)
                .collect();
            let is_taken = |host: Option<&String>| {
                before.iter().any(|before| match host {
                    Some(host) => before.host.contains(host),
                    None => before.host.is_empty(),
                })
            };
            let host: Vec<String> = route.host.iter().filter(|host| !is_taken(Some(host))).cloned().collect();
            let is_gone = if route.host.is_empty() { is_taken(None) } else { host.is_empty() };
            places.push((!is_gone).then_some(self.routes.len()));
            if !is_gone {
                self.routes.push(Route { host, ..route.clone() });
            }
        }
        for left in &mut self.left_out {
            if let At::Route(index) = left.at {
                left.at = match places.get(index) {
                    Some(Some(place)) => At::Route(*place),
                    Some(None) => At::Top,
                    None => At::Route(self.routes.len() + index - places.len()),
                };
            }
        }
    }
}

/// Whether unstick tries `before` first, and it takes all that fits `route`, where they have a host in common.
fn is_before(before: &Route, its_place: usize, route: &Route, place: usize) -> bool {
    let is_same = before.path == route.path && CONDITIONS.iter().all(|key| before.keys.get(key) == route.keys.get(key));
    let is_first =
        before.priority > route.priority || before.priority == route.priority && is_same && its_place < place;
    let takes_path = before.path == route.path || before.path == "/";
    let takes_listen = before.listen.is_empty()
        || !route.listen.is_empty() && route.listen.iter().all(|name| before.listen.contains(name));
    is_first && takes_path && takes_listen && asks_no_more(&before.keys, &route.keys)
}

/// Whether all that these keys ask for is asked for by others, too.
fn asks_no_more(keys: &Keys, others: &Keys) -> bool {
    CONDITIONS.iter().all(|key| match (keys.get(key), others.get(key)) {
        (None, _) => true,
        (Some(Value::Table(Keys(tests))), Some(Value::Table(others))) => {
            tests.iter().all(|(name, expected)| others.get(name) == Some(expected))
        }
        (Some(one), Some(other)) => listed(other).iter().all(|method| listed(one).contains(method)),
        (Some(_), None) => false,
    })
}

/// The methods of a key: one, or a list.
fn listed(methods: &Value) -> Vec<&str> {
    match methods {
        Value::List(list) => list.iter().filter_map(Value::text).collect(),
        one => one.text().into_iter().collect(),
    }
}
