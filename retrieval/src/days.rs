//! Folders that are named by days: which of them can hold rows that a retrieval reaches. Pure.
//!
//! A source with a `date_partition_column` promises that a row lies in the folder of the day of its event time. Whose
//! day that is, nobody wrote down: the zones of the world are up to 14 hours away from UTC. So a folder is taken to
//! hold 52 hours, its day in UTC and 14 hours before and after it:
//!
//! ```text
//!            day - 14 h      day             day + 24 h     day + 38 h
//!   ds=day       |~~~~~~~~~~~~|================|~~~~~~~~~~~~~~|
//!   reach                                          |-----------------------|
//!                                          least instant − ttl      greatest instant
//! ```
//!
//! A folder without a day, be it the one of null or one whose name nobody can read as a date, is always read.

use std::collections::BTreeSet;
use std::fmt;

use arrow::datatypes::{DataType, TimeUnit};
use backsight_registry::model::{FeatureView, Ttl};
use backsight_storage::{FileEntry, Location};
use chrono::NaiveDate;

use crate::bounds::TimeBounds;
use crate::hive::{segments, typed};
use crate::plan::source_column;

const HOUR_NANOS: i128 = 3_600_000_000_000;
const DAY_NANOS: i128 = 24 * HOUR_NANOS;
/// How far the days of any zone begin and end from those of UTC, at most.
const MARGIN_NANOS: i128 = 14 * HOUR_NANOS;

/// The event times that can matter to a retrieval, in nanoseconds, both ends inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeReach {
    /// `None` where rows of any age count.
    pub(crate) least: Option<i128>,
    pub(crate) greatest: i128,
}

impl TimeReach {
    /// What instants within `bounds` reach of a view with this ttl.
    pub(crate) fn of(bounds: TimeBounds, ttl: Option<Ttl>) -> Self {
        let least = ttl.map(|ttl| bounds.least.saturating_sub(ttl.nanos()));
        Self { least, greatest: bounds.greatest }
    }

    /// Whether any event time of these bounds matters.
    pub(crate) fn meets(&self, bounds: TimeBounds) -> bool {
        bounds.least <= self.greatest && self.least.is_none_or(|least| bounds.greatest >= least)
    }

    /// Whether a row of this day's folder can matter.
    pub(crate) fn holds(&self, day: NaiveDate) -> bool {
        let days = day.signed_duration_since(NaiveDate::default()).num_days();
        let start = i128::from(days) * DAY_NANOS;
        let (least, greatest) = (start - MARGIN_NANOS, start + DAY_NANOS + MARGIN_NANOS);
        self.meets(TimeBounds { least, greatest })
    }
}

/// The source's column whose folders are days, if it is promised that there is one.
pub(crate) fn promised_column(view: &FeatureView) -> Option<String> {
    let name = view.source.date_partition_column.as_deref().filter(|name| !name.is_empty())?;
    Some(source_column(view, name))
}

/// The day that a folder's value names: a date as `2026-01-31` or `20260131`, or the date of an ISO 8601 instant.
pub(crate) fn day_of(value: &str) -> Option<NaiveDate> {
    if value.len() == 8 && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return NaiveDate::parse_from_str(value, "%Y%m%d").ok();
    }
    let date = value.get(..10)?;
    if value.len() > 10 {
        // What follows has to be a time; whatever its zone, the day is the one that is written.
        typed(Some(value), &DataType::Timestamp(TimeUnit::Second, None))?;
    }
    let is_plain = date.bytes().enumerate().all(|(place, byte)| match place {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    NaiveDate::parse_from_str(date, "%Y-%m-%d").ok().filter(|_| is_plain)
}

/// The day that a file's folders below `location` name.
fn day_of_file(location: &Location, file: &Location, column: &str) -> Option<NaiveDate> {
    let found = segments(location, file).into_iter().find(|(name, _)| name == column)?;
    day_of(found.1.as_deref()?)
}

/// Which days of a source were passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SkippedDays {
    pub(crate) column: String,
    pub(crate) days: usize,
    pub(crate) days_all: usize,
}

impl SkippedDays {
    /// Counts those of `days` that are out of reach; `None` where none is.
    pub(crate) fn count(
        column: &str,
        days: impl Iterator<Item = NaiveDate>,
        reach: &TimeReach,
    ) -> Option<Self> {
        let days: BTreeSet<NaiveDate> = days.collect();
        let skipped = days.iter().filter(|day| !reach.holds(**day)).count();
        (skipped > 0).then(|| Self { column: column.to_owned(), days: skipped, days_all: days.len() })
    }
}

impl fmt::Display for SkippedDays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} days of `{}`", self.days, self.days_all, self.column)
    }
}

/// Days of files.
pub(crate) fn days_of<'a>(
    location: &'a Location,
    files: &'a [FileEntry],
    column: &'a str,
) -> impl Iterator<Item = NaiveDate> + 'a {
    files.iter().filter_map(move |file| day_of_file(location, &file.location, column))
}

/// The files that a retrieval may need, in order. Of the days out of reach the first file of the first and the last
/// file of the last stay: what columns there are, and of which types, is seen in them as well.
pub(crate) fn within(
    location: &Location,
    files: &[FileEntry],
    column: &str,
    reach: &TimeReach,
) -> Vec<FileEntry> {
    let days: Vec<Option<NaiveDate>> =
        files.iter().map(|file| day_of_file(location, &file.location, column)).collect();
    let is_kept = |day: &Option<NaiveDate>| day.is_none_or(|day| reach.holds(day));
    let out = || days.iter().enumerate().filter_map(|(place, day)| Some(((*day)?, place)));
    let out = || out().filter(|(day, _)| !reach.holds(*day));
    let (first, last) = (out().min(), out().max());
    let witnesses = [first, last].map(|witness| witness.map(|(_, place)| place));
    let kept = files.iter().enumerate().zip(&days);
    kept.filter(|((place, _), day)| is_kept(day) || witnesses.contains(&Some(*place)))
        .map(|((_, file), _)| file.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use chrono::{DateTime, Utc};

    use super::*;

    fn nanos(text: &str) -> i128 {
        let instant: DateTime<Utc> = text.parse().unwrap();
        i128::from(instant.timestamp()) * 1_000_000_000 + i128::from(instant.timestamp_subsec_nanos())
    }

    fn reach(least: Option<&str>, greatest: &str) -> TimeReach {
        TimeReach { least: least.map(nanos), greatest: nanos(greatest) }
    }

    #[test]
    fn a_value_is_a_day_where_it_is_an_iso_date_or_instant() {
        let table = [
            ("2026-01-31", Some("2026-01-31")),
            ("20260131", Some("2026-01-31")),
            ("2026-01-31T23:00:00", Some("2026-01-31")),
            ("2026-01-31 23:00:00", Some("2026-01-31")),
            ("2026-01-31T23:30:00-11:00", Some("2026-01-31")),
            ("2026-01-31T23:00:00.123Z", Some("2026-01-31")),
            ("2026-02-30", None),
            ("2026-1-31", None),
            ("+2026-1-31", None),
            ("2026-01-31-07", None),
            ("2026-01-31 noon", None),
            ("2026013", None),
            ("1769817600", None),
            ("é026-01-31", None),
            ("", None),
        ];
        for (value, day) in table {
            assert_eq!(day_of(value).map(|day| day.to_string()).as_deref(), day, "{value}");
        }
    }

    #[test]
    fn a_day_is_kept_with_fourteen_hours_on_both_sides() {
        let day = NaiveDate::from_ymd_opt(2026, 1, 31).unwrap();
        let table = [
            // Later than the spine: from 14 hours before its day on.
            (None, "2026-01-30T09:59:59.999999999Z", false),
            (None, "2026-01-30T10:00:00Z", true),
            (None, "2999-01-01T00:00:00Z", true),
            // Expired: until 14 hours after its day.
            (Some("2026-02-01T14:00:00Z"), "2026-02-02T00:00:00Z", true),
            (Some("2026-02-01T14:00:00.000000001Z"), "2026-02-02T00:00:00Z", false),
            (Some("2026-01-31T12:00:00Z"), "2026-01-31T12:00:00Z", true),
        ];
        for (least, greatest, held) in table {
            assert_eq!(reach(least, greatest).holds(day), held, "{least:?} to {greatest}");
        }
        // Long before 1970, and as far as days go.
        assert!(reach(None, "2026-01-01T00:00:00Z").holds(NaiveDate::MIN));
        assert!(!reach(None, "2026-01-01T00:00:00Z").holds(NaiveDate::MAX));
    }

    #[test]
    fn no_row_of_any_zone_is_lost() {
        for minutes in (-12 * 60..=14 * 60).step_by(15) {
            let zone = chrono::FixedOffset::east_opt(minutes * 60).unwrap();
            for text in ["2026-03-01T00:00:00Z", "2026-03-01T09:59:59Z", "2026-03-01T23:59:59.999999999Z"] {
                let at = nanos(text);
                let here: DateTime<Utc> = text.parse().unwrap();
                let folder = here.with_timezone(&zone).date_naive();
                let exact = TimeReach { least: Some(at), greatest: at };
                assert!(exact.holds(folder), "{text} at {minutes} minutes");
            }
        }
    }

    #[test]
    fn a_ttl_bounds_what_is_reached_and_without_one_nothing_is_too_old() {
        let bounds = TimeBounds { least: 100, greatest: 200 };
        let limited = TimeReach::of(bounds, Ttl::from_nanos(30));
        assert_eq!(limited, TimeReach { least: Some(70), greatest: 200 });
        assert_eq!(TimeReach::of(bounds, None), TimeReach { least: None, greatest: 200 });
        assert_eq!(TimeReach::of(bounds, Ttl::from_nanos(0)), TimeReach { least: None, greatest: 200 });
    }

    #[test]
    fn files_within_reach_stay_and_one_of_either_end() {
        let base = Location::parse("/s", Path::new("/"), None).unwrap();
        let file = |name: &str| FileEntry {
            location: base.join(name),
            size: 1,
            etag: None,
            modified: DateTime::<Utc>::UNIX_EPOCH,
        };
        let names = [
            "ds=2026-01-01/a.parquet",
            "ds=2026-01-01/b.parquet",
            "ds=2026-01-02/a.parquet",
            "ds=2026-01-10/a.parquet",
            "ds=2026-01-11/a.parquet",
            "ds=2026-01-20/a.parquet",
            "ds=2026-01-20/b.parquet",
            "ds=__HIVE_DEFAULT_PARTITION__/a.parquet",
            "ds=soon/a.parquet",
            "loose.parquet",
        ];
        let files: Vec<FileEntry> = names.iter().map(|name| file(name)).collect();
        let reach = reach(Some("2026-01-10T20:00:00Z"), "2026-01-10T21:00:00Z");
        let kept = within(&base, &files, "ds", &reach);
        let kept: Vec<String> =
            kept.iter().map(|file| file.location.to_string().replacen("/s/", "", 1)).collect();
        let expected: Vec<&str> = names
            .into_iter()
            .filter(|name| {
                !matches!(
                    *name,
                    "ds=2026-01-01/b.parquet" | "ds=2026-01-02/a.parquet" | "ds=2026-01-20/a.parquet"
                )
            })
            .collect();
        assert_eq!(kept, expected);
        let skipped = SkippedDays::count("ds", days_of(&base, &files, "ds"), &reach).unwrap();
        assert_eq!((skipped.days, skipped.days_all), (3, 5));
        assert_eq!(within(&base, &files, "day", &reach), files);
        assert_eq!(SkippedDays::count("day", days_of(&base, &files, "day"), &reach), None);
    }
}
