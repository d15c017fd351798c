//! Large inputs: many files, many columns, many views, large registries, many mistakes.
//!
//! `cargo test` runs them small and looks at what comes out. With `BACKSIGHT_SIZES=full` they are as large as their names
//! say and print their figures; run them one at a time, in a release build, for figures that mean something:
//!
//! ```text
//! BACKSIGHT_SIZES=full cargo test --release --workspace sizes:: -- --nocapture --test-threads=1
//! ```

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, TimestampSecondArray};
use arrow::datatypes::Int64Type;
use backsight_asof::JoinForm;
use backsight_registry::definitions::{LoadedRepo, SourceFile, check_definitions};
use backsight_registry::diff::{diff, plan_text};
use backsight_registry::document::{RegistryDocument, Stamp};
use backsight_registry::export::export;
use backsight_registry::model::Project;
use backsight_registry::problem::write_list;
use chrono::DateTime;
use uuid::Uuid;

use crate::world::{ViewSpec, World};

/// The size that is asked for.
#[expect(clippy::disallowed_methods, reason = "how large a test is, is said from outside")]
fn size(small: usize, full: usize) -> usize {
    if std::env::var("BACKSIGHT_SIZES").is_ok_and(|value| value == "full") { full } else { small }
}

fn ints(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

fn seconds(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampSecondArray::from_iter_values(values))
}

/// Prints how long something took, and the greatest memory of the process so far.
fn told<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let result = work();
    let memory = crate::fuzz::memory_kib().unwrap_or(0) >> 10;
    println!("{what}: {:.3} s, at most {memory} MiB", began.elapsed().as_secs_f64());
    result
}

fn number(index: usize) -> i64 {
    i64::try_from(index).unwrap()
}

#[test]
fn a_source_of_ten_thousand_files_gives_the_right_rows() {
    let files = size(300, 10_000);
    let mut world = World::new();
    told(&format!("{files} files, written"), || {
        for file in 0..files {
            let id = number(file);
            // Two schemas that widen to a third.
            let x: ArrayRef = match file % 2 {
                0 => Arc::new(Int32Array::from(vec![i32::try_from(id).unwrap(); 3])),
                _ => ints([id; 3]),
            };
            let mut columns = vec![("id", ints([id; 3])), ("t", seconds([10, 20, 30])), ("x", x)];
            if file % 2 == 1 {
                columns.push(("y", ints([id + 1, id + 2, id + 3])));
            }
            world.write(&format!("view/{file:05}.parquet"), columns);
        }
    });
    world.write(
        "spine.parquet",
        vec![("id", ints((0..files).map(number))), ("event_timestamp", seconds(vec![25; files]))],
    );
    world.add_view(&ViewSpec { path: "view", features: &["x", "y"], ..ViewSpec::default() });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let engine = world.embedded(JoinForm::LateFold, 2);
    let mut request = world.request(&["view:x", "view:y"], "out");
    request.preserve_order = true;
    let bases = backsight_retrieval::Bases::new(world.folder.path(), world.folder.path());
    told(&format!("{files} files, planned"), || {
        let planned = backsight_retrieval::prepare(
            &world.stores,
            &world.catalog,
            &request,
            bases,
            JoinForm::LateFold.into(),
        );
        runtime.block_on(planned).unwrap();
    });
    let finished = told(&format!("{files} files, retrieved"), || {
        runtime.block_on(world.run(&engine, &request, "id", false)).unwrap()
    });
    let rows = runtime.block_on(world.rows("out", &finished.manifest));
    let x: Vec<Option<i64>> = rows.column_by_name("x").unwrap().as_primitive::<Int64Type>().iter().collect();
    let y: Vec<Option<i64>> = rows.column_by_name("y").unwrap().as_primitive::<Int64Type>().iter().collect();
    assert_eq!(x, (0..files).map(|id| Some(number(id))).collect::<Vec<_>>());
    let expected = (0..files).map(|id| (id % 2 == 1).then(|| number(id) + 2));
    assert_eq!(y, expected.collect::<Vec<_>>());
}

/// Files of one writer, as wide as they are many: footers and columns are the cost, and are kept once where they are alike.
#[test]
fn two_thousand_files_of_two_thousand_columns_are_planned() {
    let (files, columns) = (size(40, 2_000), size(200, 2_000));
    let mut world = World::new();
    let names: Vec<String> = (0..columns).map(|column| format!("f{column:04}")).collect();
    told(&format!("{files} files of {columns} columns, written"), || {
        for file in 0..files {
            let mut of_file = vec![("id", ints([number(file)])), ("t", seconds([10]))];
            of_file.extend(
                names
                    .iter()
                    .enumerate()
                    .map(|(column, name)| (name.as_str(), ints([number(file * columns + column)]))),
            );
            // The last file has its columns the other way round.
            if file + 1 == files {
                of_file.reverse();
            }
            world.write(&format!("view/{file:05}.parquet"), of_file);
        }
    });
    let ids = (0..files).map(number);
    world.write("spine.parquet", vec![("id", ints(ids)), ("event_timestamp", seconds(vec![25; files]))]);
    let last = names[columns - 1].as_str();
    world.add_view(&ViewSpec { path: "view", features: &[last], ..ViewSpec::default() });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let engine = world.embedded(JoinForm::LateFold, 2);
    let mut request = world.request(&[&format!("view:{last}")], "out");
    request.preserve_order = true;
    let bases = backsight_retrieval::Bases::new(world.folder.path(), world.folder.path());
    let form = JoinForm::LateFold.into();
    told(&format!("{files} files of {columns} columns, planned"), || {
        let planned = backsight_retrieval::prepare(&world.stores, &world.catalog, &request, bases, form);
        runtime.block_on(planned).unwrap();
    });
    let finished = told(&format!("{files} files of {columns} columns, retrieved"), || {
        runtime.block_on(world.run(&engine, &request, "id", false)).unwrap()
    });
    let rows = runtime.block_on(world.rows("out", &finished.manifest));
    let found: Vec<i64> = rows.column(2).as_primitive::<Int64Type>().values().to_vec();
    assert_eq!(found, (0..files).map(|file| number(file * columns + columns - 1)).collect::<Vec<_>>());
}

/// Retrieves all features of `views` views of `features` each, and looks at every value.
fn wide(views: usize, features: usize) {
    const ROWS: usize = 50;
    let mut world = World::new();
    let names: Vec<String> = (0..features).map(|feature| format!("f{feature}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut references = Vec::new();
    for view in 0..views {
        let path = format!("v{view}.parquet");
        let mut columns = vec![("id", ints((0..ROWS).map(number))), ("t", seconds(vec![10; ROWS]))];
        for (feature, name) in names.iter().enumerate() {
            let base = number(view * features + feature) * 1_000;
            columns.push((name, ints((0..ROWS).map(|row| base + number(row)))));
        }
        world.write(&path, columns);
        let name = format!("v{view}");
        world.add_view(&ViewSpec { name: &name, path: &path, features: &names, ..ViewSpec::default() });
        references.extend(names.iter().map(|feature| format!("{name}:{feature}")));
    }
    world.write(
        "spine.parquet",
        vec![("id", ints((0..ROWS).map(number))), ("event_timestamp", seconds(vec![25; ROWS]))],
    );
    let references: Vec<&str> = references.iter().map(String::as_str).collect();
    let mut request = world.request(&references, "out");
    request.preserve_order = true;
    request.full_feature_names = true;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let engine = world.embedded(JoinForm::LateFold, 2);
    let finished = told(&format!("{views} views of {features} features"), || {
        runtime.block_on(world.run(&engine, &request, "id", false)).unwrap()
    });
    let rows = runtime.block_on(world.rows("out", &finished.manifest));
    assert_eq!(rows.num_columns(), 2 + views * features);
    for column in 0..views * features {
        let (view, feature) = (column / features, column % features);
        assert_eq!(rows.schema().field(2 + column).name(), &format!("v{view}__f{feature}"));
        let values = rows.column(2 + column).as_primitive::<Int64Type>();
        assert!((0..ROWS).all(|row| values.value(row) == number(column) * 1_000 + number(row)), "{column}");
    }
}

#[test]
fn one_view_of_two_thousand_features_gives_them_in_order() {
    wide(1, size(200, 2_000));
}

#[test]
fn two_hundred_views_give_their_features_in_order() {
    wide(size(20, 200), 10);
}

/// A repo of so many views, each with a source, in a few services.
fn repo(views: usize) -> LoadedRepo {
    let mut text = String::from("kind: Entity\nname: driver\njoin_keys: [driver_id]\nvalue_type: INT64\n");
    for view in 0..views {
        write!(
            text,
            "---\nkind: FileSource\nname: s{view}\npath: data/s{view}.parquet\ntimestamp_field: t\n\
             ---\nkind: FeatureView\nname: v{view}\nentities: [driver]\nsource: s{view}\n\
             schema: [{{name: a, dtype: Float32}}, {{name: b, dtype: Int64}}, {{name: c, dtype: String}}]\n"
        )
        .unwrap();
    }
    for service in 0..views.div_ceil(50) {
        let named: Vec<String> =
            (service * 50..views.min(service * 50 + 50)).map(|v| format!("v{v}")).collect();
        writeln!(text, "---\nkind: FeatureService\nname: m{service}\nfeatures: [{}]", named.join(", "))
            .unwrap();
    }
    let file = SourceFile { path: "repo.yaml".into(), text };
    check_definitions(&[file], Project::named("rides")).unwrap()
}

/// Loads, compares, applies, changes, compares and applies again; the registry's bytes.
fn life_of_a_registry(views: usize) -> Vec<u8> {
    let mut id = 0_u128;
    let mut next_id = || {
        id += 1;
        Uuid::from_u128(id)
    };
    let mut stamp = Stamp { now: DateTime::from_timestamp(1_800_000_000, 0).unwrap(), next_id: &mut next_id };
    let empty = RegistryDocument::parse(b"").unwrap();
    let mut repo = told(&format!("{views} views, loaded"), || repo(views));
    let applied =
        told(&format!("{views} views, applied"), || empty.apply(&repo.definitions, &mut stamp).unwrap());
    let bytes = applied.to_bytes();
    let read = told(&format!("{views} views, {} bytes parsed", bytes.len()), || {
        RegistryDocument::parse(&bytes).unwrap()
    });
    for view in &mut repo.definitions.feature_views {
        view.description = "another".to_owned();
    }
    let plan = told(&format!("{views} views, compared"), || {
        let plan = diff(&read.catalog("rides").unwrap(), &repo.definitions);
        plan_text(&plan, false);
        plan
    });
    assert_eq!(plan.changes.len(), views, "{}", plan.changes.len());
    let changed =
        told(&format!("{views} views, applied again"), || read.apply(&repo.definitions, &mut stamp).unwrap());
    assert!(!diff(&changed.catalog("rides").unwrap(), &repo.definitions).has_changes());
    told(&format!("{views} views, fingerprint"), || changed.project_fingerprint("rides"));
    told(&format!("{views} views, as JSON"), || changed.to_json().unwrap());
    let exported =
        told(&format!("{views} views, exported"), || export(&changed.catalog("rides").unwrap()).unwrap());
    assert!(!exported.plan.has_changes());
    bytes
}

#[test]
fn a_registry_of_five_hundred_views_is_changed() {
    life_of_a_registry(size(50, 500));
}

#[test]
fn a_registry_of_ten_megabytes_is_changed() {
    let views = size(100, 13_000);
    let bytes = life_of_a_registry(views);
    assert!(bytes.len() > views * 500, "{}", bytes.len());
}

#[test]
fn twenty_thousand_mistakes_are_answered_briefly() {
    let mistakes = size(2_000, 20_000);
    let mut text = String::from("kind: Entity\nname: driver\njoin_keys: [driver_id]\nvalue_type: INT64\n");
    for mistake in 0..mistakes {
        match mistake % 3 {
            0 => write!(text, "---\nkind: Entity\nname: e{mistake}\njoin_kyes: [k]\nvalue_type: INT46\n"),
            1 => {
                write!(text, "---\nkind: FeatureService\nname: m{mistake}\nfeatures: [v{mistake}x, drivre]\n")
            }
            _ => write!(
                text,
                "---\nkind: FeatureView\nname: v{mistake}\nentities: [drivre]\nsource: s{mistake}\n\
                 schema: [{{name: a, dtype: Flaot32}}]\n"
            ),
        }
        .unwrap();
    }
    let megabytes = text.len() as f64 / 1e6;
    let files = [SourceFile { path: "repo.yaml".into(), text }];
    let problems = told(&format!("{mistakes} mistakes in {megabytes:.1} MB"), || {
        check_definitions(&files, Project::named("rides")).unwrap_err()
    });
    assert!(problems.len() >= mistakes, "{}", problems.len());
    let mut report = String::new();
    write_list(&mut report, "the definitions", &problems).unwrap();
    assert!(report.lines().count() <= 210, "{}", report.lines().count());
    assert!(report.ends_with(" more"), "{report}");
}
