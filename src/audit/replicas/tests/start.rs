//! How replicas start, and what is said when they do not.

use std::time::Duration;

use super::super::{REPLICAS_MAX, Trouble, port::is_free};
use super::{APP, DEADLINE, Stage, ask, ask_all, start, trouble, until};

#[tokio::test]
async fn replicas_start_with_names_and_ports_of_their_own() {
    let stage = Stage::new();
    let mut spawn = stage.spawn("exec python3 app.py {port} 'n={n} {unknown} {\"json\":1}'");
    spawn.replicas = 3;
    let fleet = start(spawn).await;
    assert_eq!(fleet.names(), ["A", "B", "C"]);
    let said: Vec<String> = (1..=3).map(|n| format!("n={n} {{unknown}} {{\"json\":1}}")).collect();
    assert_eq!(ask_all(&fleet, "key").await, said);
    assert!(fleet.can_break() && !fleet.has_keys());
    assert_eq!(fleet.notes(), Vec::<String>::new());
    fleet.end().await;
}

#[tokio::test]
async fn the_port_is_in_the_environment() {
    let stage = Stage::new();
    let fleet = stage.start("exec python3 app.py $PORT").await;
    assert_eq!(ask(fleet.origin(0), "variable/PORT").await, fleet.origin(0).port.to_string());
    fleet.end().await;
}

#[tokio::test]
async fn a_replica_that_ends_at_once_is_shown_with_its_last_lines() {
    let stage = Stage::new();
    let trouble = trouble(stage.spawn("echo {key}; echo 'Error: no database' >&2; exit 7")).await;
    assert!(matches!(&trouble, Trouble::Ended { status, .. } if status.code() == Some(7)), "{trouble:?}");
    let said = trouble.to_string();
    assert!(said.contains("exit status: 7") && said.contains("    | Error: no database"), "{said}");
    assert!(said.contains("command: echo {key}; "), "the key itself is not shown: {said}");
    until("its folder is removed", || stage.is_cleared()).await;
}

#[tokio::test]
async fn a_replica_that_never_accepts_ends_within_its_bound() {
    let stage = Stage::new();
    let mut spawn = stage.spawn("echo waiting >&2; sleep 1000");
    spawn.start_deadline = Duration::from_millis(700);
    let trouble = trouble(spawn).await;
    let said = trouble.to_string();
    assert!(matches!(trouble, Trouble::Unready { .. }), "{said}");
    assert!(said.contains("not ready within 0.7 s: nothing accepts connections on 127.0.0.1:"), "{said}");
    assert!(said.contains("    | waiting"), "{said}");
    until("its folder is removed", || stage.is_cleared()).await;
}

#[tokio::test]
async fn a_replica_that_is_not_well_is_not_ready() {
    let stage = Stage::new();
    let mut spawn = stage.spawn(APP);
    (spawn.ready, spawn.start_deadline) = (Some("/sick".into()), Duration::from_secs(5));
    let said = trouble(spawn.clone()).await.to_string();
    assert!(said.contains("responded 500 to GET /sick"), "{said}");
    // Whatever is below 500 will do.
    (spawn.ready, spawn.start_deadline) = (Some("/not-there".into()), DEADLINE);
    start(spawn).await.end().await;
}

#[tokio::test]
async fn a_replica_that_accepts_and_never_responds_ends_within_its_bound() {
    let stage = Stage::new();
    let listen = "import socket, time; s = socket.create_server((\"127.0.0.1\", {port})); time.sleep(1000)";
    let mut spawn = stage.spawn(&format!("exec python3 -c '{listen}'"));
    (spawn.ready, spawn.start_deadline) = (Some("/health".into()), Duration::from_secs(5));
    let said = trouble(spawn).await.to_string();
    assert!(said.contains("did not respond to GET /health in time"), "{said}");
}

#[tokio::test]
async fn a_replica_that_listens_on_ipv6_alone_is_told_so() {
    let stage = Stage::new();
    let listen =
        "import socket, time; s = socket.create_server((\"::1\", {port}), family=socket.AF_INET6); time.sleep(99)";
    let mut spawn = stage.spawn(&format!("exec python3 -c '{listen}'"));
    (spawn.replicas, spawn.start_deadline) = (1, Duration::from_secs(5));
    let said = trouble(spawn).await.to_string();
    assert!(said.contains("but [::1] does: let it listen on 127.0.0.1"), "{said}");
}

#[tokio::test]
async fn a_replica_that_dies_later_is_noticed() {
    let stage = Stage::new();
    let fleet = stage.start(APP).await;
    assert_eq!(fleet.died(), None);
    ask(fleet.origin(1), "die").await;
    // What it said is read by somebody else.
    until("it is noticed", || fleet.died().is_some_and(|died| !died.said.is_empty())).await;
    let died = fleet.died().expect("it died");
    assert_eq!((died.replica, died.status.code()), (1, Some(3)));
    assert_eq!(died.said, ["it was told to"]);
    fleet.end().await;
}

#[tokio::test]
async fn a_port_that_somebody_took_is_said_and_used_again_when_it_is_free() {
    let stage = Stage::new();
    let fleet = stage.start(APP).await;
    let port = fleet.origin(0).port;
    fleet.kill(0).await.unwrap();
    let thief = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let said = fleet.start(0, super::super::Key::Same).await.expect_err("it is taken").to_string();
    assert!(said.contains(&format!("another process has taken its port {port}")), "{said}");
    drop(thief);
    // A process that another test starts may have inherited the listener for a moment.
    until("the port is free", || is_free(port)).await;
    fleet.start(0, super::super::Key::Same).await.unwrap();
    assert_eq!(ask(fleet.origin(0), "visit").await, "1");
    fleet.end().await;
}

#[tokio::test]
async fn another_port_is_tried_when_the_first_is_taken() {
    let stage = Stage::new();
    // At its first start it behaves as if somebody had been faster.
    let taken = "[ -e {dir}/seen ] || { touch {dir}/seen; echo Already In Use >&2; exit 1; }; ";
    let fleet = stage.start(&format!("{taken}{APP}")).await;
    assert_eq!(ask_all(&fleet, "visit").await, ["1", "1"]);
    fleet.end().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_said() {
    let stage = Stage::new();
    let spawn = |change: fn(&mut super::Spawn)| {
        let mut spawn = stage.spawn(APP);
        change(&mut spawn);
        spawn
    };
    let table = [
        (spawn(|spawn| spawn.command = " ".into()), "is empty"),
        (spawn(|spawn| spawn.replicas = 0), "too few"),
        (spawn(|spawn| spawn.replicas = REPLICAS_MAX + 1), "too many"),
        (spawn(|spawn| spawn.env_per_replica = vec!["A=B".into()]), "\"A=B\" cannot be the name of a variable"),
        (spawn(|spawn| spawn.ready = Some("health".into())), "begins with `/`"),
        (spawn(|spawn| spawn.folder.push("not-there")), "not-there cannot be used: No such file"),
        (spawn(|spawn| spawn.root.push("with space")), "characters that a shell understands"),
    ];
    for (spawn, why) in table {
        let said = trouble(spawn).await.to_string();
        assert!(said.contains(why), "{why}: {said}");
    }
}
