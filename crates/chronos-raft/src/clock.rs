//! When a leader says that it is there, and when a voter that hears nothing campaigns.
//!
//! openraft has a clock of its own, which wakes every group twenty times a second. With hundreds of
//! groups on a node that is most of what an idle node does, so it stays switched off. This one
//! wakes a leader for each heartbeat, a voter once for each time of silence, and anyone else never.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Until when a voter owes its vote to a leader, as far as it remembers.
#[derive(Debug)]
pub(crate) struct Silence {
    hold: Duration,
    since: Mutex<Instant>,
}

/// What a node does in its group, as far as time matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It has no peers or no vote: nothing ever happens by itself.
    Idle,
    Leads,
    Votes,
}

/// What the time has come for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    Beat,
    Campaign,
}

/// When leaders tell the others that they are there: at the same times in all groups of a node, so that
/// hundreds of groups wake it no more often than one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beats {
    every: Duration,
    from: Instant,
}

impl Beats {
    pub(crate) fn new(every: Duration, from: Instant) -> Self {
        Self { every, from }
    }

    /// The first one after a time.
    fn after(&self, time: Instant) -> Instant {
        let since = time.saturating_duration_since(self.from);
        let every = self.every.as_nanos().max(1);
        let into = u64::try_from(since.as_nanos() % every).unwrap_or(0);
        time + self.every - Duration::from_nanos(into)
    }
}

/// After so many heartbeats that no majority answered a leader falls silent: it may be heard and hear
/// nothing, and would keep the others from an election for ever.
const UNANSWERED: u32 = 6;
/// Of a silent leader's heartbeats one in so many is sent: perhaps nobody else can lead. In between there
/// is time for two elections.
const TRY_EVERY: u32 = 24;

/// The clock of one group.
pub(crate) struct Clock {
    beats: Beats,
    /// How long after the end of a hold a voter campaigns: a random time in this range.
    wait_range: (Duration, Duration),
    dice: u64,
    role: Role,
    next_beat: Instant,
    /// Heartbeats one after the other that no majority answered.
    unanswered: u32,
    wait: Duration,
}

impl Silence {
    /// A voter that restarts may have heard of a leader just before it stopped.
    pub(crate) fn new(hold: Duration, restarts: bool) -> Self {
        let now = Instant::now();
        Self {
            hold,
            since: Mutex::new(if restarts { now + hold } else { now }),
        }
    }

    /// A leader was heard of.
    pub(crate) fn broken(&self) {
        self.begin_at(Instant::now() + self.hold);
    }

    /// Something else happened that gives others time.
    pub(crate) fn begin(&self) {
        self.begin_at(Instant::now());
    }

    fn begin_at(&self, time: Instant) {
        let mut since = self.since.lock();
        *since = time.max(*since);
    }

    fn since(&self) -> Instant {
        *self.since.lock()
    }
}

impl Clock {
    /// The first campaign after a restart does not wait: the hold has been waited for already.
    /// Only those that restarted together should not campaign together.
    pub(crate) fn new(
        beats: Beats,
        wait_range: (Duration, Duration),
        seed: u64,
        restarts: bool,
    ) -> Self {
        let mut clock = Self {
            beats,
            wait_range,
            dice: seed,
            role: Role::Idle,
            next_beat: Instant::now(),
            unanswered: 0,
            wait: Duration::ZERO,
        };
        clock.wait = if restarts {
            clock.roll((Duration::ZERO, wait_range.0 / 2))
        } else {
            clock.roll(wait_range)
        };
        clock
    }

    pub(crate) fn set_role(&mut self, role: Role, silence: &Silence) {
        if self.role == role {
            return;
        }
        self.role = role;
        self.unanswered = 0;
        // The first entry of a leader says that it is there.
        self.next_beat = self.beats.after(Instant::now());
        silence.begin();
    }

    /// When something is due next, if ever.
    pub(crate) fn due(&self, silence: &Silence) -> Option<Instant> {
        match self.role {
            Role::Idle => None,
            Role::Leads => Some(self.next_beat),
            Role::Votes => Some(silence.since() + self.wait),
        }
    }

    /// What is due now, once.
    pub(crate) fn take_due(&mut self, silence: &Silence) -> Option<Act> {
        let now = Instant::now();
        if self.due(silence).is_none_or(|due| now < due) {
            return None;
        }
        if self.role == Role::Leads {
            // Beats that were missed are not made up for.
            self.next_beat = self.beats.after(now);
            return Some(Act::Beat);
        }
        silence.begin();
        self.wait = self.roll(self.wait_range);
        Some(Act::Campaign)
    }

    /// Whether the heartbeat that is due is sent, if a majority has answered since the one before or not.
    pub(crate) fn is_to_be_heard(&mut self, is_answered: bool) -> bool {
        self.unanswered = match is_answered {
            true => 0,
            false => self.unanswered.saturating_add(1),
        };
        self.unanswered <= UNANSWERED || self.unanswered.is_multiple_of(TRY_EVERY)
    }

    /// A random time in a range, by SplitMix64.
    fn roll(&mut self, (from, to): (Duration, Duration)) -> Duration {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.dice;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let part = (z ^ (z >> 31)) as u32;
        from + (to.saturating_sub(from)).mul_f64(f64::from(part) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEARTBEAT: Duration = Duration::from_millis(250);
    const HOLD: Duration = Duration::from_millis(850);
    const RANGE: (Duration, Duration) = (Duration::from_millis(550), HOLD);

    fn clock(seed: u64, restarts: bool) -> (Clock, Silence) {
        let beats = Beats::new(HEARTBEAT, Instant::now());
        let clock = Clock::new(beats, RANGE, seed, restarts);
        (clock, Silence::new(HOLD, restarts))
    }

    async fn wait_for(clock: &mut Clock, silence: &Silence) -> (Act, Duration) {
        let start = Instant::now();
        tokio::time::sleep_until(clock.due(silence).unwrap()).await;
        (clock.take_due(silence).unwrap(), start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_voter_campaigns_when_it_heard_nothing_for_long_enough() {
        for seed in 0..100 {
            let (mut clock, silence) = clock(seed, false);
            assert_eq!(clock.due(&silence), None);
            clock.set_role(Role::Votes, &silence);
            silence.broken();
            tokio::time::sleep(HEARTBEAT).await;
            silence.broken();
            let (act, took) = wait_for(&mut clock, &silence).await;
            assert_eq!(act, Act::Campaign);
            assert!(
                (HOLD + RANGE.0..=HOLD + RANGE.1).contains(&took),
                "{took:?}"
            );
            assert_eq!(clock.take_due(&silence), None, "once");
            // Nobody won.
            let (_, took) = wait_for(&mut clock, &silence).await;
            assert!((RANGE.0..=RANGE.1).contains(&took), "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_voter_that_restarts_waits_for_the_hold_it_may_have_forgotten() {
        let mut waits = Vec::new();
        for seed in 0..100 {
            let (mut clock, silence) = clock(seed, true);
            clock.set_role(Role::Votes, &silence);
            let (_, took) = wait_for(&mut clock, &silence).await;
            assert!((HOLD..=HOLD + RANGE.0 / 2).contains(&took), "{took:?}");
            waits.push(took);
        }
        waits.dedup();
        assert!(waits.len() > 50);
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_beats_regularly_and_makes_up_for_nothing() {
        let (mut clock, silence) = clock(1, false);
        clock.set_role(Role::Leads, &silence);
        for _ in 0..10 {
            let (act, took) = wait_for(&mut clock, &silence).await;
            assert_eq!((act, took), (Act::Beat, HEARTBEAT));
        }
        tokio::time::advance(HEARTBEAT * 100).await;
        let mut beats = 0;
        while clock.take_due(&silence).is_some() {
            beats += 1;
        }
        assert!(beats <= 2, "{beats}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_nobody_answers_falls_silent_and_tries_now_and_then() {
        let (mut clock, _) = clock(1, false);
        let sent = |clock: &mut Clock, beats, is_answered| {
            (0..beats)
                .filter(|_| clock.is_to_be_heard(is_answered))
                .count()
        };
        assert_eq!(sent(&mut clock, 100, true), 100);
        assert_eq!(sent(&mut clock, TRY_EVERY - 1, false), UNANSWERED as usize);
        assert_eq!(sent(&mut clock, TRY_EVERY * 3, false), 3);
        assert_eq!(sent(&mut clock, 1, true), 1);
        assert_eq!(sent(&mut clock, UNANSWERED, false), UNANSWERED as usize);
        // Others have the time for elections in which nobody wins at first.
        assert!(HEARTBEAT * (TRY_EVERY - UNANSWERED) > (HOLD * 2) * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn leaders_of_all_groups_beat_at_the_same_times() {
        let beats = Beats::new(HEARTBEAT, Instant::now());
        let mut dues = std::collections::BTreeSet::new();
        for _ in 0..10 {
            tokio::time::advance(Duration::from_millis(17)).await;
            let silence = Silence::new(HOLD, false);
            let mut clock = Clock::new(beats, RANGE, 1, false);
            clock.set_role(Role::Leads, &silence);
            dues.insert(clock.due(&silence).unwrap());
        }
        assert_eq!(dues, [beats.from + HEARTBEAT].into());
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_is_one_no_more_gives_others_time() {
        let (mut clock, silence) = clock(1, false);
        clock.set_role(Role::Leads, &silence);
        tokio::time::sleep(HEARTBEAT * 100).await;
        clock.set_role(Role::Votes, &silence);
        let (_, took) = wait_for(&mut clock, &silence).await;
        assert!(took >= RANGE.0, "{took:?}");
    }
}
