//! A journey as TOML, which `read` reads back to the same.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;
use unstick_reading::show_duration;

use super::toml_text::{Table, inline, list, quoted, text};
use super::{Act, Content, FIRST_ACTOR, Journey, Part, Request, Step, Talk};

/// How deep JSON may be nested that is written as TOML; deeper, it is written as a string.
const DEPTH_MAX: usize = 16;

/// The longest line of a comment.
const COMMENT_COLUMNS_MAX: usize = 110;

/// What is written as comments: for who edits the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remarks {
    /// Lines at the top.
    pub head: Vec<String>,
    /// Lines above a step, by its place.
    pub steps: BTreeMap<usize, Vec<String>>,
}

/// Writes a journey, with comments.
pub fn write(journey: &Journey, remarks: &Remarks) -> String {
    let mut out = comments(&remarks.head);
    out.push_str(&format!("name = {}\n", quoted(&journey.name)));
    for (place, step) in journey.steps.iter().enumerate() {
        out.push('\n');
        out.push_str(&comments(remarks.steps.get(&place).map_or(&[][..], |lines| lines)));
        out.push_str("[[step]]\n");
        out.push_str(&table(step, &journey.steps).finish("step"));
    }
    out
}

/// Comments, of which no line can become anything else.
fn comments(remarks: &[String]) -> String {
    let mut out = String::new();
    for line in remarks.iter().flat_map(|remark| remark.lines()) {
        let mut columns = 0;
        for word in line.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
            columns += word.chars().count() + 1;
            let is_first = out.is_empty() || out.ends_with('\n');
            if !is_first && columns > COMMENT_COLUMNS_MAX {
                out.push('\n');
                columns = word.chars().count() + 1;
            }
            out.push_str(if out.is_empty() || out.ends_with('\n') { "# " } else { " " });
            out.push_str(word);
        }
        if columns > 0 {
            out.push('\n');
        }
    }
    out
}

fn table(step: &Step, steps: &[Step]) -> Table {
    // A key of the model without a line here would be lost.
    let Step { name, actor, act, captures, status, must_contain, ignore, repeat, until } = step;
    let mut table = Table::default();
    table.line("name", quoted(name));
    let belongs_to_opener = matches!(act, Act::Talk(..));
    if actor != FIRST_ACTOR && !belongs_to_opener {
        table.line("actor", quoted(actor));
    }
    self::act(act, steps, &mut table);
    let captures = captures.iter().map(|capture| (capture.name.clone(), text(&capture.source.to_string())));
    table.entries("capture", captures.collect());
    if let Some(status) = status {
        table.line("expect", format!("{{ status = {} }}", status.as_u16()));
    }
    table.texts("must_contain", must_contain);
    table.texts("ignore", &ignore.iter().map(ToString::to_string).collect::<Vec<_>>());
    if *repeat != 1 {
        table.line("repeat", repeat);
    }
    if let Some(status) = until {
        table.line("until", format!("{{ status = {} }}", status.as_u16()));
    }
    table
}

fn act(act: &Act, steps: &[Step], table: &mut Table) {
    match act {
        Act::Request(request) => {
            let Request { method, target, fields: _, content, follow } = request;
            table.line("request", text(&format!("{method} {target}")));
            fields(request, table);
            self::content(content, table);
            if *follow {
                table.line("follow", true);
            }
        }
        Act::WebSocket(request, talk) => {
            table.line("websocket", text(&request.target));
            fields(request, table);
            self::talk(talk, table);
        }
        Act::EventStream(request, talk) => {
            table.line("sse", text(&request.target));
            fields(request, table);
            self::talk(talk, table);
        }
        Act::Talk(place, talk) => {
            table.line("on", quoted(steps.get(*place).map_or("", |step| &step.name)));
            self::talk(talk, table);
        }
    }
}

fn fields(request: &Request, table: &mut Table) {
    let fields: Vec<_> = request.fields.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
    if !fields.is_empty() {
        pairs("headers", &fields, table);
    }
}

fn talk(talk: &Talk, table: &mut Table) {
    table.texts("send", &talk.send);
    if let Some(receive) = &talk.receive {
        let until = text(&format!("regex:{}", receive.until));
        let within = quoted(&show_duration(receive.within));
        table.line("receive", inline(&[("until".to_owned(), until), ("within".to_owned(), within)]));
    }
}

fn content(content: &Content, table: &mut Table) {
    match content {
        Content::None => {}
        Content::Text(body) => table.line("body", text(body)),
        Content::Bytes(bytes) => table.line("base64", quoted(&STANDARD.encode(bytes))),
        Content::Json(json) => self::json(json, table),
        Content::Form(form) => pairs("form", form, table),
        Content::Multipart(parts) => table.list("multipart", &parts.iter().map(part).collect::<Vec<_>>()),
    }
}

fn part(part: &Part) -> String {
    let Part { name, filename, media_type, content } = part;
    let mut entries = vec![("name".to_owned(), quoted(name))];
    entries.extend(filename.iter().map(|filename| ("filename".to_owned(), quoted(filename))));
    entries.extend(media_type.iter().map(|media_type| ("type".to_owned(), quoted(media_type))));
    entries.push(("content".to_owned(), quoted(content)));
    inline(&entries)
}

/// Names and texts in their order: a table if names that are equal stand together, else a list of pairs.
fn pairs(name: &str, pairs: &[(String, String)], table: &mut Table) {
    let mut grouped: Vec<(String, Vec<String>)> = Vec::new();
    for (name, value) in pairs {
        match grouped.last_mut() {
            Some((last, values)) if last == name => values.push(text(value)),
            _ => grouped.push((name.clone(), vec![text(value)])),
        }
    }
    let names: std::collections::BTreeSet<_> = grouped.iter().map(|(name, _)| name).collect();
    if names.len() < grouped.len() {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| list(&[quoted(name), text(value)])).collect();
        return table.list(name, &pairs);
    }
    if grouped.is_empty() {
        return table.line(name, "{}");
    }
    let value = |values: Vec<String>| match values.as_slice() {
        [one] => one.clone(),
        several => list(several),
    };
    table.entries(name, grouped.into_iter().map(|(name, values)| (name, value(values))).collect());
}

fn json(json: &Json, table: &mut Table) {
    match json {
        Json::Object(map) if !map.is_empty() && is_toml(json, 0) => {
            table.entries("json", map.iter().map(|(key, inner)| (key.clone(), json_value(inner))).collect());
        }
        Json::String(_) => table.line("json", text(&json.to_string())),
        _ if is_toml(json, 0) => table.line("json", json_value(json)),
        _ => table.line("json", text(&json.to_string())),
    }
}

/// Whether TOML can say it: it has no null, and whole numbers of 64 bits with a sign.
fn is_toml(json: &Json, depth: usize) -> bool {
    depth < DEPTH_MAX
        && match json {
            Json::Null => false,
            Json::Number(number) => number.is_i64() || number.is_f64(),
            Json::Array(elements) => elements.iter().all(|element| is_toml(element, depth + 1)),
            Json::Object(map) => map.values().all(|inner| is_toml(inner, depth + 1)),
            Json::Bool(_) | Json::String(_) => true,
        }
}

fn json_value(json: &Json) -> String {
    match json {
        Json::String(string) => text(string),
        Json::Array(elements) => list(&elements.iter().map(json_value).collect::<Vec<_>>()),
        Json::Object(map) => {
            inline(&map.iter().map(|(key, inner)| (key.clone(), json_value(inner))).collect::<Vec<_>>())
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderName, StatusCode};
    use proptest::prelude::*;

    use super::*;
    use crate::journey::{Capture, Ignored, JsonPath, PathPart, Receive, Source, gaps, read, regex};

    fn name() -> impl Strategy<Value = String> {
        "[a-zA-Z_][a-zA-Z0-9_-]{0,9}".prop_filter("reserved", |name| name != "unique")
    }

    /// Whether an earlier step fills all gaps.
    fn is_filled(text: &str) -> bool {
        gaps(text).all(|gap| gap.name == "unique")
    }

    /// Any text, with what is difficult in TOML.
    fn any_text() -> impl Strategy<Value = String> {
        let odd = "(\\PC|[\"'\\\\\n\r\t#=\\[\\]{},.]|\u{0}|\u{7f}|\u{85}|\u{202e}|\\{\\{unique\\}\\}){0,12}";
        odd.prop_filter("a gap", |text| is_filled(text))
    }

    fn path() -> impl Strategy<Value = JsonPath> {
        let part =
            prop_oneof![any_text().prop_map(PathPart::Key), (0..9usize).prop_map(PathPart::Index), Just(PathPart::Any)];
        prop::collection::vec(part, 0..4).prop_map(JsonPath)
    }

    fn source() -> impl Strategy<Value = Source> {
        let patterns = vec!["a(b)c", "\"'", "\\d+\\.", "x: y; z", "name=\"t\" value=\"([^\"]+)\"", "\\n"];
        prop_oneof![
            prop::sample::select(patterns).prop_map(|pattern| Source::Regex(regex(pattern).unwrap())),
            path().prop_map(Source::Json),
            "[a-z-]{1,9}".prop_map(|name| Source::Header(name.parse().unwrap())),
            "[a-zA-Z.%!-]{1,9}".prop_map(Source::Cookie),
        ]
    }

    fn ignored() -> impl Strategy<Value = Ignored> {
        prop_oneof![
            Just(Ignored::Body),
            path().prop_map(Ignored::Json),
            Just(Ignored::Regex(regex("a\\s'\"").unwrap())),
            Just(Ignored::Cookie("sid".into())),
            Just(Ignored::Header("date".parse().unwrap())),
        ]
    }

    fn json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            any::<u64>().prop_map(Json::from),
            (-1e9..1e9f64).prop_map(Json::from),
            any_text().prop_map(Json::from),
        ];
        leaf.prop_recursive(20, 24, 3, |inner| {
            let map = prop::collection::btree_map(any_text(), inner.clone(), 0..3);
            prop_oneof![
                prop::collection::vec(inner, 0..3).prop_map(Json::from),
                map.prop_map(|map| Json::Object(map.into_iter().collect())),
            ]
        })
    }

    fn content() -> impl Strategy<Value = Content> {
        let kind = prop::option::of(Just("text/plain; charset=utf-8".to_owned()));
        let part = (any_text(), prop::option::of(any_text()), kind, any_text());
        let part = part.prop_map(|(name, filename, media_type, content)| Part { name, filename, media_type, content });
        let pair = (prop::sample::select(vec!["a", "b", "c d", ""]).prop_map(str::to_owned), any_text());
        prop_oneof![
            Just(Content::None),
            any_text().prop_map(Content::Text),
            prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Content::Bytes(bytes.into())),
            json().prop_map(Content::Json),
            prop::collection::vec(pair, 0..5).prop_map(Content::Form),
            prop::collection::vec(part, 0..3).prop_map(Content::Multipart),
        ]
    }

    fn request() -> impl Strategy<Value = Request> {
        let method = prop::sample::select(vec!["GET", "POST", "DELETE", "PROPFIND"]);
        let target = "/[a-zA-Z0-9%?&=/~.'{}-]{0,12}".prop_filter("a gap", |text| is_filled(text));
        let fields = prop::collection::vec(("x-[a-c]", "([!-~]{1,60})|()"), 0..4);
        (method, target, fields, content(), any::<bool>()).prop_map(|(method, target, fields, content, follow)| {
            let fields = fields.into_iter().filter(|(_, value)| is_filled(value));
            let fields = fields.map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value)).collect();
            Request { method: method.parse().unwrap(), target, fields, content, follow }
        })
    }

    fn talk() -> impl Strategy<Value = Talk> {
        let receive = (1..600u64, prop::sample::select(vec!["\"", "a{{unique}}\\d", ""]));
        let receive = receive
            .prop_map(|(tens, until)| Receive { until: until.to_owned(), within: Duration::from_millis(tens * 100) });
        (prop::collection::vec(any_text(), 0..3), prop::option::of(receive))
            .prop_map(|(send, receive)| Talk { send, receive })
    }

    fn step() -> impl Strategy<Value = Step> {
        let status = || prop::option::of((100..600u16).prop_map(|code| StatusCode::from_u16(code).unwrap()));
        let captures = prop::collection::btree_map(name(), source(), 0..3);
        let captures =
            captures.prop_map(|map| map.into_iter().map(|(name, source)| Capture { name, source }).collect());
        let (texts, parts) = (prop::collection::vec(any_text(), 0..3), prop::collection::vec(ignored(), 0..3));
        (request(), name(), captures, status(), texts, parts, 1..9u32, status()).prop_map(
            |(request, actor, captures, status, must_contain, ignore, repeat, until)| Step {
                name: String::new(),
                actor,
                act: Act::Request(request),
                captures,
                status,
                must_contain,
                ignore,
                repeat,
                until: until.filter(|_| repeat > 1),
            },
        )
    }

    /// The steps, then a WebSocket and an event stream, and what goes on with both.
    fn opened(mut steps: Vec<Step>, like: &Step, opening: Talk, talk: Talk) -> Vec<Step> {
        let Act::Request(Request { target, fields, .. }) = like.act.clone() else { return steps };
        let opened = Request { fields, ..Request::get(target) };
        let with = |act, status| Step { act, status, captures: Vec::new(), repeat: 1, until: None, ..like.clone() };
        let silent = Talk { send: Vec::new(), receive: talk.receive.clone() };
        let place = steps.len();
        steps.push(with(Act::WebSocket(opened.clone(), opening), like.status));
        steps.push(with(Act::EventStream(opened, silent.clone()), like.status));
        steps.push(with(Act::Talk(place, talk), None));
        steps.push(with(Act::Talk(place + 1, silent), None));
        steps
    }

    fn journey() -> impl Strategy<Value = Journey> {
        let title = "[^\\p{C}]{1,30}".prop_filter("blank", |text| !text.trim().is_empty());
        let parts = (title, prop::collection::vec(step(), 0..4), step(), talk(), talk());
        parts.prop_map(|(title, steps, like, opening, talk)| {
            let mut steps = opened(steps, &like, opening, talk);
            for (place, step) in steps.iter_mut().enumerate() {
                step.name = format!("{title} {place}");
            }
            Journey { name: title, steps }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn what_is_written_is_read_back(journey in journey(), remark in any_text()) {
            let remarks = Remarks { head: vec![remark.clone()], steps: BTreeMap::from([(0, vec![remark])]) };
            let text = write(&journey, &remarks);
            let again = read("again.toml", &text).unwrap_or_else(|problems| panic!("{problems}\n{text}")).journey;
            prop_assert_eq!(format!("{:#?}", again), format!("{:#?}", journey), "{}", text);
        }
    }

    #[test]
    fn a_journey_is_easy_to_read() {
        let text = r#"# review: the order
name = "buy"

[[step]]
name = "form"
request = "GET /login"
capture = { csrf = 'regex:name="csrf" value="([^"]+)"' }

# once
[[step]]
name = "login"
actor = "b"
request = "POST /login"
headers = { accept = "text/html" }
form = { user = "u-{{unique}}", csrf = "{{csrf}}" }
expect = { status = 302 }
must_contain = ["a", 'b"']
repeat = 3
until = { status = 429 }
"#;
        let written = read("x.toml", text).unwrap_or_else(|problems| panic!("{problems}"));
        let remarks =
            Remarks { head: vec!["review: the order".into()], steps: BTreeMap::from([(1, vec!["once".into()])]) };
        assert_eq!(write(&written.journey, &remarks), text);
    }
}
