//! Names that sound like secrets.

/// A name with one of these in it, wherever it stands, is that of a secret: `JSESSIONID`, `csrfmiddlewaretoken`.
const PARTS: [&str; 16] = [
    "token",
    "secret",
    "passw",
    "passphrase",
    "session",
    "csrf",
    "xsrf",
    "apikey",
    "accesskey",
    "privatekey",
    "signingkey",
    "encryptionkey",
    "cardnumber",
    "jwt",
    "credential",
    "authoriz",
];

/// A name with one of these as a word is that of a secret: `connect.sid`, `x-auth`, `user[pwd]`.
const WORDS: [&str; 14] = [
    "sid",
    "pass",
    "pwd",
    "passwd",
    "passcode",
    "auth",
    "otp",
    "pin",
    "nonce",
    "sig",
    "signature",
    "cookie",
    "bearer",
    "assertion",
];

/// Names that are those of secrets in a query only: elsewhere a `code` or a `key` is often none.
const IN_QUERY: [&str; 4] = ["code", "state", "key", "ticket"];

/// Whether a name of a field, a key, a cookie or of a part of a form sounds like a secret.
pub(super) fn is_secret(name: &str) -> bool {
    let joined: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    PARTS.iter().any(|part| joined.contains(part)) || words(name).iter().any(|word| WORDS.contains(&word.as_str()))
}

/// As [`is_secret`], for a parameter of a URL.
pub(super) fn is_secret_in_query(name: &str) -> bool {
    is_secret(name) || words(name).iter().any(|word| IN_QUERY.contains(&word.as_str()))
}

/// Whether a place in an outcome, as in `cookie sid` or `body $.access_token`, is one where a secret stands.
pub(super) fn is_place_of_secret(place: &str) -> bool {
    let kind = place.split_whitespace().next().unwrap_or_default();
    kind.eq_ignore_ascii_case("cookie") || is_secret(place)
}

/// A name as words in lower case: `userPwd` and `user_pwd` are two.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for character in name.chars() {
        let is_boundary = !character.is_alphanumeric() || (was_lower && character.is_uppercase());
        was_lower = character.is_lowercase();
        if is_boundary {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| character.is_alphanumeric()) {
            word.extend(character.to_lowercase());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets_are_known_and_others_are_not() {
        let secret = [
            "token",
            "csrf_token",
            "csrfmiddlewaretoken",
            "X-CSRF-Token",
            "connect.sid",
            "JSESSIONID",
            "PHPSESSID_session",
            "api_key",
            "x-api-key",
            "apiKey",
            "Password",
            "user[pwd]",
            "userPwd",
            "jwt",
            "Mcp-Session-Id",
            "client_secret",
            "Authorization",
            "otp",
            "aws_secret_access_key",
            "refreshToken",
            "auth",
        ];
        let plain =
            ["author", "key", "code", "name", "count", "inside", "passenger", "pinned", "user", "monkey", "size"];
        assert_eq!(secret.iter().filter(|name| !is_secret(name)).collect::<Vec<_>>(), Vec::<&&str>::new());
        assert_eq!(plain.iter().filter(|name| is_secret(name)).collect::<Vec<_>>(), Vec::<&&str>::new());
        assert!(
            is_secret_in_query("code") && is_place_of_secret("cookie theme") && !is_place_of_secret("body word 12")
        );
    }
}
