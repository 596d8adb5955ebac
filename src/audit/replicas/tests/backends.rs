//! Replicas that run already.

use super::super::{Fleet, Key, Origin, Trouble};
use super::{APP, Stage, ask};

/// Two replicas that somebody else has started.
async fn others(stage: &Stage) -> (Fleet, Vec<Origin>) {
    let fleet = stage.start(APP).await;
    let origins = (0..2).map(|n| fleet.origin(n).clone()).collect();
    (fleet, origins)
}

#[tokio::test]
async fn replicas_that_run_already_are_taken_as_they_are() {
    let stage = Stage::new();
    let (others, origins) = others(&stage).await;
    let fleet = Fleet::backends(origins.clone(), None, Some("/key".into())).await.unwrap();
    assert_eq!((fleet.names(), fleet.origin(1)), (others.names(), &origins[1]));
    assert!(!fleet.can_break() && !fleet.has_keys());
    let trouble = fleet.kill(0).await.expect_err("nothing says how");
    assert!(matches!(trouble, Trouble::Untouchable { .. }), "{trouble}");
    fleet.end().await;
    assert_eq!(ask(&origins[0], "visit").await, "1", "it still runs");
    others.end().await;
}

#[tokio::test]
async fn a_replica_that_is_not_there_is_said() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let wanted = super::super::ready::Wanted {
        origin: &Origin::local(port),
        target: None,
        within: std::time::Duration::from_millis(100),
    };
    let unready = super::super::ready::wait(wanted, || None).await.expect_err("nobody is there");
    assert!(format!("{unready:?}").contains("nothing accepts connections on"), "{unready:?}");
    let said = Fleet::backends(Vec::new(), None, None).await.expect_err("none").to_string();
    assert!(said.contains("too few"), "{said}");
}

#[tokio::test]
async fn the_command_that_restarts_gets_number_and_address() {
    let stage = Stage::new();
    let (others, origins) = others(&stage).await;
    let told = stage.folder.path().join("told");
    let restart = format!("echo {{n}} {{address}} >> {}", told.display());
    let fleet = Fleet::backends(origins.clone(), Some(restart), None).await.unwrap();
    assert!(fleet.can_break());
    fleet.kill(1).await.unwrap();
    fleet.restart(0, Key::Same).await.unwrap();
    let expected = format!("2 {}\n1 {}\n", origins[1].authority(), origins[0].authority());
    assert_eq!(std::fs::read_to_string(told).unwrap(), expected);
    let trouble = fleet.start(0, Key::Other).await.expect_err("there is no key");
    assert!(matches!(trouble, Trouble::NoKey { .. }), "{trouble}");
    others.end().await;
}

#[tokio::test]
async fn a_restart_that_fails_is_said_with_its_last_lines() {
    let stage = Stage::new();
    let (others, origins) = others(&stage).await;
    let fleet = Fleet::backends(origins, Some("echo no such unit >&2; exit 4".into()), None).await.unwrap();
    let said = fleet.kill(0).await.expect_err("it fails").to_string();
    assert!(said.contains("replica A was not restarted: the command ended (exit status: 4)"), "{said}");
    assert!(said.contains("    | no such unit"), "{said}");
    assert_eq!(fleet.said(0), ["no such unit"]);
    others.end().await;
}

#[tokio::test]
async fn a_replica_that_runs_elsewhere_cannot_be_killed_and_that_is_said() {
    let stage = Stage::new();
    // Somebody else starts it, as a container engine does that is only asked for it.
    let asked = stage.folder.path().join("asked");
    let mut spawn = stage.spawn(&format!("echo {{port}} > {0}.new; mv {0}.new {0}; sleep 1000", asked.display()));
    spawn.replicas = 1;
    let elsewhere = async {
        super::until("it is asked for", || asked.exists()).await;
        let port = std::fs::read_to_string(&asked).unwrap();
        let mut python = tokio::process::Command::new("python3");
        python.args(["app.py", port.trim(), "key"]).current_dir(stage.source()).kill_on_drop(true).spawn().unwrap()
    };
    let (fleet, _elsewhere) = tokio::join!(super::start(spawn), elsewhere);
    let said = fleet.kill(0).await.expect_err("it runs elsewhere").to_string();
    assert!(said.contains("still accepts") && said.contains("--restart-cmd"), "{said}");
    fleet.end().await;
}
