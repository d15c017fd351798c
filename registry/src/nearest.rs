//! Which known name was probably meant.

/// The candidate closest to `given`, when it is close enough to be a slip of the hand.
///
/// Case is ignored; up to a third of the letters (at least one, at most four) may differ. The first of equals wins,
/// so give candidates in a stable order.
pub fn nearest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LENGTH_MAX: usize = 128;
    if given.chars().count() > LENGTH_MAX {
        return None;
    }
    let lowered = given.to_lowercase();
    let allowed = (lowered.chars().count() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= LENGTH_MAX)
        .map(|candidate| (strsim::osa_distance(&lowered, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The sentence for a hint, when there is a near name.
pub fn did_you_mean<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(given, candidates).map(|name| format!("did you mean `{name}`?"))
}

/// Names in backticks, separated by commas, cut after sixteen.
pub fn quoted_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN_MAX: usize = 16;
    let names: Vec<&str> = names.into_iter().collect();
    let shown = names.iter().take(SHOWN_MAX).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(SHOWN_MAX) {
        Some(more) if more > 0 => format!("{shown} and {more} more"),
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_names() {
        let keys = ["name", "join_keys", "value_type", "description"];
        for (given, expected) in [
            ("jion_keys", Some("join_keys")),
            ("joinkeys", Some("join_keys")),
            ("nam", Some("name")),
            ("NAME", Some("name")),
            ("valuetyp", Some("value_type")),
            ("ttl", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, keys), expected, "{given}");
        }
    }
}
