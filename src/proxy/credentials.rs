//! Credentials that authenticate a connection instead of a request: NTLM, and Negotiate (RFC 4559).
//!
//! A connection to a replica over which either is offered or used must not carry requests of anybody else, see
//! [`crate::link::private`]. As HAProxy does, this goes by the beginning of a scheme's name, which covers `Nego2` too.

use http::StatusCode;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, WWW_AUTHENTICATE};

/// How the names of the schemes begin that authenticate connections.
const SCHEMES: [&[u8]; 2] = [b"ntlm", b"nego"];

/// Whether a request bears such credentials.
pub(super) fn of_request(headers: &HeaderMap) -> bool {
    [AUTHORIZATION, PROXY_AUTHORIZATION].iter().any(|name| headers.get_all(name).iter().any(is_of_connection))
}

/// Whether a response asks for such credentials, or is a step of proving them.
pub(super) fn of_response(status: StatusCode, headers: &HeaderMap) -> bool {
    let name = match status {
        StatusCode::UNAUTHORIZED => WWW_AUTHENTICATE,
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => PROXY_AUTHENTICATE,
        _ => return false,
    };
    headers.get_all(name).iter().any(is_of_connection)
}

/// Whether any element of a list names such a scheme.
fn is_of_connection(value: &HeaderValue) -> bool {
    let begins = |element: &[u8], scheme: &[u8]| {
        element.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
    };
    let mut elements = value.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    elements.any(|element| SCHEMES.iter().any(|scheme| begins(element, scheme)))
}

#[cfg(test)]
mod tests {
    use http::header::HeaderName;

    use super::*;

    fn headers(name: HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn schemes_that_authenticate_a_connection() {
        for (values, expected) in [
            (&["NTLM TlRMTVNTUAAB"][..], true),
            (&["ntlm"], true),
            (&["Negotiate YIIG"], true),
            (&["Nego2"], true),
            (&["Basic realm=\"a\"", "NTLM"], true),
            (&["Basic realm=\"a\", negotiate"], true),
            (&["Basic TlRMTQ=="], false),
            (&["Bearer ntlm"], false),
            (&["NTL"], false),
            (&[""], false),
        ] {
            assert_eq!(of_request(&headers(AUTHORIZATION, values)), expected, "{values:?}");
            let asks = headers(WWW_AUTHENTICATE, values);
            assert_eq!(of_response(StatusCode::UNAUTHORIZED, &asks), expected, "{values:?}");
            assert!(!of_response(StatusCode::OK, &asks), "{values:?}");
            let proxy = headers(PROXY_AUTHENTICATE, values);
            assert_eq!(of_response(StatusCode::PROXY_AUTHENTICATION_REQUIRED, &proxy), expected, "{values:?}");
        }
    }
}
