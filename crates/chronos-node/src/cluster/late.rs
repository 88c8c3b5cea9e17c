//! Services that are there later than their listener.

use parking_lot::RwLock;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::service::Routes;

/// The services for clients on the internal listener. Until they are there every call is refused as
/// one that may be tried again.
#[derive(Clone, Default)]
pub struct Late(Arc<RwLock<Option<Routes>>>);

impl Late {
    /// The services are there from now on.
    pub fn arrive(&self, services: Routes) {
        *self.0.write() = Some(services.prepare());
    }

    /// The services are gone, though connections may outlive them.
    pub fn leave(&self) {
        *self.0.write() = None;
    }
}

impl<B> Service<http::Request<B>> for Late
where
    Routes: Service<http::Request<B>, Response = http::Response<Body>, Error = Infallible>,
    <Routes as Service<http::Request<B>>>::Future: Send,
    B: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let services = self.0.read().clone();
        match services {
            Some(mut services) => Box::pin(services.call(request)),
            None => Box::pin(async { Ok(Status::unavailable("the node is starting").into_http()) }),
        }
    }
}
