//! How much memory a retrieval may take unless told: pure over the texts that Linux shows.

use std::num::NonZeroUsize;

use backsight_engine::EngineOptions;

/// Memory that is taken for available where nothing is known.
const FALLBACK_BYTES: u64 = 4 << 30;

/// What the system shows about memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct MachineTexts {
    /// `/proc/meminfo`
    pub(crate) meminfo: String,
    /// The control group's limit: a number, or `max`.
    pub(crate) group_limit: Option<String>,
    /// What the group uses, page cache included.
    pub(crate) group_usage: Option<String>,
    /// The group's statistics, for the page cache that can be dropped.
    pub(crate) group_stat: Option<String>,
}

/// The default limit for so much available memory.
pub(crate) fn default_limit(available: Option<u64>) -> u64 {
    let bytes = usize::try_from(available.unwrap_or(FALLBACK_BYTES)).unwrap_or(usize::MAX);
    EngineOptions::for_machine(bytes, NonZeroUsize::MIN).memory_limit_bytes as u64
}

/// Memory that can be had: the machine's, or what a control group leaves of it.
pub(crate) fn machine_memory(texts: &MachineTexts) -> Option<u64> {
    let machine =
        meminfo_bytes(&texts.meminfo, "MemAvailable").or_else(|| meminfo_bytes(&texts.meminfo, "MemTotal"));
    let limit = texts.group_limit.as_deref().and_then(number);
    let Some(limit) = limit else { return machine };
    let used = texts.group_usage.as_deref().and_then(number).unwrap_or(0);
    let stat = texts.group_stat.as_deref().unwrap_or_default();
    let cache =
        stat_value(stat, "inactive_file").or_else(|| stat_value(stat, "total_inactive_file")).unwrap_or(0);
    let left = limit.saturating_sub(used.saturating_sub(cache));
    Some(machine.map_or(left, |machine| machine.min(left)))
}

/// The path of the process in the unified hierarchy (`0::/path`); the root when there is none.
pub(crate) fn unified_group(text: &str) -> &str {
    text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/")
}

fn meminfo_bytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn stat_value(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:       24000000 kB\nMemFree:  1 kB\nMemAvailable:   20000000 kB\n";

    fn texts(limit: Option<&str>, usage: Option<&str>, stat: Option<&str>) -> MachineTexts {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        MachineTexts {
            meminfo: MEMINFO.to_owned(),
            group_limit: owned(limit),
            group_usage: owned(usage),
            group_stat: owned(stat),
        }
    }

    #[test]
    fn the_narrower_of_machine_and_group_counts() {
        let machine = 20_000_000 * 1024;
        assert_eq!(machine_memory(&texts(None, None, None)), Some(machine));
        assert_eq!(machine_memory(&texts(Some("max\n"), Some("5"), None)), Some(machine));
        // The old hierarchy says "no limit" with a huge number.
        assert_eq!(machine_memory(&texts(Some("9223372036854771712"), None, None)), Some(machine));
        assert_eq!(machine_memory(&texts(Some("1000000000"), None, None)), Some(1_000_000_000));
    }

    #[test]
    fn what_a_group_uses_is_gone_but_for_its_page_cache() {
        let stat = "anon 300\ninactive_file 400\nactive_file 9\n";
        assert_eq!(machine_memory(&texts(Some("1000"), Some("700"), Some(stat))), Some(700));
        assert_eq!(machine_memory(&texts(Some("1000"), Some("2000"), None)), Some(0));
    }

    #[test]
    fn without_any_text_nothing_is_known() {
        assert_eq!(machine_memory(&MachineTexts::default()), None);
        assert_eq!(default_limit(Some(10_000_000_000)), 6_000_000_000);
        assert!(default_limit(None) > 1 << 30);
    }

    #[test]
    fn the_group_of_the_unified_hierarchy_is_found() {
        assert_eq!(unified_group("12:memory:/x\n0::/user.slice/a\n"), "/user.slice/a");
        assert_eq!(unified_group("12:memory:/x\n"), "/");
    }
}
