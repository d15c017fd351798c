//! Reaching bytes: where they are, who may read them, how a small object is changed without losing an update.
//!
//! A [`Location`] says where bytes are, [`StorageOptions`] what the user configured, and [`Stores`] turns both into
//! clients: one for each endpoint and bucket. Everything that fails is a [`StorageError`] that names the location.
//!
//! The room knows nothing of features, registries or Parquet, and reads no environment variable by itself.

mod allowed;
mod azure;
mod azure_connection;
mod classify;
mod client;
mod error;
mod expand;
mod google;
mod listing;
mod local;
mod location;
mod object;
mod options;
mod pattern;
mod place;
mod probe;
mod profile;
mod s3;
mod stores;
mod variables;

pub use error::{Cause, StorageError};
pub use listing::FileEntry;
pub use location::Location;
pub use object::{Version, Versioned};
pub use options::{S3Options, StorageOptions};
pub use place::{OBJECT_STORE_SCHEMES, holds_credentials};
pub use stores::Stores;
pub use variables::{StorageVariable, VARIABLES, is_read, is_shown};
