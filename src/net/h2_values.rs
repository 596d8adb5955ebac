//! Values of fields that HPACK keeps.
//!
//! h2's encoder holds what it has put into its dynamic table (RFC 7541 section 2.3.2): the very value that it was
//! given, which is a slice of the buffer that a message was read into. So one `date` would hold 8 KiB as long as the
//! connection lives, that of the next second another 8 KiB, until the table of 4 KiB is full: half a MiB for each
//! connection. Here such values get memory of their own, once for those that come again.

use std::cell::RefCell;

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// How many values of one connection are remembered, each of another name.
const REMEMBERED_MAX: usize = 16;
/// A longer field never enters the table: three quarters of it (h2 `hpack/table.rs`).
const LENGTH_MAX: usize = 3072;

/// What one connection has sent; see the module.
#[derive(Debug, Default)]
pub(crate) struct OwnValues(RefCell<Vec<(HeaderName, HeaderValue)>>);

impl OwnValues {
    /// Gives the values that may enter the table memory of their own.
    pub(crate) fn give(&self, headers: &mut HeaderMap) {
        let mut remembered = self.0.borrow_mut();
        for (name, value) in headers.iter_mut().filter(|(name, value)| enters_table(name, value)) {
            let own = match remembered.iter_mut().find(|(of, _)| of == name) {
                Some((_, own)) if own == value => own.clone(),
                Some((_, own)) => {
                    *own = copied(value);
                    own.clone()
                }
                None => {
                    let own = copied(value);
                    if remembered.len() < REMEMBERED_MAX {
                        remembered.push((name.clone(), own.clone()));
                    }
                    own
                }
            };
            let is_sensitive = value.is_sensitive();
            *value = own;
            value.set_sensitive(is_sensitive);
        }
    }
}

/// Whether h2 would keep the value: not of fields that rarely come with the same one again.
fn enters_table(name: &HeaderName, value: &HeaderValue) -> bool {
    let is_skipped = match name.as_str() {
        "age" | "authorization" | "content-length" | "cookie" | "etag" | "location" | "set-cookie" => true,
        name => name.starts_with("if-") && matches!(name, "if-modified-since" | "if-none-match"),
    };
    !is_skipped && name.as_str().len() + value.len() <= LENGTH_MAX
}

fn copied(value: &HeaderValue) -> HeaderValue {
    // What was valid is.
    HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::header::{CONTENT_LENGTH, DATE, SERVER, SET_COOKIE};

    use super::*;

    /// Fields of a message in one buffer, as a parser makes them, and whether each value is still a part of it.
    fn given(values: &OwnValues, fields: &[(HeaderName, &str)]) -> (HeaderMap, Vec<bool>) {
        let buffer = Bytes::from(fields.iter().map(|(_, value)| *value).collect::<String>());
        let (mut headers, mut at) = (HeaderMap::new(), 0);
        for (name, value) in fields {
            let part = buffer.slice(at..at + value.len());
            at += value.len();
            headers.append(name, HeaderValue::from_maybe_shared(part).unwrap());
        }
        values.give(&mut headers);
        let range = buffer.as_ptr_range();
        let is_part = |value: &HeaderValue| range.contains(&value.as_bytes().as_ptr());
        let parts = headers.values().map(is_part).collect();
        (headers, parts)
    }

    #[test]
    fn what_enters_the_table_holds_no_buffer() {
        let values = OwnValues::default();
        let fields =
            [(DATE, "Thu, 26 Nov 2026 23:53:30 GMT"), (SERVER, "a"), (CONTENT_LENGTH, "7"), (SET_COOKIE, "b=c")];
        let (headers, parts) = given(&values, &fields);
        assert_eq!(parts, [false, false, true, true]);
        let (again, parts) = given(&values, &fields);
        assert_eq!((&again, parts), (&headers, vec![false, false, true, true]));
        assert_eq!(again[DATE].as_bytes().as_ptr(), headers[DATE].as_bytes().as_ptr(), "the same comes from the same");
        let long = "x".repeat(LENGTH_MAX);
        let (later, parts) = given(&values, &[(DATE, "Thu, 26 Nov 2026 23:53:31 GMT"), (SERVER, &long)]);
        assert_eq!(later[DATE], "Thu, 26 Nov 2026 23:53:31 GMT");
        assert_eq!(later[SERVER], long.as_str());
        assert_eq!(parts, [false, true]);
    }

    #[test]
    fn few_names_are_remembered_and_all_values_are_copied() {
        let values = OwnValues::default();
        let names: Vec<HeaderName> = (0..40).map(|number| format!("x-{number}").parse().unwrap()).collect();
        let fields: Vec<(HeaderName, &str)> = names.iter().map(|name| (name.clone(), "value")).collect();
        for _ in 0..2 {
            let (_, parts) = given(&values, &fields);
            assert!(!parts.contains(&true));
            assert_eq!(values.0.borrow().len(), REMEMBERED_MAX);
        }
    }

    #[test]
    fn a_secret_stays_one() {
        let mut headers = HeaderMap::new();
        let mut secret = HeaderValue::from_static("s");
        secret.set_sensitive(true);
        headers.insert("x-key", secret);
        headers.append("x-key", HeaderValue::from_static("s"));
        OwnValues::default().give(&mut headers);
        assert_eq!(headers.values().map(HeaderValue::is_sensitive).collect::<Vec<_>>(), [true, false]);
    }
}
