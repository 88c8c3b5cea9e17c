//! Services that are declared and not built: every call is answered UNIMPLEMENTED, saying why.

use chronos_proto::cronos_db::*;
use chronos_proto::server::cross_region_service_server::CrossRegionService;
use chronos_proto::server::replication_service_server::ReplicationService;
use chronos_proto::server::transaction_service_server::TransactionService;
use futures::stream::Empty;
use tonic::{Request, Response, Status};

/// Stands for a service that is not built.
pub struct NotBuilt;

fn refuse<T>(why: &str) -> Result<Response<T>, Status> {
    Err(Status::unimplemented(why))
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

not_built! { ReplicationService, "nodes replicate their logs through Raft, on connections of their own: events are not pushed into \
     a replica, nor read from one, by other programs";
    append: ReplicationAppendRequest => ReplicationAppendResponse;
    [SyncStream] sync: ReplicationSyncRequest => ReplicationSyncResponse;
    [SnapshotStream] snapshot: ReplicationSnapshotRequest => ReplicationSnapshotChunk;
}

not_built! { CrossRegionService, "replication between regions is not available in this version of ChronosDB";
    replicate_events: RegionReplicateRequest => RegionReplicateResponse;
    [FetchEventsStream] fetch_events: RegionFetchRequest => RegionFetchResponse;
}

not_built! { TransactionService, "the transaction service is not available in this version of ChronosDB";
    begin_transaction: BeginTransactionRequest => BeginTransactionResponse;
    prepare_transaction: PrepareTransactionRequest => PrepareTransactionResponse;
    commit_transaction: CommitTransactionRequest => CommitTransactionResponse;
    abort_transaction: AbortTransactionRequest => AbortTransactionResponse;
}
