//! The service that runs: hosts the Ballista executor.
