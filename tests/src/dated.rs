//! Sources in folders of days: with a promise of what the days mean, files out of reach are not even opened, and every row
//! is as it was.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampSecondArray};
use arrow::util::pretty::pretty_format_batches;
use backsight_asof::JoinForm;
use backsight_retrieval::{Manifest, RetrievalEngine, RetrievalRequest, SpineFrom, SpineRequest};
use backsight_s3_server::{Request, S3Server};
use backsight_storage::{StorageOptions, Stores};
use chrono::{DateTime, FixedOffset};

use crate::dice::Dice;
use crate::engines;
use crate::world::{ViewSpec, World, write_parquet};

const DAY: i64 = 86_400;
/// 2026-01-01.
const START: i64 = 20_454 * DAY;

fn ints(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn seconds(values: &[i64]) -> ArrayRef {
    Arc::new(TimestampSecondArray::from(values.to_vec()))
}

/// The date of an instant where clocks are so many minutes before those of UTC.
fn date(at: i64, minutes: i64) -> String {
    let zone = FixedOffset::east_opt(i32::try_from(minutes * 60).unwrap()).unwrap();
    DateTime::from_timestamp(at, 0).unwrap().with_timezone(&zone).date_naive().to_string()
}

/// Thirty days of three rows each, at noon, in folders of their days below `folder`.
fn thirty_days(folder: &Path) {
    for day in 0..30 {
        let at = START + day * DAY + DAY / 2;
        let columns =
            vec![("id", ints(&[1, 2, 3])), ("t", seconds(&[at, at, at])), ("x", ints(&[day, day, day]))];
        write_parquet(&folder.join(format!("ds={}/part.parquet", date(at, 0))), 1_000, columns);
    }
}

/// A view over `path`; with the promise if `column` names the folders.
fn add_view(world: &mut World, name: &str, path: &str, ttl_seconds: Option<i64>, column: Option<&str>) {
    world.add_view(&ViewSpec { name, path, ttl_seconds, ..ViewSpec::default() });
    let view = world.catalog.feature_views.last_mut().unwrap();
    view.source.date_partition_column = column.map(str::to_owned);
}

fn spine(world: &World, instants: &[i64]) {
    let ids: Vec<i64> = (0..).map(|row| row % 3 + 1).take(instants.len()).collect();
    world.write("spine.parquet", vec![("id", ints(&ids)), ("event_timestamp", seconds(instants))]);
}

fn shown(rows: &RecordBatch) -> String {
    pretty_format_batches(std::slice::from_ref(rows)).unwrap().to_string()
}

/// The files of a view that a retrieval read.
fn files_of<'a>(manifest: &'a Manifest, view: &str) -> Vec<&'a str> {
    let read = manifest.sources.iter().filter(|source| source.role == view);
    read.map(|source| source.path.rsplit_once("/ds=").map_or("", |(_, day)| day)).collect()
}

async fn retrieve(
    world: &World,
    engine: &dyn RetrievalEngine,
    request: RetrievalRequest,
) -> (String, Manifest) {
    let output = request.output.clone().unwrap();
    let request = RetrievalRequest { preserve_order: true, full_feature_names: true, ..request };
    let manifest = world.run(engine, &request, &output, false).await.unwrap().manifest;
    (shown(&world.rows(&output, &manifest).await), manifest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn days_out_of_reach_are_not_opened_on_any_engine() {
    let mut world = World::new();
    thirty_days(&world.path("view"));
    spine(&world, &[START + 20 * DAY, START + 21 * DAY]);
    add_view(&mut world, "plain", "view", Some(2 * DAY), None);
    add_view(&mut world, "dated", "view", Some(2 * DAY), Some("ds"));
    add_view(&mut world, "globbed", "view/*/*.parquet", Some(2 * DAY), Some("ds"));
    add_view(&mut world, "unlimited", "view", None, Some("ds"));
    let features = ["plain:x", "dated:x", "globbed:x", "unlimited:x"];
    for engine in engines::some(&world.stores).await {
        let (name, engine) = (engine.name.as_str(), engine.engine.as_ref());
        let (rows, manifest) = retrieve(&world, engine, world.request(&features, name)).await;
        let expected = "\
+----+---------------------+----------+----------+------------+--------------+
| id | event_timestamp     | plain__x | dated__x | globbed__x | unlimited__x |
+----+---------------------+----------+----------+------------+--------------+
| 1  | 2026-01-21T00:00:00 | 19       | 19       | 19         | 19           |
| 2  | 2026-01-22T00:00:00 | 20       | 20       | 20         | 20           |
+----+---------------------+----------+----------+------------+--------------+";
        assert_eq!(rows, expected, "{name}");
        assert_eq!(files_of(&manifest, "plain").len(), 30, "{name}");
        // From 2026-01-19 to 2026-01-22 at midnight, a day more at either end for the zones of the world, and the first and
        // last of all.
        let within = ["01-01", "01-18", "01-19", "01-20", "01-21", "01-22", "01-30"];
        let within: Vec<String> = within.iter().map(|day| format!("2026-{day}/part.parquet")).collect();
        assert_eq!(files_of(&manifest, "dated"), within, "{name}");
        assert_eq!(files_of(&manifest, "globbed"), within, "{name}");
        // Every day up to 2026-01-22, and the first and the last of those after it.
        assert_eq!(files_of(&manifest, "unlimited").len(), 24, "{name}");
        let notes = manifest.report.notes.join("\n");
        assert!(
            notes.contains("feature view `dated`: 25 of 30 days of `ds` are out of the spine's reach"),
            "{notes}"
        );
    }
}

#[tokio::test]
async fn all_days_are_read_where_reasons_are_counted_and_one_instant_is_enough_to_prune_by() {
    let mut world = World::new();
    thirty_days(&world.path("view"));
    add_view(&mut world, "dated", "view", Some(2 * DAY), Some("ds"));
    spine(&world, &[START + 20 * DAY, START + 25 * DAY, START - DAY]);
    let engine = world.embedded(JoinForm::LateFold, 2);
    let request = RetrievalRequest { exact_reasons: true, ..world.request(&["dated:x"], "exact") };
    let (_, manifest) = retrieve(&world, &engine, request).await;
    assert_eq!(files_of(&manifest, "dated").len(), 30);
    let because = manifest.report.views[0].none_in_reach_because.unwrap();
    assert_eq!((because.no_such_key, because.only_later, because.expired), (0, 1, 0));

    let from = SpineFrom::AsOf("2026-01-21T00:00:00Z".to_owned());
    let from = SpineRequest { from, timestamp_column: None };
    let request = RetrievalRequest { spine: from, ..world.request(&["dated:x"], "as_of") };
    let (rows, manifest) = retrieve(&world, &engine, request).await;
    assert_eq!(rows.lines().count(), 4 + 3, "{rows}");
    assert!(!rows.lines().skip(3).any(|line| line.ends_with("|          |")), "{rows}");
    // 2026-01-19 to 2026-01-21, a day at either end, the first and the last.
    assert_eq!(files_of(&manifest, "dated").len(), 6);
}

#[tokio::test]
async fn a_spine_without_instants_and_a_source_out_of_reach_have_no_features() {
    let mut world = World::new();
    thirty_days(&world.path("view"));
    add_view(&mut world, "dated", "view", Some(2 * DAY), Some("ds"));
    let engine = world.embedded(JoinForm::LateFold, 2);
    spine(&world, &[START + 900 * DAY]);
    let (_, manifest) = retrieve(&world, &engine, world.request(&["dated:x"], "late")).await;
    assert_eq!(files_of(&manifest, "dated").len(), 2, "the first and the last show the columns");
    assert_eq!(manifest.report.views[0].none_in_reach, 1);
    let nothing: ArrayRef = Arc::new(TimestampSecondArray::from(vec![None::<i64>]));
    world.write("spine.parquet", vec![("id", ints(&[1])), ("event_timestamp", nothing)]);
    let (_, manifest) = retrieve(&world, &engine, world.request(&["dated:x"], "never")).await;
    assert_eq!(manifest.report.views[0].null_instant, 1);
}

/// Rows in the folders of their days in some zone of the world, ttl, spine and layout at random: with the promise everything
/// is as the naive loop has it without.
#[tokio::test]
async fn the_promise_changes_no_row_whatever_the_zone_of_the_writer() {
    let mut skipped = 0;
    for seed in 0..40 {
        let mut dice = Dice(seed);
        let mut world = World::new();
        let minutes = (dice.small(105) - 48) * 15;
        let mut days: std::collections::BTreeMap<String, Vec<(i64, i64, i64)>> = Default::default();
        for row in 0..200 {
            let at = START + dice.small(20 * 96) * 900 - i64::from(dice.one_in(2));
            let day = date(at, minutes);
            let folder = match dice.roll(40) {
                0 => "ds=__HIVE_DEFAULT_PARTITION__".to_owned(),
                1 => "ds=unknown".to_owned(),
                2 => "other".to_owned(),
                3 | 4 => format!("ds={}", day.replace('-', "")),
                5 | 6 => format!("ds={day} 00%3A00%3A00"),
                _ => format!("ds={day}"),
            };
            days.entry(folder).or_default().push((dice.small(4), at, row));
        }
        let above = if dice.one_in(3) { "country=FR/" } else { "" };
        for (folder, rows) in days {
            let (ids, (times, xs)): (Vec<_>, (Vec<_>, Vec<_>)) =
                rows.into_iter().map(|(id, at, x)| (id, (at, x))).unzip();
            world.write(
                &format!("view/{above}{folder}/part.parquet"),
                vec![("id", ints(&ids)), ("t", seconds(&times)), ("x", ints(&xs))],
            );
        }
        let ttl = [None, Some(0), Some(900), Some(DAY), Some(5 * DAY)][dice.index(5)];
        let path = if dice.one_in(3) { format!("view/{above}*/*.parquet") } else { "view".to_owned() };
        add_view(&mut world, "plain", &path, ttl, None);
        add_view(&mut world, "dated", &path, ttl, Some("ds"));
        let about = dice.small(20 * 96) * 900;
        let instants: Vec<i64> = (0..30).map(|_| START + about + dice.small(40) * 900).collect();
        spine(&world, &instants);
        let naive = world.embedded(JoinForm::NaiveLoop, 1);
        let late = world.embedded(JoinForm::LateFold, 3);
        let (expected, _) = retrieve(&world, &naive, world.request(&["plain:x"], "naive")).await;
        let (found, manifest) = retrieve(&world, &late, world.request(&["dated:x"], "late")).await;
        assert_eq!(found.replace("dated", "plain"), expected, "seed {seed}, {minutes} minutes, ttl {ttl:?}");
        skipped +=
            manifest.report.notes.iter().filter(|note| note.contains("out of the spine's reach")).count();
    }
    assert!(skipped > 15, "days are passed over often enough to say something: {skipped}");
}

/// A world on an S3 server with thirty days in its bucket `data`.
fn remote() -> (World, S3Server) {
    let folder = tempfile::tempdir().unwrap().keep();
    let server = S3Server::start(&folder);
    server.create_bucket("data");
    thirty_days(&folder.join("data/view"));
    let options = StorageOptions { environment: server.environment(), ..StorageOptions::default() };
    (World::with_stores(Stores::new(options)), server)
}

fn is_listing(request: &Request) -> bool {
    request.method == "GET" && request.query.contains("list-type=2")
}

/// Requests for the end of a file: those that read footers.
fn footers(requests: &[Request]) -> usize {
    let gets = requests.iter().filter(|request| request.method == "GET" && !is_listing(request));
    // Last byte asked for: a file's greatest is its end; page indexes lie before.
    let asked = gets.map(|request| {
        let last = request.range.as_deref().and_then(|range| range.rsplit('-').next()?.parse::<u64>().ok());
        (&request.path, last.unwrap_or(u64::MAX))
    });
    let asked: Vec<(&String, u64)> = asked.collect();
    let end = |path: &String| asked.iter().filter(|(other, _)| *other == path).map(|(_, last)| *last).max();
    asked.iter().filter(|(path, last)| end(path) == Some(*last)).count()
}

#[tokio::test]
async fn on_an_object_store_only_days_within_reach_are_listed() {
    let (mut world, server) = remote();
    add_view(&mut world, "dated", "s3://data/view", Some(2 * DAY), Some("ds"));
    spine(&world, &[START + 20 * DAY]);
    let engine = world.embedded(JoinForm::LateFold, 2);
    let (rows, _) = retrieve(&world, &engine, world.request(&["dated:x"], "out")).await;
    assert!(rows.contains("| 19 "), "{rows}");
    let listings: Vec<String> =
        server.requests().into_iter().filter(is_listing).map(|request| request.query).collect();
    let of_days = listings.iter().filter(|query| query.contains("2026-01-")).count();
    // The folder's own, the days from 2026-01-18 to 2026-01-21, the first and the last.
    assert_eq!((listings.len(), of_days), (7, 6), "{listings:?}");
    assert!(!server.requests().iter().any(|request| request.path.contains("2026-01-10")));
}

#[tokio::test]
async fn views_of_one_source_share_its_listing_and_its_footers() {
    let count = async |views: usize, days: Option<&str>| {
        let (mut world, server) = remote();
        let names: Vec<String> = (0..views).map(|view| format!("v{view}")).collect();
        for name in &names {
            add_view(&mut world, name, "s3://data/view", Some(DAY), days);
        }
        spine(&world, &[START + 20 * DAY]);
        let features: Vec<String> = names.iter().map(|name| format!("{name}:x")).collect();
        let features: Vec<&str> = features.iter().map(String::as_str).collect();
        let request = world.request(&features, "unused");
        let bases = backsight_retrieval::Bases::new(world.folder.path(), world.folder.path());
        let request = RetrievalRequest { full_feature_names: true, ..request };
        let form = JoinForm::SlotFold.into();
        backsight_retrieval::prepare(&world.stores, &world.catalog, &request, bases, form).await.unwrap();
        let requests = server.requests();
        let heads = requests.iter().filter(|request| request.method == "HEAD").count();
        (requests.iter().filter(|request| is_listing(request)).count(), heads, footers(&requests))
    };
    // Whether it is a file is asked once, it is listed once, and each of its files is opened once.
    assert_eq!(count(1, None).await, (1, 1, 30));
    assert_eq!(count(5, None).await, (1, 1, 30));
    assert_eq!(count(5, Some("ds")).await, count(1, Some("ds")).await);
}
