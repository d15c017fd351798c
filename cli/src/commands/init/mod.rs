//! `init`: a feature repo to start from, for one person to try things or for a team with staging and production.

mod repo;
mod run;
mod sample;
mod team;

pub(crate) use run::{InitArgs, run};
