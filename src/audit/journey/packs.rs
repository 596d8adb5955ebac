//! Journeys that are ready to be played, or printed and edited.

use unstick_reading::did_you_mean;

/// A journey that is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pack {
    /// What `--pack` calls it.
    pub name: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
    /// The journey, in TOML.
    pub text: &'static str,
}

const PACKS: [Pack; 7] = [
    Pack {
        name: "mcp",
        help: "Model Context Protocol 2025-06-18 at /mcp: initialize, take Mcp-Session-Id, list the tools",
        text: include_str!("packs/mcp.toml"),
    },
    Pack {
        name: "mcp-sessionless",
        help: "Model Context Protocol 2026-07-28 at /mcp, which has no sessions: discover, list the tools",
        text: include_str!("packs/mcp-sessionless.toml"),
    },
    Pack {
        name: "socket.io",
        help: "Socket.IO 3 and later at /socket.io/: connect by polling, then go over to a WebSocket",
        text: include_str!("packs/socket.io.toml"),
    },
    Pack {
        name: "login",
        help: "a form with a CSRF token at /login, then a page that knows the user",
        text: include_str!("packs/login.toml"),
    },
    Pack {
        name: "upload",
        help: "put a file below /files/, read it back, read a part of it",
        text: include_str!("packs/upload.toml"),
    },
    Pack {
        name: "limit",
        help: "ask until the limit of a user is reached (429)",
        text: include_str!("packs/limit.toml"),
    },
    Pack {
        name: "crud",
        help: "JSON at /items: create, read, list, update, delete; then it is gone (404)",
        text: include_str!("packs/crud.toml"),
    },
];

/// All packs, in the order of help.
pub fn list() -> &'static [Pack] {
    &PACKS
}

/// The pack of this name.
///
/// # Errors
/// That there is none, and which there are.
pub fn find(name: &str) -> Result<&'static Pack, String> {
    let names = || PACKS.iter().map(|pack| pack.name);
    PACKS.iter().find(|pack| pack.name == name).ok_or_else(|| {
        let help = did_you_mean(name, names())
            .unwrap_or_else(|| format!("there are {}", names().collect::<Vec<_>>().join(", ")));
        format!("there is no pack `{name}`; {help}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journey::{Remarks, read, write};

    #[test]
    fn every_pack_is_a_journey() {
        for pack in list() {
            let file = format!("{}.toml", pack.name);
            let journey = read(&file, pack.text).unwrap_or_else(|problems| panic!("{problems}")).journey;
            assert!(journey.steps.len() > 1 || journey.steps.iter().any(|step| step.repeat > 1), "{}", pack.name);
            let again =
                read(&file, &write(&journey, &Remarks::default())).unwrap_or_else(|problems| panic!("{problems}"));
            assert_eq!(format!("{:?}", again.journey), format!("{journey:?}"), "{}", pack.name);
            assert!(
                pack.text.starts_with("# ") && pack.text.lines().all(|line| line.chars().count() <= 120),
                "{}",
                pack.name
            );
            assert!(!pack.help.contains('\n') && pack.help.chars().count() <= 100, "{}", pack.name);
        }
    }

    #[test]
    fn packs_are_found_by_name() {
        assert_eq!(find("crud").map(|pack| pack.name), Ok("crud"));
        assert_eq!(find("socketio").unwrap_err(), "there is no pack `socketio`; did you mean `socket.io`?");
        let error = find("everything").unwrap_err();
        assert_eq!(
            error,
            "there is no pack `everything`; there are mcp, mcp-sessionless, socket.io, login, upload, limit, crud"
        );
    }
}
