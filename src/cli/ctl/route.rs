//! `unstick ctl route`: what would become of a request now. The running proxy is asked; `unstick route` asks a file.

use std::net::IpAddr;

use clap::Args;
use serde_json::Value;

use super::door::Door;
use super::status::list;
use super::steer::encoded;
use super::words::text;
use super::{Trouble, print, print_json};

#[derive(Debug, Args)]
pub(super) struct Route {
    /// Method, such as GET
    method: String,
    /// URL as a client would ask for it, with its host; or a path or `*` with the host as a field
    url: String,
    /// A header field, as 'name: value'; may be repeated
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    headers: Vec<String>,
    /// Name of the listener [default: the first that speaks TLS as the URL says]
    #[arg(long, value_name = "NAME")]
    listen: Option<String>,
    /// Address from which the client comes [default: 192.0.2.1]
    #[arg(long, value_name = "ADDRESS")]
    from: Option<IpAddr>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(door: &Door, route: &Route) -> Result<(), Trouble> {
    let told = door.get(&format!("/v1/route?{}", query(route)), &["listener"])?;
    if route.json {
        print_json(&told)?;
    } else {
        print(&(lines(&told).join("\n") + "\n"))?;
    }
    if told["response"]["cause"].is_string() { Err(Trouble::Told) } else { Ok(()) }
}

fn query(route: &Route) -> String {
    let Route { method, url, headers, listen, from, json: _ } = route;
    let from = from.map(|from| from.to_string());
    let mut pairs = vec![("method", method), ("url", url)];
    pairs.extend(headers.iter().map(|header| ("header", header)));
    pairs.extend(listen.iter().map(|listen| ("listen", listen)));
    pairs.extend(from.iter().map(|from| ("from", from)));
    pairs.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>().join("&")
}

fn lines(told: &Value) -> Vec<String> {
    let mut lines =
        vec![format!("listener  {}", text(&told["listener"])), format!("path      {}", text(&told["path"]))];
    lines.push(match &told["route"] {
        Value::Null => "route     none".to_owned(),
        route => format!("route     {}: {}", text(&route["place"]), text(&route["conditions"])),
    });
    let response = &told["response"];
    let given = if told["pool"].is_string() {
        lines.extend([format!("pool      {}", text(&told["pool"])), String::new(), text(&told["request"]["target"])]);
        &told["request"]["fields"]
    } else if response["cause"].is_string() {
        let [status, cause, why] = ["status", "cause", "message"].map(|key| text(&response[key]));
        lines.push(format!("response  {status}, {cause}: {why}"));
        &Value::Null
    } else {
        lines.extend([format!("response  {}, by unstick itself", text(&response["status"])), String::new()]);
        &response["fields"]
    };
    lines.extend(list(given).iter().map(|field| format!("{}: {}", text(&field[0]), text(&field[1]))));
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_query_holds_what_was_asked() {
        let route = Route {
            method: "GET".into(),
            url: "https://a.test/x?q=1&r=2".into(),
            headers: vec!["x-a: 1".into()],
            listen: Some("web".into()),
            from: Some([10, 0, 0, 1].into()),
            json: false,
        };
        let expected = "method=GET&url=https:%2F%2Fa.test%2Fx%3Fq%3D1%26r%3D2&header=x-a:%201&listen=web&from=10.0.0.1";
        assert_eq!(query(&route), expected);
    }

    #[test]
    fn each_end_has_its_words() {
        let told = json!({ "listener": "web", "path": "/x", "route": { "place": 2, "conditions": "* /x" },
            "pool": "app", "request": { "target": "GET /x", "fields": [["host", "a.test"]] } });
        let expected =
            ["listener  web", "path      /x", "route     2: * /x", "pool      app", "", "GET /x", "host: a.test"];
        assert_eq!(lines(&told), expected);
        let told = json!({ "listener": "web", "path": "/x", "route": null,
            "response": { "status": 404, "cause": "no-route", "message": "none fits" } });
        assert_eq!(lines(&told)[2..], ["route     none", "response  404, no-route: none fits"]);
    }
}
