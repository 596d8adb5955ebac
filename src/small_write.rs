//! Small messages in one plain write.
//!
//! hyper hands head and body over as two slices. For a system call that takes several, the kernel has to copy and check the
//! list of them first; below a few kilobytes it is cheaper to put them side by side here.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::Write;

/// Up to this many bytes are put side by side.
const SMALL_BYTES_MAX: usize = 1024;

/// As `poll_write_vectored` of `io`.
pub(crate) fn poll_write_vectored(
    io: Pin<&mut impl Write>,
    cx: &mut Context<'_>,
    bufs: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if let [only] = bufs {
        return io.poll_write(cx, only);
    }
    let total: usize = bufs.iter().map(|buf| buf.len()).sum();
    if total > SMALL_BYTES_MAX {
        return io.poll_write_vectored(cx, bufs);
    }
    let mut joined = [0u8; SMALL_BYTES_MAX];
    let mut end = 0;
    for buf in bufs {
        joined[end..end + buf.len()].copy_from_slice(buf);
        end += buf.len();
    }
    io.poll_write(cx, &joined[..end])
}
