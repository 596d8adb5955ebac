//! Sessions in a Redis that another one copies, and a fail-over to that: what was acknowledged and not yet copied is
//! lost. With `WAIT` a write is acknowledged when the standby has it too.

mod link;
mod lost;
mod pair;

use std::rc::Rc;

use super::exchanges::exchanges;
use super::predictions::{Keeps, effects, never, no_session_lost, of_stateless, ratio, read_your_writes, recovered};
use super::redis::server::{Home, RedisServer};
use super::redis::{Redis, connect_told};
use super::{Arm, Backing, Prepared, Role, Server, Work};
use crate::prove::cell::CellReport;
use crate::prove::event::Event;
use crate::prove::options::{Options, REDIS_VARIABLE};
use crate::prove::replica::Replica;
use crate::prove::theory::Prediction;
use crate::prove::workspace::Workspace;
use lost::Lost;
use pair::Pair;

/// Writes are acknowledged when the primary has them.
pub(super) const ARM: Arm = Arm {
    name: "redis-replicated",
    is_default: false,
    role: Role::Stateless,
    shares: true,
    has_tokens: false,
    serve: |replica| serve(replica, false),
    prepare: Some(|options, workspace| Box::pin(prepare(ARM.name, options, workspace))),
    fill: None,
    predict: |report| predict(report, false),
};

/// Writes are acknowledged when the standby has them too.
pub(super) const WAITING: Arm = Arm {
    name: "redis-replicated+wait",
    serve: |replica| serve(replica, true),
    prepare: Some(|options, workspace| Box::pin(prepare(WAITING.name, options, workspace))),
    predict: |report| predict(report, true),
    ..ARM
};

/// Over how many connections a replica waits for the standby.
const CONNECTIONS: usize = 4;

fn serve(replica: Replica, waits: bool) -> Work<'static, ()> {
    Box::pin(async move {
        let store = Redis::of(&replica, connect_told().await?);
        let mut waiting = Vec::new();
        for _ in 0..if waits { CONNECTIONS } else { 0 } {
            waiting.push(connect_told().await?);
        }
        replica.serve(store.waiting(waiting)).await
    })
}

async fn prepare(arm: &str, options: &Options, workspace: &Workspace) -> anyhow::Result<Prepared> {
    if RedisServer::program().is_none() {
        let hint = format!("{arm}: there is no redis-server on PATH; install it (apt-get install redis-server)");
        return Ok(Prepared { backing: None, left_out: Some(hint) });
    }
    let pair = Pair::start(&Home::create(workspace, arm)?, options.planted).await?;
    let variable = Some((REDIS_VARIABLE, pair.url()));
    let server: Rc<dyn Server> = Rc::new(pair);
    Ok(Prepared { backing: Some(Backing { variable, server: Some(server) }), left_out: None })
}

/// What is counted of a fail-over, without `WAIT` and with it.
pub(in crate::prove) const LACKED: &str = "acknowledged writes lost that the standby lacked";
pub(in crate::prove) const ALL: &str = "acknowledged writes lost";

/// In a fail-over, what the standby lacks is lost: all of it, and nothing else. With `WAIT` none of that was
/// acknowledged. A read may still have shown it, so monotonic reads are promised by neither.
fn predict(report: &CellReport, waits: bool) -> Vec<Prediction> {
    if report.event != Event::Failover {
        return of_stateless(report, Keeps::InAStore);
    }
    let Lost { had, lacked, kept, all } = Lost::of(&report.history);
    let mut predictions = effects(report);
    predictions.extend(exchanges(report));
    predictions.push(recovered(report));
    predictions.push(ratio("acknowledged writes lost that the standby had", &had));
    if waits {
        predictions.push(ratio(ALL, &all));
        predictions.push(no_session_lost(&report.findings));
        predictions.push(read_your_writes(&report.findings));
        predictions.push(never("good after logout", &report.findings.reused, report.findings.logouts).or_untested());
    } else {
        let kept = kept.example().unwrap_or_default().to_vec();
        predictions.push(Prediction::share(LACKED, lacked.hits.count, lacked.trials, 1.0).shown_by(kept));
    }
    predictions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::arm::redis::connect;
    use crate::prove::sabotage::Planted;
    use crate::prove::store::testing::{keeps_a_session, keeps_books, skipped};
    use crate::prove::store::{Store as _, Write};
    use crate::trial::history::State;
    use crate::trial::recorder::Recorder;

    #[tokio::test]
    async fn it_keeps_a_session_and_what_was_confirmed_survives_a_fail_over() {
        if RedisServer::program().is_none() {
            return skipped("there is no redis-server");
        }
        let workspace = Workspace::named(&format!("pair-of-{}", std::process::id()), false).unwrap();
        let pair = Pair::start(&Home::create(&workspace, "pair").unwrap(), Planted::NOTHING).await.unwrap();
        let connected = || async { connect(&pair.url()).await.unwrap() };
        keeps_a_session(Redis::at(connected().await)).await;
        keeps_books(Redis::at(connected().await)).await;
        let waiting = || async { Redis::at(connected().await).waiting(vec![connected().await]) };
        keeps_a_session(waiting().await).await;
        let store = waiting().await;
        let token = store.begin("1").await.unwrap().found.unwrap();
        store.write(&token, Write { value: 7, key: Some("a") }).await.unwrap().found.unwrap();
        let recorder = Recorder::begin();
        pair.fail_over(&recorder).await.unwrap();
        let store = waiting().await;
        assert_eq!(store.read(&token).await.unwrap().found.unwrap(), [7]);
        store.write(&token, Write { value: 8, key: Some("b") }).await.unwrap().found.unwrap();
        let history = recorder.into_history();
        assert!(history.marks.iter().map(|mark| mark.state).eq([
            State::CaughtUp,
            State::HeldBack,
            State::Failing,
            State::Promoted
        ]));
        // And back.
        pair.fail_over(&Recorder::begin()).await.unwrap();
        assert_eq!(waiting().await.read(&token).await.unwrap().found.unwrap(), [7, 8]);
    }
}
