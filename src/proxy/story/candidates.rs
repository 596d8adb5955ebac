//! The endpoints of a pool at the moment of a pick.

use std::sync::Arc;

use tokio::time::Instant;

use super::{AsOf, CANDIDATES_MAX, Candidate, Candidates};
use crate::pool::health::passive::Admission;
use crate::pool::{Member, Pool, Tried};

impl Candidates {
    /// Looks at all endpoints of `pool` for a request that was `tried` on some of them. It allocates.
    pub(super) fn of(pool: &Pool, tried: &Tried, as_of: AsOf) -> Self {
        let now = Instant::now();
        let members = pool.members.iter().enumerate().take(CANDIDATES_MAX);
        let list: Vec<_> =
            members.map(|(index, member)| Candidate::of(pool, member, tried.contains(index), now)).collect();
        Self {
            pool: Arc::clone(&pool.name),
            as_of,
            mode: pool.mode().name(),
            balance: pool.config.balance.name(),
            omitted: pool.members.len() - list.len(),
            list,
        }
    }
}

impl Candidate {
    fn of(pool: &Pool, member: &Member, tried: bool, now: Instant) -> Self {
        let endpoint = &member.endpoint;
        let admission = match endpoint.passive().admission(pool.config.slow_start) {
            Admission::Full => "full",
            Admission::Returning(_) => "returning",
            Admission::Ejected(_) => "ejected",
        };
        Self {
            endpoint: endpoint.address.clone(),
            state: endpoint.health().name(),
            wanted: member.state.name(),
            admission,
            weight: member.weight,
            in_flight: endpoint.in_flight(),
            failure_load: endpoint.passive().load(),
            latency: endpoint.latency().average(now),
            tried,
        }
    }
}
