//! What an output holds and what a request may do with it. Pure: states in, one decision out.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::manifest::{Intent, Manifest, Replaced};
use crate::request::RetrievalRequest;

/// A claim that was not renewed for so long belongs to nobody.
pub(crate) const CLAIM_DEAD_AFTER: TimeDelta = TimeDelta::seconds(120);

/// Who writes: named in the claim, so that others can say whom they wait for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimant {
    /// Machine.
    pub host: String,
    /// Process on that machine.
    pub process: u32,
}

/// `_backsight/claim`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    pub(crate) request_id: String,
    /// Unique for each attempt, and changed by each renewal through `renewed`.
    pub(crate) attempt: String,
    pub(crate) claimant: Claimant,
    pub(crate) renewed: DateTime<Utc>,
}

/// What was found in an output.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    /// The manifest and its version.
    pub(crate) manifest: Option<(Manifest, String)>,
    /// A manifest that cannot be read, and why.
    pub(crate) unreadable_manifest: Option<String>,
    pub(crate) claim: Option<Claim>,
    pub(crate) intent: Option<Intent>,
    /// The first file that is not ours.
    pub(crate) foreign: Option<String>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Write; with what it replaces.
    Write(Option<Replaced>),
    /// The same request has been committed.
    Committed(Box<Manifest>),
    /// A commit was interrupted after it became durable: finish it, then look again.
    RollForward,
    /// Leave it alone.
    Refuse { message: String, hint: Option<String> },
}

/// Decides what a request may do with an output.
pub(crate) fn decide(
    found: &Found,
    output: &str,
    request_id: &str,
    request: &RetrievalRequest,
    overwrite: bool,
    now: DateTime<Utc>,
    is_gone: impl Fn(&Claim) -> bool,
) -> Decision {
    let refuse = |message: String, hint: &str| Decision::Refuse { message, hint: Some(hint.to_owned()) };
    if let Some(claim) = &found.claim
        && now.signed_duration_since(claim.renewed) < CLAIM_DEAD_AFTER
        && !is_gone(claim)
    {
        return refuse(
            format!(
                "`{output}` is being written by request `{}` on `{}` (process {})",
                claim.request_id, claim.claimant.host, claim.claimant.process
            ),
            "wait for it, or choose another output",
        );
    }
    if found.intent.is_some() {
        return Decision::RollForward;
    }
    if let Some(reason) = &found.unreadable_manifest {
        return refuse(
            format!("`{output}` holds a manifest that cannot be read: {reason}"),
            "choose another output, or remove what is there",
        );
    }
    if let Some((manifest, version)) = &found.manifest {
        if manifest.request_id == request_id {
            return if manifest.request == *request {
                Decision::Committed(Box::new(manifest.clone()))
            } else {
                refuse(
                    format!("request id `{request_id}` has already been used for another request"),
                    "give this request another `--request-id`",
                )
            };
        }
        return if overwrite {
            let parts = manifest.parts.iter().map(|part| part.path.clone()).collect();
            Decision::Write(Some(Replaced { version: version.clone(), parts }))
        } else {
            refuse(
                format!(
                    "`{output}` holds a dataset of {} rows (request `{}`, {})",
                    manifest.rows, manifest.request_id, manifest.finished
                ),
                "replace it with `--overwrite`, or choose another output",
            )
        };
    }
    if let Some(name) = &found.foreign {
        return refuse(
            format!("`{output}` is not empty and holds no dataset of backsight, for example `{name}`"),
            "choose an empty output: what backsight did not write it does not overwrite",
        );
    }
    Decision::Write(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::ManifestEngine;
    use crate::report::JoinReport;
    use crate::request::{FeatureSelection, SpineRequest};
    use crate::shard_run::ShardWork;

    fn request(service: &str) -> RetrievalRequest {
        let features = FeatureSelection::Service(service.into());
        RetrievalRequest::new("p", features, SpineRequest::files("s.parquet"), Some("out".into()))
    }

    fn manifest(request_id: &str) -> Manifest {
        Manifest {
            format: 1,
            request_id: request_id.into(),
            request: request("a"),
            project: "p".into(),
            registry_version: None,
            schema: vec![],
            parts: vec![],
            rows: 3,
            sources: vec![],
            spine_hash: String::new(),
            engine: ManifestEngine {
                version: "0".into(),
                engine: "embedded".into(),
                form: "slot fold".into(),
                chosen: vec![],
            },
            scans: vec![],
            report: JoinReport { rows: 3, views: vec![], notes: vec![] },
            work: ShardWork::default(),
            saved_as: None,
            started: String::new(),
            finished: "then".into(),
            elapsed_seconds: "0".into(),
        }
    }

    fn claim(age_seconds: i64) -> Claim {
        Claim {
            request_id: "other".into(),
            attempt: "t".into(),
            claimant: Claimant { host: "h".into(), process: 7 },
            renewed: now() - TimeDelta::seconds(age_seconds),
        }
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn intent() -> Intent {
        Intent { manifest: manifest("x"), staged: vec![], replaces: None }
    }

    /// One line a case: what is there, what is asked, what is decided.
    #[test]
    fn decisions() {
        let dataset = Found { manifest: Some((manifest("r1"), "v".into())), ..Found::default() };
        let foreign = Found { foreign: Some("data.csv".into()), ..Found::default() };
        let live = Found { claim: Some(claim(5)), ..Found::default() };
        let dead = Found { claim: Some(claim(500)), ..Found::default() };
        let interrupted = Found { claim: Some(claim(500)), intent: Some(intent()), ..Found::default() };
        let committing = Found { claim: Some(claim(5)), intent: Some(intent()), ..Found::default() };
        let cases: [(&str, &Found, &str, &str, bool, bool, &str); 12] = [
            ("empty", &Found::default(), "r1", "a", false, false, "write"),
            (
                "dataset, another request",
                &dataset,
                "r2",
                "a",
                false,
                false,
                "refuse: holds a dataset of 3 rows",
            ),
            ("dataset, overwrite", &dataset, "r2", "a", true, false, "replace"),
            ("dataset, same id and request", &dataset, "r1", "a", false, false, "committed"),
            ("dataset, same id, overwrite", &dataset, "r1", "a", true, false, "committed"),
            (
                "dataset, same id, other request",
                &dataset,
                "r1",
                "b",
                true,
                false,
                "refuse: has already been used",
            ),
            ("foreign files", &foreign, "r1", "a", false, false, "refuse: is not empty"),
            ("foreign files, overwrite", &foreign, "r1", "a", true, false, "refuse: is not empty"),
            (
                "live claim",
                &live,
                "r1",
                "a",
                true,
                false,
                "refuse: is being written by request `other` on `h`",
            ),
            ("claim of a process that is gone", &live, "r1", "a", false, true, "write"),
            ("dead claim", &dead, "r1", "a", false, false, "write"),
            ("interrupted commit", &interrupted, "r1", "a", false, false, "roll forward"),
        ];
        for (name, found, id, service, overwrite, gone, expected) in cases {
            let decision = decide(found, "out", id, &request(service), overwrite, now(), |_| gone);
            let shown = match &decision {
                Decision::Write(None) => "write".to_owned(),
                Decision::Write(Some(_)) => "replace".to_owned(),
                Decision::Committed(_) => "committed".to_owned(),
                Decision::RollForward => "roll forward".to_owned(),
                Decision::Refuse { message, .. } => format!("refuse: {message}"),
            };
            let matches = match expected.strip_prefix("refuse: ") {
                Some(part) => shown.starts_with("refuse: ") && shown.contains(part),
                None => shown == expected,
            };
            assert!(matches, "{name}: {shown}");
        }
        let shown = decide(&committing, "out", "r1", &request("a"), true, now(), |_| false);
        assert!(matches!(shown, Decision::Refuse { .. }), "a commit under way is left alone");
    }
}
