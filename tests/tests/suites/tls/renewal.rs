//! Certificates that change while a subscription goes on.

use chronos_tests::client::{event, event_of, subscription};
use chronos_tests::patience::{eventually, soon};
use chronos_tests::server::Server;

use super::{Authority, HERE, Secret, client, flags, start, trusting};

async fn serves_until(server: &Server, seconds: f64) {
    eventually("the renewed certificate is served", || async {
        let metric = "chronos_tls_certificate_expiry_timestamp_seconds";
        (server.metric(metric).await.ok()? == seconds).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_renewed_certificate_is_served_and_connections_go_on() {
    let (old, new) = (Authority::new(), Authority::new());
    let secret = Secret::new(&old.sign_until(&[HERE], 2049), &old);
    let mut server = start(flags(&secret)).await;
    let pid = server.pid();
    let before = client(&server, trusting(&old));
    let mut events = before.subscribe(subscription("g", "m", "t")).await.unwrap();

    let renewed = new.sign_until(&[HERE], 2051);
    secret.put(&renewed.certificate, &renewed.key, &new.pem());
    serves_until(&server, 2_556_144_000.0).await;
    let after = client(&server, trusting(&new));
    let answer = soon("an answer", after.publish(event("a", "t"))).await;
    assert!(answer.unwrap().success);
    assert_eq!(event_of(&events.next().await).message_id, "a");
    let late = client(&server, trusting(&old));
    let answer = soon("a refusal", late.publish(event("b", "t"))).await;
    assert!(answer.is_err());

    secret.put(&renewed.certificate, "no key", &new.pem());
    eventually("the bad key is complained of", || async {
        let log = server.log();
        let complains =
            |line: &str| line.contains("WARN") && line.contains("certificates are not used");
        log.lines().any(complains).then_some(())
    })
    .await;
    let renewed = client(&server, trusting(&new));
    let answer = renewed.publish(event("c", "t"));
    assert!(soon("an answer", answer).await.unwrap().success);
    assert_eq!(event_of(&events.next().await).message_id, "c");

    let third = new.sign_until(&[HERE], 2049);
    secret.put(&third.certificate, &third.key, &new.pem());
    serves_until(&server, 2_493_072_000.0).await;
    let answer = before.publish(event("d", "t"));
    assert!(soon("an answer", answer).await.unwrap().success);
    assert_eq!(event_of(&events.next().await).message_id, "d");
    assert!(server.is_running() && server.pid() == pid);
}
