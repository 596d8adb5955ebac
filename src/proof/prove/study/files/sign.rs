//! Requests to an S3-compatible store are signed: AWS Signature Version 4, with the payload left out of it. Pure.
//!
//! A crate for this would add eight crates, among them a parser of XML and a second library of time. HMAC and SHA-256
//! are there already, for tokens.

use std::fmt::Write as _;

use aws_lc_rs::{digest, hmac};

/// What stands in place of the sum of a payload that is streamed.
pub(super) const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// The region of a store that has none.
const REGION: &str = "us-east-1";
/// The fields that are signed.
const SIGNED: &str = "host;x-amz-content-sha256;x-amz-date";

/// Who signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) access: String,
    pub(super) secret: String,
}

/// What is signed. Paths and values of the query are encoded already, and the query is sorted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signed<'a> {
    pub(super) method: &'a str,
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    /// Such as `20130524T000000Z`.
    pub(super) at: &'a str,
    /// The sum of the payload, or [`UNSIGNED`].
    pub(super) payload: &'a str,
}

impl Signed<'_> {
    /// The value of `Authorization`.
    pub(super) fn authorization(&self, by: &Credentials) -> String {
        let Self { method, host, path, query, at, payload } = self;
        let fields = format!("host:{host}\nx-amz-content-sha256:{payload}\nx-amz-date:{at}\n");
        let canonical = format!("{method}\n{path}\n{query}\n{fields}\n{SIGNED}\n{payload}");
        let day = at.get(..8).unwrap_or_default();
        let scope = format!("{day}/{REGION}/s3/aws4_request");
        let text = format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{}", sum(canonical.as_bytes()));
        let mut key = format!("AWS4{}", by.secret).into_bytes();
        for part in [day, REGION, "s3", "aws4_request", &text] {
            let signer = hmac::Key::new(hmac::HMAC_SHA256, &key);
            key = hmac::sign(&signer, part.as_bytes()).as_ref().to_vec();
        }
        format!("AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={SIGNED}, Signature={}", by.access, hex(&key))
    }
}

/// The moment as it is signed.
pub(super) fn now() -> String {
    let now = time::OffsetDateTime::now_utc();
    let (date, time) = (now.date(), now.time());
    let (month, day) = (u8::from(date.month()), date.day());
    format!("{}{month:02}{day:02}T{:02}{:02}{:02}Z", date.year(), time.hour(), time.minute(), time.second())
}

/// SHA-256 in hexadecimal digits.
pub(super) fn sum(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// Hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A value as it stands in a query.
pub(super) fn encoded(value: &str) -> String {
    value.bytes().fold(String::new(), |mut text, byte| {
        let _ = match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => write!(text, "{}", byte as char),
            _ => write!(text, "%{byte:02X}"),
        };
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_documentation() {
        // "Examples: Signature Calculations in AWS Signature Version 4", Amazon S3 API Reference.
        let by = Credentials {
            access: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
        };
        let signed = |query| Signed {
            method: "GET",
            host: "examplebucket.s3.amazonaws.com",
            path: "/",
            query,
            at: "20130524T000000Z",
            payload: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        };
        assert_eq!(sum(b""), signed("").payload);
        for (query, expected) in [
            ("lifecycle=", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
            ("max-keys=2&prefix=J", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
        ] {
            let authorization = signed(query).authorization(&by);
            assert!(authorization.ends_with(&format!("Signature={expected}")), "{query}: {authorization}");
        }
        assert_eq!(encoded("a/b c~"), "a%2Fb%20c~");
    }
}
