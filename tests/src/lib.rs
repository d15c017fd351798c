//! Evidence across rooms: one test binary for what no single room can show.

#[cfg(test)]
mod conformance;
