//! `man [DIR]`: the manual pages, one for each command, made from the same tree that the command line is read by.

use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;
use serde_json::json;

use crate::args::Cli;
use crate::commands::{Done, Program};
use crate::errors::Failure;
use crate::render::units::counted;

/// Arguments of `man`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  backsight man ~/.local/share/man/man1      then: man backsight-retrieve
  backsight man | man -l -                   the page of the whole")]
pub(crate) struct ManArgs {
    /// Write the page of every command into this folder; without it the page of the whole is printed
    dir: Option<PathBuf>,
}

/// Writes the pages.
pub(crate) fn run(args: &ManArgs, program: &Program) -> Result<Done, Failure> {
    let pages = pages()?;
    let terminal = &program.terminal;
    let Some(dir) = &args.dir else {
        if terminal.is_json() {
            let failure = Failure::usage("a manual page has no JSON form");
            return Err(failure.with_hint("`backsight man DIR` writes all of them and names them"));
        }
        let whole = pages.first().map(|page| page.text.as_str()).unwrap_or_default();
        terminal.print(whole);
        return Ok(Done::Done);
    };
    let folder = program.environment.working.join(dir);
    write(&folder, dir, &pages)?;
    if terminal.is_json() {
        let files: Vec<&str> = pages.iter().map(|page| page.file.as_str()).collect();
        terminal.print_json(&json!({"output": folder.display().to_string(), "files": files}));
    } else {
        let count = counted(pages.len() as u64, "page", "pages");
        terminal.print(&format!("Wrote {count} into `{}`.\n", dir.display()));
    }
    Ok(Done::Done)
}

/// A page that is there is replaced: it was made by an older release.
fn write(folder: &Path, shown: &Path, pages: &[Page]) -> Result<(), Failure> {
    std::fs::create_dir_all(folder)
        .map_err(|error| Failure::io(&format!("create folder `{}`", shown.display()), &error))?;
    for page in pages {
        std::fs::write(folder.join(&page.file), &page.text)
            .map_err(|error| Failure::io(&format!("write `{}`", shown.join(&page.file).display()), &error))?;
    }
    Ok(())
}

/// One manual page.
struct Page {
    /// `backsight-jobs-list.1`.
    file: String,
    text: String,
}

/// The page of the whole, then those of all commands.
fn pages() -> Result<Vec<Page>, Failure> {
    let mut root = Cli::command();
    root.build();
    let version = root.get_version().unwrap_or_default().to_owned();
    let mut pages = Vec::new();
    let mut open = vec![root];
    while let Some(command) = open.pop() {
        open.extend(command.get_subcommands().filter(|command| !command.is_hide_set()).cloned());
        pages.push(page(command, &version)?);
    }
    // The whole came first; the others stand by their names.
    pages[1..].sort_by(|one, other| one.file.cmp(&other.file));
    Ok(pages)
}

fn page(command: Command, version: &str) -> Result<Page, Failure> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let man = Man::new(command).title(name.to_uppercase()).source(format!("backsight {version}"));
    let mut text = Vec::new();
    man.manual("Backsight")
        .render(&mut text)
        .map_err(|error| Failure::bug(format!("the page of `{name}` cannot be made: {error}")))?;
    Ok(Page { file: format!("{name}.1"), text: String::from_utf8_lossy(&text).into_owned() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_options_and_examples() {
        let pages = pages().unwrap();
        let files: BTreeSet<&str> = pages.iter().map(|page| page.file.as_str()).collect();
        assert_eq!(files.len(), pages.len());
        assert_eq!(pages[0].file, "backsight.1");
        let mut open = vec![(String::from("backsight"), Cli::command())];
        let mut commands = 0;
        while let Some((name, command)) = open.pop() {
            commands += 1;
            let page = pages.iter().find(|page| page.file == format!("{name}.1"));
            let text = &page.unwrap_or_else(|| panic!("`{name}` has no page")).text;
            assert!(text.contains("Example"), "{name}");
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                let Some(long) = argument.get_long() else { continue };
                let written = format!("\\-\\-{}", long.replace('-', "\\-"));
                assert!(text.contains(&written), "`--{long}` is not on the page of `{name}`");
            }
            let below = command.get_subcommands().filter(|below| !below.is_hide_set());
            open.extend(below.map(|below| (format!("{name}-{}", below.get_name()), below.clone())));
        }
        assert_eq!(commands, pages.len());
    }
}
