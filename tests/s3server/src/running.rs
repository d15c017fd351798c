//! The life of a server: a thread with its own runtime, from the first connection to the drop of the handle.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::service::S3Service;
use s3s::{Body, HttpRequest, HttpResponse};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::faults::{Fault, Faults, Request};
use crate::google_objects::GoogleObjects;
use crate::objects::Unconditional;
use crate::proxy::hand_on;

/// Who answers the requests.
#[derive(Clone)]
pub(crate) enum Backend {
    S3(S3Service),
    Google(Arc<GoogleObjects>),
    Proxy(SocketAddr),
}

/// A running server; it stops when dropped.
///
/// It has its own thread and runtime, so it serves synchronous tests, and tests that block their runtime, as well.
#[derive(Debug)]
pub(crate) struct Running {
    address: SocketAddr,
    pub(crate) faults: Arc<Faults>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn start(backend: Backend) -> Self {
        let faults = Arc::new(Faults::default());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a local port is free");
        listener.set_nonblocking(true).expect("a socket can be non-blocking");
        let address = listener.local_addr().expect("a bound socket has an address");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime can be built");
        let (stop, stopped) = oneshot::channel();
        let seen = Arc::clone(&faults);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("the listener is valid");
                tokio::select! {
                    () = accept(listener, backend, seen) => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_background();
        });
        Self { address, faults, stop: Some(stop), thread: Some(thread) }
    }

    /// `http://127.0.0.1:port`.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The thread is gone already if nobody listens.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Serves connections until dropped, which closes them all.
async fn accept(listener: TcpListener, backend: Backend, faults: Arc<Faults>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        // An answer in two packets must not wait for the client's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        let (backend, faults) = (backend.clone(), Arc::clone(&faults));
        connections.spawn(async move {
            let serve = service_fn(move |request| answer(backend.clone(), Arc::clone(&faults), request));
            let mut connection = http1::Builder::new();
            // A connection that breaks is the client's business, or our own fault injection.
            let _ = connection.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), serve).await;
        });
    }
}

/// One request; an error closes the connection without an answer.
async fn answer(
    backend: Backend,
    faults: Arc<Faults>,
    mut request: hyper::Request<Incoming>,
) -> Result<HttpResponse, std::io::Error> {
    let seen = Request {
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        range: request.headers().get("range").and_then(|range| range.to_str().ok()).map(str::to_owned),
    };
    let fault = faults.meet(seen);
    if fault == Some(Fault::IgnoreConditions) {
        request.extensions_mut().insert(Unconditional);
    }
    match fault {
        Some(Fault::Unavailable) => Ok(error(503, "SlowDown", "Please reduce your request rate.")),
        Some(Fault::Denied) => Ok(error(403, "AccessDenied", "Access Denied")),
        None | Some(Fault::IgnoreConditions | Fault::DropAnswer | Fault::UnavailableAfter) => {
            let request: HttpRequest = request.map(Body::from);
            let answer = match backend {
                Backend::S3(service) => service
                    .call(request)
                    .await
                    .map_err(|error| std::io::Error::other(format!("{error:?}")))?,
                Backend::Google(objects) => objects.call(request).await?,
                Backend::Proxy(upstream) => hand_on(upstream, request).await?,
            };
            match fault {
                Some(Fault::DropAnswer) => Err(std::io::Error::other("the answer is dropped on demand")),
                Some(Fault::UnavailableAfter) => {
                    Ok(error(503, "SlowDown", "Please reduce your request rate."))
                }
                _ => Ok(answer),
            }
        }
    }
}

pub(crate) fn error(status: u16, code: &str, message: &str) -> HttpResponse {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    let answer = hyper::Response::builder().status(status).header("content-type", "application/xml");
    answer.body(Body::from(body)).expect("a fixed answer is valid")
}
