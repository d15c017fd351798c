//! What an executor tells its operators: health, readiness, Prometheus metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use prometheus::{Encoder, IntCounter, IntGauge, Registry, TextEncoder};

/// The measured values of one executor.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) tasks_running: IntGauge,
    pub(crate) jobs_known: IntGauge,
    pub(crate) work_dir_bytes: IntGauge,
    pub(crate) memory_reserved_bytes: IntGauge,
    pub(crate) memory_limit_bytes: IntGauge,
    pub(crate) jobs_ended: IntCounter,
    pub(crate) syncs_failed: IntCounter,
    ready: Arc<AtomicBool>,
}

impl Metrics {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let counter = |name: &str, help: &str| -> Result<IntCounter, prometheus::Error> {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        Ok(Self {
            tasks_running: gauge("backsight_executor_tasks_running", "Tasks that run now")?,
            jobs_known: gauge("backsight_executor_jobs_known", "Query jobs with tasks or files here")?,
            work_dir_bytes: gauge("backsight_executor_work_dir_bytes", "Bytes of shuffle and spill files")?,
            memory_reserved_bytes: gauge(
                "backsight_executor_memory_reserved_bytes",
                "Bytes that operators hold",
            )?,
            memory_limit_bytes: gauge("backsight_executor_memory_limit_bytes", "Bytes that they may hold")?,
            jobs_ended: counter(
                "backsight_executor_jobs_ended_total",
                "Query jobs that have ended here, cancelled or not",
            )?,
            syncs_failed: counter(
                "backsight_executor_syncs_failed_total",
                "Calls to the scheduler that failed",
            )?,
            registry,
            ready: Arc::new(AtomicBool::new(false)),
        })
    }

    /// Whether the scheduler answers and takes this executor for work.
    pub(crate) fn set_ready(&self, is_ready: bool) {
        self.ready.store(is_ready, Ordering::Relaxed);
    }

    fn text(&self) -> Result<String, prometheus::Error> {
        let mut buffer = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer).into_owned())
    }

    pub(crate) fn routes(&self) -> Router {
        let (ready, metrics) = (Arc::clone(&self.ready), self.clone());
        Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route(
                "/readyz",
                get(move || async move {
                    if ready.load(Ordering::Relaxed) {
                        (StatusCode::OK, "ready\n")
                    } else {
                        (
                            StatusCode::SERVICE_UNAVAILABLE,
                            "the scheduler has not been reached, or this executor leaves\n",
                        )
                    }
                }),
            )
            .route(
                "/metrics",
                get(move || async move {
                    metrics.text().map_err(|e| (StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))
                }),
            )
    }
}
