//! Interim responses of an endpoint on their way to the client (RFC 9110 section 15.2): 103 (Early Hints) and what else
//! may come. 100 is not among them, since the proxy asks for request bodies by itself; nor is 101.
//!
//! They wait here until the connection of the client takes them up, within the same turn. The final response is never
//! behind one.

use http::{Response, StatusCode, Version};

use super::client::Client;
use super::headers;

/// The most of them that are passed on for one request, over all its attempts. Real servers send fewer, and so no more
/// can wait.
const PASSED_MAX: u32 = 16;

impl Client {
    /// A request of this version has begun. An HTTP/1.0 client knows no interim responses.
    #[inline]
    pub(super) fn begin_interims(&self, version: Version) {
        let takes_any = version >= Version::HTTP_11;
        self.interims_left.set(if takes_any { PASSED_MAX } else { 0 });
        if self.has_interims.get() {
            self.take_interims();
        }
    }

    /// An endpoint has sent this before its response.
    #[cold]
    pub(super) fn leave_interim(&self, mut head: Response<()>) {
        let is_none = matches!(head.status(), StatusCode::CONTINUE | StatusCode::SWITCHING_PROTOCOLS);
        let left = self.interims_left.get();
        if is_none || left == 0 {
            return;
        }
        self.interims_left.set(left - 1);
        headers::prepare_response(head.headers_mut());
        for name in [http::header::CONTENT_LENGTH, http::header::TRANSFER_ENCODING] {
            head.headers_mut().remove(name);
        }
        self.interims.borrow_mut().push(head);
        self.has_interims.set(true);
    }

    /// Whether one waits.
    #[inline]
    pub(crate) fn has_interims(&self) -> bool {
        self.has_interims.get()
    }

    /// Takes those that wait.
    pub(crate) fn take_interims(&self) -> Vec<Response<()>> {
        self.has_interims.set(false);
        self.interims.take()
    }
}
