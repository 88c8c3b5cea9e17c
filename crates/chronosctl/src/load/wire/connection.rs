//! One HTTP/2 connection: unary calls and streams.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chronos_tls::Connector;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE, USER_AGENT};
use http::{Method, Request, Uri, Version};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tower::Service;

use super::frame::Deframer;
use super::status::CallError;

/// Flow-control windows large enough that a batch or a burst of deliveries never waits for an
/// update.
const STREAM_WINDOW_BYTES: u32 = 16 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
/// Time allowed for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A method of the server, by the last two parts of its path.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MethodName {
    /// `EventService/Publish`.
    Publish,
    /// `EventService/PublishBatch`.
    PublishBatch,
    /// `EventService/Subscribe`.
    Subscribe,
    /// `EventService/Ack`.
    Ack,
}

impl MethodName {
    const fn path(self) -> &'static str {
        match self {
            Self::Publish => "/cronos_db.EventService/Publish",
            Self::PublishBatch => "/cronos_db.EventService/PublishBatch",
            Self::Subscribe => "/cronos_db.EventService/Subscribe",
            Self::Ack => "/cronos_db.EventService/Ack",
        }
    }
}

/// What HTTP/2 is spoken over.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection that many tasks may use at once.
#[derive(Clone)]
pub(crate) struct Connection {
    sender: SendRequest<Bytes>,
    scheme: &'static str,
    authority: String,
    headers: HeaderMap,
}

impl Connection {
    /// Connects to `address` (`host:port`, `:port` for this machine, or the same with `http://` in
    /// front), with TLS if there is some.
    ///
    /// # Errors
    /// When nobody answers within 10 s or the peer does not speak HTTP/2.
    pub(crate) async fn open(address: &str, tls: Option<&Connector>) -> Result<Self, CallError> {
        let address = address.strip_prefix("http://").unwrap_or(address);
        let authority = match address.strip_prefix(':') {
            Some(port) => format!("localhost:{port}"),
            None => address.trim_end_matches('/').to_owned(),
        };
        let transport =
            |reason: &dyn std::fmt::Display| CallError::Transport(format!("{authority}: {reason}"));
        let connect = async {
            let stream: Box<dyn Stream> = match tls {
                None => {
                    let stream = TcpStream::connect(&authority).await;
                    let stream = stream.map_err(|error| transport(&error))?;
                    stream
                        .set_nodelay(true)
                        .map_err(|error| transport(&error))?;
                    Box::new(stream)
                }
                Some(connector) => {
                    let uri = format!("https://{authority}").parse();
                    let uri = uri.map_err(|error| transport(&error))?;
                    let stream = connector.clone().call(uri).await;
                    Box::new(stream.map_err(|error| transport(&error))?.into_inner())
                }
            };
            client::Builder::new()
                .initial_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                .enable_push(false)
                .handshake::<_, Bytes>(stream)
                .await
                .map_err(|error| transport(&error))
        };
        let (sender, connection) = tokio::time::timeout(CONNECT_TIMEOUT, connect)
            .await
            .map_err(|_| transport(&"no answer within 10 s"))??;
        // The task ends with the connection: when every handle is dropped or the peer goes away.
        // Calls in flight report the reason themselves.
        tokio::spawn(async move { connection.await.ok() });
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(USER_AGENT, HeaderValue::from_static("chronosctl-load"));
        Ok(Self {
            sender,
            scheme: if tls.is_some() { "https" } else { "http" },
            authority,
            headers,
        })
    }

    /// Sends one framed request and gives the message of the answer to `scan`.
    ///
    /// # Errors
    /// The server's status, or a failure of the connection or of `scan`.
    pub(crate) async fn unary<T>(
        &self,
        method: MethodName,
        request: Bytes,
        scan: impl FnOnce(&[u8]) -> Result<T, super::protobuf::Malformed>,
    ) -> Result<T, CallError> {
        let (response, mut send) = self.start(method).await?;
        send.send_data(request, true)?;
        let mut receiver = Receiver::new(response);
        let mut scan = Some(scan);
        let mut result = None;
        while receiver
            .messages(|message| {
                if let Some(scan) = scan.take() {
                    result = Some(scan(message)?);
                }
                Ok(())
            })
            .await?
        {}
        result.ok_or_else(|| CallError::Protocol("no message in the answer".to_owned()))
    }

    /// Opens a stream in both directions. Returns at once: the server may stay silent until it has
    /// something to say.
    ///
    /// # Errors
    /// When the connection failed.
    pub(crate) async fn stream(&self, method: MethodName) -> Result<(Sender, Receiver), CallError> {
        let (response, send) = self.start(method).await?;
        Ok((Sender { send }, Receiver::new(response)))
    }

    async fn start(
        &self,
        method: MethodName,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), CallError> {
        let uri = Uri::builder()
            .scheme(self.scheme)
            .authority(self.authority.as_str())
            .path_and_query(method.path())
            .build()
            .map_err(|error| CallError::Transport(error.to_string()))?;
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = self.headers.clone();
        let mut sender = self.sender.clone().ready().await?;
        Ok(sender.send_request(request, false)?)
    }
}

/// The sending half of a stream.
pub(crate) struct Sender {
    send: SendStream<Bytes>,
}

impl Sender {
    /// Queues framed messages. The server's window does not limit what is queued: callers bound
    /// that themselves.
    ///
    /// # Errors
    /// When the stream has ended.
    pub(crate) fn send(&mut self, messages: Bytes) -> Result<(), CallError> {
        Ok(self.send.send_data(messages, false)?)
    }
}

/// The receiving half of a call.
pub(crate) struct Receiver {
    response: Option<ResponseFuture>,
    body: Option<RecvStream>,
    deframer: Deframer,
}

impl Receiver {
    fn new(response: ResponseFuture) -> Self {
        Self {
            response: Some(response),
            body: None,
            deframer: Deframer::default(),
        }
    }

    /// Waits for the next chunk and calls `on_message` for each message it completes, possibly
    /// none. Returns false at the end of a stream that closed with status OK. May be cancelled
    /// while it waits.
    ///
    /// # Errors
    /// The server's status, or a failure of the connection or of `on_message`.
    pub(crate) async fn messages(
        &mut self,
        on_message: impl FnMut(&[u8]) -> Result<(), CallError>,
    ) -> Result<bool, CallError> {
        if let Some(response) = &mut self.response {
            let response = response.await?;
            self.response = None;
            let (head, body) = response.into_parts();
            if !head.status.is_success() {
                return Err(CallError::Protocol(format!("HTTP status {}", head.status)));
            }
            // A call that fails at once has its status among the headers.
            if head.headers.contains_key("grpc-status") {
                check_status(&head.headers)?;
            }
            self.body = Some(body);
        }
        let Some(body) = &mut self.body else {
            return Ok(false);
        };
        match body.data().await {
            Some(chunk) => {
                let chunk = chunk?;
                body.flow_control().release_capacity(chunk.len())?;
                self.deframer.feed(&chunk, on_message)?;
                Ok(true)
            }
            None => {
                let trailers = body.trailers().await?;
                self.body = None;
                if let Some(trailers) = trailers {
                    check_status(&trailers)?;
                }
                Ok(false)
            }
        }
    }
}

fn check_status(headers: &HeaderMap) -> Result<(), CallError> {
    let text = |name: &str| {
        headers
            .get(name)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    match text("grpc-status").as_deref() {
        Some("0") => Ok(()),
        Some(code) => Err(CallError::Status {
            code: code.parse().unwrap_or(2),
            message: text("grpc-message").unwrap_or_default(),
        }),
        None => Err(CallError::Protocol("no gRPC status".to_owned())),
    }
}

/// Collects framed messages that are sent together.
#[derive(Default)]
pub(crate) struct Outgoing {
    buffer: BytesMut,
}

impl Outgoing {
    /// Where the next message goes.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Everything collected, or `None`.
    pub(crate) fn take(&mut self) -> Option<Bytes> {
        (!self.buffer.is_empty()).then(|| self.buffer.split().freeze())
    }
}
