//! Values as text: tables, numbers with units, YAML, the join report.

pub(crate) mod join_report;
pub(crate) mod rows;
pub(crate) mod sources;
pub(crate) mod table;
pub(crate) mod units;
pub(crate) mod yaml;
