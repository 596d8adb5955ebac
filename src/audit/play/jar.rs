//! The cookies of one actor, as a browser keeps them (RFC 6265).

use cookie_store::CookieStore;
use http::HeaderMap;
use http::header::SET_COOKIE;
use url::Url;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Jar(CookieStore);

impl Jar {
    /// Keeps what a response sets.
    pub(super) fn keep(&mut self, at: &Url, headers: &HeaderMap) {
        for field in headers.get_all(SET_COOKIE) {
            if let Ok(field) = field.to_str() {
                // One that a browser would refuse is not kept either.
                self.0.parse(field, at).ok();
            }
        }
    }

    /// The `Cookie` field of a request, if it has one.
    pub(super) fn field(&self, at: &Url) -> Option<String> {
        let pairs: Vec<String> = self.0.get_request_values(at).map(|(name, value)| format!("{name}={value}")).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

/// What cookies are scoped by. Users reach an application by way of a proxy that speaks TLS, so cookies for `Secure`
/// connections are kept and sent even if its replicas speak plain text.
pub(super) fn url(host: &str, target: &str) -> Option<Url> {
    Url::parse(&format!("https://{host}{target}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_come_back_where_a_browser_sends_them() {
        let at = |target: &str| url("127.0.0.1:3000", target).unwrap();
        let mut jar = Jar::default();
        let mut headers = HeaderMap::new();
        for field in
            ["a=1; Path=/", "b=2; Path=/shop; Secure; HttpOnly", "c=3; Domain=elsewhere.test", "d=4; Max-Age=0"]
        {
            headers.append(SET_COOKIE, field.parse().unwrap());
        }
        jar.keep(&at("/shop/login"), &headers);
        for (target, expected) in
            [("/", vec!["a=1"]), ("/shop/cart?x=1", vec!["a=1", "b=2"]), ("/shopping", vec!["a=1"])]
        {
            let field = jar.field(&at(target)).unwrap();
            let mut pairs: Vec<&str> = field.split("; ").collect();
            pairs.sort_unstable();
            assert_eq!(pairs, expected, "{target}");
        }
        headers.clear();
        headers.append(SET_COOKIE, "a=; Path=/; Max-Age=0".parse().unwrap());
        jar.keep(&at("/"), &headers);
        assert_eq!(jar.field(&at("/")), None, "it was taken back");
    }
}
