//! What a run was measured on.

use serde_json::{Value, json};

use crate::commands::retrieve::cores;

/// The machine, as far as it tells.
pub(crate) fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let load = read("/proc/loadavg");
    json!({
        "system": format!("{}-{}-{}", std::env::consts::OS, read("/proc/sys/kernel/osrelease").trim(), std::env::consts::ARCH),
        "processor": field(&read("/proc/cpuinfo"), "model name"),
        "cores": cores().get(),
        "memory_bytes": field(&read("/proc/meminfo"), "MemTotal")
            .and_then(|text| text.strip_suffix("kB")?.trim().parse::<u64>().ok())
            .map(|kibibytes| kibibytes * 1024),
        "load_before": load.split(' ').next().and_then(|number| number.parse::<f64>().ok()),
    })
}

/// The first value of a key in lines of `key : value`.
fn field(text: &str, key: &str) -> Option<String> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "model\t\t: 1\nmodel name\t: AMD EPYC\nmodel name\t: other\n";
        assert_eq!(field(text, "model name").as_deref(), Some("AMD EPYC"));
        assert_eq!(field(text, "name"), None);
        assert!(machine()["cores"].as_u64() > Some(0));
    }
}
