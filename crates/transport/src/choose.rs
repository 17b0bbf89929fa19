//! Selection: `auto`, `rdma` or `shm`, what is possible toward one node, and what is forbidden. A pure decision.

use std::fmt;

/// What the user asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preference {
    /// Shared memory on the same host, RDMA otherwise.
    #[default]
    Auto,
    /// RDMA, wherever the node is.
    Rdma,
    /// Shared memory.
    Shm,
}

/// What the user insists on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Require {
    /// Nothing: a fallback is announced and counted.
    #[default]
    None,
    /// RDMA to every node, or no connection.
    Rdma,
    /// Shared memory to every node, or no connection.
    Shm,
}

/// Whether a transport is possible toward a node: its details, or why not.
pub type Offer = Result<String, String>;

/// What was chosen, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// `shm` or `rdma`.
    pub transport: &'static str,
    /// In words.
    pub reason: String,
    /// Whether another transport was preferred but not possible.
    pub is_fallback: bool,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.transport, self.reason)
    }
}

const SHM: &str = "shm";
const RDMA: &str = "rdma";

/// Decides how to reach one node.
///
/// # Errors
/// In words: what was asked for, why it is not possible, and what to do.
pub fn choose(preference: Preference, require: Require, shm: &Offer, rdma: &Offer) -> Result<Choice, String> {
    let order = match (preference, require) {
        (_, Require::Rdma) | (Preference::Rdma, _) => [(RDMA, rdma), (SHM, shm)],
        (_, Require::Shm) | (Preference::Shm | Preference::Auto, _) => [(SHM, shm), (RDMA, rdma)],
    };
    let [(first, first_offer), (second, second_offer)] = order;
    let asked = match (require, preference) {
        (Require::Rdma, _) => "fabric.require = \"rdma\"",
        (Require::Shm, _) => "fabric.require = \"shm\"",
        (_, Preference::Rdma) => "fabric.transport = \"rdma\"",
        (_, Preference::Shm) => "fabric.transport = \"shm\"",
        (_, Preference::Auto) => "fabric.transport = \"auto\"",
    };
    let why_not = match first_offer {
        Ok(details) => {
            return Ok(Choice {
                transport: first,
                reason: format!("{details}; {asked}"),
                is_fallback: false,
            });
        }
        Err(why_not) => why_not,
    };
    if require != Require::None {
        return Err(format!("{asked}, but {first} is not possible: {why_not}"));
    }
    match second_offer {
        Ok(details) => Ok(Choice {
            transport: second,
            reason: format!("{details}; {first} is not possible: {why_not}"),
            // Between hosts `auto` means RDMA: shared memory was never to be expected there.
            is_fallback: preference != Preference::Auto,
        }),
        Err(also) => Err(format!("no transport is possible: {first}: {why_not}; {second}: {also}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yes() -> Offer {
        Ok("there".into())
    }

    fn no(why: &str) -> Offer {
        Err(why.into())
    }

    #[test]
    fn auto_prefers_shared_memory_and_takes_rdma_between_hosts() {
        let c = choose(Preference::Auto, Require::None, &yes(), &yes()).unwrap();
        assert_eq!((c.transport, c.is_fallback), ("shm", false));
        let c = choose(Preference::Auto, Require::None, &no("another host"), &yes()).unwrap();
        assert_eq!((c.transport, c.is_fallback), ("rdma", false));
        assert!(c.reason.contains("another host"));
    }

    #[test]
    fn a_fallback_is_marked_and_can_be_forbidden() {
        let c = choose(Preference::Rdma, Require::None, &yes(), &no("no device")).unwrap();
        assert_eq!((c.transport, c.is_fallback), ("shm", true));
        let e = choose(Preference::Auto, Require::Rdma, &yes(), &no("no device")).unwrap_err();
        assert!(e.contains("require") && e.contains("no device"), "{e}");
        let e = choose(Preference::Auto, Require::Shm, &no("another host"), &yes()).unwrap_err();
        assert!(e.contains("another host"), "{e}");
    }

    #[test]
    fn nothing_possible_names_both_reasons() {
        let e = choose(Preference::Auto, Require::None, &no("another host"), &no("no device")).unwrap_err();
        assert!(e.contains("another host") && e.contains("no device"), "{e}");
    }
}
