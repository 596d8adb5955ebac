//! Sessions at the client, in a signed token (RFC 7519, HMAC with SHA-256).

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};

use super::predictions::{Keeps, of_stateless};
use super::tokens::{Claims, Seal, Tokens};
use super::{Arm, Role};
use crate::prove::store::{Store, Unavailable};

/// See the module.
pub(in crate::prove) const ARM: Arm = Arm {
    name: "jwt",
    is_default: true,
    role: Role::Stateless,
    shares: false,
    has_tokens: true,
    serve: |replica| {
        Box::pin(async move {
            let store = Tokens::<Jwt>::of(&replica)?;
            replica.serve(store).await
        })
    },
    prepare: None,
    fill: None,
    predict: |report| of_stateless(report, Keeps::AtTheClient),
};

/// A store of tokens that this key signs.
pub(in crate::prove) fn store(key: &[u8]) -> impl Store {
    Tokens::under(Jwt::new(key))
}

/// Signs and verifies.
pub(super) struct Jwt {
    sign: EncodingKey,
    verify: DecodingKey,
    validation: Validation,
}

impl Jwt {
    fn new(key: &[u8]) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        // By the clock of the replica, not by that of the machine.
        validation.validate_exp = false;
        let (sign, verify) = (EncodingKey::from_secret(key), DecodingKey::from_secret(key));
        Self { sign, verify, validation }
    }
}

impl Seal for Jwt {
    fn with_key(key: &[u8]) -> Result<Self, Unavailable> {
        Ok(Self::new(key))
    }

    fn seal(&self, claims: &Claims) -> Result<String, Unavailable> {
        encode(&Header::new(Algorithm::HS256), claims, &self.sign).map_err(|error| Unavailable(error.to_string()))
    }

    fn open(&self, token: &str) -> Option<Claims> {
        Some(decode(token, &self.verify, &self.validation).ok()?.claims)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::arm::tokens::testing::seals;

    #[tokio::test]
    async fn it_seals_tokens() {
        seals::<Jwt>().await;
    }
}
