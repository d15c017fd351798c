//! An S3 server inside the test process: signed HTTP on a local port, atomic conditional writes, faults on demand.
//!
//! Objects are files below a folder, `<folder>/<bucket>/<key>`: files that a test puts there before a server has
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
mod objects;
mod server;

pub use faults::{Fault, Request, Rule};
pub use server::{ACCESS_KEY, S3Server, SECRET_KEY};
