//! Header fields that mean something to every proxy.

/// Fields that belong to the connection, or say where the message ends. Nobody sets them but who speaks over it.
pub(crate) const OF_CONNECTION: [&str; 10] = [
    "connection",
    "transfer-encoding",
    "content-length",
    "te",
    "trailer",
    "upgrade",
    "keep-alive",
    "proxy-connection",
    "http2-settings",
    "expect",
];
