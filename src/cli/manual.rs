//! The man pages and the completions of shells, made of the definition of the command line. Only the feature `manual`
//! and the tests compile this: a proxy that is shipped does not carry it.

use std::io;
use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::{Cli, VERSION};

/// The shells that completions are made for.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Fish, Shell::Zsh];

/// Writes a page per command and the completions into a folder.
///
/// # Errors
/// What could not be written.
pub(crate) fn write(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut whole = visible().disable_help_subcommand(true);
    whole.build();
    write_pages(&whole, folder)?;
    for shell in SHELLS {
        clap_complete::generate_to(shell, &mut visible(), "unstick", folder)?;
    }
    Ok(())
}

/// The command line without the commands that are hidden, which completions would offer.
fn visible() -> Command {
    let whole = Cli::command();
    let about = whole.get_about().cloned().unwrap_or_default();
    let after = whole.get_after_help().cloned().unwrap_or_default();
    let shown = whole.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    Command::new("unstick").version(VERSION).about(about).after_help(after).subcommands(shown)
}

fn write_pages(command: &Command, folder: &Path) -> io::Result<()> {
    command.get_subcommands().try_for_each(|inner| write_pages(inner, folder))?;
    let man = Man::new(command.clone()).source(format!("unstick {VERSION}")).manual("unstick");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(more) = command.get_after_help() {
        // The lines stay as they are: most are examples.
        let mut section = Roff::new();
        section.control("SH", ["MORE"]).control("nf", []);
        more.to_string().lines().for_each(|line| _ = section.text([roman(line)]));
        section.control("fi", []).to_writer(&mut page)?;
    }
    std::fs::write(folder.join(man.get_filename()), page)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The commands that a user sees, each with the name of its page.
    fn commands() -> Vec<(String, Command)> {
        let mut whole = Cli::command();
        whole.build();
        let visible = whole.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help");
        let mut all: Vec<_> =
            visible.map(|command| (format!("unstick-{}.1", command.get_name()), command.clone())).collect();
        all.push(("unstick.1".to_owned(), whole.clone()));
        all
    }

    #[test]
    fn every_flag_has_its_place_in_a_page_and_in_the_completions() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path()).unwrap();
        let read =
            |name: &str| fs::read_to_string(folder.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let completions = ["unstick.bash", "unstick.fish", "_unstick"].map(read);
        let mut count = 0;
        for (name, command) in commands() {
            let page = read(&name);
            // In a page every hyphen has a backslash.
            let page = page.replace('\\', "");
            for flag in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                let Some(long) = flag.get_long() else { continue };
                assert!(page.contains(&format!("--{long}")), "{name} lacks --{long}");
                let in_all = completions.iter().all(|text| text.contains(long));
                assert!(in_all, "--{long} of {name} cannot be completed");
                count += 1;
            }
            if let Some(example) = command.get_after_help() {
                let first = example.to_string().lines().next().unwrap_or_default().replace('\'', "");
                assert!(page.contains(first.trim()), "{name} lacks {first:?}");
            }
        }
        assert!(count > 12, "only {count} flags");
        for file in fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path()) {
            let text = fs::read_to_string(&file).unwrap().replace('\\', "");
            assert!(!text.contains("demo-replica"), "{}: nobody is to see the hidden commands", file.display());
        }
    }
}
