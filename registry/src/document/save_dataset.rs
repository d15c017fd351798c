//! Remembers a dataset in the registry, so that it is found by name; Feast's `get_saved_dataset` reads it back.

use backsight_proto::feast::core;
use backsight_proto::feast::core::data_source::FileOptions;
use backsight_proto::feast::core::file_format::{Format, ParquetFormat};
use backsight_proto::feast::core::saved_dataset_storage::Kind;
use chrono::{DateTime, Utc};
use prost_types::Timestamp;

use crate::document::kind::{ObjectId, ObjectKind};
use crate::document::{ApplyError, RegistryDocument, edit::Edit, edit::Stamp};

/// A dataset as the registry remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedDataset {
    /// Unique among the project's saved datasets.
    pub name: String,
    /// `view:feature`, in order.
    pub features: Vec<String>,
    /// Columns of the dataset that are join keys.
    pub join_keys: Vec<String>,
    /// Whether features are named `<view>__<feature>`.
    pub full_feature_names: bool,
    /// The feature service that it was made with.
    pub feature_service: Option<String>,
    /// The folder of its Parquet files.
    pub uri: String,
    /// The endpoint of its S3 store, where it is not the usual one.
    pub s3_endpoint: Option<String>,
    /// Least and greatest instant; none where no row has one.
    pub instants: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

impl RegistryDocument {
    /// The folder of a saved dataset; `None` where the project has none of that name, or one that is no file.
    pub fn saved_dataset_uri(&self, project: &str, name: &str) -> Option<String> {
        let is_it =
            |id: &ObjectId| id.kind == ObjectKind::SavedDataset && id.project == project && id.name == name;
        let record = self.records.iter().find(|record| record.id.as_ref().is_some_and(is_it))?;
        let held: core::SavedDataset = prost::Message::decode(record.payload()).ok()?;
        match held.spec?.storage?.kind? {
            Kind::FileStorage(file) => Some(file.uri),
            _ => None,
        }
    }

    /// The registry with this dataset, in place of one of the same name.
    ///
    /// # Errors
    /// None of its own; the kinds of a registry are all known.
    pub fn save_dataset(
        &self,
        project: &str,
        dataset: &SavedDataset,
        stamp: &mut Stamp<'_>,
    ) -> Result<Self, ApplyError> {
        let mut edit = Edit::new(self, project, stamp);
        let now = edit.now;
        edit.upsert(ObjectKind::SavedDataset, &dataset.name, |old: Option<core::SavedDataset>| {
            Ok(lower(project, dataset, old, now))
        })?;
        Ok(edit.finish())
    }
}

fn lower(
    project: &str,
    dataset: &SavedDataset,
    old: Option<core::SavedDataset>,
    now: Timestamp,
) -> core::SavedDataset {
    let old = old.unwrap_or_default();
    let created = old.meta.and_then(|meta| meta.created_timestamp).unwrap_or(now);
    let format = Format::ParquetFormat(ParquetFormat {});
    let storage = core::SavedDatasetStorage {
        kind: Some(Kind::FileStorage(FileOptions {
            file_format: Some(core::FileFormat { format: Some(format) }),
            uri: dataset.uri.clone(),
            s3_endpoint_override: dataset.s3_endpoint.clone().unwrap_or_default(),
        })),
    };
    let spec = core::SavedDatasetSpec {
        name: dataset.name.clone(),
        project: project.to_owned(),
        features: dataset.features.clone(),
        join_keys: dataset.join_keys.clone(),
        full_feature_names: dataset.full_feature_names,
        storage: Some(storage),
        feature_service_name: dataset.feature_service.clone().unwrap_or_default(),
        // What people have written about it stays.
        ..old.spec.unwrap_or_default()
    };
    let meta = core::SavedDatasetMeta {
        created_timestamp: Some(created),
        last_updated_timestamp: Some(now),
        min_event_timestamp: dataset.instants.map(|(least, _)| timestamp(least)),
        max_event_timestamp: dataset.instants.map(|(_, greatest)| timestamp(greatest)),
    };
    core::SavedDataset { spec: Some(spec), meta: Some(meta) }
}

fn timestamp(instant: DateTime<Utc>) -> Timestamp {
    let nanos = i32::try_from(instant.timestamp_subsec_nanos()).unwrap_or_default();
    Timestamp { seconds: instant.timestamp(), nanos }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn dataset(uri: &str) -> SavedDataset {
        SavedDataset {
            name: "january".to_owned(),
            features: vec!["stats:x".to_owned()],
            join_keys: vec!["driver_id".to_owned()],
            full_feature_names: false,
            feature_service: None,
            uri: uri.to_owned(),
            s3_endpoint: None,
            instants: Some((DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH)),
        }
    }

    #[test]
    fn a_dataset_is_put_in_once_and_replaced_by_name() {
        let mut number = 0;
        let mut next_id = || {
            number += 1;
            Uuid::from_u128(number)
        };
        let mut stamp = Stamp { now: DateTime::UNIX_EPOCH, next_id: &mut next_id };
        let empty = RegistryDocument::parse(&[]).unwrap();
        let first = empty.save_dataset("p", &dataset("/a"), &mut stamp).unwrap();
        assert_eq!(first.saved_dataset_uri("p", "january").as_deref(), Some("/a"));
        assert_eq!(first.saved_dataset_uri("q", "january"), None);
        let again = first.save_dataset("p", &dataset("/a"), &mut stamp).unwrap();
        assert_eq!(again.to_bytes(), first.to_bytes(), "the same dataset again changes nothing");
        let moved = first.save_dataset("p", &dataset("/b"), &mut stamp).unwrap();
        assert_eq!(moved.saved_dataset_uri("p", "january").as_deref(), Some("/b"));
        let held = moved.catalog_or_empty("p").saved_datasets;
        let made_of: Vec<_> = held.iter().map(|it| (it.name.as_str(), it.features.as_slice())).collect();
        assert_eq!(made_of, [("january", ["stats:x".to_owned()].as_slice())]);
    }
}
