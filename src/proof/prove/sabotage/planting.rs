//! What is planted where, with the feature `sabotage`.

use std::net::SocketAddr;

use super::list::Subject;
use super::relay::{Relay, is_needed};
use super::{Planted, Sabotage};
use crate::prove::arm::{Arm, Role};

impl From<Option<Sabotage>> for Planted {
    fn from(sabotage: Option<Sabotage>) -> Self {
        Self(sabotage)
    }
}

impl Planted {
    /// What of it concerns an arm: the control groups are as they are.
    pub(in crate::prove) fn of_arm(self, arm: Arm) -> Self {
        Self(self.0.filter(|sabotage| match sabotage.entry().subject {
            Subject::Proxy | Subject::Client | Subject::Judge => true,
            Subject::Replica | Subject::Store => arm.role() == Role::Stateless,
            Subject::Control => arm.role() == Role::Stateful,
        }))
    }

    /// Its name, for the command line of a replica.
    pub(in crate::prove) fn name(self) -> Option<&'static str> {
        self.0.map(|sabotage| sabotage.entry().name)
    }
}

/// What stands between users and proxies.
#[derive(Debug, Default)]
pub(in crate::prove) struct Relays(Vec<Relay>);

impl Relays {
    /// Starts one in front of each proxy, if the sabotage needs it.
    pub(in crate::prove) async fn start(
        planted: Planted,
        proxies: &[SocketAddr],
        replicas: usize,
    ) -> anyhow::Result<Self> {
        let mut relays = Vec::new();
        for proxy in proxies.iter().filter(|_| is_needed(planted)) {
            relays.push(Relay::start(planted, *proxy, replicas).await?);
        }
        Ok(Self(relays))
    }

    /// Where users send their requests.
    pub(in crate::prove) fn addresses(&self, proxies: Vec<SocketAddr>) -> Vec<SocketAddr> {
        if self.0.is_empty() { proxies } else { self.0.iter().map(|relay| relay.address).collect() }
    }

    /// The file was edited.
    pub(in crate::prove) fn edited(&self, replicas: usize) {
        self.0.iter().for_each(|relay| relay.edited(replicas));
    }

    /// A replica was killed.
    pub(in crate::prove) fn killed(&self) {
        self.0.iter().for_each(Relay::killed);
    }
}
