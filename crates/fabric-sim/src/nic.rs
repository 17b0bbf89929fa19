//! Queues in virtual time: what serves one thing after another.

use crate::CostModel;
use crate::chain_run::Piece;
use farrow_fabric::Nanos;

/// Serves in the order in which it is asked. Counts in picoseconds, so that small pieces are not rounded away.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Server {
    free_ps: u64,
    busy_ps: u64,
}

impl Server {
    /// Takes `take_ps` of it, from `at` on or when it is free; says when that is done.
    pub(crate) fn serve(&mut self, at: Nanos, take_ps: u64) -> Nanos {
        self.free_ps = self.free_ps.max(at.0 * 1000) + take_ps;
        self.busy_ps += take_ps;
        Nanos(self.free_ps.div_ceil(1000))
    }

    /// How long it was busy, and will be with what it has been asked for.
    pub(crate) fn busy_ns(&self) -> u64 {
        self.busy_ps / 1000
    }
}

/// A node's NIC: see [`CostModel`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Nic {
    engine: Server,
    inward: Server,
    outward: Server,
    /// The engine's time for atomics.
    atomics_ns: u64,
}

impl Nic {
    /// A piece is on the wire: says when all of it is in.
    pub(crate) fn take_in(&mut self, cost: &CostModel, now: Nanos, piece: &Piece) -> Nanos {
        self.inward.serve(now, piece.bytes_in as u64 * cost.byte_ps)
    }

    /// A piece is in: says when it takes effect.
    pub(crate) fn work(&mut self, cost: &CostModel, now: Nanos, piece: &Piece) -> Nanos {
        let engine_ns = match (piece.is_first, piece.is_atomic) {
            (false, _) => 0,
            (true, false) => cost.verb_ns,
            (true, true) => cost.atomic_ns,
        };
        self.atomics_ns += if piece.is_atomic { engine_ns } else { 0 };
        self.engine.serve(now, engine_ns * 1000)
    }

    /// A piece has taken effect: says when the bytes that it fetched are on their way.
    pub(crate) fn send_out(&mut self, cost: &CostModel, now: Nanos, bytes_out: usize) -> Nanos {
        self.outward.serve(now, bytes_out as u64 * cost.byte_ps)
    }

    pub(crate) fn usage(&self) -> NicUsage {
        NicUsage {
            engine_ns: self.engine.busy_ns(),
            atomics_ns: self.atomics_ns,
            inward_ns: self.inward.busy_ns(),
            outward_ns: self.outward.busy_ns(),
        }
    }
}

/// How long a node's NIC was busy since the world began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NicUsage {
    /// Its engine, with all verbs.
    pub engine_ns: u64,
    /// The part of it that atomics took.
    pub atomics_ns: u64,
    /// The wire, with what WRITEs brought.
    pub inward_ns: u64,
    /// The wire, with what READs fetched.
    pub outward_ns: u64,
}
