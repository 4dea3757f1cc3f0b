//! Finds processes in `/proc`, and signals them through pidfds, so that no signal hits a reused id.

pub(crate) mod descendants;
pub(crate) mod known;
pub(crate) mod orphans;
mod stop_and_kill;
pub(crate) mod table;
pub(crate) mod tools;

#[cfg(test)]
mod tests;
