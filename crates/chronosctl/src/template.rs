//! Text that counts.

/// What is replaced by the number of the event. Help texts show the spaced form: clap takes
/// the other for a line break.
const PLACEHOLDERS: [&str; 2] = ["{{n}}", "{{ n }}"];

/// The text of the `n`th event: every `{{n}}` and `{{ n }}` becomes the number.
pub(crate) fn fill(text: &str, n: u64) -> String {
    let number = n.to_string();
    PLACEHOLDERS
        .iter()
        .fold(text.to_string(), |text, placeholder| {
            text.replace(placeholder, &number)
        })
}

/// True when the text differs from event to event.
pub(crate) fn counts(text: &str) -> bool {
    PLACEHOLDERS
        .iter()
        .any(|placeholder| text.contains(placeholder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_placeholder_is_replaced() {
        assert_eq!(fill("order-{{n}}/{{n}}", 7), "order-7/7");
        assert_eq!(fill("{{ n }}, {n}, {{n}", 7), "7, {n}, {{n}");
        assert!(counts("a{{n}}") && counts("a{{ n }}") && !counts("a{n}"));
    }
}
