//! Options that stand before a mode of `load`.

use std::ffi::OsString;

/// The global options that take a value.
const WITH_VALUE: [&str; 3] = ["--addr", "--output", "-o"];

/// Moves options that stand before the mode of `load` to the end of the line.
///
/// The modes of `load` have an `--addr` and an `--output` of their own, of other types, which
/// a global option of that name would overwrite. Every other command takes them anywhere.
pub(crate) fn for_load(arguments: Vec<OsString>) -> Vec<OsString> {
    let mut rest = arguments.iter().cloned();
    let mut line: Vec<OsString> = rest.next().into_iter().collect();
    let mut moved = Vec::new();
    let mut words = 0;
    while let Some(argument) = rest.next() {
        let text = argument.to_string_lossy().into_owned();
        if text == "--" {
            return arguments;
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
            return arguments;
        }
        if words == 2 {
            break;
        }
    }
    line.extend(rest);
    line.extend(moved);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(line: &str) -> String {
        let line = for_load(line.split(' ').map(OsString::from).collect());
        let line: Vec<String> = line
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        line.join(" ")
    }

    #[test]
    fn only_lines_of_load_change() {
        for line in [
            "ctl",
            "ctl -o json publish load",
            "ctl load",
            "ctl load batch -o json",
            "ctl -- load",
        ] {
            assert_eq!(moved(line), line);
        }
        for (line, expected) in [
            ("ctl -o json load batch --x", "ctl load batch --x -o json"),
            (
                "ctl --addr=a:1 load -o yaml batch",
                "ctl load batch --addr=a:1 -o yaml",
            ),
            ("ctl --no-color load batch", "ctl load batch --no-color"),
            ("ctl load --help", "ctl load --help"),
            ("ctl --addr", "ctl --addr"),
        ] {
            assert_eq!(moved(line), expected);
        }
    }
}
