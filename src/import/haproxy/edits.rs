//! Headers that rules set, add and remove: HAProxy does one after the other, unstick has one edit for each name.

use super::frontends::split;
use super::grammar::Line;
use super::sockets::Socket;
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
    pub(super) fn edits(&mut self, proxy: &Proxy<'t>, keys: &mut Keys, sockets: &[Socket], at: &At) {
        // Rules of http-response are for those of replicas, too.
        let Some(pool) = keys.get("pool").map(|pool| pool.to_string().trim_matches('"').to_owned()) else { return };
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
            if let Err(why) = apply(&mut edits, table, line, sockets) {
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
) -> Result<(), &'static str> {
    let verb = line.word(1);
    if !matches!(verb, "set-header" | "add-header" | "del-header") {
        return Ok(());
    }
    let (name, value) = (line.word(2).to_ascii_lowercase(), line.word(3));
    let (_, condition) = split(line);
    let is_same = match (name.as_str(), condition.join(" ").as_str()) {
        ("x-forwarded-proto", "{ ssl_fc }" | "!{ ssl_fc }") => true,
        ("x-forwarded-proto", "") => value == "https" && sockets.iter().all(|(_, is_tls, _)| *is_tls),
        ("x-forwarded-for", "") => value == "%[src]" || verb == "del-header",
        _ => false,
    };
    if is_same {
        return Ok(());
    }
    if !condition.is_empty() || line.words.iter().any(|word| word == "unless") {
        return Err("headers of a route have no conditions");
    }
    let value = if verb == "del-header" { String::new() } else { text(value, sockets)? };
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

/// The value in unstick's names.
fn text(value: &str, sockets: &[Socket]) -> Result<String, &'static str> {
    match value {
        "%[src]" => Ok("{client_ip}".to_owned()),
        "%[req.hdr(host)]" | "%[hdr(host)]" => Ok("{host}".to_owned()),
        "%[path]" => Ok("{path}".to_owned()),
        "%[dst_port]" => match sockets {
            [(_, _, Some(port))] => Ok(port.to_string()),
            _ => Err("the port is different for each listener"),
        },
        value if value.contains('%') => Err("unstick has no value for this expression"),
        value => Ok(value.replace('{', "{{").replace('}', "}}").trim().to_owned()),
    }
}
