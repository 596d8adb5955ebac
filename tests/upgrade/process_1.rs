//! Process 1 of a container, with which all others end: it cannot leave the service to another.

use std::process::Command;

use crate::cli::{Running, unstick};
use crate::control::{JSON, post};
use crate::support::backend::Backend;
use crate::support::client::get;
use crate::support::{complete, free_address, pool_of, skipped};

/// Puts a command into a container of its own, as far as processes are concerned.
fn as_process_1() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    command
}

#[test]
fn process_1_does_not_upgrade_and_says_why() {
    if !as_process_1().arg("true").status().is_ok_and(|status| status.success()) {
        return skipped("unshare(1) cannot make a PID namespace here");
    }
    let backend = Backend::named("a");
    let (folder, admin, web) = (tempfile::tempdir().unwrap(), free_address(), free_address());
    let text = complete(&pool_of(&[backend.address], "", &format!("[admin]\naddress = \"{admin}\"\n")));
    let file = folder.path().join("unstick.toml");
    std::fs::write(&file, text.replace("127.0.0.1:0", &web.to_string())).unwrap();
    let mut command = as_process_1();
    command.arg(unstick(&[]).get_program()).args(["run", "--workers", "1", "-c"]).arg(&file);
    let mut running = Running::of(command);
    running.line("serving web on");

    let refused = post(admin, "/v1/upgrade", JSON, "");
    let why = "this is process 1 of its container, which ends with it: start a new container";
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert!(refused.text().contains(why), "{}", refused.text());
    assert!(running.line("upgrade refused").contains(why));
    assert_eq!(get(web, "/").text(), "a", "it serves on");
}
