//! Dead letters: commands about them, and redriven ones on their way to their group.

use super::super::message::{DeadLetters, Refused};
use super::Driver;
use super::propose::Waiter;
use chronos_core::command::{Kind, dead_letters};
use chronos_core::partition::Outcome;
use chronos_core::types::GroupNumber;
use tokio::sync::oneshot;

impl Driver {
    pub(super) fn on_dead_letters(&mut self, letters: DeadLetters) {
        let DeadLetters { command, reply } = letters;
        let waiter = Waiter::DeadLetters(command.group, reply);
        self.queue
            .push(Kind::DeadLetters, command.encode().into(), waiter);
    }

    /// Queues what became of redriven letters, beside the group's settles.
    pub(super) fn queue_redriven(&mut self, number: GroupNumber) {
        let progress = self
            .groups
            .get_mut(&number)
            .and_then(crate::delivery::Group::take_redriven);
        if let Some(progress) = progress {
            let command = dead_letters::DeadLetters {
                group: number,
                action: dead_letters::Action::Progress(progress),
            };
            self.queue
                .push(Kind::DeadLetters, command.encode().into(), Waiter::Settle);
        }
    }

    /// A command about letters took effect: what is redriven goes to the group.
    pub(super) fn answer_dead_letters(
        &mut self,
        group: GroupNumber,
        reply: oneshot::Sender<Result<Vec<u64>, Refused>>,
        outcome: Outcome,
    ) {
        let letters = match outcome {
            Outcome::Redriven(redriven) => {
                let letters = redriven.iter().map(|(letter, _)| *letter).collect();
                if let Some(group) = self.groups.get_mut(&group) {
                    group.redrive(redriven);
                }
                self.active.insert(group);
                letters
            }
            Outcome::Letters(letters) => letters,
            outcome => unreachable!("apply answered a command of another kind: {outcome:?}"),
        };
        let _ = reply.send(Ok(letters));
    }
}
