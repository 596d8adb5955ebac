//! What becomes of sessions when memcached has no room left: it evicts those that were unused the longest, and tells
//! nobody. That is a cost of the arm: whoever keeps sessions there must give it room for all of them.

use super::client::Client;
use crate::prove::arm::{Filling, Work};
use crate::prove::store::Unavailable;

/// What is counted: sessions that nobody used, and those of them that are gone.
pub(super) const EVICTED: &str = "idle sessions evicted (a cost)";
/// How many sessions nobody uses.
const IDLE: u64 = 200;
/// Bytes of a session, and of all that come after those: three times the memory.
const SIZE: usize = 300;
const MORE: u64 = 3 * super::server::MEMORY_MIB * 1024 * 1024 / SIZE as u64;
/// So many sessions begin without anybody else getting a turn.
const AT_ONCE: u64 = 16;

/// Idle sessions, and more behind them than fit, of the same size: then it is asked for the idle ones.
pub(super) fn fill(filling: Filling<'_>) -> Work<'_, ()> {
    Box::pin(async move {
        let (_, address) = filling.backing.variable.as_ref().ok_or_else(|| anyhow::anyhow!("there is no memcached"))?;
        let mut client = Client::connect(address).await?;
        let session = vec![b'x'; SIZE];
        for number in 0..IDLE {
            client.set(&idle(number), &session).await?;
        }
        anyhow::ensure!(missing(&mut client).await? == 0, "memcached does not keep what it has just stored");
        for number in 0..MORE {
            client.set(&format!("unstick:more:{number}"), &session).await?;
            if number.is_multiple_of(AT_ONCE) {
                tokio::task::yield_now().await;
            }
        }
        filling.recorder.count(EVICTED, missing(&mut client).await?, IDLE);
        Ok(())
    })
}

/// How many idle sessions a cache forgets that has room for so many of this size.
const fn evicted(room: u64) -> u64 {
    let beyond = (IDLE + MORE).saturating_sub(room);
    if beyond < IDLE { beyond } else { IDLE }
}

/// The share of them that theory says: the keys need room, too, so that it has room for fewer.
pub(super) fn share() -> f64 {
    evicted(super::server::MEMORY_MIB * 1024 * 1024 / SIZE as u64) as f64 / IDLE as f64
}

fn idle(number: u64) -> String {
    format!("unstick:idle:{number}")
}

async fn missing(client: &mut Client) -> Result<u64, Unavailable> {
    let mut missing = 0;
    for number in 0..IDLE {
        missing += u64::from(client.get(&idle(number)).await?.is_none());
    }
    Ok(missing)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// A cache that has room for so many and forgets what was unused the longest, as memcached does: how many of the
    /// idle sessions it has forgotten in the end. It knows nothing of the formula.
    fn forgotten(room: u64) -> u64 {
        let mut kept = VecDeque::new();
        for number in 0..IDLE + MORE {
            if kept.len() as u64 == room {
                kept.pop_front();
            }
            kept.push_back(number);
        }
        IDLE - kept.iter().filter(|number| **number < IDLE).count() as u64
    }

    #[test]
    fn what_a_cache_evicts_is_that_of_a_simulation() {
        for room in [1, IDLE, MORE / 3, MORE, MORE + 1, MORE + IDLE / 2, MORE + IDLE - 1, MORE + IDLE, 2 * MORE] {
            assert_eq!(evicted(room), forgotten(room), "{room}");
        }
        assert_eq!(share(), 1.0);
    }
}
