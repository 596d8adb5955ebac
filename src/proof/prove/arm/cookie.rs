//! The whole session at the client, in an encrypted cookie (AES-256-GCM), as web frameworks do it. It grows with the
//! session, and browsers promise room for 4096 bytes with name and attributes (RFC 6265 section 6.1): what is longer
//! they drop without a word, and with it the write. So replicas refuse the write, and the session stays as it was.

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::header::{COOKIE, SET_COOKIE};
use http::{Method, Request, StatusCode};

use super::predictions::{Keeps, of_stateless};
use super::tokens::{Claims, Seal, Tokens};
use super::{Arm, Filling, Role, Work};
use crate::prove::ask::Line;
use crate::prove::cell::CellReport;
use crate::prove::event::Event;
use crate::prove::sabotage::Sabotage;
use crate::prove::store::Unavailable;
use crate::prove::theory::Prediction;
use crate::trial::judge::Fact;

/// See the module.
pub(super) const ARM: Arm = Arm {
    name: "cookie-session",
    is_default: false,
    role: Role::Stateless,
    shares: false,
    has_tokens: true,
    serve: |replica| {
        Box::pin(async move {
            let mut store = Tokens::<Cookie>::of(&replica)?;
            if !replica.planted.is(Sabotage::CookieUnbounded) {
                store.size_max = COOKIE_MAX - AROUND_TOKEN;
            }
            replica.serve(store).await
        })
    },
    prepare: None,
    fill: Some(|filling| fill(filling)),
    predict,
};

/// Bytes of a cookie at most, and what of it is not the token: `session=; HttpOnly; SameSite=Lax; Path=/`.
const COOKIE_MAX: usize = 4096;
const AROUND_TOKEN: usize = "session=; HttpOnly; SameSite=Lax; Path=/".len();
/// Bytes that AES-GCM adds.
const NONCE: usize = 12;
const TAG: usize = 16;
/// The first value that is written; all have the same length.
const FIRST: u64 = 1_000_000_000;
/// So many writes more than fit are tried.
const BEYOND: u64 = 20;
/// The user who writes.
const USER: &str = "0";

/// What is counted while it is filled.
const ACCEPTED: &str = "writes accepted until the cookie is full, of those that fit";
const KEPT: &str = "writes still there after the refusal, of those accepted";

/// The session of one user grows until it is refused, and is still there.
fn predict(report: &CellReport) -> Vec<Prediction> {
    let mut predictions = of_stateless(report, Keeps::AtTheClient);
    if report.event == Event::Full {
        for what in [ACCEPTED, KEPT] {
            let (hits, trials) = report.history.count(what).unwrap_or_default();
            let note = format!("a cookie has {COOKIE_MAX} bytes at most, so {} writes fit", fitting());
            predictions.push(Prediction::share(what, hits, trials, 1.0).shown_by([Fact::Note(note)]));
        }
    }
    predictions
}

/// How many writes of ten digits fit into a cookie: base64 makes four characters of three bytes, and the JSON of n
/// values is that of none and n times ten digits and a comma, but for the last.
fn fitting() -> u64 {
    let sealed = (COOKIE_MAX - AROUND_TOKEN) * 3 / 4;
    let empty = r#"{"sub":"0","exp":1234567890,"cart":[],"keys":[]}"#.len();
    let item = FIRST.to_string().len() + 1;
    ((sealed - NONCE - TAG - empty + 1) / item) as u64
}

/// A user writes without a pause until nothing more fits, as a browser would: a cookie that is too long is dropped.
fn fill(filling: Filling<'_>) -> Work<'_, ()> {
    Box::pin(async move {
        let mut line = Line::to(filling.front).await?;
        let mut cookie = String::new();
        let mut send = async |method: Method, path: &str, body: String| {
            let request = Request::builder().method(method).uri(path).header("host", "localhost");
            let request = request.header(COOKIE, &cookie).body(body.into())?;
            let response = line.send(request).await?;
            let set = response.headers().get(SET_COOKIE).and_then(|set| set.to_str().ok());
            if let Some(set) = set.filter(|set| set.len() <= COOKIE_MAX) {
                cookie = set.split(';').next().unwrap_or_default().to_owned();
            }
            anyhow::Ok(response)
        };
        send(Method::POST, "/login", USER.into()).await?;
        let mut accepted = 0;
        while accepted < fitting() + BEYOND {
            let response = send(Method::POST, "/cart", (FIRST + accepted).to_string()).await?;
            if response.status() == StatusCode::INSUFFICIENT_STORAGE {
                break;
            }
            anyhow::ensure!(response.status() == StatusCode::NO_CONTENT, "a write got {}", response.status());
            accepted += 1;
        }
        let response = send(Method::GET, "/cart", String::new()).await?;
        let cart: serde_json::Value = serde_json::from_slice(response.body()).unwrap_or_default();
        let kept = cart["values"].as_array().map_or(0, Vec::len) as u64;
        filling.recorder.count(ACCEPTED, accepted, fitting());
        filling.recorder.count(KEPT, kept, accepted);
        Ok(())
    })
}

/// Encrypts and decrypts.
struct Cookie {
    key: RandomizedNonceKey,
}

impl Seal for Cookie {
    fn with_key(key: &[u8]) -> Result<Self, Unavailable> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, key);
        Ok(Self { key: key.map_err(|_| Unavailable("the key must have 32 bytes".into()))? })
    }

    fn seal(&self, claims: &Claims) -> Result<String, Unavailable> {
        let mut sealed = serde_json::to_vec(claims).map_err(|error| Unavailable(error.to_string()))?;
        let nonce = self.key.seal_in_place_append_tag(Aad::empty(), &mut sealed);
        let nonce = nonce.map_err(|_| Unavailable("the session cannot be sealed".into()))?;
        sealed.extend(nonce.as_ref());
        Ok(BASE64_URL_SAFE_NO_PAD.encode(sealed))
    }

    fn open(&self, token: &str) -> Option<Claims> {
        let mut sealed = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
        let nonce = sealed.split_off(sealed.len().checked_sub(NONCE)?);
        let nonce = Nonce::try_assume_unique_for_key(&nonce).ok()?;
        serde_json::from_slice(self.key.open_in_place(nonce, Aad::empty(), &mut sealed).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::arm::tokens::testing::{seals, tokens};
    use crate::prove::store::{Store as _, Write};

    #[tokio::test]
    async fn it_seals_tokens() {
        seals::<Cookie>().await;
    }

    /// The formula, beside cookies that are really sealed.
    #[tokio::test]
    async fn so_many_writes_fit_as_theory_says() {
        let store = tokens::<Cookie>();
        let mut token = store.begin(USER).await.unwrap().found.unwrap();
        let mut fits = 0;
        loop {
            let write = Write { value: FIRST + fits, key: None };
            token = store.write(&token, write).await.unwrap().found.unwrap().unwrap();
            if format!("session={token}; HttpOnly; SameSite=Lax; Path=/").len() > COOKIE_MAX {
                break;
            }
            fits += 1;
        }
        assert_eq!(fits, fitting());
        assert!((200..300).contains(&fits), "{fits}");
    }
}
