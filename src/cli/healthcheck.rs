//! `unstick healthcheck`: one question to the admin port, for images that hold nothing but the proxy.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

pub(crate) const AFTER_HELP: &str = "\
It asks for /readyz, and its exit code says whether the proxy takes requests: 0 if it does; 1 if it starts, stops, or is
not there.";

/// The longest time that each step of the question may take: the connection, and each read and write.
const STEP_MAX: Duration = Duration::from_secs(2);

/// The most bytes of the response that are looked at.
const BYTES_MAX: u64 = 4096;

#[derive(Debug, Args)]
pub(crate) struct Healthcheck {
    /// Address of the admin port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9900")]
    admin: SocketAddr,
}

/// Asks, and says what it was told.
pub(crate) fn run(asked: &Healthcheck) -> anyhow::Result<ExitCode> {
    let response = ask(asked.admin).with_context(|| format!("no response from the admin port {}", asked.admin))?;
    let status = response.lines().next().unwrap_or_default();
    writeln!(io::stdout(), "{}", status.replace(char::is_control, "?"))?;
    Ok(if is_ready(status) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn ask(admin: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&admin, STEP_MAX)?;
    stream.set_read_timeout(Some(STEP_MAX))?;
    stream.set_write_timeout(Some(STEP_MAX))?;
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
    let mut response = Vec::new();
    stream.take(BYTES_MAX).read_to_end(&mut response)?;
    Ok(String::from_utf8_lossy(&response).into_owned())
}

/// Whether this is the first line of a response with status 200.
fn is_ready(status: &str) -> bool {
    let mut words = status.split(' ');
    words.next().is_some_and(|version| version.starts_with("HTTP/1.")) && words.next() == Some("200")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_200_is_ready() {
        assert!(is_ready("HTTP/1.1 200 OK") && is_ready("HTTP/1.0 200"));
        for other in ["", "200", "HTTP/1.1", "HTTP/1.1 503 Service Unavailable", "HTTP/1.1 2000 x", "SSH-2.0-x 200"] {
            assert!(!is_ready(other), "{other}");
        }
    }
}
