//! The machinery of an experiment on replicas, in five parts that know nothing of each other's business.
//!
//! | part | does | knows nothing of |
//! |---|---|---|
//! | [`scenario`] | makes up journeys from a seed: log in, read, write, check out, log out; every write bears a value of its own | replicas, faults |
//! | [`client`] | plays journeys over real connections, one cookie per user, and writes down what happened | what is right or wrong |
//! | [`fault`] | plays what befalls the replicas, and writes it down | users |
//! | [`history`] | the list of what happened | meaning |
//! | [`judge`] | a pure function from a history to findings | processes, sockets |
//!
//! What is judged are the session guarantees of Terry et al., "Session Guarantees for Weakly Consistent Replicated Data" (1994).

pub mod client;
pub mod fault;
pub mod history;
pub mod judge;
pub mod scenario;
