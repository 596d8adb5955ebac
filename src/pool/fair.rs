//! The share of the traffic that each member of a pool should get, for people to compare with what it gets.

use tokio::time::Instant;

use super::Pool;

impl Pool {
    /// For each member, in their order, the share of new requests that follows from its weight alone: of 1, or 0 while
    /// it takes none. Algorithms that go by load differ from it on purpose, and so does a member whose share still
    /// grows.
    pub fn fair_shares(&self, now: Instant) -> Vec<f64> {
        let mode = self.mode();
        let weights = self.members.iter().map(|member| {
            let takes = member.is_up(mode) && !member.endpoint.passive().is_ejected(now);
            if takes { member.weight } else { 0 }
        });
        shares(&weights.collect::<Vec<_>>())
    }
}

/// The share of each weight in their sum.
fn shares(weights: &[u32]) -> Vec<f64> {
    let sum: f64 = weights.iter().copied().map(f64::from).sum();
    weights.iter().map(|&weight| if sum > 0.0 { f64::from(weight) / sum } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Algorithm;
    use crate::pool::MemberState::{Down, Drain, Held, Ready};
    use crate::pool::health::Health::{Healthy, Unhealthy};
    use crate::pool::tests::pool;

    #[test]
    fn shares_are_by_weight_and_add_up_to_one() {
        for (weights, expected) in [
            (&[][..], &[][..]),
            (&[1], &[1.0]),
            (&[1, 3], &[0.25, 0.75]),
            (&[1, 0, 1], &[0.5, 0.0, 0.5]),
            (&[0, 0], &[0.0, 0.0]),
            (&[u32::MAX, u32::MAX], &[0.5, 0.5]),
        ] {
            assert_eq!(shares(weights), expected, "{weights:?}");
        }
    }

    #[test]
    fn only_members_that_take_requests_have_a_share() {
        let now = Instant::now();
        let members = [(Healthy, Ready), (Healthy, Held), (Healthy, Drain), (Healthy, Down), (Unhealthy, Ready)];
        let pool = pool(Algorithm::RoundRobin, &members);
        assert_eq!(pool.fair_shares(now), [0.5, 0.5, 0.0, 0.0, 0.0]);
        pool.members[0].endpoint.passive().eject(now, &pool.config.eject);
        assert_eq!(pool.fair_shares(now), [0.0, 1.0, 0.0, 0.0, 0.0]);
    }
}
