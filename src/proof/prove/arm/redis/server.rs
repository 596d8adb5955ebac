//! A private Redis: `redis-server` from the system, with its log of writes on disk. It listens on a socket in a
//! directory that only its user may enter, and takes nobody without the run's password.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;
use tokio::time::sleep;

use crate::prove::account::{Account, give, write_private};
use crate::prove::arm::daemon::Daemon;
use crate::prove::arm::{Server, Work};
use crate::prove::lifeline::Lifeline;
use crate::prove::process::{Start, find};
use crate::prove::sabotage::{Planted, Sabotage};
use crate::prove::store::new_token;
use crate::prove::workspace::Workspace;

/// A Redis that runs. Dropping it ends it.
pub(in crate::prove::arm) struct RedisServer {
    daemon: Daemon,
    password: String,
    planted: Planted,
}

/// Where a Redis lives.
#[derive(Clone)]
pub(in crate::prove::arm) struct Home {
    pub(in crate::prove::arm) directory: PathBuf,
    program: PathBuf,
    account: Option<Account>,
    password: String,
    lifeline: Rc<Lifeline>,
}

impl Home {
    /// A new one in the run's directory, or beside it, where the user that it runs as can enter.
    pub(in crate::prove::arm) fn create(workspace: &Workspace, name: &str) -> anyhow::Result<Self> {
        let program = RedisServer::program().context("there is no redis-server")?;
        let account = Account::for_program(&["redis", "nobody"], &program)?;
        let directory = workspace.directory_of(name, account)?;
        let (password, lifeline) = (new_token()?, Rc::clone(workspace.lifeline()));
        Ok(Self { directory, program, account, password, lifeline })
    }

    /// One in it, with the same password.
    pub(in crate::prove::arm) fn part(&self, name: &str) -> anyhow::Result<Self> {
        let directory = self.directory.join(name);
        let created = std::fs::create_dir(&directory).and_then(|()| give(&directory, self.account));
        created.with_context(|| directory.display().to_string())?;
        Ok(Self { directory, ..self.clone() })
    }
}

impl RedisServer {
    /// Where `redis-server` is, if it is installed.
    pub(in crate::prove::arm) fn program() -> Option<PathBuf> {
        find("redis-server", &[])
    }

    /// Starts one, on this port of 127.0.0.1 too if it is not 0.
    pub(in crate::prove::arm) async fn start(home: Home, port: u16, planted: Planted) -> anyhow::Result<Self> {
        let Home { directory, program, account, password, lifeline } = home;
        let (file, socket) = (directory.join("redis.conf"), directory.join("redis.sock"));
        // In a file that only its user may read: arguments show up in `ps`.
        let settings = format!(
            "bind 127.0.0.1\nport {port}\nunixsocket \"{}\"\nunixsocketperm 700\ndir \"{}\"\n\
             requirepass {password}\nmasterauth {password}\n\
             save \"\"\nappendonly yes\nappendfsync everysec\nrepl-diskless-sync-delay 0\n",
            socket.display(),
            directory.display()
        );
        write_private(&file, &settings, account)?;
        let start = Start {
            program,
            arguments: vec![file.display().to_string()],
            log: directory.join("redis-server.log"),
            directory: Some(directory),
            logs_output: true,
            account,
            end: Signal::KILL,
            lifeline,
        };
        Ok(Self { daemon: Daemon::start(start, socket).await?, password, planted })
    }

    /// The URL under which replicas reach it.
    pub(in crate::prove::arm) fn url(&self) -> String {
        self.url_at(&self.daemon.socket().display().to_string())
    }

    /// The same, at another socket that leads to it.
    pub(in crate::prove::arm) fn url_at(&self, socket: &str) -> String {
        format!("redis+unix://{socket}?pass={}", self.password)
    }

    /// The process.
    pub(in crate::prove::arm) fn daemon(&self) -> &Daemon {
        &self.daemon
    }
}

impl Server for RedisServer {
    fn restart(&self, pause: Duration) -> Work<'_, ()> {
        Box::pin(async move {
            self.daemon.end(Signal::TERM).await?;
            sleep(pause).await;
            if self.planted.is(Sabotage::StoreEmpty) {
                // If it cannot be removed, nothing is broken, and that is noticed.
                std::fs::remove_dir_all(self.daemon.directory().join("appendonlydir")).ok();
            }
            self.daemon.start_again().await?;
            if self.planted.is(Sabotage::StoreAway) {
                std::fs::remove_file(self.daemon.socket())?;
            }
            Ok(())
        })
    }
}
