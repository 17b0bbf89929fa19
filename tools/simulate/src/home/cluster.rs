//! A home in a world: memories with a table that has a history, and clients.

use super::coordinator::{ClientViews, Coordinator};
use super::keys::{Keys, keys};
use super::scenario::{Name, Table};
use farrow_fabric_sim::{Mark, SimFabric, Touch, World};
use farrow_layout::*;
use farrow_protocol::{Appender, Events, Extent};
use farrow_testkit::history::ValueId;
use std::cell::Cell;
use std::rc::Rc;

/// Bytes that a client may append.
const CLIENT_EXTENT: u64 = 4096;
/// Clients that a cluster has room for.
const CLIENTS: u64 = 8;
const BLOCK: u64 = 4096;

/// The world and what all clients of a run share.
#[derive(Clone)]
pub struct Cluster {
    pub world: World,
    pub plan: Plan,
    pub keys: &'static Keys,
    /// All nodes that there ever were, in the home's order, and then the spares.
    pub nodes: Vec<NodeId>,
    /// Whether extents are said to be open and sealed: where they are copied.
    pub has_table: bool,
    pub coordinator: Coordinator,
    pub events: Rc<Events>,
    /// Ticks once for each beginning and end of an operation: what the history counts as time.
    pub clock: Rc<Cell<u64>>,
    /// Values written so far.
    pub values: Rc<Cell<u64>>,
    clients: Rc<Cell<u32>>,
}

/// What a client works with.
pub struct Place {
    pub id: u32,
    pub fabric: SimFabric,
    pub views: Rc<ClientViews>,
    pub appender: Appender,
}

/// The smallest table: two groups, 42 slots.
pub fn plan(copies: usize) -> Plan {
    let geometry = Geometry {
        policy: Policy::Replicate { copies: copies as u8 },
        segment_len: 64 << 10,
        partitions: 1,
        groups: 2,
        block_len: BLOCK,
        extent_len: BLOCK,
    };
    Plan::new(geometry).expect("a small table fits")
}

impl Cluster {
    pub fn new(world: World, copies: usize, spares: usize) -> Cluster {
        let plan = plan(copies);
        assert!(plan.blocks() > CLIENTS, "one block a client, and one for what is there at first");
        let nodes: Vec<_> = (0..copies + spares).map(|_| world.node(plan.memory_for(1))).collect();
        let events: Rc<Events> = Rc::default();
        let coordinator =
            Coordinator::new(world.clone(), plan.segment(0), events.clone(), nodes[..copies].to_vec());
        Cluster {
            world,
            plan,
            keys: keys(&plan),
            nodes,
            has_table: spares > 0,
            coordinator,
            events,
            clock: Rc::default(),
            values: Rc::default(),
            clients: Rc::default(),
        }
    }

    pub fn segment(&self) -> SegmentPlan {
        self.plan.segment(0)
    }

    pub fn key(&self, name: Name) -> &'static [u8] {
        match name {
            Name::Base => &self.keys.base,
            Name::Twin => &self.keys.twin,
            Name::Mirror => &self.keys.mirror,
            Name::Sibling => &self.keys.sibling,
            Name::Neighbour => &self.keys.neighbour,
        }
    }

    /// A seat for one more client.
    pub fn place(&self) -> Place {
        let id = self.clients.get() + 1;
        assert!(u64::from(id) <= CLIENTS, "the blocks are shared out");
        self.clients.set(id);
        let fabric = self.world.fabric(4 << 20);
        let views = Rc::new(self.coordinator.views(&fabric));
        let start = BlockAddr(u64::from(id - 1) * CLIENT_EXTENT);
        let word = ExtentWord::FREE.opened(ClientId(id));
        let first = u64::from(id - 1);
        let extent = Extent { home: HomeId(0), first, count: 1, start, len: CLIENT_EXTENT, word };
        if self.has_table {
            let members = self.coordinator.nodes();
            members.iter().for_each(|node| self.set_record(*node, first, word));
        }
        Place { id, fabric, views, appender: Appender::new(extent) }
    }

    /// Makes a node's table say something of an extent, as its daemon does.
    pub fn set_record(&self, node: NodeId, extent: u64, word: ExtentWord) {
        self.world.poke(node, self.segment().extent_record(extent), &word.raw().to_le_bytes());
    }

    /// The time at which an operation is called.
    pub fn called(&self) -> u64 {
        self.world.mark(Mark::Called);
        self.tick()
    }

    /// The time at which an operation returns.
    pub fn returned(&self) -> u64 {
        self.world.mark(Mark::Returned);
        self.tick()
    }

    fn tick(&self) -> u64 {
        self.clock.set(self.clock.get() + 1);
        self.clock.get()
    }

    /// The name of the next value. Where orders are searched it must not depend on who comes first.
    pub fn next_value(&self, client: u32, sequence: u64) -> ValueId {
        if self.world.is_chosen() {
            return ValueId(u64::from(client) * 100 + sequence);
        }
        self.values.set(self.values.get() + 1);
        ValueId(self.values.get())
    }

    /// Says that the present step looks at a slot on all nodes, and at the entry of `word` on one of them.
    pub fn looks_at(&self, slot: SlotAddr, word: Word, node: NodeId) {
        for node in &self.nodes {
            self.world.looks_at(slot_touch(&self.plan, *node, slot));
        }
        self.world.looks_at(entry_touch(&self.plan, node, word));
    }

    pub fn slots(&self) -> impl Iterator<Item = SlotAddr> + use<> {
        (0..self.plan.slots_per_partition()).map(|i| SlotAddr { partition: 0, index: SlotIndex(i) })
    }

    pub fn word(&self, node: NodeId, slot: SlotAddr) -> Word {
        Word::from_raw(self.world.memory(node).word(self.segment().slot(slot)))
    }

    /// The entry that `word` names on a node: key and value, if it is whole.
    pub fn entry(&self, node: NodeId, word: Word) -> Result<(Vec<u8>, Vec<u8>), EntryError> {
        open_entry(&self.plan, &self.world.memory(node), word)
    }

    /// Gives the table its past, past all protocols.
    pub fn fill(&self, table: Table) {
        let mut empty: Vec<SlotAddr> = Vec::new();
        let mut unused: Vec<SlotAddr> = Vec::new();
        match table {
            Table::New => return,
            Table::Recycled => empty.extend(self.slots()),
            Table::Full { never_used, emptied } => {
                // Those that stay free lie where our keys look.
                let mut near: Vec<SlotAddr> = self.near().collect();
                let mut take = |count| -> Vec<SlotAddr> {
                    let one = |_| near.swap_remove(self.world.draw(near.len() as u64) as usize);
                    (0..count).map(one).collect()
                };
                unused.extend(take(never_used));
                empty.extend(take(emptied));
            }
        }
        if self.has_table {
            let word = ExtentWord::FREE.opened(ClientId(99)).sealed();
            self.coordinator.nodes().iter().for_each(|node| self.set_record(*node, CLIENTS, word));
        }
        let base = KeyHash::of(&self.keys.base);
        for (i, slot) in self.slots().enumerate().filter(|(_, s)| !unused.contains(s)) {
            let filler = &self.keys.fillers[i];
            let alike = self.world.draw(4) == 0;
            let hash = if alike { base } else { KeyHash::of(filler) };
            let version = self.world.draw(256);
            let at = BlockAddr(CLIENTS * CLIENT_EXTENT + 64 * i as u64);
            let bytes = filler_entry(filler);
            let before = Word::from_raw(version << 40);
            let word = before.naming(hash, SizeClass::for_len(bytes.len()), Pointer::from_offset(at.0));
            let word = if empty.contains(&slot) { word.emptied() } else { word };
            for (i, node) in self.coordinator.nodes().iter().enumerate() {
                self.world.poke(*node, self.segment().block_bytes(at), &bytes);
                self.world.poke(*node, self.segment().slot(slot), &word.raw().to_le_bytes());
                if i == 0 {
                    self.world.poke(*node, self.segment().committed(slot), &word.raw().to_le_bytes());
                }
            }
        }
    }

    /// The slots of the base key's two buckets.
    fn near(&self) -> impl Iterator<Item = SlotAddr> + use<> {
        let pair = self.plan.candidates(KeyHash::of(&self.keys.base));
        pair.into_iter().flat_map(|bucket| {
            bucket.slots(&[0; COMBINED_LEN]).map(|(index, ..)| SlotAddr { partition: 0, index })
        })
    }
}

fn filler_entry(key: &[u8]) -> Vec<u8> {
    let entry = Entry { client: ClientId(99), sequence: 0, flags: 0, expiry_ms: 0, replaced: Word::ZERO };
    let mut bytes = vec![0; entry_len(key.len(), 8)];
    let head = encode_entry(&entry, key, &[0; 8], &mut bytes);
    bytes[head..head + 8].fill(0);
    bytes
}

/// The entry that `word` names in `memory`.
pub fn open_entry(
    plan: &Plan,
    memory: &farrow_fabric_sim::Memory,
    word: Word,
) -> Result<(Vec<u8>, Vec<u8>), EntryError> {
    let class = word.class().expect("a word that names an entry");
    let len = plan.entry_read_len(word.pointer(), class).expect("a word within the blocks");
    let bytes = memory.bytes(plan.segment(0).entry(word.pointer()), len);
    EntryHeader::open(bytes).map(|(_, key, value)| (key.to_vec(), value.to_vec()))
}

/// A look at a slot's word.
pub fn slot_touch(plan: &Plan, node: NodeId, slot: SlotAddr) -> Touch {
    Touch { node, at: plan.segment(0).slot(slot), len: 8, is_write: false }
}

/// A look at the entry that `word` names.
pub fn entry_touch(plan: &Plan, node: NodeId, word: Word) -> Touch {
    let len = word.class().and_then(|class| plan.entry_read_len(word.pointer(), class)).unwrap_or(0);
    Touch { node, at: plan.segment(0).entry(word.pointer()), len: len as u32, is_write: false }
}
