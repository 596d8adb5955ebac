//! A journey from a HAR (HTTP Archive 1.2), as the developer tools of Chromium and Firefox save it.
//!
//! Entries become steps (`choose`, `convert`, `body`); values that a response brought and a later request sends again
//! become captures (`values`, `origin`, `replace`). Cookies are not among them: the jar of the actor has them, so the
//! recorded `Cookie` is left out.

mod body;
mod choose;
mod convert;
mod model;
mod origin;
mod own_names;
mod recorded;
mod replace;
mod secrets;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead as _, BufReader, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::error::Category;

use self::choose::{Chosen, choose};
use self::convert::convert;
use self::model::{Archive, Entry};
use self::origin::Seen;
pub use self::recorded::{Recorded, from_recorded};
use self::values::Exchange;
use super::{Act, Journey, Remarks, STEPS_MAX};

/// The most bytes of an archive.
pub const BYTES_MAX: u64 = 256 << 20;

/// What some tools write before the text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What came of an archive.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The journey.
    pub journey: Journey,
    /// The host that was recorded. Asked for the same, an application makes the same links, and `Origin` fits.
    pub host: String,
    /// What was left out, and what to look at, in sentences.
    pub notes: Vec<String>,
    /// The comments of the journey that is written.
    pub remarks: Remarks,
}

/// Why an archive makes no journey.
#[derive(Debug, thiserror::Error)]
pub enum HarError {
    /// It cannot be read.
    #[error("cannot read {0}")]
    Read(String, #[source] io::Error),
    /// It is too large.
    #[error("{0} has more than {max} MiB; record less of the application", max = BYTES_MAX >> 20)]
    TooLarge(String),
    /// It breaks off, or is no JSON at all.
    #[error("{0} is not JSON: {1}; save it again with \"Save all as HAR\" in the network panel of the browser")]
    Syntax(String, serde_json::Error),
    /// It lacks something.
    #[error("{0} is not a HAR: {1}; save it with \"Save all as HAR\" in the network panel of the browser")]
    Shape(String, serde_json::Error),
    /// It has no request at all.
    #[error("{0} has no requests; open the network panel before you click through the application")]
    Empty(String),
    /// No request makes a step.
    #[error("{0} has {1} requests, but none of them makes a step: files, other hosts, or no response")]
    NothingLeft(String, usize),
}

/// Reads an archive; `file_name` is what errors call it.
///
/// # Errors
/// Why it makes no journey.
pub fn read_har(file_name: &str, archive: &mut dyn Read) -> Result<Imported, HarError> {
    read_within(BYTES_MAX, file_name, archive)
}

fn read_within(bytes_max: u64, file_name: &str, archive: &mut dyn Read) -> Result<Imported, HarError> {
    let name = || file_name.to_owned();
    let mut bounded = archive.take(bytes_max + 1);
    let mut buffered = BufReader::with_capacity(1 << 16, &mut bounded);
    let start = buffered.fill_buf().map_err(|error| HarError::Read(name(), error))?;
    let mark = if start.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    buffered.consume(mark);
    let read: Result<Archive, _> = serde_json::from_reader(buffered);
    if bounded.limit() == 0 {
        return Err(HarError::TooLarge(name()));
    }
    let archive = read.map_err(|error| match error.classify() {
        Category::Io => HarError::Read(name(), error.into()),
        Category::Data => HarError::Shape(name(), error),
        Category::Syntax | Category::Eof => HarError::Syntax(name(), error),
    })?;
    let count = archive.log.entries.len();
    if count == 0 {
        return Err(HarError::Empty(name()));
    }
    let chosen = choose(archive.log.entries).ok_or_else(|| HarError::NothingLeft(name(), count))?;
    imported(file_name, &format!("from {file_name}, "), chosen).ok_or_else(|| HarError::NothingLeft(name(), count))
}

/// `from` begins the first comment of the journey.
fn imported(file_name: &str, from: &str, chosen: Chosen) -> Option<Imported> {
    let Chosen { host, entries, mut notes } = chosen;
    let all: Vec<_> = entries.iter().map(|(_, entry)| entry).collect();
    notes.extend(foreign_cookies(&all).or_else(|| without_secrets(&all)));
    let (mut exchanges, mut remarks) = (Vec::new(), BTreeMap::<usize, Vec<String>>::new());
    let mut surplus = 0;
    for (place, entry) in entries {
        let Some(converted) = convert(&place, &entry) else { continue };
        if exchanges.len() == STEPS_MAX {
            surplus += 1;
            continue;
        }
        if !converted.remarks.is_empty() {
            remarks.insert(exchanges.len(), converted.remarks);
        }
        exchanges.push(Exchange { step: converted.step, seen: seen(entry) });
    }
    if surplus > 0 {
        notes.push(format!("the last {surplus} requests are left out: a journey has at most {STEPS_MAX} steps"));
    }
    let captured = values::link(&mut exchanges);
    for (place, lines) in captured.into_iter().chain(own_names::make_unique(&mut exchanges)) {
        remarks.entry(place).or_default().extend(lines);
    }
    for (place, exchange) in exchanges.iter().enumerate() {
        let secrets = secrets::names(&exchange.step).into_iter();
        let lines = secrets.map(|name| format!("review: `{name}` is a secret and stands here as it was recorded"));
        remarks.entry(place).or_default().extend(lines);
    }
    remarks.retain(|_, lines| !lines.is_empty());
    notes.extend(typed_values(&exchanges));
    let mut steps: Vec<_> = exchanges.into_iter().map(|exchange| exchange.step).collect();
    name_apart(&mut steps);
    let stem = std::path::Path::new(file_name).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let name = super::texts::name(&stem.unwrap_or_default()).unwrap_or_else(|_| host.clone());
    let head = std::iter::once(format!("{from}recorded at {host}")).chain(notes.iter().cloned()).collect();
    let remarks = Remarks { head, steps: remarks };
    (!steps.is_empty()).then_some(Imported { journey: Journey { name, steps }, host, notes, remarks })
}

/// Tells steps of one name apart by a number.
fn name_apart(steps: &mut [super::Step]) {
    let mut names = BTreeSet::new();
    for step in steps {
        let numbered = (2..).map(|number| format!("{} {number}", step.name));
        let free = std::iter::once(step.name.clone()).chain(numbered).find(|name| !names.contains(name));
        step.name = free.unwrap_or_default();
        names.insert(step.name.clone());
    }
}

/// What the response of an entry was.
fn seen(entry: Entry) -> Seen {
    let is_json = entry.response.media_type().ends_with("json");
    let (mut fields, mut cookies) = (Vec::new(), Vec::new());
    for field in entry.response.headers {
        let name = field.name.to_ascii_lowercase();
        if name != "set-cookie" {
            fields.push((name, field.value));
            continue;
        }
        // Several are one field in some archives, with a line each.
        let set = field.value.lines().filter_map(|line| line.split(';').next()?.split_once('='));
        cookies.extend(set.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())));
    }
    let text = entry.response.content.text.0.unwrap_or_default();
    let body = match entry.response.content.encoding.as_deref() {
        Some("base64") => {
            STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
        }
        _ => text,
    };
    let json = if is_json { serde_json::from_str(&body).ok() } else { None };
    Seen { fields, cookies, json, body }
}

/// Cookies that were sent although no response had set them: the journey begins without them.
fn foreign_cookies(entries: &[&Entry]) -> Option<String> {
    let (mut set, mut foreign) = (BTreeSet::new(), BTreeSet::new());
    for entry in entries {
        let sent = entry.request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("cookie"));
        let sent = sent.flat_map(|field| field.value.split(';')).filter_map(|pair| pair.trim().split_once('='));
        foreign.extend(sent.map(|(name, _)| name.to_owned()).filter(|name| !set.contains(name)));
        let fields = entry.response.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("set-cookie"));
        let lines = fields.flat_map(|field| field.value.lines()).filter_map(|line| line.split_once('='));
        set.extend(lines.map(|(name, _)| name.trim().to_owned()));
    }
    let names: Vec<_> = foreign.into_iter().collect();
    (!names.is_empty()).then(|| {
        format!(
            "cookies were sent that no response had set ({}): they are not in the journey; record in a private window, \
             from before you log in",
            names.join(", ")
        )
    })
}

/// Chromium leaves out cookies and `Authorization` unless it is told to export them.
fn without_secrets(entries: &[&Entry]) -> Option<String> {
    let is_secret =
        |name: &str| ["cookie", "set-cookie", "authorization"].iter().any(|one| name.eq_ignore_ascii_case(one));
    let fields = entries.iter().flat_map(|entry| entry.request.headers.iter().chain(&entry.response.headers));
    let fields: Vec<_> = fields.collect();
    (!fields.is_empty() && !fields.iter().any(|field| is_secret(&field.name))).then(|| {
        "there are neither cookies nor Authorization: if the application needs one of them, export the archive with \
         sensitive data"
            .to_owned()
    })
}

/// What users have typed may be refused the second time.
fn typed_values(exchanges: &[Exchange]) -> Option<String> {
    let writes = |exchange: &Exchange| match &exchange.step.act {
        Act::Request(request) => !request.method.is_safe() && !matches!(request.content, super::Content::None),
        _ => false,
    };
    exchanges.iter().any(writes).then(|| {
        "what was typed is sent as it was: where an application takes a name only once, write {{unique}} into it"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::journey::{Content, Step, read, write};

    /// An entry; fields as pairs.
    fn entry(
        method: &str,
        url: &str,
        sent: &[(&str, &str)],
        post: Value,
        status: u16,
        came: &[(&str, &str)],
        body: Value,
    ) -> Value {
        let fields = |pairs: &[(&str, &str)]| -> Vec<Value> {
            pairs.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
        };
        let mut request = json!({ "method": method, "url": url, "headers": fields(sent), "cookies": [] });
        if !post.is_null() {
            request["postData"] = post;
        }
        json!({
            "startedDateTime": "2026-11-27T10:00:00.000Z", "request": request,
            "response": { "status": status, "headers": fields(came), "content": body, "redirectURL": "" },
        })
    }

    fn get(url: &str, kind: &str, text: &str) -> Value {
        entry("GET", url, &[], Value::Null, 200, &[], json!({ "mimeType": kind, "text": text }))
    }

    fn har(entries: Vec<Value>) -> Result<Imported, HarError> {
        read_har("shop.har", &mut json!({ "log": { "version": "1.2", "entries": entries } }).to_string().as_bytes())
    }

    /// The steps as they are written, after it was shown that they are read back.
    fn written(imported: &Imported) -> String {
        let text = write(&imported.journey, &Remarks::default());
        let again = read("shop.toml", &text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        assert_eq!(format!("{:?}", again.journey), format!("{:?}", imported.journey), "{text}");
        text
    }

    /// A log-in, an order and a look at it, as a browser sends them.
    fn shop() -> Vec<Value> {
        let base = "http://localhost:3000";
        let form = "<form><input type=\"hidden\" name=\"csrf\" value=\"c5Rf-98ab76\"><input name=\"user\"></form>";
        let browser = [
            ("Host", "localhost:3000"),
            ("User-Agent", "Mozilla/5.0"),
            ("sec-ch-ua", "\"x\""),
            ("Accept", "text/html,application/xhtml+xml,*/*;q=0.8"),
            ("Accept-Encoding", "gzip"),
            ("Cookie", "sid=9f8e7d6c5b; old=1"),
        ];
        let html = |text: &str| json!({ "mimeType": "text/html; charset=utf-8", "text": text });
        let form_type = json!({ "mimeType": "application/x-www-form-urlencoded", "text":
            "user=ada&password=pw&csrf=c5Rf-98ab76", "params": [{ "name": "user", "value": "wrong" }] });
        let order =
            json!({ "mimeType": "application/json", "text": "{\"sku\":\"a-1\",\"cart\":88123456,\"note\":null}" });
        let api =
            [("Authorization", "Bearer eyJ0b2tlbiI6MX0"), ("Content-Type", "application/json"), ("Accept", "*/*")];
        let set =
            [("Set-Cookie", "sid=9f8e7d6c5b; Path=/\nlang=de"), ("Set-Cookie", "seen=1"), ("Location", "/home?from=x")];
        vec![
            entry("GET", &format!("{base}/login"), &browser, Value::Null, 200, &[], html(form)),
            get(&format!("{base}/logo.png"), "image/png", ""),
            get("https://cdn.example.com/x.json", "application/json", "{}"),
            get(&format!("{base}/app.js?v=1"), "", ""),
            entry("POST", &format!("{base}/login"), &browser, form_type, 302, &set, html("")),
            entry(
                "GET",
                &format!("{base}/api/me"),
                &browser[..1],
                Value::Null,
                200,
                &[],
                json!({ "mimeType": "application/json", "encoding": "base64",
                    "text": STANDARD.encode("{\"token\":\"eyJ0b2tlbiI6MX0\",\"cart\":{\"id\":88123456}}") }),
            ),
            entry(
                "POST",
                &format!("{base}/api/orders"),
                &api,
                order,
                201,
                &[("Location", "http://localhost:3000/orders/o-77aa88")],
                html(""),
            ),
            entry("GET", &format!("{base}/orders/o-77aa88"), &api[..1], Value::Null, 200, &[], html("<b>1</b>")),
            entry(
                "POST",
                &format!("{base}/orders/o-77aa88/pay?cart=88123456"),
                &[],
                Value::Null,
                200,
                &[],
                html("paid"),
            ),
        ]
    }

    #[test]
    fn a_recording_becomes_a_journey() {
        let imported = har(shop()).unwrap();
        let expected = r#"name = "shop"

[[step]]
name = "GET /login"
request = "GET /login"
headers = { accept = "text/html" }
capture = { csrf = 'regex:name="csrf" value="([^"]+)"' }

[[step]]
name = "POST /login"
request = "POST /login"
headers = { accept = "text/html" }
form = { user = "ada", password = "pw", csrf = "{{csrf}}" }

[[step]]
name = "GET /api/me"
request = "GET /api/me"
capture = { token = "json:$.token", id = "json:$.cart.id" }

[[step]]
name = "POST /api/orders"
request = "POST /api/orders"
headers = { authorization = "Bearer {{token}}", content-type = "application/json" }
body = '{"cart":{{id}},"note":null,"sku":"a-1"}'
capture = { location = "header:location" }

[[step]]
name = "GET /orders/o-77aa88"
request = "GET {{location}}"
headers = { authorization = "Bearer {{token}}" }

[[step]]
name = "POST /orders/o-77aa88/pay"
request = "POST {{location}}/pay?cart={{id}}"
"#;
        assert_eq!((written(&imported).as_str(), imported.host.as_str()), (expected, "localhost:3000"));
        let notes = imported.notes.join("\n");
        for part in [
            "1 request to cdn.example.com is left out",
            "2 static files",
            "no response had set (old, sid)",
            "{{unique}}",
        ] {
            assert!(notes.contains(part), "{part}: {notes}");
        }
        let text = write(&imported.journey, &imported.remarks);
        assert!(text.starts_with("# from shop.har, recorded at localhost:3000\n# 1 request to cdn"), "{text}");
        assert!(
            text.contains("# review: `password` is a secret and stands here as it was recorded\n[[step]]"),
            "{text}"
        );
        assert!(text.contains("# review: `csrf` was taken because later steps send it again\n[[step]]"), "{text}");
    }

    #[test]
    fn a_redirect_is_followed_by_its_field_not_by_its_page() {
        let (place, form) = ("http://a.b/account/acc-77aa88", json!({ "mimeType": "text/plain", "text": "x" }));
        let page = json!({ "mimeType": "text/html", "text": format!("See Other. Redirecting to {place}") });
        let made = entry("POST", "http://a.b/new", &[], form, 303, &[("Location", place)], page);
        let text = written(&har(vec![made, get(place, "text/html", "hello")]).unwrap());
        for part in ["capture = { location = \"header:location\" }", "request = \"GET {{location}}\""] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
    }

    #[test]
    fn what_is_left_out_is_told() {
        let base = "http://a.b";
        let mut cached = get("http://a.b/cached", "text/html", "");
        cached["_fromCache"] = json!("disk");
        let mut preflight = get("http://a.b/api", "", "");
        preflight["request"]["method"] = json!("OPTIONS");
        preflight["request"]["headers"] = json!([{ "name": "Access-Control-Request-Method", "value": "PUT" }]);
        let mut lost = get("http://a.b/lost", "", "");
        lost["response"]["status"] = json!(0);
        let mut upload = get("http://a.b/photo.png", "image/png", "");
        upload["request"]["method"] = json!("PUT");
        let entries = vec![
            cached,
            preflight,
            lost,
            upload,
            get(base, "text/html", ""),
            get("http://a.b/data.js", "application/json", ""),
        ];
        let imported = har(entries).unwrap();
        let names: Vec<_> = imported.journey.steps.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(names, ["PUT /photo.png", "GET /", "GET /data.js"]);
        assert_eq!(imported.notes, ["1 request is left out that got no response while it was recorded"]);
    }

    #[test]
    fn connections_are_steps_to_look_at() {
        let mut socket = get("ws://a.b/ws?room=1", "", "");
        socket["_webSocketMessages"] = json!([
            { "type": "send", "time": 1.5, "opcode": 1, "data": "hello" },
            { "type": "receive", "time": 1.6, "opcode": 1, "data": "welcome" },
            { "type": "send", "time": 1.7, "opcode": 2, "data": "AAAA" },
        ]);
        socket["response"]["status"] = json!(101);
        let imported =
            har(vec![get("http://a.b/", "text/html", ""), socket, get("http://a.b/e", "text/event-stream", "")])
                .unwrap();
        let text = written(&imported);
        assert!(text.contains("websocket = \"/ws?room=1\"\nsend = [\"hello\"]\n"), "{text}");
        assert!(text.contains("sse = \"/e\"\n"), "{text}");
        assert_eq!(imported.remarks.steps.keys().copied().collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn nothing_that_is_recorded_fills_itself_or_breaks_the_file() {
        let post = json!({ "mimeType": "application/json", "text": "{\"a\":\"{{name}}\"}" });
        let odd =
            [("X-Odd", "{{name}}"), ("X-Line", "a\r\nb"), ("Bad Name", "x"), (":method", "POST"), ("X-Fine", "y")];
        let url = "http://a.b/t/{{name}}/a b\"|é?q={{x}}#f";
        let imported = har(vec![entry("POST", url, &odd, post, 200, &[], json!({}))]).unwrap();
        written(&imported);
        let [Step { act: Act::Request(request), .. }] = &imported.journey.steps[..] else { panic!("one step") };
        assert_eq!(request.target, "/t/%7B%7Bname%7D%7D/a%20b%22%7C%C3%A9?q=%7B%7Bx%7D%7D");
        assert!(matches!(&request.content, Content::Bytes(bytes) if bytes == "{\"a\":\"{{name}}\"}"));
        let fields: Vec<_> = request.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(fields, [("x-fine", "y"), ("content-type", "application/json")]);
    }

    #[test]
    fn what_is_no_archive_says_what_is_missing() {
        for (text, part) in [
            ("", "x.har is not JSON: EOF"),
            ("<html>", "x.har is not JSON: expected value at line 1 column 1"),
            ("{\"log\":{\"entries\":[{", "x.har is not JSON: EOF"),
            ("{}", "x.har is not a HAR: missing field `log`"),
            ("{\"log\":{}}", "missing field `entries`"),
            ("{\"log\":{\"entries\":[{\"request\":{\"method\":\"GET\"}}]}}", "missing field `url`"),
            (
                "{\"log\":{\"entries\":[{\"request\":{\"method\":\"GET\",\"url\":1}}]}}",
                "invalid type: integer `1`, expected a string",
            ),
            ("{\"log\":{\"entries\":[]}}", "x.har has no requests"),
            (
                "{\"log\":{\"entries\":[{\"request\":{\"method\":\"GET\",\"url\":\"data:,x\"},\"response\":{}}]}}",
                "1 requests, but none of them makes a step",
            ),
        ] {
            let error = read_har("x.har", &mut text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn an_archive_without_an_end_is_too_large() {
        let endless = || "{\"log\":{\"entries\":[".as_bytes().chain(io::repeat(b' '));
        assert!(matches!(read_within(1 << 16, "x.har", &mut endless()), Err(HarError::TooLarge(_))));
        let error = HarError::TooLarge("x.har".into()).to_string();
        assert_eq!(error, "x.har has more than 256 MiB; record less of the application");
    }

    #[test]
    fn a_byte_order_mark_is_passed_over() {
        let text = format!("\u{feff}{}", json!({ "log": { "entries": [get("http://a.b/", "text/html", "")] } }));
        assert_eq!(read_har("x.har", &mut text.as_bytes()).unwrap().journey.steps.len(), 1);
    }

    #[test]
    fn an_archive_without_secrets_says_so() {
        let entries = |sent: &[(&str, &str)]| vec![entry("GET", "http://a.b/", sent, Value::Null, 200, &[], json!({}))];
        let notes = |sent: &[(&str, &str)]| har(entries(sent)).unwrap().notes.join(" ");
        assert!(notes(&[("Accept", "*/*")]).contains("export the archive with sensitive data"));
        assert!(!notes(&[("authorization", "Basic eDp5")]).contains("sensitive"));
        assert!(notes(&[("Cookie", "a=b")]).contains("no response had set (a)"));
    }

    #[test]
    fn only_the_first_steps_are_taken() {
        let entries =
            (0..STEPS_MAX + 5).map(|place| get(&format!("http://a.b/{}", place % 2), "text/html", "")).collect();
        let imported = har(entries).unwrap();
        assert_eq!(imported.journey.steps.len(), STEPS_MAX);
        assert!(
            imported.notes.contains(&"the last 5 requests are left out: a journey has at most 200 steps".to_owned())
        );
        written(&imported);
    }

    #[test]
    fn what_a_user_has_typed_is_no_value_of_the_application() {
        let page = json!({ "mimeType": "text/html", "text": "<b id=user>ada1815</b>" });
        let form = json!({ "mimeType": "application/x-www-form-urlencoded", "text": "user=ada1815" });
        let entries = vec![
            entry("POST", "http://a.b/register", &[], form.clone(), 200, &[], page.clone()),
            entry("POST", "http://a.b/login", &[], form, 200, &[], page),
        ];
        let imported = har(entries).unwrap();
        assert!(imported.journey.steps.iter().all(|step| step.captures.is_empty()), "{}", written(&imported));
    }

    #[test]
    fn a_cookie_that_is_sent_as_a_field_too_is_taken() {
        let set = [("set-cookie", "XSRF-TOKEN=x5-77f0a1; Path=/")];
        let sent = [("X-XSRF-TOKEN", "x5-77f0a1"), ("Cookie", "XSRF-TOKEN=x5-77f0a1")];
        let entries = vec![
            entry("GET", "http://a.b/", &[], Value::Null, 200, &set, json!({ "mimeType": "text/html" })),
            entry("POST", "http://a.b/api", &sent, Value::Null, 200, &[], json!({})),
        ];
        let text = written(&har(entries).unwrap());
        assert!(text.contains("capture = { xsrf_token = \"cookie:XSRF-TOKEN\" }"), "{text}");
        assert!(text.contains("headers = { x-xsrf-token = \"{{xsrf_token}}\" }"), "{text}");
    }

    /// Puts `text` in the place of the string number `left`.
    fn put(json: &mut Value, text: &str, left: &mut usize) {
        match json {
            Value::String(string) => {
                if *left == 0 {
                    *string = text.to_owned();
                }
                *left = left.wrapping_sub(1);
            }
            Value::Array(elements) => elements.iter_mut().for_each(|element| put(element, text, left)),
            Value::Object(map) => map.values_mut().for_each(|inner| put(inner, text, left)),
            _ => {}
        }
    }

    /// What breaks texts, and values that the recording has.
    fn odd() -> impl Strategy<Value = String> {
        let parts = "{{unique}}¦{{x}}¦a={{x}}¦[\"{{x}}\"]¦{{¦}}¦\"¦'¦\n¦\r\n¦\u{0}¦\u{202e}¦#¦ ¦%¦+¦é¦/¦?¦http://¦\
                     localhost:3000¦88123456¦\
                     /orders/o-77aa88¦eyJ0b2tlbiI6MX0¦c5Rf-98ab76¦POST¦name=\"a¦location¦set-cookie¦\
                     content-type¦--x\r\n¦\
                     multipart/form-data; boundary=x¦{\"a\":88123456}¦base64";
        let parts: Vec<&str> = parts.split('¦').collect();
        prop::collection::vec(prop::sample::select(parts), 0..4).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn whatever_is_recorded_can_be_written_and_read(
            changes in prop::collection::vec((any::<prop::sample::Index>(), odd()), 1..6),
        ) {
            let mut archive = json!({ "log": { "entries": shop() } });
            let mut unchanged = usize::MAX;
            put(&mut archive, "", &mut unchanged);
            for (place, text) in changes {
                put(&mut archive, &text, &mut place.index(usize::MAX - unchanged));
            }
            if let Ok(imported) = read_har("shop.har", &mut archive.to_string().as_bytes()) {
                written(&imported);
            }
        }
    }
}
