//! A scheduler as the commands see it: calls, what their failures mean, jobs as data, spines handed over.

mod client;
pub(crate) mod failure;
pub(crate) mod job;
mod joined_spine;
mod spine;
mod watch;

pub(crate) use client::Cluster;
pub(crate) use spine::upload as upload_spine;
