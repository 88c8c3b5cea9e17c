//! Handing proposals to openraft in the order of the calls, without making the caller wait.
//!
//! openraft's queue is bounded and is entered by a future. While it has room, polling that future
//! once puts the proposal in, and nothing else is needed. When it is full, the future and all
//! later ones are completed one after the other by a task: left to themselves they would be woken
//! together and might enter in any order.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::error::Stopped;

/// Puts one proposal into openraft's queue.
pub(crate) type Entering = Pin<Box<dyn Future<Output = Result<(), Stopped>> + Send>>;

/// The line before the queue of one group. Clones share it.
#[derive(Clone)]
pub(crate) struct Line {
    runtime: Handle,
    /// Where to put those that have to wait; `None` while nobody waits.
    behind: Arc<Mutex<Option<UnboundedSender<Entering>>>>,
}

impl Line {
    /// A line whose task, when one is needed, runs on the current runtime.
    pub(crate) fn new() -> Self {
        Self {
            runtime: Handle::current(),
            behind: Arc::default(),
        }
    }

    /// Lets `entering` in after all earlier ones, now or later. An error means it never will be;
    /// whoever waits and is not let in in the end only sees its reply dropped.
    pub(crate) fn enter(&self, mut entering: Entering) -> Result<(), Stopped> {
        let mut behind = self.behind.lock();
        if let Some(waiting) = &*behind {
            // The receiver lives until the sender is taken out, which takes the lock.
            let _ = waiting.send(entering);
            return Ok(());
        }
        match entering
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(result) => result,
            Poll::Pending => {
                let (waiting, line) = unbounded_channel();
                *behind = Some(waiting);
                self.runtime.spawn(self.clone().let_in(entering, line));
                Ok(())
            }
        }
    }

    async fn let_in(self, first: Entering, mut line: UnboundedReceiver<Entering>) {
        let mut next = Some(first);
        while let Some(entering) = next {
            // A stop is told to each proposer by its reply.
            let _ = entering.await;
            let mut behind = self.behind.lock();
            next = line.try_recv().ok();
            if next.is_none() {
                *behind = None;
            }
        }
    }
}
