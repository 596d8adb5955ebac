//! A config file that is mounted alone, as containers have it, and is replaced outside of the mount.

use std::fs;
use std::process::Command;

use crate::cli::{Running, unstick};
use crate::support::client::exchange;
use crate::support::{complete, connect, eventually, free_address, pool_of, skipped};

/// Whether this process may have mounts of its own.
fn may_mount() -> bool {
    let (folder, script) = (tempfile::tempdir().unwrap(), "touch a b && mount --bind a b");
    let mounted = Command::new("unshare").args(["-rm", "sh", "-c", script]).current_dir(folder.path()).output();
    mounted.is_ok_and(|output| output.status.success())
}

#[test]
fn a_file_that_is_mounted_alone_and_replaced_outside_is_told() {
    if !may_mount() {
        return skipped("unshare(1) cannot make a mount namespace here");
    }
    let folder = tempfile::tempdir().unwrap();
    let (outside, inside, next) = ("outside.toml", "inside.toml", "next.toml");
    let at = |name: &str| folder.path().join(name);
    let admin = free_address();
    let more = format!("[admin]\naddress = \"{admin}\"\n[log]\nformat = \"text\"\n");
    let text = complete(&pool_of(&[free_address()], "", &more));
    fs::write(at(outside), &text).unwrap();
    fs::write(at(inside), "").unwrap();
    let script = format!("mount --bind {outside} {inside} && exec \"$0\" \"$@\"");
    let program = unstick(&[]);
    let mut command = Command::new("unshare");
    command.args(["-rm", "sh", "-c", &script]).arg(program.get_program());
    command.args(["run", "-c", inside, "--workers", "1"]).current_dir(folder.path());
    let mut running = Running::of(command);
    running.line("serving web on");
    let ask = |path: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        exchange(&mut connect(admin), &head).text()
    };
    assert!(ask("/metrics").contains("\nunstick_config_files_detached 0"), "{}", ask("/metrics"));

    // In place, as `cat > file` does, is seen.
    fs::write(at(outside), format!("{text}# edited")).unwrap();
    running.line("reloaded: nothing changed");
    assert!(ask("/status").contains("\"detached\": []"));

    fs::write(at(next), format!("{text}# replaced")).unwrap();
    fs::rename(at(next), at(outside)).unwrap();
    let line = running.line("the file was replaced outside of its mount");
    assert!(line.contains("WARN") && line.contains("mount the folder instead") && line.contains(inside), "{line}");
    eventually("it is published", || ask("/metrics").contains("\nunstick_config_files_detached 1"));
    let status = ask("/status");
    assert!(status.contains("mount the folder instead") && status.contains(inside), "{status}");
}

/// What the shell hands over for `<<EOF` is a file without a name, too, and nobody mounted it.
#[test]
fn a_file_that_was_deleted_while_it_was_open_is_not_mounted() {
    use std::os::fd::AsRawFd as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("unstick.toml");
    fs::write(&path, complete(&pool_of(&[free_address()], "", ""))).unwrap();
    let open = fs::File::open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let path = format!("/proc/self/fd/{}", open.as_raw_fd());
    let loaded = unstick::config::load(path.as_ref()).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(loaded.origin.detached().is_empty(), "{:?}", loaded.origin);
}
