//! The shop behind the demo: a request in, a response out, nothing remembered in between.
//!
//! Pure: no clock, no socket, no state but the replica's own name, process id and key. The cart travels in a signed
//! cookie (see [`cookie`]), so any replica can serve any request, which is all that `unstick` asks of a replica.

mod cart;
mod page;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};

use super::cookie::{self, Key};
use cart::{Cart, Item};

/// The cookie's name with its equals sign.
const COOKIE_PREFIX: &str = "cart=";

/// The page contains all it needs; nothing may be fetched from elsewhere.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; \
                           connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// One replica of the shop.
#[derive(Debug)]
pub(super) struct Shop {
    replica: String,
    replica_field: HeaderValue,
    pid: u32,
    key: Key,
}

impl Shop {
    /// The shop as served by the process `pid`; `None` if `replica` cannot stand in a header field.
    pub(super) fn new(replica: &str, pid: u32, key: Key) -> Option<Self> {
        let replica_field = HeaderValue::from_str(replica).ok()?;
        Some(Self { replica: replica.to_owned(), replica_field, pid, key })
    }

    /// The response to one request.
    pub(super) fn respond(&self, request: &Request<Bytes>) -> Response<String> {
        let read = matches!(*request.method(), Method::GET | Method::HEAD);
        let write = request.method() == Method::POST;
        match request.uri().path() {
            "/" if read => self.page(&self.cart(request.headers())),
            "/whoami" if read => self.whoami(&self.cart(request.headers())),
            "/healthz" if read => self.text(StatusCode::OK, "ok"),
            "/cart" if write => self.add(self.cart(request.headers()), request.body()),
            "/cart/clear" if write => self.back_to_page(&Cart::default()),
            "/" | "/whoami" | "/healthz" => self.not_allowed("GET, HEAD"),
            "/cart" | "/cart/clear" => self.not_allowed("POST"),
            _ => self.text(StatusCode::NOT_FOUND, "there is nothing here"),
        }
    }

    /// A short response in plain text.
    pub(super) fn text(&self, status: StatusCode, message: &str) -> Response<String> {
        self.response(status, "text/plain; charset=utf-8", format!("{message}\n"))
    }

    fn not_allowed(&self, allowed: &'static str) -> Response<String> {
        let mut response = self.text(StatusCode::METHOD_NOT_ALLOWED, "this method is not for this path");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
        response
    }

    fn whoami(&self, cart: &Cart) -> Response<String> {
        let body = serde_json::json!({ "replica": self.replica, "pid": self.pid, "items": cart.pieces() });
        self.response(StatusCode::OK, "application/json", format!("{body}\n"))
    }

    fn page(&self, cart: &Cart) -> Response<String> {
        let body = page::page(&self.replica, self.pid, cart);
        let mut response = self.response(StatusCode::OK, "text/html; charset=utf-8", body);
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
        response
    }

    /// Puts the form's item into the cart. A full cart stays as it is; the page says why.
    fn add(&self, mut cart: Cart, form: &[u8]) -> Response<String> {
        match item_in_form(form) {
            Some(item) => {
                cart.add(item);
                self.back_to_page(&cart)
            }
            None => self.text(StatusCode::BAD_REQUEST, "the form names no item of this shop"),
        }
    }

    fn back_to_page(&self, cart: &Cart) -> Response<String> {
        let mut response = self.text(StatusCode::SEE_OTHER, "see /");
        response.headers_mut().insert(LOCATION, HeaderValue::from_static("/"));
        response.headers_mut().insert(SET_COOKIE, self.cart_cookie(cart));
        response
    }

    /// The cart a client brings along; empty if it brings none or one that no replica of this demo signed.
    fn cart(&self, headers: &HeaderMap) -> Cart {
        let pairs = headers.get_all(COOKIE).iter().filter_map(|field| field.to_str().ok()).flat_map(|f| f.split(';'));
        pairs
            .filter_map(|pair| pair.trim().strip_prefix(COOKIE_PREFIX))
            .find_map(|sealed| Cart::decode(&cookie::open(&self.key, sealed)?))
            .unwrap_or_default()
    }

    fn cart_cookie(&self, cart: &Cart) -> HeaderValue {
        let sealed = cookie::seal(&self.key, cart.encode().as_bytes());
        HeaderValue::try_from(format!("{COOKIE_PREFIX}{sealed}; HttpOnly; SameSite=Lax; Path=/"))
            .expect("a sealed value is base64url and a dot")
    }

    fn response(&self, status: StatusCode, content_type: &'static str, body: String) -> Response<String> {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert("x-replica", self.replica_field.clone());
        response
    }
}

/// The item named in a form; ids are plain letters, so nothing needs percent-decoding.
fn item_in_form(form: &[u8]) -> Option<&'static Item> {
    let form = std::str::from_utf8(form).ok()?;
    cart::item(form.split('&').find_map(|field| field.strip_prefix("item="))?)
}

#[cfg(test)]
mod tests {
    use super::cart::SHELF;
    use super::*;

    fn shop(replica: &str) -> Shop {
        Shop::new(replica, 123, Key::new([5; Key::LENGTH])).unwrap()
    }

    fn request(method: &str, target: &str, cookie: &str, body: &str) -> Request<Bytes> {
        let body = Bytes::copy_from_slice(body.as_bytes());
        Request::builder().method(method).uri(target).header(COOKIE, cookie).body(body).unwrap()
    }

    fn field<'a>(response: &'a Response<String>, name: &str) -> &'a str {
        response.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The `name=value` part of what the response sets.
    fn cookie_of(response: &Response<String>) -> String {
        field(response, "set-cookie").split(';').next().unwrap().to_owned()
    }

    fn pieces(shop: &Shop, cookie: &str) -> u64 {
        let response = shop.respond(&request("GET", "/whoami", cookie, ""));
        serde_json::from_str::<serde_json::Value>(response.body()).unwrap()["items"].as_u64().unwrap()
    }

    #[test]
    fn every_path_and_method() {
        let table = [
            ("GET", "/", "", 200),
            ("HEAD", "/", "", 200),
            ("GET", "/?x=1", "", 200),
            ("GET", "/healthz", "", 200),
            ("GET", "/whoami", "", 200),
            ("POST", "/cart", "item=tea", 303),
            ("POST", "/cart", "x=1&item=bread", 303),
            ("POST", "/cart", "", 400),
            ("POST", "/cart", "item=", 400),
            ("POST", "/cart", "item=gold", 400),
            ("POST", "/cart", "item=<script>", 400),
            ("POST", "/cart/clear", "", 303),
            ("GET", "/cart", "", 405),
            ("GET", "/cart/clear", "", 405),
            ("POST", "/", "", 405),
            ("DELETE", "/whoami", "", 405),
            ("GET", "/cart/", "", 404),
            ("GET", "/favicon.ico", "", 404),
            ("OPTIONS", "*", "", 404),
        ];
        for (method, target, body, status) in table {
            let response = shop("a").respond(&request(method, target, "", body));
            assert_eq!(response.status().as_u16(), status, "{method} {target} {body}");
            assert_eq!(field(&response, "x-replica"), "a");
            assert_eq!(field(&response, "cache-control"), "no-store");
            assert_eq!(field(&response, "location"), if status == 303 { "/" } else { "" });
            assert_eq!(response.headers().contains_key("allow"), status == 405);
        }
    }

    #[test]
    fn a_cart_filled_at_one_replica_is_read_by_another() {
        let (a, b) = (shop("a"), shop("b"));
        let added = a.respond(&request("POST", "/cart", "", "item=tea"));
        assert!(field(&added, "set-cookie").ends_with("; HttpOnly; SameSite=Lax; Path=/"));
        let added = b.respond(&request("POST", "/cart", &cookie_of(&added), "item=honey"));
        let cookie = format!("theme=dark; cart=garbage; {}; x", cookie_of(&added));
        let whoami = a.respond(&request("GET", "/whoami", &cookie, ""));
        assert_eq!(whoami.body(), "{\"items\":2,\"pid\":123,\"replica\":\"a\"}\n");
        let page = b.respond(&request("GET", "/", &cookie, ""));
        assert!(page.body().contains("<td>1 ×</td><th>Salt &amp; honey</th><td>€ 7.80</td>"), "{}", page.body());
        assert!(page.body().contains("<th>Total</th><td>€ 14.20</td>"));
        let cleared = a.respond(&request("POST", "/cart/clear", &cookie, ""));
        assert_eq!(pieces(&b, &cookie_of(&cleared)), 0);
    }

    #[test]
    fn a_cart_that_was_tampered_with_is_empty() {
        let shop = shop("a");
        let cookie = cookie_of(&shop.respond(&request("POST", "/cart", "", "item=tea")));
        assert_eq!(pieces(&shop, &cookie), 1);
        for at in COOKIE_PREFIX.len()..cookie.len() {
            let mut bytes = cookie.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(pieces(&shop, &changed), 0, "byte {at}");
        }
        let stranger = Shop::new("a", 1, Key::new([6; Key::LENGTH])).unwrap();
        assert_eq!(pieces(&stranger, &cookie), 0);
    }

    #[test]
    fn a_signed_payload_that_is_no_cart_is_an_empty_cart() {
        let shop = shop("a");
        for payload in [
            "",
            "null",
            "{}",
            "[1]",
            r#"[["gold",1]]"#,
            r#"[["tea",-1]]"#,
            r#"[["tea",51]]"#,
            r#"[["tea",4294967295],["tea",1]]"#,
        ] {
            let cookie = format!("cart={}", cookie::seal(&shop.key, payload.as_bytes()));
            assert_eq!(pieces(&shop, &cookie), 0, "{payload}");
        }
    }

    #[test]
    fn a_cart_holds_fifty_pieces() {
        let shop = shop("a");
        let mut cookie = String::new();
        for count in 1..=60 {
            let id = SHELF[count % SHELF.len()].id;
            cookie = cookie_of(&shop.respond(&request("POST", "/cart", &cookie, &format!("item={id}"))));
            assert_eq!(pieces(&shop, &cookie), 50.min(count as u64));
        }
        assert!(cookie.len() < 300, "{}", cookie.len());
        let page = shop.respond(&request("GET", "/", &cookie, ""));
        assert!(page.body().contains("The cart is full: 50 pieces."));
        assert!(page.body().contains(r#"value="tea" disabled"#));
    }

    #[test]
    fn the_page_is_whole_and_escaped() {
        let page = shop("<b>\"'&").respond(&request("GET", "/", "", ""));
        assert!(!page.body().contains("{{") && !page.body().contains("}}"));
        assert!(page.body().contains("&lt;b&gt;&quot;&#39;&amp;") && !page.body().contains("<b>\"'&"));
        assert!(page.body().contains(">123<"));
        assert!(!page.body().contains("http://") && !page.body().contains("https://"), "nothing from elsewhere");
    }

    #[test]
    fn a_name_that_cannot_stand_in_a_field_is_refused() {
        assert!(Shop::new("a\nb", 1, Key::new([0; 32])).is_none());
    }
}
