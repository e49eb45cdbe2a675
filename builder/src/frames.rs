//! Where a slot's stream is cut into frames.
//!
//! A function of the level and the members' lengths alone, so that the result depends neither on the machine nor on its
//! load.

use pspf_format::tree::MAX_FRAME;

/// Decoded length that frames of this level aim at, in bytes.
///
/// Larger frames compress better; smaller ones share the work of packing and extracting more evenly, are decoded faster
/// and make reading a single file cheaper. From level 17 on zstandard's own window is as long as the longest frame, so
/// that it makes use of one; who asks for such a level asks for a small file.
pub(crate) fn target(level: i32) -> u32 {
    match level {
        ..10 => 1 << 20,
        10..17 => 4 << 20,
        17.. => MAX_FRAME,
    }
}

/// The lengths of the frames of a stream with these members, each a header with its content and padding.
///
/// A member that fits a frame is never split; a larger one starts a frame and continues over several. `tail` bytes end
/// the stream, in the last frame where it has room for them.
pub(crate) fn cut(members: impl IntoIterator<Item = u64>, tail: u32, level: i32) -> Vec<u32> {
    let target = target(level);
    let mut frames = Vec::new();
    let mut current = 0_u32;
    for mut member in members {
        if current > 0 && u64::from(target - current) < member {
            frames.push(current);
            current = 0;
        }
        while member > u64::from(target) {
            frames.push(target);
            member -= u64::from(target);
        }
        current += u32::try_from(member).unwrap_or(target);
    }
    if current > MAX_FRAME - tail {
        frames.push(current);
        current = 0;
    }
    if current + tail > 0 {
        frames.push(current + tail);
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_end_at_members_where_these_are_small() {
        for level in [3, 12, 19] {
            let t = u64::from(target(level));
            for (members, tail, expected) in [
                (vec![], 0, vec![]),
                (vec![], 1024, vec![1024]),
                (vec![0], 0, vec![]),
                (vec![512, 1024], 1024, vec![2560]),
                (vec![t - 1, 2], 0, vec![t - 1, 2]),
                (vec![t, 1], 0, vec![t, 1]),
                (vec![1, t - 2048], 1024, vec![t - 1023]),
                (vec![1, 2 * t + 3, 5], 0, vec![1, t, t, 8]),
                (vec![2 * t], 0, vec![t, t]),
            ] {
                let found: Vec<u64> = cut(members.clone(), tail, level).into_iter().map(u64::from).collect();
                assert_eq!(found, expected, "{level} {members:?}");
                assert_eq!(found.iter().sum::<u64>(), members.iter().sum::<u64>() + u64::from(tail));
            }
        }
    }

    #[test]
    fn no_frame_is_longer_than_readers_take() {
        let (t, most) = (target(3), u64::from(MAX_FRAME));
        assert_eq!(cut([u64::from(t)], 1024, 3), [t + 1024]);
        for (last, expected) in [
            (most - 1024, vec![MAX_FRAME]),
            (most - 1023, vec![MAX_FRAME - 1023, 1024]),
            (most, vec![MAX_FRAME, 1024]),
            (2 * most, vec![MAX_FRAME, MAX_FRAME, 1024]),
        ] {
            assert_eq!(cut([last], 1024, 17), expected, "{last}");
        }
    }
}
