//! What a run does: the cluster's shape, its keys, what each client does, what goes wrong.

use super::keys;
use super::node::Control;
use farrow_control::map::{ClusterMap, CommitKind, Shape};
use farrow_fabric_sim::World;
use farrow_layout::{NodeId, Policy, SegmentHeader, Superblock};
use std::time::Duration;

/// One run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The cluster.
    pub map: ClusterMap,
    /// The keys that clients use.
    pub keys: Vec<Vec<u8>>,
    /// Keys that crowd the first key's partition before anything else happens.
    pub crowd: Option<Crowd>,
    /// Keys that are there before the clients begin.
    pub present: Vec<usize>,
    /// The clients.
    pub clients: Vec<ClientPlan>,
    /// How fast the nodes' control planes are.
    pub control: Control,
    /// In virtual time: a node that is slow, and by how much.
    pub slow: Option<(NodeId, u64)>,
    /// What goes wrong, in order of time.
    pub faults: Vec<Fault>,
}

/// Keys that fill slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crowd {
    /// As long as there is room.
    pub keys: Vec<Vec<u8>>,
    /// So many of the first are deleted again.
    pub removed: usize,
}

/// What one client is and does.
#[derive(Clone, Debug)]
pub struct ClientPlan {
    /// In order.
    pub steps: Vec<Step>,
    /// Keys whose slots it remembers.
    pub cache_entries: usize,
    /// The longest that an operation may take.
    pub deadline: Duration,
    /// Bytes of its pool.
    pub buffer_limit: usize,
    /// It leaves when everything has come to rest; otherwise with verbs on their way.
    pub lingers: bool,
}

/// One call of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What.
    pub verb: Verb,
    /// Of which keys; several are a batch.
    pub keys: Vec<usize>,
    /// Length of a value, or of a buffer.
    pub len: usize,
}

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Reads values.
    Get,
    /// Reads a value into registered memory.
    GetInto,
    /// Looks whether keys are there.
    Exists,
    /// Puts values.
    Put,
    /// Puts a value from registered memory.
    PutFrom,
    /// Puts values where there are none.
    PutIfAbsent,
    /// Puts values over others.
    PutIfPresent,
    /// Puts a value over the one that this client saw last.
    PutIfVersion,
    /// Removes keys.
    Delete,
    /// Removes a key with the value that this client saw last.
    DeleteIfVersion,
    /// Uses a key that is none.
    BadKey,
    /// Puts what no block holds.
    TooLarge,
}

/// What goes wrong, after so many events. The atlas in `docs/testing.md` bounds what a scenario may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Events.
    pub after: u64,
    /// What.
    pub kind: FaultKind,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A client stops for good.
    Stop(usize),
    /// A client stands still; with `true`, so do its control tasks.
    Pause(usize, bool),
    /// A client that stood still goes on.
    Resume(usize),
    /// A client's link to a node breaks.
    LoseLink(usize, NodeId),
    /// A client's session with a node breaks: the node takes the link back too.
    LoseSession(usize, NodeId),
    /// A node stops; its memory is lost.
    Kill(NodeId),
    /// Bits rot in entries that nobody writes: on one replica of each, or on all.
    Rot {
        /// On all replicas.
        everywhere: bool,
    },
}

const VERBS: [Verb; 12] = [
    Verb::Get,
    Verb::GetInto,
    Verb::Exists,
    Verb::Put,
    Verb::PutFrom,
    Verb::PutIfAbsent,
    Verb::PutIfPresent,
    Verb::PutIfVersion,
    Verb::Delete,
    Verb::DeleteIfVersion,
    Verb::BadKey,
    Verb::TooLarge,
];

/// Whether time in the run is virtual time, so that deadlines mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsTimed(pub bool);

impl Scenario {
    /// Draws one for a world.
    pub fn draw(world: &World, commit: CommitKind, is_timed: IsTimed) -> Scenario {
        Draw { world }.scenario(commit, is_timed)
    }

    /// Whether everything that was begun is also ended: then all replicas agree in the end.
    pub fn is_sound(&self) -> bool {
        let harmless =
            |f: &Fault| matches!(f.kind, FaultKind::Pause(..) | FaultKind::Resume(_) | FaultKind::Rot { .. });
        let patient = |c: &ClientPlan| c.deadline == Duration::MAX && c.buffer_limit >= AMPLE_BUFFERS;
        self.faults.iter().all(harmless) && self.clients.iter().all(patient)
    }

    /// Whether any node stops.
    pub fn dead_node(&self) -> Option<NodeId> {
        self.faults.iter().find_map(|f| if let FaultKind::Kill(node) = f.kind { Some(node) } else { None })
    }
}

/// Longer than any operation takes in virtual time, unless it waits for somebody who is gone.
const LONG_DEADLINE: Duration = Duration::from_millis(1);
/// Longer than anything takes, slow nodes included.
pub(super) const PATIENCE: Duration = Duration::from_millis(20);
/// Keys of a batch at the most.
pub(super) const MOST_IN_BATCH: u64 = 5;
/// A pool that no scenario exhausts.
pub const AMPLE_BUFFERS: usize = 64 << 20;
/// One arena: a batch of large values exhausts it.
const TIGHT_BUFFERS: usize = 1 << 20;

struct Draw<'a> {
    world: &'a World,
}

impl Draw<'_> {
    fn pick(&self, count: u64) -> u64 {
        self.world.draw(count)
    }

    fn one_in(&self, count: u64) -> bool {
        self.pick(count) == 0
    }

    fn of<T: Copy>(&self, list: &[T]) -> T {
        list[self.pick(list.len() as u64) as usize]
    }

    fn scenario(&self, commit: CommitKind, IsTimed(is_timed): IsTimed) -> Scenario {
        // Large blocks for small pools: rare, for they cost time.
        let is_wide = self.one_in(16);
        // Keys that take slots from each other, where all others are taken, while clients stop.
        let is_recycling = !is_wide && self.one_in(8);
        // Everybody writes one key.
        let is_duel = !is_wide && !is_recycling && self.one_in(8);
        let map = self.map(commit, is_wide);
        let (mut keys, crowd) = if is_recycling { self.rivals(&map) } else { self.keys(&map) };
        if is_duel {
            keys.truncate(1);
        }
        let present = (0..keys.len()).filter(|_| self.one_in(2)).collect();
        let count = 1 + self.pick(4) as usize;
        // Swarm: each run leaves some kinds of calls out, so that others meet more often.
        let weights: Vec<u64> = VERBS
            .iter()
            .map(|verb| match verb {
                Verb::BadKey | Verb::TooLarge => self.of(&[0, 0, 1]),
                Verb::GetInto | Verb::PutFrom => self.of(&[0, 1, 2]),
                Verb::Delete | Verb::Put if is_recycling => 4,
                Verb::Get | Verb::PutIfAbsent if is_recycling => 2,
                Verb::Put if is_duel => 8,
                Verb::Get | Verb::Delete | Verb::PutIfVersion if is_duel => 1,
                _ if is_recycling || is_duel => 0,
                _ => self.of(&[0, 2, 3, 6]),
            })
            .collect();
        let batches = self.pick(3);
        let lens = if is_recycling || is_duel { vec![8] } else { self.lens(&map) };
        let most = [10, 8, 6, 5][count - 1];
        let clients: Vec<ClientPlan> = (0..count)
            .map(|_| ClientPlan {
                steps: (0..1 + self.pick(most)).map(|_| self.step(&weights, &keys, batches, &lens)).collect(),
                cache_entries: if is_duel { 256 } else { self.of(&[0, 4, 256]) },
                deadline: self.deadline(is_timed),
                lingers: !self.one_in(3),
                buffer_limit: match is_wide {
                    true => self.of(&[TIGHT_BUFFERS, TIGHT_BUFFERS, AMPLE_BUFFERS]),
                    false if self.one_in(40) => 0,
                    false => AMPLE_BUFFERS,
                },
            })
            .collect();
        let node = || NodeId(self.pick(map.nodes.len() as u64) as u16);
        let control = Control { way_ns: self.of(&[0, 300, 5_000]), slow: self.one_in(4).then(node) };
        let slow = self.one_in(4).then(|| (node(), self.of(&[500, 5_000, 50_000])));
        let mut faults = self.faults(commit, is_timed, count, &map);
        if is_recycling && commit == CommitKind::Colocated {
            let stop = || Fault {
                after: 1 + self.pick(300),
                kind: FaultKind::Stop(self.pick(count as u64) as usize),
            };
            faults.extend((0..1 + self.pick(2)).map(|_| stop()));
            faults.sort_by_key(|f| f.after);
        }
        let mut scenario = Scenario { keys, crowd, present, clients, control, slow, faults, map };
        // Who waits for a winner that is gone needs a deadline; and where time means nothing, everybody has to be patient.
        if commit == CommitKind::Snapshot && !scenario.is_sound() {
            let least = if is_timed { LONG_DEADLINE } else { Duration::MAX };
            scenario
                .clients
                .iter_mut()
                .filter(|c| c.deadline > least || !is_timed)
                .for_each(|c| c.deadline = least);
        }
        scenario
    }

    fn map(&self, commit: CommitKind, is_wide: bool) -> ClusterMap {
        let nodes = 3 + self.pick(3) as usize;
        let copies = 1 + self.pick(3);
        let homes_per_node = 1 + self.pick(2);
        let partitions = 1 + self.pick(2);
        let (block_len, blocks): (u64, u64) = match is_wide {
            true => (256 << 10, 3),
            false => (self.of(&[4 << 10, 4 << 10, 8 << 10, 16 << 10]), self.of(&[1, 3, 8, 16, 16])),
        };
        let extent_len = (block_len >> self.pick(3)).max(1 << 10);
        // Two groups, the smallest index: a page a partition.
        let records = (blocks * (block_len / extent_len) * 16).next_multiple_of(4096);
        let segment_len = SegmentHeader::SPACE + partitions * 4096 + records + blocks * block_len;
        let mut map = ClusterMap::of(&Shape {
            name: "simulated".into(),
            commit,
            policy: Policy::Replicate { copies: copies as u8 },
            nodes: (0..nodes).map(|i| format!("node{i}:1")).collect(),
            homes_per_node: homes_per_node as u16,
            max_keys: 1,
            memory_len: Superblock::SPACE + homes_per_node * copies * segment_len,
            block_len,
            extent_len,
        })
        .expect("a small cluster can be laid out");
        map.geometry.partitions = partitions as u32;
        assert_eq!(map.defect(), None);
        map
    }

    fn keys(&self, map: &ClusterMap) -> (Vec<Vec<u8>>, Option<Crowd>) {
        let first = keys::name(self.pick(1000) as u32);
        let mut all = vec![first.clone()];
        for _ in 0..self.of(&[0, 1, 1, 2, 4]) {
            let likeness = self.of(&keys::Likeness::ALL);
            if let Some(key) = keys::like(map, &first, likeness, self.pick(1000) as u32)
                && !all.contains(&key)
            {
                all.push(key);
            }
        }
        // From a bucket that is full to a partition that is: then slots have to be recycled.
        let crowd = self.one_in(5).then(|| {
            let keys = keys::crowd(map, &first, self.of(&[28, 36, 44, 52]));
            Crowd { keys, removed: self.pick(6) as usize }
        });
        (all, crowd)
    }

    /// Keys of the same buckets, and a crowd that leaves them nothing but what they empty themselves.
    fn rivals(&self, map: &ClusterMap) -> (Vec<Vec<u8>>, Option<Crowd>) {
        let first = keys::name(self.pick(1000) as u32);
        let mut all = vec![first.clone()];
        for _ in 0..1 + self.pick(3) {
            all.extend(keys::like(map, &first, keys::Likeness::Buckets, self.pick(1000) as u32));
        }
        all.sort_unstable();
        all.dedup();
        (all, Some(Crowd { keys: keys::crowd(map, &first, 52), removed: self.pick(2) as usize }))
    }

    /// Lengths of values: from nothing to as much as a block holds, with those about an extent's end.
    fn lens(&self, map: &ClusterMap) -> Vec<usize> {
        let (block, extent) = (map.geometry.block_len as usize, map.geometry.extent_len as usize);
        let overhead = 48 + keys::LEN;
        let all = [0, 1, 8, 60, 200, 700, extent - overhead, extent, block / 2, block - overhead];
        let count = 1 + self.pick(4);
        (0..count).map(|_| self.of(&all).min(block - overhead)).collect()
    }

    fn step(&self, weights: &[u64], keys: &[Vec<u8>], batches: u64, lens: &[usize]) -> Step {
        let total: u64 = weights.iter().sum();
        let mut left = if total == 0 { 0 } else { self.pick(total) };
        let verb = weights.iter().zip(VERBS).find_map(|(weight, verb)| {
            let here = left < *weight;
            left = left.saturating_sub(*weight);
            here.then_some(verb)
        });
        let verb = verb.unwrap_or(Verb::Put);
        let can_batch =
            matches!(verb, Verb::Get | Verb::Exists | Verb::Put | Verb::PutIfAbsent | Verb::Delete);
        let count = if can_batch && self.pick(6) < batches { 2 + self.pick(MOST_IN_BATCH - 1) } else { 1 };
        let keys = (0..count).map(|_| self.pick(keys.len() as u64) as usize).collect();
        Step { verb, keys, len: self.of(lens) }
    }

    fn deadline(&self, is_timed: bool) -> Duration {
        match (is_timed, self.pick(8)) {
            (true, 0) => Duration::from_micros(1 + self.pick(4)),
            (true, 1 | 2) => Duration::from_micros(5 + self.pick(30)),
            (true, 3) => LONG_DEADLINE,
            // Where time is but a count of events, a deadline may pass at any moment.
            (false, 0) => LONG_DEADLINE,
            _ => Duration::MAX,
        }
    }

    /// Faults, within the atlas.
    fn faults(&self, commit: CommitKind, is_timed: bool, clients: usize, map: &ClusterMap) -> Vec<Fault> {
        let mut faults = Vec::new();
        let after = || 1 + self.pick(self.of(&[60, 400, 2_000]));
        let client = || self.pick(clients as u64) as usize;
        let node = || NodeId(self.pick(map.nodes.len() as u64) as u16);
        for _ in 0..self.of(&[0, 0, 1, 1, 1, 2, 3]) {
            let kind = match self.pick(16) {
                0..4 => FaultKind::Stop(client()),
                4..7 => {
                    let (who, with_control, at) = (client(), self.one_in(2), after());
                    let kind = FaultKind::Resume(who);
                    faults.push(Fault { after: at + 1 + self.pick(1_000), kind });
                    faults.push(Fault { after: at, kind: FaultKind::Pause(who, with_control) });
                    continue;
                }
                7..10 => FaultKind::LoseLink(client(), node()),
                10 | 11 => FaultKind::LoseSession(client(), node()),
                12 | 13 => FaultKind::Kill(node()),
                _ => FaultKind::Rot { everywhere: self.one_in(3) },
            };
            // One node dies at the most: with its memory all its homes are out of reach already.
            if matches!(kind, FaultKind::Kill(_))
                && faults.iter().any(|f| matches!(f.kind, FaultKind::Kill(_)))
            {
                continue;
            }
            // SNAPSHOT's losers wait for a winner that is gone, for ever if nothing ends their wait.
            let ends_rounds = !matches!(kind, FaultKind::Rot { .. });
            if commit == CommitKind::Snapshot && ends_rounds && !is_timed {
                continue;
            }
            faults.push(Fault { after: after(), kind });
        }
        faults.sort_by_key(|f| f.after);
        faults
    }
}
