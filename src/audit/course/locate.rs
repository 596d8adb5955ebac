//! Finds the step whose replica a wrong step needs, by halving: the steps before it are moved to its replica, from the
//! first on, until it comes out right.

use super::Stopped;
use super::bench::{Bench, Wrong};
use super::cross::Groups;

/// A step that came out wrong, and what it needs.
#[derive(Debug, Clone)]
pub(super) struct Located {
    /// The step, and what came.
    pub(super) wrong: Wrong,
    /// The step whose replica it needs.
    pub(super) needs: usize,
    /// The replica of the step that is needed, and that of the step that needs it.
    pub(super) replicas: (usize, usize),
}

/// See the module. `None`: it does not come out wrong again.
pub(super) async fn locate(
    bench: &mut Bench<'_>,
    groups: &Groups,
    places: &[usize],
    wrong: Wrong,
) -> Result<Option<Located>, Stopped> {
    let mut places = places.to_vec();
    let mut at = wrong.at;
    loop {
        let home = places[at];
        let firsts: Vec<usize> = groups.firsts().into_iter().filter(|first| *first <= at).collect();
        let moved = |count: usize| {
            let to_home = &firsts[..count];
            let place = |step: usize| if to_home.contains(&groups.of(step)) { home } else { places[step] };
            (0..=at).map(|step| (step, place(step))).collect::<Vec<(usize, usize)>>()
        };
        // With the first `low` groups moved it comes out wrong, with `high` of them right.
        let (mut low, mut high) = (0, firsts.len());
        bench.listener.begin("looking for what it needs", high.next_power_of_two().trailing_zeros() as usize + 1);
        let Some(mut latest) = bench.judge_places(&moved(0)).await? else { return Ok(None) };
        let mut earlier = (latest.at < at).then_some((0, latest.at));
        while earlier.is_none() && high - low > 1 {
            let middle = low.midpoint(high);
            match bench.judge_places(&moved(middle)).await? {
                None => high = middle,
                Some(found) if found.at == at => (low, latest) = (middle, found),
                Some(found) => earlier = Some((middle, found.at)),
            }
        }
        match earlier {
            // Another step comes out wrong before it: that one first.
            Some((count, step)) => {
                places = moved(count).into_iter().map(|(_, place)| place).collect();
                at = step;
            }
            None => {
                let needs = firsts[low];
                let replicas = (places[needs], home);
                return Ok((replicas.0 != replicas.1).then_some(Located { wrong: latest, needs, replicas }));
            }
        }
    }
}
