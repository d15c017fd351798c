//! Runs seeds: a time of faults, then a time without, in which every job has to end.

use std::collections::BTreeMap;

use super::world::{SCHEDULERS, World};

const SEEDS: u64 = 800;
const STEPS_WITH_FAULTS: usize = 2000;
/// Far more than the quiet time needs.
const STEPS_WITHOUT_MAX: usize = 20_000;

impl World {
    fn step(&mut self) {
        let scheduler = self.dice.roll(SCHEDULERS);
        if self.fault(1) {
            self.crash(scheduler);
        }
        if self.has_faults && self.dice.roll(120) == 0 {
            self.schedulers[scheduler].paused_until_ms = self.now_ms + i64::from(self.dice.count(500, 6000));
        }
        if self.has_faults && self.dice.roll(150) == 0 {
            self.wish();
        }
        let is_paused = self.now_ms < self.schedulers[scheduler].paused_until_ms;
        if !self.schedulers[scheduler].is_up {
            let returns = !self.has_faults || self.dice.percent(5);
            self.schedulers[scheduler].is_up = returns;
            self.now_ms += 20;
            return;
        }
        match self.dice.roll(10) {
            0 | 1 => self.deliver(),
            2 | 3 if !is_paused => self.take_event(scheduler),
            4 | 5 if !is_paused => self.perform(scheduler),
            6 if !is_paused => self.look_after_jobs(scheduler),
            7 if !is_paused => self.wake(scheduler),
            _ => self.now_ms += i64::from(self.dice.count(1, 80)),
        }
    }

    fn is_over(&self) -> bool {
        self.jobs.values().all(|record| record.job.state.is_finished())
    }

    /// The problem that this seed finds.
    fn run(&mut self) -> Option<String> {
        for _ in 0..STEPS_WITH_FAULTS {
            self.step();
            if self.checks.problem.is_some() {
                return self.checks.problem.clone();
            }
        }
        self.has_faults = false;
        for _ in 0..STEPS_WITHOUT_MAX {
            if self.checks.problem.is_some() || self.is_over() {
                return self.checks.problem.clone();
            }
            self.step();
        }
        let waits = self.jobs.values().filter(|record| !record.job.state.is_finished());
        Some(format!("never ended: {:?}", waits.map(|record| &record.job).collect::<Vec<_>>()))
    }
}

#[test]
fn every_job_ends_with_one_dataset_or_none_whatever_goes_wrong() {
    let mut seen: BTreeMap<&'static str, u32> = BTreeMap::new();
    for seed in 0..SEEDS {
        let mut world = World::new(seed, false);
        if world.run().is_some() {
            let mut again = World::new(seed, true);
            let problem = again.run().unwrap_or_default();
            let lines = &again.checks.lines;
            let tail = lines[lines.len().saturating_sub(60)..].join("\n");
            panic!("seed {seed}: {problem}\n{:?}\n{tail}", again.options);
        }
        for (what, count) in world.checks.seen.counts() {
            *seen.entry(what).or_insert(0) += count;
        }
    }
    println!("{SEEDS} seeds: {seen:?}");
    let rare: Vec<_> = seen.iter().filter(|(_, count)| **count < 3).collect();
    assert!(rare.is_empty(), "what hardly happens is hardly tried: {rare:?}");
}
