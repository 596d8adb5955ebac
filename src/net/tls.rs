//! The cryptography of TLS, towards clients and endpoints alike.

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{CipherSuiteCommon, SupportedCipherSuite, Tls12CipherSuite};

/// The algorithms of rustls, without its bound on the records of a connection in TLS 1.2.
///
/// rustls takes AES-GCM keys for used up after 2^24 records of any length. TLS 1.3 then takes new keys (RFC 8446
/// section 4.6.3). TLS 1.2 has no way to, and rustls says goodbye in the middle of whatever is being sent: what is
/// written afterwards is accepted and discarded, and a part of a response without a length passes for the whole. The
/// bound is that of 256 GiB in records of full size, which small messages reach with the hundredth part, in hours.
/// Beyond it the chance grows from 2^-60 that somebody who sees everything tells the stream from noise; nonces are
/// counters of 64 bits and never come back.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites.iter_mut().for_each(|suite| *suite = without_bound(*suite));
        Arc::new(provider)
    });
    Arc::clone(&PROVIDER)
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
        assert_eq!(names(&ours), names(&theirs));
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
}
