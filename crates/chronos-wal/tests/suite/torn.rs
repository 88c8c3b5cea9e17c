//! A crash in the middle of a write leaves any prefix of it.

use chronos_wal::Record;
use chronos_wal::faulty::FaultyFiles;

use crate::support::*;

/// Three batches; returns the position after each record too.
fn three_batches(files: &FaultyFiles) -> (Vec<Record>, Vec<usize>) {
    let rig = Rig::open(files);
    rig.append(records(1..=6, 90)).unwrap();
    rig.append(records(7..=8, 40)).unwrap();
    rig.append(vec![record(9, 70), record(10, 0), record(11, 33)])
        .unwrap();
    let all = rig.records();
    let mut ends = vec![SEGMENT_HEADER_BYTES];
    for record in &all {
        ends.push(ends[ends.len() - 1] + HEADER_BYTES + record.body.len());
    }
    (all, ends)
}

#[test]
fn cut_at_every_byte_a_clean_prefix_is_left() {
    let files = FaultyFiles::new(1);
    let (all, ends) = three_batches(&files);
    let path = last_segment(&files);
    let content = files.content(&path).unwrap();
    assert_eq!(content.len(), ends[11]);
    for cut in ends[0]..=ends[11] {
        files.set_content(&path, content[..cut].to_vec());
        let files = files.fork();
        let rig = Rig::open(&files);
        let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
        assert_eq!(rig.records(), all[..whole], "cut at {cut}");
        let torn = (cut - ends[whole]) as u64;
        assert_eq!(rig.recovery.truncated_bytes, torn);
        assert_eq!(rig.recovery.truncated_at.is_some(), torn > 0);

        // It goes on from there as if nothing had been.
        let next = whole as u64 + 1;
        let more: Vec<_> = (next..next + 3).map(|i| record_of(i, 50, 9)).collect();
        rig.append(more.clone()).unwrap();
        files.power_loss(cut as u64);
        let rig = Rig::open(&files);
        assert_eq!(rig.recovery.truncated_bytes, 0);
        let expected: Vec<_> = all[..whole].iter().cloned().chain(more).collect();
        assert_eq!(rig.records(), expected, "cut at {cut}");
    }
}

#[test]
fn zeros_or_noise_behind_the_end_are_cut_off() {
    let files = FaultyFiles::new(1);
    let (all, ends) = three_batches(&files);
    let path = last_segment(&files);
    let content = files.content(&path).unwrap();
    let noise: Vec<u8> = (0..5000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    // A copy of records that exist claims nothing where it now stands.
    let copy = content[ends[6]..].to_vec();
    for behind in [vec![0; 5000], noise, copy] {
        let mut longer = content.clone();
        longer.extend_from_slice(&behind);
        files.set_content(&path, longer);
        let files = files.fork();
        let rig = Rig::open(&files);
        assert_eq!(rig.recovery.truncated_bytes, behind.len() as u64);
        assert_eq!(rig.records(), all);
        assert_eq!(files.content(&path).unwrap(), content);
    }
}

#[test]
fn what_was_truncated_does_not_come_back() {
    // Old records of the same sizes lie exactly where the new ones end, and a crash cuts the file
    // or not: they must not be seen again.
    let files = FaultyFiles::new(1);
    let rig = Rig::open(&files);
    rig.append(records(1..=40, 100)).unwrap();
    rig.wal.truncate_after(Some(20)).unwrap();
    rig.append(vec![record_of(21, 100, 1)]).unwrap();
    let expected = rig.records();
    drop(rig);
    for seed in 0..50 {
        let files = files.fork();
        files.power_loss(seed);
        let rig = Rig::open(&files);
        assert_eq!(rig.records(), expected);
        assert_eq!(rig.recovery.truncated_bytes, 0);
    }

    // The same for a tail cut off by recovery.
    let path = last_segment(&files);
    let mut content = files.content(&path).unwrap();
    content.extend_from_slice(&[0xC7; 3000]);
    files.set_content(&path, content);
    drop(Rig::open(&files));
    let rig = Rig::open(&files);
    assert_eq!(rig.recovery.truncated_bytes, 0);
    assert_eq!(rig.records(), expected);
}

#[test]
fn a_torn_first_batch_leaves_an_empty_log_that_begins_anywhere() {
    let files = FaultyFiles::new(1);
    Rig::open(&files).append(records(1..=2, 50)).unwrap();
    let path = last_segment(&files);
    let content = files.content(&path).unwrap();
    files.set_content(&path, content[..SEGMENT_HEADER_BYTES + 20].to_vec());
    let rig = Rig::open(&files);
    assert_eq!(rig.wal.last_index(), None);
    assert_eq!(rig.recovery.truncated_bytes, 20);
    rig.append(records(500..=501, 5)).unwrap();
    drop(rig);
    assert_eq!(Rig::open(&files).records(), records(500..=501, 5));
}

#[test]
fn an_empty_last_segment_is_continued() {
    let files = FaultyFiles::new(1);
    let rig = Rig::open(&files);
    rig.append(records(1..=30, 5000)).unwrap();
    let base = rig.wal.status().segments.last().unwrap().first_index;
    drop(rig);
    let path = last_segment(&files);
    let content = files.content(&path).unwrap();
    files.set_content(&path, content[..SEGMENT_HEADER_BYTES + 9].to_vec());
    let rig = Rig::open(&files);
    assert_eq!(rig.wal.last_index(), Some(base - 1));
    assert_eq!(rig.wal.durable_index(), Some(base - 1));
    // The only records are in the segment before, which therefore stays.
    rig.wal.remove_segments_below(u64::MAX).unwrap();
    assert_eq!(rig.wal.last_index(), Some(base - 1));
    assert!(rig.wal.read(base - 1).unwrap().is_some());
    rig.wal.truncate_after(Some(base - 2)).unwrap();
    rig.append(records(base - 1..=base + 30, 5000)).unwrap();
    let expected = rig.records();
    drop(rig);
    assert_eq!(Rig::open(&files).records(), expected);
}
