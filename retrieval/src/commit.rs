//! The commit of a dataset: claim, unseen parts, durable intent, parts made visible, manifest, `_SUCCESS`.
//!
//! Every step can be repeated: [`roll_forward`] is both the commit and the recovery of an interrupted one.

use std::sync::atomic::{AtomicBool, Ordering};

use backsight_proto::ErrorCode;
use backsight_storage::{FileEntry, Location, StorageError, Stores, Version};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::RetrievalError;
use crate::manifest::{Intent, Manifest, Replaced};
use crate::output_state::{Claim, Claimant, Decision, Found, decide};
use crate::request::RetrievalRequest;
use crate::staging::{OWN_FOLDER, Staged, StagingLog, local_path};

/// Interrupted commits that are finished before a request is answered: more than one would be a bug.
const ROLL_FORWARD_MAX: usize = 3;

/// A dataset's folder.
#[derive(Debug, Clone)]
pub struct Output {
    stores: Stores,
    location: Location,
}

/// What an output answered to a request.
#[derive(Debug)]
pub enum Opened {
    /// It may be written.
    Writing(Box<Attempt>),
    /// The same request has been committed before.
    Committed(Box<Manifest>),
}

/// Who asks, with what, when.
#[derive(Debug, Clone)]
pub struct OpenRequest<'a> {
    /// Identifies the request.
    pub request_id: &'a str,
    /// The request.
    pub request: &'a RetrievalRequest,
    /// Replace a dataset that is there.
    pub overwrite: bool,
    /// Who writes.
    pub claimant: &'a Claimant,
    /// Unique name of this attempt.
    pub attempt: &'a str,
    /// Now.
    pub now: DateTime<Utc>,
    /// Whether a claimant is known to be gone: a process of this machine that has ended.
    pub is_gone: fn(&Claimant) -> bool,
    /// Goes on with this request's own work: a claim of the same request is taken over, and what it staged is kept.
    /// Only who holds the lease of the job may say so.
    pub resumes: bool,
}

/// Asks, right before an intent is written, whether it may be: an error stops the commit with nothing durable.
pub type Fence<'a> = &'a (dyn Fn() -> BoxFuture<'a, Result<(), RetrievalError>> + Send + Sync);

/// A claimed output.
#[derive(Debug)]
pub struct Attempt {
    output: Output,
    claim: Claim,
    version: tokio::sync::Mutex<Version>,
    replaces: Option<Replaced>,
    /// The intent is written: what was staged belongs to a dataset now.
    durable: AtomicBool,
    /// Whether the intent is written is not known.
    in_doubt: AtomicBool,
}

impl Output {
    /// The folder at `location`.
    pub fn new(stores: Stores, location: Location) -> Self {
        Self { stores, location }
    }

    /// Where it is.
    pub fn location(&self) -> &Location {
        &self.location
    }

    fn own(&self, name: &str) -> Location {
        self.location.join(&format!("{OWN_FOLDER}/{name}"))
    }

    /// Claims the output for a request, or returns what the same request has committed.
    ///
    /// # Errors
    /// [`RetrievalError::OutputConflict`] when it holds what the request must not touch.
    pub fn open<'a>(&'a self, ask: &'a OpenRequest<'a>) -> BoxFuture<'a, Result<Opened, RetrievalError>> {
        Box::pin(self.try_open(ask))
    }

    async fn try_open(&self, ask: &OpenRequest<'_>) -> Result<Opened, RetrievalError> {
        for _ in 0..ROLL_FORWARD_MAX {
            let found = self.look().await?;
            let name = self.location.to_string();
            let is_gone = |claim: &Claim| {
                (ask.is_gone)(&claim.claimant) || (ask.resumes && claim.request_id == ask.request_id)
            };
            match decide(&found, &name, ask.request_id, ask.request, ask.overwrite, ask.now, is_gone) {
                Decision::Refuse { message, hint } => {
                    return Err(RetrievalError::OutputConflict { message, hint });
                }
                Decision::Committed(manifest) => {
                    self.stores.put(&self.location.join("_SUCCESS"), Bytes::new()).await?;
                    return Ok(Opened::Committed(manifest));
                }
                Decision::RollForward => {
                    let Some(intent) = found.intent else { continue };
                    self.roll_forward(&intent).await?;
                    self.stores.delete(&self.own("claim")).await?;
                }
                Decision::Write(replaces) => {
                    let attempt = self.claim(ask, replaces).await?;
                    // Only now is what lies there nobody's, or our own.
                    if !ask.resumes {
                        self.clear_staging().await;
                    }
                    return Ok(Opened::Writing(Box::new(attempt)));
                }
            }
        }
        Err(RetrievalError::OutputConflict {
            message: format!("`{}` keeps changing while it is opened", self.location),
            hint: Some("somebody else writes there: choose another output".into()),
        })
    }

    async fn claim(
        &self,
        ask: &OpenRequest<'_>,
        replaces: Option<Replaced>,
    ) -> Result<Attempt, RetrievalError> {
        let claim = Claim {
            request_id: ask.request_id.to_owned(),
            attempt: ask.attempt.to_owned(),
            claimant: ask.claimant.clone(),
            renewed: ask.now,
        };
        let location = self.own("claim");
        let bytes = to_json(&claim)?;
        // A dead claim is replaced on its version, so that of two who find it one wins.
        let written = match self.stores.read(&location).await? {
            None => self.stores.create(&location, bytes).await,
            Some(dead) => self.stores.replace(&location, bytes, &dead.version).await,
        };
        let version = written.map_err(|error| match error.code() {
            ErrorCode::Conflict => RetrievalError::OutputConflict {
                message: format!("`{}` was claimed by another request at the same time", self.location),
                hint: Some("wait for it, or choose another output".into()),
            },
            _ => error.into(),
        })?;
        let version = tokio::sync::Mutex::new(version);
        Ok(Attempt {
            output: self.clone(),
            claim,
            version,
            replaces,
            durable: AtomicBool::new(false),
            in_doubt: AtomicBool::new(false),
        })
    }

    async fn look(&self) -> Result<Found, RetrievalError> {
        if let Some(entry) = self.stores.head(&self.location).await?
            && entry.location == self.location
        {
            return Ok(Found { foreign: self.location.file_name().map(str::to_owned), ..Found::default() });
        }
        let mut found = Found {
            claim: self.read("claim").await?,
            intent: self.read("intent.json").await?,
            ..Found::default()
        };
        if let Some(held) = self.stores.read(&self.own("manifest.json")).await? {
            match serde_json::from_slice::<Manifest>(&held.bytes) {
                Ok(manifest) => found.manifest = Some((manifest, held.version.as_str().to_owned())),
                Err(error) => found.unreadable_manifest = Some(error.to_string()),
            }
        }
        if found.manifest.is_none() {
            let own = self.location.join(OWN_FOLDER);
            let listed: Vec<FileEntry> = match self.stores.list(&self.location).await {
                Ok(listed) => listed,
                Err(error) if error.code() == ErrorCode::NotFound && self.location.is_local() => vec![],
                Err(error) => return Err(error.into()),
            };
            found.foreign = listed
                .iter()
                .find(|entry| !entry.location.is_within(&own))
                .and_then(|entry| entry.location.file_name().map(str::to_owned));
        }
        Ok(found)
    }

    async fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, RetrievalError> {
        let location = self.own(name);
        let Some(held) = self.stores.read(&location).await? else { return Ok(None) };
        serde_json::from_slice(&held.bytes).map(Some).map_err(|error| RetrievalError::OutputConflict {
            message: format!("`{location}` cannot be read: {error}"),
            hint: Some("choose another output, or remove what is there".into()),
        })
    }

    /// Makes an intended dataset visible; repeating it, whole or from any step, ends in the same dataset.
    async fn roll_forward(&self, intent: &Intent) -> Result<(), RetrievalError> {
        if intent.replaces.is_some() {
            self.stores.delete(&self.location.join("_SUCCESS")).await?;
        }
        for (name, staged) in &intent.staged {
            self.reveal(name, staged).await?;
        }
        let next = self.own("registry.pb.next");
        if let Some(registry) = self.stores.read(&next).await? {
            self.stores.put(&self.own("registry.pb"), registry.bytes).await?;
            self.stores.delete(&next).await?;
        }
        self.put_manifest(intent).await?;
        if let Some(replaced) = &intent.replaces {
            for old in
                replaced.parts.iter().filter(|old| intent.manifest.parts.iter().all(|p| p.path != **old))
            {
                self.stores.delete(&self.location.join(old)).await?;
            }
        }
        self.stores.put(&self.location.join("_SUCCESS"), Bytes::new()).await?;
        self.stores.delete(&self.own("intent.json")).await?;
        Ok(())
    }

    async fn reveal(&self, name: &str, staged: &Staged) -> Result<(), RetrievalError> {
        let target = self.location.join(name);
        match staged {
            Staged::File { path } => Ok(self.stores.publish(&self.location.join(path), &target).await?),
            Staged::Upload { upload_id, parts } => {
                let Some(store) = self.stores.multipart(&target)? else {
                    return Err(RetrievalError::Bug {
                        message: format!("`{target}` has an upload but no store"),
                    });
                };
                let parts = parts
                    .iter()
                    .map(|id| object_store::multipart::PartId { content_id: id.clone() })
                    .collect();
                match store.complete_multipart(&target.path(), upload_id, parts).await {
                    Ok(_) => Ok(()),
                    Err(error) => self.already_there(&target, StorageError::classify(&target, error)).await,
                }
            }
        }
    }

    /// A repeated completion finds nothing to complete: what counts is whether the part is there.
    async fn already_there(&self, target: &Location, error: StorageError) -> Result<(), RetrievalError> {
        if error.code() == ErrorCode::NotFound && self.stores.head(target).await?.is_some() {
            return Ok(());
        }
        Err(error.into())
    }

    async fn put_manifest(&self, intent: &Intent) -> Result<(), RetrievalError> {
        let location = self.own("manifest.json");
        let bytes = to_json(&intent.manifest)?;
        let held = self.stores.read(&location).await?;
        let is_ours = |held: &Bytes| {
            serde_json::from_slice::<Manifest>(held)
                .is_ok_and(|manifest| manifest.request_id == intent.manifest.request_id)
        };
        let written = match (&held, &intent.replaces) {
            // The same request has been committed: by this intent, or by one whose end was not noticed.
            (Some(held), _) if held.bytes == bytes || is_ours(&held.bytes) => return Ok(()),
            (None, None) => self.stores.create(&location, bytes).await,
            (Some(held), Some(replaced)) if held.version.as_str() == replaced.version => {
                self.stores.replace(&location, bytes, &held.version).await
            }
            _ => return Err(self.moved()),
        };
        match written {
            Ok(_) => Ok(()),
            Err(error) if error.code() == ErrorCode::Conflict => Err(self.moved()),
            Err(error) => Err(error.into()),
        }
    }

    fn moved(&self) -> RetrievalError {
        RetrievalError::OutputConflict {
            message: format!("another request committed a dataset to `{}` meanwhile", self.location),
            hint: Some("choose another output, or run it again with `--overwrite`".into()),
        }
    }

    /// Removes staged files of attempts that ended, and the folders that they leave empty. Best effort: what
    /// stays is below our own folder and never listed as data.
    async fn clear_staging(&self) {
        if let Ok(path) = local_path(&self.own("staging")) {
            let _ = tokio::fs::remove_dir_all(path).await;
        }
    }

    async fn remove_empty_folders(&self) {
        for folder in [self.location.join(OWN_FOLDER), self.location.clone()] {
            let _ = self.stores.remove_empty_folder(&folder).await;
        }
    }
}

impl Attempt {
    /// Tells others that this attempt lives.
    ///
    /// # Errors
    /// [`RetrievalError::OutputConflict`] when the claim was taken over.
    pub fn renew(&self, now: DateTime<Utc>) -> BoxFuture<'_, Result<(), RetrievalError>> {
        Box::pin(self.try_renew(now))
    }

    async fn try_renew(&self, now: DateTime<Utc>) -> Result<(), RetrievalError> {
        let mut version = self.version.lock().await;
        let location = self.output.own("claim");
        let bytes = to_json(&Claim { renewed: now, ..self.claim.clone() })?;
        let mut written = self.output.stores.replace(&location, bytes.clone(), &version).await;
        if written.as_ref().is_err_and(|error| error.code() == ErrorCode::Conflict)
            && let Some(held) = self.output.stores.read(&location).await?
            && serde_json::from_slice::<Claim>(&held.bytes)
                .is_ok_and(|held| held.attempt == self.claim.attempt)
        {
            // An earlier renewal of our own whose answer was lost, or that was given up on its way.
            written = self.output.stores.replace(&location, bytes, &held.version).await;
        }
        match written {
            Ok(next) => {
                *version = next;
                Ok(())
            }
            Err(error) if error.code() == ErrorCode::Conflict => Err(RetrievalError::OutputConflict {
                message: format!("the claim on `{}` was taken over by another request", self.output.location),
                hint: Some("nothing was committed: run it again with another output".into()),
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// Commits the staged parts under a manifest. From the moment the intent is durable the dataset will be
    /// there, now or when the output is next opened.
    ///
    /// # Errors
    /// A lost claim, another commit, storage faults, and what `fence` says.
    pub async fn commit(
        &self,
        manifest: Manifest,
        staged: Vec<(String, Staged)>,
        registry: Bytes,
        now: DateTime<Utc>,
        fence: Option<Fence<'_>>,
    ) -> Result<(), RetrievalError> {
        let output = &self.output;
        // Who has lost the claim leaves nothing beside the winner's dataset; asked again right before the intent.
        self.renew(now).await?;
        output.stores.put(&output.own("registry.pb.next"), registry).await?;
        self.renew(now).await?;
        let intent = Intent { manifest, staged, replaces: self.replaces.clone() };
        if let Some(fence) = fence {
            fence().await?;
        }
        self.write_intent(to_json(&intent)?).await?;
        output.roll_forward(&intent).await?;
        output.clear_staging().await;
        // The dataset is there; a claim that stays is dead in two minutes.
        let _ = self.delete_own_claim().await;
        Ok(())
    }

    /// Makes the intent durable, or says whether it may be.
    async fn write_intent(&self, bytes: Bytes) -> Result<(), RetrievalError> {
        let output = &self.output;
        let location = output.own("intent.json");
        self.in_doubt.store(true, Ordering::Release);
        if let Err(error) = output.stores.create(&location, bytes.clone()).await {
            match output.stores.read(&location).await {
                Ok(Some(held)) if held.bytes == bytes => {}
                // Another's is there, or the store has refused ours for good.
                Ok(Some(_)) => {
                    self.in_doubt.store(false, Ordering::Release);
                    return Err(error.into());
                }
                Ok(None) => {
                    // What was on its way when the answer was lost may still arrive.
                    self.in_doubt.store(error.code().is_retryable(), Ordering::Release);
                    return Err(error.into());
                }
                Err(_) => return Err(error.into()),
            }
        }
        self.durable.store(true, Ordering::Release);
        Ok(())
    }

    /// Removes the claim unless somebody else has taken it over; says whether it was ours.
    async fn delete_own_claim(&self) -> Result<bool, RetrievalError> {
        let claim: Option<Claim> = self.output.read("claim").await?;
        let is_ours = claim.is_some_and(|claim| claim.attempt == self.claim.attempt);
        if is_ours {
            self.output.stores.delete(&self.output.own("claim")).await?;
        }
        Ok(is_ours)
    }

    /// Clears away an attempt that will not be committed: uploads aborted, staged files and the claim removed.
    /// Once the intent is, or may be, durable it does nothing: opening the output again finishes that commit. What
    /// somebody else who has the claim now has staged is left alone.
    ///
    /// # Errors
    /// Storage faults; what could be removed is removed all the same.
    pub fn abandon<'a>(&'a self, log: &'a StagingLog) -> BoxFuture<'a, Result<(), RetrievalError>> {
        Box::pin(self.try_abandon(log))
    }

    async fn try_abandon(&self, log: &StagingLog) -> Result<(), RetrievalError> {
        if self.may_be_durable() {
            return Ok(());
        }
        let output = &self.output;
        let result = log.discard(&output.stores).await;
        let claim: Option<Claim> = output.read("claim").await?;
        if claim.is_some_and(|claim| claim.attempt == self.claim.attempt) {
            output.clear_staging().await;
            output.stores.delete(&output.own("registry.pb.next")).await?;
            self.delete_own_claim().await?;
            output.remove_empty_folders().await;
        }
        result
    }

    /// Whether the intent is written, or may be: an answer was lost.
    pub fn may_be_durable(&self) -> bool {
        self.is_durable() || self.in_doubt.load(Ordering::Acquire)
    }

    /// Whether the intent is written: the dataset will be there whatever happens to this process.
    pub fn is_durable(&self) -> bool {
        self.durable.load(Ordering::Acquire)
    }

    /// The dataset's folder.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// The attempt's name.
    pub fn name(&self) -> &str {
        &self.claim.attempt
    }
}

fn to_json(value: &impl Serialize) -> Result<Bytes, RetrievalError> {
    serde_json::to_vec_pretty(value)
        .map(Bytes::from)
        .map_err(|error| RetrievalError::Bug { message: format!("a record cannot be written: {error}") })
}
