//! Command lines of `load`, which are read on their own.
//!
//! The modes of `load` have an `--addr` and an `--output` of their own, whose types differ
//! from those of the global options. The two cannot be read as one command, so a line of
//! `load` is read as one that has no such global options.

use std::ffi::OsString;

use clap::{Parser, Subcommand};

use crate::load;

/// The global options that take a value.
const WITH_VALUE: [&str; 3] = ["--addr", "--output", "-o"];

/// What can be said with `load`.
#[derive(Debug, Parser)]
#[command(name = "chronosctl", version, max_term_width = 110)]
pub(crate) struct LoadLine {
    /// Print without colors, as NO_COLOR does.
    #[arg(long, global = true, help_heading = "Global options")]
    no_color: bool,
    #[command(subcommand)]
    command: LoadOnly,
}

#[derive(Debug, Subcommand)]
enum LoadOnly {
    /// Measure a node under load, and check what arrives.
    Load(load::Args),
}

impl LoadLine {
    /// The arguments of `load`.
    pub(crate) fn into_args(self) -> load::Args {
        let LoadOnly::Load(args) = self.command;
        args
    }
}

/// If this is a line of `load`: the line, with options that stand before the mode moved to
/// its end, where the mode takes them.
pub(crate) fn reordered(arguments: &[OsString]) -> Option<Vec<OsString>> {
    let mut rest = arguments.iter().cloned();
    let mut line: Vec<OsString> = rest.next().into_iter().collect();
    let mut moved = Vec::new();
    let mut words = 0;
    while words < 2
        && let Some(argument) = rest.next()
    {
        let text = argument.to_string_lossy().into_owned();
        if text == "--" {
            return None;
        }
        if text.starts_with('-') {
            moved.push(argument);
            if WITH_VALUE.contains(&text.as_str()) {
                moved.extend(rest.next());
            }
            continue;
        }
        line.push(argument);
        words += 1;
        if words == 1 && text != "load" {
            return None;
        }
    }
    if words == 0 {
        return None;
    }
    line.extend(rest);
    line.extend(moved);
    Some(line)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn arguments(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    fn moved(line: &str) -> Option<String> {
        let line: Vec<String> = reordered(&arguments(line))?
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        Some(line.join(" "))
    }

    #[test]
    fn only_lines_of_load_are_taken() {
        for line in [
            "ctl",
            "ctl --help",
            "ctl --addr",
            "ctl -o json publish load",
            "ctl -o load publish",
            "ctl help load",
            "ctl -- load",
        ] {
            assert_eq!(moved(line), None, "{line}");
        }
    }

    #[test]
    fn options_before_the_mode_move_behind_it() {
        for (line, expected) in [
            ("ctl load", "ctl load"),
            ("ctl load --help", "ctl load --help"),
            ("ctl load batch -o json", "ctl load batch -o json"),
            ("ctl -o json load batch -x", "ctl load batch -x -o json"),
            (
                "ctl --addr=a load -o json batch",
                "ctl load batch --addr=a -o json",
            ),
            ("ctl --no-color load batch", "ctl load batch --no-color"),
        ] {
            assert_eq!(moved(line).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_line_of_load_can_be_read() {
        LoadLine::command().debug_assert();
        let line = reordered(&arguments("ctl --addr :1 -o json load batch --no-color"));
        let line = LoadLine::try_parse_from(line.unwrap()).unwrap();
        assert!(format!("{:?}", line.into_args()).contains("Json"));
    }
}
