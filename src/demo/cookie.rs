//! A value that the client keeps for the server, signed so that the client cannot change it.
//!
//! This is what makes the shop's replicas interchangeable: they share a key, not a memory. The form is
//! `payload.signature`, both base64url without padding; the signature is HMAC-SHA256 over the payload *as encoded*, so
//! there is exactly one text for each payload. The payload is readable by the client: it is signed, not secret.
//!
//! Absent on purpose: an expiry. The key lives as long as one demo, and so does every cookie signed with it.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The secret all replicas of one demo share.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Key([u8; Key::LENGTH]);

impl Key {
    /// Bytes of a key: those of the hash, more would add nothing.
    pub(super) const LENGTH: usize = 32;

    /// A key of these bytes, which must be random.
    pub(super) fn new(bytes: [u8; Self::LENGTH]) -> Self {
        Self(bytes)
    }

    /// Reads what [`Self::to_hex`] wrote.
    pub(super) fn from_hex(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != 2 * Self::LENGTH {
            return None;
        }
        let mut key = [0; Self::LENGTH];
        for (byte, pair) in key.iter_mut().zip(text.chunks_exact(2)) {
            *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
        }
        Some(Self(key))
    }

    /// Two lower-case digits a byte.
    pub(super) fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn mac(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(***)")
    }
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// The text to hand to the client. All its characters may stand in a cookie unquoted.
pub(super) fn seal(key: &Key, payload: &[u8]) -> String {
    let payload = URL_SAFE_NO_PAD.encode(payload);
    let signature = hmac::sign(&key.mac(), payload.as_bytes());
    format!("{payload}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The payload, if `sealed` came from [`seal`] with the same key. Compares in constant time.
pub(super) fn open(key: &Key, sealed: &str) -> Option<Vec<u8>> {
    let (payload, signature) = sealed.split_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    hmac::verify(&key.mac(), payload.as_bytes(), &signature).ok()?;
    URL_SAFE_NO_PAD.decode(payload).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> Key {
        Key::new([seed; Key::LENGTH])
    }

    #[test]
    fn what_was_sealed_opens_again() {
        for payload in [&b""[..], b"x", b"[[\"tea\",2]]", &[0, 255, 128, 10], &[7; 3000]] {
            let sealed = seal(&key(1), payload);
            assert!(sealed.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)), "{sealed}");
            assert_eq!(open(&key(1), &sealed).as_deref(), Some(payload));
            assert_eq!(open(&key(2), &sealed), None, "another key");
        }
    }

    #[test]
    fn a_change_of_any_one_byte_is_noticed() {
        let sealed = seal(&key(1), b"[[\"tea\",2],[\"bread\",1]]");
        for at in 0..sealed.len() {
            for bit in 0..7 {
                let mut bytes = sealed.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                let changed = String::from_utf8(bytes).expect("flipping one of seven bits leaves ASCII");
                assert_eq!(open(&key(1), &changed), None, "byte {at}, bit {bit}");
            }
            let mut missing = sealed.clone();
            missing.remove(at);
            assert_eq!(open(&key(1), &missing), None, "byte {at} missing");
            assert_eq!(open(&key(1), &sealed[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn nonsense_does_not_open() {
        let sealed = seal(&key(1), b"x");
        let (payload, signature) = sealed.split_once('.').unwrap();
        for text in [
            "",
            ".",
            "..",
            "x",
            payload,
            signature,
            &format!("{payload}."),
            &format!(".{signature}"),
            &format!("{sealed}="),
            &format!("{sealed}.{signature}"),
            &format!(" {sealed}"),
            &format!("{signature}.{payload}"),
        ] {
            assert_eq!(open(&key(1), text), None, "{text:?}");
        }
    }

    /// HMAC-SHA256 of the empty text under 32 zero bytes, from `openssl dgst -mac HMAC`.
    #[test]
    fn the_signature_is_hmac_sha256() {
        assert_eq!(seal(&key(0), b""), ".thNnmggU2ex3L5XXeMNfxf8Wl8STcVZTxscSFEKSxa0");
    }

    #[test]
    fn keys_pass_through_hex_and_stay_out_of_logs() {
        let key = Key::new(std::array::from_fn(|at| (at * 9) as u8));
        assert_eq!(Key::from_hex(&key.to_hex()), Some(key.clone()));
        assert_eq!(format!("{key:?}"), "Key(***)");
        for text in ["", "00", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64), &"+1".repeat(32), &"é".repeat(32)] {
            assert_eq!(Key::from_hex(text), None, "{text:?}");
        }
    }
}
