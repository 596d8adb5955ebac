//! `unstick ctl top`: pools and endpoints live, as the admin port tells of them each second.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read as _};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::door::Door;
use super::http::Response;
use super::screen::Screen;
use super::status::{head, identity, latency, list, now, reason, share};
use super::table::{Side, Table, cut};
use super::words::{Paint, Tone, milliseconds, number, rate, text};
use super::{Trouble, is_terminal, paint};

/// What the admin port tells: the state each second, for five minutes.
const EVENTS: &str = "/events";
/// The most bytes of one event, and the longest time without any.
const EVENT_MAX: u64 = 64 << 20;
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// The pause before the proxy is asked again.
const PAUSE: Duration = Duration::from_secs(1);
/// The least time between two looks at a counter that say something about a second.
const APART_MS: u64 = 500;

/// The columns that a small window has.
const FIRST: [&str; 9] = ["ENDPOINT", "STATE", "WHY", "REQ/S", "FAIL/S", "SHARE", "WEIGHT", "IN FLIGHT", "LATENCY"];

/// What is heard of the proxy.
#[derive(Debug)]
enum News {
    State(Box<Value>),
    Lost(String),
}

pub(super) fn run(door: &Door) -> Result<(), Trouble> {
    if !is_terminal() {
        let help = "top needs a terminal; `unstick ctl status` says the same once, with --json for programs";
        return Err(Trouble::Usage(help.to_owned()));
    }
    // What cannot be reached at all is said before the terminal is taken.
    let first = door.follow(EVENTS)?;
    let (news, heard) = sync_channel(1);
    let (living, ended) = channel();
    let door = door.clone();
    // Nobody waits for it: it may be in the middle of a question when the user has seen enough.
    thread::Builder::new().name("listen".into()).spawn(move || listen(&door, first, &news, &ended))?;
    let shown = show(&heard, paint());
    drop::<Sender<()>>(living);
    shown
}

/// Follows the events until nobody wants them.
fn listen(door: &Door, first: Response, news: &SyncSender<News>, ended: &Receiver<()>) {
    let mut response = Ok(first);
    loop {
        let lost = match response {
            Ok(response) => follow(response, news).err().map(|error| error.to_string()),
            Err(Trouble::Refused(why) | Trouble::Unreachable(why) | Trouble::Usage(why)) => Some(why),
            Err(Trouble::Output(error)) => Some(error.to_string()),
            Err(Trouble::Told) => None,
        };
        if let Some(Err(TrySendError::Disconnected(_))) = lost.map(|why| news.try_send(News::Lost(why))) {
            return;
        }
        if let Err(RecvTimeoutError::Disconnected) = ended.recv_timeout(PAUSE) {
            return;
        }
        response = door.follow(EVENTS);
    }
}

/// Passes states on until the proxy ends the events in order, or nobody looks. While one waits to be looked at, others
/// are dropped.
fn follow(response: Response, news: &SyncSender<News>) -> io::Result<()> {
    let mut reader = BufReader::new(response);
    let mut is_state = false;
    let mut line = Vec::new();
    loop {
        reader.get_mut().wait_at_most(SILENCE_MAX);
        line.clear();
        if reader.by_ref().take(EVENT_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if let Some(name) = line.strip_prefix(b"event: ") {
            is_state = name.trim_ascii() == b"state";
        } else if let (true, Some(data)) = (is_state, line.strip_prefix(b"data: ")) {
            let state = serde_json::from_slice(data)?;
            if let Err(TrySendError::Disconnected(_)) = news.try_send(News::State(Box::new(state))) {
                return Ok(());
            }
        }
    }
}

fn show(heard: &Receiver<News>, paint: Paint) -> Result<(), Trouble> {
    let screen = Screen::enter()?;
    let mut view = View { paint, ..View::default() };
    loop {
        let is_new = heard.try_iter().map(|news| view.take(news)).count() > 0;
        let size = screen.size();
        if is_new || size != view.size {
            view.size = size;
            screen.show(&view.lines(now()))?;
        }
        if screen.is_to_end()? {
            return Ok(());
        }
    }
}

/// What is on the screen.
#[derive(Debug)]
struct View {
    paint: Paint,
    size: (usize, usize),
    state: Value,
    lost: Option<String>,
    /// The last total of each counter and when it was seen, and its growth per second.
    counters: HashMap<String, (u64, u64, Option<f64>)>,
}

impl Default for View {
    fn default() -> Self {
        Self { paint: Paint::Plain, size: (0, 0), state: Value::Null, lost: None, counters: HashMap::new() }
    }
}

impl View {
    fn take(&mut self, news: News) {
        match news {
            News::State(state) => {
                self.count(&state);
                (self.state, self.lost) = (*state, None);
            }
            News::Lost(why) => self.lost = Some(why),
        }
    }

    /// Counters become rates here.
    fn count(&mut self, state: &Value) {
        let at = number(&state["at"]);
        let mut counters = HashMap::new();
        for pool in list(&state["pools"]) {
            for endpoint in list(&pool["endpoints"]) {
                for what in ["requests", "failures", "responses_5xx"] {
                    let (key, total) = (key(pool, endpoint, what), number(&endpoint[what]));
                    let next = match self.counters.get(&key) {
                        Some(&(before, then, rate)) if at.saturating_sub(then) < APART_MS => (before, then, rate),
                        Some(&(before, then, _)) => {
                            let seconds = at.saturating_sub(then) as f64 / 1e3;
                            // After a restart of the proxy, counters begin anew.
                            let rate = total.checked_sub(before).map(|grown| grown as f64 / seconds);
                            (total, at, rate)
                        }
                        None => (total, at, None),
                    };
                    counters.insert(key, next);
                }
            }
        }
        self.counters = counters;
    }

    fn rate(&self, pool: &Value, endpoint: &Value, what: &str) -> Option<f64> {
        self.counters.get(&key(pool, endpoint, what))?.2
    }

    /// As many lines as there is room for.
    fn lines(&self, now: i64) -> Vec<String> {
        let (width, height) = self.size;
        let mut lines = match &self.state {
            Value::Null => vec!["waiting for the first second".to_owned()],
            state => head(state, now, self.paint, width),
        };
        let hint = self.paint.with(Tone::Faint, &cut("q ends this", width));
        match &self.lost {
            Some(why) => {
                let line = cut(&format!("not reached, what follows is old: {}", super::words::clean(why)), width);
                lines.insert(0, self.paint.with(Tone::Bad, &line));
            }
            None => lines.push(hint),
        }
        for pool in list(&self.state["pools"]) {
            lines.push(String::new());
            lines.push(self.paint.with(Tone::Strong, &cut(&self.title(pool), width)));
            lines.extend(self.endpoints(pool, now).lines(self.paint, width));
        }
        if lines.len() > height && height > 0 {
            let more = lines.len() - (height - 1);
            lines.truncate(height - 1);
            lines.push(cut(&format!("{more} more lines: make the window higher"), width));
        }
        lines
    }

    fn title(&self, pool: &Value) -> String {
        let latest = &self.state["latest"][pool["name"].as_str().unwrap_or_default()];
        let per_second = |key: &str| rate(latest[key].as_f64());
        let mut title = format!(
            "pool {}  {}  {} requests/s  {} failed/s  p50 {}  p99 {}",
            text(&pool["name"]),
            text(&pool["balance"]),
            per_second("requests"),
            per_second("failed"),
            milliseconds(latest["p50_ms"].as_f64()),
            milliseconds(latest["p99_ms"].as_f64()),
        );
        if pool["mode"] == "fail-open" {
            title.push_str("  too few are healthy: all get requests");
        }
        match number(&pool["waiting"]) {
            0 => title,
            waiting => format!("{title}  {waiting} waiting"),
        }
    }

    fn endpoints(&self, pool: &Value, now: i64) -> Table {
        let mut table = Table::new(&[
            ("ENDPOINT", Side::Left),
            ("STATE", Side::Left),
            ("SINCE", Side::Right),
            ("REQ/S", Side::Right),
            ("FAIL/S", Side::Right),
            ("5XX/S", Side::Right),
            ("IN FLIGHT", Side::Right),
            ("LATENCY", Side::Right),
            ("WEIGHT", Side::Right),
            ("SHARE", Side::Right),
            ("FAIR", Side::Right),
            ("WHY", Side::Left),
        ])
        .first(&FIRST);
        let of = |endpoint: &Value, what: &str| self.rate(pool, endpoint, what);
        let all: f64 = list(&pool["endpoints"]).iter().filter_map(|endpoint| of(endpoint, "requests")).sum();
        for endpoint in list(&pool["endpoints"]) {
            let plain = |text: String| (text, Tone::Plain);
            let bad = |value: Option<f64>| {
                (rate(value), if value.is_some_and(|value| value > 0.0) { Tone::Bad } else { Tone::Plain })
            };
            let requests = of(endpoint, "requests");
            let own = requests.filter(|_| all > 0.0).map(|requests| requests / all);
            let [address, state, since] = identity(pool, endpoint, now);
            table.add(vec![
                address,
                state,
                since,
                plain(rate(requests)),
                bad(of(endpoint, "failures")),
                bad(of(endpoint, "responses_5xx")),
                plain(text(&endpoint["in_flight"])),
                plain(latency(endpoint)),
                plain(text(&endpoint["weight"])),
                plain(super::words::percent(own)),
                plain(share(endpoint)),
                plain(reason(endpoint)),
            ]);
        }
        table
    }
}

fn key(pool: &Value, endpoint: &Value, what: &str) -> String {
    format!("{}\n{}\n{what}", pool["name"], endpoint["address"])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn state(at: u64, requests: u64, failures: u64) -> News {
        News::State(Box::new(json!({
            "at": at, "version": "1", "ready": true, "connections": 3, "listeners": [], "reloads": {},
            "latest": { "app": { "requests": 10.0, "failed": 0.0, "p50_ms": 1.5, "p99_ms": null } },
            "pools": [{ "name": "app", "balance": "p2c", "waiting": 0, "endpoints": [
                { "address": "10.0.0.11:3000", "wanted": "ready", "state": "healthy", "admission": "full",
                    "requests": requests, "failures": failures, "responses_5xx": 0, "in_flight": 2,
                    "weight": 1, "fair_share": 0.5, "latency_ms": 1.0 },
            ] }],
        })))
    }

    #[test]
    fn totals_become_rates() {
        let mut view = View { size: (200, 40), ..View::default() };
        view.take(state(1_000, 100, 0));
        assert!(view.lines(0).iter().any(|line| line.contains("10.0.0.11:3000  healthy      -      -")));
        view.take(state(3_000, 120, 1));
        // It comes early, because there is news.
        view.take(state(3_100, 121, 1));
        let text = view.lines(0).join("\n");
        assert!(text.contains("pool app  p2c  10.0 requests/s  0 failed/s  p50 1.5 ms  p99 -"), "{text}");
        let row = text.lines().find(|line| line.contains("10.0.0.11")).unwrap();
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(words[3..6], ["10.0", "0.5", "0"], "{row}");
        view.take(News::Lost("gone\x1b".to_owned()));
        assert_eq!(view.lines(0)[0], "not reached, what follows is old: gone?");
    }

    #[test]
    fn a_small_window_has_what_matters_most() {
        let mut view = View::default();
        view.take(state(1_000, 100, 0));
        view.take(state(3_000, 120, 1));
        let titles = |view: &View| view.lines(0).into_iter().find(|line| line.contains("ENDPOINT")).unwrap();
        view.size = (80, 24);
        assert_eq!(titles(&view), "  ENDPOINT        STATE    REQ/S  FAIL/S  IN FLIGHT  LATENCY  WEIGHT  SHARE  WHY");
        view.size = (40, 10);
        assert_eq!(titles(&view), "  ENDPOINT        STATE    REQ/S  WHY");
        view.state["pools"][0]["endpoints"][0]["reason"] = "connect: connection refused".into();
        assert_eq!(titles(&view), "  ENDPOINT        STATE    WHY");
        view.size = (80, 24);
        let row = "  10.0.0.11:3000  healthy   10.0     0.5       1  100 %  connect: connection re…";
        assert!(view.lines(0).iter().any(|line| line == row), "{:#?}", view.lines(0));
    }

    #[test]
    fn it_fits_every_window() {
        let mut view = View { paint: Paint::Plain, ..View::default() };
        view.take(state(1_000, 100, 0));
        for size in [(1, 1), (2, 5), (20, 4), (80, 24), (200, 2)] {
            view.size = size;
            let lines = view.lines(0);
            assert!(lines.len() <= size.1, "{size:?}: {lines:#?}");
            assert!(lines.iter().all(|line| line.chars().count() <= size.0), "{size:?}: {lines:#?}");
        }
    }
}
