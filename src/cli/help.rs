//! How help texts look: groups of options, `-h` with what most need on one screen, `--help` with everything.
//!
//! Every option names its group in `help_heading`; the groups stand in the order in which a command first names them,
//! and the options of a group in the order of the fields. `hide_short_help` keeps an option out of `-h`.

use clap::{Arg, ArgAction, Command};

/// Where the options that every command takes stand within their groups: behind the command's own.
pub(super) const BEHIND_OWN: usize = 1000;

const HEADING: &str = "Output";

/// `command`, the root of all, with its help flags in a group and a word about `--help` at the end of every `-h`.
pub(super) fn arranged(command: Command) -> Command {
    let help = Arg::new("help").short('h').long("help").action(ArgAction::Help).global(true);
    let version = Arg::new("version").short('V').long("version").action(ArgAction::Version);
    let help = help.help("Print help").help_heading(HEADING).display_order(BEHIND_OWN + 10);
    let version = version.help("Print version").help_heading(HEADING).display_order(BEHIND_OWN + 11);
    // The same options as `score pool` has, but for this default.
    let command =
        command.mut_subcommand("select", |select| select.mut_arg("strategy", super::select::default_strategy));
    pointing_to_all(command.disable_help_flag(true).disable_version_flag(true).arg(help).arg(version), "isal")
}

/// Ends the short help of `command`, which is typed as `path`, and of those below it by saying where the rest is.
fn pointing_to_all(command: Command, path: &str) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    let command = names.iter().fold(command, |command, name| {
        command.mut_subcommand(name, |below| pointing_to_all(below, &format!("{path} {name}")))
    });
    let after = command.get_after_help().map(ToString::to_string);
    let pointer = format!("See `{path} --help` for all options.");
    let short = after.as_ref().map_or_else(|| pointer.clone(), |after| format!("{after}\n\n{pointer}"));
    let long = command.get_after_long_help().map(ToString::to_string).or(after);
    command.after_help(short).after_long_help(long.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::Cli;
    use super::*;
    use clap::CommandFactory as _;

    /// Most lines of a short help, at `COLUMNS` columns.
    const LINES: usize = 40;
    const COLUMNS: usize = 100;

    /// Every command with the words that call it.
    fn all(command: Command) -> Vec<(String, Command)> {
        let below: Vec<Command> = command.get_subcommands().cloned().collect();
        let own = (command.get_name().to_owned(), command);
        let below = below.into_iter().flat_map(all).map(|(name, command)| (format!("{} {name}", own.0), command));
        let below: Vec<_> = below.collect();
        std::iter::once(own).chain(below).collect()
    }

    fn commands() -> Vec<(String, Command)> {
        let mut root = arranged(Cli::command()).term_width(COLUMNS);
        root.build();
        all(root)
    }

    #[test]
    fn short_help_of_every_command_fits_a_screen_and_ends_by_pointing_to_all_options() {
        let commands = commands();
        assert!(commands.iter().any(|(name, _)| name == "isal score pool"));
        for (name, mut command) in commands {
            let text = command.render_help().to_string();
            let lines: Vec<&str> = text.trim_end().lines().collect();
            assert!(lines.len() <= LINES, "`{name} -h` has {} lines:\n{text}", lines.len());
            assert!(lines.iter().all(|line| line.chars().count() <= COLUMNS), "`{name} -h` is wider:\n{text}");
            assert_eq!(lines.last(), Some(&format!("See `{name} --help` for all options.").as_str()));
        }
    }

    #[test]
    fn every_option_stands_under_a_heading() {
        const HEADINGS: [&str; 8] =
            ["Run", "Model", "Data", "Training", "Influence", "Selection", "Execution", "Output"];
        for (name, command) in commands() {
            for option in command.get_opts().chain(command.get_arguments().filter(|arg| !arg.is_positional())) {
                let heading = option.get_help_heading().unwrap_or("none");
                assert!(HEADINGS.contains(&heading), "`{name}`: {option} stands under `{heading}`");
            }
        }
    }

    #[test]
    fn long_help_has_every_option_and_the_groups_in_their_order() {
        for (name, mut command) in commands() {
            let text = command.render_long_help().to_string();
            assert!(!text.contains("\nOptions:\n"), "{text}");
            for option in command.get_arguments().filter_map(Arg::get_long) {
                assert!(text.contains(&format!("--{option}")), "`{name} --help` lacks --{option}");
            }
        }
        let (_, mut pool) = commands().into_iter().find(|(name, _)| name == "isal score pool").expect("it is there");
        let text = pool.render_long_help().to_string();
        let at = |heading: &&str| text.find(&format!("\n{heading}:\n")).expect("a heading");
        assert!(["Model", "Data", "Influence", "Selection", "Execution", "Output"].iter().map(at).is_sorted());
    }
}
