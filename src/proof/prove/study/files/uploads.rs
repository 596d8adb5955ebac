//! Uploads that are begun at one replica and looked for at another one: while all are there, when the first one was
//! killed, and when their client has given them up.

use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Method, Request, Response, StatusCode};
use tokio::time::sleep;

use super::REPLICAS;
use crate::prove::study::caller::Caller;
use crate::prove::study::stage::Stage;
use crate::prove::theory::Prediction;
use crate::trial::judge::Fact;

/// How many: a multiple of the replicas, so that each has as many.
pub(super) const UPLOADS: usize = 24;
/// Bytes of the only part of each that is sent.
const LENGTH: usize = 1024;

pub(super) const UNKNOWN: &str = "uploads that another replica does not know";
pub(super) const LOST: &str = "uploads lost with a replica";
const LEFT: &str = "aborted uploads that are still there";
/// How often a replica is asked for an upload until it says something of it, and the pause in between.
const QUESTIONS_MAX: usize = 20;
const QUESTION_AGAIN: Duration = Duration::from_millis(100);

/// One upload, and whether replicas knew of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) name: String,
    pub(super) id: String,
    /// The replica that has taken what was sent of it.
    pub(super) home: String,
    /// A replica that was asked while all were there.
    pub(super) other: (String, bool),
    /// Those that were asked when one was killed, and when it had been given up.
    pub(super) after: Vec<(String, bool)>,
    pub(super) aborted: Vec<(String, bool)>,
}

/// The path of an upload, or of a part of it. An id has nothing in it that a path could not have.
pub(super) fn path(name: &str, id: &str, part: Option<usize>) -> String {
    let part = part.map(|number| format!("/{number}")).unwrap_or_default();
    format!("/{name}/uploads/{id}{part}")
}

/// The response of a replica, or of any.
pub(super) async fn call(
    caller: &mut Caller,
    replica: Option<&str>,
    (method, path): (Method, &str),
    body: Bytes,
) -> anyhow::Result<Response<Bytes>> {
    let mut request = Request::builder().method(method).uri(path).body(body)?;
    if let Some(replica) = replica {
        request.headers_mut().insert(HOST, replica.parse()?);
    }
    caller.send(request).await
}

/// Begins an upload at a replica, or at any. Its id.
pub(super) async fn begin(caller: &mut Caller, replica: Option<&str>, name: &str) -> anyhow::Result<String> {
    let response = call(caller, replica, (Method::POST, &format!("/{name}/uploads")), Bytes::new()).await?;
    let text = String::from_utf8_lossy(response.body()).into_owned();
    anyhow::ensure!(response.status() == StatusCode::CREATED, "an upload cannot be begun: {text}");
    Ok(text)
}

/// Begins all of them, each at the next replica, and asks the one behind it.
pub(super) async fn begin_all(stage: &Stage, caller: &mut Caller, run: &str) -> anyhow::Result<Vec<Begun>> {
    let mut all = Vec::new();
    for number in 0..UPLOADS {
        let name = format!("u{run}x{number}");
        let replica = |number: usize| stage.replica(number % REPLICAS).name.clone();
        let home = replica(number);
        let id = begin(caller, Some(&home), &name).await?;
        let put = (Method::PUT, &*path(&name, &id, Some(1)));
        let put = call(caller, Some(&home), put, Bytes::from_static(&[7; LENGTH])).await?;
        anyhow::ensure!(put.status() == StatusCode::CREATED, "a part cannot be stored: {}", put.status());
        let mut begun = Begun { name, id, home, ..Begun::default() };
        begun.other = is_known(caller, replica(number + 1), &begun).await?;
        all.push(begun);
    }
    Ok(all)
}

/// Asks those that are left for them, gives them up, and asks again.
pub(super) async fn end_all(caller: &mut Caller, living: &[String], all: &mut [Begun]) -> anyhow::Result<()> {
    for begun in all {
        for replica in living {
            begun.after.push(is_known(caller, replica.clone(), begun).await?);
        }
        for replica in living {
            // Where it is not, that changes nothing. If it is still there afterwards, that is found.
            let delete = (Method::DELETE, &*path(&begun.name, &begun.id, None));
            call(caller, Some(replica), delete, Bytes::new()).await.ok();
        }
        for replica in living {
            begun.aborted.push(is_known(caller, replica.clone(), begun).await?);
        }
    }
    Ok(())
}

/// The replica, and whether it knows of parts of an upload. One that does not say is asked again: what was not seen is
/// not gone.
async fn is_known(
    caller: &mut Caller,
    replica: String,
    Begun { name, id, .. }: &Begun,
) -> anyhow::Result<(String, bool)> {
    for _ in 0..QUESTIONS_MAX {
        let response = call(caller, Some(&replica), (Method::GET, &path(name, id, None)), Bytes::new()).await;
        match response.map(|response| response.status()) {
            Ok(StatusCode::OK) => return Ok((replica, true)),
            Ok(StatusCode::NOT_FOUND) => return Ok((replica, false)),
            _ => sleep(QUESTION_AGAIN).await,
        }
    }
    anyhow::bail!("{replica} does not say whether it knows an upload; try again where nothing else runs")
}

fn is_lost(begun: &Begun) -> bool {
    begun.after.iter().all(|(_, is_known)| !is_known)
}

/// Uploads that another replica did not know, and those that nobody knows any more.
pub(super) fn counts(all: &[Begun]) -> (u64, u64) {
    let unknown = all.iter().filter(|begun| !begun.other.1).count();
    (unknown as u64, all.iter().filter(|begun| is_lost(begun)).count() as u64)
}

/// What must not be in a store.
pub(super) fn claims(all: &[Begun], killed: &str) -> Vec<Prediction> {
    let never = |what, is_it: &dyn Fn(&Begun) -> bool, fact: &dyn Fn(&Begun) -> String| {
        let hits = || all.iter().filter(|begun| is_it(begun));
        let facts = |begun: &Begun| {
            let taken = format!("{} takes a part of the upload of {}", begun.home, begun.name);
            [taken, fact(begun)].map(Fact::Note)
        };
        let facts = hits().next().map(facts);
        Prediction::never(what, hits().count() as u64, all.len() as u64, facts.as_ref().map(<[Fact; 2]>::as_slice))
    };
    let is_left = |begun: &Begun| begun.aborted.iter().any(|(_, is_known)| *is_known);
    vec![
        never(UNKNOWN, &|begun| !begun.other.1, &|begun| format!("{} does not know of it", begun.other.0)),
        never(LOST, &is_lost, &|_| format!("{killed} is killed, and no other one knows of it")),
        never(LEFT, &is_left, &|_| "its client gives it up, and it is still there".to_owned()),
    ]
}
