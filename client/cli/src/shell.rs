//! `stead completions` and `stead man`: what shells and `man` know of the command line, made from the command line itself.
//! It leaves where a system keeps such files to whoever installs them.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::CommandFactory;
use clap_complete::{Shell, generate};
use clap_mangen::Man;

use crate::{cli::Cli, failure::Failure, output::note};

pub(crate) const COMPLETIONS: &str = "\
Examples:
  stead completions bash > ~/.local/share/bash-completion/completions/stead
  stead completions zsh > ~/.zfunc/_stead
  stead completions fish > ~/.config/fish/completions/stead.fish";

pub(crate) const MAN: &str = "\
Examples:
  stead man | man -l -
  stead man ~/.local/share/man/man1";

pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "stead", &mut script);
    to_output(&script)
}

/// One page to the output, or one for each command into a folder.
pub(crate) fn man(folder: Option<&Path>) -> Result<(), Failure> {
    let mut cli = Cli::command();
    cli.build();
    let Some(folder) = folder else {
        return to_output(&page(cli, "stead").map_err(|fault| Failure::io("cannot write the page", &fault))?);
    };
    let cannot = |fault: io::Error| Failure::io(format!("cannot write to {}", folder.display()), &fault);
    fs::create_dir_all(folder).map_err(cannot)?;
    let pages = write_below(cli, "stead", folder).map_err(cannot)?;
    note(&format!("{pages} pages written to {}", folder.display()));
    Ok(())
}

fn write_below(command: clap::Command, name: &str, folder: &Path) -> io::Result<usize> {
    let nested: Vec<_> = command.get_subcommands().filter(|nested| nested.get_name() != "help").cloned().collect();
    let path: PathBuf = folder.join(format!("{name}.1"));
    fs::write(path, page(command, name)?)?;
    let mut pages = 1;
    for command in nested {
        let name = format!("{name}-{}", command.get_name());
        pages += write_below(command, &name, folder)?;
    }
    Ok(pages)
}

fn page(command: clap::Command, name: &str) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command.display_name(name.to_owned())).title(name).render(&mut page)?;
    Ok(page)
}

fn to_output(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    written.map_err(|fault| Failure::io("cannot write the output", &fault))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        fn count(command: &clap::Command) -> usize {
            1 + command.get_subcommands().filter(|nested| nested.get_name() != "help").map(count).sum::<usize>()
        }
        let folder = tempfile::tempdir().unwrap();
        man(Some(folder.path())).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), count(&Cli::command()));
        let page = fs::read_to_string(folder.path().join("stead-products-adjust.1")).unwrap();
        assert!(page.contains("stead\\-products\\-adjust") && page.contains("below zero"), "{page}");
    }
}
