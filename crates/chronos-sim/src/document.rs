//! The part of a document that this program writes: between two lines that mark it.

use std::path::Path;
use std::{fs, io};

/// Puts `text` in place of what is between the marks of `part` in a document.
///
/// # Errors
/// When the document cannot be read or written, or has no such part.
pub fn write(path: &Path, part: &str, text: &str) -> io::Result<()> {
    let document = fs::read_to_string(path)?;
    let Some((before, _, after)) = split(&document, part) else {
        let text = format!("{} has no part {part}", path.display());
        return Err(io::Error::other(text));
    };
    fs::write(path, format!("{before}\n{text}\n{after}"))
}

/// What is between the marks of `part`.
#[must_use]
pub fn part<'a>(document: &'a str, part: &str) -> Option<&'a str> {
    split(document, part).map(|(_, part, _)| part.trim_matches('\n'))
}

fn split<'a>(document: &'a str, part: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let (begin, end) = (
        format!("<!-- {part}: written by `make reliability` -->\n"),
        format!("<!-- end of {part} -->"),
    );
    let from = document.find(&begin)? + begin.len();
    let to = from + document[from..].find(&end)?;
    Some((&document[..from], &document[from..to], &document[to..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_found_and_replaced_alone() {
        let text = "before\n<!-- faults: written by `make reliability` -->\n\nold\n\n<!-- end of faults -->\nafter\n";
        assert_eq!(part(text, "faults"), Some("old"));
        assert_eq!(part(text, "mutants"), None);
        let dir = std::env::temp_dir().join(format!("chronos-sim-{}", std::process::id()));
        fs::write(&dir, text).unwrap();
        write(&dir, "faults", "new\n").unwrap();
        assert!(write(&dir, "mutants", "new\n").is_err());
        let written = fs::read_to_string(&dir).unwrap();
        fs::remove_file(&dir).unwrap();
        assert_eq!(written, text.replace("old", "new"));
    }

    #[test]
    fn a_part_may_be_empty_before() {
        let text = "<!-- faults: written by `make reliability` -->\n\n<!-- end of faults -->\n";
        assert_eq!(part(text, "faults"), Some(""));
    }
}
