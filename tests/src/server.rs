//! A real server as a child process, on loopback, with a data directory of its own.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{env, io, process};

use chronos_tls::ClientOptions;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tonic::transport::{Channel, Endpoint};

use crate::http;
use crate::patience::{PATIENCE, within};

/// Why a server could not be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program was not built.
    #[error("{} does not exist; `make test` builds it, or set {variable} to its place", path.display())]
    NoBinary {
        /// Where it was looked for.
        path: PathBuf,
        /// The variable that names another place.
        variable: String,
    },
    /// The operating system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// It ended before it was ready.
    #[error("the server ended with {status} before it was ready:\n{log}")]
    Ended {
        /// How.
        status: ExitStatus,
        /// Its output.
        log: String,
    },
    /// It did not get ready, or did not end, in time.
    #[error("the server was not {what} within {limit:?}:\n{log}")]
    TooSlow {
        /// What was waited for.
        what: &'static str,
        /// For how long.
        limit: Duration,
        /// Its output.
        log: String,
    },
}

fn io_error(what: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { what, source }
}

/// The path of a program of this workspace: what `<NAME>_BIN` names, or the one that was built
/// beside this test.
///
/// # Errors
/// When there is no such file.
pub fn binary(name: &str) -> Result<PathBuf, Error> {
    let variable = format!("{}_BIN", name.to_uppercase());
    let path = match env::var_os(&variable) {
        Some(path) => PathBuf::from(path),
        // Tests lie in <target>/<profile>/deps, programs in <target>/<profile>.
        None => env::current_exe()
            .map_err(io_error("the place of this test is unknown"))?
            .ancestors()
            .nth(2)
            .unwrap_or(Path::new("."))
            .join(name),
    };
    if path.is_file() {
        Ok(path)
    } else {
        Err(Error::NoBinary { path, variable })
    }
}

/// A free port below the range from which the system takes those of outgoing connections, so that
/// it stays free across restarts of a server.
#[must_use]
pub fn free_port() -> u16 {
    const LOW: u32 = 12_000;
    const COUNT: u32 = 20_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let begin = process::id().wrapping_mul(131);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = LOW + begin.wrapping_add(step) % COUNT;
        if let Ok(port) = u16::try_from(port)
            && TcpListener::bind(("127.0.0.1", port)).is_ok()
        {
            return port;
        }
    }
}

/// How to start a server.
#[derive(Clone, Debug, Default)]
pub struct Options {
    args: Vec<OsString>,
    variables: Vec<(String, String)>,
    data_dir: Option<PathBuf>,
    name: Option<String>,
}

impl Options {
    /// A server on embedded defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a flag.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds flags.
    #[must_use]
    pub fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.args.extend(args.into_iter().map(OsString::from));
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_string(), value.to_string()));
        self
    }

    /// Switches a known failure on, if one is named.
    #[must_use]
    pub fn mutant(self, name: Option<&str>) -> Self {
        match name {
            Some(name) => self.variable("CHRONOS_MUTANT", name),
            None => self,
        }
    }

    /// Uses this data directory in place of a temporary one.
    #[must_use]
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(path.into());
        self
    }

    /// Gives the node a name other than "node1".
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_string());
        self
    }

    /// Starts the server and waits until it is ready.
    ///
    /// # Errors
    /// When the program is missing, ends early, or does not get ready.
    pub async fn start(self) -> Result<Server, Error> {
        let mut server = self.prepare()?;
        server.restart().await?;
        Ok(server)
    }

    /// A server that is not started yet, with its ports and its directory.
    ///
    /// # Errors
    /// When the program is missing.
    pub fn prepare(self) -> Result<Server, Error> {
        let scratch = tempfile::tempdir().map_err(io_error("no temporary directory"))?;
        let data_dir = self
            .data_dir
            .clone()
            .unwrap_or_else(|| scratch.path().join("data"));
        Ok(Server {
            options: self,
            binary: binary("chronosdb")?,
            log: scratch.path().join("log"),
            scratch: Arc::new(scratch),
            data_dir,
            grpc_port: free_port(),
            http_port: free_port(),
            child: None,
        })
    }
}

/// A running server; it is killed when this is dropped.
#[derive(Debug)]
pub struct Server {
    options: Options,
    binary: PathBuf,
    log: PathBuf,
    scratch: Arc<TempDir>,
    data_dir: PathBuf,
    grpc_port: u16,
    http_port: u16,
    child: Option<Child>,
}

impl Server {
    /// Starts a server with these flags.
    ///
    /// # Errors
    /// See [`Options::start`].
    pub async fn start(args: &[&str]) -> Result<Self, Error> {
        Options::new().args(args.iter().copied()).start().await
    }

    /// Starts the server again on the same data and the same ports. One that still runs is killed
    /// first: two would race for both.
    ///
    /// # Errors
    /// See [`Options::start`].
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.kill().await?;
        self.launch()?;
        self.ready().await
    }

    /// Starts the server again with other flags.
    ///
    /// # Errors
    /// See [`Options::start`].
    pub async fn restart_with(&mut self, args: &[&str]) -> Result<(), Error> {
        self.options.args = args.iter().map(OsString::from).collect();
        self.restart().await
    }

    /// Starts the process and does not wait for it.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn launch(&mut self) -> Result<(), Error> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(io_error("no log file"))?;
        let output = log.try_clone().map_err(io_error("no log file"))?;
        let child = Command::new(&self.binary)
            .arg(format!("-node-id={}", self.name()))
            .arg(format!("-grpc-addr=127.0.0.1:{}", self.grpc_port))
            .arg(format!("-http-addr=127.0.0.1:{}", self.http_port))
            .arg("-data-dir")
            .arg(&self.data_dir)
            .args(&self.options.args)
            .envs(
                self.options
                    .variables
                    .iter()
                    .map(|(name, value)| (name, value)),
            )
            .current_dir(self.scratch.path())
            .stdin(Stdio::null())
            .stdout(Stdio::from(output))
            .stderr(Stdio::from(log))
            .kill_on_drop(true)
            .spawn()
            .map_err(io_error("the server does not start"))?;
        self.child = Some(child);
        Ok(())
    }

    /// Waits until the server says that it is ready.
    ///
    /// # Errors
    /// When it ends, or does not get ready within [`PATIENCE`].
    pub async fn ready(&mut self) -> Result<(), Error> {
        let address = self.http_address();
        let ready = within(PATIENCE, || {
            let ended = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().ok().flatten());
            let address = &address;
            async move {
                if let Some(status) = ended {
                    return Some(Err(status));
                }
                matches!(http::get(address, "/readyz").await, Ok((200, _))).then_some(Ok(()))
            }
        });
        match ready.await {
            Some(Ok(())) => Ok(()),
            Some(Err(status)) => Err(Error::Ended {
                status,
                log: self.log(),
            }),
            None => Err(Error::TooSlow {
                what: "ready",
                limit: PATIENCE,
                log: self.log(),
            }),
        }
    }

    /// Ends the server as `kill -9` does, and waits until it is gone.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn kill(&mut self) -> Result<(), Error> {
        if let Some(mut child) = self.child.take() {
            child
                .kill()
                .await
                .map_err(io_error("the server cannot be killed"))?;
        }
        Ok(())
    }

    /// Asks the server to end (SIGTERM); [`exited`](Self::exited) waits for it.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn terminate(&self) -> Result<(), Error> {
        self.signal("TERM").await
    }

    /// Sends it a signal by name: "STOP", "CONT", "TERM".
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn signal(&self, name: &str) -> Result<(), Error> {
        let Some(pid) = self.pid() else { return Ok(()) };
        // The shell's own `kill`: there is no safe call for another process's signal.
        let status = Command::new("sh")
            .arg("-c")
            .arg(format!("kill -{name} {pid}"))
            .status()
            .await;
        status.map(drop).map_err(io_error("no signal can be sent"))
    }

    /// Waits until the server has ended by itself.
    ///
    /// # Errors
    /// When it does not within [`PATIENCE`].
    pub async fn exited(&mut self) -> Result<ExitStatus, Error> {
        let too_slow = Error::TooSlow {
            what: "gone",
            limit: PATIENCE,
            log: self.log(),
        };
        let Some(child) = &mut self.child else {
            return Err(too_slow);
        };
        match tokio::time::timeout(PATIENCE, child.wait()).await {
            Ok(status) => {
                self.child = None;
                status.map_err(io_error("the server cannot be awaited"))
            }
            Err(_) => Err(too_slow),
        }
    }

    /// Asks the server to end and waits until it has.
    ///
    /// # Errors
    /// See [`terminate`](Self::terminate) and [`exited`](Self::exited).
    pub async fn stop(&mut self) -> Result<ExitStatus, Error> {
        self.terminate().await?;
        self.exited().await
    }

    /// Empties the data directory of a server that does not run.
    ///
    /// # Errors
    /// When it runs, or the system refuses.
    pub fn wipe(&mut self) -> Result<(), Error> {
        if self.child.is_some() {
            let running = io::Error::other("the server still runs");
            return Err(io_error("the data directory cannot be emptied")(running));
        }
        fs::remove_dir_all(&self.data_dir).map_err(io_error("the data directory cannot be emptied"))
    }

    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.options.name.as_deref().unwrap_or("node1")
    }

    /// The process id while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Whether the process runs.
    pub fn is_running(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// `host:port` of gRPC.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.grpc_port)
    }

    /// `host:port` of HTTP.
    #[must_use]
    pub fn http_address(&self) -> String {
        format!("127.0.0.1:{}", self.http_port)
    }

    /// The data directory.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// A folder for the test's own files.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// A channel that connects when it is used, and again when the server was restarted.
    ///
    /// # Errors
    /// When the address is malformed, which it is not.
    pub fn channel(&self) -> Result<Channel, tonic::transport::Error> {
        channel(&self.address())
    }

    /// Everything the server has printed.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The present value of a metric, summed over its labels.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn metric(&self, name: &str) -> io::Result<f64> {
        let (_, text) = http::get(&self.http_address(), "/metrics").await?;
        Ok(http::metric_sum(&text, name))
    }
}

/// A channel that finds out within some seconds that the server at its other end does nothing.
///
/// # Errors
/// When the address is malformed.
pub fn watchful_channel(address: &str) -> Result<Channel, tonic::transport::Error> {
    let endpoint = endpoint(address)?
        .http2_keep_alive_interval(Duration::from_secs(1))
        .keep_alive_timeout(Duration::from_secs(3))
        .keep_alive_while_idle(true);
    Ok(endpoint.connect_lazy())
}

/// A channel to a server, with windows and limits that do not get in a test's way.
///
/// # Errors
/// When the address is malformed.
pub fn channel(address: &str) -> Result<Channel, tonic::transport::Error> {
    Ok(endpoint(address)?.connect_lazy())
}

/// The same with TLS.
///
/// # Errors
/// When the address is malformed.
///
/// # Panics
/// When there is something wrong with the certificates of this end.
pub fn secured_channel(
    address: &str,
    tls: ClientOptions,
) -> Result<Channel, tonic::transport::Error> {
    let tls = chronos_tls::Client::load(tls).unwrap();
    let endpoint = endpoint_of("https", address)?;
    Ok(endpoint.connect_with_connector_lazy(tls.connector()))
}

fn endpoint(address: &str) -> Result<Endpoint, tonic::transport::Error> {
    endpoint_of("http", address)
}

fn endpoint_of(scheme: &str, address: &str) -> Result<Endpoint, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))?
        .connect_timeout(Duration::from_secs(5))
        .initial_stream_window_size(16 << 20)
        .initial_connection_window_size(32 << 20)
        .tcp_nodelay(true);
    Ok(endpoint)
}
