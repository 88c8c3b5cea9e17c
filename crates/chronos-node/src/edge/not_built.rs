//! Services that are declared and not built yet: every call is answered UNIMPLEMENTED, saying so.

use chronos_proto::cronos_db::*;
use chronos_proto::server::cross_region_service_server::CrossRegionService;
use chronos_proto::server::raft_service_server::RaftService;
use chronos_proto::server::replication_service_server::ReplicationService;
use chronos_proto::server::transaction_service_server::TransactionService;
use futures::stream::Empty;
use tonic::{Request, Response, Status};

/// Stands for a service that is not built yet.
pub struct NotBuilt;

fn refuse<T>(what: &str) -> Result<Response<T>, Status> {
    Err(Status::unimplemented(format!(
        "{what} is not available in this version of ChronosDB"
    )))
}

/// Implements a service; methods that answer with a stream name its type in brackets.
macro_rules! not_built {
    ($service:ident, $what:literal; $($method:ident: $request:ty => $response:ty;)*
     $([$stream:ident] $streaming:ident: $asked:ty => $item:ty;)*) => {
        #[tonic::async_trait]
        impl $service for NotBuilt {
            $(async fn $method(&self, _: Request<$request>) -> Result<Response<$response>, Status> {
                refuse($what)
            })*
            $(
                type $stream = Empty<Result<$item, Status>>;

                async fn $streaming(&self, _: Request<$asked>) -> Result<Response<Self::$stream>, Status> {
                    refuse($what)
                }
            )*
        }
    };
}

not_built! { ReplicationService, "replication between nodes";
    append: ReplicationAppendRequest => ReplicationAppendResponse;
    [SyncStream] sync: ReplicationSyncRequest => ReplicationSyncResponse;
    [SnapshotStream] snapshot: ReplicationSnapshotRequest => ReplicationSnapshotChunk;
}

not_built! { RaftService, "clustering";
    join: RaftJoinRequest => RaftJoinResponse;
    leave: RaftLeaveRequest => RaftLeaveResponse;
    status: RaftStatusRequest => RaftStatusResponse;
}

not_built! { CrossRegionService, "replication between regions";
    replicate_events: RegionReplicateRequest => RegionReplicateResponse;
    [FetchEventsStream] fetch_events: RegionFetchRequest => RegionFetchResponse;
}

not_built! { TransactionService, "the transaction service";
    begin_transaction: BeginTransactionRequest => BeginTransactionResponse;
    prepare_transaction: PrepareTransactionRequest => PrepareTransactionResponse;
    commit_transaction: CommitTransactionRequest => CommitTransactionResponse;
    abort_transaction: AbortTransactionRequest => AbortTransactionResponse;
}
