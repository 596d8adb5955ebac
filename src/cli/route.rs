//! `unstick route`: what becomes of a request, without sending it.

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use serde_json::{Value, json};
use unstick::app::{Answer, Outcome, Question, answer};
use unstick::config::{self, Config};

pub(crate) const AFTER_HELP: &str = "\
Examples:
  unstick route -c unstick.toml GET https://shop.example.com/api/x
  unstick route -c unstick.toml POST https://shop.example.com/cart -H 'x-canary: 1' --from 10.1.2.3
  unstick route -c unstick.toml GET http://shop.example.com/ --listen inner --json
  unstick route -c unstick.toml OPTIONS '*' -H 'host: shop.example.com'

The same code decides as in the running proxy; nothing is sent. Every pool with health checks counts as not yet
checked, which matters to a fallback and a split. Exit codes: 0 the request reaches a replica or is answered by its
route, 1 it is refused, 2 the file or the command line is wrong.";

#[derive(Debug, Args)]
pub(crate) struct Route {
    /// Method, such as GET
    method: Method,
    /// URL as a client would ask for it, with its host; or a path or `*` with the host as a field
    url: Uri,
    /// Config file (TOML)
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// A header field, as 'name: value'; may be repeated
    #[arg(short = 'H', long = "header", value_name = "FIELD", value_parser = field)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Name of the listener [default: the first that speaks TLS as the URL says]
    #[arg(long, value_name = "NAME")]
    listen: Option<String>,
    /// Address from which the client comes
    #[arg(long, value_name = "ADDRESS", default_value = "192.0.2.1")]
    from: IpAddr,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn field(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("write it as 'name: value'")?;
    let name =
        HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| format!("`{name}` is not the name of a field"))?;
    let value = HeaderValue::from_str(value.trim()).map_err(|_| format!("`{value}` is not the value of a field"))?;
    Ok((name, value))
}

/// Says what becomes of the request.
pub(crate) fn run(route: Route) -> anyhow::Result<ExitCode> {
    let config = match config::load(&route.config) {
        Ok(loaded) => loaded.config,
        Err(problems) => return Ok(crate::report(&problems)),
    };
    let request = request(&route)?;
    let question = Question { listener: route.listen, peer: route.from, request };
    let answer = answer(&config, question).map_err(anyhow::Error::msg)?;
    let is_refused = matches!(answer.explained.outcome, Outcome::Refused(..));
    let mut text = Vec::new();
    if route.json {
        serde_json::to_writer_pretty(&mut text, &as_json(&config, &answer))?;
        writeln!(text)?;
    } else {
        print(&mut text, &config, &answer)?;
    }
    io::stdout().lock().write_all(config.secrets.mask(&String::from_utf8_lossy(&text)).as_bytes())?;
    Ok(if is_refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The request of the command line. Its host is that of the URL, or of a field if there is only a path or `*`.
fn request(route: &Route) -> anyhow::Result<Request<()>> {
    let is_host = |(name, _): &&(HeaderName, HeaderValue)| *name == HOST;
    let named: Vec<&HeaderValue> = route.headers.iter().filter(is_host).map(|(_, value)| value).collect();
    let host = match (route.url.authority(), &named[..]) {
        (Some(host), []) if route.url.scheme().is_some() => HeaderValue::from_str(host.as_str())?,
        (None, [host]) => HeaderValue::clone(host),
        (Some(_), [_, ..]) => bail!("{} names the host already; leave out -H 'host: ...'", route.url),
        (None, [_, _, ..]) => bail!("a request has one host"),
        _ => bail!("{} has no host; write a whole URL, as in https://shop.example.com/api", route.url),
    };
    let mut request = Request::builder().method(route.method.clone()).uri(route.url.clone()).header(HOST, host);
    for (name, value) in route.headers.iter().filter(|field| !is_host(field)) {
        request = request.header(name, value);
    }
    request.body(()).context("this is no request")
}

/// The route by its place, and its conditions.
fn name(config: &Config, answer: &Answer) -> Option<(usize, String)> {
    let place = answer.explained.route?;
    Some((place + 1, config.routes.get(place)?.to_string()))
}

fn print(out: &mut impl Write, config: &Config, answer: &Answer) -> io::Result<()> {
    writeln!(out, "listener  {}", answer.listener)?;
    writeln!(out, "path      {}", answer.explained.path)?;
    match name(config, answer) {
        Some((place, route)) => writeln!(out, "route     {place} of {}: {route}", config.routes.len())?,
        None => writeln!(out, "route     none of {}", config.routes.len())?,
    }
    match &answer.explained.outcome {
        Outcome::Pool(pool) => {
            writeln!(out, "pool      {pool}\n")?;
            writeln!(out, "{}", answer.explained.target)?;
            fields(out, &answer.explained.request)
        }
        Outcome::Here(status, headers) => {
            writeln!(out, "response  {status}, by unstick itself\n")?;
            fields(out, headers)
        }
        Outcome::Refused(status, cause, why) => writeln!(out, "response  {status}, {cause}: {why}"),
    }
}

fn fields(out: &mut impl Write, headers: &HeaderMap) -> io::Result<()> {
    headers.iter().try_for_each(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        writeln!(out, "{name}: {}", value.escape_debug())
    })
}

fn as_json(config: &Config, answer: &Answer) -> Value {
    let list = |headers: &HeaderMap| -> Value {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers.iter().map(|(name, value)| json!([name.as_str(), text(value)])).collect()
    };
    let route = name(config, answer).map(|(place, route)| json!({ "place": place, "conditions": route }));
    let mut all = json!({ "listener": answer.listener, "path": answer.explained.path, "route": route });
    let more = match &answer.explained.outcome {
        Outcome::Pool(pool) => {
            let request = json!({ "target": answer.explained.target, "fields": list(&answer.explained.request) });
            json!({ "pool": pool, "request": request })
        }
        Outcome::Here(status, headers) => {
            json!({ "response": { "status": status.as_u16(), "fields": list(headers) } })
        }
        Outcome::Refused(status, cause, why) => {
            json!({ "response": { "status": status.as_u16(), "cause": cause, "message": why } })
        }
    };
    if let (Some(all), Value::Object(more)) = (all.as_object_mut(), more) {
        all.extend(more);
    }
    all
}
