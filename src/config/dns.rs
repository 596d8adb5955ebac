//! `[dns]` of the file.

use super::key::{Key, keys};
use super::kinds::{List, Time, Word};
use super::limits::ANY_TIME;
use super::model::{Dns, Families};
use super::values;

const FAMILIES: &[(&str, Families)] = &[("both", Families::Both), ("ipv4", Families::Ipv4), ("ipv6", Families::Ipv6)];

/// Every key of `[dns]`.
pub(super) const KEYS: &[Key<Dns>] =
    keys!(Dns { servers: List(values::dns_server), families: Word(FAMILIES), give_up: Time(ANY_TIME) });
