//! `/` for a browser: the dashboard, one page with all that it needs. Nothing is fetched but `/events`.
//!
//! The policy that goes along (Content-Security-Policy, level 3) names the page's own script and style by their hashes,
//! so that nothing else runs, whatever the config holds; and no other host is ever asked.

use std::fmt::Write as _;
use std::sync::OnceLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, HeaderMap};
use unstick_uplot as uplot;

const TEMPLATE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/style.css");
/// The parts of the script, in their order.
const SCRIPTS: [&str; 9] = [
    include_str!("page/words.js"),
    include_str!("page/rates.js"),
    include_str!("page/pools.js"),
    include_str!("page/facts.js"),
    include_str!("page/charts.js"),
    include_str!("page/requests.js"),
    include_str!("page/explain.js"),
    include_str!("page/steer.js"),
    include_str!("page/live.js"),
];

/// The page, made once.
pub(super) struct Page {
    pub(super) html: String,
    /// The value of `Content-Security-Policy`.
    pub(super) policy: String,
}

impl Page {
    /// The page.
    pub(super) fn get() -> &'static Self {
        static PAGE: OnceLock<Page> = OnceLock::new();
        PAGE.get_or_init(Self::new)
    }

    fn new() -> Self {
        let style = [uplot::STYLE, STYLE].concat();
        let script = SCRIPTS.concat();
        let mut html = String::new();
        for (place, part) in TEMPLATE.split("{{").enumerate() {
            let (name, rest) = if place == 0 { ("", part) } else { part.split_once("}}").unwrap_or(("", part)) };
            let value = match name {
                "style" => &style,
                "charts" => uplot::SCRIPT,
                "script" => &script,
                "version" => env!("CARGO_PKG_VERSION"),
                _ => "",
            };
            html.extend([value, rest]);
        }
        Self { html, policy: policy(&[uplot::SCRIPT, &script], &style) }
    }
}

fn policy(scripts: &[&str], style: &str) -> String {
    let mut policy = String::from("default-src 'none'; connect-src 'self'; img-src data:; script-src");
    for script in scripts {
        write!(policy, " {}", source(script)).ok();
    }
    let rest = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    write!(policy, "; style-src {}; {rest}", source(style)).ok();
    policy
}

/// An inline element with this text, as a policy names it.
fn source(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(digest(&SHA256, text.as_bytes())))
}

/// Whether a browser asks: it names HTML, which `*/*` does not.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let fields = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    fields.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_html = parts.next().is_some_and(|kind| {
            kind.eq_ignore_ascii_case("text/html") || kind.eq_ignore_ascii_case("application/xhtml+xml")
        });
        let mut weights =
            parts.filter_map(|part| part.split_once('=')).filter(|(name, _)| name.eq_ignore_ascii_case("q"));
        let is_positive = |weight: &str| weight.trim().parse::<f32>().is_ok_and(|weight| weight > 0.0);
        is_html && weights.all(|(_, weight)| is_positive(weight))
    })
}

#[cfg(test)]
mod tests {
    use http::header::HeaderValue;

    use super::*;

    #[test]
    fn a_browser_is_who_names_html() {
        let chromium = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        for (accept, expected) in [
            (None, false),
            (Some(""), false),
            (Some("*/*"), false),
            (Some("text/*"), false),
            (Some("text/plain"), false),
            (Some("application/json, text/plain;q=0.9"), false),
            (Some(chromium), true),
            (Some("TEXT/HTML"), true),
            (Some("text/plain, text/html;q=0.1"), true),
            (Some("text/html;level=1"), true),
            (Some("text/html;q=0"), false),
            (Some("text/html;q=x"), false),
        ] {
            let value = accept.map(|accept| (ACCEPT, HeaderValue::from_static(accept)));
            assert_eq!(is_wanted(&value.into_iter().collect()), expected, "{accept:?}");
        }
    }

    /// The texts of the elements with this name.
    fn elements<'a>(html: &'a str, name: &str) -> Vec<&'a str> {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        html.split(&*open).skip(1).map(|rest| rest.split(&*close).next().unwrap()).collect()
    }

    #[test]
    fn the_policy_names_just_what_is_in_the_page() {
        let Page { html, policy } = Page::new();
        let (scripts, styles) = (elements(&html, "script"), elements(&html, "style"));
        assert_eq!((scripts.len(), styles.len()), (2, 1));
        assert_eq!(html.matches("<script").count() + html.matches("<style").count(), 3, "each has its hash");
        for text in scripts.iter().chain(&styles) {
            assert!(policy.contains(&source(text)), "{policy}");
        }
        assert_eq!(policy.matches("'sha256-").count(), 3);
        assert_eq!(source(""), "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='");
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    }

    #[test]
    fn the_page_fetches_nothing_and_makes_no_markup_of_text() {
        let html = &Page::new().html;
        assert!(!html.contains("{{") && html.contains(env!("CARGO_PKG_VERSION")));
        let own = [TEMPLATE, STYLE].into_iter().chain(SCRIPTS).collect::<String>();
        for forbidden in
            ["http:", "https:", "src=", "@import", "innerHTML", "outerHTML", "insertAdjacent", "document.write"]
        {
            assert!(!own.contains(forbidden), "{forbidden}");
        }
        // The token of whoever steers is in the memory of the page, and nowhere else.
        assert!(!own.contains("Storage") && !own.contains("cookie") && !own.contains("indexedDB"));
        // An attribute with a style, and one with a handler, would be against the policy.
        assert!(!own.contains(" style=") && !own.contains(" onclick=") && !own.contains("eval("));
    }
}
