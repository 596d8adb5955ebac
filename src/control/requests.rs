//! The requests of which it is known what became of them, for whoever asks.
//!
//! Workers send what is worth telling through a bounded queue. The control thread empties it several times a second and
//! keeps the latest of each kind. Each kind has a ring of its own, so that many of one push out none of another.

use std::collections::VecDeque;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use super::status::Status;
use crate::config::Secrets;
use crate::config::model::Explain;
use crate::proxy::story::{Kinds, Story};

/// How often the queue is emptied.
const TICK: Duration = Duration::from_millis(250);
/// How often it is looked whether something is to be kept, while nothing is.
const TICK_OFF: Duration = Duration::from_secs(2);
/// How many are taken out of the queue at one time.
const GATHERED_MAX: usize = 4096;
/// The most bytes that the stories of one kind take.
const BYTES_MAX: usize = 2 << 20;

/// The kinds of requests. Of several reasons to tell of a request the first one counts.
pub(crate) const KINDS: [&str; 4] = ["failed", "retried", "slow", "sampled"];

/// Whether a request is of the kind with this number.
pub(crate) fn is_of(kinds: Kinds, kind: usize) -> bool {
    let Kinds { failed, retried, slow, sampled } = kinds;
    [failed, retried, slow, sampled].get(kind).is_some_and(|is| *is)
}

/// What is kept; see the module. Only the control thread locks it.
#[derive(Debug)]
pub(crate) struct Requests(Mutex<Book>);

#[derive(Debug)]
struct Book {
    arriving: Receiver<Arc<Story>>,
    /// One for each of [`KINDS`].
    rings: [Ring; KINDS.len()],
    /// How many stories have arrived so far.
    arrived: u64,
}

/// The latest stories of one kind, the oldest first, each with its number.
#[derive(Debug, Default)]
struct Ring {
    stories: VecDeque<(u64, Arc<Story>)>,
    bytes: usize,
}

impl Ring {
    fn add(&mut self, number: u64, story: Arc<Story>) {
        self.bytes += story.size();
        self.stories.push_back((number, story));
    }

    /// Forgets the oldest ones until there are at most `most`, of at most [`BYTES_MAX`].
    fn trim(&mut self, most: usize) {
        while (self.stories.len() > most || self.bytes > BYTES_MAX)
            && let Some((_, oldest)) = self.stories.pop_front()
        {
            self.bytes = self.bytes.saturating_sub(oldest.size());
        }
    }
}

impl Requests {
    /// Nothing is kept yet; stories will come out of `arriving`.
    pub(crate) fn new(arriving: Receiver<Arc<Story>>) -> Self {
        Self(Mutex::new(Book { arriving, rings: Default::default(), arrived: 0 }))
    }

    /// Takes what waits in the queue, hides `secrets` in it, and forgets what is too much.
    pub(crate) fn gather(&self, explain: &Explain, secrets: &Secrets) {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Book { arriving, rings, arrived } = &mut *book;
        for mut story in arriving.try_iter().take(GATHERED_MAX) {
            if !secrets.is_empty() {
                // A traced one is shared with whoever makes spans of it.
                Arc::make_mut(&mut story).hide(secrets);
            }
            *arrived += 1;
            if let Some(ring) = (0..).zip(&mut *rings).find(|(kind, _)| is_of(story.kinds, *kind)) {
                ring.1.add(*arrived, story);
                ring.1.trim(explain.keep);
            }
        }
        rings.iter_mut().for_each(|ring| ring.trim(explain.keep));
    }

    /// At most `limit` stories of this kind, or of any, the latest first.
    pub(crate) fn latest(&self, kind: Option<usize>, limit: usize) -> Vec<Arc<Story>> {
        let book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = book.rings.iter().flat_map(|ring| &ring.stories);
        let mut found: Vec<_> = all.filter(|(_, story)| kind.is_none_or(|kind| is_of(story.kinds, kind))).collect();
        found.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
        found.into_iter().take(limit).map(|(_, story)| Arc::clone(story)).collect()
    }

    /// The latest request with this identifier.
    pub(crate) fn find(&self, id: &str) -> Option<Arc<Story>> {
        let book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = book.rings.iter().flat_map(|ring| &ring.stories);
        all.filter(|(_, story)| *story.id == *id).max_by_key(|(number, _)| *number).map(|(_, story)| Arc::clone(story))
    }

    /// The number of the latest story in the ring of each of [`KINDS`], 0 without any: it changes when there is news.
    pub(crate) fn newest(&self) -> [u64; KINDS.len()] {
        let book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        book.rings.each_ref().map(|ring| ring.stories.back().map_or(0, |(number, _)| *number))
    }

    /// How many are in the ring of each of [`KINDS`].
    pub(crate) fn counts(&self) -> [usize; KINDS.len()] {
        let book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        book.rings.each_ref().map(|ring| ring.stories.len())
    }
}

impl Status {
    /// Takes the stories that wait in the queue.
    pub(crate) fn gather_requests(&self) {
        let explain = self.shared.load().explain;
        self.requests.gather(&explain, &self.state().secrets);
    }
}

/// Empties the queue again and again. It does not end.
pub(super) async fn keep_gathering(status: Arc<Status>) {
    loop {
        status.gather_requests();
        let is_off = status.shared.load().explain.keep == 0;
        sleep(if is_off { TICK_OFF } else { TICK }).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::proxy::story::test_story;

    const EXPLAIN: Explain = Explain { slow: Duration::from_secs(1), keep: 100, sample: 64 };
    const FAILED: Kinds = Kinds { failed: true, retried: true, slow: false, sampled: false };
    const SAMPLED: Kinds = Kinds { failed: false, retried: false, slow: false, sampled: true };

    /// Requests, and the end of the queue to them.
    fn requests() -> (Requests, std::sync::mpsc::SyncSender<Arc<Story>>) {
        let (sender, receiver) = sync_channel(1024);
        (Requests::new(receiver), sender)
    }

    #[test]
    fn many_of_one_kind_push_out_none_of_another_and_memory_is_bounded() {
        let (requests, sender) = requests();
        let secrets = Secrets::default();
        for nth in 0..100_000u32 {
            let kinds = if nth % 50_000 == 7 { FAILED } else { SAMPLED };
            sender.try_send(Arc::new(test_story(kinds, &nth.to_string(), "/"))).unwrap();
            if nth % 1000 == 999 {
                requests.gather(&EXPLAIN, &secrets);
            }
        }
        assert_eq!(requests.counts(), [2, 0, 0, 100]);
        assert_eq!(requests.newest(), [50_008, 0, 0, 100_000]);
        let ids = |kind: Option<usize>, limit| -> Vec<String> {
            requests.latest(kind, limit).iter().map(|story| story.id.to_string()).collect()
        };
        assert_eq!(ids(Some(0), 5), ["50007", "7"]);
        assert_eq!(ids(Some(1), 5), ["50007", "7"], "they were retried too");
        assert_eq!(ids(None, 3), ["99999", "99998", "99997"]);
        assert!(requests.find("99900").is_some() && requests.find("99899").is_none());
        requests.gather(&Explain { keep: 1, ..EXPLAIN }, &secrets);
        assert_eq!(requests.counts(), [1, 0, 0, 1], "an edit holds at once");
    }

    #[test]
    fn large_ones_are_fewer() {
        let (requests, sender) = requests();
        let explain = Explain { keep: 100_000, ..EXPLAIN };
        let size = test_story(FAILED, "00", &"x".repeat(200_000)).size();
        for nth in 0..40u32 {
            sender.try_send(Arc::new(test_story(FAILED, &format!("{nth:02}"), &"x".repeat(200_000)))).unwrap();
            requests.gather(&explain, &Secrets::default());
        }
        assert_eq!(requests.counts()[0], BYTES_MAX / size);
        assert_eq!(requests.0.lock().unwrap().rings[0].bytes, BYTES_MAX / size * size);
        let method = Story { method: "M".repeat(200_000).into(), ..test_story(FAILED, "00", "") };
        assert!(method.size() > 200_000, "every text counts");
    }

    #[test]
    fn what_does_not_fit_into_the_queue_is_refused_at_once() {
        let (requests, sender) = requests();
        let sent = (0..2000).filter(|_| sender.try_send(Arc::new(test_story(FAILED, "a", "/"))).is_ok()).count();
        assert_eq!(sent, 1024);
        requests.gather(&EXPLAIN, &Secrets::default());
        assert!(sender.try_send(Arc::new(test_story(FAILED, "a", "/"))).is_ok(), "there is room again");
    }
}
