//! The service that decides: hosts the Ballista scheduler, owns registry writes, jobs and their durable state.

pub mod store;
