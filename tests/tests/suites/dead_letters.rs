//! Dead letters over the wire: listing, reading, editing, redriving, discarding, expiring.

use std::time::Duration;

use chronos_proto::cronos_db::dead_letter_service_client::DeadLetterServiceClient;
use chronos_proto::cronos_db::{
    AckRequest, DeadLetter, DeadLetterFilter, DeadLetterState, DiscardDeadLettersRequest,
    EditDeadLetterRequest, GetDeadLetterRequest, ListDeadLettersRequest, MetaEdit,
    RedriveDeadLettersRequest, RedriveProgress,
};
use chronos_tests::client::{Client, event, event_of, settlement, subscription};
use chronos_tests::history::wall_ms;
use chronos_tests::patience::eventually;
use chronos_tests::server::Server;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::serve;

const SILENCE: Duration = Duration::from_millis(300);
const HASTY: &[&str] = &["-ack-timeout=2s", "-retry-backoff=20ms", "-max-retries=2"];

type Letters = DeadLetterServiceClient<Channel>;

fn letters_of(server: &Server) -> Letters {
    DeadLetterServiceClient::new(server.channel().unwrap())
}

fn of_group(group: &str) -> DeadLetterFilter {
    DeadLetterFilter {
        consumer_group: group.into(),
        ..DeadLetterFilter::default()
    }
}

async fn list(letters: &Letters, filter: DeadLetterFilter) -> Vec<DeadLetter> {
    let request = ListDeadLettersRequest {
        filter: Some(filter),
        ..ListDeadLettersRequest::default()
    };
    let listed = letters.clone().list_dead_letters(request).await;
    listed.unwrap().into_inner().letters
}

async fn get(letters: &Letters, id: &str) -> Result<DeadLetter, Status> {
    let request = GetDeadLetterRequest {
        id: id.into(),
        with_payload: true,
    };
    let letter = letters.clone().get_dead_letter(request).await;
    letter.map(tonic::Response::into_inner)
}

/// Redrives to the end; what was said last, and how often something was said.
async fn redrive(
    letters: &Letters,
    request: RedriveDeadLettersRequest,
) -> Result<(RedriveProgress, usize), Status> {
    let mut stream = letters
        .clone()
        .redrive_dead_letters(request)
        .await?
        .into_inner();
    let (mut last, mut said) = (RedriveProgress::default(), 0);
    while let Some(progress) = stream.message().await? {
        (last, said) = (progress, said + 1);
    }
    assert!(last.done);
    Ok((last, said))
}

fn matching(filter: DeadLetterFilter) -> RedriveDeadLettersRequest {
    RedriveDeadLettersRequest {
        filter: Some(DeadLetterFilter {
            until_ts: wall_ms() + 60_000,
            ..filter
        }),
        ..RedriveDeadLettersRequest::default()
    }
}

fn ids(letters: &[DeadLetter]) -> Vec<&str> {
    letters.iter().map(|it| it.message_id.as_str()).collect()
}

/// Publishes events and lets a group fail them until they are dead letters. `error` says why.
async fn bury(client: &Client, group: &str, names: &[&str], error: &str) {
    let mut acks = client.acks().await.unwrap();
    let mut subscription = client
        .subscribe(subscription(group, "undertaker", "t"))
        .await
        .unwrap();
    for name in names {
        assert!(client.publish(event(name, "t")).await.unwrap().success);
    }
    for _ in 0..2 * names.len() {
        let delivery = subscription.next().await;
        acks.send(AckRequest {
            error: error.into(),
            ..settlement(&delivery, false)
        });
        assert!(acks.answer().await.success);
    }
}

#[tokio::test]
async fn letters_are_listed_with_what_is_known_of_them() {
    let (server, client) = serve(HASTY).await;
    let before_ms = wall_ms();
    bury(&client, "g", &["a", "b", "c"], "boom").await;
    bury(&client, "g", &["d"], "timeout of the bank").await;
    let letters = letters_of(&server);
    let all = list(&letters, of_group("g")).await;
    assert_eq!(all.len(), 4);
    let first = &all[0];
    assert_eq!((first.topic.as_str(), first.attempts), ("t", 2));
    assert_eq!((first.last_error.as_str(), first.redrives), ("boom", 0));
    assert!(before_ms <= first.first_failure_ts);
    assert!(first.first_failure_ts <= first.last_failure_ts);
    assert_eq!(first.state(), DeadLetterState::DeadLetterDead);
    assert!(first.event.is_none(), "payloads only when asked for");
    assert_eq!(server.metric("chronos_dlq_events").await.unwrap(), 4.0);

    let by_error = DeadLetterFilter {
        error_contains: "timeout".into(),
        ..of_group("g")
    };
    assert_eq!(ids(&list(&letters, by_error).await), ["d"]);
    let by_key = DeadLetterFilter {
        key: "b".into(),
        ..of_group("g")
    };
    assert_eq!(ids(&list(&letters, by_key).await), ["b"]);
    let by_time = DeadLetterFilter {
        until_ts: before_ms,
        ..of_group("g")
    };
    assert!(list(&letters, by_time).await.is_empty());
    let by_topic = DeadLetterFilter {
        topic: "other".into(),
        ..of_group("g")
    };
    assert!(list(&letters, by_topic).await.is_empty());

    // Page by page is the same as all at once.
    let (mut paged, mut token) = (Vec::new(), String::new());
    loop {
        let request = ListDeadLettersRequest {
            filter: Some(of_group("g")),
            page_size: 3,
            page_token: token,
            with_payload: true,
        };
        let page = letters.clone().list_dead_letters(request).await.unwrap();
        let page = page.into_inner();
        assert_eq!(page.total, 4);
        paged.extend(page.letters.into_iter().map(|letter| letter.id));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let whole: Vec<String> = all.iter().map(|letter| letter.id.clone()).collect();
    assert_eq!(paged, whole);

    let one = get(&letters, &first.id).await.unwrap();
    let stored = one.event.unwrap();
    assert_eq!(stored.message_id, first.message_id);
    assert!(!stored.payload.is_empty());
    for id in ["0:0:99", "0:77:0", "99:0:0"] {
        assert_eq!(get(&letters, id).await.unwrap_err().code(), Code::NotFound);
    }
    let malformed = get(&letters, "x").await.unwrap_err();
    assert_eq!(malformed.code(), Code::InvalidArgument);
    let unknown = ListDeadLettersRequest {
        filter: Some(of_group("nobody")),
        ..Default::default()
    };
    let unknown = letters.clone().list_dead_letters(unknown).await;
    assert_eq!(unknown.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_redrive_reaches_its_own_group_only_and_attempts_count_on() {
    let (server, client) = serve(HASTY).await;
    let mut other = client
        .subscribe(subscription("other", "m", "t"))
        .await
        .unwrap();
    let mut other_acks = client.acks().await.unwrap();
    bury(&client, "g", &["a"], "boom").await;
    let seen = other.next().await;
    assert!(other_acks.settle(&seen, true).await.success);

    let letters = letters_of(&server);
    let (counts, _) = redrive(&letters, matching(of_group("g"))).await.unwrap();
    assert_eq!((counts.matched, counts.redriven, counts.missing), (1, 1, 0));
    let mut acks = client.acks().await.unwrap();
    let mut again = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    for attempt in [3, 4] {
        let delivery = again.next().await;
        assert_eq!(delivery.attempt, attempt);
        assert!(acks.settle(&delivery, false).await.success);
    }
    // It is a dead letter again: a new one, with all its attempts.
    let dead = list(&letters, of_group("g")).await;
    assert_eq!((dead.len(), dead[0].attempts, dead[0].redrives), (1, 4, 1));
    let named = RedriveDeadLettersRequest {
        ids: vec![dead[0].id.clone(), "0:0:0".into()],
        ..Default::default()
    };
    let (counts, _) = redrive(&letters, named).await.unwrap();
    assert_eq!((counts.matched, counts.redriven, counts.missing), (1, 1, 1));
    let delivery = again.next().await;
    assert_eq!(delivery.attempt, 5);
    assert!(acks.settle(&delivery, true).await.success);
    assert!(again.within(SILENCE).await.is_none());
    assert!(other.within(SILENCE).await.is_none(), "others see nothing");
    assert!(list(&letters, of_group("g")).await.is_empty());
    assert_eq!(server.metric("chronos_dlq_events").await.unwrap(), 0.0);
}

#[tokio::test]
async fn a_filter_needs_a_bound_in_time_and_a_dry_run_changes_nothing() {
    let (server, client) = serve(HASTY).await;
    bury(&client, "g", &["a", "b"], "boom").await;
    let letters = letters_of(&server);
    let unbounded = RedriveDeadLettersRequest {
        filter: Some(of_group("g")),
        ..Default::default()
    };
    let refused = redrive(&letters, unbounded).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let dry = RedriveDeadLettersRequest {
        dry_run: true,
        ..matching(of_group("g"))
    };
    let (counts, _) = redrive(&letters, dry).await.unwrap();
    assert_eq!((counts.matched, counts.redriven), (2, 0));

    let discard = |dry_run| DiscardDeadLettersRequest {
        filter: matching(of_group("g")).filter,
        dry_run,
        ..Default::default()
    };
    let dry = letters.clone().discard_dead_letters(discard(true)).await;
    let dry = dry.unwrap().into_inner();
    assert_eq!((dry.matched, dry.discarded), (2, 0));
    assert_eq!(list(&letters, of_group("g")).await.len(), 2);
    let gone = letters.clone().discard_dead_letters(discard(false)).await;
    let gone = gone.unwrap().into_inner();
    assert_eq!((gone.matched, gone.discarded, gone.missing), (2, 2, 0));
    assert!(list(&letters, of_group("g")).await.is_empty());
    let mut subscription = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    assert!(subscription.within(SILENCE).await.is_none());
}

#[tokio::test]
async fn a_redrive_delivers_what_was_edited_also_after_a_kill() {
    let (mut server, client) = serve(HASTY).await;
    bury(&client, "g", &["a"], "boom").await;
    let letters = letters_of(&server);
    let id = list(&letters, of_group("g")).await[0].id.clone();
    let edit = EditDeadLetterRequest {
        id: id.clone(),
        payload: Some("repaired".into()),
        meta: Some(MetaEdit {
            meta: [("fixed".to_string(), "yes".to_string())].into(),
        }),
        reset: false,
    };
    let edited = letters.clone().edit_dead_letter(edit.clone()).await;
    let edited = edited.unwrap().into_inner();
    assert!(edited.edited);
    assert_eq!(edited.event.unwrap().payload, "repaired");
    let too_large = EditDeadLetterRequest {
        payload: Some(Vec::new().into()),
        ..edit.clone()
    };
    let refused = letters.clone().edit_dead_letter(too_large).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);

    let named = RedriveDeadLettersRequest {
        ids: vec![id.clone()],
        ..Default::default()
    };
    redrive(&letters, named).await.unwrap();
    let redriven = get(&letters, &id).await.unwrap();
    assert_eq!(redriven.state(), DeadLetterState::DeadLetterRedriven);
    let refused = letters.clone().edit_dead_letter(edit).await;
    assert_eq!(refused.unwrap_err().code(), Code::FailedPrecondition);

    // Killed between the redrive and the answer: it is delivered again.
    let mut subscription_before = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let before = subscription_before.next().await;
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    let client = Client::new(server.channel().unwrap());
    let mut acks = client.acks().await.unwrap();
    let mut again = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let delivery = again.next().await;
    assert!(delivery.attempt > 2);
    assert_ne!(delivery.delivery_id, before.delivery_id);
    let event = event_of(&delivery);
    assert_eq!(
        (&event.message_id[..], &event.payload[..]),
        ("a", &b"repaired"[..])
    );
    assert_eq!(event.meta.get("fixed").map(String::as_str), Some("yes"));
    assert!(acks.settle(&delivery, true).await.success);

    server.kill().await.unwrap();
    server.restart().await.unwrap();
    let client = Client::new(server.channel().unwrap());
    let mut after = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    assert!(after.within(SILENCE).await.is_none(), "it was processed");
    let letters = letters_of(&server);
    assert!(list(&letters, of_group("g")).await.is_empty());
    // Replay still shows what was published.
    let stored = client.replay(Default::default()).await.unwrap();
    assert_ne!(stored[0].event.as_ref().unwrap().payload, "repaired");
}

#[tokio::test]
async fn letters_and_edits_survive_kills_and_an_edit_can_be_taken_back() {
    let (mut server, client) = serve(HASTY).await;
    bury(&client, "g", &["a"], "boom").await;
    let letters = letters_of(&server);
    let before = list(&letters, of_group("g")).await;
    let edit = EditDeadLetterRequest {
        id: before[0].id.clone(),
        payload: Some("repaired".into()),
        ..Default::default()
    };
    letters.clone().edit_dead_letter(edit).await.unwrap();
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    let letters = letters_of(&server);
    let after = get(&letters, &before[0].id).await.unwrap();
    assert!(after.edited);
    assert_eq!(after.first_failure_ts, before[0].first_failure_ts);
    assert_eq!(after.event.unwrap().payload, "repaired");
    let reset = EditDeadLetterRequest {
        id: before[0].id.clone(),
        reset: true,
        ..Default::default()
    };
    let back = letters.clone().edit_dead_letter(reset).await.unwrap();
    let back = back.into_inner();
    assert!(!back.edited);
    assert_ne!(back.event.unwrap().payload, "repaired");
}

#[tokio::test]
async fn a_redrive_keeps_its_rate_and_ends_when_nobody_listens() {
    let (server, client) = serve(HASTY).await;
    let names: Vec<String> = (0..40).map(|n| format!("e{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    bury(&client, "g", &names, "boom").await;
    let letters = letters_of(&server);
    let paced = RedriveDeadLettersRequest {
        events_per_second: 20.0,
        ..matching(of_group("g"))
    };
    let began_ms = wall_ms();
    let mut stream = letters
        .clone()
        .redrive_dead_letters(paced)
        .await
        .unwrap()
        .into_inner();
    while let Some(progress) = stream.message().await.unwrap() {
        let most = (wall_ms() - began_ms) / 50 + 2;
        assert!(progress.redriven <= most, "{progress:?} {most}");
        if progress.redriven >= 10 {
            break;
        }
    }
    assert!(wall_ms() - began_ms >= 300);
    drop(stream);
    let left = || async { list(&letters, of_group("g")).await.len() };
    let settled = eventually("the redrive has ended", || async {
        let before = left().await;
        tokio::time::sleep(SILENCE).await;
        (left().await == before).then_some(before)
    })
    .await;
    assert!((1..=30).contains(&settled), "{settled}");
}

#[tokio::test]
async fn letters_go_when_their_time_is_over() {
    let args = [HASTY, &["-dead-letter-ttl=2s"]].concat();
    let (server, client) = serve(&args).await;
    bury(&client, "g", &["a"], "boom").await;
    let letters = letters_of(&server);
    let died_ms = list(&letters, of_group("g")).await[0].last_failure_ts;
    eventually("the letter expires", || async {
        let left = list(&letters, of_group("g")).await;
        left.is_empty().then_some(())
    })
    .await;
    assert!(wall_ms() - died_ms >= 2_000);
}
