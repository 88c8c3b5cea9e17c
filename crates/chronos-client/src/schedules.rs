//! Scheduled events: looking at them and changing them.
//!
//! Each of these calls may be made again without harm: the second time says what the first has done.

use chronos_proto::MAX_MESSAGE_BYTES;
use chronos_proto::cronos_db::schedule_service_client::ScheduleServiceClient;
use chronos_proto::cronos_db::{
    CancelAndPublishRequest, CancelAndPublishResponse, CancelMatchingRequest, CancelRequest,
    ChangeMatchingResponse, CountPendingRequest, CountPendingResponse, FireNowRequest,
    GetScheduledRequest, ListPendingRequest, ListPendingResponse, PendingByTimeRequest,
    PendingByTimeResponse, RescheduleMatchingRequest, RescheduleRequest, ScheduleResponse,
};

use crate::{Client, Error};

/// One method for each call of the service.
macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident = $rpc:ident($request:ty) -> $response:ty;)*) => {
        impl Client {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// Those of any call. An event that does not exist is an outcome, not an error.
                pub async fn $name(&self, request: $request) -> Result<$response, Error> {
                    let answer = self
                        .call(None, |channel| {
                            let mut schedules = ScheduleServiceClient::new(channel)
                                .max_decoding_message_size(MAX_MESSAGE_BYTES);
                            let request = request.clone();
                            async move { schedules.$rpc(request).await }
                        })
                        .await?;
                    Ok(answer.value)
                }
            )*
        }
    };
}

calls! {
    /// Says how an event stands.
    scheduled = get(GetScheduledRequest) -> ScheduleResponse;
    /// Makes sure that an event is never delivered.
    cancel = cancel(CancelRequest) -> ScheduleResponse;
    /// Gives an event another time.
    reschedule = reschedule(RescheduleRequest) -> ScheduleResponse;
    /// Lets an event fall due now.
    fire_now = fire_now(FireNowRequest) -> ScheduleResponse;
    /// Cancels an event and publishes another in its place, both or neither.
    cancel_and_publish = cancel_and_publish(CancelAndPublishRequest) -> CancelAndPublishResponse;
    /// Cancels every pending event that matches.
    cancel_matching = cancel_matching(CancelMatchingRequest) -> ChangeMatchingResponse;
    /// Moves every pending event that matches.
    reschedule_matching = reschedule_matching(RescheduleMatchingRequest) -> ChangeMatchingResponse;
    /// A page of pending events, in the order in which they fall due.
    list_pending = list_pending(ListPendingRequest) -> ListPendingResponse;
    /// Counts pending events by when they fall due.
    pending_by_time = pending_by_time(PendingByTimeRequest) -> PendingByTimeResponse;
    /// Counts pending events by topic.
    count_pending = count_pending(CountPendingRequest) -> CountPendingResponse;
}
