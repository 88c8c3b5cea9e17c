//! The second generated set of services, over the raw messages.

/// Services of `cronos_db`. Its `event_service_client` sends and receives raw messages.
#[allow(clippy::all, unreachable_pub)]
pub(crate) mod events {
    include!(concat!(env!("OUT_DIR"), "/raw_services/cronos_db.rs"));
}

/// Services of `cronos_db_admin`.
#[allow(clippy::all, unreachable_pub)]
pub(crate) mod admin {
    include!(concat!(env!("OUT_DIR"), "/raw_services/cronos_db_admin.rs"));
}
