//! How the running proxy is reached: over its Unix socket, or over the admin port.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};
use unstick::config::USUAL_SOCKET;

use super::http::{self, Response, Wire};
use super::{TokenFile, Trouble, words};

/// The admin port that is asked if none is named and there is no Unix socket.
const USUAL_ADMIN: &str = "127.0.0.1:9900";
/// How long connecting, a question, and a change may take. A reload reads files that may be slow.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
const CHANGE_WITHIN: Duration = Duration::from_secs(45);
/// The most bytes of a token.
const TOKEN_MAX: u64 = 4096;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Address of the admin port, such as 127.0.0.1:9900
    #[arg(long, value_name = "ADDRESS", global = true, conflicts_with = "socket")]
    admin: Option<String>,
    /// File of the Unix socket of the admin port [default: /run/unstick/ctl.sock]
    #[arg(long, value_name = "PATH", global = true)]
    socket: Option<PathBuf>,
    /// File with the token that the admin port asks for (admin.token); goes with --admin
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<TokenFile>,
}

/// The doors to try, in this order.
#[derive(Debug, Clone)]
pub(super) struct Door {
    places: Vec<Place>,
    token: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Unix(PathBuf),
    Tcp(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(file) => file.display().fmt(f),
            Self::Tcp(address) => f.write_str(address),
        }
    }
}

impl Door {
    /// The door that the command line names.
    pub(super) fn open(options: &Options) -> Result<Self, Trouble> {
        let places = match (&options.socket, &options.admin) {
            (Some(file), _) => vec![Place::Unix(file.clone())],
            (None, Some(address)) => vec![place(address)],
            (None, None) if options.token_file.is_some() => {
                let why = "a token goes only to a place that is named: write --admin ADDRESS beside --token-file";
                return Err(Trouble::Usage(why.into()));
            }
            (None, None) => vec![Place::Unix(USUAL_SOCKET.into()), Place::Tcp(USUAL_ADMIN.to_owned())],
        };
        let token = options.token_file.as_ref().map(token).transpose()?;
        Ok(Self { places, token })
    }

    /// What the proxy says to a GET. Whatever has not all of these `keys` is no unstick.
    pub(super) fn get(&self, path: &str, keys: &[&str]) -> Result<Value, Trouble> {
        with_keys(json(self.ask("GET", path, None, ANSWER_WITHIN)?)?, keys)
    }

    /// `/status` of the proxy.
    pub(super) fn status(&self) -> Result<Value, Trouble> {
        self.get("/status", &["version", "pools"])
    }

    /// What the proxy says to a change.
    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, Trouble> {
        with_keys(json(self.ask("POST", path, Some(&body.to_string()), CHANGE_WITHIN)?)?, &["did"])
    }

    /// The response to a GET whose body does not end.
    pub(super) fn follow(&self, path: &str) -> Result<Response, Trouble> {
        let response = self.ask("GET", path, None, ANSWER_WITHIN)?;
        if response.status == 200 { Ok(response) } else { json(response).and_then(|_| Err(no_proxy())) }
    }

    fn ask(&self, method: &str, path: &str, body: Option<&str>, within: Duration) -> Result<Response, Trouble> {
        let (place, wire) = self.connect()?;
        let host = match place {
            Place::Unix(_) => "localhost",
            Place::Tcp(address) => address,
        };
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        // Only a change needs it, and whoever may open the Unix socket needs none. Nobody else gets to know it.
        if let (Some(token), "POST", Place::Tcp(_)) = (&self.token, method, place) {
            head.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        if let Some(body) = body {
            head.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        let request = head + "\r\n" + body.unwrap_or_default();
        http::ask(wire, request.as_bytes(), within).map_err(|error| {
            let what = if error.kind() == io::ErrorKind::TimedOut { "does not respond in time" } else { "fails" };
            Trouble::Unreachable(format!("{place} {what}: {error}"))
        })
    }

    /// The first door that opens.
    fn connect(&self) -> Result<(&Place, Wire), Trouble> {
        let mut failures = Vec::new();
        for place in &self.places {
            match place.connect() {
                Ok(wire) => return Ok((place, wire)),
                Err(error) => failures.push(format!("{place}: {}{}", error, advice(&error))),
            }
        }
        let help = "is unstick running? --socket and --admin name another place (admin.socket, admin.address)";
        Err(Trouble::Unreachable(format!("the proxy cannot be reached: {}; {help}", failures.join("; "))))
    }
}

impl Place {
    fn connect(&self) -> io::Result<Wire> {
        let address = match self {
            Self::Unix(file) => return connect_unix(file).map(Wire::Unix),
            Self::Tcp(address) => address,
        };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT_WITHIN) {
                Ok(stream) => return Ok(Wire::Tcp(stream)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// The kernel waits as long as the queue of the socket is full, but no longer than a write may take.
fn connect_unix(file: &Path) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(CONNECT_WITHIN))?;
    socket.connect(&SockAddr::unix(file)?).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => {
            let why = format!("its queue is full, and nobody takes the connection within {CONNECT_WITHIN:?}");
            io::Error::new(io::ErrorKind::TimedOut, why)
        }
        _ => error,
    })?;
    Ok(socket.into())
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => " (only the user of the process and root may open it)",
        _ => "",
    }
}

/// A place as the log and the config write it.
fn place(text: &str) -> Place {
    if let Some(file) = text.strip_prefix("unix:") {
        return Place::Unix(file.into());
    }
    let address = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    Place::Tcp(if address.starts_with(':') { format!("127.0.0.1{address}") } else { address.to_owned() })
}

fn token(file: &TokenFile) -> Result<String, Trouble> {
    let failed = |why: String| Trouble::Usage(format!("cannot use the token in {}: {why}", file.display()));
    let mut text = String::new();
    let read = File::open(file).and_then(|file| file.take(TOKEN_MAX).read_to_string(&mut text));
    read.map_err(|error| failed(error.to_string()))?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(failed("it is empty, or has spaces or characters that are not ASCII".into()));
    }
    Ok(token.to_owned())
}

/// The JSON of a response, without anything that a terminal would obey.
fn json(response: Response) -> Result<Value, Trouble> {
    let status = response.status;
    let broken = |error: io::Error| Trouble::Unreachable(format!("the response breaks off: {error}"));
    let body = response.body().map_err(broken)?;
    let value: Value = serde_json::from_slice(&body).unwrap_or_default();
    if (200..300).contains(&status) {
        return Ok(value);
    }
    let text = String::from_utf8_lossy(&body).into_owned();
    let why = value["error"].as_str().map_or_else(|| text.trim().to_owned(), str::to_owned);
    let help = if status == 401 { "; write --admin ADDRESS, and --token-file FILE with admin.token in it" } else { "" };
    Err(Trouble::Refused(format!("{}{help}", words::clean(&why))))
}

fn with_keys(value: Value, keys: &[&str]) -> Result<Value, Trouble> {
    if keys.iter().all(|key| value.get(key).is_some()) { Ok(value) } else { Err(no_proxy()) }
}

fn no_proxy() -> Trouble {
    Trouble::Unreachable("what responds there is not the admin port of unstick".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_be_written_as_the_log_and_the_config_write_it() {
        for (text, expected) in [
            ("127.0.0.1:9900", Place::Tcp("127.0.0.1:9900".into())),
            ("http://10.0.0.1:9900/", Place::Tcp("10.0.0.1:9900".into())),
            (":9900", Place::Tcp("127.0.0.1:9900".into())),
            ("[::1]:9900", Place::Tcp("[::1]:9900".into())),
            ("unix:/run/a.sock", Place::Unix("/run/a.sock".into())),
        ] {
            assert_eq!(place(text), expected, "{text}");
        }
    }

    #[test]
    fn a_token_is_one_word() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        for (text, expected) in [("abc\n", Some("abc")), ("", None), ("a b", None), ("a\r\nX: y", None)] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(token(&file).ok().as_deref(), expected, "{text:?}");
        }
        assert!(token(&folder.path().join("none")).is_err());
    }
}
