//! What schedulers do: lease jobs, admit them, take events in and persist, crash and come back.

use super::super::admission::{AdmissionLimits, Waiting, admit};
use super::super::machine::{Event, on_event};
use super::super::model::{Job, JobId, JobState};
use super::super::resubmit::{Resubmission, resubmit};
use super::world::{LEASE_MS, Scheduler, Todo, Work, World};

impl World {
    /// Renews leases, takes over jobs that nobody holds, admits queued ones, passes wishes to cancel on.
    pub(super) fn look_after_jobs(&mut self, scheduler: usize) {
        let ids: Vec<JobId> = self.jobs.keys().cloned().collect();
        for id in &ids {
            let record = self.jobs.get_mut(id).unwrap();
            let held = self.schedulers[scheduler].tokens.get(id) == Some(&record.token);
            if held && record.leased_until_ms.is_some_and(|until_ms| self.now_ms < until_ms) {
                record.leased_until_ms = Some(self.now_ms + LEASE_MS);
                if record.is_cancel_wanted && !record.job.is_cancel_requested {
                    self.schedulers[scheduler].inbox.push((id.clone(), Event::CancelRequested));
                }
            } else if !record.job.state.is_finished()
                && (record.job.state != JobState::Queued || record.is_cancel_wanted)
                && record.leased_until_ms.is_none_or(|until_ms| until_ms <= self.now_ms)
            {
                self.lease(scheduler, id);
                self.schedulers[scheduler].inbox.push((id.clone(), Event::Recovered));
            }
        }
        self.admit(scheduler);
    }

    fn admit(&mut self, scheduler: usize) {
        let waits = |job: &Job| Waiting {
            id: job.id.clone(),
            project: job.project.clone(),
            priority: job.priority,
            submitted_at_ms: job.submitted_at_ms,
        };
        let jobs = || self.jobs.values().map(|record| &record.job);
        let queued: Vec<Waiting> = jobs().filter(|job| job.state == JobState::Queued).map(waits).collect();
        let is_running = |job: &&Job| !job.state.is_finished() && job.state != JobState::Queued;
        let running: Vec<String> = jobs().filter(is_running).map(|job| job.project.clone()).collect();
        let limits = AdmissionLimits { jobs_running_max: 2, ..AdmissionLimits::default() };
        for id in admit(&queued, &running, &limits) {
            let is_free = self.jobs[&id].leased_until_ms.is_none_or(|until_ms| until_ms <= self.now_ms);
            let is_own = self.schedulers[scheduler].tokens.get(&id) == Some(&self.jobs[&id].token);
            if is_free {
                self.lease(scheduler, &id);
            }
            if is_free || is_own {
                self.schedulers[scheduler].inbox.push((id, Event::Admitted));
            }
        }
    }

    fn lease(&mut self, scheduler: usize, id: &JobId) {
        let record = self.jobs.get_mut(id).unwrap();
        record.token += 1;
        record.leased_until_ms = Some(self.now_ms + LEASE_MS);
        self.schedulers[scheduler].tokens.insert(id.clone(), record.token);
        self.checks.trace(|| format!("scheduler {scheduler} leases {id}"));
    }

    /// Takes one event in: the job is persisted, and what is to do is only written on the list.
    pub(super) fn take_event(&mut self, scheduler: usize) {
        let Some((id, event)) = self.dice.take(&mut self.schedulers[scheduler].inbox) else {
            return;
        };
        let record = self.jobs.get_mut(&id).unwrap();
        if self.schedulers[scheduler].tokens.get(&id) != Some(&record.token) {
            // Persisting fails: somebody else holds the job now.
            self.schedulers[scheduler].tokens.remove(&id);
            self.checks.seen.fenced += 1;
            return;
        }
        let before = record.job.clone();
        let actions = on_event(&mut record.job, &self.options, self.now_ms, event.clone());
        if self.dice.percent(2) {
            let loaded = Job::from_json(&record.job.to_json().unwrap()).unwrap();
            self.checks.require(loaded == record.job, || "a job is not what was stored".to_owned());
        }
        let (job, token) = (record.job.clone(), record.token);
        self.checks.trace(|| format!("{}: {id} {event:?} -> {actions:?} {:?}", self.now_ms, job.state));
        self.checks.after_event(&before, &event, &job, &actions, &self.options, &self.outputs[&id]);
        self.schedulers[scheduler].todo.extend(actions.into_iter().map(|action| Todo {
            job: job.clone(),
            token,
            work: Work::Perform(action),
        }));
    }

    pub(super) fn deliver(&mut self) {
        let now_ms = self.now_ms;
        let due: Vec<usize> =
            (0..self.letters.len()).filter(|place| self.letters[*place].due_ms <= now_ms).collect();
        if due.is_empty() {
            return;
        }
        let letter = self.letters.swap_remove(due[self.dice.roll(due.len())]);
        let scheduler = &mut self.schedulers[letter.scheduler];
        if scheduler.is_up && scheduler.life == letter.life {
            scheduler.inbox.push((letter.id, letter.event));
        }
    }

    pub(super) fn wake(&mut self, scheduler: usize) {
        let now_ms = self.now_ms;
        let Scheduler { wakes, inbox, .. } = &mut self.schedulers[scheduler];
        wakes.retain(|id, at_ms| {
            let is_due = *at_ms <= now_ms;
            if is_due {
                inbox.push((id.clone(), Event::Tick));
            }
            !is_due
        });
    }

    /// Everything in memory is gone; what is stored and what executors do stays.
    pub(super) fn crash(&mut self, scheduler: usize) {
        self.checks.trace(|| format!("scheduler {scheduler} crashes"));
        self.checks.seen.crashes += 1;
        let life = self.schedulers[scheduler].life + 1;
        self.schedulers[scheduler] = Scheduler { life, ..Scheduler::default() };
    }

    /// What users do.
    pub(super) fn wish(&mut self) {
        let id = self.any_id();
        let now_ms = self.now_ms;
        if self.dice.percent(30) {
            self.jobs.get_mut(&id).unwrap().is_cancel_wanted = true;
        } else if self.dice.percent(30) {
            self.outputs.get_mut(&id).unwrap().sources += 1;
        } else {
            let record = self.jobs.get_mut(&id).unwrap();
            let answer = resubmit(&record.job, Self::submission_of(&id), &self.options, now_ms).unwrap();
            if let Resubmission::Queued(again) = answer {
                // Storing it takes the job from whoever still holds it.
                record.token += 1;
                record.leased_until_ms = None;
                record.is_cancel_wanted = false;
                record.job = *again;
                self.checks.seen.resubmitted += 1;
                self.checks.trace(|| format!("{id} is submitted again"));
            }
        }
    }
}
