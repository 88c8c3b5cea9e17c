//! Known failures that can be switched on, to show that simulations catch them.
//!
//! Compiled in only with the cargo feature `mutants`, and then switched on by the environment
//! variable `CHRONOS_MUTANT`, one name per process. Without the feature each switch is the constant
//! `false` and its branch is compiled out. The core has the same for its own failures.

/// Whether the named failure is switched on. Use through [`mutant!`](crate::mutant).
#[cfg(feature = "mutants")]
#[must_use]
pub fn active(name: &str) -> bool {
    static ACTIVE: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    ACTIVE
        .get_or_init(|| std::env::var("CHRONOS_MUTANT").ok())
        .as_deref()
        == Some(name)
}

/// Always `false`: this build has no mutants.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
#[must_use]
pub const fn active(_name: &str) -> bool {
    false
}

/// `mutant!("name")` is true when this build has mutants and the named one is switched on.
#[macro_export]
macro_rules! mutant {
    ($name:literal) => {
        $crate::mutants::active($name)
    };
}
