//! The admin port.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

/// Where the Unix socket of the admin port is unless the file says something else. It is left out where this cannot be.
pub const USUAL_SOCKET: &str = "/run/unstick/ctl.sock";

/// Where the admin port is, by which names it may be called, and who may change something there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Its address; `None` when switched off. Cannot change live.
    pub address: Option<SocketAddr>,
    /// Names in `Host` that are answered, lower case. IP addresses and `localhost` always are.
    pub hosts: Vec<String>,
    /// Whether something may be changed over TCP; `None` (left out) means where that is safe: on loopback, and with a
    /// token.
    pub control: Option<bool>,
    /// What whoever changes something over TCP must know; `None` means that being on this machine is enough.
    pub token: Option<Token>,
    /// The file of its Unix socket; `None` when switched off. Cannot change live.
    pub socket: Option<Arc<Path>>,
}

impl Default for Admin {
    fn default() -> Self {
        let address = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9900)));
        let socket = Some(Path::new(USUAL_SOCKET).into());
        Self { address, hosts: Vec::new(), control: None, token: None, socket }
    }
}

impl Admin {
    /// Whether only processes of this machine can reach it.
    pub fn is_on_loopback(&self) -> bool {
        self.address.is_some_and(|address| address.ip().to_canonical().is_loopback())
    }
}

/// A secret that is sent with a request. Nobody may print it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// How many characters a token has.
    const LENGTH: std::ops::RangeInclusive<usize> = 16..=512;

    /// Reads a token, without what surrounds it: a file often ends with a line break.
    ///
    /// # Errors
    /// What a token is.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        // RFC 6750, section 2.1.
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        let text = text.trim();
        match Self::LENGTH.contains(&text.len()) && text.bytes().all(is_good) {
            true => Ok(Self(text.to_owned())),
            false => Err("a token has 16 to 512 of the characters A-Z a-z 0-9 - . _ ~ + / ="),
        }
    }

    /// The secret itself.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}
