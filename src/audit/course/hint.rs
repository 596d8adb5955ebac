//! What names in the responses say of a dependence, and the usual cure. Names prove nothing, so they are only a hint.

use super::bench::Bench;
use super::cross::Found;
use crate::journey::{Act, Source};
use crate::outcome::Outcome;
use crate::report::Cause;

/// Names of cookies, whose they are, and what is to be done there.
const COOKIES: [(&str, &str); 9] = [
    ("connect.sid", "express-session keeps sessions in memory unless it is given a store, such as connect-redis"),
    ("JSESSIONID", "a servlet container keeps sessions in memory; Spring Session puts them into Redis or JDBC"),
    ("PHPSESSID", "PHP keeps sessions in files of one host; session.save_handler can be redis or memcached"),
    ("sessionid", "Django: SESSION_ENGINE should be cache or db over a shared store, SECRET_KEY the same everywhere"),
    ("session", "Flask and Starlette sign this cookie with a secret key, which must be the same on all replicas"),
    ("laravel_session", "Laravel: SESSION_DRIVER should be redis or database, APP_KEY the same everywhere"),
    ("ASP.NET_SessionId", "ASP.NET keeps sessions in the process; a distributed cache shares them"),
    (
        ".AspNetCore.Session",
        "ASP.NET Core needs a distributed cache, and one data protection key ring for all replicas",
    ),
    ("rack.session", "Rack signs this cookie with a secret, which must be the same on all replicas"),
];

/// See the module.
pub(super) fn hint(bench: &Bench<'_>, found: &Found, cause: Cause) -> Option<String> {
    let cookies = found.small.steps.iter().filter_map(|(at, _)| match &bench.baseline[*at] {
        Outcome::Response(seen) => Some(&seen.cookies),
        _ => None,
    });
    let is_about_cookies = matches!(cause, Cause::Memory | Cause::KeyPerProcess | Cause::LocalDisk | Cause::Unknown);
    let named = cookies.flatten().find_map(|name| {
        let (_, cure) = COOKIES.iter().find(|(known, _)| known == name)?;
        Some(format!("cookie {name}: {cure}"))
    });
    named.filter(|_| is_about_cookies).or_else(|| protocol(bench, found, cause)).or_else(|| cure(cause))
}

fn protocol(bench: &Bench<'_>, found: &Found, cause: Cause) -> Option<String> {
    if cause != Cause::ProtocolSession {
        return None;
    }
    let step = &bench.journey.steps[bench.plan.0[found.needs].step];
    let target = match &step.act {
        Act::Request(request) | Act::WebSocket(request, _) | Act::EventStream(request, _) => request.target.as_str(),
        Act::Talk(..) => "",
    };
    let is_header = |name: &str| {
        let is_it = |source: &Source| matches!(source, Source::Header(header) if header.as_str() == name);
        step.captures.iter().any(|capture| is_it(&capture.source))
    };
    if is_header("mcp-session-id") {
        Some(
            "Mcp-Session-Id: MCP servers have a stateless mode (stateless_http in fastmcp), which needs no session"
                .into(),
        )
    } else if target.contains("EIO=") {
        Some(
            "Engine.IO: long polling needs one replica per session; use transports = [\"websocket\"], or an adapter"
                .into(),
        )
    } else {
        Some(
            "a WebSocket ends at one replica: messages for others must go through an adapter such as Redis pub/sub"
                .into(),
        )
    }
}

/// The usual cure of a cause.
fn cure(cause: Cause) -> Option<String> {
    let cure = match cause {
        Cause::Memory => {
            "keep what must outlive a request in a store that all replicas share, such as Redis or a database"
        }
        Cause::KeyPerProcess => "give all replicas the same key, from the configuration or a secret store",
        Cause::LocalDisk => "keep files in object storage or on a volume that all replicas mount",
        Cause::LocalCounter => "count in a store that all replicas share; most rate limiters take Redis",
        Cause::StaleCopy => "read what must be fresh from the shared store, or tell the other replicas when it changes",
        Cause::ProtocolSession => "use the stateless mode of the protocol, or an adapter that shares its sessions",
        Cause::Skew => "replicas must be the same build with the same configuration and data",
        Cause::Unknown => return None,
    };
    Some(cure.into())
}
