//! Ends of request bodies that h2 must not hear of.
//!
//! A client that gets an error before it has sent its whole body may stop there: curl (7.88) then ends its stream with
//! an empty DATA frame, short of the length that it has announced. Such a request is malformed, and h2 resets its
//! stream at once (RFC 9113 section 8.1.1). With the stream goes what the client has not got yet of the response that
//! made it stop; it reports an error of the protocol instead of the 404.
//!
//! So when a response begins before a body of known length has ended, the empty frame that ends the stream is left out.
//! The reader of the body is told by [`BodySignals`]. A body that is whole has ended then; one that is not is awaited
//! until the response is over. When nobody wants the stream any more, h2 resets it with NO_ERROR, which the client
//! ignores: for the client the stream is over. A frame whose head comes in two reads is not left out.

use std::rc::Rc;

use crate::net::h2_signals::BodySignals;

const HEAD_BYTES: usize = 9;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct KeptEnds {
    /// The streams whose ends are to be left out. It holds no more than those that are open.
    streams: Vec<(u32, Rc<BodySignals>)>,
    /// The streams whose ends were left out of the latest read.
    come: Vec<Rc<BodySignals>>,
    /// Where the frames end that are to be left out of the latest read.
    places: Vec<usize>,
}

impl KeptEnds {
    /// The end of this stream is to be left out.
    pub(super) fn begin(&mut self, stream: u32, signals: &Rc<BodySignals>) {
        // Those of which nobody else knows are over.
        self.streams.retain(|(_, signals)| Rc::strong_count(signals) > 1);
        signals.keep_end();
        self.streams.push((stream, Rc::clone(signals)));
    }

    /// An empty frame that ends `stream` ends `at` this place of the latest read.
    #[inline]
    pub(super) fn saw(&mut self, stream: u32, at: usize) {
        if !self.streams.is_empty() && at >= HEAD_BYTES {
            self.leave_out(stream, at);
        }
    }

    #[cold]
    fn leave_out(&mut self, stream: u32, at: usize) {
        if let Some(index) = self.streams.iter().position(|&(kept, _)| kept == stream) {
            self.come.push(self.streams.swap_remove(index).1);
            self.places.push(at);
        }
    }

    /// Removes from `read` what is to be left out, and returns how many bytes are left.
    #[inline]
    pub(super) fn remove_from(&mut self, read: &mut [u8]) -> usize {
        if self.places.is_empty() { read.len() } else { self.remove(read) }
    }

    #[cold]
    fn remove(&mut self, read: &mut [u8]) -> usize {
        let (mut kept, mut from) = (0, 0);
        for end in self.places.drain(..) {
            let begin = end - HEAD_BYTES;
            read.copy_within(from..begin, kept);
            kept += begin - from;
            from = end;
        }
        read.copy_within(from.., kept);
        kept + read.len() - from
    }

    /// To be called when h2 asks for more: it has dealt with all that it was given, so it has what came before the ends
    /// that were left out.
    #[inline]
    pub(super) fn pass_on(&mut self) {
        if !self.come.is_empty() {
            self.come.drain(..).for_each(|signals| signals.end());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_ends_of_these_streams_are_left_out_each_once() {
        let signals = || Rc::<BodySignals>::default();
        let (one, five) = (signals(), signals());
        let mut ends = KeptEnds::default();
        ends.begin(1, &one);
        ends.begin(5, &five);
        let mut read: Vec<u8> = (0..50).collect();
        for (stream, at) in [(3, 9), (1, 20), (1, 31), (5, 45), (5, 50)] {
            ends.saw(stream, at);
        }
        let kept = ends.remove_from(&mut read);
        assert_eq!(&read[..kept], [(0..11).collect::<Vec<u8>>(), (20..36).collect(), (45..50).collect()].concat());
        assert_eq!(ends.remove_from(&mut read), 50, "nothing more");
        ends.begin(7, &signals());
        ends.saw(7, 8);
        assert_eq!(ends.remove_from(&mut read), 50, "a part of its head has gone already");
    }
}
