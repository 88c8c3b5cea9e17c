//! What a test logs, for it to read.

use std::io::{self, Write};
use std::sync::{Arc, LazyLock, Mutex};

use serde_json::Value;
use tracing::subscriber::{DefaultGuard, NoSubscriber};
use tracing::{Dispatch, Subscriber};

/// What this thread logs, until it is dropped. A test's runtime has one thread, so that nothing
/// escapes.
pub struct Captured {
    written: Written,
    _here: DefaultGuard,
}

/// Where the lines go.
#[derive(Clone, Default)]
pub struct Written(Arc<Mutex<Vec<u8>>>);

/// With a single subscriber in the process, tracing asks the thread that comes to a line first
/// whether anybody wants it, and remembers the answer for all threads. Other tests would then decide
/// what this one sees. With two, it asks each time.
static ANOTHER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::new()));

impl Captured {
    /// Captures what the subscriber writes that `lines` makes.
    pub fn with<S>(lines: impl FnOnce(Written) -> S) -> Self
    where
        S: Subscriber + Send + Sync + 'static,
    {
        LazyLock::force(&ANOTHER);
        let written = Written::default();
        Self {
            _here: tracing::subscriber::set_default(lines(written.clone())),
            written,
        }
    }

    /// Everything so far.
    pub fn text(&self) -> String {
        let bytes = self.written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    /// The objects of a log that has one on each line.
    pub fn objects(&self) -> Vec<Value> {
        let text = self.text();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_another_thread_came_to_first_is_captured() {
        let log = Captured::with(|written| {
            let lines = tracing_subscriber::fmt().json();
            lines.with_writer(move || written.clone()).finish()
        });
        let say = || tracing::info!("said");
        std::thread::spawn(say).join().unwrap();
        assert_eq!(log.text(), "", "it is another's");
        say();
        assert_eq!(log.objects()[0]["fields"]["message"], "said");
    }
}
