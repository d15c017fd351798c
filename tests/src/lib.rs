//! Evidence across rooms: one test binary for what no single room can show.

#[cfg(test)]
mod architecture;
#[cfg(test)]
mod clouds;
#[cfg(test)]
mod commits;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod dated;
#[cfg(test)]
mod delta;
#[cfg(test)]
mod dice;
#[cfg(test)]
mod engines;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod layouts;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod random;
#[cfg(test)]
mod sizes;
#[cfg(test)]
mod sorted_parts;
#[cfg(test)]
mod spilling;
#[cfg(test)]
mod spine_forms;
#[cfg(test)]
mod spines;
#[cfg(test)]
mod types;
#[cfg(test)]
mod values;
#[cfg(test)]
mod world;
