//! Whether a job survives anything: the real machine in a simulated world of crashes, lost leases and late words.
//!
//! Two schedulers share a store of jobs. A job is persisted after each event and before its actions are performed, and a
//! crash may come between any two steps. Executors lose, repeat, delay and reorder what they have to say, and events wait
//! in no order, so even the word that a job was taken over may come late. A seed decides all of it, so a failure is
//! repeated by its seed.

mod checks;
mod dice;
mod run;
mod schedulers;
mod work;
mod world;
