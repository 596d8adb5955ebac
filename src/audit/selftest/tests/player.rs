//! Plays a journey of this folder, as far as these need it: the audit is tried on the faults, so they are tested
//! without it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::header::{CONTENT_TYPE, COOKIE, HOST, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use regex::Regex;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use toml::{Table, Value};

/// No exchange of these applications takes longer.
const EXCHANGE_MAX: Duration = Duration::from_secs(30);

/// A step, as it is written.
type Step = Table;

/// What came of each step, with captured values and the unique one replaced by their names.
pub(super) type Outcomes = Vec<String>;

/// The steps of a journey. A step with `repeat` stands there as often as it may be done.
pub(super) fn steps(journey: &str) -> Vec<Step> {
    let journey: Table = journey.parse().unwrap();
    let steps = journey["step"].as_array().unwrap().iter().map(|step| step.as_table().unwrap().clone());
    let times =
        |step: &Step| usize::try_from(step.get("repeat").map_or(1, |times| times.as_integer().unwrap())).unwrap();
    steps.flat_map(|step| vec![step.clone(); times(&step)]).collect()
}

/// One run of a journey.
pub(super) struct Run {
    values: BTreeMap<String, String>,
    cookies: BTreeMap<String, BTreeMap<String, String>>,
    open: BTreeMap<String, WebSocketStream<TcpStream>>,
    outcomes: Outcomes,
}

impl Run {
    pub(super) fn new() -> Self {
        let unique = format!("{:012x}", fastrand::u64(..1 << 48));
        let values = BTreeMap::from([("unique".to_owned(), unique)]);
        Self { values, cookies: BTreeMap::new(), open: BTreeMap::new(), outcomes: Vec::new() }
    }

    pub(super) fn outcomes(self) -> Outcomes {
        self.outcomes
    }

    /// What came up to now.
    pub(super) fn seen(&self) -> &[String] {
        &self.outcomes
    }

    /// Plays a step on a replica.
    pub(super) async fn step(&mut self, step: &Step, replica: SocketAddr) {
        let outcome = match step.get("request") {
            Some(_) => timeout(EXCHANGE_MAX, self.request(step, replica)).await,
            None => timeout(EXCHANGE_MAX, self.talk(step, replica)).await,
        };
        let outcome = self.neutral(outcome.expect("every exchange ends"));
        self.outcomes.push(format!("{}: {outcome}", text(&step["name"])));
    }

    fn fill(&self, template: &Value) -> String {
        let filled =
            |filled: String, (name, value): (&String, &String)| filled.replace(&format!("{{{{{name}}}}}"), value);
        let text = self.values.iter().fold(text(template).to_owned(), filled);
        // What an earlier step did not give is empty: the step shows that it is missing.
        Regex::new(r"\{\{\w+\}\}").unwrap().replace_all(&text, "").into_owned()
    }

    fn neutral(&self, outcome: String) -> String {
        self.values.iter().fold(outcome, |outcome, (name, value)| outcome.replace(value, name))
    }

    async fn request(&mut self, step: &Step, replica: SocketAddr) -> String {
        let request = self.written(step);
        let stream = TokioIo::new(TcpStream::connect(replica).await.unwrap());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        connection.abort();
        self.keep_cookies(step, &head.headers);
        for (name, source) in step.get("capture").and_then(Value::as_table).into_iter().flatten() {
            if let Some(value) = captured(text(source), &body) {
                self.values.insert(name.clone(), value);
            }
        }
        format!("{} {body}", head.status.as_u16())
    }

    fn written(&self, step: &Step) -> Request<Full<Bytes>> {
        let (method, target) = text(&step["request"]).split_once(' ').unwrap();
        let target = self.fill(&Value::from(target));
        let mut request = Request::builder().method(method.parse::<Method>().unwrap()).uri(target).header(HOST, "test");
        for (name, value) in step.get("headers").and_then(Value::as_table).into_iter().flatten() {
            request = request.header(name, self.fill(value));
        }
        if let Some(cookies) = self.cookies.get(actor(step)) {
            let cookies: Vec<_> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header(COOKIE, cookies.join("; "));
        }
        let pairs = step.get("form").and_then(Value::as_table).into_iter().flatten();
        let form: Vec<_> = pairs.map(|(name, value)| format!("{name}={}", self.fill(value))).collect();
        if !form.is_empty() {
            request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        }
        let body = step.get("body").map_or_else(|| form.join("&"), |body| self.fill(body));
        request.body(Full::from(body)).unwrap()
    }

    fn keep_cookies(&mut self, step: &Step, fields: &HeaderMap) {
        for cookie in fields.get_all(SET_COOKIE) {
            let (name, rest) = cookie.to_str().unwrap().split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            self.cookies.entry(actor(step).to_owned()).or_default().insert(name.to_owned(), value.to_owned());
        }
    }

    async fn talk(&mut self, step: &Step, replica: SocketAddr) -> String {
        if let Some(target) = step.get("websocket") {
            let url = format!("ws://test{}", self.fill(target));
            let stream = TcpStream::connect(replica).await.unwrap();
            let (socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
            self.open.insert(text(&step["name"]).to_owned(), socket);
        }
        let messages: Vec<_> = step.get("send").and_then(Value::as_array).into_iter().flatten().collect();
        let messages: Vec<_> = messages.into_iter().map(|message| self.fill(message)).collect();
        let receive = step["receive"].as_table().unwrap();
        let until = Regex::new(self.fill(&receive["until"]).strip_prefix("regex:").unwrap()).unwrap();
        let within = Duration::from_secs(text(&receive["within"]).strip_suffix('s').unwrap().parse().unwrap());
        let socket = self.open.get_mut(text(step.get("on").unwrap_or(&step["name"]))).unwrap();
        for message in messages {
            // A socket whose replica has ended says so when something is awaited.
            let _ = socket.send(Message::text(message)).await;
        }
        let came = timeout(within, async {
            while let Some(Ok(message)) = socket.next().await {
                if let Message::Text(message) = message
                    && until.is_match(&message)
                {
                    return true;
                }
            }
            false
        });
        if came.await.unwrap_or(false) { "it came".to_owned() } else { "it did not come".to_owned() }
    }
}

/// Whether this step repeats one before, which has come to its end.
pub(super) fn is_done(step: &Step, outcomes: &[String]) -> bool {
    let Some(until) = step.get("until").and_then(|until| until.get("status")?.as_integer()) else { return false };
    let ended = format!("{}: {until} ", text(&step["name"]));
    outcomes.iter().any(|outcome| outcome.starts_with(&ended))
}

/// Whether an outcome is one that the journey wants.
pub(super) fn is_wanted(step: &Step, outcome: &str, run: &Run) -> bool {
    let status = step.get("expect").and_then(|expect| expect.get("status")?.as_integer());
    let wanted = step.get("must_contain").and_then(Value::as_array).into_iter().flatten();
    status.is_none_or(|status| outcome.contains(&format!(": {status} ")))
        && wanted.into_iter().all(|text| outcome.contains(&run.neutral(run.fill(text))))
        && !outcome.ends_with("did not come")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn actor(step: &Step) -> &str {
    step.get("actor").map_or("a", text)
}

fn captured(source: &str, body: &str) -> Option<String> {
    match source.split_once(':').unwrap() {
        ("regex", pattern) => Some(Regex::new(pattern).unwrap().captures(body)?[1].to_owned()),
        ("json", path) => {
            let value: serde_json::Value = serde_json::from_str(body).ok()?;
            Some(value.get(path.strip_prefix("$.").unwrap())?.as_str()?.to_owned())
        }
        (kind, _) => panic!("{kind} is not needed here"),
    }
}
