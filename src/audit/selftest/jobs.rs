//! Work that goes on after the response. Each replica has a worker, which sees the jobs of its store.

use std::io;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::http::{Asked, Responding, data, error, no_such_page};
use super::store::{Store, is_name, random_name};

/// The worker looks for jobs this often.
const LOOK: Duration = Duration::from_millis(50);

/// The result of a job is awaited for this long.
const RESULT_WAIT: Duration = Duration::from_secs(5);

/// Does jobs, for ever. A job whose worker dies is done by another one: it is removed after its result is there.
pub(super) async fn work(store: &Store) -> io::Result<()> {
    loop {
        for name in store.names("job-")? {
            let (Some(job), Some(id)) = (store.get(&name)?, name.strip_prefix("job-")) else { continue };
            store.put(&format!("result-{id}"), &[b"done: ", &*job].concat())?;
            store.take(&name)?;
        }
        sleep(LOOK).await;
    }
}

/// `POST /jobs` starts a job; `GET /jobs/ID` waits for its result.
pub(super) async fn jobs(store: &Store, asked: &Asked) -> Responding {
    match (asked.method(), asked.path().as_slice()) {
        (&Method::POST, ["jobs"]) => {
            let id = random_name();
            store.put(&format!("job-{id}"), asked.content())?;
            data(StatusCode::ACCEPTED, &json!({ "job": id }))
        }
        (&Method::GET, ["jobs", id]) if is_name(id) => result(store, id).await,
        _ => no_such_page(),
    }
}

async fn result(store: &Store, id: &str) -> Responding {
    let deadline = Instant::now() + RESULT_WAIT;
    loop {
        // Asked first: the worker writes the result before it removes the job.
        let is_waiting = store.get(&format!("job-{id}"))?.is_some();
        if let Some(result) = store.get(&format!("result-{id}"))? {
            return data(StatusCode::OK, &json!({ "result": String::from_utf8_lossy(&result) }));
        }
        if !is_waiting {
            return error(StatusCode::NOT_FOUND, "there is no such job");
        }
        if Instant::now() > deadline {
            return error(StatusCode::GATEWAY_TIMEOUT, "the job is not done yet");
        }
        sleep(LOOK).await;
    }
}
