//! How a job's history stays bounded: the first entry and the newest ones are kept.

use super::model::{Job, Transition};

/// Longest text of an entry in bytes; the whole of a failure stands in the job and its shards.
const TEXT_MAX: usize = 400;

/// Adds an entry and drops what is too much.
pub(super) fn note(job: &mut Job, history_max: u32, now_ms: i64, what: &str) {
    job.history.push(Transition { at_ms: now_ms, what: shortened(what) });
    let kept = usize::try_from(history_max.max(2)).unwrap_or(usize::MAX);
    let surplus = job.history.len().saturating_sub(kept);
    job.history.drain(1..=surplus);
    job.history_left_out = job.history_left_out.saturating_add(u64::try_from(surplus).unwrap_or(u64::MAX));
}

fn shortened(text: &str) -> String {
    if text.len() <= TEXT_MAX {
        return text.to_owned();
    }
    let end = (0..=TEXT_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::super::tables::queued_job;
    use super::{TEXT_MAX, note};

    #[test]
    fn the_first_and_the_newest_entries_are_kept() {
        let mut job = queued_job("a");
        for number in 0..10 {
            note(&mut job, 4, number, &format!("entry {number}"));
        }
        let kept: Vec<&str> = job.history.iter().map(|entry| entry.what.as_str()).collect();
        assert_eq!(kept, ["queued", "entry 7", "entry 8", "entry 9"]);
        assert_eq!(job.history_left_out, 7);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let mut job = queued_job("a");
        note(&mut job, 4, 0, &"é".repeat(TEXT_MAX));
        note(&mut job, 4, 0, &format!("x{}", "é".repeat(TEXT_MAX)));
        assert_eq!(job.history[1].what, format!("{}…", "é".repeat(TEXT_MAX / 2)));
        assert_eq!(job.history[2].what, format!("x{}…", "é".repeat(TEXT_MAX / 2 - 1)));
    }
}
