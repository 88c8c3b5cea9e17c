//! A silence is waited out once, and not by every topic.

use super::*;

const HOUR: Duration = Duration::from_secs(3_600);

fn is_silent(database: &Connection) -> bool {
    database.silence.0.lock().unwrap().is_some()
}

#[test]
fn one_asks_again_after_a_while_and_the_others_wait_for_it() {
    let silence = Silence::default();
    let then = Instant::now();
    assert_eq!(silence.heeded(then), None);
    silence.began(then, "why".to_owned());
    let why = Some("why".to_owned());
    let later = then + QUIET;
    assert_eq!(silence.heeded(later - Duration::from_millis(1)), why);
    assert_eq!(silence.heeded(later), None);
    assert_eq!(silence.heeded(later), why);
    silence.ended();
    assert_eq!(silence.heeded(later), None);
}

#[tokio::test]
async fn a_silent_database_is_not_asked_about_topics_until_its_status_is_answered() {
    let told = Error::Silent("told to be".to_owned());
    let settings = TopicSettings::default();
    let (database, server) = served().await;
    assert_eq!(database.topic("orders").await.unwrap(), None);
    assert!(!is_silent(&database));
    let answer = database.topic("silent").await;
    assert!(matches!(answer, Err(Error::Silent(_))), "{answer:?}");
    assert!(is_silent(&database));

    // As if it had been just now, however long this test takes.
    database
        .silence
        .began(Instant::now() + HOUR, "told to be".to_owned());
    server.calls.lock().unwrap().clear();
    let answers = [
        database.topic("orders").await.err(),
        database.create_topic("orders", &settings).await.err(),
        database.alter_topic("orders", &settings, &[]).await.err(),
        database.delete_topic("orders").await.err(),
        database.next_fire_ms("orders").await.err(),
        database.leaders().await.err(),
    ];
    for answer in answers {
        assert_eq!(answer.as_ref(), Some(&told));
    }
    assert!(server.calls.lock().unwrap().is_empty());

    // Orders about nodes go out, and say nothing of topics.
    database.undrain("a").await.unwrap();
    assert_eq!(*server.calls.lock().unwrap(), ["undrain a"]);
    assert!(is_silent(&database));

    database.status().await.unwrap();
    assert!(!is_silent(&database));
    assert_eq!(database.topic("orders").await.unwrap(), None);
}

#[tokio::test]
async fn a_refusal_is_an_answer_and_a_question_that_is_given_up_is_not() {
    let database = Connection::new(plain("127.0.0.1:1".to_owned()));
    let asking = database.listen(std::future::pending::<Result<(), Error>>());
    let given_up = tokio::time::timeout(Duration::from_millis(1), asking).await;
    assert!(given_up.is_err());
    assert!(is_silent(&database));
    let refusal = async { Err::<(), Error>(Error::Refused("no".to_owned())) };
    assert!(database.listen(refusal).await.is_err());
    assert!(!is_silent(&database));
}
