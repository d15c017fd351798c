//! Storage as its users meet it: one contract on both kinds of store, faults of servers, and the message of each.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod contract;
mod faults;
mod files;
mod support;
