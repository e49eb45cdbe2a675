//! Where a slot's stream is cut into frames.
//!
//! A function of the members' lengths alone, so that the result depends neither on the machine nor on its load.

/// Decoded length that a frame aims at. Larger frames compress a little better; smaller ones share the work of packing
/// and extracting more evenly and make reading a single file cheaper.
pub(crate) const TARGET: u32 = 4 << 20;

/// The lengths of the frames of a stream with these members, each a header with its content and padding.
///
/// A member that fits a frame is never split; a larger one starts a frame and continues over several. `tail` bytes at
/// the end of the stream belong to the last frame.
pub(crate) fn cut(members: impl IntoIterator<Item = u64>, tail: u32) -> Vec<u32> {
    let mut frames = Vec::new();
    let mut current = 0_u32;
    for mut member in members {
        if current > 0 && u64::from(TARGET - current) < member {
            frames.push(current);
            current = 0;
        }
        while member > u64::from(TARGET) {
            frames.push(TARGET);
            member -= u64::from(TARGET);
        }
        current += u32::try_from(member).unwrap_or(TARGET);
    }
    if current + tail > 0 {
        frames.push(current + tail);
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: u64 = TARGET as u64;

    #[test]
    fn frames_end_at_members_where_these_are_small() {
        for (members, tail, expected) in [
            (vec![], 0, vec![]),
            (vec![], 1024, vec![1024]),
            (vec![0], 0, vec![]),
            (vec![512, 1024], 1024, vec![2560]),
            (vec![T - 1, 2], 0, vec![T - 1, 2]),
            (vec![T, 1], 0, vec![T, 1]),
            (vec![1, T], 1024, vec![1, T + 1024]),
            (vec![1, 2 * T + 3, 5], 0, vec![1, T, T, 8]),
            (vec![2 * T], 0, vec![T, T]),
        ] {
            let found: Vec<u64> = cut(members.clone(), tail).into_iter().map(u64::from).collect();
            assert_eq!(found, expected, "{members:?}");
            assert_eq!(found.iter().sum::<u64>(), members.iter().sum::<u64>() + u64::from(tail));
        }
    }
}
