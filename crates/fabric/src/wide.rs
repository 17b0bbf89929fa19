//! Copies of many words at once between local memory and memory that others change, where the processor promises that no word
//! of the latter is torn.
//!
//! Processors with AVX carry out MOVDQA, whose address is a multiple of 16, as one access (Intel SDM volume 3, 9.1.1; AMD APM
//! volume 2, 7.3.2). Compilers never make it of two atomic words, so it is written out. Copies of many kilobytes are faster by a
//! third with it.

/// Bytes of one step.
pub(crate) const STEP: usize = 64;
/// Alignment of the shared side.
pub(crate) const ALIGNMENT: usize = 16;

/// Whether there is such a copy on this processor.
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub(crate) fn is_there() -> bool {
    std::arch::is_x86_feature_detected!("avx")
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
pub(crate) fn is_there() -> bool {
    false
}

/// Copies `steps` times [`STEP`] bytes, loading and storing by these instructions.
#[cfg(all(target_arch = "x86_64", not(miri)))]
macro_rules! copy {
    ($load:literal, $store:literal, $from:expr, $to:expr, $steps:expr) => {
        std::arch::asm!(
            "2:",
            concat!($load, " {a}, [{from}]"),
            concat!($load, " {b}, [{from} + 16]"),
            concat!($load, " {c}, [{from} + 32]"),
            concat!($load, " {d}, [{from} + 48]"),
            concat!($store, " [{to}], {a}"),
            concat!($store, " [{to} + 16], {b}"),
            concat!($store, " [{to} + 32], {c}"),
            concat!($store, " [{to} + 48], {d}"),
            "add {from}, 64",
            "add {to}, 64",
            "dec {steps}",
            "jnz 2b",
            from = inout(reg) $from => _,
            to = inout(reg) $to => _,
            steps = inout(reg) $steps => _,
            a = out(xmm_reg) _,
            b = out(xmm_reg) _,
            c = out(xmm_reg) _,
            d = out(xmm_reg) _,
            options(nostack),
        )
    };
}

/// Copies `steps` times [`STEP`] bytes out of shared memory: each aligned word as it was at one moment, words in any order.
///
/// # Safety
/// [`is_there`]. `shared` is a multiple of [`ALIGNMENT`] and valid for reads, also while others change it by atomic accesses; `local`
/// is valid for writes, and nobody else's meanwhile.
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub(crate) unsafe fn load(shared: *const u8, local: *mut u8, steps: usize) {
    if steps > 0 {
        // SAFETY: reads and writes the ranges that the caller vouches for, and the registers named; flags are not preserved.
        unsafe { copy!("movdqa", "movdqu", shared, local, steps) }
    }
}

/// Copies `steps` times [`STEP`] bytes into shared memory: others see each aligned word change at one moment, words in any order.
///
/// # Safety
/// [`is_there`]. `shared` is a multiple of [`ALIGNMENT`] and valid for writes, also while others access it by atomic accesses;
/// `local` is valid for reads, and nobody changes it meanwhile.
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub(crate) unsafe fn store(shared: *mut u8, local: *const u8, steps: usize) {
    if steps > 0 {
        // SAFETY: as for `load`.
        unsafe { copy!("movdqu", "movdqa", local, shared, steps) }
    }
}

/// # Safety
/// [`is_there`], which it is not.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
pub(crate) unsafe fn load(_: *const u8, _: *mut u8, _: usize) {
    unreachable!("it is not there");
}

/// # Safety
/// [`is_there`], which it is not.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
pub(crate) unsafe fn store(_: *mut u8, _: *const u8, _: usize) {
    unreachable!("it is not there");
}
