//! `limit_req`: how many requests who may send.

use super::grammar::Directive;
use super::scope::Scope;
use super::{Draft, Importer, left, units};

/// What may be different: why, and what to do.
const DIFFERENCES: [(&str, &str); 5] = [
    (
        "its key is more than an address, or only that of some; here all requests of an address count together",
        "a larger number, or routes of their own for those who are not limited",
    ),
    ("nginx lets requests without the header pass; here they count by address", "nothing, or another route"),
    ("nginx makes requests of the burst wait; here they pass at once", "a smaller `burst`, if that is too much"),
    ("nginx answers 503 to what is too much, unstick 429 with Retry-After", "nothing, unless clients test it"),
    ("each route counts for itself, nginx all of this zone together", "a smaller number, if it matters"),
];

impl<'t> Importer<'t> {
    /// `limit_req` with its zone.
    pub(super) fn rate(&mut self, draft: &mut Draft, scope: &Scope<'t>) {
        let items = scope.nearest("limit_req");
        for item in items.iter().skip(1) {
            draft.left.push(left(item, "a route has one rate", "keep the one that matters most"));
        }
        let Some(item) = items.first() else { return };
        let zones = self.http.iter().filter(|zone| zone.name == "limit_req_zone");
        let name_of =
            |zone: &Directive| option(zone, "zone").and_then(|zone| zone.split(':').next().map(str::to_owned));
        let zone = zones.into_iter().find(|zone| name_of(zone).as_deref() == option(item, "zone"));
        let rate = zone.and_then(|zone| units::rate(option(zone, "rate")?));
        let per = zone.and_then(|zone| self.per(zone.arg(0), scope));
        let (Some((requests, time)), Some((per, is_exact))) = (rate, per) else {
            let why = "its key is no address, header or host that is there, so nothing is limited here";
            draft.left.push(left(item, why, "write `rate` with another key"));
            return;
        };
        let burst: i64 = option(item, "burst").and_then(|burst| burst.parse().ok()).unwrap_or_default();
        let is_delayed = burst > 0 && !item.args.iter().any(|arg| arg == "nodelay");
        // A zone may be that of several.
        let is_own = scope.own().iter().any(|own| own.name == "limit_req");
        let is_shared = !is_own || users(self.http, option(item, "zone").unwrap_or_default()) > 1;
        let answers_503 = scope.one("limit_req_status").is_none_or(|status| status.arg(0) != "429");
        let applies = [!is_exact, per.starts_with("header:"), is_delayed, answers_503, is_shared];
        for ((why, what_to_do), _) in DIFFERENCES.iter().zip(applies).filter(|(_, applies)| *applies) {
            draft.left.push(left(item, *why, *what_to_do));
        }
        draft.route.keys.set_in("rate", "per", per);
        draft.route.keys.set_in("rate", "requests", requests);
        draft.route.keys.set_in("rate", "in", time);
        // nginx counts those above the first.
        draft.route.keys.set_in("rate", "burst", burst.saturating_add(1));
    }

    /// By what a zone counts, and whether it is just that. A key with an address in it is limited by address: that lets
    /// no more through.
    fn per(&self, key: &str, scope: &Scope<'t>) -> Option<(String, bool)> {
        let has_address = |text: &str| text.contains("$binary_remote_addr") || text.contains("$remote_addr");
        match key {
            "$binary_remote_addr" | "$remote_addr" | "$realip_remote_addr" => Some(("address".to_owned(), true)),
            // An empty key is not counted.
            "$server_name" if scope.one("server_name").is_none_or(|name| name.arg(0).is_empty()) => None,
            "$server_name" | "$host" | "$http_host" => Some(("route".to_owned(), true)),
            key if has_address(key) => Some(("address".to_owned(), false)),
            key => {
                // A map gives an empty key to those who are not limited.
                let map = self.blocks("map").into_iter().find(|map| map.arg(1) == key);
                if let Some(map) = map {
                    let is_address = map.items().iter().any(|entry| has_address(entry.arg(0)));
                    return is_address.then(|| ("address".to_owned(), false));
                }
                let is_plain =
                    |name: &&str| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
                let header = key.strip_prefix("$http_").filter(is_plain)?;
                Some((format!("header:{}", header.replace('_', "-")), true))
            }
        }
    }
}

fn option<'d>(item: &'d Directive, name: &str) -> Option<&'d str> {
    item.args.iter().find_map(|arg| arg.strip_prefix(name)?.strip_prefix('='))
}

/// How many directives name the zone, here and within.
fn users(items: &[Directive], zone: &str) -> usize {
    let names = |item: &Directive| item.args.iter().any(|arg| arg.strip_prefix("zone=") == Some(zone));
    let of = |item: &Directive| usize::from(item.name == "limit_req" && names(item)) + users(item.items(), zone);
    items.iter().map(of).sum()
}
