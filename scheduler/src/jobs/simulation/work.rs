//! What actions come to: plans, attempts of shards, commits and clean-ups, each with the faults they may meet.

use serde_json::json;

use super::super::machine::{Action, Event};
use super::super::model::{Job, JobFailure, JobId, ShardPlan, ShardState};
use super::super::tables::failure;
use super::world::{Letter, Part, Todo, Work, World};

fn lost() -> JobFailure {
    failure("unreachable", true)
}

impl World {
    pub(super) fn perform(&mut self, scheduler: usize) {
        let Some(todo) = self.dice.take(&mut self.schedulers[scheduler].todo) else {
            return;
        };
        let id = todo.job.id.clone();
        match todo.work {
            Work::Perform(Action::Plan { attempt }) => self.plan(scheduler, &todo.job, attempt),
            Work::Perform(Action::RunShard { shard, attempt }) => {
                self.run_shard(scheduler, &todo.job, shard, attempt);
            }
            // What executors had to say about it may or may not be under way already.
            Work::Perform(Action::StopShard { .. }) => {}
            Work::Perform(Action::Commit { attempt }) => self.commit(scheduler, todo, attempt),
            Work::Complete { attempt } => self.complete(scheduler, &id, attempt),
            Work::Perform(Action::Abandon { attempt }) => self.abandon(scheduler, &todo.job, attempt),
            Work::Perform(Action::WakeAt { at_ms }) => {
                self.schedulers[scheduler].wakes.insert(id, at_ms);
            }
            Work::Perform(Action::Finish) => self.give_back(scheduler, &id, todo.token),
        }
    }

    /// Sends word that may be late and may come twice.
    fn send(&mut self, scheduler: usize, id: &JobId, event: Event) {
        let copies = if self.fault(15) { 2 } else { 1 };
        for _ in 0..copies {
            let slow = if self.fault(10) { 4000 } else { 300 };
            let due_ms = self.now_ms + i64::from(self.dice.count(1, slow));
            let life = self.schedulers[scheduler].life;
            self.letters.push(Letter { due_ms, scheduler, life, id: id.clone(), event: event.clone() });
        }
    }

    fn plan(&mut self, scheduler: usize, job: &Job, attempt: u32) {
        let id = &job.id;
        if self.outputs[id].intent.is_some() && !self.fault(20) {
            self.finish_commit(id);
        }
        let event = if let Some(parts) = &self.outputs[id].manifest {
            Event::AlreadyCommitted { attempt, result: json!(parts) }
        } else if self.outputs[id].intent.is_some() || self.fault(15) {
            Event::PlanFailed { attempt, failure: lost() }
        } else if self.fault(2) {
            Event::PlanFailed { attempt, failure: failure("invalid", false) }
        } else {
            let sources = self.outputs[id].sources;
            let label =
                |number: u32| if number == 0 { format!("s0 v{sources}") } else { format!("s{number}") };
            // Always as many for the same sources.
            let count = 1 + (sources / 2 + id.0.bytes().map(u32::from).sum::<u32>()) % 4;
            let shards = (0..count)
                .map(|number| ShardPlan {
                    label: label(number),
                    rows: 1,
                    rows_to_read: 1,
                    bytes_to_read: 1,
                    spec: json!(null),
                })
                .collect();
            Event::Planned { attempt, registry_version: "v1".to_owned(), shards }
        };
        self.send(scheduler, id, event);
    }

    /// An executor writes its rows, and its word goes missing more often than its rows do.
    fn run_shard(&mut self, scheduler: usize, job: &Job, shard: u32, attempt: u32) {
        let id = &job.id;
        if self.fault(3) {
            let event = Event::ShardFailed { shard, attempt, failure: failure("data", false) };
            return self.send(scheduler, id, event);
        }
        let is_lost = self.fault(25);
        if !is_lost || self.dice.percent(50) {
            let label = &job.shards.iter().find(|known| known.number == shard).unwrap().plan.label;
            let result = json!((shard, attempt, label));
            self.outputs.get_mut(id).unwrap().staged.insert((shard, attempt));
            self.send(scheduler, id, Event::ShardSucceeded { shard, attempt, result });
        }
        if is_lost {
            self.send(scheduler, id, Event::ShardFailed { shard, attempt, failure: lost() });
        }
    }

    /// The intent is written under the fencing token and for the newest attempt; the rest of the commit is another step.
    fn commit(&mut self, scheduler: usize, todo: Todo, attempt: u32) {
        let Todo { job, token, .. } = todo;
        let id = job.id.clone();
        if self.jobs[&id].token != token {
            self.checks.seen.fenced_commits += 1;
            return;
        }
        let is_durable = self.outputs[&id].intent.is_some();
        if self.fault(15) {
            let event = Event::CommitFailed { attempt, failure: lost(), is_durable };
            return self.send(scheduler, &id, event);
        }
        if !is_durable {
            if !self.jobs[&id].job.may_write_intent(attempt) {
                self.checks.seen.outdated_commits += 1;
                return;
            }
            if self.fault(5) {
                let event = Event::CommitFailed { attempt, failure: failure("conflict", false), is_durable };
                return self.send(scheduler, &id, event);
            }
            let parts: Vec<Part> = job
                .shards
                .iter()
                .filter_map(|shard| match &shard.state {
                    ShardState::Done { result, .. } => serde_json::from_value(result.clone()).ok(),
                    ShardState::Pending { .. } | ShardState::Running { .. } => None,
                })
                .collect();
            self.checks.at_intent(&self.jobs[&id].job, &parts, &self.outputs[&id]);
            self.outputs.get_mut(&id).unwrap().intent = Some(parts);
        }
        self.schedulers[scheduler].todo.push(Todo { job, token, work: Work::Complete { attempt } });
    }

    fn complete(&mut self, scheduler: usize, id: &JobId, attempt: u32) {
        if self.fault(40) {
            let code = if self.dice.percent(50) { "unreachable" } else { "access_denied" };
            let failure = failure(code, code == "unreachable");
            return self.send(scheduler, id, Event::CommitFailed { attempt, failure, is_durable: true });
        }
        self.finish_commit(id);
        let result = json!(self.outputs[id].manifest);
        self.send(scheduler, id, Event::Committed { result });
    }

    /// Rolls an intent forward; doing it again changes nothing.
    fn finish_commit(&mut self, id: &JobId) {
        let output = self.outputs.get_mut(id).unwrap();
        if output.manifest.is_none() {
            self.checks.at_manifest(output);
            output.manifest = output.intent.clone();
            output.commits += 1;
        }
    }

    /// Clears away what attempts known to the job have staged: an older clean-up spares newer attempts.
    fn abandon(&mut self, scheduler: usize, job: &Job, attempt: u32) {
        if !self.fault(10) {
            let newest = job.shards.iter().map(|shard| shard.attempts).max().unwrap_or(0);
            let newest = newest.max(job.shard_attempts_before);
            self.outputs.get_mut(&job.id).unwrap().staged.retain(|(_, staged)| *staged > newest);
        }
        self.send(scheduler, &job.id, Event::Abandoned { attempt });
    }

    fn give_back(&mut self, scheduler: usize, id: &JobId, token: u64) {
        let record = self.jobs.get_mut(id).unwrap();
        if record.token == token {
            record.leased_until_ms = None;
            self.schedulers[scheduler].tokens.remove(id);
        }
    }
}
