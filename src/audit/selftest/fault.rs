//! The list of faults, with the journey that shows each and the cause that must be found.

use crate::report::Cause;

/// One way to need the replica of an earlier step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Sessions lie in memory.
    MemorySession,
    /// The token of a form is signed with a key of the process.
    CsrfSecret,
    /// The state of a login by OAuth lies in memory.
    OauthState,
    /// Bearer tokens are signed with a key of the process.
    SigningKey,
    /// Uploads lie on the disk of the replica.
    Upload,
    /// Requests are counted in memory.
    RateLimiter,
    /// Writes of other replicas are seen after two seconds.
    LaggingCache,
    /// The draft of a form of several pages lies in memory.
    WizardDraft,
    /// A message reaches the members of a room that are connected to the same process.
    WebsocketRoom,
    /// A session of long-polling lies in memory.
    LongPoll,
    /// A job and its result lie in memory.
    JobQueue,
    /// Settings are read once, when the process starts.
    StaleCopy,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::MemorySession,
        Self::CsrfSecret,
        Self::OauthState,
        Self::SigningKey,
        Self::Upload,
        Self::RateLimiter,
        Self::LaggingCache,
        Self::WizardDraft,
        Self::WebsocketRoom,
        Self::LongPoll,
        Self::JobQueue,
        Self::StaleCopy,
    ];

    /// Its name, in reports and on a command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MemorySession => "memory-session",
            Self::CsrfSecret => "csrf-secret",
            Self::OauthState => "oauth-state",
            Self::SigningKey => "signing-key",
            Self::Upload => "upload",
            Self::RateLimiter => "rate-limiter",
            Self::LaggingCache => "lagging-cache",
            Self::WizardDraft => "wizard-draft",
            Self::WebsocketRoom => "websocket-room",
            Self::LongPoll => "long-poll",
            Self::JobQueue => "job-queue",
            Self::StaleCopy => "stale-copy",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.name() == name)
    }

    /// The journey that shows it, as TOML.
    #[must_use]
    pub fn journey(self) -> &'static str {
        match self {
            Self::MemorySession => include_str!("journeys/memory_session.toml"),
            Self::CsrfSecret => include_str!("journeys/csrf_secret.toml"),
            Self::OauthState => include_str!("journeys/oauth_state.toml"),
            Self::SigningKey => include_str!("journeys/signing_key.toml"),
            Self::Upload => include_str!("journeys/upload.toml"),
            Self::RateLimiter => include_str!("journeys/rate_limiter.toml"),
            Self::LaggingCache => include_str!("journeys/lagging_cache.toml"),
            Self::WizardDraft => include_str!("journeys/wizard_draft.toml"),
            Self::WebsocketRoom => include_str!("journeys/websocket_room.toml"),
            Self::LongPoll => include_str!("journeys/long_poll.toml"),
            Self::JobQueue => include_str!("journeys/job_queue.toml"),
            Self::StaleCopy => include_str!("journeys/stale_copy.toml"),
        }
    }

    /// The class of cause that an audit must find.
    #[must_use]
    pub fn cause(self) -> Cause {
        match self {
            Self::MemorySession | Self::OauthState | Self::WizardDraft | Self::JobQueue => Cause::Memory,
            Self::CsrfSecret | Self::SigningKey => Cause::KeyPerProcess,
            Self::Upload => Cause::LocalDisk,
            Self::RateLimiter => Cause::LocalCounter,
            Self::LaggingCache | Self::StaleCopy => Cause::StaleCopy,
            Self::WebsocketRoom | Self::LongPoll => Cause::ProtocolSession,
        }
    }
}
