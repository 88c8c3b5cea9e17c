//! Text that counts.

/// What is replaced by the number of the event.
pub(crate) const PLACEHOLDER: &str = "{{n}}";

/// The text of the `n`th event: every `{{n}}` becomes the number.
pub(crate) fn fill(text: &str, n: u64) -> String {
    text.replace(PLACEHOLDER, &n.to_string())
}

/// True when the text differs from event to event.
pub(crate) fn counts(text: &str) -> bool {
    text.contains(PLACEHOLDER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_placeholder_is_replaced() {
        assert_eq!(fill("order-{{n}}/{{n}}", 7), "order-7/7");
        assert_eq!(fill("{{ n }} {n} {{n}", 7), "{{ n }} {n} {{n}");
        assert!(counts("a{{n}}") && !counts("a{n}"));
    }
}
