//! A scenario: everything that happens in one run but the moments, which the dice of the network draw.
//!
//! It is data, so that it can be shrunk, printed and run again.

use serde::{Deserialize, Serialize};

/// Milliseconds of simulated time.
pub(crate) type Ms = u64;

/// See the module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scenario {
    /// The seed of all dice of the run.
    pub(crate) seed: u64,
    pub(crate) net: Net,
    pub(crate) pool: PoolPlan,
    pub(crate) clients: Vec<ClientPlan>,
    /// What happens to the nth connection to a replica.
    pub(crate) faults: Vec<ReplicaFault>,
    pub(crate) acts: Vec<(Ms, Act)>,
}

/// How the network behaves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Net {
    /// The longest that a segment is on its way.
    pub(crate) delay: Ms,
    /// Whether messages are torn into small segments.
    pub(crate) torn: bool,
    /// Bytes that a socket takes before the other side reads.
    pub(crate) room: usize,
    /// How often a read or write says "not now" for no reason, in thousandths.
    pub(crate) not_now: u64,
    /// How often a successful read or write leaves its task without budget, in thousandths.
    pub(crate) spends_budget: u64,
    /// How many tasks run before the runtime looks at its timers.
    pub(crate) event_interval: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PoolPlan {
    pub(crate) replicas: usize,
    pub(crate) speaks: Speaks,
    pub(crate) max_requests: u32,
    /// When replicas close a connection that is unused; 0 is never.
    pub(crate) idle_close: Ms,
    /// Streams that a replica of HTTP/2 allows on one connection.
    pub(crate) streams: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Speaks {
    H1,
    H2,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClientPlan {
    pub(crate) at: Ms,
    pub(crate) speaks: Speaks,
    /// Requests that may be under way at one time.
    pub(crate) depth: usize,
    pub(crate) reads: Reads,
    pub(crate) ends: Ends,
    /// HTTP/2: the window of each stream.
    pub(crate) window: u32,
    pub(crate) fault: Option<Fault>,
    pub(crate) requests: Vec<RequestPlan>,
}

/// How a client reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reads {
    AtOnce,
    /// A part of this many bytes at a time, then a pause.
    Slowly {
        bytes: usize,
        pause: Ms,
    },
    /// Not at all after this many bytes.
    Until {
        bytes: usize,
    },
}

/// What a client does when its requests are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ends {
    Closes,
    Stays,
    /// Closes its half once everything is sent.
    HalfCloses,
    /// Resets so long after its first byte.
    Resets {
        after: Ms,
    },
}

/// An error of the socket at its nth call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fault {
    pub(crate) call: u32,
    pub(crate) kind: FaultKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FaultKind {
    Reset,
    TimedOut,
    /// Only for connections to replicas: nobody listens.
    Refused,
    /// Only for connections to replicas: no answer at all.
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReplicaFault {
    /// The number of the connection, over all replicas.
    pub(crate) connection: usize,
    pub(crate) fault: Fault,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RequestPlan {
    pub(crate) method: Method,
    pub(crate) keyed: bool,
    /// Bytes of the body.
    pub(crate) body: usize,
    pub(crate) chunked: bool,
    /// The pause before it.
    pub(crate) pause: Ms,
    /// A pause in the middle of the body.
    pub(crate) hesitates: Ms,
    /// HTTP/2: the client resets the stream so long after the request.
    pub(crate) cancels: Option<Ms>,
    /// The client sends the body when it is told to continue, or has its response.
    #[serde(default)]
    pub(crate) expects: bool,
    /// The client takes trailers, and sends some after a body in chunks.
    #[serde(default)]
    pub(crate) trailers: bool,
    /// HTTP/1.1: the client asks for another protocol.
    #[serde(default)]
    pub(crate) tunnel: Option<TunnelPlan>,
    /// What the replica does, attempt by attempt; the last one holds for all others.
    pub(crate) replies: Vec<Reply>,
}

/// What is sent once the replica has agreed to another protocol. Each side closes its half after its last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TunnelPlan {
    /// Bytes of the client, and of the replica.
    pub(crate) up: usize,
    pub(crate) down: usize,
    /// The pause after each part of them.
    pub(crate) up_pause: Ms,
    pub(crate) down_pause: Ms,
    pub(crate) part: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Method {
    Get,
    Head,
    Put,
    Post,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: usize,
    pub(crate) framing: Framing,
    /// Bytes per chunk or DATA frame.
    pub(crate) part: usize,
    pub(crate) delay: Ms,
    /// Whether it comes before the body of the request was read.
    pub(crate) early: bool,
    /// HTTP/1.1: whether it says that the connection ends.
    pub(crate) closes: bool,
    /// Whether trailers follow a body in chunks.
    #[serde(default)]
    pub(crate) trailers: bool,
    /// So many 103 (Early Hints) come before it: as soon as `delay` begins.
    #[serde(default)]
    pub(crate) hints: u8,
    /// Whether a client that asks is told to continue, unless the reply is early.
    #[serde(default)]
    pub(crate) tells: bool,
    pub(crate) fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Framing {
    Length,
    Chunked,
    Close,
}

/// How a reply ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fate {
    Whole,
    /// The connection (HTTP/2: the stream) is reset after this many bytes of the body.
    Cut {
        at: usize,
    },
    /// Nothing more comes after this many bytes of the body.
    Stalls {
        at: usize,
    },
    /// The connection is closed without a reply.
    Closed,
    /// There is no reply.
    Silent,
}

/// What happens to the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Act {
    /// A key of the listener is edited.
    EditListener,
    /// A replica is removed from the pool.
    Remove { replica: usize },
    /// It is added again.
    Add { replica: usize },
    /// The name of the replicas gets other addresses: all but this one.
    Rename { without: usize },
    /// A replica dies: all its connections are reset, and new ones are refused.
    Kill { replica: usize },
    /// It lives again.
    Revive { replica: usize },
    /// SIGTERM.
    Terminate,
    /// SIGINT.
    Interrupt,
}

impl RequestPlan {
    /// Whether doing it twice does no harm.
    pub(crate) fn is_repeatable(&self) -> bool {
        self.keyed || self.method != Method::Post
    }

    /// Whether trailers follow its body.
    pub(crate) fn sends_trailers(&self) -> bool {
        self.trailers && self.chunked && self.body > 0
    }

    /// Whether a replica that makes this reply agrees to the other protocol.
    pub(crate) fn granted(&self, reply: Reply) -> Option<TunnelPlan> {
        self.tunnel.filter(|_| reply.fate == Fate::Whole && reply.status < 400)
    }

    /// Bytes of the body that the client gets.
    pub(crate) fn due(&self, reply: Reply) -> usize {
        if self.method == Method::Head { 0 } else { reply.body }
    }

    /// Whether trailers follow the body of this reply.
    pub(crate) fn gets_trailers(&self, reply: Reply) -> bool {
        reply.trailers && reply.framing == Framing::Chunked && self.due(reply) > 0
    }

    pub(crate) fn reply(&self, attempt: usize) -> Reply {
        self.replies[attempt.min(self.replies.len() - 1)]
    }
}

impl Method {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Put => "PUT",
            Self::Post => "POST",
        }
    }
}
