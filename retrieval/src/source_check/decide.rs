//! Whether a view and the files of its source go together. Pure.

use arrow::datatypes::{DataType, Field as ArrowField};
use backsight_proto::ErrorCode;
use backsight_registry::dtype::dtype_name;
use backsight_registry::model::{FeatureView, Field};

use super::finding::{FindingKind, Severity, SourceFinding};
use super::shape::{ColumnShape, SeenType, SourceShape};
use crate::declared_types::{Fit, fit};
use crate::error::RetrievalError;
use crate::instant_column::instant_type;
use crate::key_types::{common_key_type, is_float};
use crate::plan::source_column;
use crate::resolve::did_you_mean;
use crate::widen::widen;

/// What is wrong or odd about a view and its source. With `allow_type_drift`, a column of another family than is
/// declared is a warning.
pub fn decide(view: &FeatureView, shape: &SourceShape, allow_type_drift: bool) -> Vec<SourceFinding> {
    let mut look = Look { view, shape, allow_type_drift, findings: Vec::new() };
    look.files();
    look.instant("the timestamp field", &view.source.timestamp_field);
    if let Some(created) = view.source.created_timestamp_column.as_deref().filter(|name| !name.is_empty()) {
        look.instant("the created timestamp column", created);
    }
    for key in &view.join_keys {
        look.key(key);
    }
    for feature in &view.features {
        look.feature(feature);
    }
    look.findings
}

struct Look<'a> {
    view: &'a FeatureView,
    shape: &'a SourceShape,
    allow_type_drift: bool,
    findings: Vec<SourceFinding>,
}

impl<'a> Look<'a> {
    fn add(
        &mut self,
        severity: Severity,
        kind: FindingKind,
        column: &str,
        file: Option<&str>,
        message: String,
    ) -> &mut SourceFinding {
        let code = if kind == FindingKind::FilesDisagree { ErrorCode::Data } else { ErrorCode::Invalid };
        self.findings.push(SourceFinding {
            severity,
            views: vec![self.view.name.clone()],
            source: self.view.source.name.clone(),
            kind,
            code: code.name().to_owned(),
            location: self.shape.location.clone(),
            column: (!column.is_empty()).then(|| column.to_owned()),
            file: file.map(str::to_owned),
            message,
            hint: None,
        });
        let last = self.findings.len() - 1;
        &mut self.findings[last]
    }

    /// What concerns the files as a whole, whichever columns the view has.
    fn files(&mut self) {
        let shape = self.shape;
        if shape.files_read < shape.files {
            let message = format!(
                "{} of the {} files of `{}` were looked at",
                shape.files_read, shape.files, shape.location
            );
            self.add(Severity::Note, FindingKind::NotAllRead, "", None, message);
        }
        for (name, column) in &shape.columns {
            let Some((first, second)) = contradiction(column) else { continue };
            let message =
                format!("column `{name}` is {} in `{}` but {} in `{}`", first.0, first.1, second.0, second.1);
            let finding =
                self.add(Severity::Error, FindingKind::FilesDisagree, name, Some(second.1.as_str()), message);
            finding.hint = Some("rewrite one of the files with the other's type".to_owned());
        }
    }

    /// The source's column behind a name of the view, or a finding that there is none.
    fn column(&mut self, role: &str, name: &str) -> Option<(String, &'a ColumnShape)> {
        let shape = self.shape;
        let source = source_column(self.view, name);
        let Some(column) = shape.columns.get(&source) else {
            let message = format!("`{}` has no column `{source}`, which is {role}", shape.location);
            let hint = did_you_mean(&source, &shape.names(), "columns");
            let finding = self.add(Severity::Error, FindingKind::MissingColumn, &source, None, message);
            finding.hint = Some(hint);
            return None;
        };
        let lacking = shape.files_read - column.files.min(shape.files_read);
        if lacking > 0 {
            let of = shape.files_read;
            let message = format!("{lacking} of {of} files have no column `{source}`, it is null there");
            self.add(Severity::Note, FindingKind::AbsentInFiles, &source, None, message);
        }
        Some((source, column))
    }

    fn instant(&mut self, role: &str, name: &str) {
        let Some((source, column)) = self.column(role, name) else { return };
        for (data_type, file) in &column.types {
            let field = ArrowField::new(&source, data_type.clone(), true);
            if let Err(RetrievalError::WrongType { given, expected, hint, .. }) =
                instant_type(&field, role, Some(&self.view.source.tags))
            {
                let message =
                    format!("column `{source}`, {role}, is {given} in `{file}`, expected {expected}");
                let finding =
                    self.add(Severity::Error, FindingKind::NoInstant, &source, Some(file.as_str()), message);
                finding.hint = Some(hint);
                return;
            }
        }
    }

    fn key(&mut self, key: &Field) {
        let Some((source, column)) = self.column("a join key", &key.name) else { return };
        for (data_type, file) in &column.types {
            let hint = if is_float(data_type) {
                "floating point keys do not compare exactly: write them as integers or strings"
            } else if !matches!(data_type, DataType::Null) && common_key_type([data_type]).is_none() {
                "keys are integers, strings, bytes, booleans, dates or decimals"
            } else {
                continue;
            };
            let message = format!("join key `{source}` is {data_type} in `{file}`, which no key can be");
            let finding =
                self.add(Severity::Error, FindingKind::KeyType, &source, Some(file.as_str()), message);
            finding.hint = Some(hint.to_owned());
            return;
        }
        self.declared("join key", key, &source, column);
    }

    fn feature(&mut self, feature: &Field) {
        let Some((source, column)) = self.column("a feature", &feature.name) else { return };
        self.declared("feature", feature, &source, column);
    }

    /// Compares what is declared with what is stored; the first file that differs speaks for all.
    fn declared(&mut self, role: &str, field: &Field, source: &str, column: &ColumnShape) {
        let with = |wanted: Fit| {
            column.types.iter().find(|(data_type, _)| fit(field.value_type, data_type) == wanted)
        };
        let declared = dtype_name(field);
        let name = &field.name;
        if let Some((data_type, file)) = with(Fit::OtherFamily) {
            let severity = if self.allow_type_drift { Severity::Warning } else { Severity::Error };
            let message = format!(
                "column `{source}` is {data_type} in `{file}`, but {role} `{name}` is declared {declared}"
            );
            let finding = self.add(severity, FindingKind::TypeFamily, source, Some(file.as_str()), message);
            finding.hint = Some(
                "declare the type of the files, or write the files in the declared one; \
                 `--allow-type-drift` lets it pass"
                    .to_owned(),
            );
        } else if let Some((data_type, file)) = with(Fit::OtherWidth) {
            let message = format!(
                "column `{source}` is {data_type} and {role} `{name}` is declared {declared}: a retrieval returns \
                 what the files have"
            );
            self.add(Severity::Note, FindingKind::TypeWidth, source, Some(file.as_str()), message);
        }
    }
}

/// The first two types of a column that no type holds together.
fn contradiction(column: &ColumnShape) -> Option<(&SeenType, &SeenType)> {
    let (first, others) = column.types.split_first()?;
    let mut held = first.0.clone();
    for other in others {
        match widen(&held, &other.0) {
            Some(wide) => held = wide,
            None => {
                // Whoever is first against it alone says more than a type that no file has.
                let against = column.types.iter().find(|(one, _)| widen(one, &other.0).is_none());
                return Some((against.unwrap_or(first), other));
            }
        }
    }
    None
}
