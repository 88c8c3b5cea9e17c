//! Payloads in and out.

use std::fs;
use std::io::{self, IsTerminal, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::exit::Failure;
use crate::template;

/// Longest piece of a payload in a line of text, characters.
const SHOWN_CHARS: usize = 80;

/// A payload to publish, before its number is filled in.
pub(crate) enum Payload {
    /// From the command line; may hold the placeholder.
    Text(String),
    /// From a file or stdin, sent as it is.
    Bytes(Vec<u8>),
}

impl Payload {
    /// Reads what `--payload` names: text, `@file`, or `-` for stdin; without it, stdin. `@@`
    /// stands for text that begins with one `@`.
    pub(crate) fn read(argument: Option<&str>) -> Result<Self, Failure> {
        match argument {
            None if io::stdin().is_terminal() => Err(Failure::Usage(
                "no payload: give --payload TEXT, --payload @FILE, or pipe it to stdin".into(),
            )),
            None | Some("-") => {
                let mut bytes = Vec::new();
                io::stdin().lock().read_to_end(&mut bytes)?;
                Ok(Self::Bytes(bytes))
            }
            Some(text) if text.starts_with("@@") => Ok(Self::Text(text[1..].to_string())),
            Some(text) => match text.strip_prefix('@') {
                Some(path) => fs::read(path)
                    .map(Self::Bytes)
                    .map_err(|error| Failure::Usage(format!("cannot read {path}: {error}"))),
                None => Ok(Self::Text(text.to_string())),
            },
        }
    }

    /// The payload of the `n`th event.
    pub(crate) fn fill(&self, n: u64) -> Vec<u8> {
        match self {
            Self::Text(text) => template::fill(text, n).into_bytes(),
            Self::Bytes(bytes) => bytes.clone(),
        }
    }
}

/// A payload on one line of a terminal: text without control characters, cut short, or the
/// size of what is no text.
pub(crate) fn one_line(payload: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(payload) else {
        return format!("<{} bytes>", payload.len());
    };
    let mut chars = text.chars();
    let mut line = String::new();
    for c in chars.by_ref().take(SHOWN_CHARS) {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    if chars.next().is_some() {
        line.push('…');
    }
    line
}

/// A payload as JSON and YAML give it: text, or base64 of what is no UTF-8.
pub(crate) fn text_or_base64(payload: &[u8]) -> (Option<String>, Option<String>) {
    match String::from_utf8(payload.to_vec()) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(STANDARD.encode(payload))),
    }
}

/// A payload as the table of one event gives it.
pub(crate) fn shown(text: Option<&str>) -> String {
    match text {
        Some(text) => one_line(text.as_bytes()),
        None => "no text; -o json gives it in base64".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_counts_and_files_do_not() {
        let text = Payload::read(Some("no {{n}}")).unwrap();
        assert_eq!(text.fill(3), b"no 3");
        let text = Payload::read(Some("@@home")).unwrap();
        assert_eq!(text.fill(1), b"@home");
        assert_eq!(Payload::Bytes(b"{{n}}".to_vec()).fill(1), b"{{n}}");
        assert!(matches!(
            Payload::read(Some("@/nonexistent/file")),
            Err(Failure::Usage(_))
        ));
    }

    #[test]
    fn a_line_stays_a_line() {
        assert_eq!(one_line("a\nb\x1b[31m é".as_bytes()), "a\\nb\\u{1b}[31m é");
        assert_eq!(one_line(&[0xff, 0]), "<2 bytes>");
        let long = one_line("x".repeat(100).as_bytes());
        assert_eq!(long.chars().count(), SHOWN_CHARS + 1);
    }
}
