//! What a story takes in memory, and where its texts are.

use super::{Attempt, Candidate, Story, TEXT_MAX, Trace, bounded};
use crate::config::Secrets;

impl Story {
    /// The bytes that it takes, but for what the allocator adds.
    pub(crate) fn size(&self) -> usize {
        let own = [&self.id, &self.listener, &self.method, &self.host, &self.path];
        let texts = own.map(|text| text.len()).iter().sum::<usize>();
        let route = self.route.as_ref().map_or(0, |route| route.conditions.len() + route.path.len());
        let error = self.error.as_ref().map_or(0, |error| error.len());
        let candidates = self.candidates.as_ref().map_or(0, |all| all.list.capacity() * size_of::<Candidate>());
        let failures = self.attempts.iter().flat_map(|attempt| &attempt.failure);
        let attempts = self.attempts.capacity() * size_of::<Attempt>();
        let errors = failures.map(|failure| failure.error.len()).sum::<usize>();
        let trace = self
            .trace
            .as_ref()
            .map_or(0, |trace| size_of::<Trace>() + trace.state.as_ref().map_or(0, |state| state.len()));
        size_of::<Self>() + texts + route + error + candidates + attempts + errors + trace
    }

    /// Hides `secrets` in it. Its texts have been cut, and so may be what is left of a secret at the end of one.
    pub(crate) fn hide(&mut self, secrets: &Secrets) {
        self.texts().for_each(|text| *text = bounded(&secrets.mask_cut(text, TEXT_MAX)));
    }

    /// Every text in it that a client, a replica or the config has had a part in.
    fn texts(&mut self) -> impl Iterator<Item = &mut Box<str>> {
        let failures = self.attempts.iter_mut().flat_map(|attempt| &mut attempt.failure);
        let route = self.route.iter_mut().flat_map(|route| [&mut route.conditions, &mut route.path]);
        let own = [&mut self.id, &mut self.method, &mut self.host, &mut self.path];
        own.into_iter().chain(route).chain(&mut self.error).chain(failures.map(|failure| &mut failure.error))
    }
}
