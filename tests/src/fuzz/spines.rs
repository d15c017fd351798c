//! Files of spine rows and footers of sources: damaged ones are refused with the file's name, never read as fewer rows.

use std::fs::File;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, ListArray, RecordBatch, StringArray, TimestampSecondArray,
};
use arrow::datatypes::Int64Type;
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use backsight_asof::JoinForm;
use backsight_engine::EmbeddedEngine;
use backsight_retrieval::{Bases, SpineFrom, SpineRequest, prepare, stage_local_spine};
use backsight_storage::Location;
use tokio::runtime::Runtime;

use super::mutate::Shape;
use super::runner::{Target, answer, fuzz};
use crate::world::{ViewSpec, World};

/// A view of integer keys.
fn world() -> World {
    let mut world = World::new();
    let ints = |values: &[i64]| -> ArrayRef { Arc::new(Int64Array::from(values.to_vec())) };
    let seconds: ArrayRef = Arc::new(TimestampSecondArray::from(vec![10, 20, 30]));
    world.write("view.parquet", vec![("id", ints(&[1, 2, 3])), ("t", seconds), ("x", ints(&[7, 8, 9]))]);
    world.add_view(&ViewSpec::default());
    world
}

fn batch() -> RecordBatch {
    let lists = [Some(vec![Some(1), None]), None, Some(vec![])];
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(vec![Some(1), Some(2), None]))),
        ("event_timestamp", Arc::new(TimestampSecondArray::from(vec![Some(15), None, Some(35)]))),
        ("label", Arc::new(StringArray::from(vec![Some("good"), None, Some("ü")]))),
        ("weight", Arc::new(Float64Array::from(vec![Some(0.5), Some(f64::NAN), None]))),
        ("list", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap()
}

fn staged(
    name: &'static str,
    file: &'static str,
    corpus: Vec<Vec<u8>>,
    words: &'static [&'static str],
    shape: Shape,
) {
    let world = world();
    let runtime = Runtime::new().unwrap();
    let folder = world.location("staged");
    let mut request = world.request(&["view:x"], "out");
    request.spine = SpineRequest { from: SpineFrom::Files(file.into()), timestamp_column: None };
    fuzz(Target {
        name,
        corpus,
        words,
        shape,
        inputs: 150,
        check: Box::new(move |bytes| {
            std::fs::write(world.path(file), bytes).unwrap();
            let staging =
                stage_local_spine(&world.stores, &world.catalog, &request, world.folder.path(), &folder);
            let result = match runtime.block_on(staging) {
                Ok(staged) => removed(staged),
                Err(error) => answered(&error, file),
            };
            let _ = std::fs::remove_dir_all(world.path("staged"));
            result
        }),
    });
}

fn removed(staged: Option<Location>) -> Result<(), String> {
    let path = staged.and_then(|staged| staged.local_path()).ok_or("nothing was staged")?;
    std::fs::remove_file(path).map_err(|error| format!("the staged file is not there: {error}"))
}

/// An error of input names the file and is no bug of ours.
fn answered(error: &backsight_retrieval::RetrievalError, file: &str) -> Result<(), String> {
    let text = error.to_string();
    answer(error.code(), error.hint(), error);
    match error.code().exit_status() {
        1 => Err(format!("answered as a bug: {text}")),
        3 if !text.contains(file) => Err(format!("the file is not named: {text}")),
        _ => Ok(()),
    }
}

#[test]
fn damaged_text_is_refused_or_read() {
    let csv = "\u{feff}id,event_timestamp,label\n1,1970-01-01T00:00:15Z,0.5\n\"2\",1970-01-01 00:00:30,\n,,\"a\"\"b\"\n";
    let words = &[
        "\"",
        "\"\"",
        ",",
        "\r\n",
        "\r",
        "\u{0}",
        "2026-02-30",
        "262143-12-31T23:59:59Z",
        "-1",
        "\u{feff}",
        "true",
    ];
    staged("csv", "s.csv", vec![csv.into(), "a\n1\n".into()], words, Shape::Text);
}

#[test]
fn damaged_json_lines_are_refused_or_read() {
    let lines = "{\"id\": 1, \"event_timestamp\": \"1970-01-01T00:00:15Z\", \"tags\": [\"a\", [1], {\"b\": null}]}\n\
                 {\"id\": 2, \"weight\": 2e10, \"o\": {\"p\": {\"q\": [true]}}}\n";
    let words = &[
        "{",
        "[",
        "]",
        "}",
        "\\ud800",
        "\\u0000",
        "null",
        "1e999",
        "\"a\":",
        ",",
        "18446744073709551615",
        "\n",
    ];
    staged("json-lines", "s.jsonl", vec![lines.into(), "{\"id\": 1}\n".into()], words, Shape::Text);
}

#[test]
fn damaged_arrow_files_are_refused_or_read() {
    let batch = batch();
    let mut corpus = Vec::new();
    for compression in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
        let options = || IpcWriteOptions::default().try_with_compression(compression).unwrap();
        let mut file = FileWriter::try_new_with_options(Vec::new(), &batch.schema(), options()).unwrap();
        let mut stream = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options()).unwrap();
        for _ in 0..2 {
            file.write(&batch).unwrap();
            stream.write(&batch).unwrap();
        }
        file.finish().unwrap();
        stream.finish().unwrap();
        corpus.extend([file.into_inner().unwrap(), stream.into_inner().unwrap()]);
    }
    staged("arrow-ipc", "s.arrow", corpus, &["ARROW1", "\u{0}\u{0}\u{0}\u{0}"], Shape::Bytes);
}

#[test]
fn damaged_parquet_is_refused_or_read() {
    let world = world();
    let runtime = Runtime::new().unwrap();
    let engine: EmbeddedEngine = world.embedded(JoinForm::LateFold, 2);
    world.write_groups("s.parquet", 2, batch_columns());
    let spine = std::fs::read(world.path("s.parquet")).unwrap();
    let source = std::fs::read(world.path("view.parquet")).unwrap();
    let mut request = world.request(&["view:x"], "out");
    request.spine = SpineRequest { from: SpineFrom::Files("s.parquet".into()), timestamp_column: None };
    fuzz(Target {
        name: "parquet",
        corpus: vec![
            spine,
            source,
            // Found by this target: a panic in planning, and one in a decoder.
            include_bytes!("testdata/column_before_the_file.parquet").to_vec(),
            include_bytes!("testdata/dictionary_missing.parquet").to_vec(),
        ],
        words: &["PAR1", "PARE"],
        shape: Shape::Bytes,
        inputs: 150,
        check: Box::new(move |bytes| {
            // The damaged file once as the spine, once as the source.
            for file in ["s.parquet", "view.parquet"] {
                let sound = std::fs::read(world.path(file)).unwrap();
                std::fs::write(world.path(file), bytes).unwrap();
                let bases = Bases::new(world.folder.path(), world.folder.path());
                let planned = prepare(&world.stores, &world.catalog, &request, bases, engine_form());
                let prepared = runtime.block_on(planned);
                let result = match prepared {
                    Ok(_) => match runtime.block_on(world.run(&engine, &request, "id", true)) {
                        Ok(finished) if finished.manifest.rows == 3 || file == "s.parquet" => Ok(()),
                        Ok(finished) => Err(format!("{} rows came out", finished.manifest.rows)),
                        Err(error) => answered(&error, file),
                    },
                    Err(error) => answered(&error, file),
                };
                let _ = std::fs::remove_dir_all(world.path("out"));
                File::create(world.path(file))
                    .and_then(|mut f| std::io::Write::write_all(&mut f, &sound))
                    .unwrap();
                result.map_err(|found| format!("as {file}: {found}"))?;
            }
            Ok(())
        }),
    });
}

fn engine_form() -> backsight_retrieval::FormChoice {
    JoinForm::LateFold.into()
}

fn batch_columns() -> Vec<(&'static str, ArrayRef)> {
    let batch = batch();
    ["id", "event_timestamp", "label", "weight", "list"]
        .into_iter()
        .map(|name| (name, Arc::clone(batch.column_by_name(name).unwrap())))
        .collect()
}
