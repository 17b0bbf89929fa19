//! A home in this process: memories over shared memory, and clients that run operations on it.
#![allow(dead_code)] // Each test file uses its own part.

use farrow_fabric::{Cost, Meter, block_on};
use farrow_fabric_shm::{Hugepages, NodeMemory, ShmFabric, ShmHost, ShmLink, ShmPeer};
use farrow_layout::*;
use farrow_protocol::*;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub const CLIENT_EXTENT: u64 = 64 << 10;

/// The memories of one home: each node holds the segment with number 0.
pub struct Nodes {
    pub plan: Plan,
    nodes: Vec<(NodeMemory, ShmHost, Arc<ShmPeer>)>,
}

impl Nodes {
    pub fn new(copies: usize) -> Nodes {
        Nodes::with(copies, Geometry::for_tests())
    }

    pub fn with(copies: usize, geometry: Geometry) -> Nodes {
        let plan =
            Plan::new(Geometry { policy: Policy::Replicate { copies: copies as u8 }, ..geometry }).unwrap();
        let len = plan.memory_for(1);
        let node = || {
            let memory = NodeMemory::create(len, Hugepages::Off).unwrap();
            let host = ShmHost::start(len, 64, 1).unwrap();
            let peer = ShmPeer::map(memory.fd(), host.fd()).unwrap();
            (memory, host, peer)
        };
        Nodes { plan, nodes: (0..copies).map(|_| node()).collect() }
    }

    /// A client on this thread. Each `id` must be used once: it names the client's part of the blocks.
    pub fn client<C: Commit>(&self, id: u32, commit: C) -> Client<C> {
        let all: Vec<usize> = (0..self.nodes.len()).collect();
        self.client_of(&all, id, commit)
    }

    /// A way to one of the nodes.
    pub fn member(&self, fabric: &ShmFabric, node: usize) -> Member<ShmLink> {
        let (_, host, peer) = &self.nodes[node];
        Member {
            link: fabric.link(peer, NodeId(node as u16), host.grant(None).unwrap()),
            segment: self.plan.segment(0),
        }
    }

    /// A home of some of the nodes, the primary first.
    pub fn home(&self, fabric: &ShmFabric, nodes: &[usize]) -> Home<ShmLink> {
        Home::new(HomeId(0), nodes.iter().map(|node| self.member(fabric, *node)).collect())
    }

    /// As [`Nodes::client`], of a home of some of the nodes.
    pub fn client_of<C: Commit>(&self, nodes: &[usize], id: u32, commit: C) -> Client<C> {
        let fabric = ShmFabric::new(64 << 20);
        let home = self.home(&fabric, nodes);
        let extent = Extent {
            home: HomeId(0),
            first: 0,
            count: 1,
            start: BlockAddr(u64::from(id - 1) * CLIENT_EXTENT),
            len: CLIENT_EXTENT,
            word: ExtentWord::FREE.opened(ClientId(id)),
        };
        Client {
            id,
            fabric,
            home,
            commit,
            appender: Appender::new(extent),
            events: Events::default(),
            sequence: 0,
            cost: Cost::default(),
            partition: 0,
        }
    }

    /// A word of a node's memory, past all protocols.
    pub fn word(&self, node: usize, at: RemoteAddr) -> Word {
        Word::from_raw(self.nodes[node].0.mapping().word(at.0 as usize).load(Ordering::SeqCst))
    }

    /// Changes a word of a node's memory, past all protocols.
    pub fn set_word(&self, node: usize, at: RemoteAddr, word: Word) {
        self.nodes[node].0.mapping().word(at.0 as usize).store(word.raw(), Ordering::SeqCst);
    }

    /// What a node's table says of an extent.
    pub fn record(&self, node: usize, extent: u64) -> ExtentWord {
        ExtentWord::from_raw(self.word(node, self.segment().extent_record(extent)).raw())
    }

    /// Makes a node's table say something of an extent.
    pub fn set_record(&self, node: usize, extent: u64, word: ExtentWord) {
        self.set_word(node, self.segment().extent_record(extent), Word::from_raw(word.raw()));
    }

    /// Flips a byte of a node's memory.
    pub fn corrupt(&self, node: usize, at: RemoteAddr) {
        let mapping = self.nodes[node].0.mapping();
        let mut byte = [0];
        mapping.copy_out(at.0 as usize, &mut byte);
        mapping.copy_in(at.0 as usize, &[byte[0] ^ 0x40]);
    }

    pub fn segment(&self) -> SegmentPlan {
        self.plan.segment(0)
    }

    /// The words of one slot on all nodes, the primary first.
    pub fn slot_words(&self, slot: SlotAddr) -> Vec<Word> {
        (0..self.nodes.len()).map(|n| self.word(n, self.segment().slot(slot))).collect()
    }

    /// Every slot is settled, and the same on all nodes; every word's entry is whole on all nodes. Returns live slots.
    pub fn check(&self) -> usize {
        let mut live = 0;
        for partition in 0..self.plan.geometry().partitions {
            for index in 0..self.plan.slots_per_partition() {
                let slot = SlotAddr { partition, index: SlotIndex(index) };
                let words = self.slot_words(slot);
                assert!(words.iter().all(|w| *w == words[0]), "{slot:?}: {words:?}");
                if !words[0].is_visible() {
                    continue;
                }
                live += 1;
                let word = words[0];
                let len = self.plan.entry_read_len(word.pointer(), word.class().unwrap()).unwrap();
                for (n, (memory, ..)) in self.nodes.iter().enumerate() {
                    let mut bytes = vec![0; len];
                    memory.mapping().copy_out(self.segment().entry(word.pointer()).0 as usize, &mut bytes);
                    assert!(EntryHeader::open(&bytes).is_ok(), "{slot:?} {word} on node {n}");
                }
            }
        }
        live
    }
}

pub struct Client<C> {
    pub id: u32,
    pub fabric: ShmFabric,
    pub home: Home<ShmLink>,
    pub commit: C,
    pub appender: Appender,
    pub events: Events,
    pub sequence: u64,
    /// Of the last operation.
    pub cost: Cost,
    pub partition: u32,
}

impl<C: Commit> Client<C> {
    fn run<T>(&mut self, key: &[u8], op: impl AsyncFnOnce(&Context<'_, ShmFabric>) -> T) -> T {
        let meter = Meter::new();
        let hash = KeyHash::of(key);
        let cx = Context {
            fabric: &self.fabric,
            meter: &meter,
            events: &self.events,
            home: &self.home,
            partition: self.partition,
            key,
            hash,
        };
        let result = block_on(&self.fabric, op(&cx));
        self.cost = meter.cost();
        result
    }

    pub fn get(&mut self, key: &[u8], known: Known) -> Result<Option<(Vec<u8>, Found)>, Failure> {
        let commit = self.commit;
        match self.run(key, async |cx| get(cx, commit, known, &Target::Pool).await)? {
            GetOutcome::Present(value, found) => Ok(Some((value.to_vec(), found))),
            GetOutcome::Absent => Ok(None),
        }
    }

    pub fn put_if(
        &mut self,
        key: &[u8],
        value: &[u8],
        known: Known,
        condition: Condition,
    ) -> Result<PutOutcome, Failure> {
        self.sequence += 1;
        let place = self
            .appender
            .reserve(entry_len(key.len(), value.len()))
            .expect("the test's extent is large enough");
        let entry = Entry {
            client: ClientId(self.id),
            sequence: self.sequence,
            flags: 0,
            expiry_ms: 0,
            replaced: Word::ZERO,
        };
        let staged = Staged::build(
            farrow_fabric::Fabric::buffers(&self.fabric),
            &place,
            &entry,
            key,
            &StagedValue::Bytes(value),
        )
        .unwrap();
        let commit = self.commit;
        let mut unused = false;
        let outcome = self.run(key, async |cx| put(cx, commit, known, condition, &staged, &mut unused).await);
        match unused {
            true => {
                place.give_back(&self.appender);
            }
            false => place.end(),
        }
        outcome
    }

    pub fn put(&mut self, key: &[u8], value: &[u8], known: Known) -> Found {
        match self.put_if(key, value, known, Condition::Always).unwrap() {
            PutOutcome::Done(found) => found,
            other => panic!("{other:?}"),
        }
    }

    pub fn delete(&mut self, key: &[u8], known: Known) -> Result<DeleteOutcome, Failure> {
        let commit = self.commit;
        self.run(key, async |cx| delete(cx, commit, known, None).await)
    }

    pub fn delete_version(
        &mut self,
        key: &[u8],
        known: Known,
        version: Word,
    ) -> Result<DeleteOutcome, Failure> {
        let commit = self.commit;
        self.run(key, async |cx| delete(cx, commit, known, Some(version)).await)
    }

    pub fn exists(&mut self, key: &[u8], known: Known) -> Result<Option<Found>, Failure> {
        let commit = self.commit;
        self.run(key, async |cx| exists(cx, commit, known).await)
    }

    /// Round trips, then READs, WRITEs, CASes of the foreground, then verbs of the background: of the last operation.
    pub fn verbs(&self) -> (u32, [u64; 3], u64) {
        let f = self.cost.foreground;
        (self.cost.round_trips, [f.reads, f.writes, f.cas], self.cost.background.verbs())
    }
}
