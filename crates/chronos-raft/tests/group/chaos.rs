//! Whatever happens, in whatever order: what was acknowledged is there, once and in one order on
//! all nodes, and no two nodes hold the lease at the same time.

use std::collections::BTreeSet;
use std::time::Duration;

use chronos_raft::{LogId, ProposeError};
use tokio::task::JoinHandle;

use crate::cluster::Cluster;
use crate::numbered;

const NODES: u64 = 3;
const STEP: Duration = Duration::from_millis(10);
const STEPS: u64 = 3000;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

struct Chaos {
    cluster: Cluster,
    dice: Dice,
    next: u64,
    under_way: Vec<(u64, JoinHandle<Result<LogId, ProposeError>>)>,
    acknowledged: BTreeSet<u64>,
    faults: u64,
}

impl Chaos {
    async fn step(&mut self) {
        tokio::time::sleep(STEP).await;
        let running = self.cluster.running();
        let holds = |id: &&u64| self.cluster.group(**id).holds_lease();
        let holders = running.iter().filter(holds).count();
        assert!(holders <= 1, "{holders} nodes hold the lease");
        self.propose(&running);
        self.collect().await;
        if self.dice.roll(60) == 0 {
            self.faults += 1;
            self.disturb(&running).await;
        }
    }

    fn propose(&mut self, running: &[u64]) {
        for id in running {
            let group = self.cluster.group(*id);
            if group.leadership().get().leads && self.under_way.len() < 100 {
                let proposal = group.propose(numbered(self.next));
                self.under_way.push((self.next, tokio::spawn(proposal)));
                self.next += 1;
            }
        }
    }

    async fn collect(&mut self) {
        for (number, proposal) in std::mem::take(&mut self.under_way) {
            if !proposal.is_finished() {
                self.under_way.push((number, proposal));
            } else if proposal.await.unwrap().is_ok() {
                self.acknowledged.insert(number);
            }
        }
    }

    async fn disturb(&mut self, running: &[u64]) {
        let id = self.dice.roll(NODES) + 1;
        let to = (id + self.dice.roll(NODES - 1)) % NODES + 1;
        let is_running = running.contains(&id);
        match self.dice.roll(12) {
            0 if is_running => self.cluster.stop(id).await,
            1 | 2 if is_running => self.cluster.lose_power(id).await,
            0..=3 if !is_running => self.cluster.restart(id).await,
            4 => self.cluster.net.isolate(&[id], &[1, 2, 3]),
            5 if id != to => self.cluster.net.cut_one_way(id, to),
            6 => {
                let delay = Duration::from_millis(self.dice.roll(80));
                self.cluster.net.delay(delay);
            }
            7 if is_running => {
                let group = self.cluster.group(id);
                tokio::spawn(async move { group.transfer_lead(to).await });
            }
            8 => {
                let is_stalled = self.dice.roll(2) == 0;
                self.cluster.stall_disk(id, is_stalled);
            }
            _ => self.heal().await,
        }
    }

    async fn heal(&mut self) {
        self.cluster.net.heal();
        for id in self.cluster.ids() {
            self.cluster.stall_disk(id, false);
            if !self.cluster.running().contains(&id) {
                self.cluster.restart(id).await;
            }
        }
    }
}

async fn run(seed: u64) -> (usize, Vec<bytes::Bytes>) {
    let mut chaos = Chaos {
        cluster: Cluster::of_voters(seed, NODES).await,
        dice: Dice(seed),
        next: 0,
        under_way: Vec::new(),
        acknowledged: BTreeSet::new(),
        faults: 0,
    };
    for _ in 0..STEPS {
        chaos.step().await;
    }
    chaos.heal().await;
    chaos.cluster.write(&[1, 2, 3], u64::MAX).await;
    chaos.cluster.converge(&[1, 2, 3]).await;
    chaos.collect().await;

    let commands = chaos.cluster.notes(1).commands();
    let found: BTreeSet<_> = commands.iter().cloned().collect();
    assert_eq!(found.len(), commands.len(), "seed {seed}: applied twice");
    for number in &chaos.acknowledged {
        assert!(found.contains(&numbered(*number)), "seed {seed}: {number}");
    }
    assert!(chaos.faults > 20, "seed {seed}: {} faults", chaos.faults);
    (chaos.acknowledged.len(), commands)
}

#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_is_there_whatever_happened() {
    let mut acknowledged = 0;
    for seed in 0..30 {
        acknowledged += run(seed).await.0;
    }
    assert!(acknowledged > 10_000, "{acknowledged}");
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_run() {
    assert_eq!(run(77).await.1, run(77).await.1);
}
