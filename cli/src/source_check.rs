//! The look at source files that `plan` and `apply` take: here, or where the scheduler is; and what comes of it.

use backsight_proto::ErrorCode;
use backsight_proto::control::CheckSourcesRequest;
use backsight_registry::model::Definitions;
use backsight_retrieval::{Severity, SourceCheck, SourceFinding, SourceReport, check_sources};
use clap::Args;
use serde_json::{Value, json};

use crate::config::Workspace;
use crate::errors::Failure;
use crate::registry_access::{RegistryAccess, as_registry};
use crate::render::units::counted;

/// What the user says of the look at source files.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct SourceCheckArgs {
    /// Do not look at source files
    #[arg(long, conflicts_with = "allow_type_drift")]
    no_source_check: bool,
    /// Warn only where a source column has another kind of type than is declared
    #[arg(long)]
    allow_type_drift: bool,
}

/// How strictly source files are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SourceRule {
    /// Whatever does not go together is an error.
    Strict,
    /// Another family of types is a warning.
    AllowTypeDrift,
    /// Nobody looks.
    Skip,
}

impl SourceCheckArgs {
    /// The rule that these ask for.
    pub(crate) fn rule(self) -> SourceRule {
        match (self.no_source_check, self.allow_type_drift) {
            (true, _) => SourceRule::Skip,
            (false, true) => SourceRule::AllowTypeDrift,
            (false, false) => SourceRule::Strict,
        }
    }
}

impl SourceRule {
    /// As a saved plan says it.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::AllowTypeDrift => "allow_type_drift",
            Self::Skip => "skip",
        }
    }

    /// Reads [`Self::key`].
    pub(crate) fn from_key(key: &str) -> Option<Self> {
        [Self::Strict, Self::AllowTypeDrift, Self::Skip].into_iter().find(|rule| rule.key() == key)
    }
}

/// Looks at the sources of definitions; `None` when nobody is to look.
pub(crate) async fn look_at_sources(
    workspace: &Workspace,
    definitions: &Definitions,
    rule: SourceRule,
) -> Result<Option<SourceReport>, Failure> {
    let allow_type_drift = rule == SourceRule::AllowTypeDrift;
    if rule == SourceRule::Skip {
        return Ok(None);
    }
    let RegistryAccess::Remote(cluster) = &workspace.registry else {
        let check = SourceCheck { repo: &workspace.repo, allow_type_drift };
        return Ok(Some(check_sources(&workspace.stores, &definitions.feature_views, check).await));
    };
    let request = CheckSourcesRequest {
        project: definitions.project.name.clone(),
        definitions: as_registry(definitions)?,
        allow_type_drift,
    };
    let answer = cluster.check_sources(request).await.map_err(|failure| match failure.code() {
        ErrorCode::Usage | ErrorCode::Limit => failure.with_hint(
            "the scheduler looks at source files where it is; one of an older version cannot: \
             `--no-source-check` goes without",
        ),
        _ => failure,
    })?;
    let report = serde_json::from_str(&answer.report_json).map_err(|error| {
        Failure::bug(format!("what the scheduler says of the sources cannot be read: {error}"))
            .with_hint("client and scheduler may be of different versions; `--no-source-check` goes without")
    })?;
    Ok(Some(report))
}

/// The failure that errors of a report are, all of them in one.
pub(crate) fn failure_of(report: Option<&SourceReport>) -> Option<Failure> {
    const SKIP: &str = "`--no-source-check` goes without a look at source files";
    let report = report?;
    let code = report.error_code()?;
    let errors: Vec<&SourceFinding> = report.of(Severity::Error).collect();
    let failure = match errors.as_slice() {
        [only] => {
            let hint = only.hint.as_ref().map_or(SKIP.to_owned(), |hint| format!("{hint}; {SKIP}"));
            Failure::new(code, only.to_string()).with_hint(hint)
        }
        many => {
            let lines = many.iter().map(|finding| match &finding.hint {
                Some(hint) => format!("\n{finding}\n  hint: {hint}"),
                None => format!("\n{finding}"),
            });
            let lines: String = lines.collect();
            let count = counted(many.len() as u64, "problem", "problems");
            Failure::new(code, format!("{count} in source files{lines}")).with_hint(SKIP)
        }
    };
    Some(failure.with_details(json!({"sources": as_json(Some(report))})))
}

/// A report as JSON; `null` when nobody looked.
pub(crate) fn as_json(report: Option<&SourceReport>) -> Value {
    let Some(report) = report else { return Value::Null };
    json!({
        "views": report.views,
        "sources": report.sources,
        "files": report.files,
        "errors": report.of(Severity::Error).count(),
        "warnings": report.of(Severity::Warning).count(),
        "notes": report.of(Severity::Note).count(),
        "findings": report.findings.iter().map(finding_json).collect::<Vec<_>>(),
    })
}

fn finding_json(finding: &SourceFinding) -> Value {
    json!({
        "severity": finding.severity,
        "kind": finding.kind,
        "views": finding.views,
        "source": finding.source,
        "location": finding.location,
        "column": finding.column,
        "file": finding.file,
        "code": finding.code,
        "message": finding.message,
        "hint": finding.hint,
    })
}
