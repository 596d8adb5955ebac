//! The normal form of a path: what routes compare, so that `/%61dmin` and `/x/../admin` are `/admin` to all of them.

use std::borrow::Cow;

/// The normal form of a path (RFC 3986 section 6.2.2): bytes that need no encoding in a path are decoded, other
/// encodings are written with capital digits, `//` is `/`, and `.` and `..` are resolved. `%2F` stays as it is: to an
/// application it may be a part of a segment. It is the path itself if that is normal already, as nearly all are.
///
/// `//` is merged before `..` is resolved, so that `/a//../b` is `/b`, as in nginx and on a file system.
#[inline]
pub fn normal(path: &str) -> Cow<'_, str> {
    if may_differ(path.as_bytes()) { Cow::Owned(normalised(path)) } else { Cow::Borrowed(path) }
}

/// Whether a path may not be normal. It has no branch per byte, so that several are looked at in one step.
#[inline]
fn may_differ(path: &[u8]) -> bool {
    let after_slash = path
        .windows(2)
        .fold(false, |found, pair| found | (matches!(pair, [b'/', _]) & matches!(pair, [_, b'/' | b'.'])));
    path.iter().fold(after_slash, |found, &byte| found | (byte == b'%'))
}

#[cold]
#[inline(never)]
fn normalised(path: &str) -> String {
    let decoded = decoded(path);
    let mut segments: Vec<&str> = Vec::new();
    let mut rest = decoded.as_str();
    // Whether the path ends below its last segment, as `/a/` and `/a/..` do.
    let mut ends_open = true;
    while let Some(at) = rest.find('/') {
        let end = rest[at + 1..].find('/').map_or(rest.len(), |next| at + 1 + next);
        let segment = &rest[at + 1..end];
        rest = &rest[end..];
        ends_open = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => _ = segments.pop(),
            segment => segments.push(segment),
        }
    }
    let mut normal = String::with_capacity(decoded.len());
    for segment in &segments {
        normal.push('/');
        normal.push_str(segment);
    }
    if ends_open {
        normal.push('/');
    }
    normal
}

/// What needs no encoding besides letters and digits, and has no meaning in a path: an application takes both forms for
/// the same. `+,;=` have one in some.
const PLAIN: &str = "-._~!$&'()*:@";

/// Decodes what needs no encoding, and writes other encodings with capital digits.
fn decoded(path: &str) -> String {
    let (mut decoded, mut rest) = (String::with_capacity(path.len()), path);
    while let Some(at) = rest.find('%') {
        decoded.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 3).filter(|code| code.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let byte = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        match (byte.map(char::from), code) {
            (Some(c), _) if c.is_ascii_alphanumeric() || PLAIN.contains(c) => decoded.push(c),
            (_, Some(code)) => decoded.extend(['%'].into_iter().chain(code.chars()).map(|c| c.to_ascii_uppercase())),
            // Left alone, it could become a code with what is decoded behind it.
            (_, None) => decoded.push_str("%25"),
        }
        rest = &rest[at + 1 + code.map_or(0, str::len)..];
    }
    decoded.push_str(rest);
    decoded
}

/// Whether a normal path is at or below `prefix`, by whole segments. `OPTIONS *` counts as the root.
pub fn has_prefix(path: &str, prefix: &str) -> bool {
    if prefix == "/" {
        return path.starts_with('/') || path == "*";
    }
    match path.strip_prefix(prefix) {
        Some(rest) => rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_have_a_normal_form() {
        for (path, expected) in [
            ("/", "/"),
            ("*", "*"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a...b/..c/.d", "/a...b/..c/.d"),
            ("/%61dmin", "/admin"),
            ("/%61%2fb%2Fc", "/a%2Fb%2Fc"),
            ("/x/../admin", "/admin"),
            ("/x/%2e%2E/admin", "/admin"),
            ("/../../a", "/a"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/./b", "/a/b"),
            ("//a///b//", "/a/b/"),
            ("/a//../b", "/b"),
            ("/..", "/"),
            ("/.", "/"),
            ("/%7e%2D%5F%2e%41%7A%30", "/~-_.Az0"),
            ("/%", "/%25"),
            ("/%4", "/%254"),
            ("/%zz%e9", "/%25zz%E9"),
            ("/%%41", "/%25A"),
            ("/%%36%31dmin", "/%2561dmin"),
            ("/%%32e%%32e/x", "/%252e%252e/x"),
            ("/%40fs/%3a%21", "/@fs/:!"),
            ("/a%3Bb%3D%2B%2c", "/a%3Bb%3D%2B%2C"),
            ("/%25%61", "/%25a"),
            ("/%2561", "/%2561"),
            ("/a%00b", "/a%00b"),
            ("/a;x=1/..;/b", "/a;x=1/..;/b"),
        ] {
            assert_eq!(normal(path), expected, "{path}");
        }
    }

    #[test]
    fn a_prefix_ends_at_a_segment() {
        for (path, prefix, expected) in [
            ("/", "/", true),
            ("*", "/", true),
            ("/x", "/", true),
            ("x", "/", false),
            ("/api", "/api", true),
            ("/api/x", "/api", true),
            ("/apix", "/api", false),
            ("/api/x", "/api/", true),
            ("/api", "/api/", false),
            ("*", "/api", false),
        ] {
            assert_eq!(has_prefix(path, prefix), expected, "{path} {prefix}");
        }
    }

    proptest! {
        /// Otherwise a replica could decode what a route has not seen.
        #[test]
        fn what_is_normal_stays(path in "(/[a.%2eE5/;]{0,6}){1,4}") {
            let once = normal(&path).into_owned();
            prop_assert!(once.starts_with('/'), "{path} {once}");
            prop_assert!(!once.contains("//") && !once.contains("/./") && !once.ends_with("/.."), "{path} {once}");
            prop_assert_eq!(normal(&once), once.as_str(), "{}", path);
        }
    }
}
