//! What `unstick audit` is made of: it plays a journey through replicas of any application, its steps placed in many
//! ways, and says which step needs the replica of which other step, and why.
//!
//! The claim, its theory and what it cannot show are in docs/audit.md. Rooms, of which each imports only those before
//! it: [`journey`], what is done; [`replicas`], where; [`outcome`], what comes of it; [`play`], one run of the one on
//! the other; [`placing`] and [`statistics`], pure; [`report`], for people and machines; [`course`], all runs of an
//! audit, one after the other.

pub mod command;
pub mod course;
pub mod journey;
pub mod outcome;
pub mod placing;
pub mod play;
pub mod record;
pub mod replicas;
pub mod report;
pub mod selftest;
pub mod statistics;
pub mod witness;
