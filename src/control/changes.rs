//! What an edit has changed, in words.

use crate::config::address::Address;
use crate::pool::{MemberState, Pool};
use crate::snapshot::Snapshot;

/// What an operator would want to hear of the way from one snapshot to the next.
pub(super) fn differences(before: &Snapshot, next: &Snapshot) -> Vec<String> {
    let mut changes = Vec::new();
    for pool in &next.pools {
        let Some(old) = before.pool(&pool.name) else {
            changes.push(format!("pool {} is new with {} endpoints", pool.name, pool.members.len()));
            continue;
        };
        let describe = |pool: &Pool| -> Vec<(Address, MemberState, u32)> {
            pool.members.iter().map(|m| (m.endpoint.address.clone(), m.state, m.weight)).collect()
        };
        let (was, is) = (describe(old), describe(pool));
        let missing = |from: &[(Address, MemberState, u32)], to: &[(Address, MemberState, u32)]| -> Vec<String> {
            from.iter().filter(|(a, ..)| to.iter().all(|(b, ..)| a != b)).map(|(a, ..)| a.to_string()).collect()
        };
        let mut parts = Vec::new();
        let (added, removed) = (missing(&is, &was), missing(&was, &is));
        parts.extend((!added.is_empty()).then(|| format!("added {}", added.join(", "))));
        parts.extend((!removed.is_empty()).then(|| format!("removed {}", removed.join(", "))));
        for (address, state, weight) in &is {
            let Some((_, old_state, old_weight)) = was.iter().find(|(known, ..)| known == address) else { continue };
            parts.extend((old_state != state).then(|| format!("{address} is {} now", state.name())));
            parts.extend((old_weight != weight).then(|| format!("{address} has weight {weight} now")));
        }
        parts.extend((old.algorithm != pool.algorithm).then(|| format!("balance is {} now", pool.algorithm)));
        parts.extend((old.health != pool.health).then(|| "health check changed".to_owned()));
        let waits = |pool: &Pool| (pool.max_requests, pool.queue.clone());
        parts.extend((waits(old) != waits(pool)).then(|| "max_requests or queue changed".to_owned()));
        parts.extend((!old.wire.is_same(&pool.wire)).then(|| "protocol or tls changed".to_owned()));
        parts.extend((old.eject != pool.eject).then(|| "eject changed".to_owned()));
        parts.extend((old.retry != pool.retry).then(|| "retry changed".to_owned()));
        changes.extend((!parts.is_empty()).then(|| format!("pool {}: {}", pool.name, parts.join(", "))));
    }
    let gone = before.pools.iter().filter(|pool| next.pool(&pool.name).is_none());
    changes.extend(gone.map(|pool| format!("pool {} is gone", pool.name)));
    changes.extend((before.timeouts != next.timeouts).then(|| "timeouts changed".to_owned()));
    changes.extend((before.limits != next.limits).then(|| "limits changed".to_owned()));
    changes.extend((before.routes != next.routes).then(|| "routes changed".to_owned()));
    changes
}
