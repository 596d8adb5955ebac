//! Once more on replicas that have just been started, with empty disks: what the runs before have written with the same
//! values on every replica is on none of them. Each run has replicas of its own.

use super::Stopped;
use super::bench::{Bench, Site};
use super::cross::{Found, Groups, confirm, join};
use super::gate::learned;
use crate::placing::first_pass;
use crate::play::Move;

/// Dependences that are looked for in this way.
const FOUND_MAX: usize = 3;

/// See the module.
pub(super) async fn fresh(bench: &mut Bench<'_>, groups: &mut Groups, found: &mut Vec<Found>) -> Result<(), Stopped> {
    if matches!(bench.site, Site::Running) {
        let why = "Nothing was played on fresh replicas, as the audit does not start them: what a step writes with the \
                   same values in every run may have been on all replicas before.";
        bench.coverage.untried.push(why.into());
        return Ok(());
    }
    if first_pass(groups.firsts().len(), bench.replicas()).is_empty() {
        return Ok(());
    }
    bench.begin_fresh();
    let result = searched(bench, groups, found).await;
    bench.end_fresh();
    match result {
        Err(Stopped::Inconclusive(why, advice)) => {
            bench
                .coverage
                .untried
                .push(format!("Nothing was played on fresh replicas: {why}. To have it played, {advice}."));
            Ok(())
        }
        result => result,
    }
}

async fn searched(bench: &mut Bench<'_>, groups: &mut Groups, found: &mut Vec<Found>) -> Result<(), Stopped> {
    let alone: Vec<Move> = (0..bench.plan.len()).map(|at| Move::Step(at, 0)).collect();
    learned(bench, &alone).await?;
    for _ in 0..FOUND_MAX {
        let rows = first_pass(groups.firsts().len(), bench.replicas());
        bench.listener.begin("across fresh replicas", rows.len());
        let mut wrong = None;
        for row in rows {
            let places = groups.spread(&row);
            let steps: Vec<(usize, usize)> = places.iter().copied().enumerate().collect();
            if let Some(first) = bench.judge_places(&steps).await? {
                wrong = Some((places, first));
                break;
            }
        }
        let Some((places, wrong)) = wrong else { return Ok(()) };
        let Some(dependence) = confirm(bench, groups, &places, wrong).await? else { return Ok(()) };
        join(bench, groups, &dependence);
        found.push(Found { is_fresh: true, ..dependence });
    }
    Ok(())
}
