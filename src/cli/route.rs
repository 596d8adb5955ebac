//! `unstick route`: what becomes of a request, without sending it.

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use unstick::app::{Answer, Outcome, Question, answer, request};
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
    let request = request(route.method, route.url, route.headers).map_err(anyhow::Error::msg)?;
    let question = Question { listener: route.listen, peer: route.from, request };
    let answer = answer(&config, question).map_err(anyhow::Error::msg)?;
    let is_refused = matches!(answer.explained.outcome, Outcome::Refused(..));
    let mut text = Vec::new();
    if route.json {
        serde_json::to_writer_pretty(&mut text, &answer.to_json(&config))?;
        writeln!(text)?;
    } else {
        print(&mut text, &config, &answer)?;
    }
    io::stdout().lock().write_all(config.secrets.mask(&String::from_utf8_lossy(&text)).as_bytes())?;
    Ok(if is_refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(out: &mut impl Write, config: &Config, answer: &Answer) -> io::Result<()> {
    writeln!(out, "listener  {}", answer.listener)?;
    writeln!(out, "path      {}", answer.explained.path)?;
    match answer.route(config) {
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
