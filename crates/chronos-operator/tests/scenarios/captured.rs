//! What is logged on this thread.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use chronos_operator::log;
use serde_json::Value;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::EnvFilter;

/// Captures until it is dropped. A test's runtime has one thread, so that nothing escapes.
pub struct Captured {
    written: Buffer,
    _guard: DefaultGuard,
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Captured {
    pub fn new() -> Self {
        let written = Buffer::default();
        let buffer = written.clone();
        let filter = EnvFilter::new("info,chronos_operator=debug");
        let lines = log::lines(log::Format::Json, filter, move || buffer.clone());
        Self {
            written,
            _guard: tracing::subscriber::set_default(lines),
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.written.0.lock().unwrap().clone()).unwrap()
    }

    pub fn lines(&self) -> Vec<Value> {
        let text = self.text();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
