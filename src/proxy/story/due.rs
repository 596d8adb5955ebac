//! To whom a story goes: to those who ask what became of a request, to a collector of spans, or to both.

use std::sync::Arc;

use tokio::time::Instant;

use super::Story;
use crate::proxy::client::Proxy;

/// Where a story is to go, as far as there is room.
#[derive(Debug, Clone, Copy)]
pub(in crate::proxy) struct Due {
    /// It is worth telling.
    pub(in crate::proxy) is_told: bool,
    /// It is traced.
    pub(in crate::proxy) is_traced: bool,
}

impl Due {
    /// Only where there is room at `now`. What there is no room for is counted.
    #[cold]
    pub(in crate::proxy) fn with_room(self, now: Instant, proxy: &Proxy) -> Self {
        let room = Self {
            is_told: self.is_told && proxy.stories.has_room(now),
            is_traced: self.is_traced && proxy.stories.has_room_for_traced(now),
        };
        proxy.cell().stories_dropped.add(u64::from(self.is_told && !room.is_told));
        proxy.cell().traces_dropped.add(u64::from(self.is_traced && !room.is_traced));
        room
    }

    /// Whether it goes anywhere.
    pub(in crate::proxy) fn any(self) -> bool {
        self.is_told || self.is_traced
    }

    /// Sends it there.
    pub(in crate::proxy) fn send(self, story: Story, proxy: &Proxy) {
        let story = Arc::new(story);
        if self.is_traced {
            proxy.trace(Arc::clone(&story));
        }
        if self.is_told {
            proxy.tell(story);
        }
    }
}
