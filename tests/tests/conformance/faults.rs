//! Faults of a server: each ends in a failure that names it, or is survived. Nothing hangs.

mod answers;
mod asks;
mod attached;
mod crowds;
mod ends;
mod pool;
mod replacements;
mod runtimes;
mod second;
mod shared_executor;
mod starts;
mod streams;
mod support;
