//! Results on stdout, in the form asked for.

use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use serde::Serialize;

/// The form of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned text for people.
    Table,
    /// JSON; one object per line where results stream.
    Json,
    /// YAML; one document per result where results stream.
    Yaml,
}

/// Prints results.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printer {
    format: Format,
    colorful: bool,
}

impl Printer {
    pub(crate) fn new(format: Format, colorful: bool) -> Self {
        Self { format, colorful }
    }

    /// Prints a result that is complete.
    pub(crate) fn whole<T: Serialize>(
        &self,
        value: &T,
        table: impl FnOnce() -> Table,
    ) -> io::Result<()> {
        let text = match self.format {
            Format::Table => self.draw(table()),
            Format::Json => serde_json::to_string_pretty(value).map_err(io::Error::other)? + "\n",
            Format::Yaml => serde_yaml_ng::to_string(value).map_err(io::Error::other)?,
        };
        write(&text)
    }

    /// Prints one of many results as it comes.
    pub(crate) fn one<T: Serialize>(
        &self,
        value: &T,
        line: impl FnOnce() -> String,
    ) -> io::Result<()> {
        let text = match self.format {
            Format::Table => line() + "\n",
            Format::Json => serde_json::to_string(value).map_err(io::Error::other)? + "\n",
            Format::Yaml => {
                "---\n".to_string() + &serde_yaml_ng::to_string(value).map_err(io::Error::other)?
            }
        };
        write(&text)
    }

    /// Prints several results that are there together: one table, or one object each.
    pub(crate) fn each<T: Serialize>(
        &self,
        values: &[T],
        table: impl FnOnce() -> Table,
    ) -> io::Result<()> {
        if self.format == Format::Table {
            return write(&self.draw(table()));
        }
        for value in values {
            self.one(value, String::new)?;
        }
        Ok(())
    }

    /// Prints a line for people only, such as the header of lines to come.
    pub(crate) fn heading(&self, line: &str) -> io::Result<()> {
        match self.format {
            Format::Table => write(&format!("{line}\n")),
            Format::Json | Format::Yaml => Ok(()),
        }
    }

    fn draw(&self, mut table: Table) -> String {
        if self.colorful {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        let lines: Vec<String> = table
            .lines()
            .map(|line| line.trim_end().to_string())
            .collect();
        lines.join("\n") + "\n"
    }
}

/// A table with this header, and no lines drawn.
pub(crate) fn table<'a>(header: impl IntoIterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(
            header
                .into_iter()
                .map(|name| Cell::new(name).add_attribute(Attribute::Bold)),
        );
    table
}

/// A cell that is green when things are well and red when they are not.
pub(crate) fn verdict(well: bool, words: &str) -> Cell {
    Cell::new(words).fg(if well { Color::Green } else { Color::Red })
}

/// Says, beside the results, that there is more than was shown, and by which option to get it.
pub(crate) fn more_follow(option: &str) {
    eprintln!("more follow: {option} N");
}

/// The same where only the number of results tells.
pub(crate) fn more_may_follow(option: &str) {
    eprintln!("more may follow: {option} N");
}

fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = table(["ID", "STATE"]);
        table.add_row([Cell::new("a"), verdict(true, "ok")]);
        table.add_row([Cell::new("long name"), verdict(false, "down")]);
        table
    }

    #[test]
    fn tables_are_aligned_and_plain() {
        let plain = Printer::new(Format::Table, false).draw(sample());
        assert_eq!(plain, "ID         STATE\na          ok\nlong name  down\n");
    }

    #[test]
    fn color_is_there_when_wanted() {
        let colorful = Printer::new(Format::Table, true).draw(sample());
        assert!(colorful.contains("\u{1b}["));
    }
}
