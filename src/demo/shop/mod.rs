//! The shop behind the demo: a request in, an answer out, nothing remembered in between.
//!
//! Pure: no clock, no socket, no state but the replica's own name, process id and key. The cart travels in a signed
//! cookie (see [`cookie`]), so any replica can answer any request, which is all that `unstick` asks of a replica.

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};

use super::cookie::{self, Key};

/// Pieces a cart holds at most, which also bounds the cookie.
const CART_PIECES_MAX: u32 = 50;

/// The cookie's name with its equals sign.
const COOKIE_PREFIX: &str = "cart=";

/// Colours the page knows, `--r0` and up.
const COLOURS: u32 = 8;

const PAGE: &str = include_str!("page.html");

/// All the page needs stands in the page; nothing may be fetched from elsewhere.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; \
                           connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What can be bought.
#[derive(Debug, PartialEq, Eq)]
struct Item {
    id: &'static str,
    label: &'static str,
    cents: u32,
}

const SHELF: [Item; 6] = [
    Item { id: "tea", label: "Green tea", cents: 640 },
    Item { id: "bread", label: "Rye bread", cents: 420 },
    Item { id: "honey", label: "Salt & honey", cents: 780 },
    Item { id: "soap", label: "Olive soap", cents: 350 },
    Item { id: "candle", label: "Wax candle", cents: 590 },
    Item { id: "card", label: "Postcard", cents: 120 },
];

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

    /// Answers one request.
    pub(super) fn answer(&self, request: &Request<Bytes>) -> Response<String> {
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

    /// A short answer in plain text.
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
        let body = fill(PAGE, |name| match name {
            "replica" => escape(&self.replica),
            "pid" => self.pid.to_string(),
            "colour" => colour(&self.replica).to_string(),
            "pieces" => cart.pieces().to_string(),
            "shelf" => shelf_html(cart),
            "cart" => cart_html(cart),
            _ => String::new(),
        });
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

/// Items and how many of each, in the order they were first taken. Never more than [`CART_PIECES_MAX`] pieces.
#[derive(Debug, Default, PartialEq, Eq)]
struct Cart(Vec<(&'static Item, u32)>);

impl Cart {
    fn pieces(&self) -> u32 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    fn cents(&self) -> u32 {
        self.0.iter().map(|(item, count)| item.cents * count).sum()
    }

    fn is_full(&self) -> bool {
        self.pieces() >= CART_PIECES_MAX
    }

    fn add(&mut self, item: &'static Item) {
        if self.is_full() {
            return;
        }
        match self.0.iter_mut().find(|(held, _)| *held == item) {
            Some((_, count)) => *count += 1,
            None => self.0.push((item, 1)),
        }
    }

    fn encode(&self) -> String {
        let lines = self.0.iter().map(|(item, count)| serde_json::json!([item.id, count])).collect();
        serde_json::Value::Array(lines).to_string()
    }

    /// `None` if `payload` is not what [`Self::encode`] writes.
    fn decode(payload: &[u8]) -> Option<Self> {
        let lines: Vec<(String, u32)> = serde_json::from_slice(payload).ok()?;
        let lines: Option<Vec<_>> = lines.into_iter().map(|(id, count)| Some((item(&id)?, count))).collect();
        let total = lines.iter().flatten().try_fold(0_u32, |sum, (_, count)| sum.checked_add(*count))?;
        (total <= CART_PIECES_MAX).then_some(Self(lines?))
    }
}

fn item(id: &str) -> Option<&'static Item> {
    SHELF.iter().find(|item| item.id == id)
}

/// The item named in a form; ids are plain letters, so nothing needs percent-decoding.
fn item_in_form(form: &[u8]) -> Option<&'static Item> {
    let form = std::str::from_utf8(form).ok()?;
    item(form.split('&').find_map(|field| field.strip_prefix("item="))?)
}

fn shelf_html(cart: &Cart) -> String {
    let disabled = if cart.is_full() { " disabled" } else { "" };
    SHELF.iter().fold(String::new(), |mut html, item| {
        let (id, label, price) = (escape(item.id), escape(item.label), euros(item.cents));
        let _ = writeln!(
            html,
            r#"<button name="item" value="{id}"{disabled}><b>{label}</b><span>{price}</span><i>add</i></button>"#
        );
        html
    })
}

fn cart_html(cart: &Cart) -> String {
    if cart.0.is_empty() {
        return r#"<p class="empty">Nothing yet. Add something, then reload.</p>"#.to_owned();
    }
    let mut html = String::from("<table>");
    for (item, count) in &cart.0 {
        let (label, price) = (escape(item.label), euros(item.cents * count));
        let _ = write!(html, "<tr><td>{count} ×</td><th>{label}</th><td>{price}</td></tr>");
    }
    let _ = write!(html, r#"<tr class="sum"><td></td><th>Total</th><td>{}</td></tr></table>"#, euros(cart.cents()));
    if cart.is_full() {
        let _ = write!(html, r#"<p class="empty">The cart is full: {CART_PIECES_MAX} pieces.</p>"#);
    }
    html
}

fn euros(cents: u32) -> String {
    format!("€ {}.{:02}", cents / 100, cents % 100)
}

/// Which of the page's colours stands for a replica: `a` has the first, `b` the second. The page's script counts alike.
fn colour(replica: &str) -> u32 {
    replica.bytes().next().map_or(0, |letter| u32::from(letter.wrapping_sub(b'a')) % COLOURS)
}

/// Replaces each `{{name}}` by `value(name)`, in one pass: what a value contains is not looked at again.
fn fill(template: &str, value: impl Fn(&str) -> String) -> String {
    let mut filled = String::with_capacity(template.len() + 1024);
    let mut rest = template;
    while let Some((before, (name, after))) = rest.split_once("{{").and_then(|(b, r)| Some((b, r.split_once("}}")?))) {
        filled.push_str(before);
        filled.push_str(&value(name));
        rest = after;
    }
    filled + rest
}

fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, character| {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
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

    /// The `name=value` part of what the answer sets.
    fn cookie_of(response: &Response<String>) -> String {
        field(response, "set-cookie").split(';').next().unwrap().to_owned()
    }

    fn pieces(shop: &Shop, cookie: &str) -> u64 {
        let answer = shop.answer(&request("GET", "/whoami", cookie, ""));
        serde_json::from_str::<serde_json::Value>(answer.body()).unwrap()["items"].as_u64().unwrap()
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
            let answer = shop("a").answer(&request(method, target, "", body));
            assert_eq!(answer.status().as_u16(), status, "{method} {target} {body}");
            assert_eq!(field(&answer, "x-replica"), "a");
            assert_eq!(field(&answer, "cache-control"), "no-store");
            assert_eq!(field(&answer, "location"), if status == 303 { "/" } else { "" });
            assert_eq!(answer.headers().contains_key("allow"), status == 405);
        }
    }

    #[test]
    fn a_cart_filled_at_one_replica_is_read_by_another() {
        let (a, b) = (shop("a"), shop("b"));
        let added = a.answer(&request("POST", "/cart", "", "item=tea"));
        assert!(field(&added, "set-cookie").ends_with("; HttpOnly; SameSite=Lax; Path=/"));
        let added = b.answer(&request("POST", "/cart", &cookie_of(&added), "item=honey"));
        let cookie = format!("theme=dark; cart=garbage; {}; x", cookie_of(&added));
        let whoami = a.answer(&request("GET", "/whoami", &cookie, ""));
        assert_eq!(whoami.body(), "{\"items\":2,\"pid\":123,\"replica\":\"a\"}\n");
        let page = b.answer(&request("GET", "/", &cookie, ""));
        assert!(page.body().contains("<td>1 ×</td><th>Salt &amp; honey</th><td>€ 7.80</td>"), "{}", page.body());
        assert!(page.body().contains("<th>Total</th><td>€ 14.20</td>"));
        let cleared = a.answer(&request("POST", "/cart/clear", &cookie, ""));
        assert_eq!(pieces(&b, &cookie_of(&cleared)), 0);
    }

    #[test]
    fn a_cart_that_was_tampered_with_is_empty() {
        let shop = shop("a");
        let cookie = cookie_of(&shop.answer(&request("POST", "/cart", "", "item=tea")));
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
            cookie = cookie_of(&shop.answer(&request("POST", "/cart", &cookie, &format!("item={id}"))));
            assert_eq!(pieces(&shop, &cookie), 50.min(count as u64));
        }
        assert!(cookie.len() < 300, "{}", cookie.len());
        let page = shop.answer(&request("GET", "/", &cookie, ""));
        assert!(page.body().contains("The cart is full: 50 pieces."));
        assert!(page.body().contains(r#"value="tea" disabled"#));
    }

    #[test]
    fn the_page_is_whole_and_escaped() {
        let page = shop("<b>\"'&").answer(&request("GET", "/", "", ""));
        assert!(!page.body().contains("{{") && !page.body().contains("}}"));
        assert!(page.body().contains("&lt;b&gt;&quot;&#39;&amp;") && !page.body().contains("<b>\"'&"));
        assert!(page.body().contains(">123<"));
        assert!(!page.body().contains("http://") && !page.body().contains("https://"), "nothing from elsewhere");
    }

    #[test]
    fn filling_is_one_pass() {
        let value = |name: &str| if name == "a" { "{{b}}".to_owned() } else { format!("<{name}>") };
        for (template, filled) in
            [("", ""), ("x", "x"), ("{{a}}{{b}}", "{{b}}<b>"), ("1{{b}}2{{", "1<b>2{{"), ("}}{{b}}", "}}<b>")]
        {
            assert_eq!(fill(template, value), filled);
        }
    }

    #[test]
    fn replicas_have_their_colours() {
        let table = [("a", 0), ("b", 1), ("h", 7), ("i", 0), ("", 0)];
        for (replica, expected) in table {
            assert_eq!(colour(replica), expected, "{replica}");
        }
        for name in 0..COLOURS {
            assert!(PAGE.contains(&format!("--r{name}:")), "{name}");
        }
        assert!(Shop::new("a\nb", 1, Key::new([0; 32])).is_none());
    }
}
