//! A basket per session, in the replica's memory or in a token: the part that users of [`super::affinity`] and
//! [`super::autoscaling`] have their sessions at, and these users.

pub(super) mod part;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{COOKIE, HOST, SET_COOKIE};
use http::{Request, Response, StatusCode};

use super::Bench;
use super::caller::{Caller, replica_of};
use super::stage::{Scene, Stage};
use crate::prove::replica::KEY_VARIABLE;
use crate::prove::sabotage::Sabotage;
use crate::prove::store::new_token;
use crate::trial::history::Value;

/// Where sessions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeps {
    /// In the replica.
    Memory,
    /// At the client, in a signed token.
    Token,
}

/// Starts replicas that keep sessions so, and a proxy in front of them. `is_placed`: each is reached by its name too.
pub(super) async fn stage(
    bench: &Bench<'_>,
    keeps: Keeps,
    replicas: usize,
    environment: &[(&str, &str)],
    is_placed: bool,
) -> anyhow::Result<Stage> {
    let is_memory = keeps == Keeps::Memory && !bench.planted().is(Sabotage::SharedMemory);
    let (key, keeps) = (new_token()?, if is_memory { "memory" } else { "token" });
    let environment = [environment, &[(part::KEEPS, keeps), (KEY_VARIABLE, &key)]].concat();
    Stage::start(bench, Scene { part: "basket", replicas, proxies: 1, environment: &environment, is_placed }).await
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// It was done, and the session is as the user knows it.
    Kept,
    /// Nobody knows the session.
    Lost,
    /// What the user had written is not there.
    Changed,
    /// The replica that it was sent to is not there.
    NoSuchReplica,
    /// It failed.
    Failed(String),
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Login,
    Read,
    /// Reads, and the replica takes no time for it: whoever comes back when all is over is no load.
    Return,
    /// Puts something into the basket, without a key: it is not repeated.
    Put(Value),
}

/// A user's side of a session.
#[derive(Debug, Default)]
pub(super) struct Session {
    token: Option<String>,
    values: Vec<Value>,
}

impl Session {
    /// Sends a request, to a replica by its name or to any. What came of it, and which replica responded.
    pub(super) async fn ask(&mut self, caller: &mut Caller, replica: Option<&str>, ask: Ask) -> (Told, Option<String>) {
        let request = match self.request(replica, ask) {
            Ok(request) => request,
            Err(error) => return (Told::Failed(error.to_string()), None),
        };
        match caller.send(request).await {
            Ok(response) => (self.told(ask, &response, replica.is_some()), replica_of(&response)),
            Err(error) => (Told::Failed(format!("{error:#}")), None),
        }
    }

    fn request(&self, replica: Option<&str>, ask: Ask) -> anyhow::Result<Request<Bytes>> {
        let (method, path, body) = match ask {
            Ask::Login => ("POST", "/login", String::from("user")),
            Ask::Read | Ask::Return => ("GET", "/basket", String::new()),
            Ask::Put(value) => ("POST", "/basket", value.to_string()),
        };
        let mut request = Request::builder().method(method).uri(path);
        if let Some(replica) = replica {
            request = request.header(HOST, replica);
        }
        if let Some(token) = self.token.as_ref().filter(|_| ask != Ask::Login) {
            request = request.header(COOKIE, format!("session={token}"));
        }
        if ask == Ask::Return {
            request = request.header(part::RETURNS, "1");
        }
        request.body(Bytes::from(body)).context("it is made of valid parts")
    }

    fn told(&mut self, ask: Ask, response: &Response<Bytes>, is_placed: bool) -> Told {
        let cookie = response.headers().get(SET_COOKIE).and_then(|value| value.to_str().ok());
        if let Some(token) = cookie.and_then(|text| text.strip_prefix("session=")) {
            self.token = Some(token.to_owned());
        }
        let status = response.status();
        match (ask, status) {
            (Ask::Login, StatusCode::NO_CONTENT) => self.values.clear(),
            (Ask::Put(value), StatusCode::NO_CONTENT) => self.values.push(value),
            (Ask::Read | Ask::Return, StatusCode::OK) => {
                let values: Result<Vec<Value>, _> = serde_json::from_slice(response.body());
                return if values.is_ok_and(|values| values == self.values) { Told::Kept } else { Told::Changed };
            }
            (_, StatusCode::UNAUTHORIZED) => return Told::Lost,
            // The proxy has no route or no replica for it.
            (_, StatusCode::NOT_FOUND | StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE) if is_placed => {
                return Told::NoSuchReplica;
            }
            _ => return Told::Failed(format!("{status} {}", String::from_utf8_lossy(response.body()).trim())),
        }
        Told::Kept
    }
}

/// Waits until the proxy lists every replica as healthy, in its own pool too, and has nothing under way at any that was
/// taken out. Those that were killed and are still in the file are `dead`.
pub(super) async fn settle(stage: &Stage, dead: &[String]) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + super::caller::DEADLINE;
    loop {
        let status = stage.status(0).await?;
        if is_settled(&status, dead) {
            return Ok(());
        }
        let is_in_time = tokio::time::Instant::now() < deadline;
        anyhow::ensure!(is_in_time, "the pools are not ready in time; the proxy says {}", status["pools"]);
        tokio::time::sleep(POLL).await;
    }
}

/// Pause between two looks at the proxy's state.
const POLL: std::time::Duration = std::time::Duration::from_millis(20);

fn is_settled(status: &serde_json::Value, dead: &[String]) -> bool {
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let is_well = |one: &serde_json::Value| one["state"] == "healthy" || one["wanted"] == "drain";
    let is_dead = |one: &serde_json::Value| dead.iter().any(|address| one["address"] == address.as_str());
    list(&status["pools"]).iter().all(|pool| {
        let endpoints = list(&pool["endpoints"]);
        list(&pool["draining"]).is_empty() && endpoints.iter().all(|one| is_well(one) || is_dead(one))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn response(status: u16, cookie: &str, body: &'static str) -> Response<Bytes> {
        Response::builder().status(status).header(SET_COOKIE, cookie).body(Bytes::from(body)).unwrap()
    }

    #[test]
    fn a_user_knows_what_must_be_there() {
        let mut session = Session::default();
        assert_eq!(session.told(Ask::Login, &response(204, "session=a", ""), false), Told::Kept);
        assert_eq!(session.told(Ask::Put(4), &response(204, "session=b", ""), false), Told::Kept);
        assert_eq!(session.request(Some("r1"), Ask::Read).unwrap().headers()[COOKIE], "session=b");
        assert_eq!(session.request(Some("r1"), Ask::Read).unwrap().headers()[HOST], "r1");
        assert_eq!(session.told(Ask::Read, &response(200, "", "[4]"), false), Told::Kept);
        assert_eq!(session.told(Ask::Read, &response(200, "", "[]"), false), Told::Changed);
        assert_eq!(session.told(Ask::Read, &response(401, "", ""), true), Told::Lost);
        assert_eq!(session.told(Ask::Read, &response(503, "", ""), true), Told::NoSuchReplica);
        let cut = session.told(Ask::Put(5), &response(502, "", "cut"), false);
        assert_eq!(cut, Told::Failed("502 Bad Gateway cut".into()));
        assert_eq!(session.told(Ask::Login, &response(204, "session=c", ""), false), Told::Kept);
        assert_eq!(session.told(Ask::Read, &response(200, "", "[]"), false), Told::Kept);
    }

    #[test]
    fn pools_are_ready_when_all_that_live_are_healthy_and_nothing_drains() {
        let status = |state: &str, draining: serde_json::Value| {
            let endpoints = json!([{ "address": "a", "state": state }]);
            json!({ "pools": [{ "endpoints": endpoints, "draining": draining }] })
        };
        assert!(is_settled(&status("healthy", json!([])), &[]));
        assert!(!is_settled(&status("unchecked", json!([])), &[]));
        assert!(is_settled(&status("unhealthy", json!([])), &["a".to_owned()]));
        assert!(!is_settled(&status("healthy", json!([{}])), &[]));
    }
}
