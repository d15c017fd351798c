//! What the footers of spine and sources say about times and keys: the input of pruning and of the cut into shards.

use std::sync::Arc;

use backsight_registry::model::Ttl;

use crate::bounds::row_group_bounds;
use crate::error::RetrievalError;
use crate::instant_column::find_spine_instant;
use crate::key_range::{KeyRange, KeySet, constant_key, row_group_keys};
use crate::parquet_table::ParquetTable;
use crate::plan::{ViewInput, source_column};
use crate::reach::Reach;
use crate::shards::{ShardSpec, SourceGroup, SourceGroups, SpineGroup};

/// Times and keys of every row group.
#[derive(Debug, Clone)]
pub(crate) struct Footers {
    /// Spine columns that are a key of some view.
    pub(crate) columns: Vec<String>,
    /// In file and row group order, those without rows left out.
    pub(crate) spine: Vec<SpineGroup>,
    /// For each view.
    pub(crate) sources: Vec<SourceGroups>,
    /// Every key of the spine in each of `columns`, where these are few and were asked for.
    pub(crate) sets: Vec<Option<Arc<KeySet>>>,
}

impl Footers {
    pub(crate) fn read(
        spine: &ParquetTable,
        views: &[ViewInput],
        timestamp_column: Option<&str>,
    ) -> Result<Self, RetrievalError> {
        let instant = find_spine_instant(spine, timestamp_column)?;
        let mut columns: Vec<String> = views
            .iter()
            .flat_map(|view| view.resolved.keys.iter().map(|key| key.spine_column.clone()))
            .collect();
        columns.sort();
        columns.dedup();
        let key_columns: Vec<Option<&str>> = columns.iter().map(|name| Some(name.as_str())).collect();
        let spine =
            groups_of(spine, &instant, &key_columns).into_iter().filter(|group| group.rows > 0).collect();
        let sources = views.iter().map(|view| source_groups(view, &columns)).collect();
        Ok(Self { sets: vec![None; columns.len()], columns, spine, sources })
    }

    /// What the row groups of a shard, or of the whole spine, can reach.
    pub(crate) fn reach(&self, shard: Option<&ShardSpec>) -> Reach {
        let holds = |group: &&SpineGroup| shard.is_none_or(|shard| shard.holds(group.file, group.group));
        let reach = Reach::of(self.spine.iter().filter(holds), self.columns.len());
        Reach { sets: self.sets.clone(), ..reach }
    }
}

fn source_groups(view: &ViewInput, columns: &[String]) -> SourceGroups {
    let definition = &view.resolved.view;
    let time = source_column(definition, &definition.source.timestamp_field);
    let keys: Vec<Option<String>> = columns
        .iter()
        .map(|column| {
            let key = view.resolved.keys.iter().find(|key| key.spine_column == *column)?;
            Some(source_column(definition, &key.view_column))
        })
        .collect();
    let keys: Vec<Option<&str>> = keys.iter().map(Option::as_deref).collect();
    let groups = groups_of(&view.table, &time, &keys)
        .into_iter()
        .map(|group| SourceGroup {
            rows: group.rows,
            bytes: group.bytes,
            time: group.time,
            keys: group.keys,
            ..SourceGroup::default()
        })
        .collect();
    SourceGroups { ttl_nanos: definition.ttl.map(Ttl::nanos), groups }
}

/// Every row group of a table.
fn groups_of(table: &ParquetTable, time: &str, keys: &[Option<&str>]) -> Vec<SpineGroup> {
    let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
    let mut groups = Vec::new();
    for (number, file) in table.files.iter().enumerate() {
        let times = row_group_bounds(file, time);
        let of_column = |column: &Option<&str>| -> Vec<Option<KeyRange>> {
            let unknown = || vec![None; file.metadata.num_row_groups()];
            let Some(column) = column else { return unknown() };
            match table.constant(file, column) {
                Some(value) => vec![constant_key(value); file.metadata.num_row_groups()],
                None => row_group_keys(file, column),
            }
        };
        let key_ranges: Vec<Vec<Option<KeyRange>>> = keys.iter().map(of_column).collect();
        for (group, metadata) in file.metadata.row_groups().iter().enumerate() {
            groups.push(SpineGroup {
                file: number,
                group,
                rows: unsigned(metadata.num_rows()),
                bytes: unsigned(metadata.compressed_size()),
                time: times.get(group).copied().flatten(),
                keys: key_ranges.iter().map(|ranges| ranges.get(group).cloned().flatten()).collect(),
            });
        }
    }
    groups
}
