//! Comparing instants of different units exactly: no rounding, no overflow.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, make_array};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::{
    DataType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use datafusion::common::{DataFusionError, Result};

/// A timestamp column as plain numbers in its own unit; zones do not matter, instants are UTC.
#[derive(Debug, Clone)]
pub(crate) struct Instants {
    pub(crate) values: ScalarBuffer<i64>,
    nulls: Option<NullBuffer>,
    pub(crate) unit: TimeUnit,
}

impl Instants {
    pub(crate) fn of(array: &dyn Array) -> Result<Self> {
        let (values, unit) = match array.data_type() {
            DataType::Timestamp(TimeUnit::Second, _) => {
                (array.as_primitive::<TimestampSecondType>().values().clone(), TimeUnit::Second)
            }
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                (array.as_primitive::<TimestampMillisecondType>().values().clone(), TimeUnit::Millisecond)
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                (array.as_primitive::<TimestampMicrosecondType>().values().clone(), TimeUnit::Microsecond)
            }
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                (array.as_primitive::<TimestampNanosecondType>().values().clone(), TimeUnit::Nanosecond)
            }
            other => {
                return Err(DataFusionError::Internal(format!("an instant column is {other}")));
            }
        };
        Ok(Self { values, nulls: array.nulls().cloned(), unit })
    }

    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }
}

/// A column of instants of a timestamp type.
pub(crate) fn instant_column(values: Vec<Option<i64>>, data_type: &DataType) -> Result<ArrayRef> {
    typed(Int64Array::from(values), data_type)
}

/// A column of instants of a timestamp type, none of which is null.
pub(crate) fn plain_instants(values: Vec<i64>, data_type: &DataType) -> Result<ArrayRef> {
    typed(Int64Array::from(values), data_type)
}

fn typed(plain: Int64Array, data_type: &DataType) -> Result<ArrayRef> {
    Ok(make_array(plain.into_data().into_builder().data_type(data_type.clone()).build()?))
}

/// Nanoseconds in one step of a unit.
pub fn nanos_per(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

/// An instant in nanoseconds; every 64-bit timestamp of every unit fits.
pub(crate) fn to_nanos(value: i64, unit: TimeUnit) -> i128 {
    i128::from(value) * i128::from(nanos_per(unit))
}

/// Finds, for instants of one unit, the first instant of another unit that is not before them.
///
/// "`instant ≥ v`" for an instant of the target unit is "`instant ≥ ceil(v)`" with `v` rounded up to that unit,
/// so a search can run on the target's own numbers and stays exact.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RoundUp {
    Same,
    Multiply(i64),
    Divide(i64),
}

impl RoundUp {
    pub(crate) fn new(from: TimeUnit, to: TimeUnit) -> Self {
        let (from, to) = (nanos_per(from), nanos_per(to));
        match from.cmp(&to) {
            std::cmp::Ordering::Equal => Self::Same,
            std::cmp::Ordering::Greater => Self::Multiply(from / to),
            std::cmp::Ordering::Less => Self::Divide(to / from),
        }
    }

    /// `None`: later than everything the target unit can say.
    #[inline]
    pub(crate) fn apply(self, value: i64) -> Option<i64> {
        match self {
            Self::Same => Some(value),
            Self::Multiply(factor) => match value.checked_mul(factor) {
                Some(product) => Some(product),
                None if value > 0 => None,
                None => Some(i64::MIN),
            },
            Self::Divide(by) => Some(value.div_euclid(by) + i64::from(value.rem_euclid(by) != 0)),
        }
    }
}

/// Tells whether a row is too old, exactly.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reach {
    /// No row is.
    Unbounded,
    /// Both instants have one unit: the greatest age in it.
    Steps(i64),
    /// Nanoseconds, and the units of row and instant.
    Nanos(i128, TimeUnit, TimeUnit),
}

impl Reach {
    /// For rows whose event times have unit `time`, and instants of unit `at`.
    pub(crate) fn new(ttl_nanos: Option<i128>, time: TimeUnit, at: TimeUnit) -> Self {
        let Some(ttl) = ttl_nanos else { return Self::Unbounded };
        match i64::try_from(ttl.div_euclid(i128::from(nanos_per(at)))) {
            // Ages saturate, so the greatest number cannot be told from those beyond.
            Ok(steps) if time == at && steps < i64::MAX => Self::Steps(steps),
            _ => Self::Nanos(ttl, time, at),
        }
    }

    /// Whether a row of this event time lies too far behind an instant.
    #[inline]
    pub(crate) fn is_behind(self, time: i64, instant: i64) -> bool {
        match self {
            Self::Unbounded => false,
            Self::Steps(steps) => instant.saturating_sub(time) > steps,
            Self::Nanos(ttl, time_unit, unit) => {
                to_nanos(time, time_unit).saturating_add(ttl) < to_nanos(instant, unit)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reach_is_told_exactly_in_every_unit() {
        use TimeUnit::{Microsecond, Nanosecond, Second};
        let values =
            [0, 1, -1, 999, 1001, -1000, i64::MAX, i64::MAX - 1, i64::MIN, i64::MIN + 1, i64::MAX / 1000];
        let ttls =
            [0, 1, 999, 1000, 1_000_000_000, i128::from(i64::MAX), i128::from(u64::MAX), 1 << 100, i128::MAX];
        for (time_unit, unit) in
            [(Second, Second), (Nanosecond, Nanosecond), (Microsecond, Second), (Second, Nanosecond)]
        {
            for ttl in ttls {
                let reach = Reach::new(Some(ttl), time_unit, unit);
                for time in values {
                    for instant in values {
                        let truth = to_nanos(instant, unit) - to_nanos(time, time_unit) > ttl;
                        assert_eq!(reach.is_behind(time, instant), truth, "{instant} {time} {ttl} {reach:?}");
                    }
                }
            }
        }
        assert!(!Reach::new(None, Second, Second).is_behind(i64::MIN, i64::MAX));
    }

    #[test]
    fn rounding_up_keeps_every_comparison() {
        use TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
        let units = [Second, Millisecond, Microsecond, Nanosecond];
        let values = [0, 1, -1, 999, 1000, 1001, -999, -1000, -1001, i64::MAX, i64::MIN, i64::MAX / 1000];
        for from in units {
            for to in units {
                let round = RoundUp::new(from, to);
                for v in values {
                    for instant in values {
                        let truth = to_nanos(instant, to) >= to_nanos(v, from);
                        let found = round.apply(v).is_some_and(|bound| instant >= bound);
                        assert_eq!(found, truth, "{instant} {to:?} >= {v} {from:?}");
                    }
                }
            }
        }
    }
}
