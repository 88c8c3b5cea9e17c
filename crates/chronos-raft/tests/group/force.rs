//! A node goes on alone when the others are lost for good.

use std::sync::Arc;

use chronos_raft::{ForceError, force_only_voter};
use chronos_wal::faulty::FaultyFiles;
use chronos_wal::{Flusher, Options, Wal};

use crate::cluster::Cluster;

#[tokio::test(start_paused = true)]
async fn the_last_node_goes_on_with_what_it_has() {
    for seed in 0..5 {
        let mut cluster = Cluster::of_voters(seed, 3).await;
        let leader = cluster.leader().await;
        for number in 0..20 {
            cluster.write(&[1, 2, 3], number).await;
        }
        cluster.converge(&[1, 2, 3]).await;
        let before = cluster.notes(leader).commands();
        let left = leader % 3 + 1;
        for id in 1..=3 {
            cluster.stop(id).await;
        }
        let forced = {
            let files = Arc::new(cluster.files(left));
            let flusher = Flusher::manual();
            let (wal, _) = Wal::open(files.clone(), Options::new("/log", 1), &flusher).unwrap();
            force_only_voter(files, Cluster::dir(), &wal, left).unwrap()
        };
        cluster.restart(left).await;
        assert_eq!(cluster.leader().await, left);
        assert_eq!(cluster.group(left).members().voters, [left].into());
        let written = cluster.write(&[left], 20).await;
        assert!(written.term > forced.term && written.index > forced.index);
        let after = cluster.notes(left).commands();
        assert_eq!(after[..after.len() - 1], before);
    }
}

#[test]
fn a_node_without_a_log_has_nothing_to_go_on_with() {
    let files = Arc::new(FaultyFiles::new(1));
    let flusher = Flusher::manual();
    let (wal, _) = Wal::open(files.clone(), Options::new("/log", 1), &flusher).unwrap();
    let forced = force_only_voter(files, Cluster::dir(), &wal, 1);
    assert!(matches!(forced, Err(ForceError::Empty)), "{forced:?}");
}
