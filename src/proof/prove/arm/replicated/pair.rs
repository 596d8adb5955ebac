//! A primary and a standby that copies it, and the fail-over from the one to the other.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use redis::aio::ConnectionManager;
use rustix::process::Signal;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::link::Link;
use crate::prove::arm::redis::connect;
use crate::prove::arm::redis::server::{Home, RedisServer};
use crate::prove::arm::{Server, Work};
use crate::prove::ports::on_free_ports;
use crate::prove::sabotage::{Planted, Sabotage};
use crate::trial::history::State;
use crate::trial::recorder::Recorder;

/// How long the standby may take to have what the primary has.
const DEADLINE: Duration = Duration::from_secs(10);
const POLL_MS: u64 = 10;
const POLL: Duration = Duration::from_millis(POLL_MS);
/// How long the standby falls behind before the primary dies.
const LAG: Duration = Duration::from_millis(800);

/// Both servers. Dropping it ends them.
pub(super) struct Pair {
    /// The socket that leads replicas to the primary.
    current: PathBuf,
    url: String,
    planted: Planted,
    roles: Mutex<Roles>,
}

struct Roles {
    primary: Node,
    standby: Node,
    link: Link,
}

/// One server, and the port at which the other one copies it.
struct Node {
    server: RedisServer,
    port: u16,
}

impl Pair {
    /// Starts both in this place.
    pub(super) async fn start(home: &Home, planted: Planted) -> anyhow::Result<Self> {
        let primary = Node::start(home.part("0")?, planted).await?;
        let standby = Node::start(home.part("1")?, planted).await?;
        let current = home.directory.join("current.sock");
        point(&current, &primary)?;
        let link = Link::to(primary.port).await?;
        let roles = Roles { primary, standby, link };
        roles.join().await?;
        let url = roles.primary.server.url_at(&current.display().to_string());
        Ok(Self { current, url, planted, roles: Mutex::new(roles) })
    }

    /// The URL under which replicas reach the primary, whichever it is.
    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    /// The standby has all there is, falls behind, and takes the place of the primary, which dies.
    async fn take_over(&self, recorder: &Recorder) -> anyhow::Result<()> {
        let mut roles = self.roles.lock().await;
        recorder.mark("the standby", State::CaughtUp, 0);
        roles.catch_up().await?;
        if !self.planted.is(Sabotage::LinkOpen) {
            roles.link.hold();
        }
        recorder.mark("the standby", State::HeldBack, 0);
        sleep(LAG).await;
        recorder.mark("the primary", State::Failing, 0);
        roles.primary.server.daemon().end(Signal::KILL).await?;
        roles.link.cut();
        let mut standby = roles.standby.connect().await?;
        redis::cmd("REPLICAOF").arg("NO").arg("ONE").query_async::<()>(&mut standby).await?;
        if self.planted.is(Sabotage::StandbyEmpty) {
            redis::cmd("FLUSHALL").query_async::<()>(&mut standby).await?;
        }
        point(&self.current, &roles.standby)?;
        recorder.mark("the standby", State::Promoted, 0);
        let Roles { primary, standby, link } = &mut *roles;
        std::mem::swap(primary, standby);
        *link = Link::to(primary.port).await?;
        // What the old primary has is not what the new one has.
        std::fs::remove_dir_all(standby.server.daemon().directory().join("appendonlydir")).ok();
        standby.server.daemon().start_again().await?;
        roles.join().await
    }
}

impl Server for Pair {
    fn restart(&self, pause: Duration) -> Work<'_, ()> {
        Box::pin(async move {
            let roles = self.roles.lock().await;
            roles.primary.server.restart(pause).await?;
            roles.wait_until_joined().await
        })
    }

    fn can_fail_over(&self) -> bool {
        true
    }

    fn fail_over<'a>(&'a self, recorder: &'a Recorder) -> Work<'a, ()> {
        Box::pin(self.take_over(recorder))
    }
}

impl Roles {
    /// Has the standby copy the primary, and waits until it does.
    async fn join(&self) -> anyhow::Result<()> {
        let mut standby = self.standby.connect().await?;
        let follow = redis::cmd("REPLICAOF").arg("127.0.0.1").arg(self.link.port).to_owned();
        follow.query_async::<()>(&mut standby).await?;
        self.wait_until_joined().await
    }

    async fn wait_until_joined(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + DEADLINE;
        while self.standby.info("master_link_status").await? != "up" {
            anyhow::ensure!(Instant::now() < deadline, "the standby does not copy its primary");
            sleep(POLL).await;
        }
        // It confirms nothing until it has said for the first time, once a second, how far it is.
        let mut primary = self.primary.connect().await?;
        loop {
            let written =
                redis::pipe().set_ex("unstick:joined", 1, 60).ignore().cmd("WAIT").arg(1).arg(POLL_MS).to_owned();
            let (standbys,): (u32,) = written.query_async(&mut primary).await?;
            if standbys > 0 {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "the standby confirms nothing");
        }
    }

    /// Waits until the standby has what the primary has now.
    async fn catch_up(&self) -> anyhow::Result<()> {
        let (deadline, offset) = (Instant::now() + DEADLINE, self.primary.offset("master_repl_offset").await?);
        while self.standby.offset("slave_repl_offset").await? < offset {
            anyhow::ensure!(Instant::now() < deadline, "the standby does not catch up with its primary");
            sleep(POLL).await;
        }
        Ok(())
    }
}

impl Node {
    async fn start(home: Home, planted: Planted) -> anyhow::Result<Self> {
        on_free_ports(async |[port]| {
            let server = RedisServer::start(home.clone(), port, planted).await?;
            Ok(Self { server, port })
        })
        .await
    }

    async fn connect(&self) -> anyhow::Result<ConnectionManager> {
        Ok(connect(&self.server.url()).await?)
    }

    /// A line of what it says of its replication.
    async fn info(&self, name: &str) -> anyhow::Result<String> {
        let text: String = redis::cmd("INFO").arg("replication").query_async(&mut self.connect().await?).await?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        Ok(line.unwrap_or_default().trim().to_owned())
    }

    async fn offset(&self, name: &str) -> anyhow::Result<u64> {
        Ok(self.info(name).await?.parse().unwrap_or_default())
    }
}

/// Leads replicas to a node, as an address that moves would.
fn point(current: &Path, node: &Node) -> anyhow::Result<()> {
    let new = current.with_file_name("next.sock");
    std::os::unix::fs::symlink(node.server.daemon().socket(), &new)?;
    std::fs::rename(&new, current).context("cannot lead replicas to another server")
}
