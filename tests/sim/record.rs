//! What became of every request: what the client saw, and what replicas did.

use std::cell::RefCell;
use std::rc::Rc;

use super::net::Network;
use super::scenario::{Ms, RequestPlan};

/// All requests of a run, by number.
pub(crate) type Records = Rc<RefCell<Vec<Record>>>;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) plan: RequestPlan,
    pub(crate) client: usize,
    /// The kernel took its first byte, and its last.
    pub(crate) begun: Option<Ms>,
    pub(crate) sent: Option<Ms>,
    pub(crate) executions: Vec<Execution>,
    pub(crate) seen: Seen,
    /// The status and cause of the response head.
    pub(crate) status: u16,
    /// The cause, if the response is one of the proxy.
    pub(crate) cause: Option<String>,
    /// Bytes of the response body that the client has.
    pub(crate) received: usize,
    /// When bytes of its response came last.
    pub(crate) touched: Ms,
    /// Which execution the response is of.
    pub(crate) attempt: Option<usize>,
    /// When its response ended, one way or the other.
    pub(crate) ended: Option<Ms>,
    /// The client gave it up itself.
    pub(crate) abandoned: bool,
    /// The proxy said that it was not begun: GOAWAY, or REFUSED_STREAM.
    pub(crate) was_disowned: bool,
    /// Its response said that the connection ends.
    pub(crate) said_close: bool,
    /// Its response came with trailers.
    pub(crate) has_trailers: bool,
    /// It was told to continue.
    pub(crate) is_told: bool,
    /// The early hints that the client has seen: of which execution, and which of them.
    pub(crate) hints: Vec<(usize, usize)>,
    /// The pause between the end of the response before it and its own beginning, if it was alone, or the proxy had
    /// ended the connection.
    pub(crate) idled: Option<Ms>,
}

/// What the client has seen of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Seen {
    Nothing,
    Head,
    Whole,
}

/// A request that reached a replica.
#[derive(Debug, Clone)]
pub(crate) struct Execution {
    pub(crate) replica: usize,
    pub(crate) wire: usize,
    pub(crate) began: Ms,
    /// Bytes of the request body that came.
    pub(crate) body: usize,
    /// When the latest of them came.
    pub(crate) touched: Ms,
    pub(crate) is_whole: bool,
    /// The tunnel ended in order.
    pub(crate) tunnel_ended: bool,
    /// When the replica saw the end of its tunnel, in order or not.
    pub(crate) tunnel_over: Option<Ms>,
    /// Whether the replica said that it did not begin it.
    pub(crate) was_refused: bool,
    /// When its last byte was handed to the kernel.
    pub(crate) answered: Option<Ms>,
    /// Whether the replica, or the network, broke it off.
    pub(crate) was_broken: bool,
}

impl Record {
    pub(crate) fn new(plan: RequestPlan, client: usize) -> Self {
        Self {
            plan,
            client,
            begun: None,
            sent: None,
            executions: Vec::new(),
            seen: Seen::Nothing,
            status: 0,
            cause: None,
            received: 0,
            touched: 0,
            attempt: None,
            ended: None,
            abandoned: false,
            was_disowned: false,
            said_close: false,
            has_trailers: false,
            is_told: false,
            hints: Vec::new(),
            idled: None,
        }
    }

    /// The client has seen a 103 that bears the numbers of its request, its execution and itself.
    pub(crate) fn hinted(&mut self, number: usize, net: &Network, hint: Option<&str>) {
        let words: Vec<usize> = hint.unwrap_or_default().split('.').filter_map(|word| word.parse().ok()).collect();
        let &[request, execution, count] = &words[..] else {
            return net.violated("another early hint", format!("request {number} got {hint:?}"));
        };
        if request != number || self.seen != Seen::Nothing {
            net.violated("another early hint", format!("request {number} got {hint:?} when it had {:?}", self.seen));
        }
        if self.hints.last().is_some_and(|last| *last >= (execution, count)) {
            net.violated("an early hint came twice", format!("request {number}: {words:?} after {:?}", self.hints));
        }
        self.hints.push((execution, count));
    }
}

/// The fields of a 103 that a replica sends, which [`Record::hinted`] reads.
pub(crate) fn hint(request: usize, execution: usize, number: u8) -> [(&'static str, String); 2] {
    [("link", format!("</{number}.css>; rel=preload")), ("x-hint", format!("{request}.{execution}.{number}"))]
}

impl Execution {
    pub(crate) fn new(replica: usize, wire: usize, began: Ms) -> Self {
        Self {
            replica,
            wire,
            began,
            body: 0,
            touched: began,
            is_whole: false,
            tunnel_ended: false,
            tunnel_over: None,
            was_refused: false,
            answered: None,
            was_broken: false,
        }
    }
}
