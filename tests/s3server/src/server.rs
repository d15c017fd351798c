//! The server's life: a thread with its own runtime, from the first connection to the drop of the handle.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, HttpRequest, HttpResponse};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::faults::{Fault, Faults, Request, Rule};
use crate::objects::{Objects, Unconditional};

/// The access key that every server accepts.
pub const ACCESS_KEY: &str = "backsight-test-key";

/// The secret that belongs to [`ACCESS_KEY`].
pub const SECRET_KEY: &str = "backsight-test-secret-0123456789";

/// A running server; it stops when dropped.
///
/// It has its own thread and runtime, so it serves synchronous tests, and tests that block their runtime, as well.
#[derive(Debug)]
pub struct S3Server {
    address: SocketAddr,
    folder: PathBuf,
    faults: Arc<Faults>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl S3Server {
    /// Serves the buckets that are folders in `folder`, which is created if need be.
    pub fn start(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).expect("the server's folder can be created");
        let folder = folder.canonicalize().expect("the server's folder exists");
        let faults = Arc::new(Faults::default());
        let mut builder = S3ServiceBuilder::new(Objects::new(&folder));
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();
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
                    () = accept(listener, service, seen) => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_background();
        });
        Self { address, folder, faults, stop: Some(stop), thread: Some(thread) }
    }

    /// `http://127.0.0.1:port`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What the environment of a process that uses this server holds.
    pub fn environment(&self) -> Vec<(String, String)> {
        let settings = [
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ENDPOINT_URL", self.endpoint()),
        ];
        settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Creates an empty bucket; one that exists stays.
    pub fn create_bucket(&self, name: &str) {
        std::fs::create_dir_all(self.folder.join(name)).expect("a bucket can be created");
    }

    /// The folder that holds the buckets.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Adds a rule; the first that picks a request decides.
    pub fn inject(&self, rule: Rule) {
        self.faults.add(rule);
    }

    /// Carries out the next object PUT, and closes its connection without an answer.
    pub fn drop_answer_of_next_put(&self) {
        self.inject(Rule::new(Fault::DropAnswer).method("PUT").times(1));
    }

    /// Answers the next `count` requests with 503.
    pub fn answer_503(&self, count: usize) {
        self.inject(Rule::new(Fault::Unavailable).times(count));
    }

    /// Answers every request to `bucket` with 403.
    pub fn deny_bucket(&self, bucket: &str) {
        self.inject(Rule::new(Fault::Denied).bucket(bucket));
    }

    /// From now on all puts are carried out whatever their conditions say, as some stores do.
    pub fn ignore_conditions(&self) {
        self.inject(Rule::new(Fault::IgnoreConditions).method("PUT"));
    }

    /// Removes all rules.
    pub fn heal(&self) {
        self.faults.clear();
    }

    /// How many multipart uploads are neither completed nor aborted.
    pub fn pending_uploads(&self) -> usize {
        let files = std::fs::read_dir(&self.folder).expect("the server's folder can be listed");
        let names = files.flatten().map(|file| file.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(".upload-") && name.ends_with(".json")).count()
    }

    /// Every request so far, in order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        self.faults.requests()
    }
}

impl Drop for S3Server {
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
async fn accept(listener: TcpListener, service: S3Service, faults: Arc<Faults>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        // An answer in two packets must not wait for the client's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        let (service, faults) = (service.clone(), Arc::clone(&faults));
        connections.spawn(async move {
            let serve = service_fn(move |request| answer(service.clone(), Arc::clone(&faults), request));
            let mut connection = http1::Builder::new();
            // A connection that breaks is the client's business, or our own fault injection.
            let _ = connection.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), serve).await;
        });
    }
}

/// One request; an error closes the connection without an answer.
async fn answer(
    service: S3Service,
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
            let answer =
                service.call(request).await.map_err(|error| std::io::Error::other(format!("{error:?}")))?;
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

fn error(status: u16, code: &str, message: &str) -> HttpResponse {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    let answer = hyper::Response::builder().status(status).header("content-type", "application/xml");
    answer.body(Body::from(body)).expect("a fixed answer is valid")
}
