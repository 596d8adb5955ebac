//! What nobody else may see: the variables of the environment that hold passwords.

use std::process::Command;

/// Variables that hold what `prove` and its replicas need, and nobody else does, begin with this.
const OURS: &str = "UNSTICK_PROVE_";

/// Has a process that runs as another user, or that is not ours, inherit none of our secrets.
pub(super) fn forget(command: &mut Command) {
    let ours = std::env::vars_os().map(|(name, _)| name);
    for name in ours.filter(|name| name.to_string_lossy().starts_with(OURS)) {
        command.env_remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_inherits_our_secrets() {
        let mut command = Command::new("true");
        command.env("UNSTICK_PROVE_X", "secret").env("OTHER", "1");
        forget(&mut command);
        // What is set for this process by name stays; what the environment of the tests holds is none of ours.
        assert!(command.get_envs().all(|(name, value)| value.is_some() || name.to_string_lossy().starts_with(OURS)));
    }
}
