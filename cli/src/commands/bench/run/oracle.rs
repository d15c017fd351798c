//! What a run's rows are compared with: the naive loop for little data, another number of partitions for much.

use super::checksum::Checksum;
use super::measure::{measured, own_command};
use crate::commands::Program;
use crate::commands::bench::spec::Spec;
use crate::errors::Failure;

/// Another way to the same rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    /// Every spine row against every feature row.
    Naive,
    /// The same form, cut otherwise.
    Partitions,
    /// Only the number of rows.
    None,
}

/// Pairs of rows that the naive loop looks at within a minute or so.
const NAIVE_PAIRS_MAX: u128 = 500_000_000;

impl Check {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Naive => "naive",
            Self::Partitions => "partitions",
            Self::None => "none",
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let all = [Self::Naive, Self::Partitions, Self::None];
        let found = all.into_iter().find(|check| check.name() == text);
        found.ok_or_else(|| "allowed: `naive`, `partitions`, `none`".to_owned())
    }

    /// The oracle while it can be waited for.
    pub(crate) fn by_size(spec: &Spec) -> Self {
        let rows: u128 = spec.views.iter().map(|view| u128::from(view.rows)).sum();
        if rows * u128::from(spec.spine.rows) <= NAIVE_PAIRS_MAX { Self::Naive } else { Self::Partitions }
    }
}

/// Rows and checksum of a dataset, found by a process of its own: what this process holds would count as held by every
/// process that it starts. Storage is reached as the repo's configuration says.
///
/// # Errors
/// A dataset that cannot be read.
pub(super) async fn checksum_of(program: &Program, repo: &str, dataset: &str) -> Result<Checksum, Failure> {
    let ended = measured(own_command(program, &["-c", repo, "bench", "checksum", dataset])?).await?;
    let found = ended.json()?;
    let sum = found["checksum"].as_str().and_then(|text| u128::from_str_radix(text, 16).ok());
    match (found["rows"].as_u64(), sum) {
        (Some(rows), Some(sum)) => Ok(Checksum { rows, sum }),
        _ => Err(Failure::bug("a checksum cannot be read")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::bench::spec::preset;

    #[test]
    fn little_data_is_checked_against_the_oracle() {
        let tiny = preset("tiny").unwrap();
        assert_eq!(Check::by_size(&tiny), Check::Partitions);
        assert_eq!(Check::by_size(&tiny.scaled(0.1)), Check::Naive);
        assert_eq!(Check::parse("naive"), Ok(Check::Naive));
        assert!(Check::parse("oracle").unwrap_err().contains("`partitions`"));
    }
}
