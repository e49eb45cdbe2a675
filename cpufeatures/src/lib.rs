//! `cpufeatures` 0.2 for this workspace: which instructions the processor has, asked once for everybody.
//!
//! The crate of that name looks anew for each module that [`new!`] makes: for SHA-256, for SHA-512 and for the curve, two
//! CPUID instructions each. In a virtual machine every one of them leaves the machine and takes some microseconds, and
//! all of them are in the way of every start of a package. Here the first module looks and the others read what it
//! found. The interface is the same; a feature that is not listed in [`bit`] does not compile.

#![no_std]
#![allow(unsafe_code, reason = "reading the processor's registers and the auxiliary vector")]

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Set in [`FOUND`] when the processor was asked.
const ASKED: u32 = 1 << 31;

/// The features that were found, by [`bit`]. Whoever comes second at the same time finds the same.
static FOUND: AtomicU32 = AtomicU32::new(0);

/// The bit of a feature. What it has no bit for is an error of the compiler, where [`new!`] names it.
pub const fn bit(feature: &str) -> u32 {
    1 << match feature.as_bytes() {
        b"aes" => 0,
        b"avx2" => 1,
        b"pclmulqdq" => 2,
        b"sha" => 3,
        b"sha2" => 4,
        b"sha3" => 5,
        b"sse2" => 6,
        b"sse4.1" => 7,
        b"ssse3" => 8,
        // The curve's, where a nightly compiler builds it.
        b"avx512ifma" => 9,
        b"avx512vl" => 10,
        _ => panic!("this feature is not known here"),
    }
}

/// Whether the processor and the system have all of these, by [`bit`].
#[inline]
pub fn has(features: u32) -> bool {
    let found = match FOUND.load(Relaxed) {
        0 => ask(),
        found => found,
    };
    found & features == features
}

/// `false`, as what seldom happens: code that does without a feature is then kept apart from code that uses it.
#[cold]
#[inline(never)]
pub fn without() -> bool {
    core::hint::black_box(false)
}

#[cold]
fn ask() -> u32 {
    let found = detected().iter().filter(|(_, found)| *found).fold(ASKED, |all, (feature, _)| all | bit(feature));
    FOUND.store(found, Relaxed);
    found
}

/// Intel's manual, volume 2, CPUID: leaf 1 and leaf 7; volume 1, 14.3: what AVX needs of the system.
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
fn detected() -> [(&'static str, bool); 9] {
    #[cfg(target_arch = "x86")]
    use core::arch::x86 as arch;
    #[cfg(target_arch = "x86_64")]
    use core::arch::x86_64 as arch;

    // SAFETY: every processor that this is compiled for has CPUID.
    #[allow(unused_unsafe, reason = "calling it is safe only since Rust 1.94")]
    let (one, seven) = unsafe { (arch::__cpuid(1), arch::__cpuid_count(7, 0)) };
    let set = |register: u32, at: u32| register >> at & 1 == 1;
    let (sse41, xsave, avx) = (set(one.ecx, 19), set(one.ecx, 27), set(one.ecx, 28));
    // SAFETY: XGETBV is there where the system says that it uses XSAVE.
    let kept = if xsave { unsafe { arch::_xgetbv(0) } } else { 0 };
    let keeps = |registers: u64| kept & registers == registers;
    let (ymm, zmm) = (avx && keeps(0b110), keeps(0b1110_0110));
    // As in the crate of this name, leaf 7 is taken to be there where what came long before it is.
    [
        ("aes", set(one.ecx, 25)),
        ("avx2", ymm && set(seven.ebx, 5)),
        ("avx512ifma", zmm && set(seven.ebx, 21)),
        ("avx512vl", zmm && set(seven.ebx, 31)),
        ("pclmulqdq", set(one.ecx, 1)),
        ("sha", sse41 && set(seven.ebx, 29)),
        ("sse2", set(one.edx, 26)),
        ("sse4.1", sse41),
        ("ssse3", set(one.ecx, 9)),
    ]
}

/// Linux tells it in the auxiliary vector: `AT_HWCAP`, whose bits are in the kernel's `uapi/asm/hwcap.h`.
#[cfg(all(target_arch = "aarch64", any(target_os = "android", target_os = "linux")))]
fn detected() -> [(&'static str, bool); 3] {
    unsafe extern "C" {
        safe fn getauxval(kind: core::ffi::c_ulong) -> core::ffi::c_ulong;
    }
    let capabilities = getauxval(16);
    let all = |bits: &[u32]| bits.iter().all(|bit| capabilities >> bit & 1 == 1);
    // As the crates that ask mean the names: AES comes with PMULL, SHA3 with SHA512.
    [("aes", all(&[3, 4])), ("sha2", all(&[6])), ("sha3", all(&[17, 21]))]
}

/// Elsewhere only what the target's processors all have, which the compiler knows.
#[cfg(not(any(
    target_arch = "x86",
    target_arch = "x86_64",
    all(target_arch = "aarch64", any(target_os = "android", target_os = "linux"))
)))]
fn detected() -> [(&'static str, bool); 0] {
    []
}

/// Makes a module that answers for these features together.
#[macro_export]
macro_rules! new {
    ($module:ident, $($feature:tt),+ $(,)?) => {
        #[allow(unreachable_pub, reason = "public where the user's module makes it so")]
        mod $module {
            const ALL: u32 = 0 $(| $crate::bit($feature))+;

            /// Proof that the processor was asked; it holds nothing.
            #[derive(Clone, Copy, Debug)]
            pub struct InitToken(());

            impl InitToken {
                /// Whether it has them all.
                #[inline(always)]
                pub fn get(&self) -> bool {
                    get()
                }
            }

            /// The proof, and whether it has them all.
            #[inline]
            pub fn init_get() -> (InitToken, bool) {
                (InitToken(()), get())
            }

            /// The proof.
            #[inline]
            pub fn init() -> InitToken {
                init_get().0
            }

            /// Whether it has them all.
            #[inline(always)]
            pub fn get() -> bool {
                cfg!(all($(target_feature = $feature),+)) || $crate::has(ALL) || $crate::without()
            }
        }
    };
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::{bit, has};

    crate::new!(several, "sha", "sse2", "ssse3", "sse4.1");

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn it_finds_what_the_standard_library_finds() {
        macro_rules! agree {
            ($($feature:tt),*) => {
                $(assert_eq!(has(bit($feature)), std::arch::is_x86_feature_detected!($feature), $feature);)*
            };
        }
        agree!("aes", "avx2", "avx512ifma", "avx512vl", "pclmulqdq", "sha", "sse2", "sse4.1", "ssse3");
    }

    #[test]
    #[cfg(all(target_arch = "aarch64", target_os = "linux"))]
    fn it_finds_what_the_standard_library_finds() {
        macro_rules! agree {
            ($($feature:tt),*) => {
                $(assert_eq!(has(bit($feature)), std::arch::is_aarch64_feature_detected!($feature), $feature);)*
            };
        }
        agree!("aes", "sha2", "sha3");
    }

    #[test]
    fn a_module_has_all_of_its_features_or_says_no() {
        let each = ["sha", "sse2", "ssse3", "sse4.1"].iter().all(|feature| has(bit(feature)));
        assert_eq!(several::get(), each);
        assert_eq!(several::init().get(), each);
        assert_eq!(several::init_get().1, each);
    }

    #[test]
    fn every_feature_has_a_bit_of_its_own_and_none_is_that_of_having_asked() {
        let names =
            ["aes", "avx2", "avx512ifma", "avx512vl", "pclmulqdq", "sha", "sha2", "sha3", "sse2", "sse4.1", "ssse3"];
        assert_eq!(names.iter().fold(0, |all, name| all | bit(name)).count_ones() as usize, names.len());
        assert!(names.iter().all(|name| bit(name) & super::ASKED == 0));
    }
}
