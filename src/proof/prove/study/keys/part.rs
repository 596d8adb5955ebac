//! A service that knows its users by signed tokens (RFC 7519, HMAC with SHA-256). Whose is the key?

use http::{Request, StatusCode};
use hyper::body::Incoming;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode, get_current_timestamp};
use serde::{Deserialize, Serialize};

use super::{OWN, USER};
use crate::prove::arm::Work;
use crate::prove::replica::KEY_VARIABLE;
use crate::prove::sabotage::Sabotage;
use crate::prove::store::new_token;
use crate::prove::study::part::{PartReplica, Responder, Responding, field, place, text};

/// How long a token is good. No trial takes that long.
const LIFETIME_SECONDS: u64 = 3600;

/// One replica.
pub(in crate::prove::study) fn serve(replica: PartReplica) -> Work<'static, ()> {
    Box::pin(async move {
        let is_forgotten = replica.planted.is(Sabotage::KeyForgotten) && replica.name == "r3";
        let key = if place() == OWN || is_forgotten { new_token()? } else { std::env::var(KEY_VARIABLE)? };
        let (sign, verify) = (EncodingKey::from_secret(key.as_bytes()), DecodingKey::from_secret(key.as_bytes()));
        replica.serve(Tokens { sign, verify }).await
    })
}

struct Tokens {
    sign: EncodingKey,
    verify: DecodingKey,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: String,
    exp: u64,
}

impl Responder for Tokens {
    /// A request with a user gets a token, one with a token is told whose it is.
    fn respond(&self, request: Request<Incoming>) -> Responding<'_> {
        let response = if let Some(user) = field(&request, USER) {
            let claims = Claims { sub: user.to_owned(), exp: get_current_timestamp() + LIFETIME_SECONDS };
            match encode(&Header::new(Algorithm::HS256), &claims, &self.sign) {
                Ok(token) => text(StatusCode::OK, &token),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
            }
        } else {
            let token = field(&request, "authorization").and_then(|value| value.strip_prefix("Bearer "));
            let read = |token| decode::<Claims>(token, &self.verify, &Validation::new(Algorithm::HS256)).ok();
            match token.and_then(read) {
                Some(known) => text(StatusCode::OK, &known.claims.sub),
                None => text(StatusCode::UNAUTHORIZED, "this token is not known"),
            }
        };
        Box::pin(std::future::ready(response))
    }
}
