//! A journey as people write it, in TOML: text to [`Journey`], or everything that is wrong with it.

use std::path::Path;

use unstick_reading::{Problems, Section, Sink, Synonyms, document};

use super::texts::name;
use super::{Journey, STEPS_MAX, check, step};

/// What other tools call the keys of a journey.
const FOREIGN: Synonyms = &[
    ("steps", "step"),
    ("requests", "step"),
    ("title", "name"),
    ("id", "name"),
    ("url", "request"),
    ("path", "request"),
    ("method", "request"),
    ("get", "request"),
    ("post", "request"),
    ("header", "headers"),
    ("data", "body"),
    ("content", "body"),
    ("text", "body"),
    ("files", "multipart"),
    ("extract", "capture"),
    ("captures", "capture"),
    ("save", "capture"),
    ("assert", "expect"),
    ("status", "expect"),
    ("contains", "must_contain"),
    ("user", "actor"),
    ("times", "repeat"),
    ("count", "repeat"),
    ("redirect", "follow"),
    ("redirects", "follow"),
    ("ws", "websocket"),
    ("events", "sse"),
    ("message", "send"),
    ("messages", "send"),
    ("timeout", "within"),
    ("pattern", "until"),
    ("code", "status"),
    ("file", "filename"),
    ("content_type", "type"),
    ("value", "content"),
    ("body", "content"),
];

/// A journey, and where it was written.
#[derive(Debug, Clone)]
pub struct Written {
    /// What was read.
    pub journey: Journey,
    /// The line of each step, counted from 1.
    pub lines: Vec<usize>,
}

/// Checks a text; `file_name` is what problems call it, and its stem names a journey that has no name.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(file_name: &str, text: &str) -> Result<Written, Problems> {
    let sink = Sink::new(file_name, text, FOREIGN);
    let document = document(&sink, 0);
    let written = if document.is_readable {
        let top = Section::new("", "", document.table.get_ref(), document.table.span(), &sink);
        Some(journey(&top, file_name))
    } else {
        None
    };
    match written {
        Some(written) if sink.is_clean() => Ok(written),
        _ => Err(sink.into_problems()),
    }
}

fn journey(top: &Section<'_>, file_name: &str) -> Written {
    let name = top.parsed("name", name);
    let sections = top.each("step");
    top.finish();
    let help = "add [[step]] with request = \"GET /\"";
    top.missing("step", 0..0, "the journey has no step", help);
    let drafts: Vec<_> = sections.iter().map(step::read).collect();
    let lines = sections.iter().map(|section| top.sink.place(section.span.start).0).collect();
    check_length(&drafts, top);
    let stem = Path::new(file_name).file_stem().map_or_else(|| "journey".into(), |stem| stem.to_string_lossy());
    let name = name.unwrap_or_else(|| stem.into_owned());
    Written { journey: Journey { name, steps: check::link(drafts, top.sink) }, lines }
}

/// Reports the step that makes the journey too long. Every repetition is a step of its own to those who place it.
fn check_length(drafts: &[step::Draft], top: &Section<'_>) {
    let total: usize = drafts.iter().map(|draft| draft.step.repeat as usize).sum();
    let mut sum = 0;
    for draft in drafts {
        sum += draft.step.repeat as usize;
        if sum > STEPS_MAX {
            let message =
                format!("the journey has {total} steps, repetitions counted: at most {STEPS_MAX} are possible");
            let help = "split it into several journeys; what they share can be copied".to_owned();
            top.sink.report(draft.span.clone(), message, Some(help));
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::journey::{Act, Content, Ignored, Request, Source};

    /// The steps of a text that is right.
    fn steps(text: &str) -> Vec<crate::journey::Step> {
        read("shop.toml", text).unwrap_or_else(|problems| panic!("{problems}")).journey.steps
    }

    /// The problems of a text, as `line:column message | help`.
    fn problems(text: &str) -> Vec<String> {
        let problems = read("shop.toml", text).map(|written| written.journey).unwrap_err();
        let line = |problem: &unstick_reading::Problem| {
            let help = problem.help.as_ref().map_or(String::new(), |help| format!(" | {help}"));
            format!("{}:{} {}{help}", problem.line, problem.column, problem.message)
        };
        problems.iter().map(line).collect()
    }

    #[test]
    fn a_journey_is_read() {
        let text = r#"
            name = "log in, buy, read back"
            [[step]]
            name    = "form"
            request = "GET /login"
            capture = { csrf = 'regex:name="csrf" value="([^"]+)"', at = "json:$.at" }
            [[step]]
            name    = "login"
            request = "POST /login"
            form    = { user = "u-{{unique}}", tags = ["b", "a"], csrf = "{{csrf}}", n = 2, yes = true }
            expect  = { status = 302 }
            follow  = true
            [[step]]
            name    = "cart"
            request = "GET /cart"
            actor   = "b"
            headers = { accept = "application/json", X-A = ["1", "2"] }
            must_contain = ["u-{{unique}}"]
            ignore  = ["json:$.served_at", "body"]
            repeat  = 5
            until   = { status = 429 }
        "#;
        let written = read("shop.toml", text).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!((&*written.journey.name, written.lines), ("log in, buy, read back", vec![3, 7, 13]));
        let [form, login, cart] = &written.journey.steps[..] else { panic!("three steps") };
        let names: Vec<_> = form.captures.iter().map(|capture| capture.name.as_str()).collect();
        assert_eq!((names, &*form.actor, form.repeat), (vec!["csrf", "at"], "a", 1));
        assert!(matches!(&form.captures[0].source, Source::Regex(regex) if regex.as_str().starts_with("name=")));
        let Act::Request(Request { method, target, content: Content::Form(pairs), follow: true, .. }) = &login.act
        else {
            panic!("{login:?}")
        };
        let expected =
            [("user", "u-{{unique}}"), ("tags", "b"), ("tags", "a"), ("csrf", "{{csrf}}"), ("n", "2"), ("yes", "true")];
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!((method.as_str(), target.as_str(), pairs), ("POST", "/login", expected.to_vec()));
        assert_eq!(login.status.map(|status| status.as_u16()), Some(302));
        assert_eq!((cart.repeat, cart.until.map(|status| status.as_u16()), &*cart.actor), (5, Some(429), "b"));
        assert!(matches!(&cart.ignore[..], [Ignored::Json(_), Ignored::Body]));
        let Act::Request(request) = &cart.act else { panic!("{cart:?}") };
        let fields: Vec<_> = request.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(fields, [("accept", "application/json"), ("x-a", "1"), ("x-a", "2")]);
    }

    #[test]
    fn connections_stay_open_by_name() {
        let steps = steps(
            r#"
            [[step]]
            name = "room"
            websocket = "/ws"
            actor = "b"
            send = ["hello {{unique}}"]
            receive = { until = "regex:welcome {{unique}}", within = "2s" }
            capture = { id = "ws:regex:id=([0-9]+)" }
            [[step]]
            sse = "/events"
            [[step]]
            on = "room"
            send = "{{id}}"
            receive = { until = "regex:x{{id}}" }
            "#,
        );
        let [room, events, talk] = &steps[..] else { panic!("three steps") };
        assert!(matches!(&room.act, Act::WebSocket(request, said) if request.target == "/ws" && said.send.len() == 1));
        assert_eq!((&*events.name, &*talk.name, &*talk.actor), ("events /events", "send", "b"));
        let Act::Talk(0, said) = &talk.act else { panic!("{talk:?}") };
        assert_eq!(said.receive.as_ref().map(|receive| receive.within.as_secs()), Some(5));
    }

    #[test]
    fn contents_are_read() {
        for (content, expected) in [
            ("body = \"a{{unique}}\"", r#"Text("a{{unique}}")"#),
            ("base64 = \"AAH/\"", r#"Bytes(b"\0\x01\xff")"#),
            ("json = { b = [1, -2.5, true, {}], a = \"{{unique}}\" }", r#"{"a":"{{unique}}","b":[1,-2.5,true,{}]}"#),
            ("json = '{\"a\": null, \"n\": 18446744073709551615}'", r#"{"a":null,"n":18446744073709551615}"#),
            ("json = '\"text\"'", r#""text""#),
            ("json = [1]\n[step.headers]\na = \"b\"", "[1]"),
            ("form = [[\"a\", \"1\"], [\"b\", 2], [\"a\", \"3\"]]", r#"Form([("a", "1"), ("b", "2"), ("a", "3")])"#),
            ("[step.form]\nz = \"1\"\na = \"2\"", r#"Form([("z", "1"), ("a", "2")])"#),
            (
                "multipart = [{ name = \"f\", filename = \"a.txt\", type = \"a/b\", content = \"\" }]",
                r#"Multipart([Part { name: "f", filename: Some("a.txt"), media_type: Some("a/b"), content: "" }])"#,
            ),
        ] {
            let steps = steps(&format!("[[step]]\nrequest = \"POST /\"\n{content}\n"));
            let Act::Request(request) = &steps[0].act else { panic!("{steps:?}") };
            let found = match &request.content {
                Content::Json(json) => json.to_string(),
                other => format!("{other:?}"),
            };
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn steps_without_a_name_get_one() {
        let steps =
            steps("[[step]]\nrequest = 'GET /a'\n[[step]]\nrequest = 'GET /a'\n[[step]]\nname = 'GET /a 2'\nsse = '/'");
        let names: Vec<_> = steps.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(names, ["GET /a", "GET /a 3", "GET /a 2"]);
        assert_eq!(read("x/shop.toml", "[[step]]\nsse = '/'").unwrap().journey.name, "shop");
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let text = r#"nam = "x"
[[step]]
name = "form"
request = "GET http://localhost:3000/login"
capture = { csrf = "regex:a(b", unique = "json:$.a", "1x" = "header:a", w = "ws:regex:a" }
[[step]]
name = "form"
reqest = "POST /login"
[[step]]
request = "POST /login"
form = { csrf = "{{csfr}}", user = "{{later}}" }
json = {}
headers = { Host = "a", cookie = "b", content-length = 1 }
until = { status = 429 }
capture = { later = "json:$.x" }
[[step]]
on = "form"
send = ["x"]
expect = { status = 101 }
[[step]]
request = "GET /"
sse = "/"
receive = { until = "regex:a(", within = 5 }
"#;
        let expected = [
            "1:1 unknown key `nam` | did you mean `name`?",
            "4:11 step.request: the replicas have addresses of their own | write only the path, \"/login\" (--host \
             changes the Host)",
            "5:20 step.capture.csrf: not a regular expression: unclosed group",
            "5:42 `unique` is the value that is fresh in every run | choose another name",
            "5:61 `1x` cannot be the name of a value | a name has letters, digits, `_` and `-`, and begins with a \
             letter",
            "5:77 the response to a request has no messages | write \"regex:a\", or take it in a step with \
             `websocket`, `sse` or `on`",
            "7:8 step 1 has this name already: `form` | give each step a name of its own",
            "8:1 unknown key `reqest` in [step] | did you mean `request`?",
            "11:17 no earlier step captures `{{csfr}}` | did you mean `csrf`?",
            "11:36 no earlier step captures `{{later}}` | this step itself takes it, too late",
            "12:8 `form` and `json` are in one request | a request has one content: remove one of the two",
            "13:20 the field `host` is not written in a step | all replicas are asked for the same host, so that \
             links do not differ; --host changes it",
            "13:34 the field `cookie` is not written in a step | cookies come from the jar of the actor, as in a \
             browser: let an earlier step receive them",
            "13:56 the field `content-length` is not written in a step | it follows from the content",
            "14:9 `until` has no effect without `repeat` | add repeat = 20, the most times that it is done (at most \
             50)",
            "17:6 the step `form` opens nothing that stays open | name a step that has `websocket` or `sse`",
            "19:10 `expect` has no effect with `on` | messages have no status: write must_contain",
            "22:7 `request` and `sse` are in one step | a step does one thing: make two steps of it",
            "23:11 `receive` has no effect with `request` | write it in a step with `websocket`, `sse` or `on`",
        ];
        assert_eq!(problems(text), expected);
    }

    #[test]
    fn each_problem_says_what_to_do() {
        let many = "[[step]]\nrequest = \"GET /\"\nrepeat = 41\n".repeat(5);
        let ws = "[[step]]\nname = \"w\"\nwebsocket = \"/\"\nactor = \"b\"\n";
        let sse = "[[step]]\nname = \"w\"\nsse = \"/\"\n";
        let get = "[[step]]\nrequest = \"GET /\"\n";
        for (text, expected) in [
            ("", "1:1 the journey has no step | add [[step]] with request = \"GET /\""),
            ("[step]\nrequest = \"GET /\"", "1:1 step must be a list of tables | write [[step]] instead of [step]"),
            ("steps = []", "1:1 unknown key `steps` | did you mean `step`?"),
            ("name = ", "1:8 string values must be quoted, expected literal string"),
            (
                "[[step]]",
                "1:1 the step does nothing | add request = \"GET /\", websocket = \"/path\", sse = \"/path\" or on \
                 = \"name of a step\"",
            ),
            ("[[step]]\nurl = \"/\"", "2:1 unknown key `url` in [step] | did you mean `request`?"),
            (
                &many,
                "13:1 the journey has 205 steps, repetitions counted: at most 200 are possible | split it into several \
                 journeys; what they share can be copied",
            ),
            (&format!("{get}repeat = 51"), "3:10 step.repeat must be from 1 to 50"),
            (&format!("{get}extract = {{}}"), "3:1 unknown key `extract` in [step] | did you mean `capture`?"),
            (
                &format!("{get}expect = {{ code = 1 }}"),
                "3:12 unknown key `code` in [step.expect] | did you mean `status`?",
            ),
            (&format!("{get}expect = {{}}"), "3:10 step.expect has no status | write { status = 200 }"),
            (&format!("{get}expect = 302"), "3:10 step.expect must be a table, not a whole number"),
            (
                &format!("{get}ignore = [\"jsn:$.a\"]"),
                "3:11 step.ignore: `jsn:$.a` does not say what is ignored | did you mean \
                 `json:$.a`?",
            ),
            (&format!("{get}actor = \"a b\""), "3:9 step.actor: an actor has a short name | write one such as \"b\""),
            (&format!("{get}name = \"\""), "3:8 step.name: a name is one line of 1 to 100 characters"),
            (
                &format!("{get}form = {{ a.b = 1 }}"),
                "3:10 step.form.a must be a text, not a table | put a name that has a dot \
                 in quotes, as in \"user.name\"",
            ),
            (&format!("{get}form = [[\"a\"]]"), "3:9 step.form is a list of pairs | write [\"name\", \"value\"]"),
            (
                &format!("{get}json = \"x\""),
                "3:8 step.json: not JSON: expected value at line 1 column 1 | write a table, or the \
                 whole text of the JSON; for a gap without quotes write it as body",
            ),
            (&format!("{get}json = nan"), "3:8 step.json is a number that JSON does not have | write it as a string"),
            (
                &format!("{get}base64 = \"%\""),
                "3:10 step.base64: not Base64: Invalid symbol 37, offset 0. | write body = \
                 \"...\" if it is text",
            ),
            (
                &format!("{get}headers = {{ \"a b\" = \"c\" }}"),
                "3:21 step.headers.a b: `a b` is not the name of a header | write \
                 one such as \"x-request-id\"",
            ),
            (
                &format!("{get}headers = {{ a = \"c\\n\" }}"),
                "3:17 the field `a` cannot have this value | leave out line \
                 breaks, other control characters, and spaces at both ends",
            ),
            (
                &format!("{get}multipart = [{{ name = \"a\" }}]"),
                "3:14 a part has no content | write { name = \"field\", \
                 filename = \"a.txt\", type = \"text/plain\", content = \"...\" }",
            ),
            (
                &format!("{get}body = \"{{{{uniqe}}}}\""),
                "3:8 no earlier step captures `{{uniqe}}` | did you mean `unique`?",
            ),
            (
                &format!(
                    "{get}must_contain = '{{{{x}}}}'\n[[step]]\nrequest = 'GET /2'\ncapture = {{ x = 'header:x' }}"
                ),
                "3:16 no earlier step captures `{{x}}` | `GET /2` takes it, later: move that step up",
            ),
            (&format!("{ws}send = [1]"), "5:9 step.send must be a string, not a whole number"),
            (
                &format!("{ws}repeat = 2"),
                "5:10 a step that opens a connection is not repeated | its name would stand for \
                 several connections: write a step for each",
            ),
            (
                &format!("{ws}receive = {{ within = \"5s\" }}"),
                "5:11 it is not said what is awaited | add until = \"regex:...\"; \
                 a message that matches ends the wait",
            ),
            (
                &format!("{ws}receive = {{ until = \"x\" }}"),
                "5:21 step.receive.until: a message is told by `regex:` | write \
                 \"regex:x\"",
            ),
            (
                &format!("{ws}receive = {{ until = \"regex:x\", within = \"2m\" }}"),
                "5:41 step.receive.within must be from 10ms \
                 to 1m",
            ),
            (
                &format!("{ws}capture = {{ a = \"regex:b\" }}"),
                "5:17 what comes here is messages | write \"ws:regex:b\"",
            ),
            (
                &format!("{ws}[[step]]\non = \"x\""),
                "6:6 no earlier step has the name `x` | name an earlier step that has \
                 `websocket` or `sse`",
            ),
            (
                &format!("{ws}[[step]]\non = \"w\"\nactor = \"a\""),
                "7:9 `w` was opened by another actor | leave it out: `w` \
                 belongs to actor `b`",
            ),
            (
                &format!("{ws}[[step]]\non = \"w\"\nheaders = {{}}"),
                "7:11 `headers` has no effect with `on` | write it in the \
                 step that opens the connection",
            ),
            (
                &format!("{sse}[[step]]\non = \"w\"\nsend = \"x\""),
                "6:8 `w` is an event stream, on which only the server says \
                 something | send a request in a step of its own",
            ),
        ] {
            assert_eq!(problems(text), [expected], "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn a_broken_file_has_problems_and_nothing_else(
            pack in prop::sample::select(crate::journey::packs().to_vec()),
            at in 0.0..1.0f64,
            length in 0..40usize,
            put in "(\\PC|[\"'\\\\\n\\[\\]{}=#,.]|\\{\\{x\\}\\}|step|request|on = 1){0,4}",
        ) {
            let start = pack.text.floor_char_boundary((pack.text.len() as f64 * at) as usize);
            let end = pack.text.floor_char_boundary((start + length).min(pack.text.len()));
            let mut text = pack.text.to_owned();
            text.replace_range(start..end.max(start), &put);
            match read("x.toml", &text) {
                Ok(written) => prop_assert_eq!(written.lines.len(), written.journey.steps.len()),
                Err(problems) => {
                    prop_assert!(problems.len() > 0 && !problems.one_line().contains(char::is_control));
                    prop_assert!(!problems.to_string().is_empty());
                }
            }
        }
    }
}
