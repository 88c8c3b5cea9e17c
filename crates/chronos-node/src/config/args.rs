//! Command lines in the syntax of Go's `flag` package: one or two dashes, `-x=v` or `-x v`, and
//! switches that take a value only with `=`.

use std::ffi::OsString;
use std::path::PathBuf;

use super::UsageError;
use super::error::quoted;
use super::former::{FORMER, Former, Takes};
use super::nearest::nearest;
use super::setting::{Field, Setting};
use super::settings::SETTINGS;

/// Flags that belong to the program and not to the configuration of a node.
pub(super) const PROGRAM_FLAGS: [(&str, &str); 4] = [
    (
        "config",
        "Reads a TOML file with settings. The variable CHRONOS_CONFIG does the same.",
    ),
    ("help", "Prints this help."),
    ("version", "Prints the version."),
    (
        "print-config",
        "Prints the settings in force as a TOML file, with the source of each, and stops.",
    ),
];

/// Commands other than to serve.
pub(super) const COMMANDS: [(&str, &str, &str); 4] = [
    (
        "inspect-wal",
        " <dir>",
        "Prints what the log segments in a folder hold, changing nothing. Exit code 1 if a node would refuse them.",
    ),
    (
        "force-majority",
        " <data-dir> --lose-what-others-have",
        "For when most nodes of a cluster are lost for good: makes the node of this data directory, which must not run, the only voter of everything it has. What only the others had is lost.",
    ),
    ("config-reference", "", "Prints docs/configuration.md."),
    ("metrics-reference", "", "Prints docs/metrics.md."),
];

const FORCE_MAJORITY: &str = "force-majority takes a data directory and a confirmation, because what only the \
     other nodes have is lost: chronosdb force-majority <data-dir> --lose-what-others-have";

/// A command line, taken apart.
#[derive(Default)]
pub(super) struct Line {
    pub(super) action: Action,
    /// The file named by `-config`.
    pub(super) file: Option<String>,
    /// Flags with their values, in order.
    pub(super) settings: Vec<(&'static Setting, String)>,
    /// Flags of the predecessor with their values, in order.
    pub(super) former: Vec<(&'static Former, String)>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Action {
    #[default]
    Serve,
    Help,
    Version,
    PrintConfig,
    ConfigReference,
    MetricsReference,
    InspectWal(PathBuf),
    ForceMajority(PathBuf),
}

/// What a flag's name stands for.
enum Flag {
    Setting(&'static Setting),
    Former(&'static Former),
    Config,
    Help,
    Version,
    PrintConfig,
}

impl Flag {
    fn find(name: &str) -> Option<Self> {
        let own = match name {
            "config" => Some(Self::Config),
            "help" | "h" => Some(Self::Help),
            "version" => Some(Self::Version),
            "print-config" => Some(Self::PrintConfig),
            _ => None,
        };
        let setting = || SETTINGS.iter().find(|s| s.name == name).map(Self::Setting);
        let former = || {
            FORMER
                .iter()
                .find(|former| former.is_flag && former.name == name)
                .map(Self::Former)
        };
        own.or_else(setting).or_else(former)
    }

    fn is_switch(&self) -> bool {
        match self {
            Self::Setting(setting) => matches!(setting.field, Field::Switch(_)),
            Self::Former(former) => former.takes == Takes::Switch,
            Self::Config => false,
            Self::Help | Self::Version | Self::PrintConfig => true,
        }
    }
}

/// Takes a command line apart; the program's name is not part of it.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Line, UsageError> {
    let mut words = Vec::new();
    for (position, word) in args.into_iter().enumerate() {
        words.push(word.into_string().map_err(|_| {
            UsageError::new(format!("argument {} is not valid UTF-8", position + 1))
        })?);
    }
    match words.first() {
        Some(first) if !first.starts_with('-') => command(first, &words[1..]),
        _ => flags(&words),
    }
}

fn command(name: &str, rest: &[String]) -> Result<Line, UsageError> {
    if rest.iter().any(|word| is_help(word)) {
        return Ok(action(Action::Help));
    }
    let done = match name {
        "help" => Action::Help,
        "version" => Action::Version,
        "config-reference" => Action::ConfigReference,
        "metrics-reference" => Action::MetricsReference,
        "inspect-wal" => {
            let [folder] = rest else {
                return Err(UsageError::new(
                    "inspect-wal takes one folder with log segments: chronosdb inspect-wal <dir>",
                ));
            };
            return Ok(action(Action::InspectWal(PathBuf::from(folder))));
        }
        "force-majority" => {
            let [folder, confirmed] = rest else {
                return Err(UsageError::new(FORCE_MAJORITY));
            };
            if confirmed.trim_start_matches('-') != "lose-what-others-have" {
                return Err(UsageError::new(FORCE_MAJORITY));
            }
            return Ok(action(Action::ForceMajority(PathBuf::from(folder))));
        }
        _ => {
            let commands = COMMANDS.map(|(command, ..)| command);
            let flag = Flag::find(name).map(|_| format!("-{name}"));
            let hint = flag.or_else(|| nearest(name, commands).map(str::to_owned));
            return Err(UsageError::new(format!(
                "unknown command {}; {}",
                quoted(name),
                advice(hint.as_deref())
            )));
        }
    };
    match rest.first() {
        None => Ok(action(done)),
        Some(extra) => Err(UsageError::new(format!(
            "{name} takes no arguments, but got {}",
            quoted(extra)
        ))),
    }
}

fn action(action: Action) -> Line {
    Line {
        action,
        ..Line::default()
    }
}

fn is_help(word: &str) -> bool {
    matches!(word, "-h" | "--h" | "-help" | "--help")
}

fn flags(words: &[String]) -> Result<Line, UsageError> {
    let mut line = Line::default();
    let mut words = words.iter();
    let mut last_switch: Option<&str> = None;
    while let Some(word) = words.next() {
        let body = match word.strip_prefix('-') {
            Some(body) if word != "-" && word != "--" => body.strip_prefix('-').unwrap_or(body),
            _ => {
                let rest = if word == "--" {
                    words.next()
                } else {
                    Some(word)
                };
                return match rest {
                    None => Ok(line),
                    Some(rest) => Err(unexpected(rest, last_switch)),
                };
            }
        };
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (body, None),
        };
        if name.is_empty() || name.starts_with('-') {
            return Err(UsageError::new(format!(
                "{} is not a flag; write -name=value or -name value",
                quoted(word)
            )));
        }
        let flag = Flag::find(name).ok_or_else(|| unknown(name))?;
        last_switch = None;
        let value = match value {
            Some(value) => value.to_owned(),
            None if flag.is_switch() => {
                last_switch = Some(name);
                "true".to_owned()
            }
            None => words.next().cloned().ok_or_else(|| {
                UsageError::new(format!("-{name} needs a value: -{name}=<value>"))
            })?,
        };
        match flag {
            Flag::Setting(setting) => line.settings.push((setting, value)),
            Flag::Former(former) => line.former.push((former, value)),
            Flag::Config => line.file = Some(value),
            Flag::Help => program_switch(&mut line, name, &value, Action::Help)?,
            Flag::Version => program_switch(&mut line, name, &value, Action::Version)?,
            Flag::PrintConfig => program_switch(&mut line, name, &value, Action::PrintConfig)?,
        }
        if matches!(line.action, Action::Help | Action::Version) {
            return Ok(line);
        }
    }
    Ok(line)
}

fn program_switch(
    line: &mut Line,
    name: &str,
    value: &str,
    action: Action,
) -> Result<(), UsageError> {
    match super::switch::parse(value) {
        Some(true) => line.action = action,
        Some(false) => {}
        None => {
            return Err(UsageError::new(format!(
                "-{name} takes true or false, not {}",
                quoted(value)
            )));
        }
    }
    Ok(())
}

fn unexpected(word: &str, last_switch: Option<&str>) -> UsageError {
    UsageError::new(match last_switch {
        Some(switch) => format!(
            "unexpected argument {}; a switch takes its value with an equals sign: -{switch}={word}",
            quoted(word)
        ),
        None => format!(
            "unexpected argument {}; flags begin with a dash, and -help lists them",
            quoted(word)
        ),
    })
}

fn unknown(name: &str) -> UsageError {
    let program = PROGRAM_FLAGS.iter().map(|(name, _)| *name);
    let settings = SETTINGS.iter().map(|setting| setting.name);
    let former = FORMER
        .iter()
        .filter(|former| former.is_flag)
        .map(|former| former.name);
    let hyphened = name.replace('_', "-").to_ascii_lowercase();
    let near = nearest(&hyphened, settings.chain(program).chain(former));
    let hint = near.map(|near| format!("-{near}"));
    let shown: String = name.chars().take(80).collect();
    UsageError::new(format!(
        "unknown flag -{shown}; {}",
        advice(hint.as_deref())
    ))
}

fn advice(hint: Option<&str>) -> String {
    match hint {
        Some(hint) => format!("did you mean {hint}?"),
        None => "-help lists all flags and commands".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(words: &[&str]) -> Result<Line, String> {
        parse(words.iter().map(OsString::from)).map_err(|error| error.to_string())
    }

    fn settings(words: &[&str]) -> Vec<(&'static str, String)> {
        let line = line(words).unwrap();
        let named = |(setting, value): (&'static Setting, String)| (setting.name, value);
        line.settings.into_iter().map(named).collect()
    }

    fn refusal(words: &[&str]) -> String {
        line(words).err().unwrap()
    }

    #[test]
    fn takes_one_or_two_dashes_and_both_forms_of_value() {
        let expected = vec![("node-id", "node1".to_owned())];
        for words in [
            &["-node-id=node1"][..],
            &["--node-id=node1"],
            &["-node-id", "node1"],
            &["--node-id", "node1"],
        ] {
            assert_eq!(settings(words), expected, "{words:?}");
        }
        assert_eq!(settings(&["-node-id=a=b"]), [("node-id", "a=b".to_owned())]);
        assert_eq!(settings(&["-node-id="]), [("node-id", String::new())]);
        assert_eq!(
            settings(&["-node-id", "-x"]),
            [("node-id", "-x".to_owned())]
        );
    }

    #[test]
    fn switches_take_a_value_only_with_an_equals_sign() {
        assert_eq!(
            settings(&["-reflection"]),
            [("reflection", "true".to_owned())]
        );
        assert_eq!(
            settings(&["-reflection=false", "-max-retries", "3"]),
            [
                ("reflection", "false".to_owned()),
                ("max-retries", "3".to_owned())
            ]
        );
        assert_eq!(
            refusal(&["-reflection", "false"]),
            "unexpected argument \"false\"; a switch takes its value with an equals sign: -reflection=false"
        );
        let line = line(&["-follower-reads", "--dev"]).unwrap();
        assert_eq!(line.former.len(), 2);
    }

    #[test]
    fn refuses_with_advice() {
        for (words, expected) in [
            (
                &["-segment-sise=1"][..],
                "unknown flag -segment-sise; did you mean -segment-size?",
            ),
            (
                &["--data_dir", "x"],
                "unknown flag -data_dir; did you mean -data-dir?",
            ),
            (
                &["-colour"],
                "unknown flag -colour; -help lists all flags and commands",
            ),
            (&["-node-id"], "-node-id needs a value: -node-id=<value>"),
            (
                &["---node-id=1"],
                "\"---node-id=1\" is not a flag; write -name=value or -name value",
            ),
            (
                &["-=1"],
                "\"-=1\" is not a flag; write -name=value or -name value",
            ),
            (
                &["-node-id=a", "serve"],
                "unexpected argument \"serve\"; flags begin with a dash, and -help lists them",
            ),
            (
                &["--", "x"],
                "unexpected argument \"x\"; flags begin with a dash, and -help lists them",
            ),
            (
                &["inspect-wall", "x"],
                "unknown command \"inspect-wall\"; did you mean inspect-wal?",
            ),
            (
                &["node-id=1"],
                "unknown command \"node-id=1\"; -help lists all flags and commands",
            ),
            (
                &["data-dir"],
                "unknown command \"data-dir\"; did you mean -data-dir?",
            ),
            (&["force-majority", "data"], FORCE_MAJORITY),
            (
                &["inspect-wal"],
                "inspect-wal takes one folder with log segments: chronosdb inspect-wal <dir>",
            ),
            (
                &["config-reference", "x"],
                "config-reference takes no arguments, but got \"x\"",
            ),
            (
                &["-print-config=maybe"],
                "-print-config takes true or false, not \"maybe\"",
            ),
        ] {
            assert_eq!(refusal(words), expected, "{words:?}");
        }
    }

    #[test]
    fn a_variable_without_a_flag_is_no_flag() {
        assert!(refusal(&["-cdc-webhook-url=x"]).starts_with("unknown flag"));
    }

    #[test]
    fn knows_actions_and_commands() {
        let action = |words: &[&str]| line(words).unwrap().action;
        assert_eq!(action(&[]), Action::Serve);
        assert_eq!(action(&["--"]), Action::Serve);
        assert_eq!(action(&["-h"]), Action::Help);
        assert_eq!(action(&["-node-id=a", "--help", "-nonsense"]), Action::Help);
        assert_eq!(action(&["--version"]), Action::Version);
        assert_eq!(action(&["--print-config"]), Action::PrintConfig);
        assert_eq!(action(&["-print-config=false"]), Action::Serve);
        assert_eq!(action(&["config-reference"]), Action::ConfigReference);
        assert_eq!(action(&["metrics-reference"]), Action::MetricsReference);
        assert_eq!(
            action(&["inspect-wal", "data"]),
            Action::InspectWal(PathBuf::from("data"))
        );
        assert_eq!(
            action(&["force-majority", "data", "--lose-what-others-have"]),
            Action::ForceMajority(PathBuf::from("data"))
        );
        assert_eq!(action(&["inspect-wal", "--help"]), Action::Help);
    }

    #[cfg(unix)]
    #[test]
    fn refuses_arguments_that_are_not_text() {
        use std::os::unix::ffi::OsStringExt;
        let error = parse([OsString::from_vec(vec![b'-', 0xff])]).err().unwrap();
        assert_eq!(error.to_string(), "argument 1 is not valid UTF-8");
    }

    proptest! {
        #[test]
        fn any_words_give_a_line_or_one_line_of_error(
            words in proptest::collection::vec(any::<String>(), 0..5)
        ) {
            if let Err(error) = parse(words.into_iter().map(OsString::from)) {
                prop_assert!(!error.to_string().contains('\n'));
            }
        }

        #[test]
        fn every_setting_is_read_back_in_every_form(
            index in 0..SETTINGS.len(),
            value in "[^-]{0,20}",
            dashes in 1..=2usize,
        ) {
            let name = SETTINGS[index].name;
            let flag = format!("{}{name}={value}", "-".repeat(dashes));
            prop_assert_eq!(settings(&[&flag]), vec![(name, value)]);
        }
    }
}
