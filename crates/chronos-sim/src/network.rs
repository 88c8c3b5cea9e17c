//! The network: messages take time, get lost, come twice, overtake one another, and do not pass
//! where it is cut.

use crate::faults::{Histogram, Kind};
use crate::random::Random;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// Whoever sends and receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// A node of the cluster. A node that lost its disk comes back under another number.
    Node(u64),
    /// A client.
    Client(u64),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Node(number) => write!(f, "n{number}"),
            Endpoint::Client(number) => write!(f, "c{number}"),
        }
    }
}

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It does not arrive.
    Lost,
    /// It arrives after this time, and perhaps once more.
    Arrives {
        /// When.
        after: Duration,
        /// When it arrives again, if it does.
        again: Option<Duration>,
        /// Whether it may arrive before those that were sent earlier.
        early: bool,
    },
}

/// How messages fare, by the faults that are under way.
#[derive(Debug)]
pub struct Network {
    takes_ms: RangeInclusive<u64>,
    faults: Arc<Histogram>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    random: Random,
    /// Pairs between which nothing passes, from the first to the second.
    cut: BTreeSet<(Endpoint, Endpoint)>,
    weather: Weather,
    /// When the last message of a line arrives, milliseconds; later ones do not overtake it.
    lines: BTreeMap<(Endpoint, Endpoint), tokio::time::Instant>,
}

/// Misfortune of single messages, in percent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weather {
    /// They are lost.
    pub drop: u64,
    /// They take twenty times as long.
    pub slow: u64,
    /// They arrive twice.
    pub duplicate: u64,
    /// They overtake others.
    pub overtake: u64,
}

impl Network {
    /// A network without faults.
    #[must_use]
    pub fn new(random: Random, takes_ms: RangeInclusive<u64>, faults: Arc<Histogram>) -> Self {
        Self {
            takes_ms,
            faults,
            state: Mutex::new(State {
                random,
                cut: BTreeSet::new(),
                weather: Weather::default(),
                lines: BTreeMap::new(),
            }),
        }
    }

    /// Decides what becomes of a message that is sent now. It arrives after those sent before it on
    /// the same way, as over a connection, unless it `may_overtake` and the weather lets it.
    pub fn send(&self, from: Endpoint, to: Endpoint, may_overtake: bool) -> Fate {
        let state = &mut *self.state.lock();
        let mut takes = Duration::from_millis(
            state
                .random
                .between(*self.takes_ms.start(), *self.takes_ms.end()),
        );
        let chances: [u64; 4] = std::array::from_fn(|_| state.random.below(100));
        if state.cut.contains(&(from, to)) {
            return Fate::Lost;
        }
        if chances[0] < state.weather.drop {
            self.faults.add(Kind::DroppedMessage, 1);
            return Fate::Lost;
        }
        if chances[1] < state.weather.slow {
            self.faults.add(Kind::SlowMessage, 1);
            takes *= 20;
        }
        let now = tokio::time::Instant::now();
        let overtakes = may_overtake && chances[3] < state.weather.overtake;
        let line = state.lines.entry((from, to)).or_insert(now);
        let mut arrives = now + takes;
        if !overtakes {
            arrives = arrives.max(*line);
            *line = arrives;
        } else if arrives < *line {
            self.faults.add(Kind::OvertakingMessage, 1);
        }
        let after = arrives - now;
        let again = (chances[2] < state.weather.duplicate).then(|| {
            self.faults.add(Kind::DuplicateMessage, 1);
            after + takes
        });
        Fate::Arrives {
            after,
            again,
            early: overtakes,
        }
    }

    /// Lets nothing pass from the one to the other.
    pub fn cut(&self, from: Endpoint, to: Endpoint) {
        self.state.lock().cut.insert((from, to));
    }

    /// Lets everything pass between the two again.
    pub fn join(&self, from: Endpoint, to: Endpoint) {
        self.state.lock().cut.remove(&(from, to));
    }

    /// How single messages fare from now on.
    pub fn set_weather(&self, weather: Weather) {
        self.state.lock().weather = weather;
    }

    /// No faults any more.
    pub fn heal(&self) {
        let mut state = self.state.lock();
        state.cut.clear();
        state.weather = Weather::default();
    }
}
