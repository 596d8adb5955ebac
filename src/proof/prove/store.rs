//! What a replica of the shop needs of a store of sessions: the only thing that differs between the arms of the
//! experiment.

use std::future::Future;

use crate::trial::history::Value;

/// The store cannot be used now.
#[derive(Debug, thiserror::Error)]
#[error("the store is not available: {0}")]
pub(super) struct Unavailable(pub(super) String);

/// What a store says.
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
pub(super) struct Write<'a> {
    /// Different for every write.
    pub(super) value: Value,
    /// Its `Idempotency-Key`: what has been written under one takes effect once, however often it comes. Without one it
    /// is appended blindly.
    pub(super) key: Option<&'a str>,
}

/// A store of sessions. A token is what the client's cookie holds.
pub(super) trait Store: Send + Sync + 'static {
    /// Begins a session for a user; its token.
    fn begin(&self, user: &str) -> impl Future<Output = Result<Reply<String>, Unavailable>> + Send;
    /// Everything written in a session, in order.
    fn read(&self, token: &str) -> impl Future<Output = Result<Reply<Vec<Value>>, Unavailable>> + Send;
    /// Adds to a session; the new token if it is another one now.
    fn write(
        &self,
        token: &str,
        write: Write<'_>,
    ) -> impl Future<Output = Result<Reply<Option<String>>, Unavailable>> + Send;
    /// Everything in a book that all share, in order. Only stores that all replicas share have books.
    fn look(&self, _book: &str) -> impl Future<Output = Result<Reply<Vec<Value>>, Unavailable>> + Send {
        async { Err(Unavailable("nothing is shared here".into())) }
    }
    /// Adds to a book.
    fn post(&self, _book: &str, _value: Value) -> impl Future<Output = Result<Reply<()>, Unavailable>> + Send {
        async { Err(Unavailable("nothing is shared here".into())) }
    }
    /// Bytes that a token may have: a longer one would not be kept by its client.
    fn token_max(&self) -> usize {
        usize::MAX
    }
    /// Reads the keys again, if it has any.
    fn reload(&self) -> Result<(), Unavailable> {
        Ok(())
    }
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
pub(super) mod testing {
    //! What every store must do, for the tests beside them.

    use std::io::Write as _;

    use super::*;

    /// Says that a test was not run.
    pub(in crate::prove) fn skipped(why: &str) {
        let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
    }

    /// Writes into books, and reads them.
    pub(in crate::prove) async fn keeps_books(store: impl Store) {
        assert_eq!(store.look("1").await.unwrap().found.unwrap(), Vec::<Value>::new());
        for (book, value) in [("1", 10), ("2", 5), ("1", 4), ("1", 10)] {
            store.post(book, value).await.unwrap().found.unwrap();
        }
        assert_eq!(store.look("1").await.unwrap().found.unwrap(), [10, 4, 10]);
        assert_eq!(store.look("2").await.unwrap().found.unwrap(), [5]);
    }

    /// Plays the life of one session.
    pub(in crate::prove) async fn keeps_a_session(store: impl Store) {
        let keyed = |value, key| Write { value, key: Some(key) };
        let mut token = store.begin("7").await.unwrap().found.unwrap();
        assert_eq!(store.read(&token).await.unwrap().found.unwrap(), Vec::<Value>::new());
        for (write, expected) in [
            (keyed(10, "a"), vec![10]),
            (keyed(4, "b"), vec![10, 4]),
            (keyed(10, "a"), vec![10, 4]),
            (keyed(10, "c"), vec![10, 4, 10]),
            (Write { value: 4, key: None }, vec![10, 4, 10, 4]),
            (Write { value: 4, key: None }, vec![10, 4, 10, 4, 4]),
        ] {
            token = store.write(&token, write).await.unwrap().found.unwrap().unwrap_or(token);
            assert_eq!(store.read(&token).await.unwrap().found.unwrap(), expected);
        }
        assert!(store.read("unknown").await.unwrap().found.is_none());
        assert!(store.write("unknown", keyed(1, "d")).await.unwrap().found.is_none());
        assert!(store.end(&token).await.unwrap().found.is_some());
    }
}
