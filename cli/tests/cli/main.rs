//! The built command as its users meet it: exit codes, words, files.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests: what cannot be set up must fail the test"
)]

mod bad_definitions;
mod bad_retrievals;
mod bench;
mod cluster;
mod colours;
mod concurrent;
mod fake;
mod flow;
mod google;
mod interrupt;
mod json;
mod pages;
mod registry;
mod review;
mod s3;
mod saved_plans;
mod support;
mod team;
mod workflow;
