//! The document half of the room from outside: what apply writes, and what many writers do to one registry.

mod agreement;
mod apply;
mod moves_over;
mod rollback;
mod store;
mod support;
