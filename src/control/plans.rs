//! Routes of the config to what is done at run time.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use tokio::time::Instant;

use crate::config::model::{
    Config, Content, ErrorPages, FieldEdits, Listener, Page, Rate, RatePer, Respond, Route, RouteLimits, RouteRetry,
    RouteTimeouts, Target, Template,
};
use crate::rate::{Limiters, Per, Rule, Wanted};
use crate::snapshot::plan::{
    Admission, Destination, Edit, Edits, ErrorResponses, Errors, FieldValue, Local, More, Pages, Plan, Rewriting,
};
use crate::snapshot::ranges::Ranges;
use crate::snapshot::split::Split;

/// The most bytes of a file that is sent as a response.
const PAGE_BYTES_MAX: u64 = 1 << 20;

/// Reads the files that routes respond with. It blocks.
///
/// # Errors
/// Each file that cannot be read, and why.
pub(crate) fn pages(config: &Config) -> Result<Pages, Vec<String>> {
    let (mut pages, mut problems) = (Pages::new(), Vec::new());
    let of_route = |route: &Route| match &route.target {
        Target::Respond(respond) => Some(respond.content.clone()),
        _ => None,
    };
    let of_errors = |errors: &ErrorPages| errors.values().map(|page| page.content.clone()).collect::<Vec<_>>();
    let routes = config.routes.iter().flat_map(|route| of_route(route).into_iter().chain(of_errors(&route.errors)));
    let listeners = config.listeners.iter().flat_map(|listener| of_errors(&listener.errors));
    for content in routes.chain(listeners).chain(of_errors(&config.errors)) {
        let Content::File(file) = content else { continue };
        match page(&file) {
            Ok(page) => _ = pages.insert(file, page),
            Err(why) => problems.push(format!("cannot respond with {}: {why}", file.display())),
        }
    }
    if problems.is_empty() { Ok(pages) } else { Err(problems) }
}

fn page(file: &Path) -> Result<Bytes, String> {
    use std::io::Read as _;
    let mut text = Vec::new();
    // A FIFO would never end.
    if !std::fs::metadata(file).map_err(|error| error.to_string())?.is_file() {
        return Err("it is no file".to_owned());
    }
    let file = std::fs::File::open(file).map_err(|error| error.to_string())?;
    file.take(PAGE_BYTES_MAX + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > PAGE_BYTES_MAX {
        return Err(format!("it has more than {PAGE_BYTES_MAX} bytes"));
    }
    Ok(text.into())
}

/// The rates of all routes, with what `previous` has counted.
pub(super) fn limiters(config: &Config, previous: Option<&Limiters>, workers: usize) -> Limiters {
    let wanted = config.routes.iter().filter_map(|route| {
        let Rate { per, requests, within, burst } = route.rate.clone()?;
        let per = match per {
            RatePer::Route => Per::Route,
            RatePer::Address => Per::Address,
            RatePer::Header(name) => Per::Header(name),
        };
        Some(Wanted { route: identity(route), per, rule: Rule::new(requests, within, burst.get()) })
    });
    Limiters::carry_over(previous.unwrap_or(&Limiters::default()), wanted, workers, Instant::now())
}

/// What a route is found again by after an edit: its conditions, whatever their order is. No two routes have the same
/// with different priorities, because one of them could not be reached.
fn identity(route: &Route) -> String {
    let Route { mut host, mut listen, mut method, .. } = route.clone();
    host.sort_unstable();
    listen.sort_unstable();
    method.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
    Route { host, listen, method, priority: 0, ..route.clone() }.to_string()
}

/// The plans of all routes, in their order.
pub(super) fn plans(config: &Config, pages: &Pages, limiters: &Limiters) -> Arc<[Plan]> {
    // The names are sorted in the map, and so are the pools of a snapshot.
    let index: HashMap<&str, usize> = config.pools.keys().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
    let pool = |name: &str| index.get(name).copied().unwrap_or_default();
    config.routes.iter().map(|route| plan(config, route, &pool, (pages, limiters))).collect()
}

fn plan(config: &Config, route: &Route, pool: &dyn Fn(&str) -> usize, (pages, limiters): (&Pages, &Limiters)) -> Plan {
    if let (Target::Pool(name), true) = (&route.target, is_plain(route)) {
        return Plan::Pool(pool(name));
    }
    let target = match &route.target {
        Target::Pool(name) => Destination::Pool(pool(name)),
        Target::Split(shares) => {
            Destination::Split(Split::new(shares.iter().map(|share| (pool(&share.pool), share.weight))))
        }
        Target::Respond(respond) => Destination::Respond(local(respond, pages)),
        Target::Redirect(redirect) => Destination::Redirect(redirect.clone()),
    };
    let is_open = route.allow.is_empty() && route.deny.is_empty();
    let allow = (!route.allow.is_empty()).then(|| Ranges::new(&route.allow));
    Plan::More(Box::new(More {
        target,
        fallback: route.fallback.as_deref().map(pool),
        admission: (!is_open).then(|| Admission { allow, deny: Ranges::new(&route.deny) }),
        rate: route.rate.as_ref().and_then(|_| limiters.of(&identity(route)).map(Arc::clone)),
        maintenance: route.maintenance,
        rewrite: route.rewrite.as_ref().map(|rewrite| Rewriting::of(rewrite, &route.path)),
        request: edits(&route.request_headers),
        response: edits(&route.response_headers),
        errors: error_responses(&route.errors, pages),
        timeouts: route.timeouts.over(&config.timeouts),
        body_max: route.limits.request_body.unwrap_or(config.limits.request_body),
        replay: route.limits.replay.unwrap_or(config.limits.replay),
        retry: route.retry.clone(),
        access_log: route.access_log,
    }))
}

/// Whether a route does nothing but lead to its pool.
fn is_plain(route: &Route) -> bool {
    let Route {
        listen: _,
        host: _,
        path: _,
        method: _,
        header: _,
        query: _,
        priority: _,
        target: _,
        allow,
        deny,
        rate,
        fallback,
        rewrite,
        request_headers,
        response_headers,
        errors,
        timeouts,
        limits,
        retry,
        access_log,
        maintenance,
    } = route;
    allow.is_empty()
        && deny.is_empty()
        && rate.is_none()
        && fallback.is_none()
        && rewrite.is_none()
        && request_headers.is_empty()
        && response_headers.is_empty()
        && errors.is_empty()
        && *timeouts == RouteTimeouts::default()
        && *limits == RouteLimits::default()
        && *retry == RouteRetry::default()
        && *access_log
        && !maintenance
}

fn local(respond: &Respond, pages: &Pages) -> Local {
    Local::new(respond.status, bytes(&respond.content, pages), &respond.content_type)
}

fn bytes(content: &Content, pages: &Pages) -> Bytes {
    match content {
        Content::Text(text) => Bytes::from(text.clone()),
        Content::File(file) => pages.get(file).cloned().unwrap_or_default(),
    }
}

/// What error responses contain, besides those of routes.
pub(super) fn errors(config: &Config, pages: &Pages) -> Errors {
    let of_listener = |listener: &Listener| (listener.name.clone(), error_responses(&listener.errors, pages));
    let listeners = config.listeners.iter().filter(|listener| !listener.errors.is_empty()).map(of_listener).collect();
    Errors { general: error_responses(&config.errors, pages), listeners }
}

fn error_responses(errors: &ErrorPages, pages: &Pages) -> ErrorResponses {
    let response = |(status, page): (&u16, &Page)| {
        let known = StatusCode::from_u16(*status).ok()?;
        Some((*status, Local::new(known, bytes(&page.content, pages), &page.content_type)))
    };
    errors.iter().filter_map(response).collect()
}

fn edits(edits: &FieldEdits) -> Edits {
    let FieldEdits { remove, set, add } = edits;
    let edit = |replaces: bool| {
        move |(name, value): &(HeaderName, Template)| Edit { name: name.clone(), replaces, value: field_value(value) }
    };
    let values: Box<[Edit]> = set.iter().map(edit(true)).chain(add.iter().map(edit(false))).collect();
    Edits::new(remove.as_slice().into(), values)
}

fn field_value(template: &Template) -> FieldValue {
    let fixed = template.fixed().and_then(|text| HeaderValue::try_from(text).ok());
    fixed.map_or_else(|| FieldValue::Of(template.clone()), FieldValue::Fixed)
}
