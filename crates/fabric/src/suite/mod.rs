//! The executable contract: one test per clause of `docs/fabric.md`, for every provider.
//!
//! A provider describes a [`World`]: one memory, and agents that each have a fabric and a link of their own to it. Its
//! test file then says
//!
//! ```text
//! farrow_fabric::contract_tests!(MyWorld::new);
//! ```
//!
//! which makes a `#[test]` of each clause; [`run_all`] runs them in one go. Clauses use no clock but the fabric's, no
//! thread of their own, and no sleep but [`Fabric::sleep_until`], so they run in a simulator as they do on hardware.

mod buffers;
mod chains;
mod counters;
mod errors;
mod fence;
mod order;
mod seat;
mod threads;
mod words;

pub use seat::Seat;
pub use threads::run_threads;

use crate::Fabric;
use std::io::Write;
use std::pin::Pin;

/// Bytes of memory that a world needs.
pub const MEMORY_LEN: u64 = 4 << 20;

/// A future that stays on its thread.
pub type Local<T> = Pin<Box<dyn Future<Output = T>>>;

/// What one agent does in its seat. It is made on one thread and may run on another.
pub type Agent<F> = Box<dyn FnOnce(Seat<F>) -> Local<()> + Send>;

/// One memory of at least [`MEMORY_LEN`] zeroed bytes, and ways to reach it. A clause has a world for itself.
pub trait World {
    /// The provider's fabric.
    type Fabric: Fabric;

    /// Clauses that the provider does not keep, by their short name (`"F6"`), each with the reason. They are printed.
    const EXCLUDED: &'static [(&'static str, &'static str)] = &[];

    /// Seats each agent at the memory with a fabric and a link of its own, runs all of them concurrently, and returns when
    /// all have ended. Panics if one does. Threads: [`run_threads`]; tasks of a simulator as well.
    fn run(&self, agents: Vec<Agent<Self::Fabric>>);

    /// How often to repeat what takes `full` rounds on a machine that does a million round trips a second; at least 1.
    fn rounds(&self, full: u64) -> u64 {
        full
    }
}

/// What an agent can do besides posting chains.
pub trait Controls<F: Fabric> {
    /// Another link to the memory, of the present epoch, on the fabric of this seat.
    fn link(&self) -> Local<F::Link>;

    /// A link that was made with a key, or a right, that the responder never gave.
    fn link_with_wrong_key(&self) -> Local<F::Link>;

    /// Fences all links that exist, of all agents. Completes when the fence is done; links made later work.
    fn fence(&self) -> Local<()>;

    /// Kills the responder. Completes when it is dead; links need not know yet.
    fn kill(&self) -> Local<()>;
}

/// One clause of the contract.
#[derive(Clone, Copy, Debug)]
pub struct Clause<W> {
    /// `"F1"`.
    pub name: &'static str,
    /// What it promises.
    pub promise: &'static str,
    /// Panics unless the world keeps it.
    pub check: fn(&W),
}

macro_rules! clauses {
    ($($name:literal $test:ident $promise:literal $module:ident :: $check:ident;)+) => {
        /// All clauses in order.
        pub fn clauses<W: World>() -> Vec<Clause<W>> {
            vec![$(Clause { name: $name, promise: $promise, check: $module::$check::<W> }),+]
        }

        $(
            #[doc = concat!($name, ": ", $promise, ".")]
            pub fn $test<W: World>(make: impl Fn() -> W) {
                run_clause($name, make);
            }
        )+

        /// Makes a `#[test]` of each clause, over the worlds that `$make` makes.
        #[macro_export]
        macro_rules! contract_tests {
            ($make:expr) => {
                $(
                    #[test]
                    fn $test() {
                        $crate::suite::$test($make);
                    }
                )+
            };
        }
    };
}

clauses! {
    "F1" f1_verbs_of_a_chain_take_effect_in_order
        "a reader who sees a verb's effect sees those of the verbs before it" order::chain_order;
    "F2" f2_words_are_whole_and_atomic
        "an aligned word never tears, and CAS and FAA are atomic among all links" words::words_are_atomic;
    "F3" f3_longer_transfers_tear_between_words_only
        "a longer transfer tears at multiples of 8 bytes only" words::transfers_tear_between_words;
    "F4" f4_a_completed_verb_is_visible_to_all_later_ones
        "a completed verb is visible to every verb posted afterwards, by anyone" order::completed_is_visible;
    "F5" f5_bad_chains_fail_typed_and_change_nothing
        "what cannot be done is refused with its reason, and changes nothing" errors::refusals;
    "F6" f6_a_fence_is_a_barrier
        "after a fence nothing of an earlier link changes memory, and its chains fail" fence::barrier;
    "F7" f7_dropping_a_completion_cancels_nothing
        "dropping a completion abandons the answer, not the effect" buffers::dropping_is_not_cancelling;
    "F8" f8_buffers_stay_pinned_until_reaped
        "a dropped buffer is handed out again only when its verbs are done" buffers::pinned_until_reaped;
    "F9" f9_a_lost_link_says_maybe_or_none
        "chains of a lost link end as Maybe or None, and later ones are refused" errors::lost_link;
    "F10" f10_chains_mix_verbs_and_segments
        "full chains of all kinds, scattered and gathered at odd lengths, answer in order" chains::mixed;
    "F11" f11_many_chains_complete_in_order
        "many chains in flight on one link complete in the order posted, with the right answers" chains::many_in_flight;
    "F12" f12_counters_count_what_was_posted
        "totals are what was posted: verbs, bytes, chains, and doorbells with and without a cork" counters::exact;
    "F13" f13_large_transfers_arrive
        "a megabyte goes out and comes back" chains::large;
}

/// Runs every clause that the provider does not exclude, each in a new world.
pub fn run_all<W: World>(make: impl Fn() -> W) {
    for clause in clauses::<W>() {
        run_clause(clause.name, &make);
    }
}

fn run_clause<W: World>(name: &str, make: impl Fn() -> W) {
    let clauses = clauses::<W>();
    for (excluded, _) in W::EXCLUDED {
        assert!(clauses.iter().any(|c| c.name == *excluded), "EXCLUDED names {excluded}, which is no clause");
    }
    let clause = clauses.iter().find(|c| c.name == name).expect("called with the names above");
    if let Some((_, reason)) = W::EXCLUDED.iter().find(|(excluded, _)| *excluded == name) {
        // Past the capture of the test harness: an exclusion is to be seen.
        let _ = writeln!(std::io::stderr(), "EXCLUDED {name} ({}): {reason}", clause.promise);
        return;
    }
    (clause.check)(&make());
}
