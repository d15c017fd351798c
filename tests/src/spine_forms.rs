//! One random table in every form of spine gives the same dataset: the form of a file says nothing about its rows.

use std::fs::File;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use backsight_asof::JoinForm;
use backsight_registry::model::ValueType;
use backsight_retrieval::{RetrievalRequest, SpineFrom, SpineRequest};

use crate::dice::Dice;
use crate::random::texts;
use crate::world::{ViewSpec, World, write_parquet};

/// Tables tried; each is a new seed.
const TABLES: u64 = 4;

/// Texts that are hard on text: quotes, separators, line breaks, what looks like something else, and more than ASCII.
const TEXTS: [&str; 12] = [
    "007",
    "a,b",
    "say \"x\"",
    "two\nlines",
    " edge ",
    "ü",
    "true",
    "1e5",
    "2026-01-01",
    "\\u0041",
    "{\"a\": 1}",
    "\t",
];

fn maybe<T>(dice: &mut Dice, value: T) -> Option<T> {
    if dice.one_in(8) { None } else { Some(value) }
}

/// A table of every type that text can carry. The first row has no nulls, so that every file's columns have their type.
fn table(dice: &mut Dice, rows: usize) -> Vec<(&'static str, ArrayRef)> {
    let mut columns: (Vec<_>, Vec<_>, Vec<_>, Vec<_>, Vec<_>, Vec<_>) = Default::default();
    for row in 0..rows {
        let mut dice_of_row = Dice(dice.next());
        let dice = &mut dice_of_row;
        let text = TEXTS[dice.index(TEXTS.len())];
        let half = f64::from(i32::try_from(dice.small(1_000)).unwrap()) + 0.5;
        let (id, count, flag) = (dice.small(6), dice.small(1 << 40), dice.one_in(2));
        let at = dice.small(300) * 1_000_000 + dice.small(1_000_000);
        let keep = row == 0;
        columns.0.push(Some(format!("00{id}")).filter(|_| keep || !dice.one_in(8)));
        columns.1.push(if keep { Some(at) } else { maybe(dice, at) });
        columns.2.push(if keep { Some("two\nlines, \"ü\"") } else { maybe(dice, text) });
        columns.3.push(if keep { Some(count) } else { maybe(dice, count) });
        columns.4.push(if keep { Some(half) } else { maybe(dice, half) });
        columns.5.push(if keep { Some(flag) } else { maybe(dice, flag) });
    }
    vec![
        ("id", Arc::new(StringArray::from(columns.0)) as ArrayRef),
        ("event_timestamp", Arc::new(TimestampMicrosecondArray::from(columns.1).with_timezone("UTC"))),
        ("text", Arc::new(StringArray::from(columns.2))),
        ("count", Arc::new(Int64Array::from(columns.3))),
        ("half", Arc::new(Float64Array::from(columns.4))),
        ("flag", Arc::new(BooleanArray::from(columns.5))),
    ]
}

/// Writes a table as the form that `name` ends with.
fn write(
    world: &World,
    name: &str,
    compression: Option<CompressionType>,
    columns: &[(&'static str, ArrayRef)],
) {
    let path = world.path(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let columns = || columns.iter().map(|(name, column)| (*name, Arc::clone(column), true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns()).unwrap();
    let options = || IpcWriteOptions::default().try_with_compression(compression).unwrap();
    let create = || File::create(&path).unwrap();
    match name.rsplit_once('.').unwrap().1 {
        "parquet" => write_parquet(&path, 7, columns().map(|(name, column, _)| (name, column)).collect()),
        "csv" => arrow::csv::Writer::new(create()).write(&batch).unwrap(),
        "jsonl" => {
            let mut writer = arrow::json::LineDelimitedWriter::new(create());
            writer.write(&batch).unwrap();
            writer.finish().unwrap();
        }
        "arrow" => {
            let mut writer = FileWriter::try_new_with_options(create(), &batch.schema(), options()).unwrap();
            writer.write(&batch).unwrap();
            writer.finish().unwrap();
        }
        _ => {
            let mut writer =
                StreamWriter::try_new_with_options(create(), &batch.schema(), options()).unwrap();
            // In two batches.
            let half = batch.num_rows() / 2;
            writer.write(&batch.slice(0, half)).unwrap();
            writer.write(&batch.slice(half, batch.num_rows() - half)).unwrap();
            writer.finish().unwrap();
        }
    }
}

async fn dataset(world: &World, uri: &str, number: usize) -> Vec<String> {
    let engine = world.embedded(JoinForm::LateFold, 2);
    let output = format!("out-{number}");
    let request = RetrievalRequest {
        spine: SpineRequest { from: SpineFrom::Files(uri.to_owned()), timestamp_column: None },
        preserve_order: true,
        ..world.request(&["view:x"], &output)
    };
    let finished = world.run(&engine, &request, &output, false).await;
    let manifest = finished.unwrap_or_else(|error| panic!("{uri}: {error}")).manifest;
    texts(&world.rows(&output, &manifest).await)
}

#[tokio::test]
async fn every_form_of_a_table_gives_the_same_rows_in_the_same_order() {
    let lz4 = Some(CompressionType::LZ4_FRAME);
    let forms = [
        ("parquet", None),
        ("csv", None),
        ("jsonl", None),
        ("arrow", None),
        ("arrow", lz4),
        ("arrow", Some(CompressionType::ZSTD)),
        ("arrows", None),
        ("arrows", lz4),
    ];
    for seed in 0..TABLES {
        let mut dice = Dice(seed);
        let mut world = World::new();
        let ids: Vec<String> = (0..6).map(|id| format!("00{id}")).collect();
        let view: Vec<(&str, ArrayRef)> = vec![
            ("id", Arc::new(StringArray::from(ids))),
            ("t", Arc::new(arrow::array::TimestampSecondArray::from(vec![0, 50, 100, 150, 200, 250]))),
            ("x", Arc::new(Int64Array::from_iter_values(0..6))),
        ];
        world.write("view.parquet", view);
        world.add_view(&ViewSpec::default());
        world.catalog.feature_views[0].join_keys[0].value_type = ValueType(2);
        let rows = 2 + dice.index(60);
        let whole = table(&mut dice, rows);
        // Folders as partitioned writers make them: their names are no columns.
        let parts: Vec<Vec<(&str, ArrayRef)>> = (0..1 + dice.index(3)).map(|_| table(&mut dice, 9)).collect();
        let mut expected: Option<[Vec<String>; 2]> = None;
        for (number, (ending, compression)) in forms.iter().enumerate() {
            let file = format!("whole{number}.{ending}");
            write(&world, &file, *compression, &whole);
            for (part, columns) in parts.iter().enumerate() {
                let name = format!("parts{number}/day=2026-01-0{}/part.{ending}", part + 1);
                write(&world, &name, *compression, columns);
            }
            let found = [
                dataset(&world, &file, 2 * number).await,
                dataset(&world, &format!("parts{number}"), 2 * number + 1).await,
            ];
            assert_eq!([found[0].len(), found[1].len()], [rows, parts.len() * 9], "{ending}");
            match &expected {
                None => expected = Some(found),
                Some(expected) => assert_eq!(&found, expected, "seed {seed}, {ending} {compression:?}"),
            }
        }
    }
}
