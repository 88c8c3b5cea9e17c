//! `cancel`, `reschedule` and `fire`: one event by name, or all that match.

use chronos_client::schedule::{
    CancelMatchingRequest, CancelRequest, ChangeMatchingResponse, EventRef, FireNowRequest,
    PendingFilter, RescheduleMatchingRequest, RescheduleRequest, ScheduleResponse,
};
use chronos_client::{Client, now_ms};
use serde::Serialize;
use std::time::Duration;

use super::{Filter, Named, Place, View, failed, reference};
use crate::exit::Failure;
use crate::printer::{Printer, table};
use crate::when::{parse_duration, parse_time_ms, show_time_ms};

/// One event, or those that match.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("one").args(["id", "offset"]))]
struct Target {
    /// Topic of the events.
    #[arg(required_unless_present = "offset", conflicts_with = "offset")]
    topic: Option<String>,
    /// Message id of one event; without it, say which ones by a filter.
    id: Option<String>,
    /// The partition_key that it was published with; only saves the server a search.
    #[arg(long, default_value = "", hide_default_value = true, requires = "id")]
    partition_key: String,
    #[command(flatten)]
    place: Place,
    /// Only if the event has this version.
    #[arg(long, value_name = "N", requires = "one")]
    if_version: Option<i64>,
    #[command(flatten)]
    filter: Filter,
    /// Every pending event of the topic, as far as the filter does not narrow it.
    #[arg(long, conflicts_with = "one")]
    all: bool,
    /// Count what matches and change nothing.
    #[arg(long, conflicts_with = "one")]
    dry_run: bool,
    /// Change so many at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..), conflicts_with = "one")]
    limit: Option<i64>,
}

impl Target {
    /// The one event; `None` when a filter says which ones.
    fn event(&self) -> Result<Option<EventRef>, Failure> {
        let one = self.place.event().or_else(|| {
            let is_named = self.id.is_some();
            is_named.then(|| reference(&self.topic, &self.id, &self.partition_key))
        });
        match one {
            Some(_) if !self.filter.is_empty() => Err(Failure::Usage(
                "name one event or many by a filter, not both".into(),
            )),
            None if self.filter.is_empty() && !self.all => Err(Failure::Usage(
                "name an event by its id, say which ones by a filter, or ask for --all".into(),
            )),
            one => Ok(one),
        }
    }

    fn matching(&self) -> Option<PendingFilter> {
        self.filter.of(self.topic.as_deref().unwrap_or_default())
    }
}

/// What `cancel` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Cancel {
    #[command(flatten)]
    target: Target,
}

impl Cancel {
    pub(super) async fn run(self, client: &Client, printer: &Printer) -> Result<(), Failure> {
        let target = self.target;
        if let Some(event) = target.event()? {
            let request = CancelRequest {
                event: Some(event),
                if_version: target.if_version,
            };
            return one(client.cancel(request).await?, "cancelled", printer);
        }
        let request = CancelMatchingRequest {
            filter: target.matching(),
            dry_run: target.dry_run,
            limit: target.limit.unwrap_or(0),
        };
        matching(client.cancel_matching(request).await?, printer)
    }
}

/// What `reschedule` takes.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("when").required(true).args(["at", "after", "shift"]))]
pub(super) struct Reschedule {
    #[command(flatten)]
    target: Target,
    /// The new time: RFC 3339, or Unix time in ms. A time that is past means now.
    #[arg(long, value_name = "TIME", value_parser = parse_time_ms)]
    at: Option<i64>,
    /// So long after now.
    #[arg(long = "in", id = "after", value_name = "DURATION", value_parser = parse_duration)]
    after: Option<Duration>,
    /// So much later than it is, or sooner with a minus sign; for events that match a filter.
    #[arg(long, value_name = "DURATION", value_parser = parse_shift, allow_hyphen_values = true, conflicts_with = "one")]
    shift: Option<i64>,
}

/// Reads a duration that may have a minus sign; gives milliseconds.
fn parse_shift(text: &str) -> Result<i64, String> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(text) => (-1, text),
        None => (1, text),
    };
    let ms = i64::try_from(parse_duration(text)?.as_millis())
        .map_err(|_| "the duration is too long".to_string())?;
    Ok(sign * ms)
}

impl Reschedule {
    pub(super) async fn run(self, client: &Client, printer: &Printer) -> Result<(), Failure> {
        let target = self.target;
        let after_ms = self.after.map_or(0, |after| {
            i64::try_from(after.as_millis()).unwrap_or(i64::MAX)
        });
        if let Some(event) = target.event()? {
            let request = RescheduleRequest {
                event: Some(event),
                if_version: target.if_version,
                schedule_ts: match self.at {
                    Some(at_ms) => at_ms,
                    // Now by the server's clock is past by the time it gets there.
                    None if after_ms == 0 => now_ms(),
                    None => 0,
                },
                deliver_after_ms: after_ms,
            };
            return one(client.reschedule(request).await?, "moved", printer);
        }
        let request = RescheduleMatchingRequest {
            filter: target.matching(),
            dry_run: target.dry_run,
            limit: target.limit.unwrap_or(0),
            shift_ms: self.shift.unwrap_or(0),
            schedule_ts: match (self.shift, self.at) {
                (Some(_), _) => 0,
                (None, Some(at_ms)) => at_ms,
                (None, None) => now_ms().saturating_add(after_ms),
            },
        };
        matching(client.reschedule_matching(request).await?, printer)
    }
}

/// What `fire` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Fire {
    #[command(flatten)]
    named: Named,
    /// Only if the event has this version.
    #[arg(long, value_name = "N")]
    if_version: Option<i64>,
}

impl Fire {
    pub(super) async fn run(self, client: &Client, printer: &Printer) -> Result<(), Failure> {
        let request = FireNowRequest {
            event: Some(self.named.event()),
            if_version: self.if_version,
        };
        one(client.fire_now(request).await?, "fired", printer)
    }
}

fn one(answer: ScheduleResponse, done: &str, printer: &Printer) -> Result<(), Failure> {
    let outcome = answer.outcome();
    failed(outcome, answer.message)?;
    let Some(view) = answer.event.map(View::from) else {
        return Ok(());
    };
    printer.one(&view, || {
        format!(
            "{} {done}, due {}, version {}",
            view.message_id,
            show_time_ms(view.schedule_ts),
            view.version
        )
    })?;
    Ok(())
}

#[derive(Debug, Serialize)]
struct Matched {
    matched: i64,
    changed: i64,
    already_fired: i64,
    already_cancelled: i64,
    refused: i64,
}

fn matching(answer: ChangeMatchingResponse, printer: &Printer) -> Result<(), Failure> {
    let matched = Matched {
        matched: answer.matched,
        changed: answer.changed,
        already_fired: answer.already_fired,
        already_cancelled: answer.already_cancelled,
        refused: answer.refused,
    };
    printer.whole(&matched, || {
        let mut table = table([
            "MATCHED",
            "CHANGED",
            "ALREADY FIRED",
            "ALREADY CANCELLED",
            "REFUSED",
        ]);
        table.add_row([
            matched.matched.to_string(),
            matched.changed.to_string(),
            matched.already_fired.to_string(),
            matched.already_cancelled.to_string(),
            matched.refused.to_string(),
        ]);
        table
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn zero_is_no_bound_and_so_never_one() {
        let parsed = |line: &str| Cli::try_parse_from(line.split(' '));
        assert!(parsed("chronosctl schedule cancel t --to 7 --limit 1").is_ok());
        for line in [
            "chronosctl schedule cancel t --to 0",
            "chronosctl schedule cancel t --all --from 0",
            "chronosctl schedule cancel t --all --limit 0",
            "chronosctl schedule list t --to 1970-01-01T00:00:00Z",
        ] {
            assert_eq!(parsed(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn shifts_go_both_ways() {
        assert_eq!(parse_shift("1h30m"), Ok(5_400_000));
        assert_eq!(parse_shift("-2s"), Ok(-2_000));
        assert!(parse_shift("--2s").is_err() && parse_shift("").is_err());
    }
}
