//! What a scheduler measures of its jobs.

use prometheus::{Encoder, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

use crate::jobs::JobState;

/// The measured values of one scheduler.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    registry: Registry,
    jobs_queued: IntGauge,
    jobs_running: IntGauge,
    executors: IntGauge,
    transitions: IntCounterVec,
}

impl Metrics {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let transitions = IntCounterVec::new(
            Opts::new("backsight_scheduler_job_transitions_total", "Jobs that have entered a state"),
            &["state"],
        )?;
        registry.register(Box::new(transitions.clone()))?;
        Ok(Self {
            jobs_queued: gauge("backsight_scheduler_jobs_queued", "Jobs that wait")?,
            jobs_running: gauge("backsight_scheduler_jobs_running", "Jobs that have begun and not ended")?,
            executors: gauge("backsight_scheduler_executors", "Executors that were heard of in time")?,
            transitions,
            registry,
        })
    }

    pub(crate) fn set_jobs(&self, queued: usize, running: usize) {
        self.jobs_queued.set(i64::try_from(queued).unwrap_or(i64::MAX));
        self.jobs_running.set(i64::try_from(running).unwrap_or(i64::MAX));
    }

    pub(crate) fn entered(&self, state: JobState) {
        self.transitions.with_label_values(&[state.name()]).inc();
    }

    /// All values in Prometheus' text format.
    pub(crate) fn text(&self, executors: usize) -> Result<String, prometheus::Error> {
        self.executors.set(i64::try_from(executors).unwrap_or(i64::MAX));
        let mut buffer = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer).into_owned())
    }
}
