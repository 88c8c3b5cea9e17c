//! Wire types of the packages `cronos_db` and `cronos_db_admin`, generated from /proto.
//!
//! ```text
//! /proto ──build.rs──► cronos_db, cronos_db_admin   messages and clients
//!                  └─► server                       service traits; hot messages are raw::*
//! raw                                               events kept as their encoded bytes
//! ```
//!
//! A server that decodes every event only to encode it again spends most of its time there.
//! So the messages that carry events exist twice: generated, for clients and tools, and in
//! [`raw`], where an event is a slice of what was received. Both are the same on the wire.

pub mod raw;
pub mod server;

/// Package `cronos_db`: messages, and one `*_service_client` module per service.
#[allow(clippy::all, unreachable_pub)]
pub mod cronos_db {
    include!(concat!(env!("OUT_DIR"), "/cronos_db.rs"));
}

/// Package `cronos_db_admin`: messages, and `admin_service_client`.
#[allow(clippy::all, unreachable_pub)]
pub mod cronos_db_admin {
    include!(concat!(env!("OUT_DIR"), "/cronos_db_admin.rs"));
}

/// Package `chronos_internal`: what nodes say to each other, messages and clients. Not in the
/// reflected descriptors, because it is not for clients.
#[allow(clippy::all, unreachable_pub, missing_docs)]
pub mod chronos_internal {
    include!(concat!(env!("OUT_DIR"), "/internal/chronos_internal.rs"));
}

/// Both packages as an encoded `google.protobuf.FileDescriptorSet`, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Largest gRPC message either side sends or accepts, bytes.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_types::FileDescriptorSet;

    #[test]
    fn descriptors_name_both_packages_and_every_service() {
        let files = FileDescriptorSet::decode(super::FILE_DESCRIPTOR_SET).unwrap();
        let services: Vec<String> = files
            .file
            .iter()
            .flat_map(|file| {
                file.service
                    .iter()
                    .map(|service| format!("{}.{}", file.package(), service.name()))
            })
            .collect();
        assert_eq!(
            services,
            [
                "cronos_db.EventService",
                "cronos_db.ConsumerGroupService",
                "cronos_db.PartitionService",
                "cronos_db.ReplicationService",
                "cronos_db.RaftService",
                "cronos_db.CrossRegionService",
                "cronos_db.TransactionService",
                "cronos_db.ScheduleService",
                "cronos_db.DeadLetterService",
                "cronos_db.ReplayService",
                "cronos_db.PauseService",
                "cronos_db.TopicService",
                "cronos_db.ClusterService",
                "cronos_db.LeadershipService",
                "cronos_db_admin.AdminService",
            ]
        );
    }
}
