//! The few statistics of an audit, exact. Pure.

/// One-sided p of Fisher's exact test: how likely it is that at least `right` of the `right_runs` are among the right
/// ones, if which runs are right has nothing to do with the group. Of `right_runs` runs in the first group `right` came
/// out right, of `other_runs` in the second `other_right`.
pub fn fisher(right: u32, right_runs: u32, other_right: u32, other_runs: u32) -> f64 {
    let (all, right_all) = (right_runs + other_runs, right + other_right);
    let ln_all = ln_choose(all, right_all);
    let most = right_all.min(right_runs);
    let term = |count: u32| {
        (right_all - count <= other_runs)
            .then(|| (ln_choose(right_runs, count) + ln_choose(other_runs, right_all - count) - ln_all).exp())
    };
    (right..=most).filter_map(term).sum::<f64>().min(1.0)
}

/// Holm's correction (1979) of the p values of several tests, in their order.
pub fn holm(values: &[f64], tests: usize) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|one, other| values[*one].total_cmp(&values[*other]));
    let (mut corrected, mut largest) = (vec![1.0; values.len()], 0.0_f64);
    for (rank, at) in order.into_iter().enumerate() {
        let tests_left = tests.max(values.len()) - rank;
        largest = largest.max((values[at] * tests_left as f64).min(1.0));
        corrected[at] = largest;
    }
    corrected
}

/// The upper 95 % bound of a share of which nothing was seen in so many trials: 1 - 0.05^(1/n), about 3/n.
pub fn upper_bound(trials: usize) -> Option<f64> {
    (trials > 0).then(|| 1.0 - 0.05_f64.powf(1.0 / trials as f64))
}

/// ln of the number of ways to choose `k` of `n`.
fn ln_choose(n: u32, k: u32) -> f64 {
    (0..k.min(n - k)).map(|i| (f64::from(n - i) / f64::from(i + 1)).ln()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_near(one: f64, other: f64) -> bool {
        (one - other).abs() <= 1e-6 * other.abs().max(1e-12)
    }

    /// Values computed by R: `fisher.test(matrix(c(a, n - a, b, m - b), 2), alternative = "greater")`.
    #[test]
    fn fisher_is_exact() {
        for ((right, runs, other, other_runs), expected) in [
            ((10, 10, 0, 10), 1.0 / 184_756.0),
            ((5, 5, 0, 5), 1.0 / 252.0),
            ((10, 10, 10, 10), 1.0),
            ((0, 10, 10, 10), 1.0),
            ((0, 0, 0, 0), 1.0),
            // (C(10,9) C(10,2) + C(10,10) C(10,1)) / C(20,11) = (450 + 10) / 167960
            ((9, 10, 2, 10), 460.0 / 167_960.0),
            // The tea of Fisher's lady: 3 of 4, (16 + 1) / 70.
            ((3, 4, 1, 4), 17.0 / 70.0),
        ] {
            let found = fisher(right, runs, other, other_runs);
            assert!(is_near(found, expected), "{right}/{runs} {other}/{other_runs}: {found}, not {expected}");
        }
    }

    #[test]
    fn holm_corrects_the_smallest_most() {
        for (values, tests, expected) in [
            (&[0.01, 0.04, 0.03][..], 3, &[0.03, 0.06, 0.06][..]),
            (&[0.001], 13, &[0.013]),
            (&[0.5, 0.5], 2, &[1.0, 1.0]),
            (&[], 3, &[]),
        ] {
            let found = holm(values, tests);
            assert!(found.iter().zip(expected).all(|(one, other)| is_near(*one, *other)), "{found:?}");
            assert_eq!(found.len(), expected.len());
        }
    }

    #[test]
    fn nothing_seen_leaves_a_bound() {
        assert_eq!(upper_bound(0), None);
        for (trials, expected) in [(1, 0.95), (930, 0.003_215_98), (3000, 0.000_998_079)] {
            let found = upper_bound(trials).unwrap();
            assert!((found - expected).abs() < 1e-6, "{trials}: {found}");
        }
    }
}
