//! The limit on locked memory, which is the usual reason why a registration fails, told before it does.

use std::fmt;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thiserror::Error;

/// What the queues lock besides the regions: up to 100 KiB a queue pair on hardware, and a client has a few.
const OVERHEAD_BYTES: u64 = 1 << 20;

/// Makes sure that `bytes_needed` of regions can be locked, raising the soft limit to the hard limit if that
/// is what it takes (and saying so in the log).
///
/// What is locked already is not counted, and a process with CAP_IPC_LOCK passes although that does not
/// exempt it inside a user namespace: the registration itself has the last word, and says the same.
///
/// # Errors
/// [`MemlockTooLow`], whose text has the remedy for a shell, a systemd service and a container.
pub fn check(bytes_needed: u64) -> Result<(), MemlockTooLow> {
    let seen = getrlimit(Resource::Memlock);
    match decide(&seen, bytes_needed, may_lock_without_limit()) {
        Decision::Enough => Ok(()),
        Decision::Raise(raised) => {
            let too_low = MemlockTooLow { bytes_needed, soft: seen.current, hard: seen.maximum };
            if setrlimit(Resource::Memlock, raised).is_err() {
                return Err(too_low);
            }
            tracing::info!(
                from = %Limit(seen.current),
                to = %Limit(seen.maximum),
                "raised the soft limit on locked memory to the hard limit"
            );
            Ok(())
        }
        Decision::TooLow => Err(MemlockTooLow { bytes_needed, soft: seen.current, hard: seen.maximum }),
    }
}

/// A failed registration in words. Out of memory means the limit on locked memory more often than memory, even
/// where [`check`] passed: what is locked already counts, and a capability inside a user namespace does not.
pub fn explain(error: &crate::sys::CallError) -> String {
    if error.source.kind() != std::io::ErrorKind::OutOfMemory {
        return error.to_string();
    }
    let seen = getrlimit(Resource::Memlock);
    format!(
        "{error}: most often the limit on locked memory, which is {} (hard limit {}): raise it (ulimit -l unlimited; \
         LimitMEMLOCK=infinity; docker run --ulimit memlock=-1), or use less memory",
        Limit(seen.current),
        Limit(seen.maximum)
    )
}

/// Regions of this size cannot be locked under this process's limits.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{} of memory must be locked for RDMA, and the limit is {} (hard limit {}). Raise it: \
     in a shell, as root: ulimit -l unlimited; \
     for logins: '* - memlock unlimited' in /etc/security/limits.d/rdma.conf; \
     for a systemd service: LimitMEMLOCK=infinity; \
     for a container: docker run --ulimit memlock=-1",
    Limit(Some(*bytes_needed)), Limit(*soft), Limit(*hard)
)]
pub struct MemlockTooLow {
    /// Bytes of regions that were to be registered.
    pub bytes_needed: u64,
    /// The soft limit in bytes; nothing means unlimited.
    pub soft: Option<u64>,
    /// The hard limit in bytes; nothing means unlimited.
    pub hard: Option<u64>,
}

#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Enough,
    Raise(Rlimit),
    TooLow,
}

fn decide(seen: &Rlimit, bytes_needed: u64, exempt: bool) -> Decision {
    let needed = bytes_needed.saturating_add(OVERHEAD_BYTES);
    let holds = |limit: Option<u64>| limit.is_none_or(|bytes| bytes >= needed);
    if exempt || holds(seen.current) {
        Decision::Enough
    } else if holds(seen.maximum) {
        Decision::Raise(Rlimit { current: seen.maximum, maximum: seen.maximum })
    } else {
        Decision::TooLow
    }
}

/// CAP_IPC_LOCK exempts a process from the limit.
fn may_lock_without_limit() -> bool {
    const CAP_IPC_LOCK: u32 = 14;
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| has_capability(&status, CAP_IPC_LOCK))
}

fn has_capability(status: &str, capability: u32) -> bool {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_some_and(|effective| effective >> capability & 1 == 1)
}

/// A limit in the largest unit that keeps it exact enough to compare by eye.
struct Limit(Option<u64>);

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("unlimited"),
            Some(bytes) if bytes >= 10 << 30 => write!(f, "{} GiB", bytes >> 30),
            Some(bytes) if bytes >= 10 << 20 => write!(f, "{} MiB", bytes >> 20),
            Some(bytes) => write!(f, "{} KiB", bytes >> 10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn limits(current: Option<u64>, maximum: Option<u64>) -> Rlimit {
        Rlimit { current, maximum }
    }

    #[test]
    fn a_limit_is_kept_raised_or_refused() {
        let raised = |to| Decision::Raise(limits(to, to));
        let table = [
            (None, None, GIB, false, Decision::Enough),
            (Some(2 * GIB), Some(2 * GIB), GIB, false, Decision::Enough),
            (Some(8 << 20), None, GIB, false, raised(None)),
            (Some(8 << 20), Some(2 * GIB), GIB, false, raised(Some(2 * GIB))),
            (Some(8 << 20), Some(8 << 20), GIB, false, Decision::TooLow),
            (Some(8 << 20), Some(8 << 20), GIB, true, Decision::Enough),
            // Exactly the regions leaves nothing for the queues.
            (Some(GIB), Some(GIB), GIB, false, Decision::TooLow),
            (Some(0), Some(u64::MAX), u64::MAX, false, raised(Some(u64::MAX))),
        ];
        for (current, maximum, needed, exempt, expected) in table {
            let seen = limits(current, maximum);
            assert_eq!(decide(&seen, needed, exempt), expected, "{current:?} {maximum:?} {needed}");
        }
    }

    #[test]
    fn the_message_has_the_three_remedies_and_the_figures() {
        let error = MemlockTooLow { bytes_needed: 16 * GIB, soft: Some(8 << 20), hard: Some(64 << 20) };
        let said = error.to_string();
        for part in [
            "16 GiB",
            "8192 KiB",
            "64 MiB",
            "ulimit -l unlimited",
            "LimitMEMLOCK=infinity",
            "--ulimit memlock=-1",
        ] {
            assert!(said.contains(part), "{part} is not in: {said}");
        }
    }

    #[test]
    fn the_capability_is_read_from_the_effective_set() {
        let status = "Name:\tx\nCapPrm:\tffffffffffffffff\nCapEff:\t0000000000004000\n";
        assert!(has_capability(status, 14));
        assert!(!has_capability(status, 13));
        assert!(!has_capability("Name:\tx\n", 14));
    }

    #[test]
    fn nothing_can_always_be_locked_where_the_limit_allows_the_overhead() {
        let seen = getrlimit(Resource::Memlock);
        let possible = decide(&seen, 0, may_lock_without_limit()) != Decision::TooLow;
        assert_eq!(check(0).is_ok(), possible);
    }
}
