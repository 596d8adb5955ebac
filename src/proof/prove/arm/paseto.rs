//! Sessions at the client, in an encrypted token (PASETO v4.local: XChaCha20 and keyed BLAKE2b): what is in it is
//! nobody's business but the replicas', and nothing in the token says how it is to be opened.

use pasetors::keys::SymmetricKey;
use pasetors::token::UntrustedToken;
use pasetors::version4::{LocalToken, V4};
use pasetors::{Local, errors};

use super::predictions::{Keeps, of_stateless};
use super::tokens::{Claims, Seal, Tokens};
use super::{Arm, Role};
use crate::prove::store::Unavailable;

/// See the module.
pub(super) const ARM: Arm = Arm {
    name: "paseto",
    is_default: false,
    role: Role::Stateless,
    shares: false,
    has_tokens: true,
    serve: |replica| {
        Box::pin(async move {
            let store = Tokens::<Paseto>::of(&replica)?;
            replica.serve(store).await
        })
    },
    prepare: None,
    fill: None,
    predict: |report| of_stateless(report, Keeps::AtTheClient),
};

/// Encrypts and decrypts.
struct Paseto {
    key: SymmetricKey<V4>,
}

fn unavailable(error: errors::Error) -> Unavailable {
    Unavailable(format!("PASETO: {error}"))
}

impl Seal for Paseto {
    fn with_key(key: &[u8]) -> Result<Self, Unavailable> {
        Ok(Self { key: SymmetricKey::from(key).map_err(unavailable)? })
    }

    fn seal(&self, claims: &Claims) -> Result<String, Unavailable> {
        let claims = serde_json::to_vec(claims).map_err(|error| Unavailable(error.to_string()))?;
        LocalToken::encrypt(&self.key, &claims, None, None).map_err(unavailable)
    }

    fn open(&self, token: &str) -> Option<Claims> {
        let token = UntrustedToken::<Local, V4>::try_from(token).ok()?;
        let opened = LocalToken::decrypt(&self.key, &token, None, None).ok()?;
        serde_json::from_str(opened.payload()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::arm::tokens::testing::{seals, tokens};
    use crate::prove::store::Store as _;

    #[tokio::test]
    async fn it_seals_tokens_that_nobody_else_can_read() {
        seals::<Paseto>().await;
        let token = tokens::<Paseto>().begin("a-user").await.unwrap().found.unwrap();
        let body = token.strip_prefix("v4.local.").unwrap();
        assert!(!body.contains('.') && body.len() > 100, "{token}");
    }
}
