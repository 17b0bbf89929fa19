//! A cluster in virtual time, with all keys in place.

use super::point::Point;
use farrow_control::map::{ClusterMap, CommitKind, Shape};
use farrow_fabric_sim::{CostModel, Grain, Options, Pace, Seed, SimFabric, SimLink, World};
use farrow_layout::*;
use farrow_protocol::{Extent, Home, Member};
use std::cell::RefCell;

/// Keys that are there.
pub const KEYS: usize = 100_000;
/// Bytes of a key: with the value they make 1 KiB.
pub const KEY_LEN: usize = 16;
/// Bytes of a value.
pub const VALUE_LEN: usize = 1024 - KEY_LEN;
/// Homes of which each node is the primary: enough that popular keys decide how evenly load spreads, and not this.
const HOMES_PER_NODE: u16 = 8;
const BLOCK_LEN: u64 = 256 << 10;
const EXTENT_LEN: u64 = 16 << 10;

/// A key and where it is.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    pub key: [u8; KEY_LEN],
    pub hash: KeyHash,
    pub home: u16,
    pub slot: SlotAddr,
    /// The word that its slot holds at first.
    pub word: Word,
    /// A word that its slot held before.
    pub stale: Word,
}

/// What all clients of a point share.
pub struct Cluster {
    pub world: World,
    pub map: ClusterMap,
    pub plan: Plan,
    pub nodes: Vec<NodeId>,
    pub records: Vec<Record>,
    /// Of each home, the first extent that nobody has.
    free_extents: RefCell<Vec<u64>>,
}

impl Cluster {
    /// The nodes of `point` with all keys, put there past all protocols; `writes` more entries fit.
    pub fn new(point: &Point, cost: CostModel, writes: u64) -> Cluster {
        let options = Options { grain: Grain::Whole, pace: Pace::Timed(cost), record: false };
        let world = World::new(options, Seed::new(1));
        let map = map(point, writes);
        let plan = map.plan().expect("a map that was just made");
        let segments = u32::from(HOMES_PER_NODE) * u32::from(point.copies);
        let nodes: Vec<_> = (0..point.nodes).map(|_| world.node(plan.memory_for(segments))).collect();
        let mut cluster = Cluster {
            world,
            map,
            plan,
            nodes,
            records: Vec::with_capacity(KEYS),
            free_extents: RefCell::default(),
        };
        cluster.fill();
        cluster
    }

    fn fill(&mut self) {
        let homes = self.map.homes.len();
        let mut used_bytes = vec![0; homes];
        let mut taken = vec![vec![false; self.plan.slots_per_partition() as usize]; homes];
        let mut bytes = vec![7; entry_len(KEY_LEN, VALUE_LEN)];
        for i in 0..KEYS {
            let key: [u8; KEY_LEN] = format!("user{i:012}").into_bytes().try_into().expect("sixteen bytes");
            let hash = KeyHash::of(&key);
            let (home, partition) = self.map.route(hash);
            let index = free_slot(&self.plan, hash, &taken[usize::from(home.0)]);
            taken[usize::from(home.0)][index.0 as usize] = true;
            let slot = SlotAddr { partition, index };
            let used = &mut used_bytes[usize::from(home.0)];
            let len = bytes.len() as u64;
            // An entry does not go from one block into the next.
            let at =
                if *used % BLOCK_LEN + len > BLOCK_LEN { used.next_multiple_of(BLOCK_LEN) } else { *used };
            *used = at + len;
            let at = BlockAddr(at);
            let entry =
                Entry { client: ClientId(1), sequence: 0, flags: 0, expiry_ms: 0, replaced: Word::ZERO };
            encode_entry(&entry, &key, &[7; VALUE_LEN], &mut bytes);
            let name = |before: Word| {
                before.naming(hash, SizeClass::for_len(bytes.len()), Pointer::from_offset(at.0))
            };
            let stale = name(Word::ZERO);
            let word = name(stale);
            for (m, member) in self.map.homes[usize::from(home.0)].members.iter().enumerate() {
                let segment = self.plan.segment(member.segment);
                self.world.poke(member.node, segment.block_bytes(at), &bytes);
                self.world.poke(member.node, segment.slot(slot), &word.raw().to_le_bytes());
                if m == 0 {
                    self.world.poke(member.node, segment.committed(slot), &word.raw().to_le_bytes());
                }
            }
            self.records.push(Record { key, hash, home: home.0, slot, word, stale });
        }
        let first_free = used_bytes.iter().map(|used| used.div_ceil(EXTENT_LEN));
        self.free_extents = RefCell::new(first_free.collect());
    }

    /// Every home, as a client reaches it.
    pub fn homes(&self, fabric: &SimFabric) -> Vec<Home<SimLink>> {
        let links: Vec<_> = self.nodes.iter().map(|n| fabric.link(*n)).collect();
        let member = |m: &farrow_control::map::MemberEntry| Member {
            link: links[usize::from(m.node.0)].clone(),
            segment: self.plan.segment(m.segment),
        };
        self.map.homes.iter().map(|h| Home::new(h.id, h.members.iter().map(member).collect())).collect()
    }

    /// A fresh extent. Clients ask for theirs ahead of need, so it costs an operation nothing.
    pub fn extent(&self, home: u16, client: ClientId) -> Extent {
        let first = &mut self.free_extents.borrow_mut()[usize::from(home)];
        let extent = *first;
        *first += 1;
        assert!(extent < self.plan.extents(), "home {home} has room for the writes of the run");
        let word = ExtentWord::FREE.opened(client);
        let start = self.plan.extent_start(extent);
        Extent { home: HomeId(home), first: extent, count: 1, start, len: EXTENT_LEN, word }
    }
}

fn map(point: &Point, writes: u64) -> ClusterMap {
    let entry = entry_len(KEY_LEN, VALUE_LEN) as u64 + 64;
    let homes = u64::from(HOMES_PER_NODE) * point.nodes as u64;
    // A home gets its share of the keys and, where the most popular key lives, a fifth of all writes; and each client
    // holds an extent of it open.
    let per_home = (KEYS as u64 * 2 / homes + writes / 5) * entry + u64::from(point.clients) * EXTENT_LEN;
    let index = KEYS as u64 * 64 / homes;
    let segments = u64::from(HOMES_PER_NODE) * u64::from(point.copies);
    let shape = Shape {
        name: "predict".to_owned(),
        // Which protocol runs is the point's own matter.
        commit: CommitKind::Colocated,
        policy: Policy::Replicate { copies: point.copies },
        nodes: (0..point.nodes).map(|n| format!("node{n}:1")).collect(),
        homes_per_node: HOMES_PER_NODE,
        max_keys: KEYS as u64,
        memory_len: Superblock::SPACE + segments * (per_home + index + (1 << 20)),
        block_len: BLOCK_LEN,
        extent_len: EXTENT_LEN,
    };
    ClusterMap::of(&shape).expect("a shape that fits")
}

/// Where an insert would place a key: the emptier main bucket first.
fn free_slot(plan: &Plan, hash: KeyHash, taken: &[bool]) -> SlotIndex {
    let candidates = plan.candidates(hash);
    let slots = |c: CombinedBucket, main: bool| {
        c.slots(&[0; COMBINED_LEN]).filter(move |(_, is_main, _)| *is_main == main).map(|(index, ..)| index)
    };
    let is_free = |index: &SlotIndex| !taken[index.0 as usize];
    let [a, b] = candidates.map(|c| slots(c, true).filter(is_free).count());
    let order = if a >= b { candidates } else { [candidates[1], candidates[0]] };
    let mains = order.into_iter().flat_map(|c| slots(c, true));
    let all = mains.chain(order.into_iter().flat_map(|c| slots(c, false)));
    all.into_iter().find(is_free).expect("the index is laid out for all keys")
}
