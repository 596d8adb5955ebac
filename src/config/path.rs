//! The normal form of a path: what routes compare, so that `/%61dmin` and `/x/../admin` are `/admin` to all of them.

use std::borrow::Cow;

/// The normal form of a path (RFC 3986 section 6.2.2): bytes that need no encoding in a path are decoded, other
/// encodings are written with capital digits, `//` is `/`, and `.` and `..` are resolved. `%2F` stays as it is: to an
/// application it may be a part of a segment. Others take it for a slash, see [`read`]. What no URL may contain is
/// encoded. A path that can be read in one way only and is normal already, as nearly all are, is borrowed.
///
/// `//` is merged before `..` is resolved, so that `/a//../b` is `/b`, as in nginx and on a file system.
#[inline]
pub fn normal(path: &str) -> Cow<'_, str> {
    if may_differ(path.as_bytes()) { Cow::Owned(normalised(path)) } else { Cow::Borrowed(path) }
}

/// Whether a path may not be normal.
#[inline]
fn may_differ(path: &[u8]) -> bool {
    if path.len() < LONG { may_differ_bytewise(path) } else { may_differ_in_steps(path) }
}

/// From this length on it is quicker to look at several bytes in one step.
const LONG: usize = 32;

/// What a byte may be a sign of. Bits of [`CLASSES`].
const ALONE: u8 = 1;
const SLASH: u8 = 2;
const BEHIND_SLASH: u8 = SLASH << 1;

const CLASSES: [u8; 256] = {
    let (mut classes, mut byte) = ([0; 256], 0);
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'/' => SLASH | BEHIND_SLASH,
            b'.' => BEHIND_SLASH,
            b'%' | b';' | b'['..=b'^' | b'{'..=b'}' => ALONE,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

#[inline]
fn may_differ_bytewise(path: &[u8]) -> bool {
    let (mut found, mut before) = (0, 0);
    for &byte in path {
        let class = CLASSES[usize::from(byte)];
        found |= (class & ALONE) | ((before & SLASH) << 1 & class);
        before = class;
    }
    found != 0
}

/// It has no branch per byte, so that the compiler can look at several in one step.
#[inline]
fn may_differ_in_steps(path: &[u8]) -> bool {
    let after_slash = path
        .windows(2)
        .fold(false, |found, pair| found | (matches!(pair, [b'/', _]) & matches!(pair, [_, b'/' | b'.'])));
    path.iter().fold(after_slash, |found, &byte| found | matches!(byte, b'%' | b';' | b'['..=b'^' | b'{'..=b'}'))
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

/// What some applications decode besides, before they look for slashes and parameters.
const DECODED_BY_SOME: &str = "-._~!$&'()*:@+,=;/\\";

/// What no URL may contain and `http` lets pass.
const ODD: &str = "[]^|{}\\";

/// How applications may read a path.
#[derive(Debug, PartialEq, Eq)]
pub enum Read<'p> {
    /// In one way, in which it is normal.
    Plain(&'p str),
    /// In several ways, or it is not normal.
    Odd {
        /// Its normal form, which counts here.
        normal: String,
        /// What others may read, in its normal form.
        others: Vec<String>,
    },
    /// With a `..` of which nobody can say where it leads, as in `/a/..%2Fb`, `/a/..;/b`, `/a%2Fb/../c` and `/a//../b`.
    Climbs,
}

/// Finds out how an application may read a path. Some decode it before they look for slashes, some take a backslash for
/// one, some leave out what follows a `;` in a segment (a parameter, RFC 3986 section 3.3) before or after that, and
/// some do not resolve `..`.
#[inline]
pub fn read(path: &str) -> Read<'_> {
    if may_differ(path.as_bytes()) { odd(path) } else { Read::Plain(path) }
}

#[cold]
#[inline(never)]
fn odd(path: &str) -> Read<'static> {
    let flat = |path: &str| decoded(path, DECODED_BY_SOME).replace('\\', "/");
    let literal = decoded(path, PLAIN);
    let variants = [flat(path), cut(&flat(path)), flat(&cut(path)), cut(&literal)];
    let climbs = |path: &str| path.split('/').any(|segment| segment == "..");
    let is_one = variants.iter().all(|variant| *variant == literal) && !literal.contains("//");
    if !is_one && (climbs(&literal) || variants.iter().any(|variant| climbs(variant))) {
        return Read::Climbs;
    }
    let normal = resolved(&literal);
    let mut others: Vec<String> = variants.iter().map(|variant| resolved(variant)).chain([merged(&literal)]).collect();
    others.sort_unstable();
    others.dedup();
    others.retain(|other| *other != normal);
    Read::Odd { normal, others }
}

/// Leaves out the parameters of all segments.
fn cut(path: &str) -> String {
    let names: Vec<&str> = path.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect();
    names.join("/")
}

/// Merges slashes, and leaves `..` as it is.
fn merged(path: &str) -> String {
    let mut merged = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !merged.ends_with('/') {
            merged.push(c);
        }
    }
    merged
}

/// Decodes letters, digits and what else is `plain`, writes other encodings with capital digits, and encodes what is
/// [`ODD`] otherwise.
pub(super) fn decoded(path: &str, plain: &str) -> String {
    let (mut decoded, mut rest) = (String::with_capacity(path.len()), path);
    let is_encoded = |c: char| ODD.contains(c) && !plain.contains(c);
    while let Some(at) = rest.find(|c| c == '%' || is_encoded(c)) {
        decoded.push_str(&rest[..at]);
        if let Some(odd) = rest[at..].bytes().next().filter(|&byte| byte != b'%') {
            decoded.push_str(&format!("%{odd:02X}"));
            rest = &rest[at + 1..];
            continue;
        }
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
    fn each_byte_alone_or_behind_a_slash_is_looked_at_in_the_same_way() {
        for byte in 0..=u8::MAX {
            for path in [&[b'/', b'a', byte][..], &[b'/', byte, b'a'], &[byte]] {
                let odd = [&b"%;[\\]^{|}"[..], b"./"].map(|odd| odd.contains(&byte));
                let expected = odd[0] || odd[1] && path.starts_with(b"/") && path.get(1) == Some(&byte);
                assert_eq!((may_differ_bytewise(path), may_differ_in_steps(path)), (expected, expected), "{path:?}");
            }
        }
    }

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
        let odd = |normal: &str, others: &[&str]| Read::Odd {
            normal: normal.to_owned(),
            others: others.iter().map(|other| (*other).to_owned()).collect(),
        };
        for (path, expected) in [
            ("/", Read::Plain("/")),
            ("*", Read::Plain("*")),
            ("/a/b", Read::Plain("/a/b")),
            ("/caf%C3%A9/%25/%20", odd("/caf%C3%A9/%25/%20", &[])),
            ("//a///b", odd("/a/b", &[])),
            ("/a/./b", odd("/a/b", &["/a/./b"])),
            ("/admin/../x", odd("/x", &["/admin/../x"])),
            ("/admin/x/%2e%2e/%2E%2e/y", odd("/y", &["/admin/x/../../y"])),
            ("/admin%2Fx", odd("/admin%2Fx", &["/admin/x"])),
            ("/%2Fadmin", odd("/%2Fadmin", &["/admin"])),
            ("/admin%5Cx", odd("/admin%5Cx", &["/admin/x"])),
            ("/admin\\x", odd("/admin%5Cx", &["/admin/x"])),
            ("/a%2Bb%3D%2C", odd("/a%2Bb%3D%2C", &["/a+b=,"])),
            ("/admin;x=1", odd("/admin;x=1", &["/admin"])),
            ("/;x/admin", odd("/;x/admin", &["/admin"])),
            ("/admin%3Bx", odd("/admin%3Bx", &["/admin", "/admin;x"])),
            ("/api;%2Fx/admin", odd("/api;%2Fx/admin", &["/api/admin", "/api/x/admin", "/api;/x/admin"])),
            ("/a;b%2Fc;d", odd("/a;b%2Fc;d", &["/a", "/a/c", "/a;b/c;d"])),
            ("/a%2F.%2Fb", odd("/a%2F.%2Fb", &["/a/b"])),
            ("/a..%2Fb", odd("/a..%2Fb", &["/a../b"])),
            ("/c[1]^|{}", odd("/c%5B1%5D%5E%7C%7B%7D", &[])),
            ("/c%5b1%5D%7c", odd("/c%5B1%5D%7C", &[])),
            ("/x/..%2Fadmin", Read::Climbs),
            ("/x%2F..%2Fadmin", Read::Climbs),
            ("/x/..%5Cadmin", Read::Climbs),
            ("/x\\..\\admin", Read::Climbs),
            ("/x/..;/admin", Read::Climbs),
            ("/x/..%3B/admin", Read::Climbs),
            ("/x/..;a%2Fadmin", Read::Climbs),
            ("/x%2F..", Read::Climbs),
            ("/api/a%2Fb/../../admin", Read::Climbs),
            ("/api/a\\b/../../admin", Read::Climbs),
            ("/x/;/../api/admin", Read::Climbs),
            ("/api//../admin", Read::Climbs),
            ("/api/x//../../admin", Read::Climbs),
        ] {
            assert_eq!(read(path), expected, "{path}");
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
        /// Short and long paths are looked at in two ways, which find the same.
        #[test]
        fn a_path_of_any_length_differs_in_the_same_way(path in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(may_differ_bytewise(&path), may_differ_in_steps(&path));
            let plain: Vec<u8> = path.iter().map(|byte| b"/.aZ0-_~!$&'()*+,=:@/."[usize::from(byte % 22)]).collect();
            prop_assert_eq!(may_differ_bytewise(&plain), may_differ_in_steps(&plain));
        }

        /// Otherwise a replica could decode what a route has not seen.
        #[test]
        fn what_is_normal_stays(path in "(/[a.%2eE5/;]{0,6}){1,4}") {
            let once = normal(&path).into_owned();
            prop_assert!(once.starts_with('/'), "{path} {once}");
            prop_assert!(!once.contains("//") && !once.contains("/./") && !once.ends_with("/.."), "{path} {once}");
            prop_assert_eq!(normal(&once), once.as_str(), "{}", path);
        }

        /// Every reading is in the form in which routes are looked up, and the first is the normal form.
        #[test]
        fn readings_are_normal(path in "(/[a.%2eE5cCfF;]{0,8}){1,4}") {
            if let Read::Odd { normal: first, others } = read(&path) {
                prop_assert_eq!(&first, &normal(&path), "{}", path);
                for other in &others {
                    let (once, form) = (merged(other), resolved(other));
                    prop_assert!(once == *other, "{} {}", path, other);
                    prop_assert!(form == *other || other.contains("/."), "{} {}", path, other);
                }
            }
        }
    }
}
