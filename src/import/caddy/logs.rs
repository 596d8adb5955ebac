//! `log` and `handle_errors` of sites.

use super::leaves::content_type;
use super::sites::Site;
use super::text::fixed;
use super::tree::Line;
use super::{Importer, left};
use crate::imported::Keys;
use crate::value::Value;

/// The errors that unstick has of replicas.
const OF_REPLICAS: [&str; 3] = ["502", "503", "504"];

impl Importer {
    /// The access log: there is one.
    pub(super) fn logs(&mut self, sites: &[Site<'_>]) {
        let mut access: Option<String> = None;
        for log in sites.iter().flat_map(|site| site.block.lines.iter()).filter(|line| line.name == "log") {
            let output = log.one("output");
            let target = match output.map(|line| (line.arg(0), line.arg(1))) {
                Some(("file", path)) if !path.contains('{') => self.file(path),
                Some(("discard", _)) => continue,
                Some(("stdout" | "stderr", _)) | None => "stdout".to_owned(),
                Some(_) => {
                    let said = output.unwrap_or(log);
                    self.out.leave_out(left(said, "the access log is a file or stdout", "see `[log] access`"));
                    continue;
                }
            };
            match &access {
                Some(known) if *known != target => {
                    self.out.leave_out(left(log, "there is one access log", "tell its lines apart by their host"));
                }
                Some(_) => {}
                None => {
                    self.out.table("log").set("access", target.as_str());
                    access = Some(target);
                }
            }
            self.log_options(log);
        }
    }

    fn log_options(&mut self, log: &Line) {
        for line in log.lines() {
            let (why, what_to_do) = match line.name.as_str() {
                "output" if line.block.is_some() => {
                    ("unstick rotates no files", "let logrotate do it: unstick opens its log again on SIGUSR1")
                }
                "output" | "level" | "hostnames" | "no_hostname" => continue,
                "format" if line.arg(0) == "json" && line.block.is_none() => continue,
                "format" => {
                    ("lines are JSON with names of unstick's own", "see `access_format` and `access_fields` of [log]")
                }
                _ => ("the access log has no such option", "see [log]"),
            };
            self.out.leave_out(left(line, why, what_to_do));
        }
    }

    /// The pages of a site for errors.
    pub(super) fn error_pages(&mut self, site: &Site<'_>) -> Keys {
        let mut errors = Keys::default();
        let mut own = Vec::new();
        statuses(&site.block.lines, &mut own);
        for line in site.block.lines.iter().filter(|line| line.name == "handle_errors") {
            match page(line, &own) {
                Ok((statuses, body)) => {
                    for status in statuses {
                        let mut page = Keys::default();
                        page.set("body", body.as_str());
                        page.set("content_type", content_type(&body));
                        errors.set(status, Value::Table(page));
                    }
                }
                Err(why) => self.out.leave_out(left(line, why, "write `errors` with a text or a file for each status")),
            }
        }
        errors
    }
}

/// The statuses of the `error`s in a block.
fn statuses(lines: &[Line], found: &mut Vec<String>) {
    for line in lines {
        let status = line.args.last().filter(|arg| line.name == "error" && arg.len() == 3);
        found.extend(status.filter(|status| status.parse::<u16>().is_ok()).cloned());
        statuses(line.lines(), found);
    }
}

/// The statuses of a `handle_errors`, and its text. `own` are those of the site's own errors.
fn page(line: &Line, own: &[String]) -> Result<(Vec<String>, String), String> {
    let [respond] = line.lines() else { return Err("pages for errors are fixed texts or files".to_owned()) };
    if respond.name != "respond" || respond.arg(0).starts_with(['@', '/']) {
        return Err("pages for errors are fixed texts or files".to_owned());
    }
    let args = if respond.arg(0) == "*" { &respond.args[1..] } else { &respond.args[..] };
    let body = match (respond.one("body"), args) {
        (Some(body), _) => body.arg(0),
        (None, [body]) => body,
        (None, _) => return Err("pages keep the status of the error".to_owned()),
    };
    let mut statuses: Vec<String> = Vec::new();
    let all = OF_REPLICAS.iter().map(|status| (*status).to_owned()).chain(own.iter().cloned());
    for code in &line.args {
        match code.strip_suffix("xx") {
            Some(class) => statuses.extend(all.clone().filter(|status| status.starts_with(class))),
            None => statuses.push(code.clone()),
        }
    }
    if line.args.is_empty() {
        statuses.extend(all);
    }
    statuses.retain(|status| status.parse::<u16>().is_ok_and(|status| (400..600).contains(&status)));
    Ok((statuses, fixed(body)?))
}
