//! Which entries of an archive become steps.

use std::collections::BTreeMap;

use super::model::Entry;

/// Kinds of files that are the same on all replicas, whoever asks: their media types begin so.
const STATIC_TYPES: [&str; 12] = [
    "image/",
    "font/",
    "audio/",
    "video/",
    "text/css",
    "text/javascript",
    "application/javascript",
    "application/x-javascript",
    "application/ecmascript",
    "application/wasm",
    "application/font",
    "application/manifest+json",
];

/// The same by the ends of their names.
const STATIC_ENDINGS: [&str; 25] = [
    "avif",
    "bmp",
    "css",
    "eot",
    "gif",
    "ico",
    "jpeg",
    "jpg",
    "js",
    "map",
    "mjs",
    "mp3",
    "mp4",
    "ogg",
    "otf",
    "png",
    "svg",
    "ttf",
    "wasm",
    "wav",
    "webm",
    "webmanifest",
    "webp",
    "woff",
    "woff2",
];

/// Where a URL leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// In small letters, without the port that its scheme has anyway.
    pub(super) host: String,
    /// In origin form.
    pub(super) target: String,
}

/// The host that the recording is about, its entries in the order of time, and what is to be known of the others.
pub(super) struct Chosen {
    pub(super) host: String,
    pub(super) entries: Vec<(Place, Entry)>,
    pub(super) notes: Vec<String>,
}

/// Chooses; `None` if nothing is left.
pub(super) fn choose(mut entries: Vec<Entry>) -> Option<Chosen> {
    if entries.iter().all(|entry| entry.started_date_time.is_some()) {
        entries.sort_by(|one, other| one.started_date_time.cmp(&other.started_date_time));
    }
    let host = first_host(&entries)?;
    let (mut kept, mut others, mut statics, mut unanswered) = (Vec::new(), BTreeMap::new(), 0, 0);
    for entry in entries {
        let Some(place) = place(&entry.request.url) else { continue };
        if place.host != host {
            *others.entry(place.host).or_insert(0) += 1;
        } else if is_static(&entry, &place.target) {
            statics += 1;
        } else if is_never_sent(&entry) || is_preflight(&entry) {
        } else if entry.response.status < 100 && !is_websocket(&entry) {
            unanswered += 1;
        } else {
            kept.push((place, entry));
        }
    }
    let mut notes: Vec<_> = others
        .iter()
        .map(|(other, count)| {
            let (requests, are) = are(*count, "request");
            format!("{requests} to {other} {are} left out: the journey is about {host}")
        })
        .collect();
    if statics > 0 {
        let (files, are) = are(statics, "static file");
        notes.push(format!("{files} {are} left out: images, style sheets, scripts, fonts, media"));
    }
    if unanswered > 0 {
        let (requests, are) = are(unanswered, "request");
        let they = if unanswered == 1 { "it was" } else { "they were" };
        notes.push(format!("{requests} {are} left out that got no response while {they} recorded"));
    }
    (!kept.is_empty()).then_some(Chosen { host, entries: kept, notes })
}

/// So many of them, and the verb.
fn are(count: usize, thing: &str) -> (String, &'static str) {
    if count == 1 { (format!("1 {thing}"), "is") } else { (format!("{count} {thing}s"), "are") }
}

/// The host of the first page; if there is none, of the first request.
fn first_host(entries: &[Entry]) -> Option<String> {
    let host = |entry: &Entry| place(&entry.request.url).map(|place| place.host);
    let is_page = |entry: &&Entry| {
        entry.resource_type.as_deref() == Some("document") || entry.response.media_type() == "text/html"
    };
    entries.iter().filter(is_page).find_map(host).or_else(|| entries.iter().find_map(host))
}

/// Host and target of a URL that a replica can be asked for.
pub(super) fn place(url: &str) -> Option<Place> {
    let (scheme, rest) = url.split_once("://")?;
    let default = match scheme.to_ascii_lowercase().as_str() {
        "http" | "ws" => ":80",
        "https" | "wss" => ":443",
        _ => return None,
    };
    let rest = rest.split('#').next().unwrap_or_default();
    let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
    let host = host.strip_suffix(default).unwrap_or(&host).to_owned();
    let slash = if target.starts_with('/') { "" } else { "/" };
    (!host.is_empty()).then(|| Place { host, target: format!("{slash}{target}") })
}

/// Only what is fetched: an upload of an image is no static file.
fn is_static(entry: &Entry, target: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    let ending = path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map(|(_, ending)| ending);
    let media_type = entry.response.media_type();
    let has_type = STATIC_TYPES.iter().any(|known| media_type.starts_with(known));
    let has_ending = ending.is_some_and(|ending| STATIC_ENDINGS.contains(&ending.to_ascii_lowercase().as_str()));
    // What has the name of a static file, but is a page or data, is none.
    let is_data = media_type.contains("html") || media_type.contains("json");
    entry.request.method == "GET" && (has_type || has_ending && !is_data)
}

fn is_never_sent(entry: &Entry) -> bool {
    entry.from_cache.is_some()
}

/// What a browser asks by itself before it asks another origin (CORS).
fn is_preflight(entry: &Entry) -> bool {
    entry.request.method == "OPTIONS" && entry.request.field("access-control-request-method").is_some()
}

/// Whether a WebSocket is opened.
pub(super) fn is_websocket(entry: &Entry) -> bool {
    let is_scheme = entry.request.url.starts_with("ws://") || entry.request.url.starts_with("wss://");
    let asks = entry.request.field("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    is_scheme || asks || entry.resource_type.as_deref() == Some("websocket")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_a_place() {
        for (url, expected) in [
            ("http://a.b/", Some(("a.b", "/"))),
            ("https://A.b:443?x=1#y", Some(("a.b", "/?x=1"))),
            ("http://a:443/x?y", Some(("a:443", "/x?y"))),
            ("wss://u:p@[::1]:3000/ws", Some(("[::1]:3000", "/ws"))),
            ("data:text/plain,x", None),
            ("blob:http://a.b/1", None),
            ("chrome-extension://abc/x.js", None),
            ("http://", None),
        ] {
            let found = place(url);
            let expected = expected.map(|(host, target)| Place { host: host.into(), target: target.into() });
            assert_eq!(found, expected, "{url}");
        }
    }
}
