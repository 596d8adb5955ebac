//! Where a replica of the shop keeps sessions: the only thing that differs between the arms of the experiment.

pub(super) mod database;
pub(super) mod jwt;
pub(super) mod memory;
pub(super) mod redis;

use std::future::Future;

use crate::trial::history::Value;

/// The store cannot be used now.
#[derive(Debug, thiserror::Error)]
#[error("the store is not available: {0}")]
pub(super) struct Unavailable(pub(super) String);

/// What came of a use of the sessions.
#[derive(Debug)]
pub(super) struct Reply<T> {
    /// `None`: there is no such session.
    pub(super) found: Option<T>,
    /// How often the store was asked.
    pub(super) trips: u32,
}

impl<T> Reply<T> {
    pub(super) fn new(found: Option<T>, trips: u32) -> Self {
        Self { found, trips }
    }
}

/// What is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Write {
    /// Different for every write.
    pub(super) value: Value,
    /// Whether it bears an `Idempotency-Key`: then it takes effect once, however often it comes.
    pub(super) is_keyed: bool,
}

/// Sessions. A token is what the client's cookie holds.
pub(super) trait Sessions: Send + Sync + 'static {
    /// Begins a session for a user; its token.
    fn begin(&self, user: &str) -> impl Future<Output = Result<Reply<String>, Unavailable>> + Send;
    /// Everything written in a session, in order.
    fn read(&self, token: &str) -> impl Future<Output = Result<Reply<Vec<Value>>, Unavailable>> + Send;
    /// Adds to a session; the new token if it is another one now.
    fn write(
        &self,
        token: &str,
        write: Write,
    ) -> impl Future<Output = Result<Reply<Option<String>>, Unavailable>> + Send;
    /// Ends a session.
    fn end(&self, token: &str) -> impl Future<Output = Result<Reply<()>, Unavailable>> + Send;
}

/// A token that cannot be guessed: 128 bits from the system's generator.
pub(super) fn new_token() -> Result<String, Unavailable> {
    let mut bytes = [0; 16];
    let random =
        std::fs::File::open("/dev/urandom").and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes));
    random.map_err(|error| Unavailable(format!("no random bytes: {error}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lives(sessions: impl Sessions) {
        let keyed = |value| Write { value, is_keyed: true };
        let mut token = sessions.begin("7").await.unwrap().found.unwrap();
        assert_eq!(sessions.read(&token).await.unwrap().found.unwrap(), Vec::<Value>::new());
        for (write, expected) in [
            (keyed(10), vec![10]),
            (keyed(4), vec![10, 4]),
            (keyed(10), vec![10, 4]),
            (Write { value: 4, is_keyed: false }, vec![10, 4, 4]),
        ] {
            token = sessions.write(&token, write).await.unwrap().found.unwrap().unwrap_or(token);
            assert_eq!(sessions.read(&token).await.unwrap().found.unwrap(), expected);
        }
        assert!(sessions.read("unknown").await.unwrap().found.is_none());
        assert!(sessions.write("unknown", keyed(1)).await.unwrap().found.is_none());
        assert!(sessions.end(&token).await.unwrap().found.is_some());
    }

    #[tokio::test]
    async fn every_store_keeps_a_session() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("sessions.sqlite");
        lives(memory::Memory::default()).await;
        lives(jwt::Jwt::new(b"a key")).await;
        lives(database::Database::open(&file).unwrap()).await;
        let (one, other) = (database::Database::open(&file).unwrap(), database::Database::open(&file).unwrap());
        let token = one.begin("1").await.unwrap().found.unwrap();
        assert!(other.read(&token).await.unwrap().found.is_some(), "replicas share the file");
        other.end(&token).await.unwrap();
        assert!(one.read(&token).await.unwrap().found.is_none());
    }

    #[tokio::test]
    async fn a_token_of_another_key_is_unknown() {
        let token = jwt::Jwt::new(b"a key").begin("1").await.unwrap().found.unwrap();
        assert!(jwt::Jwt::new(b"another").read(&token).await.unwrap().found.is_none());
        assert!(jwt::Jwt::new(b"a key").read(&token).await.unwrap().found.is_some());
    }
}
