//! What the control thread lets the admin port see.

use std::path::Path;
use std::sync::Arc;

use super::access::Access;
use super::{Control, detached};

impl Control {
    /// Says which TLS files of pools are in use.
    pub(super) fn publish_tls_files(&self) {
        let (files, seen) = self.instance.tls_files();
        self.pool_files.set(files, seen);
    }

    /// Publishes the files of the config to the admin port, and warns of those that can no longer be followed.
    pub(super) fn publish_files(&mut self) {
        let origin = self.reader.origin();
        let news = self.detached.observe(origin.detached());
        news.iter().for_each(|file| detached::warn(file));
        let mut state = self.status.state();
        state.config_files = origin.files().into_iter().map(Path::to_owned).collect();
        state.detached = self.detached.files().iter().cloned().collect();
    }

    /// Publishes the listeners to the admin port.
    pub(super) fn publish_listeners(&self) {
        let tls = self.instance.listeners.tls().map(|(name, tls)| (name.to_owned(), Arc::clone(tls))).collect();
        let mut state = self.status.state();
        state.admin_hosts.clone_from(&self.instance.config.admin.hosts);
        state.access = Access::of(&self.instance.config.admin);
        state.secrets.clone_from(&self.instance.config.secrets);
        state.dns.clone_from(&self.instance.config.dns);
        (state.listeners, state.tls) = (self.instance.listeners.addresses(), tls);
        state.listener_sockets = self.instance.listeners.sockets().map(|(name, count)| (name.into(), count)).collect();
    }

    /// Publishes what operators have set of endpoints.
    pub(super) fn publish_overrides(&self) {
        self.status.state().overrides = self.instance.overrides();
    }
}
