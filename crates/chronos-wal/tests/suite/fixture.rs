//! Files of format version 1, as they were written when it was new.

use chronos_wal::Options;
use chronos_wal::faulty::FaultyFiles;

use crate::support::*;

const FIXTURE: &[u8] = include_bytes!("../fixtures/version-1.wal");

fn write() -> Vec<u8> {
    let files = FaultyFiles::new(11);
    let rig = Rig::with(
        &files,
        Options {
            log_id: 3,
            ..options()
        },
    );
    rig.append(vec![record(7, 5), record(8, 0)]).unwrap();
    rig.append(vec![record(9, 40)]).unwrap();
    files.content(&last_segment(&files)).unwrap()
}

#[test]
fn version_1_is_read() {
    let files = FaultyFiles::new(1);
    chronos_wal::Files::create_dir_all(&files, dir()).unwrap();
    files.set_content(&dir().join("00000000000000000007.wal"), FIXTURE.to_vec());
    let rig = Rig::with(
        &files,
        Options {
            log_id: 3,
            ..options()
        },
    );
    assert_eq!(rig.records(), [record(7, 5), record(8, 0), record(9, 40)]);
}

#[test]
fn version_1_is_written_as_it_was() {
    assert_eq!(write(), FIXTURE);
}
