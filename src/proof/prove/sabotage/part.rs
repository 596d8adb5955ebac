//! The body of a response that may break off in the middle of it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

/// How long half of a body may take to go out.
const FLUSHED: Duration = Duration::from_millis(20);

/// A whole body, or half of it and then an error.
pub(super) struct Part {
    data: Option<Bytes>,
    length: u64,
    /// What is sent arrives before the error.
    cut_after: Option<Pin<Box<Sleep>>>,
}

impl Part {
    pub(super) fn new(whole: Bytes, is_cut: bool) -> Self {
        let length = whole.len() as u64;
        let data = if is_cut { whole.slice(..whole.len() / 2) } else { whole };
        Self { data: Some(data), length, cut_after: is_cut.then(|| Box::pin(sleep(FLUSHED))) }
    }
}

impl Body for Part {
    type Data = Bytes;
    type Error = anyhow::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(data) = self.data.take().filter(|data| !data.is_empty()) {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let Some(cut_after) = &mut self.cut_after else { return Poll::Ready(None) };
        std::task::ready!(cut_after.as_mut().poll(cx));
        Poll::Ready(Some(Err(anyhow::anyhow!("cut"))))
    }

    fn is_end_stream(&self) -> bool {
        self.length == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}
