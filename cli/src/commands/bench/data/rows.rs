//! The rows themselves: keys, instants and values of any range of rows of a table.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::error::ArrowError;

use super::files::{FilePlan, Table};
use super::random::{Stream, below, mix};
use crate::commands::bench::spec::{EntitySpec, FeatureType, KeyType, Skew, Spec, ViewSpec};

/// Purposes of streams; values of features come after them.
const KEY: u64 = 0;
const TIME: u64 = 1;
const NULL_KEY: u64 = 2;
const NULL_INSTANT: u64 = 3;
const TIE: u64 = 4;
const DISORDER: u64 = 5;
const LATE: u64 = 6;
const LABEL: u64 = 7;
const NULL_VALUE: u64 = 8;
const ENTITY_KEYS: u64 = 100;
const VALUES: u64 = 1_000;

const SECOND_MICROS: i64 = 1_000_000;
/// A row is written down within ten minutes, after a time that is the key's own.
const DELAY_SECONDS: u64 = 600;

/// Some rows of a file; `rows` counts within the table.
///
/// # Errors
/// None that a specification without problems could cause.
pub(crate) fn batch(spec: &Spec, file: &FilePlan, rows: Range<u64>) -> Result<RecordBatch, ArrowError> {
    let columns = match file.table {
        Table::Spine => spine(spec, file, rows),
        Table::View(position) => match spec.views.get(position) {
            Some(view) => of_view(spec, position as u64 + 1, view, file, rows),
            None => Vec::new(),
        },
    };
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
}

type Columns = Vec<(String, ArrayRef)>;

fn spine(spec: &Spec, file: &FilePlan, rows: Range<u64>) -> Columns {
    let stream = |purpose: u64| Stream::new(spec.seed, [0, purpose]);
    let twin = Twins { stream: stream(TIE), share: spec.spine.ties, first: file.rows.start };
    let mut columns = Columns::new();
    for (number, entity) in spec.entities.iter().enumerate() {
        let keys = stream(ENTITY_KEYS + number as u64);
        let null = stream(NULL_KEY);
        let null_share = if number == 0 { spec.spine.null_keys } else { 0.0 };
        let key = |row: u64| {
            let base = twin.of(row);
            (!null.is_among(base, null_share)).then(|| key_number(entity.skew, entity.keys, keys.unit(base)))
        };
        columns.extend(key_columns(entity, &rows.clone().map(key).collect::<Vec<_>>()));
    }
    let (time, null) = (stream(TIME), stream(NULL_INSTANT));
    let instants = rows.clone().map(|row| {
        let base = twin.of(row);
        let is_null = null.is_among(base, spec.spine.null_instants);
        (!is_null).then(|| within(&file.micros, time.unit(base)))
    });
    columns.push(("event_timestamp".to_owned(), timestamps(instants)));
    let label = stream(LABEL);
    let labels = Int32Array::from_iter_values(rows.map(|row| i32::from(label.bits(row) & 1 == 1)));
    columns.push(("label".to_owned(), Arc::new(labels)));
    columns
}

fn of_view(spec: &Spec, table: u64, view: &ViewSpec, file: &FilePlan, rows: Range<u64>) -> Columns {
    let stream = |purpose: u64| Stream::new(spec.seed, [table, purpose]);
    let Some(entity) = spec.entities.get(view.entity) else { return Columns::new() };
    let twin = Twins { stream: stream(TIE), share: view.ties, first: file.rows.start };
    let keys = stream(KEY);
    let numbers: Vec<u64> =
        rows.clone().map(|row| key_number(view.skew, view.keys, keys.unit(twin.of(row)))).collect();
    let null = stream(NULL_KEY);
    let visible = rows.clone().zip(&numbers);
    let visible = visible.map(|(row, &key)| (!null.is_among(row, view.null_keys)).then_some(key));
    let mut columns = key_columns(entity, &visible.collect::<Vec<_>>());
    let (time, disorder) = (stream(TIME), stream(DISORDER));
    let event = |row: u64| {
        let (base, unit) = (twin.of(row), time.unit(twin.of(row)));
        if view.disorder >= 1.0 || disorder.is_among(base, view.disorder) {
            return within(&file.micros, unit);
        }
        // Its own slice of the file's time: whatever falls in it, it comes after the row before.
        #[expect(clippy::cast_precision_loss, reason = "rows of a file are far below 2^53")]
        let place = ((base - file.rows.start) as f64 + unit) / (file.rows.end - file.rows.start) as f64;
        within(&file.micros, place)
    };
    let events: Vec<i64> = rows.clone().map(event).collect();
    let late = stream(LATE);
    let created = rows.clone().zip(&numbers).zip(&events).map(|((row, &key), &event)| {
        let seconds = mix(key) % DELAY_SECONDS;
        let delay = i64::try_from(seconds).unwrap_or(0) * SECOND_MICROS;
        let base = twin.of(row);
        let is_late = late.is_among(base, view.late);
        let later = if is_late { below(late.unit(base) / view.late, view.late_hours * 3_600) } else { 0 };
        Some(event + delay + i64::try_from(later).unwrap_or(0) * SECOND_MICROS)
    });
    let created = timestamps(created);
    columns.push(("event_timestamp".to_owned(), timestamps(events.iter().map(|&event| Some(event)))));
    columns.push(("created".to_owned(), created));
    for (number, (name, kind)) in view.feature_columns().enumerate() {
        let purpose = VALUES + 2 * number as u64;
        let values = Values {
            bits: stream(purpose),
            null: stream(purpose + 1 + NULL_VALUE),
            null_share: view.null_values,
        };
        columns.push((name, values.column(kind, rows.clone())));
    }
    columns
}

/// Rows that have the key and times of the row before them: every second one may be such a twin.
#[derive(Clone, Copy)]
struct Twins {
    stream: Stream,
    share: f64,
    /// The file's first row has nobody before it.
    first: u64,
}

impl Twins {
    /// The row whose key and times a row has.
    fn of(&self, row: u64) -> u64 {
        let is_twin = row % 2 == 1 && row > self.first && self.stream.is_among(row, 2.0 * self.share);
        row - u64::from(is_twin)
    }
}

/// The number of a key, from an even share of 0 to 1.
fn key_number(skew: Skew, keys: u64, unit: f64) -> u64 {
    match skew {
        Skew::Uniform => below(unit, keys),
        Skew::Hot(share) if unit < share => 0,
        Skew::Hot(share) => below((unit - share) / (1.0 - share), keys),
        Skew::Zipf(exponent) => {
            // The tail of a Pareto distribution, cut at the last key.
            let tail = if exponent > 1.0 { exponent - 1.0 } else { exponent };
            let place = (1.0 - unit).powf(-1.0 / tail) - 1.0;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "not negative, and cut off above"
            )]
            let number = place as u64;
            number.min(keys - 1)
        }
    }
}

fn within(micros: &Range<i64>, unit: f64) -> i64 {
    let span = u64::try_from(micros.end - micros.start).unwrap_or(0);
    micros.start + i64::try_from(below(unit, span)).unwrap_or(0)
}

fn timestamps(micros: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(micros.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

/// The columns of keys by number; further columns follow from the number as well.
fn key_columns(entity: &EntitySpec, numbers: &[Option<u64>]) -> Columns {
    let names = entity.join_keys().into_iter().zip(0_u64..);
    names.map(|(name, place)| (name, key_column(entity, place, numbers))).collect()
}

fn key_column(entity: &EntitySpec, place: u64, numbers: &[Option<u64>]) -> ArrayRef {
    let of = |number: u64| if place == 0 { number } else { mix(number.wrapping_add(place << 48)) % 1_000 };
    let numbers = numbers.iter().map(|number| number.map(of));
    match entity.key_type {
        KeyType::Int64 => {
            let numbers = numbers.map(|number| number.and_then(|number| i64::try_from(number).ok()));
            Arc::new(numbers.collect::<Int64Array>())
        }
        KeyType::String => {
            let name = &entity.name;
            Arc::new(numbers.map(|number| Some(format!("{name}-{:010}", number?))).collect::<StringArray>())
        }
    }
}

/// The values of a feature.
struct Values {
    bits: Stream,
    null: Stream,
    null_share: f64,
}

impl Values {
    fn column(&self, kind: FeatureType, rows: Range<u64>) -> ArrayRef {
        match kind {
            FeatureType::Float32 => Arc::new(self.of(rows, thousandths32).collect::<Float32Array>()),
            FeatureType::Float64 => Arc::new(self.of(rows, thousandths).collect::<Float64Array>()),
            FeatureType::Int32 => Arc::new(
                self.of(rows, |bits| i32::try_from(bits % 1_000_000).unwrap_or(0)).collect::<Int32Array>(),
            ),
            FeatureType::Int64 => Arc::new(
                self.of(rows, |bits| i64::try_from(bits % 1_000_000_000).unwrap_or(0))
                    .collect::<Int64Array>(),
            ),
            FeatureType::Bool => Arc::new(self.of(rows, |bits| bits & 1 == 1).collect::<BooleanArray>()),
            FeatureType::String => {
                Arc::new(self.of(rows, |bits| format!("value-{:04}", bits % 10_000)).collect::<StringArray>())
            }
        }
    }

    fn of<T>(&self, rows: Range<u64>, value: impl Fn(u64) -> T) -> impl Iterator<Item = Option<T>> {
        rows.map(move |row| (!self.null.is_among(row, self.null_share)).then(|| value(self.bits.bits(row))))
    }
}

fn thousandths(bits: u64) -> f64 {
    f64::from(u32::try_from(bits % 1_000_000).unwrap_or(0)) / 1_000.0
}

#[expect(clippy::cast_possible_truncation, reason = "a value is what is left of it")]
fn thousandths32(bits: u64) -> f32 {
    thousandths(bits) as f32
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::compute::concat_batches;
    use arrow::datatypes::{Int64Type, TimestampMicrosecondType};

    use super::*;
    use crate::commands::bench::data::plan_files;
    use crate::commands::bench::spec::{Layout, read};

    const RICH: &str = "
name: rich
spine: {rows: 1000, days: 10, null_keys: 0.1, null_instants: 0.05, ties: 0.2}
entities:
  - {name: user, keys: 50, columns: 2, key_type: string}
  - {name: shop, keys: 9}
views:
  - {name: a, rows: 4000, features: 7, types: [float32, float64, int32, int64, bool, string], late: 0.2, ties: 0.1, null_keys: 0.1, null_values: 0.3}
  - {name: b, entity: shop, rows: 3000, disorder: 0.1, layout: hive, files: 2, skew: {hot: 0.5}}
";

    fn rich() -> Spec {
        read("rich.yaml", RICH).unwrap()
    }

    fn table(spec: &Spec, table: Table, step: usize) -> RecordBatch {
        let mut batches = Vec::new();
        for file in plan_files(spec).iter().filter(|file| file.table == table) {
            for start in file.rows.clone().step_by(step) {
                let end = (start + step as u64).min(file.rows.end);
                batches.push(batch(spec, file, start..end).unwrap());
            }
        }
        concat_batches(&batches[0].schema(), &batches).unwrap()
    }

    fn numbers(batch: &RecordBatch, column: &str) -> Vec<Option<i64>> {
        let column = batch.column_by_name(column).unwrap();
        match column.as_primitive_opt::<Int64Type>() {
            Some(numbers) => numbers.iter().collect(),
            None => column.as_primitive::<TimestampMicrosecondType>().iter().collect(),
        }
    }

    #[test]
    fn a_seed_gives_the_same_rows_however_they_are_cut_and_another_seed_others() {
        let (spec, mut other) = (rich(), rich());
        other.seed = 8;
        for of in [Table::Spine, Table::View(0), Table::View(1)] {
            let whole = table(&spec, of, 10_000);
            assert_eq!(whole, table(&spec, of, 37), "{of:?}");
            assert_ne!(whole, table(&other, of, 10_000), "{of:?}");
        }
    }

    #[test]
    fn the_shares_are_what_was_asked_for() {
        let spec = rich();
        let spine = table(&spec, Table::Spine, 10_000);
        let names: Vec<_> = spine.schema().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, ["user_id", "user_id_2", "shop_id", "event_timestamp", "label"]);
        assert!((70..130).contains(&spine.column(0).null_count()));
        assert_eq!(spine.column(0).null_count(), spine.column(1).null_count());
        assert_eq!(spine.column(2).null_count(), 0);
        let view = table(&spec, Table::View(0), 10_000);
        let event = numbers(&view, "event_timestamp");
        let twins = event.windows(2).filter(|pair| pair[0] == pair[1]).count();
        assert!((320..480).contains(&twins), "{twins}");
        let created = numbers(&view, "created");
        let hour = 3_600_000_000;
        let late = event.iter().zip(&created).filter(|(e, c)| c.unwrap() - e.unwrap() > hour).count();
        assert!((640..900).contains(&late), "{late}");
        assert!((1_000..1_400).contains(&view.column_by_name("a_f3").unwrap().null_count()));
        assert_eq!(view.column_by_name("a_f6").unwrap().data_type().to_string(), "Float32");
    }

    #[test]
    fn a_hot_key_has_its_share_and_a_hive_its_days() {
        let spec = rich();
        assert_eq!(spec.views[1].layout, Layout::Hive);
        let view = table(&spec, Table::View(1), 10_000);
        let hot = numbers(&view, "shop_id").iter().filter(|key| **key == Some(0)).count();
        assert!((1_500..1_850).contains(&hot), "{hot}");
        for file in plan_files(&spec).iter().filter(|file| file.table == Table::View(1)) {
            let rows = batch(&spec, file, file.rows.clone()).unwrap();
            let event = numbers(&rows, "event_timestamp");
            assert!(event.iter().all(|event| file.micros.contains(&event.unwrap())), "{}", file.path);
            let descents = event.windows(2).filter(|pair| pair[0] > pair[1]).count();
            assert!(descents < event.len() / 4, "{descents} of {}", event.len());
        }
    }

    #[test]
    fn a_zipf_skew_has_a_heavy_head_and_stays_within_the_keys() {
        let stream = Stream::new(1, [0, 0]);
        let keys: Vec<u64> =
            (0..10_000).map(|row| key_number(Skew::Zipf(1.3), 100, stream.unit(row))).collect();
        assert!(keys.iter().all(|&key| key < 100));
        let head = keys.iter().filter(|&&key| key == 0).count();
        assert!((1_700..2_100).contains(&head), "{head}");
    }
}
