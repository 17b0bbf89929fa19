//! What happens on rare paths: metrics, test probes and log lines read the same counters.

use std::cell::Cell;

macro_rules! events {
    ($($(#[doc = $doc:literal])* $name:ident => $label:literal,)+) => {
        /// Something that an operation met on its way.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Event {
            $($(#[doc = $doc])* $name,)+
        }

        impl Event {
            /// All of them, in order.
            pub const ALL: &'static [Event] = &[$(Event::$name,)+];

            /// The name in tables and metrics.
            pub fn label(self) -> &'static str {
                match self {
                    $(Event::$name => $label,)+
                }
            }
        }
    };
}

events! {
    /// A slot was pending, and this operation completed it.
    Helped => "helped",
    /// A backup held another word than the primary, and was brought up to it.
    RepairedBackup => "repaired_backup",
    /// A backup had moved on already.
    BackupAhead => "backup_ahead",
    /// A CAS at the primary lost.
    LostAtPrimary => "lost_at_primary",
    /// A PUT lost to another within the operation, and answers as ordered just before the winner.
    LastWriterWins => "last_writer_wins",
    /// A PUT lost to a guarded word, and tried again.
    LostToGuarded => "lost_to_guarded",
    /// A cached word proved stale.
    StaleCache => "stale_cache",
    /// A slot changed between two reads of one operation, which started over.
    Restarted => "restarted",
    /// A fingerprint matched, the key did not.
    FalseMatch => "false_match",
    /// An insert took a slot that had been used before: one round trip more.
    RecycledSlot => "recycled_slot",
    /// An insert withdrew because its key was there already.
    Yielded => "yielded",
    /// A tentative insert of the same key was removed.
    KilledTentative => "killed_tentative",
    /// SNAPSHOT: all backups showed the writer's own word.
    SnapshotRule1 => "snapshot_rule_1",
    /// SNAPSHOT: the writer held the majority.
    SnapshotRule2 => "snapshot_rule_2",
    /// SNAPSHOT: the smallest word decided.
    SnapshotRule3 => "snapshot_rule_3",
    /// SNAPSHOT: the round was lost; the writer waits for the winner.
    SnapshotLost => "snapshot_lost",
    /// An operation lost its view, and goes on in another.
    RenewedView => "renewed_view",
    /// A change in doubt turned out to be there.
    DoubtStanding => "doubt_standing",
    /// A change in doubt had happened, or may be said to have, and something else came after it.
    DoubtOverwritten => "doubt_overwritten",
    /// A change in doubt turned out not to have happened.
    DoubtNotApplied => "doubt_not_applied",
    /// A change in doubt was not there yet, in a view in which only links were lost, and was tried again as it was.
    TriedChangeAgain => "tried_change_again",
    /// Nobody can say what became of a change in doubt.
    DoubtUnknown => "doubt_unknown",
    /// Replicas of a slot differed when their home changed its view.
    Equalised => "equalised",
    /// A tentative insert was withdrawn when its home changed its view.
    WithdrewTentative => "withdrew_tentative",
    /// Words that looked pending to the primary of a new view were noted as committed.
    NotedCommitted => "noted_committed",
    /// Something was read in a closed home.
    ReadClosed => "read_closed",
    /// An operation that had to change something waited for a closed home to open.
    WaitedForOpen => "waited_for_open",
    /// A copy of a home was completed on a node that was no member.
    JoinedMember => "joined_member",
    /// What a lost client had left was put in order.
    RecoveredClient => "recovered_client",
    /// A word of a lost client that lay on a backup alone was taken back.
    TookBackStray => "took_back_stray",
    /// The primary's entry was corrupt, and a backup's copy was read.
    ReadBackupCopy => "read_backup_copy",
}

impl Event {
    /// Whether it belongs to changes of view, and so to those who survive them.
    pub fn is_of_views(self) -> bool {
        matches!(
            self,
            Event::RenewedView
                | Event::DoubtStanding
                | Event::DoubtOverwritten
                | Event::DoubtNotApplied
                | Event::TriedChangeAgain
                | Event::DoubtUnknown
                | Event::Equalised
                | Event::WithdrewTentative
                | Event::NotedCommitted
                | Event::ReadClosed
                | Event::WaitedForOpen
                | Event::JoinedMember
                | Event::RecoveredClient
                | Event::TookBackStray
        )
    }
}

/// Counts of each [`Event`], of one thread.
#[derive(Debug)]
pub struct Events([Cell<u64>; Event::ALL.len()]);

impl Default for Events {
    fn default() -> Self {
        Events(std::array::from_fn(|_| Cell::new(0)))
    }
}

impl Events {
    /// Counts one.
    pub fn note(&self, event: Event) {
        let cell = &self.0[event as usize];
        cell.set(cell.get() + 1);
    }

    /// How often it happened.
    pub fn count(&self, event: Event) -> u64 {
        self.0[event as usize].get()
    }

    /// All counts that are not zero, with their labels.
    pub fn seen(&self) -> impl Iterator<Item = (Event, u64)> + '_ {
        Event::ALL.iter().map(|e| (*e, self.count(*e))).filter(|(_, n)| *n > 0)
    }
}
