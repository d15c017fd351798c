//! Sample data: hourly statistics of five drivers, and a spine of trips. Made here, the same every time.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;

/// The drivers.
pub(crate) const DRIVERS: [i64; 5] = [1001, 1002, 1003, 1004, 1005];
/// 2026-03-01T00:00:00Z in seconds.
const FIRST_HOUR: i64 = 1_772_323_200;
const HOURS: i64 = 15 * 24;
const HOUR: i64 = 3_600;
const MICROS: i64 = 1_000_000;
/// Statistics are written down some minutes after the hour they are about.
const DELAY_SECONDS: i64 = 10 * 60;

/// Hourly statistics: `event_timestamp`, `driver_id`, `conv_rate`, `acc_rate`, `created`.
pub(crate) fn driver_stats() -> Result<RecordBatch, ArrowError> {
    let rows = || (0..HOURS).flat_map(|hour| DRIVERS.map(|driver| (FIRST_HOUR + hour * HOUR, driver)));
    let rate = |shift: u64| {
        Float32Array::from_iter_values(
            rows().map(|(second, driver)| share(second.unsigned_abs() ^ driver.unsigned_abs() << 40 ^ shift)),
        )
    };
    let instants = |delay: i64| {
        TimestampMicrosecondArray::from_iter_values(rows().map(|(second, _)| (second + delay) * MICROS))
            .with_timezone("UTC")
    };
    columns([
        ("event_timestamp", Arc::new(instants(0))),
        ("driver_id", Arc::new(Int64Array::from_iter_values(rows().map(|(_, driver)| driver)))),
        ("conv_rate", Arc::new(rate(1))),
        ("acc_rate", Arc::new(rate(2))),
        ("created", Arc::new(instants(DELAY_SECONDS))),
    ])
}

/// A spine: `driver_id`, `event_timestamp`, `trip_completed`. One trip is before all statistics, and one driver is
/// not in them, so that the join report has something to say.
pub(crate) fn trips() -> Result<RecordBatch, ArrowError> {
    let mut trips: Vec<(i64, i64, i64)> = Vec::new();
    for number in 0..18_i64 {
        let driver = DRIVERS[usize::try_from(number).unwrap_or(0) % DRIVERS.len()];
        let second = FIRST_HOUR + (5 + number * 19) * HOUR + (number * 547) % HOUR;
        trips.push((driver, second, i64::from(share(number.unsigned_abs()) > 0.4)));
    }
    trips.push((1001, FIRST_HOUR - HOUR, 1));
    trips.push((1099, FIRST_HOUR + 9 * HOUR, 0));
    let instants = trips.iter().map(|(_, second, _)| second * MICROS);
    columns([
        ("driver_id", Arc::new(Int64Array::from_iter_values(trips.iter().map(|(driver, _, _)| *driver)))),
        (
            "event_timestamp",
            Arc::new(TimestampMicrosecondArray::from_iter_values(instants).with_timezone("UTC")),
        ),
        ("trip_completed", Arc::new(Int64Array::from_iter_values(trips.iter().map(|(_, _, done)| *done)))),
    ])
}

/// A batch as the bytes of a Parquet file.
pub(crate) fn parquet_bytes(rows: &RecordBatch) -> Result<Vec<u8>, ParquetError> {
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), None)?;
    writer.write(rows)?;
    writer.into_inner()
}

fn columns<const N: usize>(columns: [(&str, ArrayRef); N]) -> Result<RecordBatch, ArrowError> {
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))
}

/// A share between 0 and 1 with four decimals, scattered by a fixed mix of `seed`.
fn share(seed: u64) -> f32 {
    let mut bits = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let thousandths = u16::try_from((bits ^ (bits >> 31)) % 10_000).unwrap_or(0);
    f32::from(thousandths) / 10_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_hourly_for_fifteen_days_and_always_the_same() {
        let stats = driver_stats().unwrap();
        assert_eq!(stats.num_rows(), 15 * 24 * 5);
        assert_eq!(parquet_bytes(&stats).unwrap(), parquet_bytes(&driver_stats().unwrap()).unwrap());
        let instants = stats.column(0).as_any().downcast_ref::<TimestampMicrosecondArray>().unwrap();
        assert_eq!(instants.value_as_datetime(0).unwrap().to_string(), "2026-03-01 00:00:00");
        assert_eq!(
            instants.value_as_datetime(stats.num_rows() - 1).unwrap().to_string(),
            "2026-03-15 23:00:00"
        );
    }

    #[test]
    fn shares_are_scattered_over_the_whole_range() {
        let shares: Vec<f32> = (0..1000).map(share).collect();
        let mean = shares.iter().sum::<f32>() / 1000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
        assert!(shares.iter().all(|share| (0.0..1.0).contains(share)));
    }
}
