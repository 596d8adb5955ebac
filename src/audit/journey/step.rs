//! One `[[step]]` of a journey, by itself. What it says of other steps is checked when all are there (`check`).

use std::ops::Range;
use std::time::Duration;

use http::{Method, StatusCode};
use unstick_reading::{Section, Value};

use super::template as gaps;
use super::texts::{self, Use, each, template, templates};
use super::{Act, Capture, FIRST_ACTOR, Ignored, JsonPath, REPEAT_MAX, Receive, Request, Source, Step, Talk, UNIQUE};
use super::{content, fields, source, target};

/// How long a message is awaited unless it is said.
const WITHIN: Duration = Duration::from_secs(5);
/// How long a message can be awaited.
const WITHIN_MIN: Duration = Duration::from_millis(10);
/// How long a message can be awaited.
const WITHIN_MAX: Duration = Duration::from_secs(60);

/// A step, and what is still to be checked.
pub(super) struct Draft {
    /// The step. Its [`Act::Talk`] goes to step 0 until it is linked.
    pub(super) step: Step,
    /// Where it begins.
    pub(super) span: Range<usize>,
    /// Where its name stands, if it was given one.
    pub(super) name: Option<Range<usize>>,
    /// Where its actor stands, if it was given one.
    pub(super) actor: Option<Range<usize>>,
    /// The gaps of its texts.
    pub(super) uses: Vec<Use>,
    /// The step whose WebSocket or event stream it goes on with.
    pub(super) on: Option<(String, Range<usize>)>,
    /// Where its messages to send stand.
    pub(super) send: Option<Range<usize>>,
}

/// The keys that say what a step does; each has one.
const KINDS: [&str; 4] = ["request", "websocket", "sse", "on"];

/// Keys that mean something to some kinds of steps only: (key, the kinds, what to do instead).
const ONLY: [(&str, &[&str], &str); 11] = [
    ("headers", &["request", "websocket", "sse"], "write it in the step that opens the connection"),
    ("form", &["request"], "only a request has content"),
    ("json", &["request"], "only a request has content"),
    ("body", &["request"], "only a request has content"),
    ("base64", &["request"], "only a request has content"),
    ("multipart", &["request"], "only a request has content"),
    ("follow", &["request"], "only the redirects of a request are followed"),
    ("until", &["request"], "only a request is repeated until it has a status"),
    ("expect", &["request", "websocket", "sse"], "messages have no status: write must_contain"),
    ("send", &["websocket", "on"], "write it in a step with `websocket` or `on`"),
    ("receive", &["websocket", "sse", "on"], "write it in a step with `websocket`, `sse` or `on`"),
];

/// Reads one step. What is wrong was reported; it is then replaced by something harmless.
pub(super) fn read(section: &Section<'_>) -> Draft {
    let mut uses = Vec::new();
    let name = section.get("name");
    let kind = kind(section);
    let act = act(section, kind, &mut uses);
    let captures = captures(section, kind);
    let actor = section.get("actor");
    let (repeat, until) = repetition(section, kind);
    let step = Step {
        name: name.as_ref().and_then(|value| value.parsed(texts::name)).unwrap_or_else(|| act.to_string()),
        actor: actor.as_ref().and_then(|value| value.parsed(actor_name)).unwrap_or_else(|| FIRST_ACTOR.to_owned()),
        status: section.section("expect").and_then(|expect| status(&expect)),
        must_contain: section.get("must_contain").map(|value| templates(&value, &mut uses)).unwrap_or_default(),
        ignore: section.get("ignore").map(|value| ignored(&value)).unwrap_or_default(),
        act,
        captures,
        repeat,
        until,
    };
    let on = section.get("on").and_then(|on| Some((on.value.as_str()?.to_owned(), on.span)));
    let send = section.get("send").map(|value| value.span);
    section.finish();
    let help = "add request = \"GET /\", websocket = \"/path\", sse = \"/path\" or on = \"name of a step\"";
    if KINDS.iter().all(|kind| section.get(kind).is_none()) {
        section.missing("request", section.span.clone(), "the step does nothing", help);
    }
    let [name, actor] = [name, actor].map(|value| value.map(|value| value.span));
    Draft { step, span: section.span.clone(), name, actor, uses, on, send }
}

/// The one key that says what the step does; the others, and those that say nothing to it, are reported.
fn kind(section: &Section<'_>) -> Option<&'static str> {
    let given: Vec<_> = KINDS.iter().filter_map(|kind| Some((*kind, section.get(kind)?))).collect();
    let (kind, _) = given.first()?;
    for (other, value) in given.get(1..).unwrap_or_default() {
        let help = "a step does one thing: make two steps of it".to_owned();
        value.report(format!("`{kind}` and `{other}` are in one step"), Some(help));
    }
    for (key, kinds, help) in ONLY {
        if let (Some(value), false) = (section.get(key), kinds.contains(kind)) {
            value.report(format!("`{key}` has no effect with `{kind}`"), Some(help.to_owned()));
        }
    }
    Some(kind)
}

fn act(section: &Section<'_>, kind: Option<&str>, uses: &mut Vec<Use>) -> Act {
    let opened = |key: &'static str, uses: &mut Vec<Use>| {
        let target = section.get(key).and_then(|value| {
            let text = template(&value, uses)?;
            value.checked(target::read(&text))
        });
        let mut request = Request::get(target.unwrap_or_else(|| "/".into()));
        request.fields = section.get("headers").map(|value| fields::read(&value, uses)).unwrap_or_default();
        request
    };
    match kind {
        Some("websocket") => {
            let request = opened("websocket", uses);
            Act::WebSocket(request, talk(section, uses))
        }
        Some("sse") => {
            let request = opened("sse", uses);
            Act::EventStream(request, talk(section, uses))
        }
        Some("on") => {
            section.get("on").and_then(|value| value.string());
            Act::Talk(0, talk(section, uses))
        }
        _ => Act::Request(request(section, uses)),
    }
}

fn request(section: &Section<'_>, uses: &mut Vec<Use>) -> Request {
    let line = section.get("request").and_then(|value| {
        let text = template(&value, uses)?;
        value.checked(target::request_line(&text))
    });
    let (method, target) = line.unwrap_or((Method::GET, "/".to_owned()));
    let fields = section.get("headers").map(|value| fields::read(&value, uses)).unwrap_or_default();
    let content = content::read(section, &fields, uses);
    Request { method, target, fields, content, follow: section.boolean("follow").unwrap_or(false) }
}

fn talk(section: &Section<'_>, uses: &mut Vec<Use>) -> Talk {
    let send = section.get("send").map(|value| templates(&value, uses)).unwrap_or_default();
    let receive = section.section("receive").and_then(|receive| {
        let until = receive.get("until").and_then(|value| {
            let text = template(&value, uses)?;
            value.checked(awaited(&text))
        });
        let within = receive.duration("within", WITHIN_MIN..=WITHIN_MAX).unwrap_or(WITHIN);
        receive.finish();
        let help = "add until = \"regex:...\"; a message that matches ends the wait";
        receive.missing("until", receive.span.clone(), "it is not said what is awaited", help);
        Some(Receive { until: until?, within })
    });
    Talk { send, receive }
}

/// A regular expression with gaps, without its prefix.
fn awaited(text: &str) -> Result<String, String> {
    let pattern =
        text.strip_prefix("regex:").ok_or_else(|| format!("a message is told by `regex:`; write \"regex:{text}\""))?;
    let sample = gaps::fill(pattern, |_| Some("x".to_owned())).unwrap_or_default();
    source::regex(&sample).map(|_| pattern.to_owned())
}

fn ignored(value: &Value<'_>) -> Vec<Ignored> {
    each(value).iter().filter_map(|element| element.parsed(str::parse)).collect()
}

/// How often, and until when.
fn repetition(section: &Section<'_>, kind: Option<&str>) -> (u32, Option<StatusCode>) {
    let repeat = section.integer("repeat", 1..=u64::from(REPEAT_MAX)).and_then(|number| u32::try_from(number).ok());
    let until = section.section("until").and_then(|until| status(&until));
    if let (Some(value), None) = (section.get("until"), section.get("repeat")) {
        let help = format!("add repeat = 20, the most times that it is done (at most {REPEAT_MAX})");
        value.report("`until` has no effect without `repeat`", Some(help));
    }
    if let (Some(value), Some("websocket" | "sse")) = (section.get("repeat"), kind) {
        let help = "its name would stand for several connections: write a step for each".to_owned();
        value.report("a step that opens a connection is not repeated", Some(help));
    }
    (repeat.unwrap_or(1), until)
}

/// `{ status = 302 }`
fn status(section: &Section<'_>) -> Option<StatusCode> {
    let code = section.integer("status", 100..=599);
    section.finish();
    let message = format!("{} has no status", section.name);
    section.missing("status", section.span.clone(), &message, "write { status = 200 }");
    code.and_then(|code| StatusCode::from_u16(u16::try_from(code).ok()?).ok())
}

fn captures(section: &Section<'_>, kind: Option<&str>) -> Vec<Capture> {
    let entries = section.get("capture").and_then(|value| value.entries()).unwrap_or_default();
    let capture = |(name, value): (&str, Value<'_>)| {
        if name == UNIQUE {
            value.report("`unique` is the value that is fresh in every run", Some("choose another name".into()));
        } else if !gaps::is_name(name) {
            let help = "a name has letters, digits, `_` and `-`, and begins with a letter".to_owned();
            value.report(format!("`{name}` cannot be the name of a value"), Some(help));
        }
        let source: Option<Source> = value.parsed(str::parse);
        if let Some(source) = &source {
            fits(source, kind, &value);
        }
        // Whoever uses the value has named it right, even if it is taken from nowhere.
        Capture { name: name.to_owned(), source: source.unwrap_or_else(|| Source::Json(JsonPath(Vec::new()))) }
    };
    entries.into_iter().map(capture).collect()
}

/// Reports a value that is taken from where nothing comes.
fn fits(source: &Source, kind: Option<&str>, value: &Value<'_>) {
    let has_messages = matches!(kind, Some("websocket" | "sse" | "on"));
    let (message, help) = match source {
        Source::Messages(regex) if kind == Some("request") => {
            let help = format!("write \"regex:{regex}\", or take it in a step with `websocket`, `sse` or `on`");
            ("the response to a request has no messages", help)
        }
        Source::Regex(regex) if has_messages => ("what comes here is messages", format!("write \"ws:regex:{regex}\"")),
        Source::Json(_) if has_messages => {
            ("messages are searched by a regular expression only", "write \"ws:regex:...\"".to_owned())
        }
        Source::Header(_) | Source::Cookie(_) if kind == Some("on") => {
            ("messages have no fields", "take it in the step that opens the connection".to_owned())
        }
        _ => return,
    };
    value.report(message, Some(help));
}

/// The name of a user.
fn actor_name(text: &str) -> Result<String, String> {
    if gaps::is_name(text) {
        return Ok(text.to_owned());
    }
    Err("an actor has a short name; write one such as \"b\"".to_owned())
}
