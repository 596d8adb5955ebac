//! What replicas have for themselves, and what is kept when they are started again.

use std::fs;

use super::super::{Disk, Key, Keys, Trouble};
use super::{APP, Stage, ask, ask_all, exists, start, until};

#[tokio::test]
async fn a_key_is_kept_over_restarts_until_another_is_asked_for() {
    let stage = Stage::new();
    let mut spawn = stage.spawn(APP);
    spawn.env_per_replica = vec!["SECRET".into()];
    let fleet = start(spawn).await;
    assert!(fleet.has_keys());
    let (keys, secrets) = (ask_all(&fleet, "key").await, ask_all(&fleet, "variable/SECRET").await);
    assert!(keys[0] != keys[1] && secrets[0] != secrets[1], "{keys:?} {secrets:?}");
    let origin = fleet.origin(0).clone();

    fleet.restart(0, Key::Same).await.unwrap();
    assert_eq!(fleet.origin(0), &origin);
    assert_eq!(ask_all(&fleet, "key").await, keys);
    assert_eq!(ask_all(&fleet, "variable/SECRET").await, secrets);

    fleet.restart(0, Key::Other).await.unwrap();
    let other = ask(&origin, "key").await;
    assert!(!keys.contains(&other));
    assert!(!secrets.contains(&ask(&origin, "variable/SECRET").await));
    fleet.restart(0, Key::Same).await.unwrap();
    assert_eq!(ask_all(&fleet, "key").await, [other, keys[1].clone()]);
    fleet.end().await;
}

#[tokio::test]
async fn keys_may_be_the_same_for_all() {
    let stage = Stage::new();
    let mut spawn = stage.spawn(APP);
    (spawn.keys, spawn.env_per_replica) = (Keys::Shared, vec!["SECRET".into()]);
    let fleet = start(spawn).await;
    for path in ["key", "variable/SECRET"] {
        let said = ask_all(&fleet, path).await;
        assert!(said[0] == said[1] && said[0].len() == 64, "{said:?}");
    }
    fleet.end().await;
}

#[tokio::test]
async fn a_replica_without_a_key_cannot_get_another() {
    let stage = Stage::new();
    let fleet = stage.start("exec python3 app.py {port}").await;
    let trouble = fleet.restart(0, Key::Other).await.expect_err("there is no key");
    assert!(matches!(trouble, Trouble::NoKey { .. }), "{trouble}");
    fleet.end().await;
}

#[tokio::test]
async fn memory_is_lost_when_a_replica_is_killed_and_its_disk_is_kept() {
    let stage = Stage::new();
    let fleet = stage.start(APP).await;
    let origin = fleet.origin(0);
    assert_eq!((ask(origin, "visit").await, ask(origin, "visit").await), ("1".into(), "2".into()));
    ask(origin, "upload/file").await;
    fleet.kill(0).await.unwrap();
    assert!(std::net::TcpStream::connect(origin.authority()).is_err());
    assert_eq!(fleet.died(), None, "it was killed, and did not die by itself");
    fleet.start(0, Key::Same).await.unwrap();
    assert_eq!((ask(origin, "visit").await, ask(origin, "look/file").await), ("1".into(), "uploaded".into()));
    fleet.end().await;
}

#[tokio::test]
async fn an_own_disk_is_seen_by_one_a_shared_disk_by_all_and_the_folder_of_the_user_stays() {
    for (disk, seen_by_other) in [(Disk::Own, "nothing"), (Disk::Shared, "uploaded")] {
        let stage = Stage::new();
        let mut spawn = stage.spawn(APP);
        spawn.disk = disk;
        let fleet = start(spawn.clone()).await;
        for path in ["uploads.txt", "app.py"] {
            assert_eq!(ask(fleet.origin(0), &format!("upload/{path}")).await, "done");
        }
        assert_eq!(ask_all(&fleet, "look/uploads.txt").await, ["uploaded", seen_by_other], "{disk:?}");
        let files: Vec<_> = fs::read_dir(stage.source()).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(files, ["app.py"]);
        assert!(fs::read_to_string(stage.source().join("app.py")).unwrap().starts_with("\"\"\"A small application"));
        fleet.end().await;

        let fresh = start(spawn).await;
        assert_eq!(ask_all(&fresh, "look/uploads.txt").await, ["nothing", "nothing"], "{disk:?}");
        fresh.end().await;
        assert!(stage.is_cleared(), "{disk:?}");
    }
}

#[tokio::test]
async fn what_belongs_to_a_user_is_private() {
    for (disk, is_same) in [(Disk::Own, false), (Disk::Shared, true)] {
        let stage = Stage::new();
        let mut spawn = stage.spawn("exec python3 app.py {port} {dir}");
        spawn.disk = disk;
        let fleet = start(spawn).await;
        let dirs = ask_all(&fleet, "key").await;
        assert_eq!(dirs[0] == dirs[1], is_same, "{dirs:?}");
        for name in ["HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"] {
            let folders = ask_all(&fleet, &format!("variable/{name}")).await;
            for (folder, dir) in folders.iter().zip(&dirs) {
                assert!(folder.starts_with(&format!("{dir}/")), "{name}: {folder} is not below {dir}");
            }
        }
        let (private, work) = fleet.spawned().disk(0);
        assert_eq!(private.to_str(), Some(dirs[0].as_str()));
        assert_eq!(work.to_str(), Some(ask(fleet.origin(0), "folder").await.as_str()));
        assert!(exists(private, "home") && exists(work, "app.py"));
        fleet.end().await;
        until("the folders are removed", || stage.is_cleared()).await;
    }
}

#[tokio::test]
async fn what_is_shared_although_each_has_a_disk_is_said() {
    let stage = Stage::new();
    std::os::unix::fs::symlink("/etc/hostname", stage.source().join("out")).unwrap();
    let source = stage.source().canonicalize().unwrap();
    let fleet = stage.start(&format!("exec python3 {}/app.py {{port}}", source.display())).await;
    let notes = fleet.notes().join("\n");
    assert!(notes.contains("so replicas share what is behind: out."), "{notes}");
    assert!(notes.contains(&format!("The command names {}", source.display())), "{notes}");
    fleet.end().await;
}

#[tokio::test]
async fn a_folder_that_is_too_large_is_shared_and_that_is_said() {
    let stage = Stage::new();
    // It takes no room on the disk.
    fs::File::create(stage.source().join("large")).unwrap().set_len((1 << 30) + 1).unwrap();
    let fleet = stage.start(APP).await;
    let notes = fleet.notes().join("\n");
    assert!(notes.contains("too large to be copied"), "{notes}");
    let source = stage.source().canonicalize().unwrap();
    assert_eq!(ask_all(&fleet, "folder").await, vec![source.to_str().unwrap(); 2]);
    fleet.end().await;
}
