//! The log against its promises, on files that fail, tear, lose and rot.

mod basics;
mod support;
