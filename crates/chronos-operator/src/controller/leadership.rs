//! One operator acts at a time: the one that holds the Lease. Who cannot renew it stops acting
//! before the others may believe that it is gone. They believe it when the Lease has stood still for so
//! long by their own clock; times that another machine wrote down are not compared with it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// How long others wait for a holder that is silent.
const HELD: Duration = Duration::from_secs(15);
/// How long a holder goes on without a renewal.
const RENEWED: Duration = Duration::from_secs(8);
/// How long one question may take.
const ASK: Duration = Duration::from_secs(3);
/// Time between two tries.
const AGAIN: Duration = Duration::from_secs(2);

/// Until when this operator may act. It is looked at before each act: one that was frozen for a while acts no
/// more when it wakes up, whatever it was about to do. Without a Lease there is no end.
#[derive(Debug, Default)]
pub struct Tenure(Mutex<Option<Instant>>);

impl Tenure {
    /// Sets the end.
    pub(super) fn ends(&self, at: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }

    /// Whether the end has come.
    pub(super) fn is_over(&self) -> bool {
        let end = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        end.is_some_and(|end| end <= Instant::now())
    }
}

/// The Lease, and who asks for it.
#[derive(Clone)]
pub struct Leadership {
    api: Api<Lease>,
    name: String,
    me: String,
}

impl Leadership {
    /// A Lease of this name, held by `me`, which must differ between operators.
    pub fn new(client: Client, namespace: &str, name: &str, me: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            me: me.to_owned(),
        }
    }

    /// Asks once. Whether it is held now.
    async fn ask(&self, before: &mut Option<Sight>) -> Result<bool, kube::Error> {
        let now = Timestamp::now();
        let Some(mut lease) = self.api.get_opt(&self.name).await? else {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(self.name.clone()),
                    ..ObjectMeta::default()
                },
                spec: Some(self.taken(now, None)),
            };
            let made = self.api.create(&PostParams::default(), &lease).await;
            return won(made.map(|_| ()));
        };
        let still = Sight::still(before, lease.spec.as_ref(), Instant::now());
        if !may_take(lease.spec.as_ref(), &self.me, still) {
            return Ok(false);
        }
        lease.spec = Some(self.taken(now, lease.spec.as_ref()));
        // The version in the metadata makes the API server refuse it if somebody was quicker.
        won(self
            .api
            .replace(&self.name, &PostParams::default(), &lease)
            .await
            .map(|_| ()))
    }

    fn taken(&self, now: Timestamp, before: Option<&LeaseSpec>) -> LeaseSpec {
        let mine = before.is_some_and(|lease| lease.holder_identity.as_ref() == Some(&self.me));
        let acquired = before.and_then(|lease| lease.acquire_time.clone());
        let transitions = before.and_then(|lease| lease.lease_transitions);
        LeaseSpec {
            holder_identity: Some(self.me.clone()),
            lease_duration_seconds: i32::try_from(HELD.as_secs()).ok(),
            acquire_time: if mine { acquired } else { None }.or(Some(MicroTime(now))),
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(transitions.unwrap_or(0) + i32::from(!mine)),
            ..LeaseSpec::default()
        }
    }

    /// Gives the Lease back, so that the next operator need not wait.
    async fn give_back(&self) -> Result<(), kube::Error> {
        let Some(mut lease) = self.api.get_opt(&self.name).await? else {
            return Ok(());
        };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_ref() == Some(&self.me) {
            spec.holder_identity = Some(String::new());
            self.api
                .replace(&self.name, &PostParams::default(), &lease)
                .await?;
        }
        Ok(())
    }
}

/// Somebody who was quicker is no error.
fn won(answer: Result<(), kube::Error>) -> Result<bool, kube::Error> {
    match answer {
        Ok(()) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

/// What a Lease looked like, and since when.
struct Sight {
    lease: Option<LeaseSpec>,
    since: Instant,
}

impl Sight {
    /// For how long the Lease has looked like this.
    fn still(before: &mut Option<Self>, lease: Option<&LeaseSpec>, now: Instant) -> Duration {
        match before {
            Some(sight) if sight.lease.as_ref() == lease => now.duration_since(sight.since),
            _ => {
                let lease = lease.cloned();
                *before = Some(Self { lease, since: now });
                Duration::ZERO
            }
        }
    }
}

fn may_take(lease: Option<&LeaseSpec>, me: &str, still: Duration) -> bool {
    let Some(lease) = lease else { return true };
    let holder = lease.holder_identity.as_deref().unwrap_or_default();
    if holder.is_empty() || holder == me {
        return true;
    }
    let seconds = lease.lease_duration_seconds.unwrap_or(0);
    still > Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// Keeps asking for the Lease until `stop`, and says on the way whether it is held, and in `tenure` for how
/// long. Gives it back at the end.
pub async fn hold(
    leadership: Leadership,
    tenure: Arc<Tenure>,
    held: watch::Sender<bool>,
    mut stop: watch::Receiver<bool>,
) {
    let mut renewed = None;
    let mut before = None;
    loop {
        let began = Instant::now();
        // An answer that comes too late is as good as none.
        match timeout(ASK, leadership.ask(&mut before)).await {
            Ok(Ok(true)) => renewed = Some(began),
            Ok(Ok(false)) => renewed = None,
            Ok(Err(error)) => tracing::warn!(%error, "the Lease could not be asked for"),
            Err(_) => tracing::warn!("the Lease could not be asked for in time"),
        }
        let end = renewed.map(|at: Instant| at + RENEWED);
        tenure.ends(end.unwrap_or(began));
        let holds = !tenure.is_over();
        held.send_if_modified(|before| std::mem::replace(before, holds) != holds);
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            () = sleep(AGAIN) => {}
        }
    }
    held.send_replace(false);
    if renewed.is_some()
        && let Ok(Err(error)) = timeout(ASK, leadership.give_back()).await
    {
        tracing::warn!(%error, "the Lease could not be given back");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, renewed_seconds: i64) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            renew_time: Some(MicroTime(Timestamp::from_second(renewed_seconds).unwrap())),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn a_lease_is_taken_when_it_is_free_mine_or_stands_still() {
        let (no_time, long) = (Duration::ZERO, Duration::from_secs(16));
        assert!(may_take(None, "me", no_time));
        assert!(may_take(Some(&lease("", 999)), "me", no_time));
        assert!(may_take(Some(&lease("me", 1)), "me", no_time));
        assert!(!may_take(Some(&lease("other", 1)), "me", no_time));
        assert!(!may_take(Some(&lease("other", 1)), "me", HELD));
        assert!(may_take(Some(&lease("other", 1)), "me", long));
    }

    /// A holder whose clock is an hour ahead or behind is waited for as long as any other.
    #[test]
    fn a_lease_that_is_renewed_does_not_stand_still() {
        let began = Instant::now();
        let mut before = None;
        let mut look = |renewed_seconds, after: u64| {
            let seen = lease("other", renewed_seconds);
            Sight::still(&mut before, Some(&seen), began + Duration::from_secs(after))
        };
        assert_eq!(look(-3600, 0), Duration::ZERO);
        assert_eq!(look(-3598, 10), Duration::ZERO);
        assert_eq!(look(-3598, 20), Duration::from_secs(10));
        assert_eq!(look(-3598, 26), Duration::from_secs(16));
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenure_ends_by_itself() {
        let tenure = Tenure::default();
        assert!(!tenure.is_over(), "nobody set an end");
        tenure.ends(Instant::now() + RENEWED);
        assert!(!tenure.is_over());
        tokio::time::advance(RENEWED).await;
        assert!(tenure.is_over(), "it was frozen, and nobody could tell it");
    }

    /// Whoever cannot renew stops before another one may begin.
    #[test]
    fn a_holder_stops_before_the_next_one_starts() {
        // It looks at the time once per question.
        assert!(RENEWED + ASK + AGAIN < HELD);
        assert!(
            ASK + AGAIN < RENEWED,
            "one lost question must not cost the Lease"
        );
    }
}
