//! The memory above which a server is recycled.

/// The lowest memory limit of a server, in bytes. An idle server takes 310 to 360 MB, and while it is recycled there
/// are two.
const MIN_MEMORY_LIMIT: u64 = 500 << 20;
/// The number of active turns that fit into [`MIN_MEMORY_LIMIT`]: a lean server with eight turns and its successor stay
/// below a gigabyte together.
const TURNS_IN_MIN_LIMIT: usize = 8;
/// The additional memory for each further active turn, in bytes. With many turns a server fills sooner. If it were
/// recycled as early, turns would wait for starts most of the time: a new server has compiled nothing yet, and its
/// first tasks cost twice as much processor time. A lean server with sixteen turns levels off at 0.9 to 1.2 GB, and is
/// not recycled.
const MEMORY_PER_FURTHER_TURN: u64 = 105 << 20;

/// Returns the memory limit of a server that took `usual` bytes after its first turn, in bytes.
pub(super) fn memory_limit(usual: u64, active_turn_count: usize) -> u64 {
    let further = active_turn_count.saturating_sub(TURNS_IN_MIN_LIMIT) as u64;
    (usual / 100 * 115).max(MIN_MEMORY_LIMIT + MEMORY_PER_FURTHER_TURN * further)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_limit_grows_with_plugins_and_turns() {
        const MIB: u64 = 1 << 20;
        assert_eq!(memory_limit(350 * MIB, 5), 500 * MIB, "what is added to an idle server");
        assert_eq!(memory_limit(800 * MIB, 1), 920 * MIB, "a part more than what is usual with its plugins");
        assert_eq!(memory_limit(350 * MIB, 8), 500 * MIB, "with eight turns as well");
        assert_eq!(memory_limit(350 * MIB, 16), 1340 * MIB, "as much more for each");
    }
}
