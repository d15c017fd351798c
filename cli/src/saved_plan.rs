//! A plan in a file: what was wanted, and the state that it was compared with. Reading and writing are pure.

use backsight_proto::ErrorCode;
use backsight_registry::diff::{Plan, diff, plan_json};
use backsight_registry::document::{ProjectFingerprint, RegistryDocument};
use backsight_registry::model::{Catalog, Definitions};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::errors::Failure;
use crate::registry_access::as_registry;
use crate::source_check::SourceRule;

/// What tells such a file from others.
const FORMAT: &str = "backsight-plan";
/// Raised when an older program would do something else with the file.
const FORMAT_VERSION: u64 = 2;
/// A registry fits, twice, and what is written about it.
pub(crate) const BYTES_MAX: u64 = 512 << 20;

/// What `apply` needs to do exactly what `plan` showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SavedPlan {
    /// The registry that it is about, as messages name it.
    pub(crate) registry: String,
    /// The project's state when it was compared.
    pub(crate) fingerprint: ProjectFingerprint,
    /// When that was.
    pub(crate) saved_at: DateTime<Utc>,
    /// How its sources were looked at, and will be.
    pub(crate) sources: SourceRule,
    /// What is wanted.
    pub(crate) definitions: Definitions,
    /// The project's objects as they were, to show what changed since.
    pub(crate) before: RegistryDocument,
}

impl SavedPlan {
    /// The project.
    pub(crate) fn project(&self) -> &str {
        &self.definitions.project.name
    }

    /// The project as it was.
    pub(crate) fn before(&self) -> Catalog {
        self.before.catalog_or_empty(self.project())
    }

    /// The change that was shown.
    pub(crate) fn plan(&self) -> Plan {
        diff(&self.before(), &self.definitions)
    }

    /// The file's text.
    pub(crate) fn to_text(&self) -> Result<String, Failure> {
        let mut value = json!({
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "backsight": env!("CARGO_PKG_VERSION"),
            "project": self.project(),
            "registry": self.registry,
            "saved_at": self.saved_at.to_rfc3339_opts(SecondsFormat::Secs, true),
            "fingerprint": self.fingerprint.to_string(),
            "source_check": self.sources.key(),
            "definitions": STANDARD.encode(as_registry(&self.definitions)?),
            "before": STANDARD.encode(self.before.to_bytes()),
            "plan": plan_json(&self.plan()),
        });
        let sum = checksum(&value);
        if let Value::Object(object) = &mut value {
            object.insert("sha256".to_owned(), Value::String(sum));
        }
        Ok(format!("{value:#}\n"))
    }

    /// Reads a file's text; `shown` is how messages name the file.
    ///
    /// # Errors
    /// [`ErrorCode::Invalid`]: it is no saved plan, one of a later version, or one that was changed since.
    pub(crate) fn parse(shown: &str, text: &[u8]) -> Result<Self, Failure> {
        let invalid = |reason: &str| {
            Failure::new(ErrorCode::Invalid, format!("cannot use `{shown}` as a saved plan: {reason}"))
                .with_hint("`backsight plan --save FILE` writes one; apply it as it was written")
        };
        let value: Value = serde_json::from_slice(text).map_err(|_| invalid("it is no JSON"))?;
        let object = value.as_object().filter(|object| object.get("format") == Some(&json!(FORMAT)));
        let object = object.ok_or_else(|| invalid("it says nothing of being one"))?;
        let version = object.get("format_version").and_then(Value::as_u64);
        if version != Some(FORMAT_VERSION) {
            let found = object.get("format_version").cloned().unwrap_or_default();
            return Err(invalid(&format!("its format version is {found}, known here is {FORMAT_VERSION}"))
                .with_hint(
                    "plan again with this version of backsight, or apply with the one that saved it",
                ));
        }
        let damaged = || invalid("it was changed since it was written");
        if object.get("sha256").and_then(Value::as_str) != Some(checksum(&value).as_str()) {
            return Err(damaged());
        }
        // The sum fits: what does not now is a mistake of whoever wrote it.
        Self::of_object(object).ok_or_else(damaged)
    }

    /// Whether a text is a saved plan, whatever became of it.
    pub(crate) fn is_one(text: &[u8]) -> bool {
        let value: Option<Value> = serde_json::from_slice(text).ok();
        value.is_some_and(|value| value.get("format") == Some(&json!(FORMAT)))
    }

    fn of_object(object: &Map<String, Value>) -> Option<Self> {
        let text = |key: &str| object.get(key).and_then(Value::as_str);
        let document = |key: &str| {
            let bytes = STANDARD.decode(text(key)?).ok()?;
            RegistryDocument::parse(&bytes).ok()
        };
        let project = text("project")?;
        let definitions = document("definitions")?;
        (definitions.projects() == [project]).then_some(())?;
        Some(Self {
            registry: text("registry")?.to_owned(),
            fingerprint: text("fingerprint")?.parse().ok()?,
            saved_at: DateTime::parse_from_rfc3339(text("saved_at")?).ok()?.to_utc(),
            sources: SourceRule::from_key(text("source_check")?)?,
            definitions: definitions.catalog_or_empty(project).as_definitions(),
            before: document("before")?,
        })
    }
}

/// The SHA-256 of everything but itself; blanks between values do not count.
fn checksum(value: &Value) -> String {
    let mut value = value.clone();
    if let Value::Object(object) = &mut value {
        object.shift_remove("sha256");
    }
    let hash = Sha256::digest(value.to_string());
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use backsight_registry::definitions::{SourceFile, check_definitions};
    use backsight_registry::document::Stamp;
    use backsight_registry::model::Project;
    use uuid::Uuid;

    use super::*;

    fn definitions(key: &str) -> Definitions {
        let text = format!("kind: Entity\nname: driver\njoin_keys: [{key}]\nvalue_type: INT64\n");
        let file = SourceFile { path: "repo.yaml".to_owned(), text };
        check_definitions(&[file], Project::named("taxi")).unwrap().definitions
    }

    fn saved() -> SavedPlan {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let mut stamp = Stamp { now, next_id: &mut Uuid::new_v4 };
        let nothing = RegistryDocument::parse(&[]).unwrap();
        let registry = nothing.apply(&definitions("id"), &mut stamp).unwrap();
        SavedPlan {
            registry: "s3://bucket/registry.pb".to_owned(),
            fingerprint: registry.project_fingerprint("taxi"),
            saved_at: now,
            sources: SourceRule::AllowTypeDrift,
            definitions: definitions("driver_id"),
            before: registry.of_project("taxi"),
        }
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let saved = saved();
        let text = saved.to_text().unwrap();
        let read = SavedPlan::parse("plan.json", text.as_bytes()).unwrap();
        assert_eq!(read, saved);
        assert_eq!(read.plan().changes.len(), 1, "the key of the entity");
        let compact: Value = serde_json::from_str(&text).unwrap();
        assert!(SavedPlan::parse("plan.json", compact.to_string().as_bytes()).is_ok(), "blanks do not count");
        assert_eq!(compact["plan"]["summary"]["updated"], 1, "a person can read it");
    }

    #[test]
    fn what_was_changed_or_is_something_else_is_refused() {
        let text = saved().to_text().unwrap();
        let of_later = text.replace("\"format_version\": 2", "\"format_version\": 3");
        for (bad, reason) in [
            (String::new(), "it is no JSON"),
            (text[..text.len() / 2].to_owned(), "it is no JSON"),
            ("{\"a\": 1}".to_owned(), "it says nothing of being one"),
            (of_later, "its format version is 3, known here is 2"),
            (text.replace("s3://bucket/", "s3://other/"), "it was changed since it was written"),
            (text.replace("\"updated\": 1", "\"updated\": 0"), "it was changed since it was written"),
            (text.replace("allow_type_drift", "strict"), "it was changed since it was written"),
            (text.replace("\"sha256\"", "\"sha\""), "it was changed since it was written"),
        ] {
            assert_ne!(bad, text);
            let failure = SavedPlan::parse("plan.json", bad.as_bytes()).unwrap_err();
            assert_eq!(failure.status(), 3);
            let expected = format!("cannot use `plan.json` as a saved plan: {reason}");
            assert_eq!(failure.message(), expected);
        }
    }
}
