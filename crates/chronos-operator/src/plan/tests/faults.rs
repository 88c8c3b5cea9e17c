//! Faults of every kind in any order, and what becomes of them.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::world::{State, World};
use super::*;

/// What happens from outside.
#[derive(Clone, Debug)]
enum Fault {
    Crash(u32),
    Evict(u32),
    LoseMachine(u32),
    Cordon(u32),
    Uncordon,
    Silence(bool),
    Scale(u32),
    ScaleSetByHand(u32),
    Update(Outcome),
    Hibernate(bool),
    Pause(bool),
    ByHand(bool),
    LoseDisk(u32),
    DeleteClaim(u32),
    Nothing,
}

/// What becomes of pods that are made of a new template.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    Works,
    Crashes,
    NeverReady,
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        4 => Just(Outcome::Works),
        1 => Just(Outcome::Crashes),
        1 => Just(Outcome::NeverReady),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        2 => (0u32..5).prop_map(Fault::Crash),
        2 => (0u32..5).prop_map(Fault::Evict),
        1 => (0u32..5).prop_map(Fault::LoseMachine),
        1 => (0u32..5).prop_map(Fault::Cordon),
        1 => Just(Fault::Uncordon),
        1 => any::<bool>().prop_map(Fault::Silence),
        2 => prop_oneof![Just(3u32), Just(4u32), Just(5u32)].prop_map(Fault::Scale),
        1 => (0u32..5).prop_map(Fault::ScaleSetByHand),
        2 => outcome().prop_map(Fault::Update),
        1 => prop::bool::weighted(0.3).prop_map(Fault::Hibernate),
        1 => prop::bool::weighted(0.3).prop_map(Fault::Pause),
        1 => prop::bool::weighted(0.3).prop_map(Fault::ByHand),
        1 => (0u32..5).prop_map(Fault::LoseDisk),
        1 => (0u32..5).prop_map(Fault::DeleteClaim),
        12 => Just(Fault::Nothing),
    ]
}

struct Run {
    world: World,
    desired: Desired,
    template: u32,
    lost: bool,
}

impl Run {
    fn new() -> Self {
        let world = World {
            good: BTreeSet::from([0]),
            ..World::default()
        };
        let mut desired = desired();
        desired.template = "0".to_owned();
        Self {
            world,
            desired,
            template: 0,
            lost: false,
        }
    }

    fn strike(&mut self, fault: &Fault) {
        let world = &mut self.world;
        match fault {
            Fault::Crash(n) => {
                if let Some(pod) = world.pods.get_mut(n).filter(|pod| pod.state.runs()) {
                    pod.state = State::Starting(1);
                    if let Some(member) = world.members.get_mut(n) {
                        member.behind = 2;
                    }
                }
            }
            Fault::Evict(n) | Fault::LoseMachine(n) => {
                if let Some(pod) = world.pods.get_mut(n) {
                    match fault {
                        Fault::Evict(_) => pod.stop(),
                        _ => pod.state = State::Stuck,
                    }
                    if let Some(member) = world.members.get_mut(n) {
                        member.behind = 2;
                    }
                }
            }
            Fault::Cordon(n) => {
                world.leaving.insert(*n);
            }
            Fault::Uncordon => world.leaving.clear(),
            Fault::Silence(silent) => world.silent = *silent,
            Fault::Scale(to) => self.desired.replicas = *to,
            Fault::ScaleSetByHand(to) => {
                // The first nodes have to be up together once.
                let is_founded = !world.catalog.is_empty();
                if let Some(replicas) = world.replicas.as_mut().filter(|_| is_founded) {
                    *replicas = *to;
                }
            }
            Fault::Update(outcome) => {
                self.template += 1;
                self.desired.template = self.template.to_string();
                if !matches!(outcome, Outcome::Crashes) {
                    world.good.insert(self.template);
                }
                if matches!(outcome, Outcome::NeverReady) {
                    world.mute.insert(self.template);
                }
            }
            Fault::Hibernate(sleeps) => self.desired.hibernate = *sleeps,
            Fault::Pause(paused) => self.desired.paused = *paused,
            Fault::ByHand(true) => self.desired.update = UpdateType::OnDelete,
            Fault::ByHand(false) => self.desired.update = UpdateType::RollingUpdate,
            Fault::LoseDisk(n) => self.lose_disk(*n),
            Fault::DeleteClaim(n) => self.delete_claim(*n),
            Fault::Nothing => {}
        }
    }

    /// At most one disk, when no copy is missing otherwise: more cannot be survived by anybody.
    /// Somebody notices and names the member.
    fn lose_disk(&mut self, ordinal: u32) {
        let world = &mut self.world;
        if self.lost || !world.can_lose(ordinal) || !world.members.contains_key(&ordinal) {
            return;
        }
        let disk = world.fresh();
        if world
            .pods
            .get(&ordinal)
            .is_some_and(|pod| pod.state == State::Stuck)
        {
            return;
        }
        let Some((volume, pod)) = world
            .volumes
            .get_mut(&ordinal)
            .zip(world.pods.get_mut(&ordinal))
        else {
            return;
        };
        self.lost = true;
        volume.disk = disk;
        world.unusable.insert(disk);
        pod.state = State::Starting(1);
        let number = world.members[&ordinal].number;
        self.desired.replace = Some(Replace { ordinal, number });
    }

    /// Somebody deletes the claim of a node, and with it the disk, at once or when its pod goes.
    fn delete_claim(&mut self, ordinal: u32) {
        let world = &mut self.world;
        if self.lost || !world.can_lose(ordinal) {
            return;
        }
        let Some(volume) = world.volumes.get_mut(&ordinal) else {
            return;
        };
        // One that runs may join before the disk goes.
        self.lost |= world.members.contains_key(&ordinal) || world.pods.contains_key(&ordinal);
        volume.terminating = true;
        // Nobody uses the others: they are gone.
        let pods = &world.pods;
        world
            .volumes
            .retain(|ordinal, volume| !volume.terminating || pods.contains_key(ordinal));
    }

    fn turn(&mut self) -> Result<Step, TestCaseError> {
        let step = plan(&self.world.observe(), &self.desired);
        if let Step::Act(action) = &step {
            self.world.act(action, &self.desired)?;
        }
        Ok(step)
    }

    fn calm(&mut self) {
        self.world.silent = false;
        self.world.leaving.clear();
        self.desired.hibernate = false;
        self.desired.paused = false;
        self.desired.update = UpdateType::RollingUpdate;
        // Their machines are said to be out of service.
        for pod in self.world.pods.values_mut() {
            if pod.state == State::Stuck {
                pod.state = State::Terminating(1);
            }
        }
        if self.world.mute.contains(&self.template) {
            self.template += 1;
            self.desired.template = self.template.to_string();
        }
        self.world.good.insert(self.template);
    }
}

/// Whatever strikes, no majority is stopped and no disk of a member deleted by the operator; and when
/// it is over, the plan comes to its end.
fn survive(faults: &[Fault]) -> Result<(), TestCaseError> {
    let mut run = Run::new();
    for fault in faults {
        run.strike(fault);
        run.turn()?;
        run.world.tick(run.template);
    }
    run.calm();
    let mut last = None;
    for _ in 0..400 {
        let step = run.turn()?;
        if step == Step::Calm(Calm::Settled) {
            let wanted: Vec<u32> = (0..run.desired.replicas).collect();
            let members: Vec<u32> = run.world.members.keys().copied().collect();
            prop_assert_eq!(&members, &wanted);
            prop_assert_eq!(run.world.replicas, Some(run.desired.replicas));
            let pods: Vec<u32> = run.world.pods.keys().copied().collect();
            prop_assert_eq!(&pods, &wanted);
            for pod in run.world.pods.values() {
                prop_assert_eq!(pod.template, run.template);
            }
            return Ok(());
        }
        if let Step::Blocked(Blocker::ClaimAtRisk(ordinal)) = step {
            // As the documentation says.
            run.strike(&Fault::Evict(ordinal));
        }
        last = Some(step);
        run.world.tick(run.template);
    }
    prop_assert!(false, "never settled: {last:?} in {:#?}", run.world);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(1500), max_shrink_iters: 4000, ..ProptestConfig::default()
    })]

    #[test]
    fn faults_are_survived_and_the_end_is_reached(faults in prop::collection::vec(fault(), 1..120)) {
        survive(&faults)?;
    }
}

/// Nodes that leave are not updated before. Those that stay may be up to date by then, because they
/// were evicted; then the last pod that leaves is the only one that is not as it should be.
#[test]
fn a_node_that_leaves_out_of_date_is_waited_for() {
    let mut faults = vec![Fault::Nothing; 20];
    faults.push(Fault::Scale(4));
    faults.extend(vec![Fault::Nothing; 20]);
    faults.push(Fault::Scale(3));
    faults.push(Fault::Update(Outcome::Works));
    for ordinal in 0..3 {
        faults.push(Fault::Evict(ordinal));
        faults.extend(vec![Fault::Nothing; 6]);
    }
    for end in 41..faults.len() {
        survive(&faults[..end]).unwrap();
    }
    survive(&faults).unwrap();
}
