//! Headers that rules set, add and remove: HAProxy does one after the other, unstick has one edit for each name.

use super::grammar::Line;
use super::order::split;
use super::sockets::Socket;
use super::template::template;
use super::{Importer, Proxy, left};
use crate::imported::{At, Keys, LeftOut};

/// What becomes of a field.
struct Edit<'t> {
    table: &'static str,
    name: String,
    base: Base,
    /// Fields that are added to that, each with its rule.
    added: Vec<(String, &'t Line)>,
}

/// The fields that were there.
enum Base {
    Kept,
    Removed,
    Replaced(String),
}

impl<'t> Importer<'t> {
    /// Edits of requests are those of the frontend and then of the backend, those of responses the other way around.
    /// `holding` are those with conditions that hold for the route.
    pub(super) fn edits(
        &mut self,
        proxy: &Proxy<'t>,
        keys: &mut Keys,
        sockets: &[Socket],
        holding: &[&'t Line],
        at: &At,
    ) {
        // Rules of http-response are for those of replicas, too.
        let Some(pool) = keys.get("pool").and_then(|pool| pool.text()).map(str::to_owned) else { return };
        let proxies = self.proxies;
        let is_it = |other: &&Proxy<'t>| other.section.name() == pool && other.section.kind() == "backend";
        let backend = proxies.iter().find(is_it).map(|proxy| proxy.lines.clone()).unwrap_or_default();
        let of = |lines: &[&'t Line], word: &str| -> Vec<&'t Line> {
            lines.iter().copied().filter(|line| line.word(0) == word).collect()
        };
        let requests = [of(&proxy.lines, "http-request"), of(&backend, "http-request")].concat();
        let responses = [of(&backend, "http-response"), of(&proxy.lines, "http-response")].concat();
        let mut edits: Vec<Edit<'t>> = Vec::new();
        for (table, line) in requests
            .into_iter()
            .map(|line| ("request_headers", line))
            .chain(responses.into_iter().map(|line| ("response_headers", line)))
        {
            let holds = holding.iter().any(|holding| std::ptr::eq(*holding, line));
            if let Err(why) = apply(&mut edits, table, line, sockets, holds) {
                let note = left(line, why, "write a route with that condition, or let the application do it");
                self.out.leave_out(LeftOut { at: at.clone(), ..note });
            }
        }
        self.write(edits, keys, at);
    }

    fn write(&mut self, edits: Vec<Edit<'t>>, keys: &mut Keys, at: &At) {
        let mut removed: Vec<(&'static str, Vec<String>)> = Vec::new();
        for Edit { table, name, base, added } in edits {
            let mut added = added.into_iter();
            match base {
                Base::Replaced(value) => keys.set_within(table, "set", &name, &value),
                Base::Kept => {
                    if let Some((value, _)) = added.next() {
                        keys.set_within(table, "add", &name, &value);
                    }
                }
                Base::Removed => match added.next() {
                    Some((value, _)) => keys.set_within(table, "set", &name, &value),
                    None => match removed.iter_mut().find(|(known, _)| *known == table) {
                        Some((_, names)) => names.push(name),
                        None => removed.push((table, vec![name])),
                    },
                },
            }
            for (_, line) in added {
                let note = left(line, "a field is set or added once in a route", "join the values by a comma");
                self.out.leave_out(LeftOut { at: at.clone(), ..note });
            }
        }
        for (table, names) in removed {
            keys.set_in(table, "remove", names);
        }
    }
}

/// Does what a rule says, after all that was done already.
fn apply<'t>(
    edits: &mut Vec<Edit<'t>>,
    table: &'static str,
    line: &'t Line,
    sockets: &[Socket],
    holds: bool,
) -> Result<(), &'static str> {
    let verb = line.word(1);
    if !matches!(verb, "set-header" | "add-header" | "del-header") || is_same(line, sockets) {
        return Ok(());
    }
    let (name, value) = (line.word(2).to_ascii_lowercase(), line.word(3));
    let has_condition = !split(line).1.is_empty();
    match table {
        "response_headers" if has_condition => return Err("headers of a response have no conditions"),
        // Routes of their own have those, or it is told why there are none.
        _ if has_condition && !holds => return Ok(()),
        _ => {}
    }
    let value = if verb == "del-header" { String::new() } else { template(value, sockets)? };
    let at = edits.iter().position(|edit| edit.table == table && edit.name == name).unwrap_or_else(|| {
        edits.push(Edit { table, name, base: Base::Kept, added: Vec::new() });
        edits.len() - 1
    });
    let edit = &mut edits[at];
    if verb == "add-header" {
        edit.added.push((value, line));
    } else {
        edit.added.clear();
        edit.base = if verb == "set-header" { Base::Replaced(value) } else { Base::Removed };
    }
    Ok(())
}

/// Whether unstick does by itself what the rule does.
pub(super) fn is_same(line: &Line, sockets: &[Socket]) -> bool {
    if line.word(0) != "http-request" {
        return false;
    }
    let value = line.word(3);
    match (line.word(2).to_ascii_lowercase().as_str(), split(line).1.join(" ").as_str()) {
        ("x-forwarded-proto", "{ ssl_fc }" | "!{ ssl_fc }") => true,
        ("x-forwarded-proto", "") => match value {
            "https" => sockets.iter().all(|(_, is_tls, _)| *is_tls),
            "http" => !sockets.iter().any(|(_, is_tls, _)| *is_tls),
            _ => false,
        },
        ("x-forwarded-for", "") => value == "%[src]" || line.word(1) == "del-header",
        _ => false,
    }
}
