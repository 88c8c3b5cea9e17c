//! What was written comes back; what was not written by a node of this directory does not.

use super::*;
use proptest::prelude::*;

const DISK: u128 = 0xab;

fn founding() -> Founding {
    let info = |name: &str, disk| NodeInfo {
        name: name.into(),
        disk,
        cluster_addr: format!("{name}:7947"),
        grpc_addr: format!("{name}:9000"),
        http_addr: format!("{name}:8080"),
        rack: "r\"1".into(),
        zone: "z".into(),
        region: "g".into(),
        version: "1".into(),
    };
    Founding::new(u128::MAX, DISK, 16, 3, vec![info("a", DISK), info("b", 1)])
}

fn standings() -> Vec<Standing> {
    let mut accepted = founding();
    accepted.founder = 1;
    let member = founding().member(DISK).unwrap();
    let joined = Membership {
        me: 9,
        founding: None,
        voters: BTreeSet::new(),
        ..member.clone()
    };
    vec![
        Standing::Proposed(founding()),
        Standing::Accepted(accepted),
        Standing::Member(member),
        Standing::Member(joined),
    ]
}

#[test]
fn what_is_written_comes_back_and_may_be_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(read(dir.path(), DISK).unwrap(), Standing::Fresh);
    for standing in standings() {
        write(dir.path(), DISK, &standing).unwrap();
        assert!(exists(dir.path()));
        assert_eq!(read(dir.path(), DISK).unwrap(), standing);
    }
    for _ in 0..2 {
        write(dir.path(), DISK, &Standing::Fresh).unwrap();
        assert_eq!(read(dir.path(), DISK).unwrap(), Standing::Fresh);
        assert!(!exists(dir.path()));
    }
}

#[test]
fn a_crash_while_writing_leaves_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let standing = &standings()[0];
    write(dir.path(), DISK, standing).unwrap();
    fs::write(dir.path().join(UNFINISHED_FILE), "format = 1\nstate").unwrap();
    assert_eq!(read(dir.path(), DISK).unwrap(), *standing);
    write(dir.path(), DISK, &standings()[2]).unwrap();
    assert_eq!(read(dir.path(), DISK).unwrap(), standings()[2]);
}

#[test]
fn a_file_that_was_cut_short_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for standing in standings() {
        write(dir.path(), DISK, &standing).unwrap();
        let path = dir.path().join(FILE);
        let text = fs::read_to_string(&path).unwrap();
        for cut in 0..text.len() - 1 {
            fs::write(&path, &text[..cut]).unwrap();
            match read(dir.path(), DISK) {
                Err(FileError::Damaged { .. }) => {}
                other => panic!("cut at {cut}: {other:?}\n{}", &text[..cut]),
            }
        }
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    write(dir.path(), DISK, &standings()[0]).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let refusal = |from: &str, to: &str| {
        assert!(text.contains(from), "{from} is not in {text}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let error = read(dir.path(), DISK).unwrap_err();
        assert!(!error.to_string().contains('\n'), "{error}");
        error
    };
    assert!(matches!(
        refusal("format = 1", "format = 2"),
        FileError::UnknownFormat { found: 2, .. }
    ));
    for (from, to) in [
        ("format = 1", "format = \"1\""),
        ("proposed", "accepted"),
        ("proposed", "member"),
        ("proposed", "founded"),
        ("number = 1", "number = 2"),
        ("number = 1", "number = 0"),
        ("partitions = 16", "partitions = 0"),
        ("partitions = 16", "partitions = -1"),
        ("partitions = 16", "partitions = 16\nmore = 1"),
        ("voters = [1]", "voters = [3]"),
        ("cluster_id = \"f", "cluster_id = \"g"),
        ("cluster_id = \"f", "cluster_id = \""),
        ("name = \"b\"", "name = \"a\""),
    ] {
        let error = refusal(from, to);
        assert!(
            matches!(error, FileError::Damaged { .. }),
            "{from} {to} {error}"
        );
    }
    fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(matches!(
        read(dir.path(), DISK),
        Err(FileError::Damaged { .. })
    ));
}

#[test]
fn a_file_of_another_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for standing in standings() {
        write(dir.path(), DISK, &standing).unwrap();
        assert!(matches!(
            read(dir.path(), 1),
            Err(FileError::OtherDisk { .. })
        ));
    }
}

proptest! {
    #[test]
    fn any_text_is_refused_or_read(text in "[a-z_=\"0-9\\[\\]\n ]{0,80}") {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), text).unwrap();
        prop_assert!(read(dir.path(), DISK).is_err());
    }
}
