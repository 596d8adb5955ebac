//! An entry of an archive as a step, without captures.

use http::HeaderName;

use super::body;
use super::choose::{Place, is_websocket};
use super::model::{Entry, media_type};
use crate::journey::target::request_line;
use crate::journey::template::gaps;
use crate::journey::{Act, Content, FIRST_ACTOR, Request, Step, Talk, fields, target};

/// The most messages of a WebSocket that are sent again.
const MESSAGES_MAX: usize = 20;

/// Fields that say what a browser is, or what it has stored. They make a step long and its recording age, and no
/// replica differs in them. So `user-agent` is left out too: the player has one of its own. `referer` names the page
/// before; whoever checks where a request comes from looks at `origin`, which stays. `sec-...` are left out likewise.
const BROWSER_FIELDS: [&str; 24] = [
    "accept-encoding",
    "accept-language",
    "cache-control",
    "device-memory",
    "dnt",
    "downlink",
    "ect",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-unmodified-since",
    "pragma",
    "priority",
    "purpose",
    "referer",
    "rtt",
    "save-data",
    "upgrade-insecure-requests",
    "user-agent",
    "viewport-width",
    "width",
    "x-client-data",
    "alt-used",
    "content-type",
];

/// A step, and what is to be known of it.
pub(super) struct Converted {
    pub(super) step: Step,
    pub(super) remarks: Vec<String>,
}

/// Converts an entry; `None` if its method is none, or no request of an application.
pub(super) fn convert(place: &Place, entry: &Entry) -> Option<Converted> {
    let target = target(&place.target)?;
    let mut remarks = Vec::new();
    let act = if is_websocket(entry) {
        Act::WebSocket(Request { fields: fields(entry, None), ..Request::get(target) }, talk(entry, &mut remarks))
    } else if entry.response.media_type() == "text/event-stream" && entry.request.method == "GET" {
        let remark = "review: say which event is awaited: receive = { until = \"regex:...\", within = \"5s\" }";
        remarks.push(remark.to_owned());
        Act::EventStream(Request { fields: fields(entry, None), ..Request::get(target) }, Talk::default())
    } else {
        Act::Request(request(entry, target, &mut remarks)?)
    };
    let path = place.target.split('?').next().unwrap_or_default();
    let step = Step {
        name: name(&act, path),
        actor: FIRST_ACTOR.to_owned(),
        act,
        captures: Vec::new(),
        status: None,
        must_contain: Vec::new(),
        ignore: Vec::new(),
        repeat: 1,
        until: None,
    };
    Some(Converted { step, remarks })
}

/// A target that a request can have, with no gaps in it.
fn target(text: &str) -> Option<String> {
    target::read(&text.replace('{', "%7B").replace('}', "%7D").replace(' ', "%20")).ok()
}

/// What people call it: the method and the path.
fn name(act: &Act, path: &str) -> String {
    let name = match act {
        Act::Request(request) => format!("{} {path}", request.method),
        Act::WebSocket(..) => format!("WebSocket {path}"),
        _ => format!("events {path}"),
    };
    name.chars().filter(|c| !c.is_control()).take(crate::journey::texts::NAME_MAX - 10).collect()
}

fn request(entry: &Entry, target: String, remarks: &mut Vec<String>) -> Option<Request> {
    // Scripts may write a method in small letters.
    let (method, _) = request_line(&format!("{} /", entry.request.method.to_ascii_uppercase())).ok()?;
    let post = entry.request.post_data.as_ref();
    let body = post.map(|post| body::read(post, entry.request.field("content-type")));
    let (content, content_type, lacks_file) = match body {
        Some(body) => (body.content, body.content_type, body.lacks_file),
        None => (Content::None, None, false),
    };
    if lacks_file {
        remarks.push("review: the archive has no bytes of the file that was sent; write its content".to_owned());
    }
    Some(Request { method, target, fields: fields(entry, content_type), content, follow: false })
}

/// The fields that say something to an application.
fn fields(entry: &Entry, content_type: Option<String>) -> Vec<(HeaderName, String)> {
    let mut kept: Vec<(HeaderName, String)> = Vec::new();
    for field in &entry.request.headers {
        let Ok(name) = field.name.parse::<HeaderName>() else { continue };
        let text = name.as_str();
        if BROWSER_FIELDS.contains(&text) || fields::is_ours(text) || is_of_browser(text) {
            continue;
        }
        let value = match text {
            "accept" if field.value.starts_with("text/html,") => "text/html",
            "accept" if field.value == "*/*" => continue,
            _ => field.value.trim(),
        };
        if is_plain(value) {
            kept.push((name, value.to_owned()));
        }
    }
    if let Some(value) = content_type.filter(|value| is_plain(value) && !media_type(value).is_empty()) {
        kept.push((http::header::CONTENT_TYPE, value));
    }
    kept
}

/// Whether a field can have this value, which has no gaps.
fn is_plain(value: &str) -> bool {
    fields::is_value(value) && gaps(value).next().is_none()
}

fn is_of_browser(name: &str) -> bool {
    let is_websocket = name == "sec-websocket-protocol";
    !is_websocket && (name.starts_with("sec-") || name.starts_with("x-forwarded-") || name.starts_with("proxy-"))
}

/// What was sent on a WebSocket. What came back is not awaited: that is for people to say.
fn talk(entry: &Entry, remarks: &mut Vec<String>) -> Talk {
    let messages = entry.messages.as_deref().unwrap_or_default();
    let sent = messages.iter().filter(|message| message.kind == "send" && message.opcode == 1.0);
    let send: Vec<_> = sent
        .map(|message| message.data.clone())
        .filter(|data| gaps(data).next().is_none())
        .take(MESSAGES_MAX)
        .collect();
    let received = messages.iter().filter(|message| message.kind != "send").count();
    remarks.push(format!(
        "review: {received} messages came back; say which is awaited: \
         receive = {{ until = \"regex:...\", within = \"5s\" }}"
    ));
    Talk { send, receive: None }
}
