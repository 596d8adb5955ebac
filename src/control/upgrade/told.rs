//! What the admin port tells of upgrades, for `unstick upgrade`.

use std::fs;

use serde::Serialize;

use crate::control::status::Status;

/// This process, and what has become of the last upgrade that was ordered.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Told {
    /// Its number, in its own namespace.
    id: u32,
    /// When it started, in ticks of the kernel's clock: with its number it is no other process.
    started_ticks: Option<u64>,
    /// The upgrades that were ordered so far.
    upgrades: u64,
    /// Whether the last one is under way.
    upgrading: bool,
    /// Why the last one was refused, if it was.
    refused: Option<String>,
}

impl Default for Told {
    fn default() -> Self {
        let id = std::process::id();
        Self { id, started_ticks: started_ticks(id), upgrades: 0, upgrading: false, refused: None }
    }
}

impl Told {
    fn ordered(&mut self) {
        (self.upgrades, self.upgrading, self.refused) = (self.upgrades + 1, true, None);
    }

    fn refused(&mut self, why: String) {
        (self.upgrading, self.refused) = (false, Some(why));
    }
}

/// An upgrade was ordered, and nothing speaks against it so far.
pub(super) fn ordered(status: &Status) {
    status.state().process.ordered();
}

/// Says that everything goes on as before.
pub(super) fn refused(status: &Status, why: &str) {
    let why = why.replace(char::is_control, " ");
    tracing::error!("upgrade refused, this process serves on: {why}");
    status.state().process.refused(why);
}

/// When a process of this machine started, in ticks of the kernel's clock; `None` if there is no such process.
pub fn started_ticks(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is a name, which may contain anything; this is the 22nd.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start() {
        let own = started_ticks(std::process::id());
        assert!(own.is_some() && own == started_ticks(std::process::id()));
        assert_ne!(own, started_ticks(1), "that was earlier");
        assert_eq!(started_ticks(u32::MAX), None);
    }

    #[test]
    fn a_refusal_is_that_of_the_last_order() {
        let mut told = Told::default();
        told.refused("no".into());
        told.ordered();
        assert!(told.upgrading && told.refused.is_none() && told.upgrades == 1);
        told.refused("not so".into());
        assert_eq!((told.upgrading, told.refused.as_deref()), (false, Some("not so")));
    }
}
