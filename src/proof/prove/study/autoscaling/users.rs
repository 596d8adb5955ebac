//! Users with sessions: some are active, the others are quiet and come back in the end.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::PAUSE;
use crate::prove::sabotage::{Planted, Sabotage};
use crate::prove::study::basket::{Ask, Session, Told};
use crate::prove::study::caller::Caller;

/// How often a quiet user looks whether it should be active.
const LOOK: Duration = Duration::from_millis(50);

/// What all users of a place share.
pub(super) struct Crowd {
    pub(super) front: SocketAddr,
    pub(super) began: Instant,
    /// Users with a smaller number are active.
    pub(super) active: Cell<u32>,
    pub(super) is_over: Cell<bool>,
    /// The replicas from which a user chooses one to keep to; `None`: users keep to none.
    pub(super) open: RefCell<Option<Vec<String>>>,
    pub(super) log: RefCell<Log>,
    pub(super) planted: Planted,
}

/// What has happened.
#[derive(Debug, Default, Clone)]
pub(super) struct Log {
    pub(super) requests: Vec<Asked>,
    pub(super) sessions: Vec<Life>,
}

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) session: usize,
    pub(super) sent: Duration,
    pub(super) ended: Duration,
    pub(super) replica: Option<String>,
    pub(super) told: Told,
    /// Whether the user came back when all was over.
    pub(super) is_return: bool,
}

/// One session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) begun: Duration,
    /// The replica at which it began, if users keep to one.
    pub(super) replica: Option<String>,
    pub(super) is_lost: bool,
    /// Whether it was asked for when all was over, or was found to be lost before.
    pub(super) is_known: bool,
}

/// Plays one user.
pub(super) async fn play(crowd: Rc<Crowd>, number: u32) {
    let (caller, session) = (Caller::to(crowd.front), Session::default());
    let mut user = User { caller, crowd, session, at: None, replica: None, values: 0 };
    while !user.crowd.is_over.get() {
        if number >= user.crowd.active.get() {
            sleep(LOOK).await;
            continue;
        }
        sleep(PAUSE.mul_f64(-fastrand::f64().max(f64::MIN_POSITIVE).ln()).min(8 * PAUSE)).await;
        user.step().await;
    }
    // Everybody comes back.
    if let Some(session) = user.at {
        user.ask(session, Ask::Return).await;
        user.crowd.log.borrow_mut().sessions[session].is_known = true;
    }
}

struct User {
    crowd: Rc<Crowd>,
    caller: Caller,
    session: Session,
    /// The number of the session, if there is one.
    at: Option<usize>,
    /// The replica that the user keeps to.
    replica: Option<String>,
    values: u64,
}

impl User {
    /// One thing that an active user does.
    async fn step(&mut self) {
        let Some(session) = self.at else { return self.begin().await };
        self.values += 1;
        let ask = if self.values.is_multiple_of(2) { Ask::Read } else { Ask::Put(self.values) };
        self.ask(session, ask).await;
    }

    /// Logs in, at a replica that is drawn if users keep to one.
    async fn begin(&mut self) {
        self.replica = self.draw();
        let begun = self.crowd.began.elapsed();
        let number = {
            let sessions = &mut self.crowd.log.borrow_mut().sessions;
            sessions.push(Life { begun, replica: self.replica.clone(), is_lost: false, is_known: false });
            sessions.len() - 1
        };
        self.session = Session::default();
        if self.ask(number, Ask::Login).await == Told::Kept {
            self.at = Some(number);
        } else {
            // There never was a session.
            self.crowd.log.borrow_mut().sessions[number].replica = None;
        }
    }

    /// Asks, and if the replica is gone that the user keeps to, another one.
    async fn ask(&mut self, session: usize, ask: Ask) -> Told {
        if ask != Ask::Login && self.crowd.planted.is(Sabotage::CookieForgotten) {
            self.replica = self.draw();
        }
        let mut told = self.ask_once(session, ask).await;
        if told == Told::NoSuchReplica {
            self.replica = self.draw();
            told = self.ask_once(session, ask).await;
        }
        if ask != Ask::Login && matches!(told, Told::Lost | Told::Changed) {
            let life = &mut self.crowd.log.borrow_mut().sessions[session];
            (life.is_lost, life.is_known) = (true, true);
            self.at = None;
        }
        told
    }

    async fn ask_once(&mut self, session: usize, ask: Ask) -> Told {
        let sent = self.crowd.began.elapsed();
        let (told, replica) = self.session.ask(&mut self.caller, self.replica.as_deref(), ask).await;
        let ended = self.crowd.began.elapsed();
        let is_return = ask == Ask::Return;
        let asked = Asked { session, sent, ended, replica, told: told.clone(), is_return };
        self.crowd.log.borrow_mut().requests.push(asked);
        told
    }

    /// A replica to keep to, if users keep to any.
    fn draw(&self) -> Option<String> {
        fastrand::choice(self.crowd.open.borrow().as_ref()?).cloned()
    }
}
