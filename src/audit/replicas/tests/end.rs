//! However an audit ends, no process is left.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use rustix::process::Pid;

use super::super::Key;
use super::super::living::Family;
use super::{APP, Stage, ask, families, start, until, until_gone};

/// Replicas that do not go easily.
const STUBBORN: [(&str, &str); 7] = [
    ("one process", APP),
    ("a shell and its child", "python3 app.py {port} {key}; echo never"),
    ("children", "sleep 1000 & sleep 1000 & exec python3 app.py {port} {key}"),
    ("SIGTERM ignored", "trap '' TERM INT HUP; python3 app.py {port} {key}"),
    ("a daemon in the group", "python3 app.py {port} {key} & exit 0"),
    ("a daemon in a session of its own", "setsid python3 app.py {port} {key} & setsid sleep 1000 & exit 0"),
    ("a daemon, and a child that is known by its group alone", STRAYING),
];

const STRAYING: &str =
    "setsid python3 app.py {port} {key} & env -u UNSTICK_AUDIT_REPLICA sleep 1000 & setsid sleep 1000 & exit 0";

#[tokio::test]
async fn killing_a_replica_ends_all_of_its_processes_and_starting_it_works() {
    for (what, command) in STUBBORN {
        let stage = Stage::new();
        let fleet = stage.start(command).await;
        let family = fleet.spawned().family(0).expect("it runs");
        assert!(!family.members().expect("/proc").is_empty(), "{what}");
        assert_eq!(fleet.died(), None, "{what}");
        fleet.kill(0).await.unwrap();
        assert_eq!(family.members().expect("/proc"), [], "{what}");
        assert!(fleet.spawned().family(1).expect("the other one runs").is_alive(), "{what}");
        fleet.kill(0).await.unwrap();
        fleet.start(0, Key::Same).await.unwrap();
        assert_eq!(ask(fleet.origin(0), "visit").await, "1", "{what}");
        let families = families(&fleet);
        fleet.end().await;
        assert!(families.iter().all(|family| !family.is_alive()), "{what}");
        assert!(stage.is_cleared(), "{what}");
    }
}

#[tokio::test]
async fn a_panic_ends_all_processes() {
    let stage = Stage::new();
    let (tell, told) = tokio::sync::oneshot::channel();
    let spawn = stage.spawn(STRAYING);
    let audit = tokio::spawn(async move {
        let fleet = start(spawn).await;
        tell.send(families(&fleet)).unwrap();
        panic!("as planned, with {:?}", fleet.names());
    });
    let families = told.await.unwrap();
    assert!(audit.await.expect_err("it panicked").is_panic());
    assert_eq!(families.len(), 2);
    until_gone(&families).await;
    until("the folders are removed", || stage.is_cleared()).await;
}

#[tokio::test]
async fn an_audit_that_is_dropped_while_replicas_start_leaves_nothing() {
    let stage = Stage::new();
    let ready = stage.folder.path().join("started");
    let command = format!("echo $$ >> {}; sleep 1000", ready.display());
    let lines = || std::fs::read_to_string(&ready).unwrap_or_default().lines().count();
    tokio::select! {
        outcome = super::Fleet::spawn(stage.spawn(&command)) => panic!("it is not ready: {outcome:?}"),
        () = until("both run", || lines() == 2) => {}
    }
    let pids = std::fs::read_to_string(&ready).unwrap();
    let families: Vec<Family> = pids.lines().map(|pid| family(pid.trim())).collect();
    until_gone(&families).await;
    until("the folders are removed", || stage.is_cleared()).await;
}

fn family(group: &str) -> Family {
    let group = group.parse().ok().and_then(Pid::from_raw).unwrap_or_else(|| panic!("{group:?} is a process group"));
    Family { group, mark: "none has this mark".into() }
}

/// The audit of the next test, in a process of its own.
#[tokio::test]
#[ignore = "it is killed by `a_kill_of_the_audit_ends_all_processes`"]
async fn an_audit_to_be_killed() {
    let stage = Stage::new();
    let fleet = stage.start(STRAYING).await;
    let families = families(&fleet);
    assert_eq!(families.len(), 2);
    println!("\nfolder {}", stage.folder.path().display());
    for Family { group, mark } in families {
        println!("family {} {mark}", group.as_raw_nonzero());
    }
    println!("ready");
    super::sleep(super::DEADLINE).await;
    panic!("it was not killed");
}

#[tokio::test]
async fn a_kill_of_the_audit_ends_all_processes() {
    let audit = std::env::current_exe().unwrap();
    let mut audit = Command::new(audit)
        .args(["--exact", "replicas::tests::end::an_audit_to_be_killed", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(audit.stdout.take().unwrap()).lines().map_while(Result::ok);
    let lines: Vec<String> = lines.take_while(|line| line != "ready").collect();
    let words = |word| lines.iter().filter_map(move |line| line.strip_prefix(word));
    let families: Vec<Family> = words("family ")
        .map(|line| {
            let (group, mark) = line.split_once(' ').unwrap();
            Family { mark: mark.to_owned(), ..family(group) }
        })
        .collect();
    let folder = words("folder ").next().map(std::path::PathBuf::from).expect("it says its folder");
    assert_eq!(families.len(), 2, "{lines:?}");
    assert!(families.iter().all(Family::is_alive));
    audit.kill().unwrap();
    audit.wait().unwrap();
    until_gone(&families).await;
    let is_cleared = || std::fs::read_dir(folder.join("audit")).is_ok_and(|entries| entries.count() == 0);
    until("the folders are removed", is_cleared).await;
    std::fs::remove_dir_all(folder).unwrap();
}
