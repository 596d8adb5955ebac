//! What the demo prints: what there is, and what to try.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use super::config::Config;
use super::replicas::{RESTART_PAUSE, Replica};
use unstick_proof::replica::launch::Launched;

/// What is printed once all replicas are up.
pub(super) fn introduction(config: &Config, replicas: &[Replica], file: &Path) -> String {
    let paint = Paint::for_stdout();
    let mut lines = Vec::new();
    for replica in replicas {
        let Replica { name, process: Launched { pid, port, .. } } = replica;
        lines.push(format!("{}  pid {pid}  127.0.0.1:{port}", paint.replica(name, &format!("replica {name}"))));
    }
    let (url, file, admin) = (config.url(), file.display(), config.admin);
    let victim = replicas.get(1).or(replicas.first()).map_or(0, |replica| replica.process.pid);
    let pause = RESTART_PAUSE.as_secs();
    lines.push(format!("config     {}", paint.bold(&file.to_string())));
    lines.push(format!("admin      http://{admin}/\n"));
    lines.push(format!("1. Open {} and put something into the cart.", paint.bold(&format!("{url}/"))));
    if config.certificate.is_some() {
        lines.push(
            "   The browser will warn you: the certificate was made just now, and no authority has signed it.".into(),
        );
    }
    lines.push(
        "2. Reload: another replica answers, the cart stays. It is in a signed cookie; no replica knows you.".into(),
    );
    lines.push(format!(
        "3. Kill one: {}  Nothing is lost; it is back after {pause} s.",
        paint.bold(&format!("kill -9 {victim}"))
    ));
    lines.push(
        "4. Edit the config file: another `balance`, or one backend less. It is live when you save; see the log."
            .into(),
    );
    let trust = config.certificate.as_ref().map(|file| format!(" --cacert {}", file.display())).unwrap_or_default();
    let curl = format!("for i in 1 2 3 4 5 6; do curl -s{trust} {url}/whoami; done");
    lines.push(format!("5. From a shell: {}", paint.bold(&curl)));
    lines.push("\nCtrl-C ends the proxy and all replicas.".into());
    lines.join("\n")
}

/// Writes a line to standard output. If nobody reads it any more, that is no reason to stop.
pub(super) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Terminal colours, or none.
#[derive(Debug, Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn for_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self(std::io::stdout().is_terminal() && !unwanted)
    }

    fn bold(self, text: &str) -> String {
        self.code("1", text)
    }

    /// `text` in the colour that the page gives this replica.
    fn replica(self, name: &str, text: &str) -> String {
        const LIKE_THE_PAGE: [&str; 8] = ["27", "35", "202", "99", "136", "162", "37", "103"];
        let letter = name.bytes().next().unwrap_or(b'a').wrapping_sub(b'a');
        self.code(&format!("1;38;5;{}", LIKE_THE_PAGE[usize::from(letter) % LIKE_THE_PAGE.len()]), text)
    }

    fn code(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_only_where_wanted() {
        assert_eq!(Paint(false).replica("b", "x"), "x");
        assert_eq!(Paint(true).replica("b", "x"), "\x1b[1;38;5;35mx\x1b[0m");
        assert_eq!(Paint(true).bold("x"), "\x1b[1mx\x1b[0m");
    }
}
