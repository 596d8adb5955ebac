//! Wishes for session affinity, in the words of other products. There is none here, on purpose, so whoever asks for it
//! is told how to find out whether it is needed.

/// What is said instead.
pub(super) const ADVICE: &str =
    "unstick has no stickiness, on purpose; `unstick audit` tells whether your application needs it";

/// Parts of words that ask for it.
const PARTS: [&str; 7] = ["sticky", "stickiness", "affinity", "persistence", "hash", "maglev", "stick-table"];

/// Whole words that ask for it.
const WORDS: [&str; 6] = ["cookie", "source", "stick", "session-cookie", "route-cookie", "client-ip"];

/// Whether a key or a value of another product asks for affinity.
pub(super) fn is_wished_by(word: &str) -> bool {
    let word = word.to_ascii_lowercase().replace('_', "-");
    WORDS.contains(&word.as_str()) || PARTS.iter().any(|part| word.contains(part))
}

/// What is said of an unknown key, if it asks for affinity.
pub(super) fn advice(key: &str) -> Option<&'static str> {
    is_wished_by(key).then_some(ADVICE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_recognised_in_the_words_of_other_products() {
        for word in [
            "sticky",
            "sticky_sessions",
            "ip_hash",
            "ip-hash",
            "hash",
            "cookie",
            "source",
            "affinity",
            "sessionAffinity",
            "session_affinity",
            "lb_policy_hash",
            "consistent-hash",
            "ring_hash",
            "maglev",
            "persistence",
            "stick-table",
        ] {
            assert!(is_wished_by(word), "{word}");
        }
        for word in ["backends", "round-robin", "weight", "slow_start", "sources", "cookies", "path", "health"] {
            assert!(!is_wished_by(word), "{word}");
        }
    }
}
