//! The last reloads, for the admin port.

use std::collections::VecDeque;
use std::time::SystemTime;

/// The most reloads that are kept of each trigger: a name whose addresses change every minute must not drive out the
/// edits of people.
const KEPT_EACH: usize = 5;
/// The longest brief message, in bytes.
const MESSAGE_MAX: usize = 2048;

/// The result of a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reload {
    /// When it was tried.
    pub at: SystemTime,
    /// What triggered it.
    pub trigger: &'static str,
    /// What has changed, or why the reload was refused.
    pub result: Result<String, String>,
}

impl Reload {
    /// What has changed, or why it was refused.
    pub(crate) fn message(&self) -> &str {
        let (Ok(message) | Err(message)) = &self.result;
        message
    }

    /// The message without what is beyond [`MESSAGE_MAX`].
    pub(crate) fn brief_message(&self) -> String {
        let message = self.message();
        if message.len() <= MESSAGE_MAX {
            return message.to_owned();
        }
        format!("{} [...]", &message[..message.floor_char_boundary(MESSAGE_MAX)])
    }
}

/// The last reloads, the oldest first. Only the message of the very last one is kept as long as it is.
#[derive(Debug, Default, Clone)]
pub(crate) struct Reloads(VecDeque<Reload>);

impl Reloads {
    /// Adds the latest one. The oldest one of the same trigger goes if there are more than [`KEPT_EACH`].
    pub(crate) fn add(&mut self, reload: Reload) {
        if let Some(last) = self.0.back_mut() {
            let brief = last.brief_message();
            let (Ok(message) | Err(message)) = &mut last.result;
            *message = brief;
        }
        let alike = |kept: &&Reload| kept.trigger == reload.trigger;
        if self.0.iter().filter(alike).count() >= KEPT_EACH
            && let Some(oldest) = self.0.iter().position(|kept| alike(&kept))
        {
            self.0.remove(oldest);
        }
        self.0.push_back(reload);
    }

    /// The latest one; `None` before the first.
    pub(crate) fn last(&self) -> Option<&Reload> {
        self.0.back()
    }

    /// All that are kept, the latest first.
    pub(crate) fn latest_first(&self) -> impl Iterator<Item = &Reload> {
        self.0.iter().rev()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reload(trigger: &'static str, message: &str) -> Reload {
        Reload { at: SystemTime::UNIX_EPOCH, trigger, result: Ok(message.to_owned()) }
    }

    fn messages(reloads: &Reloads) -> Vec<&str> {
        reloads.latest_first().map(Reload::message).collect()
    }

    #[test]
    fn the_last_ones_of_each_trigger_are_kept() {
        let mut reloads = Reloads::default();
        assert_eq!(reloads.last(), None);
        reloads.add(reload("file", "edit"));
        for number in 1..=100 {
            reloads.add(reload("name resolution", &number.to_string()));
        }
        assert_eq!(messages(&reloads), ["100", "99", "98", "97", "96", "edit"]);
        for number in 1..=6 {
            reloads.add(reload("file", &format!("edit {number}")));
        }
        let edits = ["edit 6", "edit 5", "edit 4", "edit 3", "edit 2"];
        assert_eq!(messages(&reloads), [&edits[..], &["100", "99", "98", "97", "96"]].concat());
        assert_eq!(reloads.last().map(|last| last.trigger), Some("file"));
    }

    #[test]
    fn only_the_last_message_may_be_long() {
        let mut reloads = Reloads::default();
        let long = format!("x{}", "é".repeat(MESSAGE_MAX));
        reloads.add(reload("file", &long));
        assert_eq!(messages(&reloads), [long]);
        reloads.add(reload("file", "short"));
        let kept = messages(&reloads)[1];
        assert!(kept.len() <= MESSAGE_MAX + 6 && kept.ends_with("é [...]"), "{kept}");
    }
}
