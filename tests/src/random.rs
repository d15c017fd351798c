//! Random feature stores through all three engines: the same rows and the same report, whatever the layout.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::{cast, concat_batches, sort_to_indices, take};
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use backsight_asof::JoinForm;
use backsight_engine::LocalCluster;
use backsight_registry::model::FeatureView;
use backsight_retrieval::{FormChoice, Manifest, ReachReport, RetrievalEngine, RetrievalRequest, Skipped};
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use crate::dice::Dice;
use crate::world::{ViewSpec, World, engine_options, read_parquet};

/// Stores tried; each is a new seed.
const STORES: u64 = 16;

impl Dice {
    fn numbers(&mut self, rows: usize, below: u64) -> Vec<Option<i64>> {
        (0..rows).map(|_| if self.one_in(15) { None } else { Some(self.small(below)) }).collect()
    }

    /// Instants within a few minutes, in a random unit: ties, equal and unequal units all happen.
    fn instants(&mut self, rows: usize) -> ArrayRef {
        let micros: TimestampMicrosecondArray =
            self.numbers(rows, 300).into_iter().map(|v| v.map(|v| v * 1_000_000)).collect();
        let units = [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond];
        let unit = units[usize::try_from(self.roll(4)).unwrap()];
        let zone = if self.one_in(2) { Some("America/Lima".into()) } else { None };
        cast(&(Arc::new(micros) as ArrayRef), &DataType::Timestamp(unit, zone)).unwrap()
    }

    fn key(&mut self, name: &str, rows: usize) -> ArrayRef {
        let numbers = self.numbers(rows, 6);
        if name == "a" {
            Arc::new(Int64Array::from(numbers))
        } else {
            Arc::new(numbers.into_iter().map(|v| v.map(|v| format!("key {v}"))).collect::<StringArray>())
        }
    }
}

/// How a file is laid out: row groups, pages, what footers and page indexes say, Bloom filters.
fn properties(dice: &mut Dice, group_rows: u64) -> WriterProperties {
    let rows = |dice: &mut Dice, below: u64| usize::try_from(1 + dice.roll(below)).unwrap();
    let page_rows = rows(dice, 30);
    let said = if dice.one_in(5) { EnabledStatistics::Chunk } else { EnabledStatistics::Page };
    let cut = dice.one_in(3).then_some(rows(dice, 4));
    WriterProperties::builder()
        .set_max_row_group_row_count(Some(rows(dice, group_rows)))
        .set_data_page_row_count_limit(page_rows)
        .set_write_batch_size(page_rows)
        .set_statistics_enabled(said)
        .set_statistics_truncate_length(cut)
        .set_column_index_truncate_length(cut)
        .set_bloom_filter_enabled(dice.one_in(2))
        .set_bloom_filter_max_ndv(10)
        .set_bloom_filter_fpp(0.001)
        .set_dictionary_enabled(dice.one_in(2))
        .build()
}

/// The rows in the order of one of the columns: its pages and row groups have bounds that say something.
fn sorted_by(columns: Vec<(&str, ArrayRef)>, column: usize) -> Vec<(&str, ArrayRef)> {
    let order = sort_to_indices(&columns[column].1, None, None).unwrap();
    columns.into_iter().map(|(name, values)| (name, take(&values, &order, None).unwrap())).collect()
}

/// A store of one to three views over random files, and a spine.
fn store(seed: u64) -> (World, Vec<String>) {
    laid_out(seed, true)
}

/// The same rows in files that say nothing of themselves, so that every one of them is read.
fn silent_store(seed: u64) -> World {
    laid_out(seed, false).0
}

fn laid_out(seed: u64, speaks: bool) -> (World, Vec<String>) {
    let mut dice = Dice(seed);
    let mut world = World::new();
    // Of a few rows, so that something can be left out, or of many.
    let few = dice.one_in(2);
    let rows = usize::try_from(if few { 1 + dice.roll(4) } else { dice.roll(400) }).unwrap();
    world.write_groups(
        "spine.parquet",
        1 + usize::try_from(dice.roll(90)).unwrap(),
        vec![
            ("a", dice.key("a", rows)),
            ("event_timestamp", dice.instants(rows)),
            ("b", dice.key("b", rows)),
        ],
    );
    let key_sets: [&[&str]; 5] = [&[], &["a"], &["b"], &["a", "b"], &["b", "a"]];
    let mut features = Vec::new();
    for view in 0..=dice.roll(3) {
        let name = format!("v{view}");
        let keys = key_sets[usize::try_from(dice.roll(5)).unwrap()];
        let created = dice.one_in(2);
        for file in 0..=dice.roll(3) {
            let rows = usize::try_from(dice.roll(300)).unwrap();
            let x: Float64Array = dice
                .numbers(rows, 4)
                .into_iter()
                .map(|v| v.map(|v| f64::from(i32::try_from(v).unwrap())))
                .collect();
            let mut columns: Vec<(&str, ArrayRef)> =
                keys.iter().map(|key| (*key, dice.key(key, rows))).collect();
            columns.push(("t", dice.instants(rows)));
            columns.push(("x", Arc::new(x)));
            columns.push(("y", dice.key("b", rows)));
            if created {
                columns.push(("c", dice.instants(rows)));
            }
            if dice.one_in(2) {
                let by = usize::try_from(dice.roll(keys.len() as u64 + 1)).unwrap();
                columns = sorted_by(columns, by);
            }
            let spoken = properties(&mut dice, 100);
            let silent = WriterProperties::builder().set_statistics_enabled(EnabledStatistics::None);
            let properties = if speaks { spoken } else { silent.build() };
            world.write_as(&format!("{name}/{file}.parquet"), properties, columns);
        }
        world.add_view(&ViewSpec {
            name: &name,
            path: &name,
            keys,
            features: &["y", "x"],
            created: created.then_some("c"),
            ttl_seconds: if dice.one_in(2) { Some(dice.small(120)) } else { None },
            ..ViewSpec::default()
        });
        features.push(format!("{name}:x"));
        if dice.one_in(2) {
            features.push(format!("{name}:y"));
        }
    }
    (world, features)
}

async fn rows(
    world: &World,
    engine: &dyn RetrievalEngine,
    features: &[String],
    output: &str,
    cut: bool,
) -> (Vec<String>, Manifest) {
    let names: Vec<&str> = features.iter().map(String::as_str).collect();
    let mut request = world.request(&names, output);
    request.full_feature_names = true;
    request.filter_by_created_timestamp = cut;
    let (mut rows, manifest) = retrieve(world, engine, &request, output).await;
    rows.sort();
    (rows, manifest)
}

/// Rows as text, in the order of the dataset.
async fn retrieve(
    world: &World,
    engine: &dyn RetrievalEngine,
    request: &RetrievalRequest,
    output: &str,
) -> (Vec<String>, Manifest) {
    let manifest = world.run(engine, request, output, false).await.unwrap().manifest;
    (texts(&world.rows(output, &manifest).await), manifest)
}

/// The rows as text, nulls as `null`.
pub(crate) fn texts(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::new().with_null("null");
    let formatters: Vec<ArrayFormatter<'_>> =
        batch.columns().iter().map(|c| ArrayFormatter::try_new(c.as_ref(), &options).unwrap()).collect();
    (0..batch.num_rows())
        .map(|row| formatters.iter().map(|f| f.value(row).to_string()).collect::<Vec<_>>().join(" | "))
        .collect()
}

/// A cast to a type without a zone would give the hands of the clock there.
fn nanos_utc() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

/// Every file below a folder, or the one file, as one table.
fn table(world: &World, name: &str) -> RecordBatch {
    let path = world.path(name);
    let mut files: Vec<_> = match std::fs::read_dir(&path) {
        Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
        Err(_) => vec![path],
    };
    files.sort();
    let batches: Vec<RecordBatch> =
        files.iter().map(|file| read_parquet(std::fs::read(file).unwrap().into())).collect();
    // Units and zones differ from file to file.
    let nanos = |batch: &RecordBatch| -> RecordBatch {
        let schema = batch.schema();
        let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
            let column = match field.data_type() {
                DataType::Timestamp(_, _) => cast(column, &nanos_utc()).unwrap(),
                _ => Arc::clone(column),
            };
            (field.name().clone(), column, true)
        });
        RecordBatch::try_from_iter_with_nullable(columns.collect::<Vec<_>>()).unwrap()
    };
    let batches: Vec<RecordBatch> = batches.iter().map(nanos).collect();
    concat_batches(&batches[0].schema(), &batches).unwrap()
}

/// Why nothing was in reach, by looking at every pair of rows.
fn reasons(world: &World) -> Vec<ReachReport> {
    let spine = table(world, "spine.parquet");
    let instants = |batch: &RecordBatch, name: &str| -> Vec<Option<i64>> {
        let column = cast(batch.column_by_name(name).unwrap(), &DataType::Int64).unwrap();
        column.as_primitive::<Int64Type>().iter().collect()
    };
    let keys = |batch: &RecordBatch, names: &[String]| -> Vec<Option<Vec<String>>> {
        let columns: Vec<ArrayRef> = names
            .iter()
            .map(|name| cast(batch.column_by_name(name).unwrap(), &DataType::Utf8).unwrap())
            .collect();
        let key = |row: usize| {
            let values = columns.iter().map(|column| column.as_string::<i32>());
            values.map(|column| column.is_valid(row).then(|| column.value(row).to_owned())).collect()
        };
        (0..batch.num_rows()).map(key).collect()
    };
    let of_view = |view: &FeatureView| {
        let names: Vec<String> = view.join_keys.iter().map(|field| field.name.clone()).collect();
        let rows = table(world, &view.name);
        let (row_keys, times) = (keys(&rows, &names), instants(&rows, "t"));
        let ttl = view.ttl.map_or(i128::MAX, |ttl| ttl.nanos());
        let mut because = ReachReport { no_such_key: 0, only_later: 0, expired: 0 };
        for (key, at) in keys(&spine, &names).into_iter().zip(instants(&spine, "event_timestamp")) {
            let (Some(key), Some(at)) = (key, at) else { continue };
            let of_key = row_keys.iter().zip(&times).filter(|(other, _)| other.as_ref() == Some(&key));
            let ages: Vec<i128> =
                of_key.filter_map(|(_, time)| time.map(|time| i128::from(at) - i128::from(time))).collect();
            if ages.iter().any(|&age| (0..=ttl).contains(&age)) {
            } else if ages.is_empty() {
                because.no_such_key += 1;
            } else if ages.iter().all(|&age| age < 0) {
                because.only_later += 1;
            } else {
                because.expired += 1;
            }
        }
        because
    };
    world.catalog.feature_views.iter().map(of_view).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_is_kept_and_reasons_are_exact_on_every_engine() {
    let cluster =
        LocalCluster::start(World::new().stores, engine_options(5), JoinForm::SlotFold.into(), 2, 2);
    let cluster = cluster.await.unwrap();
    let mut counted = ReachReport { no_such_key: 0, only_later: 0, expired: 0 };
    for seed in 100..100 + STORES / 2 {
        let (world, features) = store(seed);
        let names: Vec<&str> = features.iter().map(String::as_str).collect();
        let spine = texts(&table(&world, "spine.parquet"));
        let expected = reasons(&world);
        let (late, broadcast) =
            (world.embedded(JoinForm::LateFold, 4), world.embedded(JoinForm::Broadcast, 3));
        let spilled = world.embedded(JoinForm::SpilledFold, 3);
        let engines: [(&str, &dyn RetrievalEngine); 4] =
            [("late", &late), ("broadcast", &broadcast), ("spilling", &spilled), ("ballista", &cluster)];
        for (name, engine) in engines {
            let request = RetrievalRequest {
                full_feature_names: true,
                filter_by_created_timestamp: seed % 2 == 0,
                preserve_order: true,
                exact_reasons: true,
                ..world.request(&names, name)
            };
            let manifest = world.run(engine, &request, name, false).await.unwrap().manifest;
            let batch = world.rows(name, &manifest).await;
            let own = batch.project(&[0, 1, 2]).unwrap();
            let nanos = cast(own.column(1), &nanos_utc()).unwrap();
            let columns =
                vec![("a", Arc::clone(own.column(0))), ("t", nanos), ("b", Arc::clone(own.column(2)))];
            let own =
                RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true)));
            assert_eq!(texts(&own.unwrap()), spine, "seed {seed}, {name}");
            for (view, expected) in manifest.report.views.iter().zip(&expected) {
                let because = view.none_in_reach_because.unwrap();
                assert_eq!(&because, expected, "seed {seed}, {name}, view {}", view.label);
                let sum = because.no_such_key + because.only_later + because.expired;
                assert_eq!(sum, view.none_in_reach, "seed {seed}, {name}");
                counted.no_such_key += because.no_such_key;
                counted.only_later += because.only_later;
                counted.expired += because.expired;
            }
        }
    }
    let least = counted.no_such_key.min(counted.only_later).min(counted.expired);
    assert!(least > 50, "the stores have every reason often: {counted:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_engine_gives_the_same_rows_and_report() {
    let start = async |form: FormChoice| {
        LocalCluster::start(World::new().stores, engine_options(5), form, 2, 2).await.unwrap()
    };
    let cluster = async |form: JoinForm| start(form.into()).await;
    // Some rows of a key are many here.
    let cutting_form = |form: JoinForm| FormChoice::ForcedCut(form, 4);
    let cutting = start(cutting_form(JoinForm::CandidateFold)).await;
    let mut cuts = 0;
    let (folding, scanning) = (cluster(JoinForm::SlotFold).await, cluster(JoinForm::CandidateFold).await);
    let holding = cluster(JoinForm::Broadcast).await;
    let spilling = cluster(JoinForm::SpilledFold).await;
    let mut matched = 0;
    let mut skipped = Skipped::default();
    for seed in 0..STORES {
        let (world, features) = store(seed);
        let silent = silent_store(seed);
        for cut in [false, true] {
            let oracle = silent.embedded(JoinForm::NaiveLoop, 1);
            let (expected, manifest) = rows(&silent, &oracle, &features, &format!("naive-{cut}"), cut).await;
            matched += manifest.report.views.iter().map(|view| view.matched).sum::<u64>();
            assert!(manifest.scans.iter().all(|scan| scan.stats.skipped == Skipped::default()));
            let fold = world.embedded(JoinForm::SlotFold, 4);
            let late = world.embedded(JoinForm::LateFold, 4);
            let broadcast = world.embedded(JoinForm::Broadcast, 4);
            let spilled = world.embedded(JoinForm::SpilledFold, 4);
            let cut_fold = world.embedded(cutting_form(JoinForm::SlotFold), 4);
            let cut_spilled = world.embedded(cutting_form(JoinForm::SpilledFold), 4);
            let engines: [(&str, &dyn RetrievalEngine); 11] = [
                ("cut", &cut_fold),
                ("cut-spilling", &cut_spilled),
                ("ballista-cut-candidates", &cutting),
                ("embedded", &fold),
                ("late", &late),
                ("ballista", &folding),
                ("ballista-candidates", &scanning),
                ("broadcast", &broadcast),
                ("ballista-broadcast", &holding),
                ("spilling", &spilled),
                ("ballista-spilling", &spilling),
            ];
            for (name, engine) in engines {
                let (found, other) = rows(&world, engine, &features, &format!("{name}-{cut}"), cut).await;
                assert_eq!(found, expected, "seed {seed}, {name}, cut {cut}");
                assert_eq!(other.report, manifest.report, "seed {seed}, {name}, cut {cut}");
                let reasons = other.engine.chosen.iter().map(|view| &view.chosen.reason);
                cuts += reasons.filter(|reason| reason.contains("spans of time")).count();
                let is_spilled = other.work.bytes_spilled > 0;
                assert_eq!(is_spilled, name.ends_with("spilling") && other.rows > 0, "seed {seed}, {name}");
                for scan in &other.scans {
                    skipped.row_groups_by_time += scan.stats.skipped.row_groups_by_time;
                    skipped.row_groups_by_keys += scan.stats.skipped.row_groups_by_keys;
                    skipped.row_groups_by_bloom_filter += scan.stats.skipped.row_groups_by_bloom_filter;
                    skipped.rows_in_pages += scan.stats.skipped.rows_in_pages;
                }
            }
        }
    }
    assert!(cuts > 50, "heavy keys are cut: {cuts}");
    assert!(matched > 1_000, "the stores match often enough to say something: {matched}");
    let groups = [skipped.row_groups_by_time, skipped.row_groups_by_keys, skipped.row_groups_by_bloom_filter];
    assert!(
        groups.iter().all(|&groups| groups > 20),
        "row groups are left out for every reason: {skipped:?}"
    );
    assert!(skipped.rows_in_pages > 1_000, "pages are left out: {skipped:?}");
}
