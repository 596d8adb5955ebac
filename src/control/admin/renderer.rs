//! Long documents, on a thread that gives way to all others.
//!
//! `/metrics` of a thousand endpoints takes milliseconds to make. Where workers use every core, the scheduler would let
//! one of them wait behind that, and with it all of its requests. So a thread of its own makes it, under Linux's policy
//! `SCHED_IDLE`: whatever else wants the core gets it at once (`man 7 sched`). On a machine without a core to spare it
//! may take for ever, so after [`PATIENCE`] the control thread makes the document itself.
//!
//! Each document is made once for all who have asked for it before that began. However many ask, and however fast, they
//! wait for one of each kind at a time.

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use bytes::Bytes;
use thread_priority::unix::{NormalThreadSchedulePolicy, ThreadSchedulePolicy};
use thread_priority::{ThreadPriority, set_thread_priority_and_policy, thread_native_id};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use super::turns::give_way;

/// How long a document may take before the control thread makes it.
const PATIENCE: Duration = Duration::from_millis(500);

/// What is made here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Status,
    OpenMetrics,
    Metrics,
}

const KINDS: usize = 3;

/// A document, or why there is none.
pub(super) type Made = Result<Bytes, String>;

type Job = Box<dyn FnOnce() + Send>;

/// Makes documents; see the module.
///
/// What makes them must take no lock: the thread may be stopped while it holds it.
#[derive(Debug)]
pub(super) struct Renderer {
    /// `None`: the thread could not be started.
    jobs: Option<SyncSender<Job>>,
    shelves: [Shelf; KINDS],
    /// For documents that the control thread makes: between two of them it looks at its sockets.
    here: Semaphore,
}

/// The documents of one kind.
#[derive(Debug)]
struct Shelf {
    /// How many were begun.
    begun: Cell<u64>,
    /// How many ask for one now.
    asking: Cell<usize>,
    /// The number of the latest and the document, while somebody asks.
    latest: RefCell<Option<(u64, Made)>>,
    turn: Semaphore,
}

impl Default for Shelf {
    fn default() -> Self {
        Self { begun: Cell::default(), asking: Cell::default(), latest: RefCell::default(), turn: Semaphore::new(1) }
    }
}

/// One who asks, until dropped.
struct Asking<'s>(&'s Shelf);

impl<'s> Asking<'s> {
    fn begin(shelf: &'s Shelf) -> Self {
        shelf.asking.update(|asking| asking + 1);
        Self(shelf)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.asking.update(|asking| asking - 1);
        if self.0.asking.get() == 0 {
            self.0.latest.take();
        }
    }
}

impl Renderer {
    /// Starts the thread. It ends with this value.
    pub(super) fn start() -> Self {
        let (jobs, received) = sync_channel(KINDS);
        let started = std::thread::Builder::new().name("unstick-render".into()).spawn(move || work(&received));
        let started = started.inspect_err(|error| tracing::warn!(%error, "no thread for long documents"));
        Self { jobs: started.ok().map(|_| jobs), shelves: Default::default(), here: Semaphore::new(1) }
    }

    /// A document of which nothing is older than this call. `gather` returns what makes it.
    pub(super) async fn render<M>(&self, kind: Kind, gather: impl FnOnce() -> M) -> Made
    where
        M: Fn() -> Made + Send + Sync + 'static,
    {
        let shelf = &self.shelves[kind as usize];
        let _asking = Asking::begin(shelf);
        let asked = shelf.begun.get();
        // It is never closed.
        let _turn = shelf.turn.acquire().await;
        if let Some((_, made)) = shelf.latest.borrow().as_ref().filter(|(number, _)| *number > asked) {
            // All others who wait for it get it next.
            give_way();
            return made.clone();
        }
        let number = shelf.begun.get() + 1;
        shelf.begun.set(number);
        let made = self.make(gather()).await;
        *shelf.latest.borrow_mut() = Some((number, made.clone()));
        made
    }

    async fn make<M: Fn() -> Made + Send + Sync + 'static>(&self, make: M) -> Made {
        let Some(jobs) = &self.jobs else { return make() };
        let make = Arc::new(make);
        let (done, made) = oneshot::channel();
        let job = Box::new({
            let make = Arc::clone(&make);
            move || {
                if !done.is_closed() {
                    // Nobody may be waiting any more.
                    done.send(make()).ok();
                }
            }
        });
        match jobs.try_send(job) {
            Ok(()) => {
                if let Ok(Ok(made)) = timeout(PATIENCE, made).await {
                    return made;
                }
            }
            // The thread gets no time at all.
            Err(TrySendError::Full(_)) => sleep(PATIENCE).await,
            Err(TrySendError::Disconnected(_)) => {}
        }
        // It is never closed.
        let _here = self.here.acquire().await;
        yield_now().await;
        make()
    }
}

fn work(jobs: &Receiver<Job>) {
    lower_priority().inspect_err(|error| tracing::debug!(%error, "long documents are made like everything else")).ok();
    while let Ok(job) = jobs.recv() {
        job();
    }
}

fn lower_priority() -> io::Result<()> {
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let set = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy);
    set.map_err(|error| io::Error::other(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    use std::thread;

    use tokio::time::Instant;

    use super::*;

    /// The name of this thread, and the policy under which it is scheduled (`man 5 proc_pid_stat`, field 41).
    fn thread_here() -> Made {
        let stat = fs::read_to_string("/proc/thread-self/stat").unwrap();
        // The fields are counted from 1, and the name of the thread, the second, may have spaces.
        let policy = stat.rsplit_once(") ").unwrap().1.split(' ').nth(41 - 3).unwrap();
        Ok(format!("{} {policy}", thread::current().name().unwrap_or_default()).into())
    }

    fn id_here() -> Made {
        Ok(format!("{:?}", thread::current().id()).into())
    }

    #[tokio::test]
    async fn a_document_is_made_by_a_thread_that_gives_way() {
        let renderer = Renderer::start();
        for kind in [Kind::Status, Kind::Metrics, Kind::OpenMetrics, Kind::Metrics] {
            // SCHED_IDLE is 5.
            assert_eq!(renderer.render(kind, || thread_here).await.unwrap(), "unstick-render 5");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_document_that_the_thread_has_no_time_for_is_made_here() {
        let renderer = Renderer::start();
        let ((free, stuck), (begins, begun)) = (sync_channel::<()>(0), sync_channel(1));
        let job = Box::new(move || {
            begins.send(()).unwrap();
            stuck.recv().ok();
        });
        assert!(renderer.jobs.as_ref().unwrap().try_send(job).is_ok());
        begun.recv().unwrap();
        // The first of these wait for the thread, and behind them nothing does. Each waits as long.
        for _ in 0..KINDS + 2 {
            let began = Instant::now();
            assert_eq!(renderer.render(Kind::Metrics, || id_here).await, id_here());
            assert!(began.elapsed() >= PATIENCE);
        }
        drop(free);
    }

    #[tokio::test]
    async fn a_document_is_made_once_for_all_who_have_asked_before() {
        let renderer = Renderer { jobs: None, shelves: Default::default(), here: Semaphore::new(1) };
        let gathered = Arc::new(AtomicU32::new(0));
        let ask = |kind| {
            let gathered = Arc::clone(&gathered);
            renderer.render(kind, move || {
                let number = gathered.fetch_add(1, Relaxed);
                move || Ok(number.to_string().into())
            })
        };
        // Somebody is having one made; three ask meanwhile.
        let turn = renderer.shelves[Kind::Metrics as usize].turn.acquire().await.unwrap();
        let all = async { tokio::join!(ask(Kind::Metrics), ask(Kind::Metrics), ask(Kind::Metrics)) };
        let (all, ()) = tokio::join!(all, async { drop(turn) });
        assert_eq!(all, (Ok("0".into()), Ok("0".into()), Ok("0".into())));
        // Nothing is kept for those who come later, and kinds have nothing to do with each other.
        assert!(renderer.shelves.iter().all(|shelf| shelf.latest.borrow().is_none()));
        assert_eq!(ask(Kind::Metrics).await, Ok("1".into()));
        assert_eq!(ask(Kind::Status).await, Ok("2".into()));
    }

    #[tokio::test]
    async fn who_asks_while_a_document_is_made_gets_a_later_one() {
        let renderer = Renderer { jobs: None, shelves: Default::default(), here: Semaphore::new(1) };
        let shelf = &renderer.shelves[Kind::Status as usize];
        // Another has asked, so what is made stays.
        let _asking = Asking::begin(shelf);
        let turn = shelf.turn.acquire().await.unwrap();
        shelf.begun.set(1);
        let (late, ()) = tokio::join!(renderer.render(Kind::Status, || || Ok("late".into())), async {
            *shelf.latest.borrow_mut() = Some((1, Ok("early".into())));
            drop(turn);
        });
        assert_eq!(late, Ok("late".into()));
    }
}
