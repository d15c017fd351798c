//! Feeds a target, watches it, and makes what it trips over small.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use backsight_proto::ErrorCode;

use super::mutate::{Mutator, Shape};
use crate::dice::Dice;

/// An input that takes longer is a hang: far above what any takes, also on a machine that does other things.
const HANG: Duration = Duration::from_secs(60);
/// What one input may add to the greatest memory of the process, in a long run of one target.
const MEMORY_KIB_MAX: u64 = 512 << 10;
/// Bounds of making a finding small.
const SMALLER_TRIES: usize = 3_000;
const SMALLER_TIME: Duration = Duration::from_secs(20);
/// A finding that is so small is shown.
const SHOWN_BYTES_MAX: usize = 600;

/// What looks at an input; an error is a finding, as a panic is.
pub(super) type Check = Box<dyn FnMut(&[u8]) -> Result<(), String> + Send>;

/// Something that reads bytes.
pub(super) struct Target {
    pub(super) name: &'static str,
    /// Real inputs; each of them is checked, too.
    pub(super) corpus: Vec<Vec<u8>>,
    /// Pieces that mean something in its format.
    pub(super) words: &'static [&'static str],
    pub(super) shape: Shape,
    /// Inputs of a short run.
    pub(super) inputs: u64,
    pub(super) check: Check,
}

/// What the worker is at.
#[derive(Default)]
struct Desk {
    done: u64,
    input: Vec<u8>,
}

/// Gives an error's answer as a user would get it: that must not fail either.
pub(super) fn answer(code: ErrorCode, hint: Option<String>, error: &dyn std::fmt::Display) {
    let text = format!("{error} {hint:?} {}", code.exit_status());
    assert!(!text.is_empty());
}

/// Runs a target: so many inputs, or as long as the environment says.
#[expect(clippy::disallowed_methods, reason = "how long a test runs is said from outside")]
pub(super) fn fuzz(target: Target) {
    let number = |name: &str| -> Option<u64> {
        let text = std::env::var(name).ok()?;
        Some(text.parse().unwrap_or_else(|_| panic!("`{name}` is a number, not `{text}`")))
    };
    let time = number("BACKSIGHT_FUZZ_SECONDS").map(Duration::from_secs);
    let seed = number("BACKSIGHT_FUZZ_SEED").unwrap_or(1);
    let name = target.name;
    let desk = Arc::new(Mutex::new(Desk::default()));
    let at_work = Arc::clone(&desk);
    let worker = std::thread::spawn(move || work(target, seed, time, &at_work));
    let (mut seen, mut since) = (0, Instant::now());
    while !worker.is_finished() {
        std::thread::sleep(Duration::from_millis(5));
        let desk = desk.lock().unwrap_or_else(PoisonError::into_inner);
        if desk.done != seen {
            (seen, since) = (desk.done, Instant::now());
        }
        assert!(since.elapsed() < HANG, "{name}, seed {seed}: hangs at {}", kept(name, seed, &desk.input));
    }
    match worker.join() {
        Ok(Ok(done)) => println!("{name}, seed {seed}: {done} inputs, no finding"),
        Ok(Err(finding)) => panic!("{finding}"),
        Err(_) => panic!("{name}, seed {seed}: the runner itself failed"),
    }
}

fn work(mut target: Target, seed: u64, time: Option<Duration>, desk: &Mutex<Desk>) -> Result<u64, String> {
    let began = Instant::now();
    let corpus = target.corpus.clone();
    let mut mutator = Mutator { dice: Dice(seed), corpus: &corpus, words: target.words, shape: target.shape };
    let mut done = 0;
    loop {
        let first = usize::try_from(done).ok().and_then(|number| corpus.get(number)).cloned();
        let input = first.unwrap_or_else(|| mutator.next());
        {
            let mut desk = desk.lock().unwrap_or_else(PoisonError::into_inner);
            (desk.done, desk.input) = (done, input.clone());
        }
        let before = time.and_then(|_| memory_kib());
        if let Err(found) = tried(&mut target.check, &input) {
            let small = smaller(&mut target.check, input);
            let small_found = tried(&mut target.check, &small).err().unwrap_or(found);
            let name = target.name;
            return Err(format!(
                "{name}, seed {seed}, input {done}: {small_found}\n{}",
                kept(name, seed, &small)
            ));
        }
        if let (Some(before), Some(after)) = (before, memory_kib())
            && after > before + MEMORY_KIB_MAX
        {
            let name = target.name;
            let grown = (after - before) >> 10;
            return Err(format!(
                "{name}, seed {seed}, input {done}: took {grown} MiB\n{}",
                kept(name, seed, &input)
            ));
        }
        done += 1;
        let enough = match time {
            Some(time) => began.elapsed() >= time,
            None => done >= target.inputs + corpus.len() as u64,
        };
        if enough {
            return Ok(done);
        }
    }
}

fn tried(check: &mut Check, input: &[u8]) -> Result<(), String> {
    match catch_unwind(AssertUnwindSafe(|| check(input))) {
        Ok(result) => result,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(format!("panics: {}", text.unwrap_or("without a word")))
        }
    }
}

/// Cuts away what the finding does not need.
fn smaller(check: &mut Check, mut input: Vec<u8>) -> Vec<u8> {
    let began = Instant::now();
    let mut tries = 0;
    let mut chunk = input.len().div_ceil(2).max(1);
    loop {
        let (mut start, mut cut) = (0, false);
        while start < input.len() {
            tries += 1;
            if tries > SMALLER_TRIES || began.elapsed() > SMALLER_TIME {
                return input;
            }
            let mut less = input.clone();
            less.drain(start..(start + chunk).min(input.len()));
            if tried(check, &less).is_err() {
                (input, cut) = (less, true);
            } else {
                start += chunk;
            }
        }
        match (chunk, cut) {
            (1, false) => return input,
            (1, true) => {}
            _ => chunk = chunk.div_ceil(2),
        }
    }
}

/// The input as it is shown, or where it was put.
fn kept(name: &str, seed: u64, input: &[u8]) -> String {
    if input.len() <= SHOWN_BYTES_MAX {
        return format!("b\"{}\"", input.escape_ascii());
    }
    let path = std::env::temp_dir().join(format!("backsight-fuzz-{name}-{seed}.bin"));
    match std::fs::write(&path, input) {
        Ok(()) => format!("{} bytes in {}", input.len(), path.display()),
        Err(error) => format!("{} bytes that could not be written: {error}", input.len()),
    }
}

/// The greatest memory that this process has had, where the system tells.
pub(crate) fn memory_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(check: Check) -> Target {
        let corpus = vec![b"abcdef".to_vec()];
        Target { name: "self", corpus, words: &["!"], shape: Shape::Bytes, inputs: 3_000, check }
    }

    #[test]
    fn a_panic_is_found_and_made_small() {
        let check = |input: &[u8]| {
            assert!(!input.contains(&b'!'), "a mark");
            Ok(())
        };
        let found = work(target(Box::new(check)), 1, None, &Mutex::default()).unwrap_err();
        assert!(found.contains("panics: a mark") && found.ends_with("b\"!\""), "{found}");
    }

    #[test]
    fn an_error_is_a_finding() {
        let check = |input: &[u8]| if input.len() < 4 { Err("short".to_owned()) } else { Ok(()) };
        let found = work(target(Box::new(check)), 1, None, &Mutex::default()).unwrap_err();
        assert!(found.contains("short") && found.ends_with("b\"\""), "{found}");
    }
}
