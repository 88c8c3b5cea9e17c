//! The help text and the configuration file in force.

use std::fmt::Write;

use super::args::{COMMANDS, PROGRAM_FLAGS};
use super::settings::{COMPONENTS, SETTINGS};
use super::{Config, Source};

/// The text of `chronosdb -help`.
pub fn help() -> String {
    let mut text = String::from(
        "chronosdb runs a node of ChronosDB, a database for events that must happen at a time.\n\n\
         Usage:\n  chronosdb [-flag=value ...]\n",
    );
    for (command, arguments, doc) in COMMANDS {
        line(&mut text, &format!("  chronosdb {command}{arguments}"));
        paragraph(&mut text, doc);
    }
    text.push_str(
        "\nExamples:\n  chronosdb\n  \
         chronosdb -node-id=node1 -data-dir=/var/lib/chronosdb -fsync-mode=batch\n  \
         CHRONOS_GRPC_ADDR=127.0.0.1:9000 chronosdb -config chronosdb.toml\n\n",
    );
    let precedence = "A setting comes from its default, the file that -config names, a variable \
         (CHRONOS_ and the flag's name in capitals: CHRONOS_DATA_DIR) or a flag; each outweighs \
         those before it. One dash or two, -flag=value or -flag value; a switch takes its value \
         only with an equals sign. docs/configuration.md has the details.";
    for wrapped in wrap(precedence, 96) {
        line(&mut text, &wrapped);
    }

    text.push_str("\nProgram\n");
    for (name, doc) in PROGRAM_FLAGS {
        let value = if name == "config" { " path" } else { "" };
        line(&mut text, &format!("  -{name}{value}"));
        paragraph(&mut text, doc);
    }
    let mut defaults = Config::default();
    for component in &COMPONENTS {
        let _ = write!(text, "\n{}\n", component.title);
        for setting in SETTINGS.iter().filter(|s| s.table == component.table) {
            let default = match setting.field.show(&mut defaults) {
                default if default.is_empty() => String::new(),
                default => format!(" (default {default})"),
            };
            line(
                &mut text,
                &format!("  -{} {}{default}", setting.name, setting.field.kind()),
            );
            paragraph(&mut text, setting.doc);
        }
    }
    text
}

/// The configuration as a file that gives the same configuration when it is read, each value with
/// its source.
///
/// What a data directory remembers (the node's id and the number of partitions) stays a comment
/// while nothing set it, so that the file still suits every directory.
pub fn file(config: &Config) -> String {
    let mut text = String::new();
    let mut values = config.clone();
    for component in &COMPONENTS {
        if !text.is_empty() {
            text.push('\n');
        }
        let _ = writeln!(text, "[{}]", component.table);
        for setting in SETTINGS.iter().filter(|s| s.table == component.table) {
            let source = config.source(setting.name);
            let remembered = matches!(setting.name, "node-id" | "partition-count");
            let mark = if remembered && source == Source::Default {
                "# "
            } else {
                ""
            };
            let source: String = source
                .to_string()
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect();
            let value = setting.field.show_toml(&mut values);
            let _ = writeln!(text, "{mark}{} = {value} # {source}", setting.key);
        }
    }
    text
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn paragraph(text: &mut String, doc: &str) {
    for wrapped in wrap(doc, 88) {
        line(text, &format!("        {wrapped}"));
    }
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(last) if last.len() + 1 + word.len() <= width => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
