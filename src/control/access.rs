//! Who may change something over the admin port, as the config says.

use aws_lc_rs::constant_time::verify_slices_are_equal;

use crate::config::model::{Admin, Token};

/// Who may change something over TCP. Nobody may, by default.
#[derive(Debug, Default, Clone)]
pub(crate) enum Access {
    /// Nobody.
    #[default]
    Nobody,
    /// Nobody, because there is no token, and the admin port can be reached from elsewhere.
    NobodyKnown,
    /// Whoever is on this machine.
    Loopback,
    /// Whoever knows the token.
    Known(Token),
}

impl Access {
    /// What the config says.
    pub(super) fn of(admin: &Admin) -> Self {
        match (&admin.token, admin.control) {
            (_, Some(false)) => Self::Nobody,
            (Some(token), _) => Self::Known(token.clone()),
            (None, _) if admin.is_on_loopback() => Self::Loopback,
            (None, _) => Self::NobodyKnown,
        }
    }

    /// What a start says of it; `None` if it is as one expects.
    pub(super) fn remark(&self) -> Option<&'static str> {
        match self {
            Self::Nobody => Some("read-only: admin.control is false"),
            Self::NobodyKnown => Some(
                "read-only, because it can be reached from elsewhere: set admin.token to change \
                something over it",
            ),
            Self::Loopback | Self::Known(_) => None,
        }
    }
}

/// Whether this is the token. How long that takes says nothing of where they differ.
pub(super) fn is_same(token: &Token, given: &[u8]) -> bool {
    verify_slices_are_equal(token.secret().as_bytes(), given).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_others_reach_needs_a_token() {
        let token = Token::parse("0123456789abcdef").unwrap();
        for (address, has_token, control, expected) in [
            ("127.0.0.1:9900", false, None, "Loopback"),
            ("[::1]:9900", false, None, "Loopback"),
            ("[::ffff:127.0.0.1]:9900", false, Some(true), "Loopback"),
            ("127.0.0.1:9900", true, None, "Known(Token(***))"),
            ("127.0.0.1:9900", true, Some(false), "Nobody"),
            ("127.0.0.1:9900", false, Some(false), "Nobody"),
            ("0.0.0.0:9900", false, None, "NobodyKnown"),
            ("[::]:9900", false, None, "NobodyKnown"),
            ("10.0.0.1:9900", false, None, "NobodyKnown"),
            ("10.0.0.1:9900", true, None, "Known(Token(***))"),
            ("10.0.0.1:9900", true, Some(true), "Known(Token(***))"),
        ] {
            let token = has_token.then(|| token.clone());
            let admin = Admin { address: Some(address.parse().unwrap()), control, token, ..Admin::default() };
            assert_eq!(format!("{:?}", Access::of(&admin)), expected, "{address} {control:?}");
        }
    }

    #[test]
    fn a_token_is_the_same_only_if_it_is_whole() {
        let token = Token::parse(" 0123456789abcdef\n").unwrap();
        assert!(is_same(&token, b"0123456789abcdef"));
        for given in ["", "0123456789abcde", "0123456789abcdef0", "0123456789abcdeg", "0123456789ABCDEF"] {
            assert!(!is_same(&token, given.as_bytes()), "{given}");
        }
    }
}
