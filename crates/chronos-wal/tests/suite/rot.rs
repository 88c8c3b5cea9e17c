//! Damage to what was stored safely is reported, and never read as a record.

use chronos_wal::faulty::FaultyFiles;
use chronos_wal::{Error, Options, Record, inspect_files};

use crate::support::*;

/// Opens the log and reads everything: what is read must be a prefix of `all`; damage may end it.
/// Returns the number of intact records and the damage.
fn survey(files: &FaultyFiles, all: &[Record]) -> (usize, Option<Error>) {
    let rig = match Rig::try_open(files) {
        Ok(rig) => rig,
        Err(error) => return (0, Some(error)),
    };
    let mut intact = 0;
    let mut damage = None;
    let last = rig.wal.last_index().unwrap_or(0);
    for (index, expected) in (1..=last).zip(all) {
        match rig.wal.read(index) {
            Ok(record) => {
                assert_eq!(record.as_ref(), Some(expected));
                intact += 1;
            }
            Err(error) => damage = Some(error),
        }
        let len = expected.body.len() as u32;
        if let Ok(part) = rig.wal.read_body_at(index, 0, len) {
            assert_eq!(part.len(), expected.body.len());
        }
    }
    (intact, damage)
}

#[test]
fn every_bit_of_the_last_segment() {
    let files = FaultyFiles::new(1);
    let rig = Rig::open(&files);
    rig.append(records(1..=3, 20)).unwrap();
    rig.append(records(4..=5, 20)).unwrap();
    rig.append(records(6..=7, 20)).unwrap();
    let all = rig.records();
    drop(rig);
    let path = last_segment(&files);
    let end = |records: usize| (SEGMENT_HEADER_BYTES + records * (HEADER_BYTES + 20)) as u64 * 8;
    for bit in 0..end(7) {
        let files = files.fork();
        files.flip_bit(&path, bit);
        let (intact, damage) = survey(&files, &all);
        if bit < end(0) {
            assert!(
                matches!(damage, Some(Error::Corrupt { index: 1, .. })),
                "bit {bit}"
            );
        } else if bit < end(5) {
            // The batches 4..=5 and 6..=7 say that what came before them was durable.
            let record = (bit / 8 - 64) / 68;
            let Some(Error::Corrupt {
                position, index, ..
            }) = damage
            else {
                panic!("bit {bit}: {intact} records, {damage:?}");
            };
            assert_eq!((index, position), (record + 1, 64 + record * 68));
            assert!(!inspect_files(&files, dir()).unwrap().is_sound());
        } else {
            // Nothing shows that the last batch was ever complete.
            let record = (bit / 8 - 64) / 68;
            assert!(damage.is_none());
            assert_eq!(intact as u64, record);
        }
    }
}

#[test]
fn every_bit_of_records_in_a_sealed_segment() {
    let files = FaultyFiles::new(1);
    let rig = Rig::open(&files);
    let mut all = records(1..=10, 20);
    all.push(record(11, 64_000));
    all.extend(records(12..=14, 5000));
    rig.append(all.clone()).unwrap();
    drop(rig);
    let path = &segments(&files)[0];
    for bit in (64 + 4 * 68) * 8..(64 + 6 * 68) * 8 {
        let files = files.fork();
        files.flip_bit(path, bit);
        let record = (bit / 8 - 64) / 68 + 1;
        let (_, damage) = survey(&files, &all);
        match damage {
            Some(Error::Corrupt { index, file, .. }) => {
                assert_eq!((index, &file), (record, path), "bit {bit}");
            }
            other => panic!("bit {bit}: {other:?}"),
        }
        // The records before and behind the damaged one are served.
        let rig = Rig::open(&files);
        for index in [1, 4, 9, 10, 11, 14] {
            let intact = rig.wal.read(index).unwrap();
            assert_eq!(intact.as_ref(), Some(&all[index as usize - 1]), "bit {bit}");
        }
    }
}

#[test]
fn every_bit_of_a_sidecar_is_harmless() {
    let files = FaultyFiles::new(1);
    let all = records(1..=40, 5000);
    Rig::open(&files).append(all.clone()).unwrap();
    let path = files.paths(dir()).remove(0);
    assert!(path.extension().is_some_and(|ext| ext == "idx"));
    let bits = files.content(&path).unwrap().len() as u64 * 8;
    for bit in 0..bits {
        let files = files.fork();
        files.flip_bit(&path, bit);
        let rig = Rig::open(&files);
        assert_eq!(rig.recovery.rebuilt_indexes, 1);
        assert_eq!(rig.wal.read(7).unwrap().as_ref(), Some(&all[6]));
    }
}

#[test]
fn a_forged_record_in_a_body_does_not_turn_a_torn_tail_into_damage() {
    let files = FaultyFiles::new(1);
    let rig = Rig::open(&files);
    rig.append(records(1..=2, 20)).unwrap();
    rig.append(records(3..=4, 20)).unwrap();
    let path = last_segment(&files);
    let stored = files.content(&path).unwrap();
    // A client that knows the file sends its bytes as a body, at an offset of its choice.
    let forged = Record {
        body: stored.into(),
        ..record(5, 0)
    };
    rig.append(vec![forged]).unwrap();
    drop(rig);
    files.flip_bit(&path, (64 + 4 * 68) * 8 + 40);
    let rig = Rig::open(&files);
    assert_eq!(rig.records(), records(1..=4, 20));
}

#[test]
fn missing_segments_are_named() {
    let files = FaultyFiles::new(1);
    let rig = Rig::open(&files);
    rig.append(records(1..=60, 5000)).unwrap();
    let status = rig.wal.status();
    drop(rig);
    let gone = &segments(&files)[2];
    chronos_wal::Files::remove(&files, gone).unwrap();
    let error = Rig::try_open(&files).err().unwrap();
    let (first, last) = (
        status.segments[2].first_index,
        status.segments[2].last_index.unwrap(),
    );
    assert!(
        matches!(error, Error::MissingSegment { first_missing, last_missing, .. }
            if (first_missing, last_missing) == (first, last)),
        "{error}"
    );
    assert_eq!(inspect_files(&files, dir()).unwrap().gaps, [(first, last)]);
    // The oldest ones may go: that is what retention does.
    let files = files.fork();
    for path in &segments(&files)[..2] {
        chronos_wal::Files::remove(&files, path).unwrap();
    }
    assert_eq!(Rig::open(&files).wal.first_index(), Some(last + 1));
}

#[test]
fn a_sealed_segment_that_ends_early_is_damage() {
    let files = FaultyFiles::new(1);
    Rig::open(&files).append(records(1..=60, 5000)).unwrap();
    let path = &segments(&files)[1];
    let content = files.content(path).unwrap();
    for cut in [63, 64, 5000, content.len() - 1] {
        files.set_content(path, content[..cut].to_vec());
        let error = Rig::try_open(&files).err().unwrap();
        assert!(
            matches!(error, Error::Corrupt { .. } | Error::MissingSegment { .. }),
            "{error}"
        );
        assert!(!inspect_files(&files, dir()).unwrap().is_sound());
    }
}

#[test]
fn files_of_another_log_and_another_version_are_refused() {
    let files = FaultyFiles::new(1);
    Rig::open(&files).append(records(1..=2, 20)).unwrap();
    let other = Options {
        log_id: 8,
        ..options()
    };
    assert!(matches!(
        Rig::try_with(&files, other).err(),
        Some(Error::WrongLog {
            expected: 8,
            found: 7,
            ..
        })
    ));
    let path = last_segment(&files);
    let mut content = files.content(&path).unwrap();
    content[8] = 2;
    content[12..16].fill(0);
    let crc = crc32c::crc32c(&content[..64]);
    content[12..16].copy_from_slice(&crc.to_le_bytes());
    files.set_content(&path, content);
    assert!(matches!(
        Rig::try_open(&files).err(),
        Some(Error::UnknownVersion {
            version: 2,
            supported: 1,
            ..
        })
    ));
    // A segment under another one's name.
    let files = FaultyFiles::new(1);
    Rig::open(&files).append(records(1..=2, 20)).unwrap();
    let wrong = dir().join("00000000000000000002.wal");
    chronos_wal::Files::rename(&files, &last_segment(&files), &wrong).unwrap();
    assert!(matches!(
        Rig::try_open(&files).err(),
        Some(Error::Corrupt { index: 2, .. })
    ));
}

#[test]
fn a_refused_open_changes_nothing() {
    let files = FaultyFiles::new(1);
    let rig = Rig::open(&files);
    rig.append(records(1..=3, 20)).unwrap();
    rig.append(records(4..=4, 20)).unwrap();
    drop(rig);
    let path = last_segment(&files);
    files.flip_bit(&path, 64 * 8 + 3);
    let before = files.content(&path);
    let error = Rig::try_open(&files).err().unwrap().to_string();
    assert_eq!(files.content(&path), before);
    assert!(error.contains("00000000000000000001.wal"), "{error}");
    assert!(error.contains("byte 64"), "{error}");
    assert!(error.contains("chronosdb inspect-wal /data/wal"), "{error}");
}

#[test]
fn the_inspection_tells_torn_from_damaged() {
    let files = FaultyFiles::new(1);
    let rig = Rig::open(&files);
    rig.append(records(1..=20, 5000)).unwrap();
    rig.append(records(21..=24, 20)).unwrap();
    rig.append(records(25..=26, 20)).unwrap();
    let status = rig.wal.status();
    drop(rig);
    let sound = inspect_files(&files, dir()).unwrap();
    assert!(sound.is_sound());
    assert_eq!(sound.segments.len(), status.segments.len());
    assert_eq!(sound.segments.iter().map(|s| s.records).sum::<u64>(), 26);
    assert_eq!(sound.segments[0].log_id, Some(7));
    assert_eq!(sound.segments[0].last_index, status.segments[0].last_index);

    let path = last_segment(&files);
    let bits = files.content(&path).unwrap().len() as u64 * 8;
    let torn = files.fork();
    torn.flip_bit(&path, bits - 1);
    let report = inspect_files(&torn, dir()).unwrap();
    let damage = report.segments.last().unwrap().damage.clone().unwrap();
    assert!(report.is_sound() && damage.torn_tail);
    assert_eq!((damage.index, damage.intact_after), (26, 0));

    files.flip_bit(&path, bits - 5 * 68 * 8 - 1);
    let report = inspect_files(&files, dir()).unwrap();
    let damage = report.segments.last().unwrap().damage.clone().unwrap();
    assert!(!report.is_sound() && !damage.torn_tail);
    assert_eq!((damage.index, damage.intact_after), (21, 5));
    let text = report.to_string();
    assert!(text.contains("DAMAGED at byte"), "{text}");
}
