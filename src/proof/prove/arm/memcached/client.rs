//! The few commands of memcached's text protocol that sessions need. The client libraries for tokio have no
//! compare-and-swap, without which one of two writes at once is lost.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::prove::store::Unavailable;

/// How long memcached may take for a response or a connection.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of a line and of a value at most.
const LINE_MAX: u64 = 512;
const VALUE_MAX: usize = 1 << 20;
/// Seconds that an unused item is kept.
const LIFETIME_SECONDS: u32 = 3600;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection. One whose exchange was given up must not be used again.
pub(super) struct Client(BufReader<Box<dyn Stream>>);

/// An item, and what it is compared by.
pub(super) struct Item {
    pub(super) value: Vec<u8>,
    pub(super) unique: u64,
}

fn unavailable(error: impl std::fmt::Display) -> Unavailable {
    Unavailable(format!("memcached: {error}"))
}

fn late(_: tokio::time::error::Elapsed) -> Unavailable {
    unavailable("no response in time")
}

impl Client {
    /// Connects to a socket (a path) or an address.
    pub(super) async fn connect(address: &str) -> Result<Self, Unavailable> {
        let stream = async {
            let stream: Box<dyn Stream> = if address.starts_with('/') {
                Box::new(UnixStream::connect(address).await?)
            } else {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            };
            std::io::Result::Ok(stream)
        };
        let stream = timeout(TIMEOUT, stream).await.map_err(late)?.map_err(unavailable)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// An item, if it is there.
    pub(super) async fn get(&mut self, key: &str) -> Result<Option<Item>, Unavailable> {
        self.send(format!("gets {key}\r\n").as_bytes()).await?;
        let line = self.line().await?;
        if line == "END" {
            return Ok(None);
        }
        let words: Vec<&str> = line.split(' ').collect();
        let ["VALUE", _, _, length, unique] = words[..] else { return Err(unavailable(line)) };
        let length: usize = length.parse().map_err(unavailable)?;
        let unique = unique.parse().map_err(unavailable)?;
        if length > VALUE_MAX {
            return Err(unavailable("the value is too long"));
        }
        let mut value = vec![0; length + 2];
        timeout(TIMEOUT, self.0.read_exact(&mut value)).await.map_err(late)?.map_err(unavailable)?;
        value.truncate(length);
        match self.line().await?.as_str() {
            "END" => Ok(Some(Item { value, unique })),
            other => Err(unavailable(other)),
        }
    }

    /// Adds an item; whether there was none.
    pub(super) async fn add(&mut self, key: &str, value: &[u8]) -> Result<bool, Unavailable> {
        self.store(&format!("add {key} 0 {LIFETIME_SECONDS} {}", value.len()), value).await
    }

    /// Sets an item, whatever is there.
    pub(super) async fn set(&mut self, key: &str, value: &[u8]) -> Result<bool, Unavailable> {
        self.store(&format!("set {key} 0 {LIFETIME_SECONDS} {}", value.len()), value).await
    }

    /// Replaces an item; whether it was still the one that is compared by this number.
    pub(super) async fn swap(&mut self, key: &str, value: &[u8], unique: u64) -> Result<bool, Unavailable> {
        self.store(&format!("cas {key} 0 {LIFETIME_SECONDS} {} {unique}", value.len()), value).await
    }

    /// Deletes an item; whether it was there.
    pub(super) async fn delete(&mut self, key: &str) -> Result<bool, Unavailable> {
        self.send(format!("delete {key}\r\n").as_bytes()).await?;
        Ok(self.line().await? == "DELETED")
    }

    async fn store(&mut self, command: &str, value: &[u8]) -> Result<bool, Unavailable> {
        self.send(&[command.as_bytes(), b"\r\n", value, b"\r\n"].concat()).await?;
        match self.line().await?.as_str() {
            "STORED" => Ok(true),
            "NOT_STORED" | "EXISTS" | "NOT_FOUND" => Ok(false),
            other => Err(unavailable(other)),
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Unavailable> {
        timeout(TIMEOUT, self.0.get_mut().write_all(bytes)).await.map_err(late)?.map_err(unavailable)
    }

    async fn line(&mut self) -> Result<String, Unavailable> {
        let mut line = String::new();
        let mut limited = (&mut self.0).take(LINE_MAX);
        timeout(TIMEOUT, limited.read_line(&mut line)).await.map_err(late)?.map_err(unavailable)?;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            None => Err(unavailable("the connection was closed")),
        }
    }
}
