//! Which scheduler a command goes through, if any, and who said so.

use backsight_registry::feature_store::{FeatureStoreConfig, Origin};
use tonic::transport::Uri;

use crate::commands::Program;
use crate::config::Workspace;
use crate::errors::Failure;

/// The variable that names a scheduler.
pub(crate) const SCHEDULER_VARIABLE: &str = "BACKSIGHT_SCHEDULER";
/// The option that names a scheduler.
pub(crate) const SCHEDULER_OPTION: &str = "--scheduler";
/// Its setting in the configuration.
const KEY: &str = "backsight.scheduler";
/// The setting that goes without one.
const LOCAL_KEY: &str = "backsight.local_only";

/// The address of a scheduler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SchedulerAddress {
    /// `http://host:port`.
    pub(crate) url: String,
    /// Who named it.
    pub(crate) origin: Origin,
}

/// What the command line or the environment say about a scheduler.
enum Said {
    /// Work without one, whatever the configuration says.
    None(Origin),
    /// Work with this one.
    At(SchedulerAddress),
}

/// Lets option and variable win over the file, and gives the scheduler that remains.
pub(crate) fn resolve(
    config: &mut FeatureStoreConfig,
    program: &Program,
) -> Result<Option<SchedulerAddress>, Failure> {
    let is_local = config.backsight.local_only;
    let setting = config.settings.iter_mut().find(|setting| setting.key == KEY);
    match (said(program)?, setting) {
        (Some(Said::At(address)), setting) if is_local => {
            if address.origin == Origin::Flag(SCHEDULER_OPTION.to_owned()) {
                let message =
                    format!("`{SCHEDULER_OPTION}` and `{LOCAL_KEY}` of the configuration do not go together");
                return Err(Failure::usage(message)
                    .with_hint("name the configuration of a shared project with `--feature-store-yaml`"));
            }
            // The variable is for whatever else is done on this machine.
            config.backsight.scheduler = None;
            if let Some(setting) = setting {
                setting.value = String::new();
            }
            Ok(None)
        }
        (Some(said), setting) => {
            let (address, origin) = match said {
                Said::None(origin) => (None, origin),
                Said::At(address) => (Some(address.clone()), address.origin),
            };
            config.backsight.scheduler = address.as_ref().map(|address| address.url.clone());
            if let Some(setting) = setting {
                setting.value = config.backsight.scheduler.clone().unwrap_or_default();
                setting.origin = origin;
            }
            Ok(address)
        }
        (None, setting) => {
            let Some(url) = &config.backsight.scheduler else { return Ok(None) };
            let origin = setting.map_or(Origin::Default, |setting| setting.origin.clone());
            if url.trim() == "none" {
                return Ok(None);
            }
            checked(url, origin).map(Some)
        }
    }
}

/// The scheduler's URL for a service, which has no configuration of its own.
pub(crate) fn scheduler_url(program: &Program) -> Result<Option<String>, Failure> {
    Ok(match said(program)? {
        Some(Said::At(address)) => Some(address.url),
        Some(Said::None(_)) | None => None,
    })
}

/// The scheduler of a command that can do without a feature repo.
pub(crate) fn required(program: &Program) -> Result<SchedulerAddress, Failure> {
    let address = match said(program)? {
        Some(Said::At(address)) => Some(address),
        Some(Said::None(_)) => None,
        // Who is in no repo learns that a scheduler is missing, not that a file is.
        None if Workspace::has_config(program) => Workspace::open(program)?.scheduler,
        None => None,
    };
    address.ok_or_else(|| {
        Failure::usage("this needs a scheduler, and none is configured").with_hint(format!(
            "name one with `{SCHEDULER_OPTION} http://host:50050`, `{SCHEDULER_VARIABLE}`, or `{KEY}` of feature_store.yaml"
        ))
    })
}

fn said(program: &Program) -> Result<Option<Said>, Failure> {
    let by_option = program.global.scheduler.as_deref();
    let by_variable = || program.environment.variable(SCHEDULER_VARIABLE);
    let (text, origin) = match (by_option, by_variable()) {
        (Some(text), _) => (text, Origin::Flag(SCHEDULER_OPTION.to_owned())),
        (None, Some(text)) => (text, Origin::Environment(SCHEDULER_VARIABLE.to_owned())),
        (None, None) => return Ok(None),
    };
    if matches!(text.trim(), "" | "none") {
        return Ok(Some(Said::None(origin)));
    }
    checked(text, origin).map(|address| Some(Said::At(address)))
}

fn checked(text: &str, origin: Origin) -> Result<SchedulerAddress, Failure> {
    match check(text.trim()) {
        Ok(url) => Ok(SchedulerAddress { url, origin }),
        Err(problem) => Err(Failure::usage(format!("the scheduler's address, {origin}, {problem}"))
            .with_hint("write `http://host:50050`")),
    }
}

/// `http://host:port` without a slash at its end. The problem does not repeat the text: it may hold a password.
fn check(text: &str) -> Result<String, String> {
    let uri: Uri = text.parse().map_err(|error| format!("is no URL: {error}"))?;
    let authority = uri.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => {
            return Err(
                "starts with `https://`, but schedulers are reached by plain `http://` so far".to_owned()
            );
        }
        Some(scheme) => return Err(format!("starts with `{scheme}://`, allowed is `http://`")),
        None => return Err("does not start with `http://`".to_owned()),
    }
    if authority.contains('@') {
        return Err("must not hold a user or password".to_owned());
    }
    if uri.host().is_none_or(str::is_empty) {
        return Err("has no host".to_owned());
    }
    let Some(port) = uri.port_u16().filter(|port| *port > 0) else {
        return Err("has no port".to_owned());
    };
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err("has a path or query after the port".to_owned());
    }
    Ok(format!("http://{}:{port}", uri.host().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_scheme_host_and_port_and_nothing_else() {
        for (text, url) in [
            ("http://127.0.0.1:50050", "http://127.0.0.1:50050"),
            ("http://scheduler.example:1/", "http://scheduler.example:1"),
            ("http://[::1]:50050", "http://[::1]:50050"),
        ] {
            assert_eq!(check(text).as_deref(), Ok(url));
        }
        for (text, problem) in [
            ("host:50050", "does not start with"),
            ("http://host", "has no port"),
            ("http://host:0", "has no port"),
            ("https://host:1", "plain `http://`"),
            ("ftp://host:1", "`ftp://`"),
            ("http://me:secret@host:1", "user or password"),
            ("http://host:1/path", "path or query"),
            ("http://host:1?x=y", "path or query"),
            ("http://host:99999", ""),
            ("http://", ""),
            ("not a url", "is no URL"),
        ] {
            let message = check(text).unwrap_err();
            assert!(message.contains(problem) && !message.contains("secret"), "{text}: {message}");
        }
    }
}
