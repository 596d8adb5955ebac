//! What `unstick prove` is made of, and what `unstick demo` shares with it.
//!
//! This crate knows the proxy only as a process with a file: what judges cannot reach into what it judges. Its rooms,
//! of which each imports only those behind it: `prove`, the experiment; `trial`, users, faults and the judge, which
//! know no application; `replica`, processes that respond.

#[cfg(feature = "prove")]
pub mod prove;
pub mod replica;
#[cfg(feature = "trial")]
pub mod trial;
