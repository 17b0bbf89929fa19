//! Steps of a world, by what they are: so that a search can name them, and can tell which of them commute.

use farrow_layout::{NodeId, RemoteAddr};
use std::fmt;

/// Something that can happen next, named so that the name means the same in every order of what went before.
///
/// Lanes are ordered as a plain run would take them: the lowest client first, what its links have to do before what it
/// is told, and that before it goes on; timers when nothing else is left, and faults after all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane {
    turn: u8,
    /// The number of the fabric; of a fault that is not one client's, `u32::MAX`.
    pub client: u32,
    /// What kind of step.
    pub kind: LaneKind,
    /// Which of this kind: a link's number, a task's, or which of the client's timers it is.
    pub number: u32,
}

/// What kind of step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LaneKind {
    /// A link executes the next piece of what was posted.
    Execute,
    /// A link delivers its next answer.
    Answer,
    /// A task is polled.
    Poll,
    /// A timer goes off.
    Fire,
    /// A fault happens.
    Fault,
}

impl Lane {
    pub(crate) fn new(kind: LaneKind, client: usize, number: usize) -> Lane {
        let turn = match kind {
            LaneKind::Execute | LaneKind::Answer | LaneKind::Poll => 0,
            LaneKind::Fire => 1,
            LaneKind::Fault => 2,
        };
        let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Lane { turn, client: narrow(client), kind, number: narrow(number) }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} of client {}", self.kind, self.number, self.client)
    }
}

/// What a client's code says has happened while it was polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// An operation has begun: nothing that returns later is certain to be before it.
    Called,
    /// An operation has returned: whatever is called later comes after it.
    Returned,
}

/// Bytes of a node that a step used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// Whose memory.
    pub node: NodeId,
    /// Where.
    pub at: RemoteAddr,
    /// Bytes.
    pub len: u32,
    /// Whether it may have changed them.
    pub is_write: bool,
}

impl Touch {
    fn conflicts(&self, other: &Touch) -> bool {
        (self.is_write || other.is_write)
            && self.node == other.node
            && self.at.0 < other.at.0 + u64::from(other.len)
            && other.at.0 < self.at.0 + u64::from(self.len)
    }
}

/// More of them than this in one step, and the step counts as one that touches everything.
const MOST_TOUCHES: usize = 8;

/// What a step did that others may notice.
#[derive(Clone, Copy, Debug)]
pub struct Footprint {
    /// The step.
    pub lane: Lane,
    touches: [Touch; MOST_TOUCHES],
    count: u8,
    is_everywhere: bool,
    has_called: bool,
    has_returned: bool,
}

impl Footprint {
    /// A step that did nothing yet.
    pub fn new(lane: Lane) -> Footprint {
        let none = Touch { node: NodeId(0), at: RemoteAddr(0), len: 0, is_write: false };
        let is_everywhere = lane.kind == LaneKind::Fault && lane.client == u32::MAX;
        let touches = [none; MOST_TOUCHES];
        Footprint { lane, touches, count: 0, is_everywhere, has_called: false, has_returned: false }
    }

    /// Adds bytes that it used.
    pub fn touch(&mut self, touch: Touch) {
        match self.touches.get_mut(usize::from(self.count)) {
            _ if touch.len == 0 => {}
            Some(next) => {
                *next = touch;
                self.count += 1;
            }
            None => self.is_everywhere = true,
        }
    }

    /// Adds what a client said.
    pub fn mark(&mut self, mark: Mark) {
        match mark {
            Mark::Called => self.has_called = true,
            Mark::Returned => self.has_returned = true,
        }
    }

    /// Whether the order of the two steps may matter to anybody who looks at memories, clients or histories.
    ///
    /// Independent are, with different lanes: executions that do not write what the other uses; answers; and polls of
    /// different clients. Of the latter there is one exception. A history orders two operations if one returned before
    /// the other was called, so `return` and `call` do not commute, while two calls, or two returns, do: swapping those
    /// changes no interval in a way that any order of the operations could notice.
    ///
    /// A fault depends on everything, or, if it stops a client, on all that this client and its links do.
    ///
    /// What a client posts is not compared with what its link executes: a link is a queue, and putting something in at
    /// one end commutes with taking something out at the other. That an execution comes after its post, an answer after
    /// its execution and a poll after what woke it is known from the causes of [`Done`].
    pub fn depends_on(&self, other: &Footprint) -> bool {
        let (a, b) = (&self.lane, &other.lane);
        if a == b || self.is_everywhere || other.is_everywhere {
            return true;
        }
        let polls = (a.kind == LaneKind::Poll, b.kind == LaneKind::Poll);
        if a.client == b.client {
            if a.kind == LaneKind::Fault || b.kind == LaneKind::Fault {
                return true;
            }
            let wakes = |lane: &Lane| matches!(lane.kind, LaneKind::Answer | LaneKind::Fire);
            if polls == (true, true) || polls.0 && wakes(b) || polls.1 && wakes(a) {
                return true;
            }
        } else if polls == (true, true)
            && (self.has_called && other.has_returned || self.has_returned && other.has_called)
        {
            return true;
        }
        let of = |print: &Footprint| usize::from(print.count);
        self.touches[..of(self)].iter().any(|t| other.touches[..of(other)].iter().any(|o| t.conflicts(o)))
    }
}

/// A step that was taken.
#[derive(Debug)]
pub struct Done<'a> {
    /// Counts the steps of the world.
    pub number: u64,
    /// What it did.
    pub footprint: &'a Footprint,
    /// The numbers of the steps without which it could not have been. For a poll any one of them would have done.
    pub causes: &'a [u64],
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(client: usize, marks: &[Mark]) -> Footprint {
        let mut print = Footprint::new(Lane::new(LaneKind::Poll, client, client));
        marks.iter().for_each(|m| print.mark(*m));
        print
    }

    fn access(link: usize, node: u16, at: u64, len: u32, is_write: bool) -> Footprint {
        let mut print = Footprint::new(Lane::new(LaneKind::Execute, link, link));
        print.touch(Touch { node: NodeId(node), at: RemoteAddr(at), len, is_write });
        print
    }

    #[test]
    fn of_calls_and_returns_only_a_pair_of_both_depends() {
        use Mark::{Called, Returned};
        let depend = |a: &[Mark], b: &[Mark]| poll(0, a).depends_on(&poll(1, b));
        assert!(
            !depend(&[Called], &[Called]) && !depend(&[Returned], &[Returned]) && !depend(&[], &[Called])
        );
        assert!(depend(&[Called], &[Returned]) && depend(&[Returned], &[Called]));
        assert!(depend(&[Called, Returned], &[Called]));
        assert!(poll(0, &[]).depends_on(&poll(0, &[])), "a task's own steps keep their order");
    }

    #[test]
    fn executions_depend_where_one_writes_what_the_other_uses() {
        let write = access(0, 0, 8, 16, true);
        assert!(
            write.depends_on(&access(1, 0, 16, 8, false)) && access(1, 0, 0, 9, false).depends_on(&write)
        );
        assert!(
            !write.depends_on(&access(1, 0, 24, 8, true)) && !write.depends_on(&access(1, 1, 8, 16, true))
        );
        assert!(!access(0, 0, 8, 8, false).depends_on(&access(1, 0, 8, 8, false)), "both read");
        assert!(!access(0, 0, 8, 0, true).depends_on(&access(1, 0, 0, 64, true)), "of no bytes");
    }

    #[test]
    fn what_does_not_fit_touches_everything() {
        let mut print = access(0, 0, 0, 8, false);
        let more = Touch { node: NodeId(0), at: RemoteAddr(0), len: 8, is_write: false };
        (0..MOST_TOUCHES).for_each(|_| print.touch(more));
        assert!(print.depends_on(&poll(1, &[])));
    }

    #[test]
    fn lanes_come_in_the_order_of_a_plain_run() {
        use LaneKind::*;
        let lanes = [
            Lane::new(Execute, 0, 9),
            Lane::new(Answer, 0, 0),
            Lane::new(Poll, 0, 0),
            Lane::new(Execute, 1, 0),
            Lane::new(Fire, 0, 0),
            Lane::new(Fault, usize::MAX, 0),
        ];
        assert!(lanes.is_sorted());
    }
}
