//! Ways to break what is measured. They show that the experiment notices.
//!
//! Each [`Sabotage`] breaks one thing: the proxy, a replica, a store, the client or the judge. `list/` says which
//! predictions must not hold then. The harness plants it: in the proxy's file, in a relay in front of the proxy, or in
//! a replica's own code. All of it is behind the cargo feature `sabotage`; without it nothing can be planted, and the
//! compiler drops what asks for it.

#[cfg(feature = "sabotage")]
pub mod list;
#[cfg(feature = "sabotage")]
mod part;
#[cfg(feature = "sabotage")]
mod planting;
#[cfg(feature = "sabotage")]
mod relay;
#[cfg(feature = "sabotage")]
pub(super) mod spoilt;
#[cfg(not(feature = "sabotage"))]
mod unplanted;

use std::time::Duration;

#[cfg(feature = "sabotage")]
pub(super) use planting::Relays;
#[cfg(not(feature = "sabotage"))]
pub(super) use unplanted::Relays;

/// One way to break something. See `list/` for what each does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the list has them in words")]
pub enum Sabotage {
    PostsTwice,
    BarePostsRepeated,
    KeyRemoved,
    DrainIgnored,
    RemovedKept,
    OldConfig,
    AddressSticks,
    CookieSticks,
    LastUnused,
    OneStarved,
    Skewed,
    SomeRefused,
    BodiesCut,
    Stalls,
    WorldStops,
    HealthOff,
    DeadReplica,
    ResponsesSwapped,
    HangsUp,
    SlowAfterEdit,
    NewcomersStarved,
    NeverBack,
    NobodyWatched,
    BalanceIgnored,
    StatusIgnored,
    GetsRepeated,
    RetryStorm,
    PathSwapped,
    FieldDropped,
    BodyRepeated,
    CookieOfAnother,
    ConnectionsClosed,
    StaleAfterKill,
    ProxyCache,
    AllSlow,
    OneSlow,
    SomeStick,
    WeightsForgotten,
    CutAtRemoval,
    ProbeStorm,
    MiscountsAfterKill,
    HealthOfOne,
    ClockHour,
    AckedEarly,
    LogoutLocal,
    Forget,
    Stale,
    Double,
    FieldInMemory,
    KeysInMemory,
    LogoutIgnored,
    ClockStrict,
    Reordered,
    Flickers,
    BookReordered,
    Cache,
    WriteBehind,
    VisitsInMemory,
    LostUpdates,
    LostWrites,
    StoreEmpty,
    StoreAway,
    RefusesKnown,
    SharedMemory,
    BlindClient,
    ForgetfulClient,
    DeafLedger,
    BlindJudge,
    HalfJudge,
    BlindPairs,
    HarnessPanics,
    LimitRaces,
    LimitInMemory,
    LimitShared,
    ReadsRemembered,
    CacheForever,
    CachePersonal,
    CacheOff,
    KeyForgotten,
    KeyShared,
    UploadOnDisk,
    PartLost,
    RangeIgnored,
    UploadInMemory,
    DiskShared,
    CompletesEarly,
    PartForgotten,
    AbortIgnored,
    LimitDoubled,
    PartErrs,
    ResumesFromNow,
    PublishedOnly,
    KeptLater,
    SaidAgain,
    IdsSwapped,
    SaysBackwards,
    RoomsShared,
    AckedBeforeWork,
    NeverTakenOver,
    SentAgain,
    SentSeparately,
    OrderedAgain,
    OrdersInMemory,
    ReportOfAnother,
    OrdersShared,
    OrdersRefused,
    QueueUnlocked,
    DeletedBeforeWork,
    LeaseEndless,
    RingIsMod,
    PoorHash,
    CookieForgotten,
    KeysIgnored,
    KeysRefused,
    KeysForAll,
    NobodyGivesUp,
    ScalesByKill,
    ScalesHalfway,
    NeverScalesIn,
    DenylistLocal,
    DenylistCached,
    KeyUnannounced,
    KeyWithoutOverlap,
    PostgresLeaks,
    PostgresUnlogged,
    StandbyEmpty,
    LinkOpen,
    WaitForgotten,
    CasIgnored,
    MemoryPlenty,
    CacheSurvives,
    CookieUnbounded,
}

/// How much longer the old config is used under [`Sabotage::OldConfig`].
pub(super) const LATE: Duration = Duration::from_millis(1500);

/// How long after one replica the next one learns a key under [`Sabotage::KeyUnannounced`].
pub(super) const BETWEEN_REPLICAS: Duration = Duration::from_millis(200);

/// What is planted in a run, if anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Planted(Option<Sabotage>);

impl Planted {
    /// Nothing.
    pub const NOTHING: Self = Self(None);

    /// Whether this is planted. Without the feature `sabotage` nothing ever is.
    pub fn is(self, sabotage: Sabotage) -> bool {
        cfg!(feature = "sabotage") && self.0 == Some(sabotage)
    }

    /// Whether it sends requests to a replica by its name.
    pub(super) fn needs_single_pools(self) -> bool {
        [Sabotage::AddressSticks, Sabotage::CookieSticks, Sabotage::SomeStick].into_iter().any(|one| self.is(one))
    }
}
