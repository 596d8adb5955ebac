//! The only integration test binary. One binary links once, and its tests share their support code.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

mod access_log; // the access log: its forms, clients, samples, edits
mod activation; // sockets that a service manager has bound
mod admin_socket; // the admin port over a Unix socket, and who must not silence it
mod attempts; // connect failures, unanswered requests, deadlines
#[cfg(feature = "audit")]
mod audit; // `unstick audit`: what it finds, what it does not accuse, and that it ends
#[cfg(feature = "audit")]
mod audit_daemons; // processes of replicas that have left everything end with them
#[cfg(feature = "audit")]
mod audit_replicas; // audits of replicas of all kinds
mod balance; // exact counts over all workers
mod cgroups; // what there is of everything in a control group with limits
mod cli; // exit codes, messages, signals
mod config_files; // config files, good and bad, and what is said of the bad ones
mod control; // what is set at run time over the admin port, by whom, and for how long
mod ctl; // `unstick ctl` beside a running proxy
mod ctl_doors; // whom `unstick ctl` believes, whom it tells its token, and how long it waits
mod dashboard; // the page of the admin port, and the events that it follows
mod demo; // `unstick demo` as a user sees it
mod documents; // that the documents say what the program does
mod drain; // endpoints and listeners that go while answers are on their way
mod early; // responses that come before the request body has come whole
mod ejection; // what failures in live traffic do to an endpoint
mod expect; // bodies that are held back until somebody wants them
mod explain; // what the admin port tells of recent requests
mod explain_kinds; // the same of tunnels, calls, streams, secrets
mod fuzz; // mutated messages from both sides, judged by a strict reader
mod gate; // what is a request: one table for every version
mod grpc; // calls of all kinds, deadlines, errors, health checks
mod h2; // HTTP/2 from clients: translation, flow control, hostile frames
mod h2_backlog; // peers that speak HTTP/2 and do not read
mod h2_bad_heads; // heads over HTTP/2 that no head may look like
mod h2_end_alone; // replicas that end a response with a frame of its own
mod h2_ends; // where a response over HTTP/2 ends, and who waits for whom
mod h2_head_sizes; // what counts against the limit of a head over HTTP/2
mod h2_shared; // what one request over HTTP/2 must not cost the others of its connection
mod h2_upstream; // replicas that speak HTTP/2 or TLS
mod half_closed; // clients that close their half of the connection, and clients that have gone
mod health; // probes, verdicts, the admin port
mod house; // walls between rooms, and that the architecture names what exists
mod http1; // framing, header fields, streaming
mod idle; // client connections without a request while their listener changes or drains
#[cfg(feature = "import")]
mod import; // `unstick import`: what is written where, and with which exit code
mod includes; // a config of several files, and what its strings refer to
mod interim; // what comes before a response: 103 and its like
mod keep_alive; // connections that the replica closes while they are unused
mod metrics; // where the time of a request goes, and what else is counted
mod moments; // faults at every single byte of an exchange
mod mounted; // a config file that is mounted alone
mod names; // backends found by DNS
mod overload; // more requests, connections or descriptors than there is room for
mod packages; // what is packaged: flags, ports and deadlines are those of the program
mod parking; // client connections that wait with nothing but a socket
mod pem_files; // certificates and keys on disk: what is wrong with them, where, and what to do
mod pipelined; // requests that come close behind another one
mod private; // connections that a client has authenticated
mod probe_floods; // replicas that respond to a probe without end
#[cfg(feature = "prove")]
mod prove; // `unstick prove`: that it holds, and that it notices
#[cfg(feature = "prove")]
mod prove_servers; // that its servers end with it, however it ends, and that nobody else can use them
#[cfg(feature = "prove")]
mod prove_stores; // and with servers of the system: what they lose
mod proxy_protocol; // headers that say whose connection it is, taken and sent
mod refusals; // responses in place of the application: named, logged, counted
mod reload; // every way of editing, and what an edit leaves untouched
mod retries; // what is sent again, what never is, and how often
#[cfg(feature = "prove")]
mod review; // what it says to the questions of an architecture review
mod route_actions; // what a route does besides leading to a pool
mod route_answers; // `unstick route` says what the running proxy does
mod routes; // what a route looks at, and what becomes of a request that it fits
mod short_uploads; // uploads that their client ends short, because it got its response
mod sim; // the data path over simulated sockets, with faults at any call
mod stop; // draining, and ending at once
mod strict; // what never crosses the proxy, in either direction
#[cfg(feature = "prove")]
mod studies; // the studies of `unstick prove`
mod supervisor; // what a service manager is told
mod tls; // certificates by name and from disk, tickets, client certificates
mod traces; // traceparent, and what a collector gets
mod trailers; // trailers in every combination of versions
mod trust; // certificates of replicas and clients that are trusted themselves
mod unix; // Unix sockets as listeners and backends
mod upgrade; // a new process takes over, under load; and one that fails does not
mod upload_ends; // how a client connection and its upload end, one behind the other
mod upload_tails; // the last part of an upload behind the end of its response
mod uploads; // request bodies in pieces, early responses, trailers
mod websocket; // tunnels: both versions, reloads, draining, limits
