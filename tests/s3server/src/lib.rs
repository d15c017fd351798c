//! Object stores inside the test process, on a local port, with atomic conditional writes and faults on demand: S3 over
//! signed HTTP, and the part of Google Cloud Storage that is used. Before servers elsewhere a proxy makes the faults.
//!
//! Objects of S3 are files below a folder, `<folder>/<bucket>/<key>`: files that a test puts there before a server has
//! written the same key are served like uploaded ones. Keys longer than about 150 bytes do not fit into the names of
//! the files that hold their ETags.
//!
//! ```no_run
//! let folder = std::env::temp_dir().join("s3");
//! let server = backsight_s3_server::S3Server::start(&folder);
//! server.create_bucket("features");
//! let environment = server.environment(); // AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, …
//! ```

#![expect(clippy::expect_used, reason = "test support: what cannot start must fail the test")]

mod faults;
mod google;
mod google_objects;
mod objects;
mod proxy;
mod running;
mod server;

pub use faults::{Fault, Faults, Request, Rule};
pub use google::GoogleServer;
pub use proxy::FaultProxy;
pub use server::{ACCESS_KEY, S3Server, SECRET_KEY};
