//! The log against its promises, on files that fail, tear, lose and rot.

mod basics;
mod failures;
mod fixture;
mod model;
mod periodic;
mod power;
mod rot;
mod support;
mod threads;
mod torn;
