//! The machinery of an experiment on replicas, in seven parts. Each knows little of the others.
//!
//! | part | does | knows nothing of |
//! |---|---|---|
//! | [`application`] | says how a step becomes a request and what a response means; the experiment brings it along |
//! replicas, faults |
//! | [`scenario`] | makes up journeys from a seed: log in, read, write, log out; every write bears a value of its own |
//! the application |
//! | [`client`] | plays journeys over real connections and writes down what happened | what is right or wrong |
//! | [`fault`] | carries out what happens to the replicas, and writes it down | users |
//! | [`history`], [`recorder`] | the list of what happened | meaning |
//! | [`judge`] | a pure function from a history to findings | processes, sockets |
//! | [`pairs`] | plays journeys in several placements and compares the responses | what the application is |
//!
//! What is judged are the session guarantees of Terry et al., "Session Guarantees for Weakly Consistent Replicated
//! Data" (1994).

pub mod application;
pub mod client;
pub mod fault;
pub mod history;
pub mod judge;
pub mod pairs;
pub mod recorder;
pub mod scenario;
