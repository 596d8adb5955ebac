//! Sessions at the client, in a signed token (RFC 7519, HMAC with SHA-256): replicas share a key and nothing else.
//!
//! What that costs is measured, not hidden: the cart travels with every request; of two writes at the same time the
//! later response overwrites the other's token, so one is lost; and a token that was copied before the logout is good
//! until it expires, since nobody keeps a list of those that ended.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode, get_current_timestamp};
use serde::{Deserialize, Serialize};

use super::predictions::{Keeps, of_stateless};
use super::{Arm, Role};
use crate::prove::sabotage::Sabotage;
use crate::prove::store::{Reply, Store, Unavailable, Write};
use crate::trial::history::Value;

/// See the module.
pub(in crate::prove) const ARM: Arm = Arm {
    name: "jwt",
    role: Role::Stateless,
    shares: false,
    serve: |replica| {
        Box::pin(async move {
            let mut store = Jwt::new(replica.key()?.as_bytes());
            if let Some(seconds) = replica.clock_seconds {
                (store.clock_seconds, store.lifetime_seconds) = (seconds, SHORT_LIFETIME_SECONDS);
            }
            if replica.planted.is(Sabotage::ClockHour) && replica.name == "r1" {
                store.clock_seconds += 3600;
            }
            if replica.planted.is(Sabotage::ClockStrict) {
                store.leeway_seconds = 0;
            }
            replica.serve(store).await
        })
    },
    prepare: None,
    predict: |report| of_stateless(report, Keeps::AtTheClient),
};

/// How long a token is good, counted from the latest write.
const LIFETIME_SECONDS: u64 = 3600;
/// The same where clocks differ: for less than they do.
const SHORT_LIFETIME_SECONDS: u64 = 5;
/// How much longer it is good, because clocks differ (RFC 7519 section 4.1.4).
const LEEWAY_SECONDS: u64 = 60;

/// A store of tokens that this key signs.
pub(in crate::prove) fn store(key: &[u8]) -> impl Store {
    Jwt::new(key)
}

/// Signs and verifies.
struct Jwt {
    sign: EncodingKey,
    verify: DecodingKey,
    validation: Validation,
    /// By how much the clock is wrong.
    clock_seconds: i64,
    lifetime_seconds: u64,
    leeway_seconds: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: String,
    exp: u64,
    cart: Vec<Value>,
    /// Of the writes that bore one.
    keys: Vec<String>,
}

impl Jwt {
    /// With a key that all replicas share.
    fn new(key: &[u8]) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        // By the clock of this replica, not by that of the machine.
        validation.validate_exp = false;
        let (sign, verify) = (EncodingKey::from_secret(key), DecodingKey::from_secret(key));
        let (lifetime_seconds, leeway_seconds) = (LIFETIME_SECONDS, LEEWAY_SECONDS);
        Self { sign, verify, validation, clock_seconds: 0, lifetime_seconds, leeway_seconds }
    }

    fn now(&self) -> u64 {
        get_current_timestamp().saturating_add_signed(self.clock_seconds)
    }

    fn seal(&self, claims: &Claims) -> Result<String, Unavailable> {
        encode(&Header::new(Algorithm::HS256), claims, &self.sign).map_err(|error| Unavailable(error.to_string()))
    }

    fn open(&self, token: &str) -> Option<Claims> {
        let claims: Claims = decode(token, &self.verify, &self.validation).ok()?.claims;
        (claims.exp.saturating_add(self.leeway_seconds) >= self.now()).then_some(claims)
    }
}

impl Store for Jwt {
    async fn begin(&self, user: &str) -> Result<Reply<String>, Unavailable> {
        let exp = self.now() + self.lifetime_seconds;
        let claims = Claims { sub: user.to_owned(), exp, cart: Vec::new(), keys: Vec::new() };
        Ok(Reply::new(Some(self.seal(&claims)?), 0))
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
        Ok(Reply::new(Some(Some(self.seal(&claims)?)), 0))
    }

    async fn end(&self, token: &str) -> Result<Reply<()>, Unavailable> {
        // There is nothing to end here: only the client's copy of the token is taken away.
        Ok(Reply::new(self.open(token).map(drop), 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::store::testing::keeps_a_session;

    #[tokio::test]
    async fn it_keeps_a_session() {
        keeps_a_session(Jwt::new(b"a key")).await;
    }

    #[tokio::test]
    async fn tokens_expire_by_the_clock_of_the_replica() {
        let at = |clock_seconds| Jwt { clock_seconds, lifetime_seconds: 5, ..Jwt::new(b"a key") };
        let token = at(-25).begin("1").await.unwrap().found.unwrap();
        for (seconds, is_good) in [(-25, true), (25, true), (-60, true), (50, false)] {
            assert_eq!(at(seconds).read(&token).await.unwrap().found.is_some(), is_good, "{seconds}");
        }
        let strict = Jwt { leeway_seconds: 0, ..at(25) };
        assert!(strict.read(&token).await.unwrap().found.is_none());
    }

    #[tokio::test]
    async fn a_token_of_another_key_is_unknown() {
        let token = Jwt::new(b"a key").begin("1").await.unwrap().found.unwrap();
        assert!(Jwt::new(b"another").read(&token).await.unwrap().found.is_none());
        assert!(Jwt::new(b"a key").read(&token).await.unwrap().found.is_some());
    }
}
