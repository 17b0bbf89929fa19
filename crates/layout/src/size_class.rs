//! Size classes: how many bytes to READ for an entry, in eight bits.

/// Up to here classes are 64 bytes apart; beyond, each doubling has sixteen.
const LINEAR_LIMIT: usize = 2048;
const STEP: usize = 64;
const LINEAR_CLASSES: usize = LINEAR_LIMIT / STEP;
const STEPS_PER_DOUBLING: usize = 16;

/// A number of bytes that covers an entry, at most 64 bytes or one sixteenth too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SizeClass(u8);

impl SizeClass {
    /// The longest entry that has a class.
    pub const MAX_LEN: usize = Self::len_of(255);

    /// The smallest class that covers `len` bytes.
    ///
    /// # Panics
    /// If `len` is 0 or more than [`SizeClass::MAX_LEN`]; callers check against the block size before.
    pub fn for_len(len: usize) -> SizeClass {
        assert!(len > 0 && len <= Self::MAX_LEN, "no size class for {len} bytes");
        if len <= LINEAR_LIMIT {
            return SizeClass(len.div_ceil(STEP) as u8);
        }
        let doubling = ((len - 1) / LINEAR_LIMIT).ilog2() as usize;
        let base = LINEAR_LIMIT << doubling;
        let step = (len - base).div_ceil(base / STEPS_PER_DOUBLING);
        SizeClass((LINEAR_CLASSES + doubling * STEPS_PER_DOUBLING + step) as u8)
    }

    /// The class of a word; `None` for code 0, the empty slot.
    pub fn from_code(code: u8) -> Option<SizeClass> {
        (code != 0).then_some(SizeClass(code))
    }

    /// The eight bits of a word.
    pub fn code(self) -> u8 {
        self.0
    }

    /// Bytes that a READ of this class fetches.
    pub fn read_len(self) -> usize {
        Self::len_of(self.0)
    }

    const fn len_of(code: u8) -> usize {
        let code = code as usize;
        if code <= LINEAR_CLASSES {
            return code * STEP;
        }
        let above = code - LINEAR_CLASSES - 1;
        let base = LINEAR_LIMIT << (above / STEPS_PER_DOUBLING);
        base + (above % STEPS_PER_DOUBLING + 1) * (base / STEPS_PER_DOUBLING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_up_to_a_mebibyte_is_covered_tightly() {
        for len in 1..=1 << 20 {
            let class = SizeClass::for_len(len);
            let read = class.read_len();
            assert!(read >= len, "{len} in class {class:?} reads only {read}");
            assert!(read - len < STEP.max(len / STEPS_PER_DOUBLING + STEP), "{len} reads {read}");
        }
    }

    #[test]
    fn classes_grow_and_are_whole_units() {
        for code in 2..=255u8 {
            assert!(SizeClass::len_of(code) > SizeClass::len_of(code - 1));
            assert_eq!(SizeClass::len_of(code) % STEP, 0);
            assert_eq!(SizeClass::for_len(SizeClass::len_of(code)).code(), code);
        }
    }
}
