//! The `backsight:` key: our own settings, strictly read. Secrets are refused here.

use backsight_storage::S3Options;

use super::config::BacksightConfig;
use super::read::{Settings, as_given};
use crate::problem::Problems;
use crate::size::parse_size;
use crate::yaml::{Keys, Reader, Resolved, Spanned, Value};

const SECRET: &str = "secrets come from the environment or the provider's usual chain, never from a file";

/// Names under which people write secrets.
const SECRETS: &[(&str, &str)] = &[
    ("access_key", SECRET),
    ("access_key_id", SECRET),
    ("aws_access_key_id", SECRET),
    ("aws_secret_access_key", SECRET),
    ("aws_session_token", SECRET),
    ("credentials", SECRET),
    ("password", SECRET),
    ("secret", SECRET),
    ("secret_access_key", SECRET),
    ("secret_key", SECRET),
    ("session_token", SECRET),
    ("token", SECRET),
];

/// Stands for no scheduler.
const NO_SCHEDULER: &str = "none";

/// Keys of `backsight`; each has an entry in [`super::SETTINGS`].
pub(super) const BACKSIGHT_KEYS: &[&str] = &[
    "scheduler",
    "local_only",
    "state",
    "s3",
    "memory_limit",
    "spill_dir",
    "spill_limit",
    "target_partitions",
];
/// Keys of `backsight.s3`; each has an entry in [`super::SETTINGS`].
pub(super) const S3_KEYS: &[&str] = &["endpoint", "region", "allow_http", "virtual_hosted_style"];

pub(super) fn read_backsight(
    config: &Reader<'_>,
    settings: &mut Settings,
    problems: &mut Problems,
) -> BacksightConfig {
    let keys = Keys { allowed: BACKSIGHT_KEYS, refused: SECRETS };
    let node = config.get("backsight").map(|pair| &pair.value);
    let section = node.and_then(|node| Reader::open(node, "`backsight`".to_owned(), &keys, problems));
    let scheduler = section.as_ref().and_then(|section| section.text("scheduler", problems));
    if let Some(url) = scheduler.as_ref().filter(|url| url.value != NO_SCHEDULER) {
        check_url(url, "`backsight.scheduler`", &["http", "https"], "http://host:50050", problems);
    }
    settings.either("backsight.scheduler", as_given(&scheduler), "");
    let local_only = section.as_ref().and_then(|section| section.boolean("local_only", problems));
    let shown = local_only.as_ref().map(|flag| (if flag.value { "true" } else { "false" }, &flag.position));
    settings.either("backsight.local_only", shown, "false");
    let is_local = local_only.is_some_and(|flag| flag.value);
    if let Some(url) = scheduler.as_ref().filter(|url| is_local && url.value != NO_SCHEDULER) {
        let message = "`backsight.local_only` goes through no scheduler, but `backsight.scheduler` names one";
        problems.push_hint(&url.position, message, "leave out one of the two");
    }
    let state = section.as_ref().and_then(|section| section.text("state", problems));
    if let Some(url) = &state {
        let schemes = ["sqlite", "postgres", "postgresql"];
        check_url(url, "`backsight.state`", &schemes, "sqlite://backsight.db", problems);
    }
    settings.either("backsight.state", as_given(&state), "");
    let s3 = read_s3(section.as_ref(), settings, problems);
    let size = |key: &str, setting: &'static str, settings: &mut Settings, problems: &mut Problems| {
        let size = section.as_ref().and_then(|section| read_bytes(section, key, problems));
        let shown = size.as_ref().map(|size| (size.value.to_string(), &size.position));
        settings.either(setting, shown.as_ref().map(|(text, at)| (text.as_str(), *at)), "");
        size.map(|size| size.value)
    };
    let memory_limit = size("memory_limit", "backsight.memory_limit", settings, problems);
    let spill_dir = section.as_ref().and_then(|section| section.text("spill_dir", problems));
    settings.either("backsight.spill_dir", as_given(&spill_dir), "");
    let spill_limit = size("spill_limit", "backsight.spill_limit", settings, problems);
    let partitions = section.as_ref().and_then(|section| section.count("target_partitions", problems));
    if let Some(zero) = partitions.as_ref().filter(|count| count.value == 0) {
        problems.push(&zero.position, "`target_partitions` of `backsight` must be at least 1, got 0");
    }
    let shown = partitions.as_ref().map(|count| (count.value.to_string(), &count.position));
    settings.either("backsight.target_partitions", shown.as_ref().map(|(text, at)| (text.as_str(), *at)), "");
    BacksightConfig {
        scheduler: scheduler.map(|text| text.value),
        local_only: is_local,
        state: state.map(|text| text.value),
        s3,
        memory_limit,
        spill_dir: spill_dir.map(|text| text.value),
        spill_limit,
        target_partitions: partitions.map(|count| count.value),
    }
}

fn read_s3(section: Option<&Reader<'_>>, settings: &mut Settings, problems: &mut Problems) -> S3Options {
    let keys = Keys { allowed: S3_KEYS, refused: SECRETS };
    let node = section.and_then(|section| section.get("s3")).map(|pair| &pair.value);
    let s3 = node.and_then(|node| Reader::open(node, "`backsight.s3`".to_owned(), &keys, problems));
    let s3 = s3.as_ref();
    let endpoint = s3.and_then(|s3| s3.text("endpoint", problems));
    if let Some(url) = &endpoint {
        check_url(url, "`backsight.s3.endpoint`", &["http", "https"], "http://127.0.0.1:9000", problems);
    }
    let region = s3.and_then(|s3| s3.text("region", problems));
    let allow_http = s3.and_then(|s3| s3.boolean("allow_http", problems));
    let virtual_hosted_style = s3.and_then(|s3| s3.boolean("virtual_hosted_style", problems));
    settings.either("backsight.s3.endpoint", as_given(&endpoint), "");
    settings.either("backsight.s3.region", as_given(&region), "");
    for (key, flag) in [
        ("backsight.s3.allow_http", &allow_http),
        ("backsight.s3.virtual_hosted_style", &virtual_hosted_style),
    ] {
        let shown = flag.as_ref().map(|flag| (if flag.value { "true" } else { "false" }, &flag.position));
        settings.either(key, shown, "");
    }
    S3Options {
        endpoint: endpoint.map(|text| text.value),
        region: region.map(|text| text.value),
        allow_http: allow_http.map(|flag| flag.value),
        virtual_hosted_style: virtual_hosted_style.map(|flag| flag.value),
    }
}

/// The message shows no more of the URL than its scheme: it may hold a password.
fn check_url(url: &Spanned<String>, what: &str, schemes: &[&str], example: &str, problems: &mut Problems) {
    let allowed = schemes.iter().map(|scheme| format!("`{scheme}://`")).collect::<Vec<_>>().join(", ");
    let Some((scheme, rest)) = url.value.split_once("://") else {
        problems.push_hint(
            &url.position,
            format!("{what} must be a URL that starts with {allowed}"),
            format!("for example `{example}`"),
        );
        return;
    };
    if !schemes.contains(&scheme) {
        problems.push_hint(
            &url.position,
            format!("{what} has the scheme `{scheme}://`; allowed: {allowed}"),
            format!("for example `{example}`"),
        );
    }
    let user =
        rest.split(['/', '?']).next().and_then(|authority| authority.rsplit_once('@')).map(|(user, _)| user);
    // A database may be told the user; nothing may be told the password.
    let is_secret = user.is_some_and(|user| user.contains(':') || scheme.starts_with("http"));
    if is_secret || rest.to_ascii_lowercase().contains("password=") {
        problems.push_hint(&url.position, format!("{what} must not hold a password"), SECRET);
    }
}

/// A size such as `8GiB`, `512MB`, or a number of bytes.
fn read_bytes(section: &Reader<'_>, key: &str, problems: &mut Problems) -> Option<Spanned<u64>> {
    let node = &section.get(key)?.value;
    let bytes = match &node.value {
        Value::Scalar(scalar) if !matches!(scalar.resolve(), Resolved::Boolean(_)) => {
            parse_size(&scalar.text).ok()
        }
        _ => None,
    };
    match bytes {
        Some(value) => Some(Spanned { value, position: node.position.clone() }),
        None => {
            let given = node.describe();
            let message = format!("`{key}` of `backsight` must be a size above zero, got {given}");
            problems.push_hint(&node.position, message, "write `8GiB`, `512MB`, or a number of bytes");
            None
        }
    }
}
