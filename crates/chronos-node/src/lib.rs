//! The server.

pub mod config;
pub mod data_dir;
pub mod http;
pub mod logging;
pub mod metrics;
