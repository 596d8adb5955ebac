//! The description of the admin port for programs, against what it does.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde_json::Value;

use super::{JSON, post};
use crate::support::App;
use crate::support::backend::Backend;
use crate::support::client::{Response, exchange};
use crate::support::{connect, read_until, send, text};

/// What to put in place of the parameters of a path, a query, and a body.
fn example(path: &str, endpoint: SocketAddr) -> (String, &'static str) {
    let filled = path.replace("{pool}", "app").replace("{endpoint}", &endpoint.to_string()).replace("{id}", "r1");
    let query = if path == "/v1/route" { "?url=http://a.test/x" } else { "" };
    (filled + query, if path.ends_with("/weight") { "{\"weight\": 2}" } else { "{}" })
}

/// The head of a response that does not end.
fn head_of_events(admin: SocketAddr) -> Response {
    let mut stream = connect(admin);
    send(&mut stream, format!("GET /events HTTP/1.1\r\nHost: {admin}\r\n\r\n"));
    let head = text(&read_until(&mut stream, b"\r\n\r\n"));
    Response {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head,
        body: Vec::new(),
        trailers: String::new(),
    }
}

#[track_caller]
fn ask(app: &App, method: &str, path: &str, body: &str) -> Response {
    match (method, path) {
        ("get", "/events") => head_of_events(app.admin),
        ("get", _) => app.admin_get(path),
        ("post", _) => post(app.admin, path, JSON, body),
        _ => panic!("{method}"),
    }
}

fn follow<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    match value["$ref"].as_str() {
        Some(to) => follow(document, document.pointer(to.trim_start_matches('#')).unwrap_or_else(|| panic!("{to}"))),
        None => value,
    }
}

/// What a value is not that its schema says, with the place.
fn mistakes(document: &Value, schema: &Value, value: &Value, place: &str) -> Vec<String> {
    let (schema, mut found) = (follow(document, schema), Vec::new());
    let words = |value: &Value| -> Vec<String> {
        let list = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let kinds = words(&schema["type"]);
    let fits = kinds.iter().any(|known| known == kind || (known == "number" && kind == "integer"));
    found.extend((!kinds.is_empty() && !fits).then(|| format!("{place} is {kind}, not {kinds:?}")));
    let is_known = schema["enum"].as_array().is_none_or(|all| all.contains(value));
    found.extend((!is_known).then(|| format!("{place} is {value}, not one of {}", schema["enum"])));
    if let Some(ways) = schema["oneOf"].as_array() {
        let fitting = ways.iter().filter(|way| mistakes(document, way, value, place).is_empty()).count();
        found.extend((fitting != 1).then(|| format!("{place} fits {fitting} of {}", schema["oneOf"])));
    }
    for name in value.is_object().then(|| words(&schema["required"])).into_iter().flatten() {
        found.extend(value.get(&name).is_none().then(|| format!("{place} has no {name}")));
    }
    for (name, inner) in value.as_object().into_iter().flatten() {
        let place = format!("{place}.{name}");
        match (schema["properties"].get(name), &schema["additionalProperties"]) {
            (Some(schema), _) => found.extend(mistakes(document, schema, inner, &place)),
            (None, schema @ Value::Object(_)) => found.extend(mistakes(document, schema, inner, &place)),
            // What is described is described whole.
            (None, _) if schema["properties"].is_object() => found.push(format!("{place} is not described")),
            _ => {}
        }
    }
    for (nth, inner) in value.as_array().into_iter().flatten().enumerate() {
        found.extend(mistakes(document, &schema["items"], inner, &format!("{place}[{nth}]")));
    }
    found
}

/// What is wrong with a response to this operation.
fn differences(document: &Value, operation: &Value, response: &Response) -> Vec<String> {
    let described = follow(document, &operation["responses"][response.status.to_string()]);
    if described.is_null() {
        return vec![format!("the status {} is not described: {}", response.status, response.text())];
    }
    let kind = response.field("content-type").unwrap_or_default().split(';').next().unwrap_or_default().to_owned();
    match described["content"].get(&kind) {
        None => vec![format!("{kind} is not described")],
        Some(content) if kind == "application/json" => {
            let body: Value = serde_json::from_slice(&response.body).unwrap();
            mistakes(document, &content["schema"], &body, "body")
        }
        Some(_) => Vec::new(),
    }
}

#[test]
fn what_openapi_describes_is_what_there_is() {
    let a = Backend::named("a");
    let app = App::over(&[a.address]);
    let request = "GET / HTTP/1.1\r\nHost: x\r\nX-Request-Id: r1\r\nConnection: close\r\n\r\n";
    exchange(&mut connect(app.address), request);
    let document: Value = serde_json::from_slice(&app.admin_get("/openapi.json").body).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let mut wrong = Vec::new();
    let mut operations = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let (filled, body) = example(path, a.address);
        let methods: Vec<&str> = item.as_object().unwrap().keys().map(String::as_str).collect();
        for method in methods.iter().filter(|method| **method != "parameters") {
            let response = ask(&app, method, &filled, body);
            let found = differences(&document, &item[method], &response);
            wrong.extend(found.into_iter().map(|what| format!("{method} {path}: {what}")));
            // Of the one request nothing may be kept: it is one of a sample.
            // And a test has no program that could be started again.
            let is_good = match path.as_str() {
                "/v1/requests/{id}" => true,
                "/v1/upgrade" => response.status == 422,
                _ => response.status == 200,
            };
            wrong.extend((!is_good).then(|| format!("{method} {path}: {} {}", response.status, response.text())));
            operations += 1;
        }
        // The other method is refused.
        let other = if methods.contains(&"post") { "get" } else { "post" };
        let status = ask(&app, other, &filled, body).status;
        wrong.extend((status != 405).then(|| format!("{other} {path}: {status}, not 405")));
    }
    assert!(wrong.is_empty() && operations > 12, "{operations} operations: {wrong:#?}");
}

/// What the admin port answers stands in two files.
#[test]
fn what_there_is_is_described() {
    let sources = [include_str!("../../src/control/admin/answer.rs"), include_str!("../../src/control/admin/steer.rs")];
    let document: Value = serde_json::from_str(include_str!("../../src/control/admin/openapi.json")).unwrap();
    let described: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    let mut literals = BTreeSet::new();
    for source in sources {
        let code = source.split("#[cfg(test)]\nmod ").next().unwrap();
        let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        literals.extend(code.split('"').skip(1).step_by(2).filter(|text| text.starts_with('/')).map(str::to_owned));
    }
    assert!(literals.len() > 9, "where are they? {literals:?}");
    let is_described = |literal: &&String| {
        described.iter().any(|path| *path == *literal || literal.ends_with('/') && path.starts_with(&***literal))
    };
    let missing: Vec<_> = literals.iter().filter(|literal| !is_described(literal)).collect();
    assert!(missing.is_empty(), "openapi.json lacks {missing:?}");
    let verbs: BTreeSet<&str> =
        described.iter().filter_map(|path| path.strip_prefix("/v1/pools/")?.rsplit('/').next()).collect();
    assert_eq!(verbs, BTreeSet::from(["drain", "down", "ready", "weight"]));
}

#[test]
fn an_error_is_described_as_it_is() {
    let a = Backend::named("a");
    let app = App::over(&[a.address]);
    let document: Value = serde_json::from_slice(&app.admin_get("/openapi.json").body).unwrap();
    let operation = |path: &str, method: &str| document["paths"][path][method].clone();
    let weight = "/v1/pools/{pool}/endpoints/{endpoint}/weight";
    let unknown = "/v1/pools/app/endpoints/127.0.0.1:1/weight";
    for (path, method, asked, body, fields, status) in [
        ("/v1/requests", "get", "/v1/requests?limit=x", "", "", 400),
        ("/v1/requests/{id}", "get", "/v1/requests/none", "", "", 404),
        ("/v1/route", "get", "/v1/route", "", "", 400),
        ("/v1/route", "get", "/v1/route?url=http://a.test/&listen=none", "", "", 422),
        (weight, "post", unknown, "{\"weight\": 2}", JSON, 404),
        (weight, "post", unknown, "{}", JSON, 400),
        (weight, "post", unknown, "{}", "", 415),
        (weight, "post", unknown, "{}", "Content-Type: application/json\r\nOrigin: http://b.test\r\n", 403),
        (weight, "post", unknown, "{}", "Host: b.test\r\n", 421),
    ] {
        let response = match method {
            "get" => app.admin_get(asked),
            _ => post(app.admin, asked, fields, body),
        };
        assert_eq!(response.status, status, "{asked}: {}", response.text());
        assert_eq!(differences(&document, &operation(path, method), &response), [""; 0], "{asked} {fields}");
    }
}
