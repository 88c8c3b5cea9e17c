//! The layers together: what wins, what is refused, and that what is printed reads back.

use std::ffi::OsString;

use proptest::prelude::*;

use super::*;

fn pairs(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    variables
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)))
        .collect()
}

pub(super) fn serve(args: &[&str], variables: &[(&str, &str)]) -> Result<Config, String> {
    match load(args.iter().map(OsString::from), pairs(variables)) {
        Ok(Invocation::Serve(config)) => Ok(*config),
        Ok(other) => panic!("not to serve but {other:?}"),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn refusal(args: &[&str], variables: &[(&str, &str)]) -> String {
    let error = serve(args, variables).err().unwrap();
    assert!(!error.contains('\n'), "{error}");
    error
}

#[test]
fn nothing_at_all_gives_the_defaults() {
    let config = serve(&[], &[]).unwrap();
    assert_eq!(config.node.data_dir.to_str(), Some("./data"));
    assert_eq!(config.listen.grpc.to_string(), ":9000");
    assert_eq!(config.listen.http.to_string(), ":8080");
    assert_eq!(config.partitions.count, 1);
    assert_eq!(config.wal.segment_bytes, 536_870_912);
    assert_eq!(config.wal.index_interval, 1000);
    assert_eq!(config.wal.fsync_mode.to_string(), "batch");
    assert_eq!(config.wal.flush_interval.as_millis(), 1000);
    assert_eq!(config.delivery.ack_timeout.as_secs(), 30);
    assert_eq!(config.delivery.max_retries, 5);
    assert_eq!(config.delivery.retry_backoff.as_secs(), 1);
    assert_eq!(config.delivery.max_credits, 10_000);
    assert_eq!(config.dedup.ttl.as_secs(), 168 * 3600);
    assert!(config.notices.is_empty());
    assert_eq!(config.source("node-id"), Source::Default);
}

#[test]
fn a_command_with_one_dash_and_equals_signs_works() {
    let config = serve(
        &[
            "-node-id=node1",
            "-data-dir=./data",
            "-grpc-addr=:9000",
            "-segment-size=536870912",
            "-fsync-mode=periodic",
            "-tick-ms=100",
            "-wheel-size=60",
            "-ack-timeout=30s",
            "-max-retries=5",
            "-retry-backoff=1s",
            "-max-credits=1000",
            "-dedup-ttl=168",
            "-replication-factor=1",
            "-cluster=false",
            "--dev",
        ],
        &[],
    )
    .unwrap();
    assert_eq!(config.node.id, "node1");
    assert_eq!(config.wal.fsync_mode, chronos_wal::FsyncMode::Periodic);
    assert_eq!(config.notices.len(), 3, "{:?}", config.notices);
    assert!(config.notices[0].contains("always ticks at 1 ms"));
}

#[test]
fn flags_outweigh_variables_and_variables_outweigh_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    std::fs::write(
        &path,
        "[delivery]\nmax_retries = 2\nmax_credits = 2\nack_timeout = \"2s\"\nretry_backoff = \"2s\"\n",
    )
    .unwrap();
    let path = path.to_str().unwrap();
    let variables = [
        ("CHRONOS_MAX_CREDITS", "3"),
        ("CRONOS_MAX_CREDITS", "4"),
        ("CRONOS_ACK_TIMEOUT", "4s"),
        ("CHRONOS_RETRY_BACKOFF", "3s"),
        ("CHRONOS_RAFT_HEARTBEAT", ""),
    ];
    let args = ["-config", path, "-retry-backoff=5s", "-retry-backoff=6s"];
    let config = serve(&args, &variables).unwrap();
    assert_eq!(config.delivery.max_retries, 2);
    assert_eq!(config.delivery.max_credits, 3);
    assert_eq!(config.delivery.ack_timeout.as_secs(), 4);
    assert_eq!(config.delivery.retry_backoff.as_secs(), 6);
    assert_eq!(config.raft, Raft::default());

    assert_eq!(
        config.source("max-retries").to_string(),
        format!("file {path}, line 2")
    );
    assert_eq!(
        config.source("max-credits"),
        Source::Variable("CHRONOS_MAX_CREDITS".to_owned())
    );
    assert_eq!(
        config.source("ack-timeout"),
        Source::Variable("CRONOS_ACK_TIMEOUT".to_owned())
    );
    assert_eq!(config.source("retry-backoff"), Source::Flag);

    let from_variable = serve(&[], &[("CRONOS_CONFIG", path)]).unwrap();
    assert_eq!(from_variable.delivery.max_retries, 2);
    let overridden = serve(&["-config="], &[("CRONOS_CONFIG", path)]).unwrap();
    assert_eq!(overridden.delivery.max_retries, 5);
}

#[test]
fn every_setting_has_a_flag_and_two_variables() {
    for setting in &SETTINGS {
        let mut defaults = Config::default();
        let mut value = setting.field.show(&mut defaults);
        // What a node alone does not take comes with what makes it one of a cluster.
        let mut others = vec![];
        match setting.field {
            Field::Reachable(_) | Field::Reachables(_) => {
                value = "db7:7947".to_owned();
                others = vec!["-cluster", "-node-id=node7", "-cluster-seeds=db7:7947"];
                others.retain(|other| !other.starts_with(&format!("-{}=", setting.name)));
            }
            Field::Path(_) if value.is_empty() => {
                value = "file7".to_owned();
                others = match setting.table {
                    "tls" => vec!["-tls-enabled", "-tls-cert-file=c", "-tls-key-file=k"],
                    _ => vec![
                        "-replication-tls-enabled",
                        "-replication-tls-cert-file=c",
                        "-replication-tls-key-file=k",
                        "-replication-tls-ca-file=a",
                    ],
                };
                others.retain(|other| !other.starts_with(&format!("-{}=", setting.name)));
            }
            _ if value.is_empty() => value = "node7".to_owned(),
            _ => {}
        }
        let ours = setting.variable();
        let theirs = ours.replace("CHRONOS_", "CRONOS_");
        for name in [ours.as_str(), theirs.as_str()] {
            let config = serve(&others, &[(name, &value)]).unwrap();
            assert_eq!(
                config.source(setting.name),
                Source::Variable(name.to_owned())
            );
        }
        let flag = format!("-{}={value}", setting.name);
        others.push(&flag);
        let config = serve(&others, &[]).unwrap();
        assert_eq!(config.source(setting.name), Source::Flag);
    }
}

#[test]
fn a_bad_value_is_named_after_its_source() {
    assert_eq!(
        refusal(&["-segment-size=big"], &[]),
        "-segment-size takes a size from 64KiB to 2GiB, in bytes or with a suffix such as 512MiB, not \"big\""
    );
    assert_eq!(
        refusal(&[], &[("CRONOS_MAX_RETRIES", "0")]),
        "CRONOS_MAX_RETRIES takes a whole number of attempts from 1 to 1000000, not \"0\""
    );
    assert_eq!(
        refusal(&["-fsync-mode=never"], &[]),
        "-fsync-mode takes one of every_event, batch, periodic, not \"never\""
    );
    assert_eq!(
        refusal(&["-ack-timeout=30"], &[]),
        "-ack-timeout takes a duration from 1ms to 24h with its unit, such as 1m30s or 100ms, not \"30\""
    );
    assert_eq!(
        refusal(&["-grpc-addr=9000"], &[]),
        "-grpc-addr takes an address such as :9000 or 127.0.0.1:9000, not \"9000\""
    );
    assert_eq!(
        refusal(&["-reflection=ja"], &[]),
        "-reflection takes true or false, not \"ja\""
    );
    assert_eq!(
        refusal(&["-flush-interval=1s"], &[]),
        "-flush-interval takes a whole number of milliseconds from 1 to 3600000, not \"1s\""
    );
    assert_eq!(
        refusal(&["-node-id=a b"], &[]),
        "-node-id takes up to 128 letters, digits, dots, dashes and underscores, not \"a b\""
    );
    assert!(refusal(&["-node-id=a\nb"], &[]).contains(r"a\nb"));
}

#[test]
fn impossible_combinations_are_refused() {
    assert_eq!(
        refusal(&["-grpc-addr=:9000", "-http-addr=127.0.0.1:9000"], &[]),
        "-grpc-addr :9000 and -http-addr 127.0.0.1:9000 cannot share a port; choose two"
    );
    assert_eq!(
        refusal(&["-replication-factor=3"], &[]),
        "-replication-factor 3 needs -cluster: one node has room for one copy; use 1 or leave it out"
    );
    assert_eq!(
        refusal(&["-fire-ahead-ms=1000", "-near-window-ms=1000"], &[]),
        "-fire-ahead-ms 1000 must be less than -near-window-ms 1000"
    );
    assert_eq!(
        refusal(&["-data-dir="], &[]),
        "-data-dir is empty; name a folder, such as ./data"
    );
    let error = refusal(&["-config=/nonexistent/c.toml"], &[]);
    assert!(error.starts_with("the configuration file /nonexistent/c.toml cannot be read: "));
}

const IN_A_CLUSTER: [&str; 3] = [
    "-cluster",
    "-node-id=n1",
    "-cluster-seeds=h1:7947, h2:7947,[::1]:7947,",
];

fn in_a_cluster(more: &[&'static str]) -> Vec<&'static str> {
    [&IN_A_CLUSTER, more].concat()
}

#[test]
fn a_cluster_has_defaults_of_its_own() {
    let config = serve(&in_a_cluster(&[]), &[]).unwrap();
    let seeds: Vec<_> = (config.cluster.seeds.iter())
        .map(Address::to_string)
        .collect();
    assert_eq!(seeds, ["h1:7947", "h2:7947", "[::1]:7947"]);
    assert_eq!(config.partitions.count, 16);
    assert_eq!(config.partitions.replication_factor, 1);
    assert_eq!(config.cluster.listen.to_string(), ":7947");
    assert_eq!(config.notices.len(), 1, "{:?}", config.notices);
    assert!(config.notices[0].contains("the loss of that node loses it"));

    let more = [
        "-partition-count=32",
        "-replication-factor=3",
        "-min-insync-replicas=2",
        "-cluster-gossip-addr=:1",
        "-use-memberlist",
        "-heartbeat-interval=2s",
    ];
    let config = serve(&in_a_cluster(&more), &[]).unwrap();
    assert_eq!(config.partitions.count, 32);
    assert_eq!(config.notices.len(), 3, "{:?}", config.notices);
    assert!(
        config
            .notices
            .iter()
            .all(|line| line.contains("has no effect"))
    );

    let variables = [
        ("CRONOS_CLUSTER", "true"),
        ("CRONOS_NODE_ID", "n2"),
        ("CRONOS_CLUSTER_SEEDS", "a:1,b:2"),
        ("CRONOS_NODE_RACK", "r"),
        ("CRONOS_NODE_ZONE", "z"),
        ("CRONOS_NODE_REGION", "g"),
        ("CRONOS_MIN_IN_SYNC_REPLICAS", "1"),
    ];
    let config = serve(&[], &variables).unwrap();
    let node = &config.node;
    assert!(config.cluster.is_enabled);
    assert_eq!(
        [&node.id, &node.rack, &node.zone, &node.region],
        ["n2", "r", "z", "g"]
    );
    assert_eq!(config.cluster.seeds.len(), 2);
}

#[test]
fn a_cluster_that_cannot_be_is_refused() {
    assert_eq!(
        refusal(&["-cluster"], &[]),
        "-cluster needs -node-id: a name of its own for each node"
    );
    assert!(
        refusal(&["-cluster", "-node-id=a"], &[]).starts_with("-cluster needs -cluster-seeds, ")
    );
    assert!(serve(&["-cluster", "-node-id=a", "-raft-join=b:1"], &[]).is_ok());
    assert_eq!(
        refusal(&["-cluster-seeds=a:1"], &[]),
        "-cluster-seeds names nodes of a cluster, but -cluster is off; add -cluster, or leave it out"
    );
    assert_eq!(
        refusal(&[], &[("CRONOS_RAFT_JOIN", "a:1")]),
        "CRONOS_RAFT_JOIN names nodes of a cluster, but -cluster is off; add -cluster, or leave it out"
    );
    for seeds in ["a", ":7947", "0.0.0.0:7947", "a:0", "a:1;b:2", "a:1,b"] {
        let error = refusal(&[&format!("-cluster-seeds={seeds}")], &[]);
        assert!(
            error.starts_with("-cluster-seeds takes addresses with hosts"),
            "{error}"
        );
    }
    let error = refusal(&["-cluster-advertise-addr=a:1,b:2"], &[]);
    assert!(error.contains("takes an address with a host"), "{error}");
    assert_eq!(
        refusal(&in_a_cluster(&["-cluster-grpc-addr=:8080"]), &[]),
        "-http-addr :8080 and -cluster-grpc-addr :8080 cannot share a port; choose two"
    );
    assert_eq!(
        refusal(
            &in_a_cluster(&["-replication-factor=3", "-min-insync-replicas=3"]),
            &[]
        ),
        "-min-insync-replicas 3 is more than a majority of -replication-factor 3, which is what an acknowledged event is on; use at most 2"
    );
}

#[test]
fn settings_of_a_cluster_are_reported_by_a_node_alone() {
    let config = serve(&["-node-zone=z", "-cluster-grpc-addr=:8080"], &[]).unwrap();
    assert_eq!(
        config.notices,
        [
            "-node-zone has no effect without -cluster",
            "-cluster-grpc-addr has no effect without -cluster"
        ]
    );
}

#[test]
fn the_log_level_is_a_level_or_a_list() {
    for level in [
        "info",
        "WARN",
        "off",
        "info,chronos_wal=debug",
        "chronos_node=trace",
    ] {
        assert_eq!(serve(&["-log-level", level], &[]).unwrap().log.level, level);
    }
    for level in ["inof", "", "info,x", "info,chronos_wal=loud"] {
        let error = refusal(&["-log-level", level], &[]);
        assert!(
            error.starts_with("-log-level takes one of off, error"),
            "{error}"
        );
    }
    let config = serve(&[], &[("RUST_LOG", "debug")]).unwrap();
    assert_eq!(config.log.level, "debug");
    let variables = [("RUST_LOG", "debug"), ("CRONOS_LOG_LEVEL", "warn")];
    assert_eq!(serve(&[], &variables).unwrap().log.level, "warn");
    let error = refusal(&[], &[("RUST_LOG", "inof")]);
    assert!(error.starts_with("RUST_LOG takes"), "{error}");
}

#[test]
fn what_one_node_cannot_do_stops_the_start() {
    for former in &FORMER {
        let Standing::NotAvailable(what) = former.standing else {
            continue;
        };
        let other = match former.takes {
            Takes::Switch if former.harmless == ["true"] => "false",
            Takes::Switch => "true",
            Takes::Number => "77",
            Takes::Duration => "77s",
            Takes::Text => "secret",
        };
        let variable = setting::variable("CRONOS_", former.name);
        let error = refusal(&[], &[(&variable, other)]);
        assert_eq!(
            error,
            format!(
                "{variable}: {what} is not available in this version; leave it out to start without"
            )
        );
        for harmless in former.harmless {
            let config = serve(&[], &[(&variable, harmless)]).unwrap();
            assert!(config.notices.is_empty());
        }
        if former.is_flag {
            let error = refusal(&[&format!("-{}={other}", former.name)], &[]);
            assert!(
                error.contains("is not available in this version"),
                "{error}"
            );
            let flag = format!("-{}={}", former.name, former.harmless[0]);
            assert!(serve(&[&flag], &[]).is_ok());
        }
    }
}

#[test]
fn tuning_of_the_predecessor_is_reported_once() {
    for former in &FORMER {
        let Standing::NoEffect(why) = former.standing else {
            continue;
        };
        let flag = format!("--{}={}", former.name, former.harmless[0]);
        let config = serve(&[&flag, &flag], &[]).unwrap();
        assert_eq!(
            config.notices,
            [format!("-{} has no effect: {why}", former.name)]
        );
    }
    assert_eq!(
        refusal(&["-tick-ms=fast"], &[]),
        "-tick-ms takes a number, not \"fast\""
    );
}

#[test]
fn a_nearly_right_variable_is_reported_and_a_foreign_one_is_not() {
    let variables = [
        ("CHRONOS_SEGMENT_SZIE", "1"),
        ("CHRONOS_PORT_9000_TCP_ADDR", "10.0.0.1"),
        ("CHRONOS_SERVICE_HOST", "10.0.0.1"),
        ("HOME", "/"),
    ];
    let config = serve(&[], &variables).unwrap();
    assert_eq!(
        config.notices,
        [
            "the variable CHRONOS_SEGMENT_SZIE is not known and has no effect; did you mean CHRONOS_SEGMENT_SIZE?"
        ]
    );
}

#[test]
fn a_flush_interval_that_nothing_uses_is_reported() {
    let config = serve(&["-flush-interval=5"], &[]).unwrap();
    assert_eq!(
        config.notices,
        ["-flush-interval has no effect: only -fsync-mode=periodic uses it"]
    );
    let config = serve(&["-flush-interval=5", "-fsync-mode=periodic"], &[]).unwrap();
    assert!(config.notices.is_empty());
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_text_is_refused() {
    use std::os::unix::ffi::OsStringExt;
    let variables = [(
        OsString::from("CHRONOS_NODE_ID"),
        OsString::from_vec(vec![0xff]),
    )];
    let error = load([], variables).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the variable CHRONOS_NODE_ID is not valid UTF-8"
    );
}

#[test]
fn the_help_names_every_flag_and_fits_a_terminal() {
    let help = help();
    for setting in &SETTINGS {
        assert!(
            help.contains(&format!("\n  -{} ", setting.name)),
            "{}",
            setting.name
        );
    }
    assert!(
        help.lines().all(|line| line.chars().count() <= 100),
        "{help}"
    );
}

#[test]
fn print_config_is_an_invocation_of_its_own() {
    let invocation = load(["-print-config", "-max-retries=9"].map(OsString::from), []).unwrap();
    let Invocation::PrintConfig(config) = invocation else {
        panic!("{invocation:?}");
    };
    let text = file(&config);
    assert!(text.contains("max_retries = 9 # flag\n"), "{text}");
    assert!(text.contains("\n# count = 1 # default\n"), "{text}");
    assert!(
        text.contains("segment_size = \"512MiB\" # default\n"),
        "{text}"
    );
}

/// Any value that a setting accepts, as its flag would be written.
fn any_value(setting: &'static Setting) -> BoxedStrategy<String> {
    match &setting.field {
        Field::Text(_) if setting.name == "log-level" => {
            proptest::sample::select(vec!["info", "debug", "warn,chronos_wal=trace"])
                .prop_map(str::to_owned)
                .boxed()
        }
        Field::Text(_) => "[a-z0-9._-]{0,20}".boxed(),
        // With a cluster, settings need each other; other tests look at those.
        Field::Reachables(_) => Just(String::new()).boxed(),
        Field::Reachable(_) => "([a-z]{1,5}|127\\.0\\.0\\.1|\\[::1\\]):[1-9][0-9]{0,3}".boxed(),
        Field::Switch(_) if setting.name == "cluster" => Just("false".to_owned()).boxed(),
        Field::Path(_) => "[^\0]{1,30}".boxed(),
        Field::Address(_) => "([a-z]{0,5}|127\\.0\\.0\\.1|\\[::1\\]):0".boxed(),
        Field::Switch(_) => any::<bool>().prop_map(|on| on.to_string()).boxed(),
        Field::Choice(at) => {
            let words = at(&mut Config::default()).choices().to_vec();
            proptest::sample::select(words)
                .prop_map(str::to_owned)
                .boxed()
        }
        Field::Count { min, max, .. } => {
            let max = match setting.name {
                "replication-factor" | "min-insync-replicas" => &1,
                _ => max,
            };
            (*min..=*max).prop_map(|count| count.to_string()).boxed()
        }
        Field::Span { min, max, .. } => {
            let min = if setting.name == "near-window-ms" {
                &1001
            } else {
                min
            };
            (*min..=*max).prop_map(|count| count.to_string()).boxed()
        }
        Field::Bytes { min, max, .. } => (*min..=*max)
            .prop_map(|bytes| size::show(bytes).to_string())
            .boxed(),
        Field::Duration { min, max, .. } => (min.as_nanos() as u64..=max.as_nanos() as u64)
            .prop_map(|nanos| duration::show(std::time::Duration::from_nanos(nanos)))
            .boxed(),
    }
}

/// Those of TLS are there together or not at all.
const TLS: [&str; 3] = [
    "-tls-enabled",
    "-tls-cert-file=tls.crt",
    "-tls-key-file=tls.key",
];

/// The settings that need no other one.
fn independent() -> Vec<usize> {
    let is_independent = |index: &usize| !SETTINGS[*index].name.contains("tls");
    (0..SETTINGS.len()).filter(is_independent).collect()
}

proptest! {
    #[test]
    fn what_is_printed_reads_back(
        flags in proptest::collection::vec(
            proptest::sample::select(independent()).prop_flat_map(|index| {
                any_value(&SETTINGS[index]).prop_map(move |value| {
                    format!("-{}={value}", SETTINGS[index].name)
                })
            }),
            0..12,
        )
    ) {
        let words: Vec<&str> = TLS.into_iter().chain(flags.iter().map(String::as_str)).collect();
        let mut config = serve(&words, &[]).unwrap();
        let printed = file(&config);

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        std::fs::write(&path, &printed).unwrap();
        let mut again = serve(&["-config", path.to_str().unwrap()], &[]).unwrap();
        for setting in &SETTINGS {
            prop_assert_eq!(
                setting.field.show(&mut again),
                setting.field.show(&mut config),
                "{}", setting.name
            );
        }
        prop_assert_eq!(again.is_given("node-id"), config.is_given("node-id"));
        prop_assert_eq!(again.is_given("partition-count"), config.is_given("partition-count"));
    }
}
