//! Remembers a dataset whatever else happens in its project.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::document::{SavedDataset, Stamp};
use crate::store::{RegistryStore, StoreError, Written};

/// How often it is tried when somebody changes the project in the same moment.
const ROUNDS_MAX: u32 = 20;

impl RegistryStore {
    /// Puts a saved dataset into a project, in place of one of the same name.
    ///
    /// # Errors
    /// A registry that is missing, faults of the store, and a project that is changed so often that no round succeeds.
    pub async fn save_dataset(
        &self,
        project: &str,
        dataset: &SavedDataset,
        now: fn() -> DateTime<Utc>,
        next_id: &mut (dyn FnMut() -> Uuid + Send),
    ) -> Result<Written, StoreError> {
        let mut round = 1;
        loop {
            let expected = self.read().await?.document.project_fingerprint(project);
            let written = self
                .update(project, &expected, |document| {
                    let mut stamp = Stamp { now: now(), next_id: &mut *next_id };
                    document.save_dataset(project, dataset, &mut stamp)
                })
                .await;
            match written {
                // Nothing of the project was decided on, so any state of it will do.
                Err(StoreError::ProjectMoved { .. }) if round < ROUNDS_MAX => round += 1,
                ended => return ended,
            }
        }
    }
}
