//! The normal form of a path: what routes compare, so that `/%61dmin` and `/x/../admin` are `/admin` to all of them.

use std::borrow::Cow;

/// The normal form of a path (RFC 3986 section 6.2.2): bytes that need no encoding in a path are decoded, other
/// encodings are written with capital digits, `//` is `/`, and `.` and `..` are resolved. `%2F` stays as it is: to an
/// application it may be a part of a segment. Others take it for a slash, see [`other_reading`]. A path that can be
/// read in one way only and is normal already, as nearly all are, is borrowed.
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
    path.iter().fold(after_slash, |found, &byte| found | matches!(byte, b'%' | b';' | b'\\'))
}

#[cold]
#[inline(never)]
fn normalised(path: &str) -> String {
    resolved(&decoded(path, PLAIN))
}

/// Merges slashes and resolves `.` and `..`.
fn resolved(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    let mut rest = path;
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
    let mut normal = String::with_capacity(path.len());
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
pub(super) const PLAIN: &str = "-._~!$&'()*:@";

/// What some applications decode before they look for slashes.
const DECODED_BY_SOME: &str = "-._~!$&'()*:@+,=/\\";

/// How else an application may read a path.
#[derive(Debug, PartialEq, Eq)]
pub enum Reading {
    /// There is no other way.
    Same,
    /// As this path, which is normal.
    Other(String),
    /// As one with a `..` that is not there for everybody, as in `/a/..%2Fb` and `/a/..;/b`.
    Climbs,
}

/// How an application may read a normal path that decodes it before it looks for slashes, takes a backslash for one, or
/// takes what follows a `;` for a parameter of the segment (RFC 3986 section 3.3), which it leaves out.
pub fn other_reading(normal: &str) -> Reading {
    if !normal.bytes().any(|byte| matches!(byte, b'%' | b';' | b'\\')) {
        return Reading::Same;
    }
    let decoded = decoded(normal, DECODED_BY_SOME).replace('\\', "/");
    let segments = || decoded.split('/').map(|segment| segment.split(';').next().unwrap_or_default());
    if segments().any(|segment| segment == "..") {
        return Reading::Climbs;
    }
    let other = resolved(&segments().collect::<Vec<_>>().join("/"));
    if other == normal { Reading::Same } else { Reading::Other(other) }
}

/// Decodes letters, digits and what else is `plain`, and writes other encodings with capital digits.
pub(super) fn decoded(path: &str, plain: &str) -> String {
    let (mut decoded, mut rest) = (String::with_capacity(path.len()), path);
    while let Some(at) = rest.find('%') {
        decoded.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 3).filter(|code| code.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let byte = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        match (byte.map(char::from), code) {
            (Some(c), _) if c.is_ascii_alphanumeric() || plain.contains(c) => decoded.push(c),
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
    fn some_read_a_path_in_another_way() {
        let other = |path: &str| Reading::Other(path.to_owned());
        for (path, expected) in [
            ("/", Reading::Same),
            ("*", Reading::Same),
            ("/a/b", Reading::Same),
            ("/caf%C3%A9/%25/%20", Reading::Same),
            ("/admin%2Fx", other("/admin/x")),
            ("/%2Fadmin", other("/admin")),
            ("/admin%5Cx", other("/admin/x")),
            ("/admin\\x", other("/admin/x")),
            ("/x\\..\\admin", Reading::Climbs),
            ("/a%2Bb%3D%2C", other("/a+b=,")),
            ("/admin;x=1", other("/admin")),
            ("/admin;x/y;z", other("/admin/y")),
            ("/;x/admin", other("/admin")),
            ("/admin%3Bx", Reading::Same),
            ("/a%2F.%2Fb", other("/a/b")),
            ("/x/..%2Fadmin", Reading::Climbs),
            ("/x%2F..%2Fadmin", Reading::Climbs),
            ("/x/..%5Cadmin", Reading::Climbs),
            ("/x/..;/admin", Reading::Climbs),
            ("/x/..;a%2Fadmin", Reading::Climbs),
            ("/x%2F..", Reading::Climbs),
            ("/..%2F..%2Fetc/passwd", Reading::Climbs),
            ("/a..%2Fb", other("/a../b")),
        ] {
            assert_eq!(other_reading(&normal(path)), expected, "{path}");
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

        /// No third way is left, and none that climbs.
        #[test]
        fn the_other_reading_is_the_last(path in "(/[a.%2eE5cCfF;/]{0,8}){1,4}") {
            if let Reading::Other(other) = other_reading(&normal(&path)) {
                prop_assert_eq!(normal(&other), other.as_str(), "{}", path);
                prop_assert!(!other.split('/').any(|segment| segment == ".."), "{} {}", path, other);
                prop_assert!(!other.contains("%2F") && !other.contains(';'), "{} {}", path, other);
            }
        }
    }
}
