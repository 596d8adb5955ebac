//! How a replica feels, as far as the experiment wants it.

/// What the experiment wants the replica to be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mood {
    /// It works.
    Well,
    /// It works, and says that it does not.
    Sick,
    /// It responds to nothing.
    Mute,
    /// It responds 500 to everything.
    Errs,
    /// It cannot reach its store, and says so.
    CutOff,
}
