//! What happened, line by line. Two runs of one seed write the same lines; their hash says so.

use parking_lot::Mutex;
use std::fmt;
use std::fmt::Write;

/// The hash of a trace: FNV-1a with 64 bits over its lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceHash(u64);

impl fmt::Display for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Takes the lines of one run.
#[derive(Debug)]
pub struct Trace(Mutex<State>);

#[derive(Debug)]
struct State {
    hash: u64,
    lines: u64,
    line: String,
    /// The last lines, for whoever wants to know how it came to a failure.
    kept: Vec<String>,
    keep: bool,
}

/// Lines kept for a report.
const MOST_KEPT: usize = 200_000;

impl Trace {
    /// An empty trace, which keeps its lines if asked to.
    #[must_use]
    pub fn new(keep: bool) -> Self {
        Self(Mutex::new(State {
            hash: 0xcbf2_9ce4_8422_2325,
            lines: 0,
            line: String::new(),
            kept: Vec::new(),
            keep,
        }))
    }

    /// Adds a line. `at_us` is simulated time, `who` whose doing it is.
    pub fn add(&self, at_us: i64, who: &dyn fmt::Display, what: fmt::Arguments<'_>) {
        let state = &mut *self.0.lock();
        state.line.clear();
        // Writing to a string does not fail.
        let _ = writeln!(state.line, "{at_us:>12} {who}: {what}");
        for byte in state.line.bytes() {
            state.hash = (state.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        state.lines += 1;
        if state.keep && state.kept.len() < MOST_KEPT {
            state.kept.push(state.line.clone());
        }
    }

    /// The hash of the lines so far.
    #[must_use]
    pub fn hash(&self) -> TraceHash {
        TraceHash(self.0.lock().hash)
    }

    /// How many lines there are.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.0.lock().lines
    }

    /// The lines, if they were kept.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().kept)
    }
}
