//! The cryptography of TLS, towards clients and endpoints alike.

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{CipherSuite, CipherSuiteCommon, SupportedCipherSuite, Tls12CipherSuite};

/// The algorithms of rustls, in another order, and without its bound on the records of a connection in TLS 1.2.
///
/// AES with keys of 128 bits comes first: it has SHA-256 beside it, for which processors have instructions, and the
/// keys of 256 bits have SHA-384, for which most have none. That is a twelfth of a handshake. Nobody is near breaking
/// either; RFC 8446 section 9.1 has everybody implement the first.
///
/// rustls takes AES-GCM keys for used up after 2^24 records of any length. TLS 1.3 then takes new keys (RFC 8446
/// section 4.6.3). TLS 1.2 has no way to, and rustls says goodbye in the middle of whatever is being sent: what is
/// written afterwards is accepted and discarded, and a part of a response without a length passes for the whole. The
/// bound is that of 256 GiB in records of full size, which small messages reach with the hundredth part, in hours.
/// Beyond it the chance grows from 2^-60 that somebody who sees everything tells the stream from noise; nonces are
/// counters of 64 bits and never come back.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.iter_mut().for_each(|suite| *suite = without_bound(*suite));
    provider.cipher_suites.sort_by_key(|suite| (suite.tls13().is_none(), rank(suite.suite())));
    Arc::new(provider)
});

/// The place of a cipher suite among those of its version: the least first.
fn rank(suite: CipherSuite) -> u8 {
    let name = suite.as_str().unwrap_or_default();
    if is_chacha(suite) { 2 } else { u8::from(!name.contains("AES_128")) }
}

fn is_chacha(suite: CipherSuite) -> bool {
    suite.as_str().is_some_and(|name| name.contains("CHACHA20"))
}

/// Whether a client that offers these wants ChaCha20: it says so by its order if it has no instructions for AES, which
/// then costs it much.
pub(crate) fn wants_chacha(offered: &[CipherSuite]) -> bool {
    let is_known = |suite: &&CipherSuite| PROVIDER.cipher_suites.iter().any(|known| known.suite() == **suite);
    offered.iter().find(is_known).is_some_and(|suite| is_chacha(*suite))
}

fn without_bound(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    let SupportedCipherSuite::Tls12(&Tls12CipherSuite { ref common, prf_provider, kx, sign, aead_alg }) = suite else {
        return suite;
    };
    let CipherSuiteCommon { suite, hash_provider, confidentiality_limit: _ } = *common;
    let common = CipherSuiteCommon { suite, hash_provider, confidentiality_limit: u64::MAX };
    // rustls wants it for the life of the process, which makes it once.
    SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite { common, prf_provider, kx, sign, aead_alg })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_of_records_ends_a_connection_in_tls_1_2() {
        let (ours, theirs) = (provider(), aws_lc_rs::default_provider());
        let names =
            |provider: &CryptoProvider| provider.cipher_suites.iter().map(|suite| suite.suite()).collect::<Vec<_>>();
        assert_eq!(names(&ours).len(), names(&theirs).len());
        assert!(names(&theirs).iter().all(|suite| names(&ours).contains(suite)));
        let limits = |provider: &CryptoProvider| {
            let suites = provider.cipher_suites.iter().filter_map(|suite| match suite {
                SupportedCipherSuite::Tls12(suite) => Some(suite.common.confidentiality_limit),
                SupportedCipherSuite::Tls13(_) => None,
            });
            suites.collect::<Vec<_>>()
        };
        assert!(limits(&theirs).contains(&(1 << 24)), "the library has a bound of its own");
        assert!(limits(&ours).iter().all(|&limit| limit == u64::MAX));
    }
    #[test]
    fn the_cheapest_comes_first() {
        use CipherSuite as S;
        let order: Vec<_> = provider().cipher_suites.iter().map(|suite| suite.suite()).collect();
        let expected = [
            S::TLS13_AES_128_GCM_SHA256,
            S::TLS13_AES_256_GCM_SHA384,
            S::TLS13_CHACHA20_POLY1305_SHA256,
            S::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            S::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            S::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            S::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            S::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            S::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ];
        assert_eq!(order, expected);
    }

    #[test]
    fn a_client_says_by_its_order_that_it_wants_chacha() {
        use CipherSuite as S;
        let (aes, chacha, unknown) =
            (S::TLS13_AES_256_GCM_SHA384, S::TLS13_CHACHA20_POLY1305_SHA256, S::Unknown(0x0a0a));
        for (offered, expected) in [
            (vec![chacha, aes], true),
            (vec![unknown, chacha], true),
            (vec![S::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, aes], true),
            (vec![aes, chacha], false),
            (vec![unknown, aes, chacha], false),
            (vec![], false),
        ] {
            assert_eq!(wants_chacha(&offered), expected, "{offered:?}");
        }
    }
}
