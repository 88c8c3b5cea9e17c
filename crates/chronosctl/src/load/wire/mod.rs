//! gRPC as the load generator speaks it.
//!
//! The generator shares two cores with the server it measures, so it must cost little: requests are
//! built as bytes in one pass, replies and deliveries are scanned in place, and HTTP/2 is driven
//! through `h2` without the layers that a general client puts on top. The bytes on the wire are the
//! ones any gRPC client sends.
//!
//! | file | idea |
//! |---|---|
//! | [`protobuf`] | writing and scanning protobuf fields |
//! | [`frame`] | the five bytes in front of each gRPC message |
//! | [`request`] | the requests, as bytes |
//! | [`response`] | the replies and deliveries, scanned |
//! | [`connection`] | one HTTP/2 connection: unary calls and streams |
//! | [`status`] | how a call failed |

pub(crate) mod connection;
pub(crate) mod frame;
pub(crate) mod protobuf;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod status;
