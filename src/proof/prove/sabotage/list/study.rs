//! What breaks the places of studies.

use super::{Entry, Subject, entry};
use crate::prove::sabotage::Sabotage;

/// In the order of the documentation.
pub(super) const LIST: [Entry; 16] = [
    entry(
        Subject::Store,
        Sabotage::LimitRaces,
        ["limit-races", "a count is read and written in two steps", "--studies limits"],
        &["requests let through beyond the limit"],
    ),
    entry(
        Subject::Replica,
        Sabotage::LimitInMemory,
        ["limit-in-memory", "one user in ten is counted in the replica's memory", "--studies limits"],
        &["requests let through beyond the limit"],
    ),
    entry(
        Subject::Control,
        Sabotage::LimitShared,
        ["limit-shared", "replicas of the control share their counts", "--studies limits"],
        &[],
    ),
    entry(
        Subject::Replica,
        Sabotage::ReadsRemembered,
        ["reads-remembered", "one read in four comes from the replica's memory, however old it is", "--studies caches"],
        &["reads that do not show the write before"],
    ),
    entry(
        Subject::Replica,
        Sabotage::CacheForever,
        ["cache-forever", "what is cached of the catalogue does not expire", "--studies caches"],
        &["pages of the old catalogue after the lifetime"],
    ),
    entry(
        Subject::Replica,
        Sabotage::CachePersonal,
        ["cache-personal", "the whole page of a product is cached, with the name of its user", "--studies caches"],
        &["wrong pages of the catalogue"],
    ),
    entry(
        Subject::Replica,
        Sabotage::CacheOff,
        ["cache-off", "replicas that should have a cache have none", "--studies caches"],
        &["reads from the cache"],
    ),
    entry(
        Subject::Replica,
        Sabotage::KeyForgotten,
        ["key-forgotten", "a new replica makes a key of its own", "--studies keys"],
        &["good tokens refused"],
    ),
    entry(
        Subject::Control,
        Sabotage::KeyShared,
        ["key-shared", "replicas of the control share their key", "--studies keys"],
        &[],
    ),
    entry(
        Subject::Replica,
        Sabotage::UploadOnDisk,
        ["upload-on-disk", "one upload in ten is kept on the replica's disk", "--studies files"],
        &["reads that do not find the file"],
    ),
    entry(
        Subject::Replica,
        Sabotage::PartLost,
        ["part-lost", "the last part of an upload is not sent to the store", "--studies files"],
        &["large files that differ"],
    ),
    entry(
        Subject::Replica,
        Sabotage::RangeIgnored,
        ["range-ignored", "the whole file is sent where a part was asked for", "--studies files"],
        &["parts of a file that are wrong"],
    ),
    entry(
        Subject::Replica,
        Sabotage::UploadInMemory,
        ["upload-in-memory", "an upload is held in memory until it has come whole", "--studies files"],
        &["MiB of memory more for a large file"],
    ),
    entry(
        Subject::Control,
        Sabotage::DiskShared,
        ["disk-shared", "replicas of the control share a disk", "--studies files"],
        &[],
    ),
    entry(
        Subject::Replica,
        Sabotage::LimitDoubled,
        ["limit-doubled", "every request is counted twice", "--studies limits"],
        &["requests refused below the limit"],
    ),
    entry(
        Subject::Replica,
        Sabotage::PartErrs,
        ["part-errs", "a replica of a study responds 500 to one request in 40", "--studies caches"],
        &["trials with a request that failed"],
    ),
];
