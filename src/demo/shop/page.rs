//! The shop's page.

use std::fmt::Write as _;

use super::cart::{CART_PIECES_MAX, Cart, SHELF};
use crate::demo::fill::fill;

/// Colours the page knows, `--r0` and up.
const COLOURS: u32 = 8;

const PAGE: &str = include_str!("page.html");

/// The page as this replica shows it.
pub(super) fn page(replica: &str, pid: u32, cart: &Cart) -> String {
    fill(PAGE, |name| match name {
        "replica" => escape(replica),
        "pid" => pid.to_string(),
        "colour" => colour(replica).to_string(),
        "pieces" => cart.pieces().to_string(),
        "shelf" => shelf_html(cart),
        "cart" => cart_html(cart),
        _ => String::new(),
    })
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
    if cart.lines().is_empty() {
        return r#"<p class="empty">Nothing yet. Add something, then reload.</p>"#.to_owned();
    }
    let mut html = String::from("<table>");
    for (item, count) in cart.lines() {
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

    #[test]
    fn replicas_have_their_colours() {
        let table = [("a", 0), ("b", 1), ("h", 7), ("i", 0), ("", 0)];
        for (replica, expected) in table {
            assert_eq!(colour(replica), expected, "{replica}");
        }
        for name in 0..COLOURS {
            assert!(PAGE.contains(&format!("--r{name}:")), "{name}");
        }
    }
}
