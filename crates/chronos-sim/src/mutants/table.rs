//! How mutants were noticed, as a table in Markdown.

use super::{Mutant, Notice};

/// The head of the table.
pub const HEAD: &str = "| mutant | of | what it does | noticed by | median seeds | most seeds |
|---|---|---|---|---|---|
";

/// The line of a mutant.
#[must_use]
pub fn row(mutant: &Mutant, notice: &Notice) -> String {
    let number =
        |seeds: Option<u64>| seeds.map_or("not noticed".to_owned(), |seeds| seeds.to_string());
    format!(
        "| `{}` | {} | {} | {} | {} | {} |\n",
        mutant.name,
        mutant.of,
        mutant.does,
        notice.rules().join(", "),
        number(notice.median()),
        number(notice.most()),
    )
}
