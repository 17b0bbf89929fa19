//! Known bugs, to be put in on purpose: what the tests must find within a stated number of runs.
//!
//! Only a build with `RUSTFLAGS='--cfg farrow_mutants'` can choose one; in every other [`is`] is a constant `false`, and
//! nothing of this is left in the code.
//!
//! Not here, for want of what they would break in this release: a slot or an entry that is recycled without quarantine
//! (nothing reclaims entries yet).

macro_rules! mutants {
    ($($(#[doc = $doc:literal])* $name:ident => $label:literal,)+) => {
        /// A known bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Mutant {
            $($(#[doc = $doc])* $name,)+
        }

        impl Mutant {
            /// All of them, in order.
            pub const ALL: &'static [Mutant] = &[$(Mutant::$name,)+];

            /// The name in tables.
            pub fn label(self) -> &'static str {
                match self {
                    $(Mutant::$name => $label,)+
                }
            }
        }
    };
}

mutants! {
    /// Who reads a pending slot answers from it and leaves it pending.
    ReadersDoNotHelp => "readers_do_not_help",
    /// A backup is repaired whatever its version.
    BlindRepair => "blind_repair",
    /// A backup whose CAS lost is left as it is.
    NoRepair => "no_repair",
    /// Help brings words to backups without the entries that they name.
    HelpWithoutBytes => "help_without_bytes",
    /// Repair writes all bytes of the entry's size class.
    RepairTooLong => "repair_too_long",
    /// The committed word is written before the backups are up.
    CommittedEarly => "committed_early",
    /// The entry is written behind its word.
    EntryAfterWord => "entry_after_word",
    /// The checksum of an entry is not looked at.
    ChecksumUnchecked => "checksum_unchecked",
    /// A remembered word is believed without a look at its slot.
    StaleCacheAccepted => "stale_cache_accepted",
    /// A PUT that lost with a remembered word claims to have been just before the winner.
    ClaimOnCached => "claim_on_cached",
    /// A PUT that lost to a guarded word claims to have been just before it.
    GuardedClaimed => "guarded_claimed",
    /// An insert that lost its slot, whoever took it, is answered as done (as FUSEE's code does).
    ConflictIsSuccess => "conflict_is_success",
    /// Inserts choose among free slots in an order of their own.
    OrderPerClient => "order_per_client",
    /// An insert into a recycled slot looks for no rivals.
    RivalsUnread => "rivals_unread",
    /// Readers see tentative inserts.
    TentativeVisible => "tentative_visible",
    /// A pending slot is recycled as it is.
    PendingRecycled => "pending_recycled",
    /// A key is absent although a slot that lost it is pending.
    AbsenceUnsettled => "absence_unsettled",
    /// A change that one member did not take, and others did, is told as one that nobody took.
    MaybeForgotten => "maybe_forgotten",
    /// The place of an entry is used again although a slot has named it.
    PlaceReused => "place_reused",
    /// An insert that lost its slot goes on to another and leaves its word on backups.
    StraysLeft => "strays_left",
    /// The replicas of a closed home are left as they are.
    EqualisingSkipped => "equalising_skipped",
    /// Equalising brings words to the others without the entries that they name.
    EqualisedWithoutBytes => "equalised_without_bytes",
    /// The agent reads before the last fence has ended.
    ReadBeforeFence => "read_before_fence",
    /// A home is not fenced when it changes its view.
    NotFenced => "not_fenced",
    /// The words of a new primary count as committed before the others are like it.
    CommittedBeforeAlike => "committed_before_alike",
    /// Who meets a closed home changes it as any other.
    ClosedIgnored => "closed_ignored",
    /// Extents that are open while a home is frozen are not copied to the new member.
    OpenExtentsLeft => "open_extents_left",
    /// The index is copied to a new member before the home is frozen.
    IndexCopiedEarly => "index_copied_early",
    /// Any word that follows the primary's on a backup alone is taken back behind a lost client, whoever put it there.
    LiveStrayTakenBack => "live_stray_taken_back",
    /// What a lost client has left is put in order before every node has evicted it.
    RecoveredUnevicted => "recovered_unevicted",
    /// What is in doubt is concluded from a word that is not on all replicas yet.
    ConcludedFromPending => "concluded_from_pending",
    /// A broken operation is repeated without a look at what it has done.
    RepeatedBlindly => "repeated_blindly",
    /// A change that may lie on backups is given up for another try elsewhere.
    NotTriedAgain => "not_tried_again",
    /// A broken DELETE takes any equal word for its own.
    AnyDeleteIsMine => "any_delete_is_mine",
    /// A node serves longer than its lease lasts by the coordinator's clock.
    ServesAfterLease => "serves_after_lease",
    /// A node that may be a new member, and has not heard of it, serves by the promises of its former peers.
    JoiningUnasked => "joining_unasked",
    /// A fence that deposes a node ends before what was promised to it.
    PromiseNotAwaited => "promise_not_awaited",
    /// A node takes a fence of an epoch that is over.
    ZombieUnfenced => "zombie_unfenced",
    /// A node forgets whom it has evicted: a client that was taken for lost goes on as who it was.
    ReusedIdentity => "reused_identity",
    /// The coordinator passes over nodes before their leases have ended.
    LeaseNotAwaited => "lease_not_awaited",
    /// A coordinator that starts, or was away, grants nobody a whole lease.
    NoWholeLease => "no_whole_lease",
    /// The coordinator opens homes for whoever says that they are alike.
    ZombiePublishes => "zombie_publishes",
    /// A client uses a link from behind a fence with a map from before it.
    LateLinkAccepted => "late_link_accepted",
    /// SNAPSHOT: rule 3 without a look at the primary.
    RuleThreeUnread => "rule_three_unread",
    /// SNAPSHOT: a loser does not wait for the winner.
    LoserDoesNotWait => "loser_does_not_wait",
}

#[cfg(farrow_mutants)]
mod chosen {
    use super::Mutant;
    use std::cell::Cell;

    thread_local! {
        static CHOSEN: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Puts a bug into all protocols of this thread, or takes it out again.
    pub fn choose(mutant: Option<Mutant>) {
        CHOSEN.set(mutant);
    }

    /// Whether this bug is in.
    pub fn is(mutant: Mutant) -> bool {
        CHOSEN.get() == Some(mutant)
    }
}

#[cfg(farrow_mutants)]
pub use chosen::choose;
#[cfg(farrow_mutants)]
pub use chosen::is;

/// Whether this bug is in: never.
#[cfg(not(farrow_mutants))]
pub const fn is(_: Mutant) -> bool {
    false
}
