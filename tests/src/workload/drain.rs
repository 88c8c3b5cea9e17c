//! The end of a run: every group settles what it is owed, or nothing more comes.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::checker::{self, Rule};
use crate::history::{Moment, Op, Outcome, Record, wall_ms};

use super::Run;

/// How long a run goes on at the most.
const LIMIT: Duration = Duration::from_secs(60);

/// How often the history is looked at.
const INTERVAL: Duration = Duration::from_millis(200);

impl Run {
    /// Waits until each group has settled every event that is due by now or before `until_ms`, and
    /// every dead letter that was redriven to it; or until, those being due, no delivery and no ack
    /// came for longer than a redelivery takes. Then writes down that the groups were drained.
    pub async fn drain(&self, until_ms: i64, longest_backoff_ms: u64) {
        let quiet_after =
            Duration::from_millis(self.settings.ack_timeout_ms + longest_backoff_ms + 1_500);
        let begin = tokio::time::Instant::now();
        let (mut seen, mut quiet_since) = (0, begin);
        loop {
            let mut records = self.recorder.records();
            if records.len() != seen {
                (seen, quiet_since) = (records.len(), tokio::time::Instant::now());
            }
            let groups = groups(&records);
            let overdue = wall_ms() > until_ms;
            let moment = self.recorder.now();
            records.push(drained(moment, groups.clone()));
            let settled = !unsettled(&records);
            let given_up = quiet_since.elapsed() > quiet_after || begin.elapsed() > LIMIT;
            if overdue && (settled || given_up) {
                // What falls due after the moment that was looked at is not owed yet.
                let Record { op, .. } = drained(moment, groups);
                self.recorder.record_at(0, moment, moment, Outcome::Ok, op);
                return;
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

fn drained(moment: Moment, groups: BTreeSet<String>) -> Record {
    Record {
        process: 0,
        t_inv_us: moment.t_us,
        t_ret_us: moment.t_us,
        wall_inv_ms: moment.wall_ms,
        wall_ret_ms: moment.wall_ms,
        outcome: Outcome::Ok,
        op: Op::Drained {
            groups: groups.into_iter().collect(),
        },
    }
}

fn groups(records: &[Record]) -> BTreeSet<String> {
    let subscribed = records.iter().filter_map(|record| match &record.op {
        Op::Subscribe(subscribe) => Some(subscribe.member.group.clone()),
        _ => None,
    });
    subscribed.collect()
}

fn unsettled(records: &[Record]) -> bool {
    let index = checker::Index::new(records);
    let owed = |rule: &Rule| matches!(rule, Rule::Lost | Rule::Redriven);
    let mut rules = checker::RULES.iter().filter(|(rule, _)| owed(rule));
    rules.any(|(_, check)| !check(&index).is_empty())
}
