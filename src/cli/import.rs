//! `unstick import`: what the user typed, and what is done.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use clap::builder::PossibleValuesParser;
use unstick_import::{Kind, import, report, write};

use crate::EXIT_USAGE;

pub(crate) const AFTER_HELP: &str = "\
Examples:
  unstick import /etc/nginx/nginx.conf -o unstick.toml    read it with all that it includes
  unstick import haproxy.cfg -o unstick.toml
  unstick import traefik.yml -o unstick.toml              read it with what its file provider reads
  unstick import compose.yaml -o unstick.toml             the labels for Traefik
  unstick import /etc/caddy/Caddyfile -o unstick.toml
  unstick import site.conf --from nginx                   a single file, to standard output
  unstick import nginx.conf -o unstick.toml --json        the report for machines, on standard output

What has no faithful translation is a comment in the file, and a line of the report with what to do. What kept somebody
out and could not be translated is closed: it answers 403.

Exit codes: 0 everything was translated, 1 something was left out, 2 wrong usage, or a file that cannot be read.
docs/import.md lists what becomes of each word.";

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The configuration of the other proxy
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Write the config there; to standard output by default
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Whose configuration it is; the name of the file tells otherwise
    #[arg(long, value_name = "PROXY", value_parser = PossibleValuesParser::new(Kind::ALL.map(Kind::name)))]
    pub(crate) from: Option<String>,
    /// Report as JSON: on standard output, or on standard error if the config goes there
    #[arg(long)]
    pub(crate) json: bool,
}

/// Imports a file, and says what was left out.
pub(crate) fn run(args: &Import) -> anyhow::Result<ExitCode> {
    let named = args.from.as_deref().and_then(|name| Kind::ALL.into_iter().find(|kind| kind.name() == name));
    let Some(kind) = named.or_else(|| Kind::of(&args.file)) else {
        let known = Kind::ALL.map(Kind::name).join(", ");
        let file = args.file.display();
        writeln!(io::stderr(), "error: {file}: the name does not tell whose file this is; add --from ({known})")?;
        return Ok(ExitCode::from(EXIT_USAGE));
    };
    let imported = match import(&args.file, kind, base(args).as_deref()) {
        Ok(imported) => imported,
        Err(error) => {
            writeln!(io::stderr(), "error: {error}")?;
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    let toml = write::toml(&imported, &args.file.display().to_string());
    let report = if args.json { report::json(&imported) } else { report::text(&imported) };
    match &args.output {
        Some(output) => fs::write(output, toml).with_context(|| format!("cannot write {}", output.display()))?,
        None => io::stdout().write_all(toml.as_bytes())?,
    }
    match (args.json, &args.output) {
        (true, Some(_)) => io::stdout().write_all(report.as_bytes())?,
        _ => io::stderr().write_all(report.as_bytes())?,
    }
    Ok(if imported.left_out.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What relative paths need in front of them: nothing if the config goes to the folder of the file.
fn base(args: &Import) -> Option<PathBuf> {
    let folder = |path: &Path| {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::canonicalize(parent).ok()
    };
    let (from, to) = (folder(&args.file)?, folder(args.output.as_deref().unwrap_or(Path::new("-")))?);
    (from != to).then_some(from)
}
