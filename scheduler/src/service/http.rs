//! Health, readiness and metrics, on the scheduler's own port.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;

use crate::driver::Shared;

/// `/healthz`: the process answers. `/readyz`: it takes jobs and enough executors are there. `/metrics`.
pub(crate) fn routes(shared: Shared, is_leaving: Arc<AtomicBool>) -> Router {
    let for_metrics = shared.clone();
    let ready = move || {
        let (shared, is_leaving) = (shared.clone(), Arc::clone(&is_leaving));
        async move {
            let there = shared.host.jobs.executors(Instant::now()).len();
            let wanted = shared.options.executors_ready_min;
            if is_leaving.load(Ordering::Relaxed) {
                return (StatusCode::SERVICE_UNAVAILABLE, "this scheduler leaves\n".to_owned());
            }
            if there < wanted {
                let text = format!("{there} of {wanted} executors are there\n");
                return (StatusCode::SERVICE_UNAVAILABLE, text);
            }
            if let Err(error) = shared.store.count().await {
                return (StatusCode::SERVICE_UNAVAILABLE, format!("jobs cannot be kept: {error}\n"));
            }
            (StatusCode::OK, "ready\n".to_owned())
        }
    };
    let metrics = move || {
        let shared = for_metrics.clone();
        async move {
            let executors = shared.host.jobs.executors(Instant::now()).len();
            shared.metrics.text(executors).map_err(|e| (StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))
        }
    };
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
}
