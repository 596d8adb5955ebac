//! Fleets of real processes.

mod backends;
mod end;
mod keys_and_disks;
mod start;

use std::fs;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::living::Family;
use super::{Disk, Fleet, Keys, Origin, Spawn, Trouble};

/// How long anything may take on a machine that is busy with other tests.
const DEADLINE: Duration = Duration::from_secs(60);

/// The command of `app.py`.
const APP: &str = "exec python3 app.py {port} {key}";

/// A folder with the application, and a folder for the audit.
struct Stage {
    folder: TempDir,
}

impl Stage {
    fn new() -> Self {
        let stage = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(stage.source()).unwrap();
        fs::write(stage.source().join("app.py"), include_str!("app.py")).unwrap();
        stage
    }

    fn source(&self) -> std::path::PathBuf {
        self.folder.path().join("source")
    }

    fn spawn(&self, command: &str) -> Spawn {
        Spawn {
            command: command.into(),
            replicas: 2,
            folder: self.source(),
            disk: Disk::Own,
            ready: None,
            env_per_replica: Vec::new(),
            keys: Keys::PerReplica,
            root: self.folder.path().join("audit"),
            start_deadline: DEADLINE,
        }
    }

    async fn start(&self, command: &str) -> Fleet {
        start(self.spawn(command)).await
    }

    /// Whether nothing is left in the folder of the audit.
    fn is_cleared(&self) -> bool {
        fs::read_dir(self.folder.path().join("audit")).is_ok_and(|entries| entries.count() == 0)
    }
}

async fn start(spawn: Spawn) -> Fleet {
    Fleet::spawn(spawn).await.unwrap_or_else(|trouble| panic!("{trouble}"))
}

/// Why it does not start.
async fn trouble(spawn: Spawn) -> Trouble {
    Fleet::spawn(spawn).await.map(|fleet| fleet.names().to_vec()).expect_err("it must not start")
}

/// What a replica says.
async fn ask(origin: &Origin, path: &str) -> String {
    let ask = async {
        let mut stream = TcpStream::connect(origin.authority()).await?;
        stream.write_all(format!("GET /{path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
        let mut response = String::new();
        stream.read_to_string(&mut response).await?;
        std::io::Result::Ok(response)
    };
    let response = timeout(DEADLINE, ask).await.expect("a response in time").unwrap_or_default();
    response.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}

/// What all replicas of a fleet say.
async fn ask_all(fleet: &Fleet, path: &str) -> Vec<String> {
    let mut said = Vec::new();
    for n in 0..fleet.names().len() {
        said.push(ask(fleet.origin(n), path).await);
    }
    said
}

/// The processes of all replicas.
fn families(fleet: &Fleet) -> Vec<Family> {
    (0..fleet.names().len()).filter_map(|n| fleet.spawned().family(n)).collect()
}

/// Waits until a condition holds.
pub(super) async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until no process of these replicas runs.
async fn until_gone(families: &[Family]) {
    until("no process is left", || families.iter().all(|family| !family.is_alive())).await;
}

fn exists(folder: &Path, name: &str) -> bool {
    folder.join(name).exists()
}
