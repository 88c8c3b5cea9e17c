//! Switches as Go's flags read them.

/// Reads `true` or `false` in the forms that Go knows. `None` for anything else.
pub(super) fn parse(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
