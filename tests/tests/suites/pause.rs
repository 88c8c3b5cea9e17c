//! Pausing and resuming topics and groups over the wire.

use std::time::Duration;

use chronos_proto::cronos_db::pause_service_client::PauseServiceClient;
use chronos_proto::cronos_db::pause_target::Target;
use chronos_proto::cronos_db::{
    ListPausesRequest, PauseInfo, PauseRequest, PauseTarget, ResumeRequest, WhilePaused,
};
use chronos_tests::client::{Client, event, event_at, event_of, ids, subscription};
use chronos_tests::history::wall_ms;
use chronos_tests::patience::eventually;
use chronos_tests::server::Server;
use tonic::Code;
use tonic::transport::Channel;

use crate::cli::json;
use crate::serve;

const SILENCE: Duration = Duration::from_millis(300);

type Pauses = PauseServiceClient<Channel>;

fn pauses_of(server: &Server) -> Pauses {
    PauseServiceClient::new(server.channel().unwrap())
}

fn topic(name: &str) -> PauseTarget {
    PauseTarget {
        target: Some(Target::Topic(name.into())),
    }
}

fn group(name: &str) -> PauseTarget {
    PauseTarget {
        target: Some(Target::Group(name.into())),
    }
}

fn hold(target: PauseTarget) -> PauseRequest {
    PauseRequest {
        target: Some(target),
        reason: "release 42".into(),
        ..PauseRequest::default()
    }
}

fn dropping(target: PauseTarget) -> PauseRequest {
    PauseRequest {
        while_paused: WhilePaused::Drop.into(),
        ..hold(target)
    }
}

async fn pause(pauses: &Pauses, request: PauseRequest) -> PauseInfo {
    let answer = pauses.clone().pause(request).await.unwrap();
    answer.into_inner().pause.unwrap()
}

async fn resume(pauses: &Pauses, target: PauseTarget) -> bool {
    let request = ResumeRequest {
        target: Some(target),
    };
    let answer = pauses.clone().resume(request).await.unwrap();
    answer.into_inner().was_paused
}

async fn list(pauses: &Pauses) -> Vec<PauseInfo> {
    let listed = pauses.clone().list_pauses(ListPausesRequest {}).await;
    listed.unwrap().into_inner().pauses
}

async fn publish(client: &Client, names: &[&str], topic: &str) {
    for name in names {
        assert!(client.publish(event(name, topic)).await.unwrap().success);
    }
}

/// Waits until so many events were dropped.
async fn dropped(server: &Server, count: f64) {
    let counted = || async {
        let now = server.metric("chronos_events_dropped_total").await.ok()?;
        (now >= count).then_some(now)
    };
    let counted = eventually("events are dropped", counted).await;
    assert_eq!(counted, count);
}

#[tokio::test]
async fn a_held_group_gets_everything_in_due_order_when_it_goes_on_and_others_never_wait() {
    let (server, client) = serve(&[]).await;
    let pauses = pauses_of(&server);
    let mut paused = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let mut other = client.subscribe(subscription("h", "m", "t")).await.unwrap();
    let mut acks = client.acks().await.unwrap();
    publish(&client, &["a"], "t").await;
    let in_flight = paused.next().await;
    let begun = pause(&pauses, hold(group("g"))).await;
    assert_eq!((begun.reason.as_str(), begun.until_ts), ("release 42", 0));
    publish(&client, &["b", "c", "d"], "t").await;
    assert_eq!(ids(&other.take(4).await), ["a", "b", "c", "d"]);
    // What was in flight is failed; its retry waits too.
    assert!(acks.settle(&in_flight, false).await.success);
    assert!(paused.within(SILENCE).await.is_none(), "held");
    assert_eq!(server.metric("chronos_pauses").await.unwrap(), 1.0);
    assert_eq!(list(&pauses).await, [begun]);
    assert!(resume(&pauses, group("g")).await);
    let mut names = ids(&paused.take(4).await);
    names.retain(|name| name != "a");
    assert_eq!(names, ["b", "c", "d"]);
    assert!(!resume(&pauses, group("g")).await, "no error either");
    assert!(list(&pauses).await.is_empty());
}

#[tokio::test]
async fn a_held_topic_is_held_for_groups_that_come_later_and_others_go_on() {
    let (server, client) = serve(&[]).await;
    let pauses = pauses_of(&server);
    let mut all = client
        .subscribe(subscription("all", "m", ""))
        .await
        .unwrap();
    pause(&pauses, hold(topic("t"))).await;
    let mut late = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    publish(&client, &["t1", "t2"], "t").await;
    publish(&client, &["u1", "u2"], "u").await;
    assert_eq!(ids(&all.take(2).await), ["u1", "u2"]);
    assert!(all.within(SILENCE).await.is_none(), "t is held");
    assert!(late.within(SILENCE).await.is_none(), "t is held");
    assert!(resume(&pauses, topic("t")).await);
    assert_eq!(ids(&all.take(2).await), ["t1", "t2"]);
    assert_eq!(ids(&late.take(2).await), ["t1", "t2"]);
}

#[tokio::test]
async fn what_is_dropped_is_settled_with_nobody_there_and_does_not_come_back() {
    let (mut server, client) = serve(&[]).await;
    let pauses = pauses_of(&server);
    // Two groups, and only one of them is paused; nobody is subscribed.
    for name in ["g", "h"] {
        drop(
            client
                .subscribe(subscription(name, "m", "t"))
                .await
                .unwrap(),
        );
    }
    publish(&client, &["waits"], "t").await;
    pause(&pauses, dropping(group("g"))).await;
    publish(&client, &["falls-due"], "t").await;
    dropped(&server, 2.0).await;
    assert_eq!(list(&pauses).await[0].dropped, 2);
    // Both are in the log once another event is: entries keep their order.
    publish(&client, &["falls-due-too"], "t").await;
    dropped(&server, 3.0).await;
    assert!(server.stop().await.unwrap().success());
    server.restart().await.unwrap();
    assert!(resume(&pauses, group("g")).await);
    publish(&client, &["after"], "t").await;
    let mut g = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let mut h = client.subscribe(subscription("h", "m", "t")).await.unwrap();
    assert_eq!(event_of(&g.next().await).message_id, "after");
    assert_eq!(
        ids(&h.take(4).await),
        ["waits", "falls-due", "falls-due-too", "after"]
    );
}

#[tokio::test]
async fn a_dropped_topic_is_dropped_for_a_group_of_all_topics_without_members() {
    let (server, client) = serve(&[]).await;
    let pauses = pauses_of(&server);
    drop(
        client
            .subscribe(subscription("all", "m", ""))
            .await
            .unwrap(),
    );
    pause(&pauses, dropping(topic("t"))).await;
    for n in 0..3 {
        publish(&client, &[&format!("u{n}")], "u").await;
        publish(&client, &[&format!("t{n}")], "t").await;
    }
    dropped(&server, 3.0).await;
    assert!(resume(&pauses, topic("t")).await);
    publish(&client, &["t3"], "t").await;
    let mut all = client
        .subscribe(subscription("all", "m", ""))
        .await
        .unwrap();
    assert_eq!(ids(&all.take(4).await), ["u0", "u1", "u2", "t3"]);
}

#[tokio::test]
async fn a_pause_ends_at_its_time_by_itself() {
    let (server, client) = serve(&[]).await;
    let pauses = pauses_of(&server);
    let mut paused = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let begun = pause(
        &pauses,
        PauseRequest {
            for_ms: 700,
            ..hold(topic("t"))
        },
    )
    .await;
    assert_eq!(begun.until_ts, begun.since_ts + 700);
    let due = event_at("soon", "t", begun.since_ts + 200);
    assert!(client.publish(due).await.unwrap().success);
    publish(&client, &["now"], "t").await;
    assert_eq!(ids(&paused.take(2).await), ["now", "soon"]);
    assert!(wall_ms() >= begun.until_ts, "not before it ended");
    assert!(list(&pauses).await.is_empty());
    assert!(!resume(&pauses, topic("t")).await, "it is over");
}

#[tokio::test]
async fn a_pause_survives_kill_9_and_one_that_expired_meanwhile_does_not() {
    let (mut server, client) = serve(&[]).await;
    let pauses = pauses_of(&server);
    for name in ["g", "h"] {
        drop(
            client
                .subscribe(subscription(name, "m", "t"))
                .await
                .unwrap(),
        );
    }
    let held = pause(&pauses, hold(group("g"))).await;
    let short = PauseRequest {
        until_ts: wall_ms() + 400,
        ..hold(group("h"))
    };
    let short = pause(&pauses, short).await;
    publish(&client, &["a", "b"], "t").await;
    server.kill().await.unwrap();
    eventually("the short pause is over", || async {
        (wall_ms() > short.until_ts).then_some(())
    })
    .await;
    server.restart().await.unwrap();
    assert_eq!(list(&pauses).await, [held]);
    let mut g = client.subscribe(subscription("g", "m", "t")).await.unwrap();
    let mut h = client.subscribe(subscription("h", "m", "t")).await.unwrap();
    assert_eq!(ids(&h.take(2).await), ["a", "b"]);
    assert!(g.within(SILENCE).await.is_none(), "still paused");
    assert!(resume(&pauses, group("g")).await);
    assert_eq!(ids(&g.take(2).await), ["a", "b"]);
}

#[tokio::test]
async fn a_pause_that_makes_no_sense_is_refused() {
    let (server, _client) = serve(&[]).await;
    let pauses = pauses_of(&server);
    for request in [
        PauseRequest::default(),
        hold(group("")),
        PauseRequest {
            until_ts: 1,
            ..hold(group("g"))
        },
        PauseRequest {
            while_paused: 9,
            ..hold(group("g"))
        },
    ] {
        let refused = pauses.clone().pause(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    assert!(list(&pauses).await.is_empty());
}

#[tokio::test]
async fn chronosctl_pauses_lists_and_resumes() {
    let (server, _client) = serve(&[]).await;
    let line = [
        "pause",
        "topic",
        "t",
        "--for",
        "1h",
        "--reason",
        "mail is down",
    ];
    let paused = json(&server, &line).await;
    assert_eq!(paused["while_paused"], "hold");
    json(&server, &["pause", "group", "g", "--drop"]).await;
    let listed = json(&server, &["pause", "list"]).await;
    assert_eq!(
        (&listed[0]["target"], &listed[0]["name"]),
        (&"topic".into(), &"t".into())
    );
    assert_eq!(listed[0]["reason"], "mail is down");
    let lasts = listed[0]["until_ts"].as_i64().unwrap() - listed[0]["since_ts"].as_i64().unwrap();
    assert_eq!(lasts, 3_600_000);
    assert_eq!(
        (&listed[1]["while_paused"], &listed[1]["until_ts"]),
        (&"drop".into(), &0.into())
    );
    for was_paused in [true, false] {
        let resumed = json(&server, &["resume", "group", "g"]).await;
        assert_eq!(resumed["was_paused"], was_paused);
    }
}
