//! All stores of a process: one client for each endpoint and bucket, built when first needed.

use std::any::{Any, TypeId};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use object_store::local::LocalFileSystem;
use object_store::multipart::MultipartStore;
use object_store::{ObjectStore, path::Path as ObjectPath};
use url::Url;

use crate::allowed::{AllowedFiles, AllowedRoots};
use crate::azure::AzureSettings;
use crate::google::{GoogleSettings, GoogleUploads};
use crate::place::Place;
use crate::profile::Profile;
use crate::s3::S3Settings;
use crate::{Location, StorageError, StorageOptions};

/// All stores of a process. Cheap to clone; clones share their clients.
#[derive(Clone)]
pub struct Stores {
    inner: Arc<Inner>,
}

struct Inner {
    options: StorageOptions,
    allowed: AllowedRoots,
    local: Arc<dyn ObjectStore>,
    profile: OnceLock<Profile>,
    /// By the URL that names the store.
    buckets: Mutex<HashMap<Url, Bucket>>,
    /// Stores that were found to honour conditions.
    proved: Mutex<HashSet<Url>>,
    /// What others keep beside the stores, by its type.
    extensions: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

/// One client, as its users see it.
#[derive(Clone)]
struct Bucket {
    objects: Arc<dyn ObjectStore>,
    uploads: Arc<dyn MultipartStore>,
}

impl Bucket {
    fn new<T: ObjectStore + MultipartStore>(client: T) -> Self {
        let client = Arc::new(client);
        Self { objects: Arc::clone(&client) as _, uploads: client }
    }
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores").field("options", &self.inner.options).finish_non_exhaustive()
    }
}

impl Stores {
    /// Keeps the options; nothing is opened or read yet.
    pub fn new(options: StorageOptions) -> Self {
        let allowed = AllowedRoots::new(options.allowed_local_roots.clone());
        let local: Arc<dyn ObjectStore> = match allowed.is_everything() {
            true => Arc::new(LocalFileSystem::new()),
            false => Arc::new(AllowedFiles::new(allowed.clone())),
        };
        let inner = Inner {
            options,
            allowed,
            local,
            profile: OnceLock::new(),
            buckets: Mutex::default(),
            proved: Mutex::default(),
            extensions: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The options these stores were made with.
    pub fn options(&self) -> &StorageOptions {
        &self.inner.options
    }

    /// What a user of these stores keeps about what is in them, for as long as they live; all clones share it.
    pub fn extension<T: Any + Default + Send + Sync>(&self) -> Arc<T> {
        let mut extensions = self.inner.extensions.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = extensions.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(T::default()));
        // What is kept by a type is of that type.
        Arc::clone(kept).downcast().unwrap_or_default()
    }

    /// The store that `location` is in; use [`Location::path`] inside it.
    pub fn open(&self, location: &Location) -> Result<Arc<dyn ObjectStore>, StorageError> {
        if location.is_local() {
            self.check_allowed(location)?;
            return Ok(Arc::clone(&self.inner.local));
        }
        Ok(self.bucket(location)?.objects)
    }

    /// The store that [`Location::store_url`] named.
    pub fn open_url(&self, store_url: &Url) -> Result<Arc<dyn ObjectStore>, StorageError> {
        let location = Location::from_store(store_url, &ObjectPath::ROOT)?;
        // The root of the file system is no file: what is below is checked when it is touched.
        if location.is_local() { Ok(Arc::clone(&self.inner.local)) } else { self.open(&location) }
    }

    /// Uploads in parts that stay unseen until completed; `None` on a file system, which has no such thing.
    pub fn multipart(&self, location: &Location) -> Result<Option<Arc<dyn MultipartStore>>, StorageError> {
        if location.is_local() {
            self.check_allowed(location)?;
            return Ok(None);
        }
        Ok(Some(self.bucket(location)?.uploads))
    }

    /// The path on the file system, checked against the allowed folders; `None` elsewhere.
    pub(crate) fn local_path(&self, location: &Location) -> Result<Option<PathBuf>, StorageError> {
        self.check_allowed(location)?;
        Ok(location.local_path())
    }

    /// Refuses a local location outside of the allowed folders.
    pub(crate) fn check_allowed(&self, location: &Location) -> Result<(), StorageError> {
        self.inner.allowed.check(location)
    }

    /// Whether a check that is made once for each store and process was passed already.
    pub(crate) fn is_proved(&self, location: &Location) -> bool {
        let proved = self.inner.proved.lock().unwrap_or_else(PoisonError::into_inner);
        proved.contains(&location.store_url())
    }

    pub(crate) fn set_proved(&self, location: &Location) {
        let mut proved = self.inner.proved.lock().unwrap_or_else(PoisonError::into_inner);
        proved.insert(location.store_url());
    }

    fn bucket(&self, location: &Location) -> Result<Bucket, StorageError> {
        let name = location.bucket().unwrap_or_default();
        let mut buckets = self.inner.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let key = location.store_url();
        if let Some(bucket) = buckets.get(&key) {
            return Ok(bucket.clone());
        }
        let options = &self.inner.options;
        let bucket = match location.place() {
            Place::Google { .. } => {
                let client = Arc::new(GoogleSettings::decide(location, options)?.build(name, options)?);
                Bucket { objects: Arc::clone(&client) as _, uploads: Arc::new(GoogleUploads(client)) }
            }
            Place::Azure { .. } => {
                Bucket::new(AzureSettings::decide(location, options)?.build(name, options)?)
            }
            Place::Local | Place::S3 { .. } => {
                let profile = self.inner.profile.get_or_init(|| Profile::read(options));
                Bucket::new(S3Settings::decide(location, options, profile)?.build(name, options)?)
            }
        };
        buckets.insert(key, bucket.clone());
        Ok(bucket)
    }
}

/// The folder of a local path; the root is its own.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}
