//! Balancing algorithms and their names. What each does is in `pool::balance`.

use std::fmt;
use std::str::FromStr;

use unstick_reading::did_you_mean;

use super::affinity;

/// Makes the enum and the table of its spellings from one list, so that an algorithm is one entry.
macro_rules! algorithms {
    ($($(#[$attribute:meta])* $name:ident = $($spelling:literal)|+,)+) => {
        /// Balancing algorithms.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub enum Algorithm {
            $($(#[$attribute])* $name,)+
        }

        impl Algorithm {
            /// All of them, in the order in which they are listed for people.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Every accepted spelling, the proper one first.
            fn spellings(self) -> &'static [&'static str] {
                match self {
                    $(Self::$name => &[$($spelling),+],)+
                }
            }
        }
    };
}

algorithms! {
    /// Each in turn, weighted and smooth, one order for all workers.
    #[default]
    RoundRobin = "round-robin" | "roundrobin" | "round_robin" | "rr",
    /// The one with the fewest requests in flight over its weight, counted over all workers.
    LeastConnections = "least-connections" | "least_connections" | "leastconnections" | "leastconn" | "least_conn"
        | "least-conn" | "lc",
    /// The less loaded of two drawn at random.
    P2c = "p2c" | "power-of-two" | "power_of_two" | "power-of-two-choices",
    /// The cheaper of two drawn at random, by recent latency times requests in flight.
    PeakEwma = "peak-ewma" | "peak_ewma" | "peakewma" | "ewma",
    /// Drawn at random by weight.
    Random = "random",
}

impl Algorithm {
    /// The spelling used in the config, in logs and in metrics.
    pub fn name(self) -> &'static str {
        self.spellings()[0]
    }

    /// The names of all, for people.
    pub fn names() -> String {
        let names: Vec<_> = Self::ALL.iter().map(|algorithm| algorithm.name()).collect();
        names.join(", ")
    }
}

impl FromStr for Algorithm {
    type Err = String;

    /// Reads any spelling, in upper or lower case. The error names what was probably meant, or what is known.
    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = text.trim().to_ascii_lowercase();
        let found = Self::ALL.iter().find(|algorithm| algorithm.spellings().contains(&wanted.as_str()));
        found.copied().ok_or_else(|| {
            if affinity::is_wished_by(&wanted) {
                return format!("unknown algorithm `{text}`; {}", affinity::ADVICE);
            }
            let spellings = Self::ALL.iter().flat_map(|algorithm| algorithm.spellings().iter().copied());
            let help = did_you_mean(&wanted, spellings).unwrap_or_else(|| format!("known are {}", Self::names()));
            format!("unknown algorithm `{text}`; {help}")
        })
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn algorithms_by_their_common_names() {
        for (text, expected) in [
            ("rr", Algorithm::RoundRobin),
            ("Round-Robin", Algorithm::RoundRobin),
            ("leastconn", Algorithm::LeastConnections),
            ("least_conn", Algorithm::LeastConnections),
            ("p2c", Algorithm::P2c),
            ("ewma", Algorithm::PeakEwma),
            ("random", Algorithm::Random),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        let error = |text: &str| text.parse::<Algorithm>().unwrap_err();
        assert!(error("lest-connections").contains("did you mean `least-connections`?"));
        assert!(error("quickest").contains("known are round-robin"));
        assert!(error("ip_hash").contains("`unstick audit` tells whether your application needs it"));
    }

    #[test]
    fn every_spelling_means_one_algorithm() {
        let mut seen = HashSet::new();
        for algorithm in Algorithm::ALL {
            for spelling in algorithm.spellings() {
                assert_eq!(spelling.parse(), Ok(*algorithm), "{spelling}");
                assert!(seen.insert(*spelling), "{spelling}");
            }
        }
        assert!(seen.len() > Algorithm::ALL.len());
    }
}
