//! Which shard runs when: taking a plan, starting, finishing and repeating shards.

use serde_json::Value;

use super::machine::{Action, Step};
use super::model::{Job, JobFailure, JobState, Shard, ShardPlan, ShardState};

impl Step<'_> {
    /// Goes on with what is done if the plan is as it was, and else from the start.
    pub(super) fn take_plan(&mut self, registry_version: String, plans: Vec<ShardPlan>) {
        // Planning looks for a commit to finish first, so there is none.
        self.job.is_commit_durable = false;
        let count = plans.len();
        if is_same_plan(self.job, &registry_version, &plans) {
            let done = self.job.shards_done();
            let are = if count == 1 { "shard is" } else { "shards are" };
            self.note(&format!("planned as before, {done} of {count} {are} done"));
        } else {
            if !self.job.shards.is_empty() {
                self.note("registry or sources are not as they were planned with: all shards start over");
            }
            forget_shards(self.job);
            self.job.shards = new_shards(plans, self.job.shard_attempts_before, self.now_ms);
            let name = if count == 1 { "shard" } else { "shards" };
            self.note(&format!("planned, {count} {name}"));
        }
        self.job.registry_version = Some(registry_version);
        self.job.state = JobState::Running;
        self.go_on();
    }

    pub(super) fn shard_succeeded(&mut self, number: u32, attempt: u32, result: Value) {
        let Some(shard) = running_shard(self.job, number, attempt) else {
            return;
        };
        shard.state = ShardState::Done { attempt, result };
        self.job.interruptions = 0;
        self.go_on();
    }

    pub(super) fn shard_failed(&mut self, number: u32, attempt: u32, failure: JobFailure) {
        let limit = self.options.shard_attempts_max.max(1);
        let Some(shard) = running_shard(self.job, number, attempt) else {
            return;
        };
        shard.failures = shard.failures.saturating_add(1);
        shard.last_failure = Some(failure.clone());
        let failures = shard.failures;
        let wait_ms = self.options.backoff_ms(failures);
        shard.state = ShardState::Pending { not_before_ms: self.now_ms.saturating_add(wait_ms) };
        if failure.is_retryable && failures < limit {
            let why = &failure.message;
            self.note(&format!("shard {number}, attempt {attempt} failed, again in {wait_ms} ms: {why}"));
            self.start_shards();
        } else {
            let message = format!(
                "shard {number} (`{}`), attempt {attempt}, failure {failures} of at most {limit}: {}",
                shard.plan.label, failure.message
            );
            self.fail(JobFailure { message, ..failure });
        }
    }

    /// Commits when all is done, and else keeps as many shards running as may.
    fn go_on(&mut self) {
        if self.job.shards_done() == self.job.shards.len() {
            self.begin_commit();
        } else {
            self.start_shards();
        }
    }

    /// Starts shards whose time has come, the lowest numbers first, and asks to be woken for the next.
    pub(super) fn start_shards(&mut self) {
        let at_once = usize::try_from(self.options.shards_at_once.max(1)).unwrap_or(usize::MAX);
        let mut free = at_once.saturating_sub(self.job.shards_running());
        let latest_ms = self.latest_wake_ms();
        let mut wake_ms = None;
        for shard in &mut self.job.shards {
            if free == 0 {
                break;
            }
            let ShardState::Pending { not_before_ms } = &mut shard.state else {
                continue;
            };
            if *not_before_ms <= self.now_ms {
                shard.attempts = shard.attempts.saturating_add(1);
                shard.state = ShardState::Running { attempt: shard.attempts };
                self.actions.push(Action::RunShard { shard: shard.number, attempt: shard.attempts });
                free -= 1;
            } else {
                *not_before_ms = latest_ms.min(*not_before_ms);
                wake_ms = Some(wake_ms.map_or(*not_before_ms, |wake_ms: i64| wake_ms.min(*not_before_ms)));
            }
        }
        // With no place free now, the end of a running shard looks again.
        if let Some(at_ms) = wake_ms.filter(|_| free > 0) {
            self.actions.push(Action::WakeAt { at_ms });
        }
    }

    /// Nobody knows what became of running attempts: others take their place, and their results no longer count.
    pub(super) fn put_back_shards(&mut self) {
        for shard in &mut self.job.shards {
            if matches!(shard.state, ShardState::Running { .. } | ShardState::Pending { .. }) {
                shard.state = ShardState::Pending { not_before_ms: self.now_ms };
            }
        }
    }
}

/// Drops the shards, but not the numbers of their attempts.
pub(super) fn forget_shards(job: &mut Job) {
    let used = job.shards.iter().map(|shard| shard.attempts).max().unwrap_or(0);
    job.shard_attempts_before = job.shard_attempts_before.max(used);
    job.shards.clear();
}

/// Rows of two registries or of changed sources do not belong into one dataset.
fn is_same_plan(job: &Job, registry_version: &str, plans: &[ShardPlan]) -> bool {
    job.registry_version.as_deref() == Some(registry_version)
        && !job.shards.is_empty()
        && job.shards.iter().map(|shard| &shard.plan).eq(plans)
}

fn new_shards(plans: Vec<ShardPlan>, attempts: u32, now_ms: i64) -> Vec<Shard> {
    let shard = |(number, plan)| Shard {
        number,
        plan,
        state: ShardState::Pending { not_before_ms: now_ms },
        attempts,
        failures: 0,
        last_failure: None,
    };
    (0..).zip(plans).map(shard).collect()
}

/// The shard of this number if exactly this attempt of it is waited for.
fn running_shard(job: &mut Job, number: u32, attempt: u32) -> Option<&mut Shard> {
    let shard = job.shards.iter_mut().find(|shard| shard.number == number)?;
    (shard.state == ShardState::Running { attempt }).then_some(shard)
}
