//! That the commands are well formed and their help teaches.
//! Leaves what they do to the promises, which run the program.

use clap::CommandFactory as _;

use super::Arguments;

#[test]
fn the_commands_are_well_formed() {
    Arguments::command().debug_assert();
}

#[test]
fn each_command_says_what_it_does_and_shows_an_example() {
    let arguments = Arguments::command();
    for command in arguments.get_subcommands() {
        let (name, about) = (command.get_name(), command.get_about().map(ToString::to_string).unwrap_or_default());
        assert!(about.len() > 10 && !about.ends_with('.'), "{name}: {about:?}");
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(after.contains("stead-server"), "{name} shows no example");
    }
}

#[test]
fn no_secret_can_be_given_as_a_flag_where_a_server_reads_it() {
    let arguments = Arguments::command();
    for command in ["serve", "doctor", "config", "migrate", "keys"] {
        let command = arguments.find_subcommand(command).unwrap();
        let flags = |command: &clap::Command| {
            command.get_arguments().filter_map(|flag| flag.get_long().map(str::to_owned)).collect::<Vec<_>>()
        };
        let all = flags(command).into_iter().chain(command.get_subcommands().flat_map(flags));
        for flag in all {
            assert!(
                !["database-url", "platform-database-url", "owner-database-url", "secret-keys"]
                    .contains(&flag.as_str()),
                "--{flag}"
            );
        }
    }
}
