//! What follows from the addresses of names.

use tokio::sync::mpsc;

use super::Control;
use super::discover::Discovery;
use super::files::Files;
use super::names::{News, Resolution};
use super::reload::names;

impl Control {
    /// Follows the names that the config has now.
    pub(super) fn follow_names(&mut self) {
        let (names, dns) = (names(&self.instance.config), &self.instance.config.dns);
        if names.is_empty() {
            self.discovery = None;
            return;
        }
        let (discovery, _) = self.discovery.get_or_insert_with(|| Discovery::new(Files::default()));
        discovery.sync(&names, dns);
    }

    /// Takes in findings, all that are there.
    pub(super) fn resolved(&mut self, first: Resolution) {
        let host = first.host.clone();
        let mut is_changed = self.learn(first);
        while let Some(Ok(next)) = self.discovery.as_mut().map(|(_, answers)| answers.try_recv()) {
            is_changed |= self.learn(next);
        }
        if !is_changed {
            return;
        }
        let changes = self.instance.rebuild();
        self.probers.sync(self.instance.shared.load().pools.iter());
        if !changes.is_empty() {
            tracing::info!(trigger = "name resolution", %host, "reloaded: {}", changes.join("; "));
            self.status.reloaded("name resolution", Ok(changes.join("; ")));
            self.report_held();
        }
    }

    /// Takes in a finding. Returns whether the addresses in use have changed.
    pub(super) fn learn(&mut self, resolution: Resolution) -> bool {
        let (host, give_up) = (resolution.host.clone(), self.instance.config.dns.give_up);
        let news = self.instance.learn(resolution);
        match &news {
            News::None | News::Changed => {}
            News::Unknown { why, kept } => {
                tracing::warn!(%host, "cannot resolve a backend; its last {kept} addresses stay in use: {why}");
            }
            News::Denied { kept: 0 } if self.instance.is_nowhere(&host) => {
                tracing::warn!(%host, "the name of a backend does not exist, or has no addresses");
            }
            News::Denied { kept: 0 } => {}
            News::Denied { kept } => tracing::warn!(%host, "the name of a backend has no addresses any more; the last \
                {kept} stay in use for {give_up:?}, but for those that fail their check"),
            News::GivenUp(addresses) => {
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                tracing::warn!(%host, "addresses are given up, their name denies them: {}", addresses.join(", "));
            }
        }
        matches!(news, News::Changed | News::GivenUp(_))
    }

    /// Releases the endpoints that were held until a new one has passed its check.
    pub(super) fn let_go(&mut self) {
        let changes = self.instance.rebuild();
        self.probers.sync(self.instance.shared.load().pools.iter());
        if !changes.is_empty() {
            tracing::info!(
                "a new endpoint has passed its check, those that it replaces are released: {}",
                changes.join("; ")
            );
        }
    }
}

/// The next finding; never without names.
pub(super) async fn next_resolution(discovery: Option<&mut (Discovery, mpsc::Receiver<Resolution>)>) -> Resolution {
    match discovery {
        Some((_, answers)) => match answers.recv().await {
            Some(answer) => answer,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}
