//! The meaning of the database.
pub mod mutants;
pub mod store;
pub mod types;
