//! Sessions at the client, in tokens: replicas share keys and nothing else. The arms differ in how a token is sealed.
//!
//! What that costs is measured, not hidden: the cart travels with every request; of two writes at the same time the
//! later response overwrites the other's token, so one is lost; and a token that was copied before the logout is good
//! until it expires, since nobody keeps a list of those that ended.

mod keyring;

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::prove::replica::Replica;
use crate::prove::sabotage::Sabotage;
use crate::prove::store::{Reply, Store, Unavailable, Write, new_token};
use crate::trial::history::Value;
pub(in crate::prove) use keyring::KEYS_FILE;
use keyring::Keyring;

/// How long a token is good, counted from the latest write.
const LIFETIME_SECONDS: u64 = 3600;
/// The same where clocks differ: for less than they do.
const SHORT_LIFETIME_SECONDS: u64 = 5;
/// How much longer it is good, because clocks differ (RFC 7519 section 4.1.4).
const LEEWAY_SECONDS: u64 = 60;

/// One key, and how tokens are sealed with it.
pub(super) trait Seal: Sized + Send + Sync + 'static {
    /// With a key that all replicas share: 32 bytes.
    fn with_key(key: &[u8]) -> Result<Self, Unavailable>;
    /// A token with these claims.
    fn seal(&self, claims: &Claims) -> Result<String, Unavailable>;
    /// The claims of a token that was sealed with this key.
    fn open(&self, token: &str) -> Option<Claims>;
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    sub: String,
    exp: u64,
    /// Names the session, whatever tokens it has had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    cart: Vec<Value>,
    /// Of the writes that bore one.
    keys: Vec<String>,
}

impl Claims {
    /// The name of the session.
    pub(super) fn session(&self) -> &str {
        self.jti.as_deref().unwrap_or_default()
    }
}

/// Seals and opens.
pub(super) struct Tokens<S> {
    keys: Keyring<S>,
    /// Whether tokens bear the name of their session.
    names_sessions: bool,
    /// Bytes of a token at most.
    pub(super) size_max: usize,
    /// By how much the clock is wrong.
    clock_seconds: i64,
    lifetime_seconds: u64,
    leeway_seconds: u64,
}

impl<S: Seal> Tokens<S> {
    /// As a replica was told to.
    pub(super) fn of(replica: &Replica) -> anyhow::Result<Self> {
        let mut tokens = Self::new(Keyring::of(replica)?);
        if let Some(seconds) = replica.clock_seconds {
            (tokens.clock_seconds, tokens.lifetime_seconds) = (seconds, SHORT_LIFETIME_SECONDS);
        }
        if replica.planted.is(Sabotage::ClockHour) && replica.name == "r1" {
            tokens.clock_seconds += 3600;
        }
        if replica.planted.is(Sabotage::ClockStrict) {
            tokens.leeway_seconds = 0;
        }
        Ok(tokens)
    }

    /// Under one key that never changes.
    pub(super) fn under(key: S) -> Self {
        Self::new(Keyring::of_keys(vec![key]))
    }

    fn new(keys: Keyring<S>) -> Self {
        let (lifetime_seconds, leeway_seconds) = (LIFETIME_SECONDS, LEEWAY_SECONDS);
        Self { keys, names_sessions: false, size_max: usize::MAX, clock_seconds: 0, lifetime_seconds, leeway_seconds }
    }

    /// The same whose tokens bear the name of their session.
    pub(super) fn naming_sessions(self) -> Self {
        Self { names_sessions: true, ..self }
    }

    /// By the clock of this replica, not by that of the machine.
    fn now(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        since.as_secs().saturating_add_signed(self.clock_seconds)
    }

    /// For how long from now on any token of a session may be good, by the clock of any replica: one that another
    /// replica has just sealed, and whose clock differs by as much as is granted.
    pub(super) fn good_for_seconds(&self) -> u64 {
        self.lifetime_seconds + 2 * self.leeway_seconds
    }

    /// What a token says, if it is good.
    pub(super) fn open(&self, token: &str) -> Option<Claims> {
        let claims = self.keys.open(token)?;
        (claims.exp.saturating_add(self.leeway_seconds) >= self.now()).then_some(claims)
    }
}

impl<S: Seal> Store for Tokens<S> {
    async fn begin(&self, user: &str) -> Result<Reply<String>, Unavailable> {
        let exp = self.now() + self.lifetime_seconds;
        let jti = if self.names_sessions { Some(new_token()?) } else { None };
        let claims = Claims { sub: user.to_owned(), exp, jti, cart: Vec::new(), keys: Vec::new() };
        Ok(Reply::new(Some(self.keys.seal(&claims)?), 0))
    }

    async fn read(&self, token: &str) -> Result<Reply<Vec<Value>>, Unavailable> {
        Ok(Reply::new(self.open(token).map(|claims| claims.cart), 0))
    }

    async fn write(&self, token: &str, write: Write<'_>) -> Result<Reply<Option<String>>, Unavailable> {
        let Some(mut claims) = self.open(token) else { return Ok(Reply::new(None, 0)) };
        let is_new = write.key.is_none_or(|key| !claims.keys.iter().any(|known| known == key));
        if is_new {
            claims.cart.push(write.value);
            claims.keys.extend(write.key.map(str::to_owned));
        }
        claims.exp = self.now() + self.lifetime_seconds;
        Ok(Reply::new(Some(Some(self.keys.seal(&claims)?)), 0))
    }

    async fn end(&self, token: &str) -> Result<Reply<()>, Unavailable> {
        // There is nothing to end here: only the client's copy of the token is taken away.
        Ok(Reply::new(self.open(token).map(drop), 0))
    }

    fn token_max(&self) -> usize {
        self.size_max
    }

    fn reload(&self) -> Result<(), Unavailable> {
        self.keys.reload()
    }
}

#[cfg(test)]
pub(in crate::prove::arm) mod testing {
    //! What every way to seal tokens must do.

    use super::*;
    use crate::prove::store::testing::keeps_a_session;

    const KEY: &[u8; 32] = b"0123456789abcdef0123456789abcdef";
    const OTHER: &[u8; 32] = b"fedcba9876543210fedcba9876543210";

    /// Tokens under one key.
    pub(in crate::prove::arm) fn tokens<S: Seal>() -> Tokens<S> {
        Tokens::new(Keyring::of_keys(vec![S::with_key(KEY).unwrap()]))
    }

    /// Plays sessions, with clocks that differ, tokens that were tampered with, and keys that come and go.
    pub(in crate::prove::arm) async fn seals<S: Seal>() {
        keeps_a_session(tokens::<S>()).await;
        let token = tokens::<S>().begin("1").await.unwrap().found.unwrap();
        assert!(tokens::<S>().read(&token).await.unwrap().found.is_some(), "replicas share the key");
        let tampered: String =
            token[..token.len() / 2].chars().chain("AA".chars()).collect::<String>() + &token[token.len() / 2 + 2..];
        for bad in [&tampered, &token[1..], ""] {
            assert!(tokens::<S>().read(bad).await.unwrap().found.is_none(), "{bad}");
        }
        expires::<S>().await;
        rotates::<S>().await;
    }

    async fn expires<S: Seal>() {
        let at = |clock_seconds| Tokens { clock_seconds, lifetime_seconds: 5, ..tokens::<S>() };
        let token = at(-25).begin("1").await.unwrap().found.unwrap();
        for (seconds, is_good) in [(-25, true), (25, true), (-60, true), (50, false)] {
            assert_eq!(at(seconds).read(&token).await.unwrap().found.is_some(), is_good, "{seconds}");
        }
        let strict = Tokens { leeway_seconds: 0, ..at(25) };
        assert!(strict.read(&token).await.unwrap().found.is_none());
    }

    async fn rotates<S: Seal>() {
        let of = |keys: &[&[u8; 32]]| {
            let keys = keys.iter().map(|key| S::with_key(*key).unwrap()).collect();
            Tokens::new(Keyring::of_keys(keys))
        };
        let before = of(&[KEY]).begin("1").await.unwrap().found.unwrap();
        let announced = of(&[KEY, OTHER]).begin("1").await.unwrap().found.unwrap();
        let after = of(&[OTHER, KEY]).begin("1").await.unwrap().found.unwrap();
        for (keys, token, is_good) in [
            (&[KEY, OTHER][..], &after, true),
            (&[OTHER, KEY][..], &before, true),
            (&[OTHER, KEY][..], &announced, true),
            (&[KEY][..], &after, false),
            (&[OTHER][..], &before, false),
            (&[OTHER][..], &announced, false),
            (&[OTHER][..], &after, true),
        ] {
            assert_eq!(of(keys).read(token).await.unwrap().found.is_some(), is_good);
        }
    }
}
