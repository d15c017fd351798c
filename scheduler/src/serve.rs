//! Puts a scheduler together and runs it until it is told to end.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backsight_engine::MESSAGE_BYTES_MAX;
use backsight_proto::control::control_server::ControlServer;
use ballista_core::serde::protobuf::scheduler_grpc_server::SchedulerGrpcServer;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tonic::service::Routes;

use crate::driver::{Metrics, Shared, dispatch, now, spines_of};
use crate::error::SchedulerError;
use crate::jobs::Job;
use crate::options::SchedulerOptions;
use crate::query::{Gateway, Host, reap};
use crate::service::{ControlService, Spool, abort_uploads, routes};
use crate::store::open;

/// How often old spines are looked for.
const CLEAN_EVERY: Duration = Duration::from_secs(600);

/// Runs a scheduler until `shutdown` completes. `ready` is called once its port is open.
///
/// Jobs that run then are left where they stand: this scheduler, started again, or another one goes on with them.
///
/// # Errors
/// Whatever keeps it from starting, and a part of it that ends by itself.
pub async fn serve(
    mut options: SchedulerOptions,
    shutdown: impl Future<Output = ()> + Send,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), SchedulerError> {
    let bind = options.bind;
    let refused = |source| SchedulerError::Bind { address: bind.to_string(), source };
    let listener = TcpListener::bind(options.bind).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    if let Some(host) = options.scheduler_id.strip_suffix(":0").filter(|_| options.bind.port() == 0) {
        // Two schedulers on free ports are not one.
        options.scheduler_id = format!("{host}:{}", address.port());
    }
    let store = open(&options.state_url).await?;
    let host = Host::start(
        &options.stores,
        options.memory_limit_bytes,
        &address.ip().to_string(),
        address.port(),
        options.executor_timeout,
    )
    .await?;
    let metrics = Metrics::new().map_err(|e| SchedulerError::Engine { detail: e.to_string() })?;
    let (reaper, given_up) = mpsc::unbounded_channel();
    let options = Arc::new(options);
    let shared = Shared::new(Arc::clone(&options), store, host.clone(), reaper, metrics);
    let (uploads, uploads_given_up) = mpsc::unbounded_channel();
    let spool = Spool {
        stores: options.stores.clone(),
        root: options.spool.clone(),
        bytes_max: options.spine_upload_bytes_max,
        kept: options.spine_kept,
        given_up: uploads,
    };
    let is_leaving = Arc::new(AtomicBool::new(false));
    let (leave, leaves) = watch::channel(false);

    let mut parts: JoinSet<(&'static str, String)> = JoinSet::new();
    let gateway = Gateway { server: host.server.clone(), jobs: host.jobs.clone() };
    let control = ControlService { shared: shared.clone(), spool: spool.clone() };
    let grpc = Routes::new(
        SchedulerGrpcServer::new(gateway)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX),
    )
    .add_service(
        ControlServer::new(control)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX),
    );
    let app = grpc.into_axum_router().merge(routes(shared.clone(), Arc::clone(&is_leaving)));
    parts.spawn(async move {
        let served = axum::serve(listener, app).await;
        ("the control plane", served.map_or_else(|error| error.to_string(), |()| "it returned".to_owned()))
    });
    let timeout = options.executor_timeout;
    parts.spawn(async move {
        Host::watch_executors(host.jobs.clone(), timeout).await;
        ("the watch on executors", "it returned".to_owned())
    });
    let for_reaper = shared.host.clone();
    parts.spawn(async move {
        reap(for_reaper, given_up).await;
        ("the reaper of queries", "it returned".to_owned())
    });
    parts.spawn(async move {
        abort_uploads(uploads_given_up).await;
        ("the aborting of uploads", "it returned".to_owned())
    });
    let for_cleaner = shared.clone();
    parts.spawn(async move {
        clean_spines(for_cleaner, spool).await;
        ("the cleaner of spines", "it returned".to_owned())
    });
    let mut dispatcher = JoinSet::new();
    dispatcher.spawn(dispatch(shared.clone(), leaves));
    tracing::info!(%address, scheduler_id = options.scheduler_id, "scheduler is up");
    ready(address);

    tokio::select! {
        ended = parts.join_next() => return Err(part_ended(ended)),
        _ = dispatcher.join_next() => return Err(SchedulerError::Ended {
            part: "the dispatcher", detail: "it returned".to_owned(),
        }),
        () = shutdown => {}
    }
    is_leaving.store(true, Ordering::Relaxed);
    tracing::info!("scheduler leaves; commits that are under way are finished");
    leave.send_replace(true);
    let left = async { while dispatcher.join_next().await.is_some() {} };
    if tokio::time::timeout(options.drain_timeout, left).await.is_err() {
        tracing::warn!("a commit is still under way; it is finished when the job is taken up again");
    }
    dispatcher.shutdown().await;
    parts.shutdown().await;
    shared.store.close().await;
    Ok(())
}

/// Removes spines that no unfinished job uses and that are old.
async fn clean_spines(shared: Shared, spool: Spool) {
    loop {
        tokio::time::sleep(CLEAN_EVERY).await;
        let Ok(unfinished) = shared.store.unfinished().await else { continue };
        let used: Vec<String> = unfinished
            .iter()
            .filter_map(|stored| Job::from_json(&stored.row.record).ok())
            .flat_map(|job| spines_of(&job).map(str::to_owned).collect::<Vec<_>>())
            .collect();
        spool.clean(&used, now()).await;
    }
}

fn part_ended(ended: Option<Result<(&'static str, String), tokio::task::JoinError>>) -> SchedulerError {
    match ended {
        Some(Ok((part, detail))) => SchedulerError::Ended { part, detail },
        Some(Err(error)) => {
            SchedulerError::Ended { part: "a part of the scheduler", detail: error.to_string() }
        }
        None => SchedulerError::Ended { part: "the scheduler", detail: "it has no parts".to_owned() },
    }
}
