//! The shadow memory of a cluster: knows for each field who may write it with which verb, for each slot which words it
//! held, for each published entry what it says; and stops a run that breaks a rule.

use super::rules::{Rule, rule};
use farrow_control::map::ClusterMap;
use farrow_fabric_sim::{Access, AccessKind, Memory, Observer, World};
use farrow_layout::*;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

/// What the shadow knows. Clones are the same.
#[derive(Clone)]
pub(super) struct Shadow(Rc<RefCell<Known>>);

/// An entry that a word names, or has named.
#[derive(Clone, Debug)]
pub(super) struct Published {
    /// Its header, key and value.
    bytes: Vec<u8>,
    pub(super) key: Vec<u8>,
    value_at: usize,
}

impl Published {
    pub(super) fn value(&self) -> &[u8] {
        &self.bytes[self.value_at..]
    }

    /// Bytes that it takes in a block.
    pub(super) fn len(&self) -> u64 {
        entry_len(self.key.len(), self.value().len()) as u64
    }

    /// Of its header, key and value.
    pub(super) fn exact_len(&self) -> usize {
        self.bytes.len()
    }

    /// Its bytes, but for the word that it replaced.
    fn lasting(&self) -> &[u8] {
        &self.bytes[REPLACED_LEN..]
    }

    pub(super) fn value_at(&self) -> usize {
        self.value_at
    }
}

/// An entry's first field changes as long as its PUT tries: the rest never does.
const REPLACED_LEN: usize = 8;

struct Known {
    plan: Plan,
    partitions: u32,
    /// Which replica of which home each segment of each node is.
    hosted: BTreeMap<(NodeId, u32), (HomeId, usize)>,
    members: BTreeMap<HomeId, Vec<NodeId>>,
    clients: BTreeMap<usize, ClientId>,
    /// Every word that a slot held on a node, in order.
    words: BTreeMap<(NodeId, HomeId, SlotKey), Vec<Word>>,
    /// At which change each of them came.
    since: BTreeMap<(NodeId, HomeId, SlotKey), Vec<u64>>,
    /// Changes of words so far.
    changes: u64,
    published: BTreeMap<(HomeId, u64), Published>,
    /// Of each extent, what the primary's node knows.
    extents: BTreeMap<HomeId, Vec<ExtentWord>>,
    /// Of each client and home, the extents that it was given together.
    grants: BTreeMap<(ClientId, HomeId), Vec<Range<u64>>>,
    /// Extents into which something was written, on any node.
    written: BTreeSet<(HomeId, u64)>,
}

/// A slot, ordered.
type SlotKey = (u32, u64);

fn slot_key(slot: SlotAddr) -> SlotKey {
    (slot.partition, slot.index.0)
}

impl Shadow {
    /// A shadow that looks on from now on; all memory is as it was formatted.
    pub(super) fn attach(world: &World, map: &ClusterMap) -> Shadow {
        let members = |home: &farrow_control::map::HomeEntry| home.members.iter().map(|m| m.node).collect();
        let hosted = map.homes.iter().flat_map(|home| {
            home.members.iter().enumerate().map(|(rank, m)| ((m.node, m.segment), (home.id, rank)))
        });
        let shadow = Shadow(Rc::new(RefCell::new(Known {
            plan: map.plan().expect("scenarios have maps that can be laid out"),
            partitions: map.partitions(),
            hosted: hosted.collect(),
            members: map.homes.iter().map(|home| (home.id, members(home))).collect(),
            clients: BTreeMap::new(),
            words: BTreeMap::new(),
            since: BTreeMap::new(),
            changes: 0,
            published: BTreeMap::new(),
            extents: BTreeMap::new(),
            grants: BTreeMap::new(),
            written: BTreeSet::new(),
        })));
        world.observe(Watch(shadow.clone()));
        shadow
    }

    /// A fabric's verbs are those of this client.
    pub(super) fn introduce(&self, fabric: usize, client: ClientId) {
        self.0.borrow_mut().clients.insert(fabric, client);
    }

    /// What the primary's node knows of a home's extents from now on.
    pub(super) fn set_extents(&self, home: HomeId, words: Vec<ExtentWord>) {
        self.0.borrow_mut().extents.insert(home, words);
    }

    /// A client was given extents.
    pub(super) fn note_grant(&self, client: ClientId, home: HomeId, extents: Range<u64>) {
        self.0.borrow_mut().grants.entry((client, home)).or_default().push(extents);
    }

    /// How many grants a client got in a home that it never wrote into, at the most.
    pub(super) fn most_wasted(&self) -> usize {
        let known = self.0.borrow();
        let is_wasted = |home, grant: &Range<u64>| grant.clone().all(|e| !known.written.contains(&(home, e)));
        let wasted = known
            .grants
            .iter()
            .map(|((_, home), grants)| grants.iter().filter(|grant| is_wasted(*home, grant)).count());
        wasted.max().unwrap_or(0)
    }

    /// Whether anything was ever written into an extent.
    pub(super) fn is_written(&self, home: HomeId, extent: u64) -> bool {
        self.0.borrow().written.contains(&(home, extent))
    }

    /// What an entry says that a word named.
    pub(super) fn published(&self, home: HomeId, word: Word) -> Option<Published> {
        self.0.borrow().published.get(&(home, word.pointer().offset())).cloned()
    }

    /// What is answered as `key`'s word is published, of this key, and on every replica, or something later is. `value` is
    /// what was answered besides.
    pub(super) fn assert_answered(
        &self,
        home: HomeId,
        partition: u32,
        key: &[u8],
        word: Word,
        value: Option<&[u8]>,
    ) {
        let known = self.0.borrow();
        let slot = known.slot_that_held(home, partition, KeyHash::of(key), word);
        let slot = slot.unwrap_or_else(|| panic!("{word} was answered, but no slot of the key ever held it"));
        known.assert_everywhere(home, slot, word);
        let entry = &known.published[&(home, word.pointer().offset())];
        assert_eq!(entry.key, key, "{word} was answered, which names another key's entry");
        if let Some(value) = value {
            assert!(entry.value() == value, "{word} was answered with bytes that were never published");
        }
    }

    /// The moment, for [`Shadow::assert_absent`].
    pub(super) fn now(&self) -> u64 {
        self.0.borrow().changes
    }

    /// C-2 for absence: no backup holds a word of `key` that the primary gave up before the operation began, at `began`;
    /// or a lost primary would bring the key back.
    pub(super) fn assert_absent(&self, home: HomeId, partition: u32, key: &[u8], began: u64) {
        let known = self.0.borrow();
        let (primary, backups) = known.members[&home].split_first().expect("a home has members");
        for slot in known.slots_of(partition, KeyHash::of(key)) {
            for backup in backups {
                let held = *known.words_of(*backup, home, slot).last().expect("a slot holds something");
                let words = known.words_of(*primary, home, slot);
                let given_up =
                    words.iter().position(|w| *w == held).map(|i| i + 1).filter(|i| *i < words.len());
                let Some(given_up) = given_up.filter(|_| held.is_visible()) else { continue };
                let entry = &known.published[&(home, held.pointer().offset())];
                assert!(
                    entry.key != key || known.since[&(*primary, home, slot_key(slot))][given_up] > began,
                    "a key was answered to be absent, but {backup} still holds {held} in {slot:?} of {home}, which the \
                     primary gave up for {}",
                    words[given_up]
                );
            }
        }
    }

    /// As [`Shadow::assert_answered`] of a PUT, whose word was perhaps overwritten before any slot held it.
    pub(super) fn assert_put(&self, home: HomeId, partition: u32, key: &[u8], word: Word) {
        let is_known = self.0.borrow().slot_that_held(home, partition, KeyHash::of(key), word).is_some();
        if is_known {
            self.assert_answered(home, partition, key, word, None);
        }
    }
}

impl Known {
    fn words_of(&self, node: NodeId, home: HomeId, slot: SlotAddr) -> &[Word] {
        self.words.get(&(node, home, slot_key(slot))).map_or(&[Word::ZERO], |words| words)
    }

    /// The slot among a key's whose primary held `word`, now or before.
    fn slot_that_held(&self, home: HomeId, partition: u32, hash: KeyHash, word: Word) -> Option<SlotAddr> {
        let primary = self.members[&home][0];
        self.slots_of(partition, hash).find(|slot| self.words_of(primary, home, *slot).contains(&word))
    }

    /// The slots in which a key may be.
    fn slots_of(&self, partition: u32, hash: KeyHash) -> impl Iterator<Item = SlotAddr> + use<> {
        let pair = self.plan.candidates(hash).into_iter();
        pair.flat_map(move |bucket| {
            bucket.slots(&[0; COMBINED_LEN]).map(move |(index, ..)| SlotAddr { partition, index })
        })
    }

    /// C-2: whatever is answered is on every replica, or something later is.
    fn assert_everywhere(&self, home: HomeId, slot: SlotAddr, word: Word) {
        for node in &self.members[&home] {
            let held = self.words_of(*node, home, slot);
            let last = held.last().expect("a slot holds something");
            assert!(
                held.contains(&word) || last.version().is_newer_than(word.version()),
                "{word} in {slot:?} of {home} was answered, but {node} never held it: {held:?}"
            );
        }
    }

    fn extent(&self, home: HomeId, extent: u64) -> ExtentWord {
        self.extents.get(&home).map_or(ExtentWord::FREE, |words| words[extent as usize])
    }

    /// Whether all of these bytes of a home's blocks are in extents of which `is` is true.
    fn all_extents(&self, home: HomeId, start: u64, end: u64, is: impl Fn(ExtentWord) -> bool) -> bool {
        let (first, last) =
            (self.plan.extent_of(BlockAddr(start)), self.plan.extent_of(BlockAddr(end.max(start + 1) - 1)));
        (first..=last).all(|extent| is(self.extent(home, extent)))
    }

    fn swapped(&mut self, access: &Access, at: Place, old: Word, new: Word, memory: &Memory) {
        let Place { home, rank, segment } = at;
        let Part::Slot(slot, _) = self.plan.locate(access.at).part else {
            unreachable!("only slots have words")
        };
        let node = access.node;
        assert!(!new.is_tentative() || rank == 0, "{new}: tentative words lie at the primary alone");
        let held = self.words.entry((node, home, slot_key(slot))).or_insert_with(|| vec![Word::ZERO]);
        assert_eq!(held.last(), Some(&old), "{slot:?} of {home} on {node}");
        let recent = &held[held.len().saturating_sub(6)..];
        assert!(!held.contains(&new), "{new} recurs in {slot:?} of {home} on {node}, after {recent:?}");
        held.push(new);
        self.changes += 1;
        let since = self.since.entry((node, home, slot_key(slot))).or_insert_with(|| vec![0]);
        since.push(self.changes);
        if !new.is_empty() {
            self.publish(node, home, segment, slot, new, memory);
        }
    }

    /// A word names an entry now: it must be there, complete, of a key that belongs there, in space that was granted.
    fn publish(
        &mut self,
        node: NodeId,
        home: HomeId,
        segment: u32,
        slot: SlotAddr,
        word: Word,
        memory: &Memory,
    ) {
        let start = word.pointer().offset();
        let entry = open_entry(&self.plan, self.plan.segment(segment), memory, word).unwrap_or_else(|why| {
            panic!("{word} names an entry that {node} does not hold, in {slot:?} of {home}: {why}")
        });
        let hash = KeyHash::of(&entry.key);
        let partition = hash.partition(self.partitions) % self.plan.geometry().partitions;
        let routed = hash.partition(self.partitions) / self.plan.geometry().partitions;
        assert_eq!((routed, partition), (u32::from(home.0), slot.partition), "{word} is not of this home");
        assert!(
            self.slots_of(partition, hash).any(|s| s == slot),
            "{word} is of a key that does not belong into {slot:?}"
        );
        let end = start + entry.len();
        let word_of_first = self.extent(home, self.plan.extent_of(BlockAddr(start)));
        assert!(
            word_of_first.state() != ExtentState::Free
                && self.all_extents(home, start, end, |w| w == word_of_first),
            "{word} names an entry that does not lie within one grant of {home}"
        );
        if let Some(known) = self.published.get(&(home, start)) {
            assert!(known.lasting() == entry.lasting(), "{word}: its entry has changed on {node}");
            return;
        }
        let before = self.published.range(..(home, start)).next_back();
        let overlaps = before.is_some_and(|((of, at), e)| *of == home && at + e.len() > start)
            || self.published.range((home, start + 1)..(home, end)).next().is_some();
        assert!(!overlaps, "{word} names an entry that overlaps another of {home}");
        self.published.insert((home, start), entry);
    }

    /// Bytes of blocks were written.
    fn wrote_block(&mut self, access: &Access, at: Place, from: BlockAddr, memory: &Memory, len: usize) {
        let home = at.home;
        let (start, end) = (from.0, from.0 + len as u64);
        let client = self.clients[&access.client];
        let extents = self.plan.extent_of(BlockAddr(start))..=self.plan.extent_of(BlockAddr(end - 1));
        self.written.extend(extents.map(|extent| (home, extent)));
        // What was published stays as it is: whoever writes there writes the same.
        let mut covered = start;
        let own = |from: u64, to: u64| {
            let is_own = |w: ExtentWord| (w.state(), w.owner()) == (ExtentState::Open, client);
            assert!(
                from >= to || self.all_extents(home, from, to, is_own),
                "{client} writes into bytes {from}..{to} of {home}'s blocks, which are in no open extent of its own: \
                 {access:?}"
            );
        };
        let first = self.published.range(..=(home, start)).next_back().filter(|((of, _), _)| *of == home);
        let rest = self.published.range((home, start + 1)..(home, end.max(start + 1)));
        for ((_, at), entry) in first.into_iter().chain(rest) {
            let (entry_start, entry_end) = (*at, at + entry.len());
            if entry_end <= start || entry_start >= end {
                continue;
            }
            own(covered, entry_start.max(covered));
            covered = entry_end.min(end);
            let low = start.max(entry_start + REPLACED_LEN as u64);
            let high = end.min(entry_start + entry.exact_len() as u64);
            if low < high {
                let now = memory.bytes(RemoteAddr(access.at.0 + (low - start)), (high - low) as usize);
                let then = &entry.bytes[(low - entry_start) as usize..(high - entry_start) as usize];
                assert!(
                    now == then,
                    "{client} changes the published entry at {entry_start} of {home}: {access:?}"
                );
            }
        }
        own(covered, end);
    }

    fn wrote_extent(&self, access: &Access, at: Place, extent: u64, memory: &Memory) {
        let client = self.clients[&access.client];
        let word = ExtentWord::from_raw(memory.word(self.plan.segment(at.segment).extent_record(extent)));
        let granted = self.extent(at.home, extent);
        assert_eq!(
            word.owner(),
            client,
            "{client} writes another's record of extent {extent} of {}",
            at.home
        );
        assert!(
            word.generation() == granted.generation() && granted.owner() == client,
            "{client} writes {word:?} of extent {extent} of {}, which was never granted (but {granted:?})",
            at.home
        );
    }
}

/// Which replica of which home a segment is.
#[derive(Clone, Copy)]
struct Place {
    home: HomeId,
    rank: usize,
    segment: u32,
}

struct Watch(Shadow);

impl Observer for Watch {
    fn on_access(&mut self, access: &Access, memory: &Memory) {
        if matches!(access.kind, AccessKind::Read { .. } | AccessKind::NotSwapped { .. }) {
            return;
        }
        if matches!(access.kind, AccessKind::Write { len: 0 }) {
            return;
        }
        let mut known = self.0.0.borrow_mut();
        let located = known.plan.locate(access.at);
        let place = known.hosted.get(&(access.node, located.segment)).copied();
        let Some(place) = place
            .map(|(home, rank)| Place { home, rank, segment: located.segment })
            .filter(|_| !matches!(located.part, Part::Superblock(_) | Part::Nothing))
        else {
            panic!("a verb changes what is no client's: {access:?}");
        };
        let rule = rule(&located.part);
        match (access.kind, located.part) {
            (AccessKind::Write { len }, Part::Block(at)) => known.wrote_block(access, place, at, memory, len),
            (AccessKind::Write { len }, part) => {
                assert!(rule.write, "a WRITE to what is not written ({part:?}): {access:?}");
                assert!(len == 8 && access.at.0.is_multiple_of(8), "fields are written as words: {access:?}");
                assert!(rule.fits(place.rank), "{part:?} is not written at rank {}: {access:?}", place.rank);
                match part {
                    Part::Slot(slot, _) => {
                        known.assert_everywhere(place.home, slot, Word::from_raw(memory.word(access.at)));
                    }
                    Part::Extent(extent, _) => known.wrote_extent(access, place, extent, memory),
                    _ => {}
                }
            }
            (AccessKind::Swapped { old, new }, part) => {
                assert!(rule.cas, "a CAS on what is not swapped ({part:?}): {access:?}");
                known.swapped(access, place, Word::from_raw(old), Word::from_raw(new), memory);
            }
            (AccessKind::Added { .. }, part) => {
                assert!(
                    rule.faa && rule.fits(place.rank),
                    "an FAA to what is not added to ({part:?}): {access:?}"
                );
            }
            (AccessKind::Read { .. } | AccessKind::NotSwapped { .. }, _) => unreachable!("filtered above"),
        }
    }
}

/// The entry that `word` names in a segment.
pub(super) fn open_entry(
    plan: &Plan,
    segment: SegmentPlan,
    memory: &Memory,
    word: Word,
) -> Result<Published, String> {
    let class = word.class().ok_or("the word is empty")?;
    let len = plan.entry_read_len(word.pointer(), class).ok_or("the word points outside of the blocks")?;
    let bytes = memory.bytes(segment.entry(word.pointer()), len);
    let (_, key, value) = EntryHeader::open(bytes).map_err(|why| why.to_string())?;
    let value_at = EntryHeader::LEN + key.len();
    Ok(Published { bytes: bytes[..value_at + value.len()].to_vec(), key: key.to_vec(), value_at })
}

impl Rule {
    fn fits(&self, rank: usize) -> bool {
        if rank == 0 { self.at_primary } else { self.at_backups }
    }
}
