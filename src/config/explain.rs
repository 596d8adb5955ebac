//! `[explain]` of the file.

use super::key::{Key, keys};
use super::kinds::{Number, Time};
use super::limits::SOME_TIME;
use super::model::Explain;

/// Every key of `[explain]`.
pub(super) const KEYS: &[Key<Explain>] =
    keys!(Explain { slow: Time(SOME_TIME), keep: Number(0..=100_000), sample: Number(0..=1_000_000) });
