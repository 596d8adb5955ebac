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

/// Triggers of reloads in which the config is not read: names have other addresses, TLS files of pools were replaced,
/// somebody steers an endpoint.
const WITHOUT_CONFIG: [&str; 3] = ["name resolution", CERTIFICATE_CHANGE, CONTROL];
/// The trigger of what somebody sets of an endpoint.
pub(super) const CONTROL: &str = "control";
/// The trigger of a reload that reads the TLS files of pools.
pub(super) const CERTIFICATE_CHANGE: &str = "certificate change";

impl Reload {
    /// Whether the files of the config were read. Only such a reload says whether they can be used.
    pub(crate) fn reads_config(&self) -> bool {
        !WITHOUT_CONFIG.contains(&self.trigger)
    }

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

    /// The latest one that has read the files of the config; `None` before the first. No other reload drives it out.
    pub(crate) fn last_of_config(&self) -> Option<&Reload> {
        self.latest_first().find(|reload| reload.reads_config())
    }

    /// Whether TLS files of pools were replaced by some that cannot be used. A reload of the config reads them too.
    pub(crate) fn refuses_certificates(&self) -> bool {
        let is_of_them =
            |reload: &&Reload| reload.trigger == CERTIFICATE_CHANGE || reload.reads_config() && reload.result.is_ok();
        self.latest_first().find(is_of_them).is_some_and(|reload| reload.result.is_err())
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

    #[test]
    fn only_a_reload_of_the_config_says_whether_its_files_can_be_used() {
        let mut reloads = Reloads::default();
        let mut add = |trigger, result: Result<&str, &str>| {
            let result = result.map(str::to_owned).map_err(str::to_owned);
            reloads.add(Reload { at: SystemTime::UNIX_EPOCH, trigger, result });
            let is_ok = reloads.last_of_config().is_none_or(|reload| reload.result.is_ok());
            (is_ok, reloads.refuses_certificates())
        };
        for (trigger, result, expected) in [
            ("name resolution", Ok("another address"), (true, false)),
            ("file change", Err("unknown key"), (false, false)),
            ("name resolution", Ok("another address"), (false, false)),
            ("certificate change", Ok("a new certificate"), (false, false)),
            ("control", Ok("drained"), (false, false)),
            ("certificate change", Err("no certificate"), (false, true)),
            ("signal", Err("unknown key"), (false, true)),
            ("signal", Ok("nothing changed"), (true, false)),
            ("certificate change", Err("no certificate"), (true, true)),
            ("certificate change", Ok("a new certificate"), (true, false)),
        ] {
            assert_eq!(add(trigger, result), expected, "{trigger} {result:?}");
        }
    }
}
