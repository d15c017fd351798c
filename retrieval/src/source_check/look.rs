//! Lists the sources of views and reads their footers: each source once, all of them side by side within bounds.

use std::collections::BTreeMap;
use std::path::Path;

use backsight_proto::ErrorCode;
use backsight_registry::model::{FeatureView, SourceKind};
use backsight_storage::{FileEntry, Location, Stores};
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{self, StreamExt};

use super::decide::decide;
use super::finding::{FindingKind, Severity, SourceFinding, SourceReport};
use super::shape::SourceShape;
use crate::delta_log::DeltaVersion;
use crate::delta_table::is_delta;
use crate::error::RetrievalError;
use crate::hive::{declared_columns, hive_columns};
use crate::parquet_table::read_footer;
use crate::wire_failure::WireFailure;

/// Sources listed at the same time.
const LISTINGS_AT_ONCE: usize = 32;
/// Footers read at the same time, over all sources.
const FOOTERS_AT_ONCE: usize = 64;
/// Files of one source that are looked at. Files of one writer are alike, so that more would cost much and say little;
/// a retrieval reads the footers of all that it needs.
const FILES_PER_SOURCE_MAX: usize = 1_000;

/// How sources are looked at.
#[derive(Debug, Clone, Copy)]
pub struct SourceCheck<'a> {
    /// Where relative paths of sources start.
    pub repo: &'a Path,
    /// Whether another family of types than is declared is only a warning.
    pub allow_type_drift: bool,
}

/// Looks at the source files of views. Whatever is wrong is in the report, what cannot be reached included.
pub fn check_sources<'a>(
    stores: &'a Stores,
    views: &'a [FeatureView],
    check: SourceCheck<'a>,
) -> BoxFuture<'a, SourceReport> {
    // Boxed, so that other crates need not look into it to see that it may be sent.
    look(stores, views, check).boxed()
}

/// One place and the views that read it.
struct Place<'a> {
    location: Location,
    views: Vec<&'a FeatureView>,
    /// Its columns, or why they are not known.
    outcome: Result<SourceShape, SourceFinding>,
    /// The files that are looked at.
    files: Vec<Location>,
    /// Files that could not be read.
    failures: Vec<RetrievalError>,
}

async fn look(stores: &Stores, views: &[FeatureView], check: SourceCheck<'_>) -> SourceReport {
    let mut report = SourceReport::default();
    let mut places = BTreeMap::<Location, Vec<&FeatureView>>::new();
    let mut tables = BTreeMap::<Location, Vec<&FeatureView>>::new();
    for view in views {
        match location(view, check.repo) {
            Ok(Some(location)) => {
                report.views += 1;
                let places = if is_delta(view) { &mut tables } else { &mut places };
                places.entry(location).or_default().push(view);
            }
            Ok(None) => {}
            Err(finding) => {
                report.views += 1;
                report.findings.extend([*finding]);
            }
        }
    }
    report.sources = places.len() + tables.len();
    let locations: Vec<Location> = places.keys().cloned().collect();
    let listings = locations.into_iter().map(|location| {
        let stores = stores.clone();
        async move { stores.expand(&location).await }
    });
    let listed: Vec<_> = stream::iter(listings).buffered(LISTINGS_AT_ONCE).collect().await;
    let mut looked: Vec<Place<'_>> = Vec::with_capacity(listed.len());
    let mut files: Vec<(usize, FileEntry)> = Vec::new();
    for ((location, views), listed) in places.into_iter().zip(listed) {
        let mut kept = Vec::new();
        let outcome = match listed {
            Ok(entries) => {
                let shape = SourceShape::new(location.to_string(), entries.len());
                let number = looked.len();
                let entries = spread(entries, FILES_PER_SOURCE_MAX);
                kept.extend(entries.iter().map(|entry| entry.location.clone()));
                files.extend(entries.into_iter().map(|it| (number, it)));
                Ok(shape)
            }
            Err(error) => {
                let failure = WireFailure::of(&error, error.code(), error.hint());
                Err(finding(&views, &location, FindingKind::Unreachable, failure))
            }
        };
        looked.push(Place { location, views, outcome, files: kept, failures: Vec::new() });
    }
    report.files = files.len();
    let footers = files.into_iter().map(|(number, entry)| {
        let stores = stores.clone();
        async move {
            let name = entry.location.to_string();
            // Only the columns are kept: a footer can be large.
            (number, name, read_footer(&stores, entry, "file").await.map(|file| file.schema))
        }
    });
    let mut footers = stream::iter(footers).buffered(FOOTERS_AT_ONCE);
    while let Some((number, name, footer)) = footers.next().await {
        let Some(place) = looked.get_mut(number) else { continue };
        match (footer, &mut place.outcome) {
            (Ok(schema), Ok(shape)) => shape.add(&name, &schema),
            (Ok(_), Err(_)) => {}
            (Err(error), _) => place.failures.push(error),
        }
    }
    looked.extend(look_at_tables(stores, tables).await);
    for place in looked {
        place.report(check.allow_type_drift, &mut report);
    }
    report.settle();
    report
}

/// Reads the logs of Delta tables: they say which columns there are, and no file has to be opened.
async fn look_at_tables<'a>(
    stores: &Stores,
    tables: BTreeMap<Location, Vec<&'a FeatureView>>,
) -> Vec<Place<'a>> {
    let locations: Vec<Location> = tables.keys().cloned().collect();
    let logs = locations.into_iter().map(|location| {
        let stores = stores.clone();
        async move { DeltaVersion::read(&stores, &location, None).await }
    });
    let logs: Vec<_> = stream::iter(logs).buffered(LISTINGS_AT_ONCE).collect().await;
    let looked = tables.into_iter().zip(logs).map(|((location, views), log)| {
        let outcome = log.map(|log| SourceShape::of_table(&log)).map_err(|error| {
            let kind = match error {
                RetrievalError::Storage(_) => FindingKind::Unreachable,
                _ => FindingKind::Unreadable,
            };
            finding(&views, &location, kind, WireFailure::from(&error))
        });
        Place { location, views, outcome, files: Vec::new(), failures: Vec::new() }
    });
    looked.collect()
}

impl Place<'_> {
    fn report(self, allow_type_drift: bool, report: &mut SourceReport) {
        let unread = self.failures.len();
        if let Some(error) = self.failures.first() {
            let mut failure = WireFailure::from(error);
            if unread > 1 {
                failure.message = format!("{} (and {} files more)", failure.message, unread - 1);
            }
            let kind = match error {
                RetrievalError::Storage(_) => FindingKind::Unreachable,
                _ => FindingKind::Unreadable,
            };
            // What is to be done at apply is not what is to be done at a retrieval.
            failure.hint = failure.hint.filter(|_| kind == FindingKind::Unreachable);
            report.findings.extend([finding(&self.views, &self.location, kind, failure)]);
        }
        match self.outcome {
            Err(finding) => report.findings.extend([finding]),
            // Of a source without a readable file nothing is known.
            Ok(shape) if shape.files_read == 0 && unread > 0 => {}
            Ok(shape) => {
                let own: Vec<&str> = shape.columns.keys().map(String::as_str).collect();
                let first = self.files.first().map(ToString::to_string).unwrap_or_default();
                for view in self.views {
                    // What folders are read as depends on what the view declares.
                    match hive_columns(&self.location, &self.files, &own, &declared_columns(view)) {
                        Ok(found) => {
                            let shape = shape.with_folders(&found.fields, &first);
                            report.findings.extend(decide(view, &shape, allow_type_drift));
                        }
                        Err(error) => {
                            let failure = WireFailure::from(&error);
                            let found = finding(&[view], &self.location, FindingKind::TypeFamily, failure);
                            report.findings.extend([found]);
                        }
                    }
                }
            }
        }
    }
}

/// Where a view's source is; `None` for one that is not read from files.
fn location(view: &FeatureView, repo: &Path) -> Result<Option<Location>, Box<SourceFinding>> {
    let SourceKind::File { path, s3_endpoint_override, .. } = &view.source.kind else { return Ok(None) };
    let endpoint = s3_endpoint_override.as_deref().filter(|endpoint| !endpoint.is_empty());
    Location::parse(path, repo, endpoint).map(Some).map_err(|error| {
        let failure = WireFailure::of(&error, error.code(), error.hint());
        let mut found = finding_of(&[view], path, FindingKind::Unreachable, failure);
        // It stands in the definitions and nowhere else.
        found.code = ErrorCode::Invalid.name().to_owned();
        Box::new(found)
    })
}

fn finding(
    views: &[&FeatureView],
    location: &Location,
    kind: FindingKind,
    failure: WireFailure,
) -> SourceFinding {
    finding_of(views, &location.to_string(), kind, failure)
}

fn finding_of(
    views: &[&FeatureView],
    location: &str,
    kind: FindingKind,
    failure: WireFailure,
) -> SourceFinding {
    let chain = std::iter::once(failure.message).chain(failure.causes).collect::<Vec<_>>();
    SourceFinding {
        severity: Severity::Error,
        views: views.iter().map(|view| view.name.clone()).collect(),
        source: views.first().map(|view| view.source.name.clone()).unwrap_or_default(),
        kind,
        code: failure.code,
        location: location.to_owned(),
        column: None,
        file: None,
        message: chain.join(": "),
        hint: failure.hint,
    }
}

/// At most so many of a list, spread over all of it, its first and last among them.
fn spread<T>(list: Vec<T>, max: usize) -> Vec<T> {
    let count = list.len();
    if count <= max {
        return list;
    }
    let last = max.max(2) - 1;
    let mut wanted = (0..=last).map(|number| number * (count - 1) / last).peekable();
    let mut kept = Vec::with_capacity(max);
    for (number, item) in list.into_iter().enumerate() {
        if wanted.peek() == Some(&number) {
            wanted.next();
            kept.push(item);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn files_of_a_large_source_are_taken_from_all_of_it() {
        assert_eq!(spread(vec![1, 2, 3], 3), [1, 2, 3]);
        assert_eq!(spread((0..10).collect(), 4), [0, 3, 6, 9]);
        let many = spread((0..12_345).collect(), 1_000);
        assert_eq!((many.len(), many[0], many[999]), (1_000, 0, 12_344));
    }
}
