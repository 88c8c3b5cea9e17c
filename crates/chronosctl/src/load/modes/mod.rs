//! The modes of the load generator, one file each.

pub(crate) mod batch;
pub(crate) mod far;
pub(crate) mod herd;
pub(crate) mod life;
pub(crate) mod rate;
pub(crate) mod schedule;
pub(crate) mod single;
pub(crate) mod subscribe;
