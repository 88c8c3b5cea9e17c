use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;

fn request(path: &Path) -> Request {
    Request {
        path: path.to_owned(),
        node_id: None,
        partition_count: None,
    }
}

fn for_node(path: &Path, node: &str, partitions: u32) -> Request {
    Request {
        node_id: Some(node.to_owned()),
        partition_count: Some(partitions),
        ..request(path)
    }
}

fn refusal(request: &Request) -> String {
    let message = DataDir::open(request).unwrap_err().to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}

#[test]
fn a_new_directory_gets_an_identity_and_keeps_it() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("deep/data");
    let made = DataDir::open(&for_node(&path, "a", 4)).unwrap();
    assert!(made.is_new());
    let identity = made.identity().clone();
    assert_eq!(identity.format, FORMAT);
    assert_eq!(identity.node_id, "a");
    assert_eq!(identity.partition_count, 4);
    assert_eq!(identity.cluster_id.len(), 32);
    assert!(identity.created_ms > 1_700_000_000_000);
    drop(made);

    for request in [request(&path), for_node(&path, "a", 4)] {
        let again = DataDir::open(&request).unwrap();
        assert!(!again.is_new());
        assert_eq!(*again.identity(), identity);
        assert_eq!(again.path(), path);
    }
}

#[test]
fn defaults_fill_what_nobody_chose() {
    let root = tempfile::tempdir().unwrap();
    let made = DataDir::open(&request(root.path())).unwrap();
    assert_eq!(made.identity().node_id, "node1");
    assert_eq!(made.identity().partition_count, 1);
}

#[test]
fn two_directories_have_two_cluster_ids() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let a = DataDir::open(&request(a.path())).unwrap();
    let b = DataDir::open(&request(b.path())).unwrap();
    assert_ne!(a.identity().cluster_id, b.identity().cluster_id);
}

#[test]
fn a_request_leaves_to_the_folder_what_nobody_gave() {
    let mut config = Config::default();
    assert_eq!(Request::new(&config), request(Path::new("./data")));
    config.node.id = "b".to_owned();
    config.partitions.count = 3;
    assert_eq!(Request::new(&config), for_node(Path::new("./data"), "b", 3));
    let words = ["-partition-count=1"].map(std::ffi::OsString::from);
    let Ok(crate::config::Invocation::Serve(config)) = crate::config::load(words, []) else {
        panic!("not a configuration");
    };
    assert_eq!(Request::new(&config).partition_count, Some(1));
}

#[test]
fn refuses_another_nodes_directory() {
    let root = tempfile::tempdir().unwrap();
    drop(DataDir::open(&for_node(root.path(), "a", 1)).unwrap());
    assert_eq!(
        refusal(&for_node(root.path(), "b", 1)),
        format!(
            "the data directory {} belongs to node \"a\", not to \"b\"; start with -node-id=a, or choose another -data-dir",
            root.path().display()
        )
    );
}

#[test]
fn refuses_another_number_of_partitions() {
    let root = tempfile::tempdir().unwrap();
    drop(DataDir::open(&for_node(root.path(), "a", 4)).unwrap());
    let message = refusal(&for_node(root.path(), "a", 8));
    assert!(message.contains("has 4 partitions, not 8"), "{message}");
    assert!(message.contains("-partition-count=4"), "{message}");
}

#[test]
fn refuses_an_unknown_format_before_anything_else_in_the_file() {
    let root = tempfile::tempdir().unwrap();
    for (text, found) in [("format = 2\nnew = []\n", 2), ("format = 0\n", 0)] {
        fs::write(root.path().join(identity::FILE), text).unwrap();
        let error = DataDir::open(&request(root.path())).unwrap_err();
        assert!(
            matches!(error, Error::UnknownFormat { found: was, known: FORMAT, .. } if was == found),
            "{error}"
        );
    }
}

#[test]
fn refuses_a_damaged_identity() {
    let root = tempfile::tempdir().unwrap();
    drop(DataDir::open(&request(root.path())).unwrap());
    let path = root.path().join(identity::FILE);
    let whole = fs::read_to_string(&path).unwrap();
    for text in [
        String::new(),
        whole[..whole.len() / 2].to_owned(),
        whole.replace("node_id", "node_name"),
        whole.replace("partition_count = 1", "partition_count = 0"),
        whole.replace("format = 1", "format = \"1\""),
    ] {
        fs::write(&path, text).unwrap();
        let error = DataDir::open(&request(root.path())).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
    }
    fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(refusal(&request(root.path())).contains("not text"));
}

#[test]
fn refuses_a_directory_full_of_something_else() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("photo.jpg"), "x").unwrap();
    let message = refusal(&request(root.path()));
    assert!(message.contains("is not empty (photo.jpg)"), "{message}");
    assert!(!root.path().join(identity::FILE).exists());
}

#[test]
fn takes_a_directory_where_a_start_was_cut_short() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("lost+found")).unwrap();
    fs::write(root.path().join(lock::FILE), "").unwrap();
    fs::write(root.path().join(identity::UNFINISHED_FILE), "form").unwrap();
    let made = DataDir::open(&request(root.path())).unwrap();
    assert!(made.is_new());
    assert!(!root.path().join(identity::UNFINISHED_FILE).exists());
}

#[test]
fn refuses_a_path_that_is_no_directory() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("file");
    fs::write(&path, "x").unwrap();
    assert!(matches!(
        DataDir::open(&request(&path)).unwrap_err(),
        Error::Io { action: "make", .. }
    ));
}

#[test]
fn refuses_a_directory_that_this_process_holds_already() {
    let root = tempfile::tempdir().unwrap();
    let held = DataDir::open(&request(root.path())).unwrap();
    let message = refusal(&request(root.path()));
    let pid = std::process::id();
    assert!(
        message.contains(&format!("in use by process {pid};")),
        "{message}"
    );
    drop(held);
    DataDir::open(&request(root.path())).unwrap();
}

/// Runs in a child process of the next test: holds the directory until its input ends.
#[test]
fn child_that_holds_a_directory() {
    let Some(path) = std::env::var_os("CHRONOS_TEST_HOLD_DIRECTORY") else {
        return;
    };
    let held = DataDir::open(&request(Path::new(&path))).unwrap();
    println!("\nheld by {}", std::process::id());
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    drop(held);
}

#[test]
fn refuses_a_directory_that_another_process_holds_until_it_is_killed() {
    let root = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "data_dir::tests::child_that_holds_a_directory",
            "--nocapture",
        ])
        .env("CHRONOS_TEST_HOLD_DIRECTORY", root.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let pid = output
        .lines()
        .map(Result::unwrap)
        .find_map(|line| line.strip_prefix("held by ").map(str::to_owned))
        .expect("the child holds the directory");

    let message = refusal(&request(root.path()));
    assert!(
        message.contains(&format!("in use by process {pid};")),
        "{message}"
    );

    child.kill().unwrap();
    child.wait().unwrap();
    DataDir::open(&request(root.path())).unwrap();
}

proptest! {
    #[test]
    fn any_identity_file_opens_or_is_refused(text in any::<String>()) {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(identity::FILE), text).unwrap();
        if let Err(error) = DataDir::open(&request(root.path())) {
            prop_assert!(!error.to_string().contains('\n'));
        }
    }
}
