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
    /// The replica of each step when it last came out wrong.
    pub(super) places: Vec<usize>,
}

/// How many groups must be moved. With the first `wrong` of them it comes out wrong, with the first `right` of them
/// right.
#[derive(Debug)]
struct Halving {
    wrong: usize,
    right: usize,
}

impl Halving {
    /// With none of so many it comes out wrong, and with all of them it is one run on one replica.
    fn of(groups: usize) -> Self {
        Self { wrong: 0, right: groups }
    }

    /// How many are to be tried next; `None` if it is the group behind `wrong`.
    fn next(&self) -> Option<usize> {
        (self.right - self.wrong > 1).then(|| self.wrong.midpoint(self.right))
    }
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
        let mut halving = Halving::of(firsts.len());
        bench.listener.begin("looking for what it needs", firsts.len().next_power_of_two().ilog2() as usize + 1);
        let Some(mut latest) = bench.judge_places(&moved(0)).await? else { return Ok(None) };
        let mut earlier = (latest.at < at).then_some((0, latest.at));
        while let Some(middle) = halving.next().filter(|_| earlier.is_none()) {
            match bench.judge_places(&moved(middle)).await? {
                None => halving.right = middle,
                Some(found) if found.at == at => (halving.wrong, latest) = (middle, found),
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
                let needs = firsts[halving.wrong];
                let replicas = (places[needs], home);
                let places = moved(halving.wrong).into_iter().map(|(_, place)| place).collect();
                return Ok((replicas.0 != replicas.1).then_some(Located { wrong: latest, needs, replicas, places }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halving_finds_every_group_in_as_many_runs_as_their_number_has_digits() {
        for groups in 1..=200 {
            for needed in 0..groups {
                let (mut halving, mut runs) = (Halving::of(groups), 0);
                while let Some(moved) = halving.next() {
                    runs += 1;
                    // It comes out right as soon as the group that is needed is among those that are moved.
                    if moved > needed { halving.right = moved } else { halving.wrong = moved }
                }
                assert_eq!(halving.wrong, needed, "of {groups}");
                assert!(runs <= groups.next_power_of_two().ilog2(), "{runs} runs for {groups}");
            }
        }
    }
}
