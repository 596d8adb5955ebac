//! `limit_except`: who may use which method.

use super::locations::Found;
use super::rewriting::{Phase, Spot};
use super::{Draft, Importer, left};

impl<'t> Importer<'t> {
    /// Leaves the methods that `limit_except` names, and makes a route for all others. What it does not say plainly
    /// closes the location.
    pub(super) fn limited(&mut self, found: &Found<'t>, phase: &mut Phase) -> Option<Draft> {
        let item = found.scope.own().iter().find(|item| item.name == "limit_except")?;
        let is_plain = item.items().iter().all(|inner| matches!(inner.name.as_str(), "allow" | "deny"));
        let mut methods = item.args.clone();
        if methods.iter().any(|method| method == "GET") && !methods.iter().any(|method| method == "HEAD") {
            methods.push("HEAD".to_owned());
        }
        let known = std::mem::take(&mut phase.rest.target.method);
        let has_some = !known.is_empty();
        let others: Vec<String> = known.iter().filter(|method| !methods.contains(method)).cloned().collect();
        phase.rest.target.method = if known.is_empty() {
            methods
        } else {
            known.into_iter().filter(|known| methods.contains(known)).collect()
        };
        if !is_plain || phase.rest.target.method.is_empty() {
            let why = "it asks for more than addresses; what it protects answers 403";
            phase.left.push(left(item, why, "write a second route with `method` and `allow`"));
            phase.closed = true;
            return None;
        }
        if has_some && others.is_empty() {
            return None;
        }
        let mut spot = Spot { place: item.place.clone(), origin: item.written(), ..phase.rest.clone() };
        spot.target.method = others;
        let rules = item.items().iter().collect();
        self.content_for(found, &spot, phase.rewrite.clone(), phase.closed, rules)
    }
}
