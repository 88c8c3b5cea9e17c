//! Cancel, move and fire against the due time and each other, with kill -9 in between; every event's
//! history must have an order that explains it.

use super::{try_cancel, try_fire, try_get, try_reschedule};
use crate::serve;
use chronos_proto::cronos_db::{ScheduleOutcome, ScheduleResponse, ScheduleState};
use chronos_tests::client::{Client, event_at, event_of, settlement, subscription};
use chronos_tests::history::wall_ms;
use chronos_tests::patience::eventually;
use chronos_tests::random::Random;
use chronos_tests::register::{Answer, Call, Operation, check};
use chronos_tests::server::Options;
use std::collections::BTreeMap;
use std::env;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::Status;

const TOPIC: &str = "race";
/// Calls made for each event, by as many tasks at once.
const CALLS: usize = 4;
/// Events whose calls are under way at once.
const EVENTS_AT_ONCE: usize = 64;

/// How many events race; `CHRONOS_TEST_RACES` asks for more.
fn events() -> usize {
    env::var("CHRONOS_TEST_RACES")
        .ok()
        .and_then(|it| it.parse().ok())
        .unwrap_or(3_000)
}

type Histories = Arc<Mutex<BTreeMap<String, (i64, Vec<Operation>)>>>;

struct World {
    began: Instant,
    histories: Histories,
    /// The server's client; another one after a restart.
    client: watch::Receiver<Client>,
}

impl World {
    fn now_us(&self) -> i64 {
        self.began.elapsed().as_micros() as i64
    }

    fn note(&self, id: &str, operation: Operation) {
        let mut histories = self.histories.lock().unwrap();
        if let Some((_, history)) = histories.get_mut(id) {
            history.push(operation);
        }
    }

    /// Publishes an event until that is answered; a duplicate is one that came through before.
    async fn publish(&self, id: &str, due_ms: i64) {
        let begun = (due_ms, Vec::new());
        self.histories.lock().unwrap().insert(id.to_owned(), begun);
        eventually("an event is published", async || {
            let client = self.client.borrow().clone();
            let answer = client.publish(event_at(id, TOPIC, due_ms)).await.ok()?;
            (answer.success || answer.error == "duplicate message_id").then_some(())
        })
        .await;
    }

    async fn call(&self, id: &str, call: Call) {
        let client = self.client.borrow().clone();
        let invoked_us = self.now_us();
        let answer = match call {
            Call::Get => try_get(&client, TOPIC, id).await,
            Call::Cancel => try_cancel(&client, TOPIC, id).await,
            Call::Reschedule(at_ms) => try_reschedule(&client, TOPIC, id, at_ms).await,
            Call::FireNow => try_fire(&client, TOPIC, id).await,
            Call::Deliver => unreachable!("consumers deliver"),
        };
        let is_known = answer.is_ok();
        let operation = Operation {
            call,
            answer: read(answer),
            invoked_us,
            returned_us: if is_known { self.now_us() } else { i64::MAX },
            wall_ms: if is_known { wall_ms() } else { i64::MAX / 2 },
        };
        self.note(id, operation);
    }
}

fn read(answer: Result<ScheduleResponse, Status>) -> Answer {
    let Ok(answer) = answer else {
        return Answer::Unknown;
    };
    match (answer.outcome(), answer.event) {
        (ScheduleOutcome::Found, Some(event)) => match event.state() {
            ScheduleState::StatePending => Answer::Scheduled(event.schedule_ts),
            ScheduleState::StateFired => Answer::AlreadyFired,
            ScheduleState::StateCancelled => Answer::AlreadyCancelled,
            ScheduleState::Unspecified => panic!("{event:?}"),
        },
        (ScheduleOutcome::Cancelled, _) => Answer::Cancelled,
        (ScheduleOutcome::Rescheduled, _) => Answer::Rescheduled,
        (ScheduleOutcome::Fired, _) => Answer::Fired,
        (ScheduleOutcome::AlreadyFired, _) => Answer::AlreadyFired,
        (ScheduleOutcome::AlreadyCancelled, _) => Answer::AlreadyCancelled,
        (outcome, event) => panic!("{outcome:?} {event:?}"),
    }
}

/// Publishes an event that is due soon, and lets calls loose on it around its due time.
async fn race(world: &World, id: String, mut random: Random) {
    let due_ms = wall_ms() + random.range(5, 60) as i64;
    world.publish(&id, due_ms).await;
    let calls = (0..CALLS).map(|_| {
        let at_ms = due_ms + random.range(0, 40) as i64 - 30;
        let call = match random.range(0, 10) {
            0..4 => Call::Cancel,
            4..7 => Call::Reschedule(wall_ms() + random.range(0, 120) as i64),
            7..8 => Call::FireNow,
            _ => Call::Get,
        };
        let id = &id;
        async move {
            let wait_ms = (at_ms - wall_ms()).max(0) as u64;
            // Not synchronisation: the call is to fall around the due time.
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            world.call(id, call).await;
        }
    });
    futures::future::join_all(calls).await;
}

/// Notes what is delivered, and acknowledges it, through every restart.
async fn consume(world: Arc<World>) {
    loop {
        let client = world.client.borrow().clone();
        let (Ok(mut deliveries), Ok(acks)) = (
            client.subscribe(subscription("g", "m", TOPIC)).await,
            client.acks().await,
        ) else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        while let Some(Ok(delivery)) = deliveries.within(Duration::from_secs(60)).await {
            let id = event_of(&delivery).message_id.clone();
            let operation = Operation {
                call: Call::Deliver,
                answer: Answer::Fired,
                invoked_us: 0,
                returned_us: world.now_us(),
                wall_ms: wall_ms(),
            };
            world.note(&id, operation);
            acks.send(settlement(&delivery, true));
        }
    }
}

/// Events that race, and what came of each call.
pub struct Races {
    world: Arc<World>,
    client: watch::Sender<Client>,
    consumer: JoinHandle<()>,
    random: Random,
    begun: usize,
}

impl Races {
    /// Begins, with a consumer and no event.
    pub fn start(client: Client, seed: u64) -> Self {
        let (sender, receiver) = watch::channel(client);
        let world = Arc::new(World {
            began: Instant::now(),
            histories: Histories::default(),
            client: receiver,
        });
        Self {
            consumer: tokio::spawn(consume(Arc::clone(&world))),
            world,
            client: sender,
            random: Random::new(seed),
            begun: 0,
        }
    }

    /// From here on everybody uses this client.
    pub fn go_to(&self, client: Client) {
        self.client.send_replace(client);
    }

    /// Lets so many more events race; ends when all their calls are answered, or will never be.
    pub fn race(&mut self, count: usize) -> JoinHandle<()> {
        let names = self.begun..self.begun + count;
        self.begun += count;
        let some: Vec<_> = names
            .map(|number| (format!("e{number}"), self.random.fork()))
            .collect();
        let world = Arc::clone(&self.world);
        tokio::spawn(async move {
            use futures::stream::StreamExt;
            futures::stream::iter(some)
                .for_each_concurrent(EVENTS_AT_ONCE, |(id, random)| {
                    let world = Arc::clone(&world);
                    async move { race(&world, id, random).await }
                })
                .await;
        })
    }

    /// Waits until what was not cancelled is delivered, and looks for an order of each event's calls.
    pub async fn judge(self) {
        let world = self.world;
        let mut open: Vec<String> = world.histories.lock().unwrap().keys().cloned().collect();
        let client = world.client.borrow().clone();
        for id in std::mem::take(&mut open) {
            if read(try_get(&client, TOPIC, &id).await) != Answer::AlreadyCancelled {
                open.push(id);
            }
        }
        eventually("everything that fired is delivered", async || {
            let histories = world.histories.lock().unwrap();
            let came = |operation: &Operation| operation.call == Call::Deliver;
            let all_came = open.iter().all(|id| histories[id].1.iter().any(came));
            all_came.then_some(())
        })
        .await;
        self.consumer.abort();
        let histories = world.histories.lock().unwrap().clone();
        let mut answers: BTreeMap<String, usize> = BTreeMap::new();
        for (id, (due_ms, history)) in &histories {
            for operation in history {
                let name = format!("{:?}", operation.answer);
                let name = name.split('(').next().unwrap_or_default().to_owned();
                *answers.entry(name).or_default() += 1;
            }
            if let Err(impossible) = check(*due_ms, history) {
                panic!("{id}, published for {due_ms}: {impossible}");
            }
        }
        println!("{} events: {answers:?}", histories.len());
        // The races were races: both sides won some.
        for answer in [
            "Cancelled",
            "Rescheduled",
            "AlreadyFired",
            "AlreadyCancelled",
        ] {
            assert!(answers.contains_key(answer), "{answers:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_around_the_due_time_have_an_order_through_kills() {
    let (mut server, client) = serve(&["-partition-count=2"]).await;
    let seed = crate::seed(11);
    let mut races = Races::start(client, seed);
    let mut random = Random::new(seed);
    // A kill for every tenth of the events, while their calls are under way.
    for _ in 0..10 {
        let racing = races.race(events().div_ceil(10));
        let pause_ms = random.range(50, 300);
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        server.kill().await.unwrap();
        server.restart().await.unwrap();
        races.go_to(Client::new(server.channel().unwrap()));
        racing.await.unwrap();
    }
    races.judge().await;
}

#[tokio::test]
async fn a_server_that_delivers_what_was_cancelled_is_found_out() {
    let options = Options::new().mutant(Some("cancel-not-indexed"));
    let server = options
        .start()
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let client = Client::new(server.channel().unwrap());
    let due_ms = wall_ms() + 700;
    client.publish(event_at("a", TOPIC, due_ms)).await.unwrap();
    let answer = read(try_cancel(&client, TOPIC, "a").await);
    let cancelled = Operation {
        call: Call::Cancel,
        answer,
        invoked_us: 1,
        returned_us: 2,
        wall_ms: wall_ms(),
    };
    let mut deliveries = client
        .subscribe(subscription("g", "m", TOPIC))
        .await
        .unwrap();
    deliveries.next().await;
    let delivered = Operation {
        call: Call::Deliver,
        answer: Answer::Fired,
        invoked_us: 0,
        returned_us: 3,
        wall_ms: wall_ms(),
    };
    assert!(check(due_ms, &[cancelled, delivered]).is_err());
}
