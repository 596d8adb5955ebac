//! Replicas that are processes of this binary: what `demo` and `prove` put behind the proxy.
//!
//! A replica belongs to the process that started it: it says its port on the first line of its standard output
//! ([`launch`]), and ends when the pipe to its standard input does ([`serve`]). Only its parent holds the other end and
//! never writes to it, so the kernel reports the parent's end however it went, `kill -9` included.

pub mod launch;
pub mod runtime;
pub mod serve;
