//! Whole runs against the [fake server](super::fake_server): a good server passes, each kind of
//! fault is noticed.

use std::net::SocketAddr;

use clap::{CommandFactory, Parser};

use super::fake_server::{FakeServer, Fault};
use super::report::Report;
use super::{Args, Mode, measure};
use crate::cli::{self, Cli};
use crate::printer::Format;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: Args,
}

/// Runs `load` with `words` against a server with `fault`.
async fn load(fault: Fault, words: &str) -> Report {
    let server = FakeServer::start(fault);
    load_at(server.addr, words).await
}

async fn load_at(addr: SocketAddr, words: &str) -> Report {
    let addr = addr.to_string();
    let mut words: Vec<&str> = words.split_whitespace().collect();
    words.insert(0, "load");
    words.extend(["--addr", &addr]);
    if !words.contains(&"--timeout") {
        words.extend(["--timeout", "30s"]);
    }
    let command = Command::try_parse_from(words).unwrap();
    measure(&command.args).await.unwrap().0
}

const LIFE: &str = "life --events 2000 --batch 100 --due +400ms --linger 100ms";
/// For events that come too early, with time to notice.
const LATER_LIFE: &str = "life --events 2000 --batch 100 --due +3s";
/// For runs that can only end by giving up.
const SHORT_LIFE: &str = "life --events 2000 --batch 100 --due +400ms --timeout 4s";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_life_passes_in_every_group() {
    let report = load(
        Fault::None,
        &format!("{LIFE} --groups 2 --members 2 --start-offset 0"),
    )
    .await;
    assert!(report.passed, "{:?}", report.failures);
    assert_eq!(report.verification.accepted, 2_000);
    assert_eq!(report.verification.arrived, 4_000);
    let delivery = report.delivery.unwrap();
    assert_eq!((delivery.acked, delivery.acks_refused), (4_000, 0));
    assert_eq!(delivery.lateness.unwrap().count, 4_000);
    assert_eq!(delivery.ack_latency.unwrap().count, 4_000);
    assert_eq!(report.life.unwrap().events, 2_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_fails_the_run() {
    for (fault, words, reason) in [
        (Fault::Lose(1_234), SHORT_LIFE, "1 lost"),
        (Fault::Repeat(1_234), LIFE, "1 delivered more than once"),
        (
            Fault::Redeliver(0),
            LIFE,
            "1 delivered again in a further attempt",
        ),
        (Fault::Early(7), LATER_LIFE, "1 delivered early"),
        (
            Fault::Damage(1_999),
            LIFE,
            "1 delivered with a wrong payload or schedule_ts",
        ),
        (
            Fault::Postdate(3),
            LIFE,
            "1 delivered with a wrong payload or schedule_ts",
        ),
        (
            Fault::CallDuplicate(5),
            LIFE,
            "1 called duplicates although published once",
        ),
        (
            Fault::Internal(50),
            LIFE,
            "100 published with an unknown outcome",
        ),
    ] {
        let report = load(fault, words).await;
        assert!(
            !report.passed && report.failures.iter().any(|failure| failure == reason),
            "{fault:?}: {:?}",
            report.failures
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_event_must_not_arrive() {
    let words = "life --events 50 --batch 1 --due +100ms";
    let report = load(Fault::RefuseYetDeliver(20), words).await;
    assert_eq!(report.failures, ["1 refused and yet delivered"]);
    let report = load(Fault::Unavailable(20), words).await;
    assert!(report.passed, "{:?}", report.failures);
    assert_eq!(
        (report.verification.accepted, report.verification.refused),
        (49, 1)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redelivery_can_be_allowed() {
    let report = load(Fault::Redeliver(9), &format!("{LIFE} --allow-redelivery")).await;
    assert!(report.passed, "{:?}", report.failures);
    assert_eq!(report.verification.redelivered, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_loops_publish_exactly_what_was_asked() {
    for words in [
        "batch --events 2500 --batch 1000 --in-flight 3",
        "single --events 300 --in-flight 16 --connections 2",
        "far --stages 100,250 --batch 40 --rest 0ms",
    ] {
        let report = load(Fault::None, words).await;
        assert!(report.passed, "{words}: {:?}", report.failures);
        assert_eq!(report.verification.accepted, report.verification.issued);
        assert_eq!(
            report.publish.unwrap().rate.events,
            report.verification.issued
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_read_at_every_stage() {
    let pid = std::process::id();
    let words = format!("far --stages 100,250 --batch 40 --rest 0ms --server-pid {pid}");
    let report = load(Fault::None, &words).await;
    let memory = report.memory.unwrap();
    let events: Vec<u64> = memory.stages.iter().map(|stage| stage.events).collect();
    assert_eq!(events, [0, 100, 250]);
    assert!(report.usage.server_cpu_us_per_event.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_loop_sends_at_its_rate() {
    let report = load(
        Fault::None,
        "rate --rate 2000 --duration 1s --delay 200ms --linger 50ms",
    )
    .await;
    assert!(report.passed, "{:?}", report.failures);
    assert_eq!(report.verification.accepted, 2_000);
    assert_eq!(report.publish.unwrap().latency.unwrap().count, 2_000);
    let report = load(
        Fault::Early(100),
        "rate --rate 2000 --duration 1s --delay 3s",
    )
    .await;
    assert_eq!(report.failures, ["1 delivered early"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_herd_is_measured_from_its_time() {
    let report = load(Fault::None, "herd --events 2000 --due-in 3s").await;
    assert!(report.passed, "{:?}", report.failures);
    let herd = report.herd.unwrap();
    assert!(herd.first_us.unwrap() >= 0 && herd.published_ahead_ms > 0);
    let report = load(Fault::Early(1_000), "herd --events 2000 --due-in 3s").await;
    assert!(report.herd.unwrap().first_us.unwrap() < 0);
    let report = load(Fault::None, "herd --events 100 --due-in 0ms").await;
    assert!(
        report.failures[0].contains("use a longer --due-in"),
        "{:?}",
        report.failures
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_run_checks_an_earlier_one() {
    let server = FakeServer::start(Fault::None);
    let published = load_at(
        server.addr,
        "batch --run first --events 500 --batch 100 --due now",
    )
    .await;
    assert!(published.passed);
    let words = "subscribe --run first --expect 500 --group one";
    let report = load_at(server.addr, words).await;
    assert!(report.passed, "{:?}", report.failures);
    assert_eq!(report.verification.arrived, 500);
    let words = "subscribe --run first --expect 501 --group two --timeout 3s";
    let report = load_at(server.addr, words).await;
    assert!(
        report.failures.contains(&"1 lost".to_owned()),
        "{:?}",
        report.failures
    );
    let words = "subscribe --group three --idle 1s";
    let report = load_at(server.addr, words).await;
    assert!(report.passed, "{:?}", report.failures);
    assert_eq!(report.verification.foreign, 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_away_fails_the_run() {
    let mut server = FakeServer::start(Fault::None);
    let words = "life --duration 20s --due +100ms --batch 10".to_owned();
    let addr = server.addr;
    let run = tokio::spawn(async move { load_at(addr, &words).await });
    server.published(1_000).await;
    server.vanish();
    let report = run.await.unwrap();
    assert!(!report.passed);
    assert!(report.seconds < 15.0, "{}", report.seconds);
}

#[tokio::test]
async fn nobody_there_is_an_error() {
    let command =
        Command::try_parse_from(["load", "batch", "--addr", "127.0.0.1:1", "--events", "1"])
            .unwrap();
    let error = measure(&command.args).await.err().unwrap();
    assert!(
        format!("{error:#}").contains("cannot reach the server"),
        "{error:#}"
    );
}

#[test]
fn global_options_stand_before_or_after_the_mode() {
    for line in [
        "chronosctl -o json --addr a:1,b:2 load batch",
        "chronosctl load -o json --addr a:1,b:2 batch",
        "chronosctl load batch -o json --addr a:1,b:2",
    ] {
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let cli::Command::Load(args) = cli.command else {
            panic!("{line}");
        };
        let Mode::Batch(batch) = &args.mode else {
            panic!("{line}");
        };
        assert_eq!(batch.options().output, Format::Json, "{line}");
        assert_eq!(batch.options().connect.addr, "a:1,b:2", "{line}");
    }
}

#[test]
fn impossible_options_are_refused() {
    for words in [
        "life",
        "batch --batch 0",
        "batch --due yesterday",
        "rate --rate 0",
        "subscribe --expect 5",
        "batch --run UPPER",
        "batch --payload-bytes 0",
        "life --events 1 --members 0",
    ] {
        let words = std::iter::once("load").chain(words.split_whitespace());
        assert!(
            Command::try_parse_from(words.clone()).is_err(),
            "{:?}",
            words.collect::<Vec<_>>()
        );
    }
}

#[test]
fn options_of_a_run_do_not_stand_among_the_global_ones() {
    let command = Cli::command();
    let modes = command.find_subcommand("load").unwrap().get_subcommands();
    for mode in modes {
        for argument in mode.get_arguments() {
            let is_global = argument.get_help_heading() == Some("Global options");
            let id = argument.get_id().as_str();
            let expected = id == "addr" || id == "output" || id.starts_with("tls");
            assert_eq!(is_global, expected, "{} --{id}", mode.get_name());
        }
    }
}

#[test]
fn schedule_takes_what_it_uses() {
    let parsed = |line: &str| Cli::try_parse_from(line.split(' '));
    assert!(parsed("chronosctl load schedule --pending 10 --timeout 5s -o json").is_ok());
    for option in ["--payload-bytes 5", "--topic t", "--connections 2"] {
        let line = format!("chronosctl load schedule {option}");
        assert!(parsed(&line).is_err(), "{option}");
    }
}

#[tokio::test]
async fn a_node_that_is_not_there_has_a_code_of_its_own() {
    for mode in ["batch --events 10", "schedule --pending 1"] {
        let line = format!("chronosctl load {mode} --addr 127.0.0.1:1");
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        let cli::Command::Load(args) = cli.command else {
            panic!("another command");
        };
        let failure = super::run(args).await.unwrap_err();
        assert_eq!(crate::exit::code(&failure), 5, "{mode}: {failure:?}");
    }
}
