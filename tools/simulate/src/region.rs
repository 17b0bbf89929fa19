//! What must be so in the memories of a cluster at rest, whoever made them: the simulator, or daemons whose memory was
//! copied out. No client runs, and nothing is on its way.

use farrow_control::map::{ClusterMap, HomeEntry};
use farrow_layout::*;
use std::collections::BTreeMap;
use zerocopy::FromBytes;

/// The memories of the nodes that are left.
pub type Regions<'a> = BTreeMap<NodeId, &'a [u8]>;

/// What may be expected besides.
pub struct Expect<'a> {
    /// Everybody has ended what was begun: replicas agree, and nothing is tentative.
    pub is_sound: bool,
    /// Everybody has left or was cleaned up behind: no extent is open.
    pub is_left: bool,
    /// Whether the entry behind a word of a home may have rotted.
    pub may_be_rotten: &'a dyn Fn(HomeId, Word) -> bool,
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Homes whose primary is left.
    pub homes: u64,
    /// Keys.
    pub keys: u64,
    /// Bytes of their entries at the primaries.
    pub live_bytes: u64,
}

/// Checks every header, slot, entry and extent.
///
/// # Errors
/// The first thing that must not be.
pub fn check(map: &ClusterMap, regions: &Regions<'_>, expect: &Expect<'_>) -> Result<Checked, String> {
    let plan = map.plan().map_err(|e| e.to_string())?;
    for (node, bytes) in regions {
        headers(map, &plan, *node, bytes)?;
    }
    let mut checked = Checked::default();
    for home in &map.homes {
        let segment = |rank: usize| plan.segment(home.members[rank].segment);
        let members: Vec<_> = (0..home.members.len())
            .map(|rank| {
                regions.get(&home.members[rank].node).map(|bytes| View { bytes, segment: segment(rank) })
            })
            .collect();
        if let Some(Some(primary)) = members.first() {
            let check = HomeCheck { map, plan: &plan, home, primary, backups: &members[1..], expect };
            check.run(&mut checked).map_err(|why| format!("home {}: {why}", home.id))?;
        }
    }
    Ok(checked)
}

fn headers(map: &ClusterMap, plan: &Plan, node: NodeId, bytes: &[u8]) -> Result<(), String> {
    let superblock = Superblock::open(bytes).map_err(|e| format!("{node}: {e}"))?;
    let says = (superblock.cluster, superblock.node, superblock.geometry(), superblock.memory_len);
    if says != (map.cluster_id(), node.0, map.geometry, bytes.len() as u64) {
        return Err(format!("{node}: its superblock is another's: {superblock:?}"));
    }
    for home in &map.homes {
        for (rank, member) in home.members.iter().enumerate().filter(|(_, m)| m.node == node) {
            let at = plan.segment(member.segment).header().0 as usize;
            let header = SegmentHeader::read_from_prefix(&bytes[at..]).expect("memory is longer").0;
            // Ranks change with views.
            let is_rank = usize::from(header.rank) == rank || !map.is_static();
            if (header.magic, header.home) != (SegmentHeader::MAGIC, home.id.0) || !is_rank {
                return Err(format!("{node}: segment {} has the header {header:?}", member.segment));
            }
        }
    }
    Ok(())
}

/// One replica of a home.
struct View<'a> {
    bytes: &'a [u8],
    segment: SegmentPlan,
}

impl View<'_> {
    fn word(&self, at: RemoteAddr) -> u64 {
        u64::from_le_bytes(self.bytes[at.0 as usize..][..8].try_into().expect("eight bytes"))
    }

    fn slot(&self, slot: SlotAddr) -> Slot {
        Slot { word: self.word(self.segment.slot(slot)), committed: self.word(self.segment.committed(slot)) }
    }

    fn extent(&self, extent: u64) -> ExtentWord {
        ExtentWord::from_raw(self.word(self.segment.extent_record(extent)))
    }

    /// The entry that a word names: its client, key and length in the block.
    fn entry(&self, word: Word) -> Result<(ClientId, &[u8], u64), String> {
        let class = word.class().expect("a visible word");
        let len = self.segment.plan().entry_read_len(word.pointer(), class).ok_or("it points nowhere")?;
        let bytes = &self.bytes[self.segment.entry(word.pointer()).0 as usize..][..len];
        let (header, key, value) = EntryHeader::open(bytes).map_err(|e| e.to_string())?;
        Ok((ClientId(header.client), key, entry_len(key.len(), value.len()) as u64))
    }
}

struct HomeCheck<'a> {
    map: &'a ClusterMap,
    plan: &'a Plan,
    home: &'a HomeEntry,
    primary: &'a View<'a>,
    /// `None`: the node is not left.
    backups: &'a [Option<View<'a>>],
    expect: &'a Expect<'a>,
}

impl HomeCheck<'_> {
    fn run(&self, checked: &mut Checked) -> Result<(), String> {
        checked.homes += 1;
        // By first byte: the end, and the slot that names it.
        let mut entries: BTreeMap<u64, (u64, SlotAddr)> = BTreeMap::new();
        let mut keys: BTreeMap<&[u8], SlotAddr> = BTreeMap::new();
        for partition in 0..self.plan.geometry().partitions {
            for index in (0..self.plan.slots_per_partition()).map(SlotIndex) {
                let slot = SlotAddr { partition, index };
                let word = self.primary.slot(slot).word();
                self.replicas(slot, word).map_err(|why| format!("{slot:?}: {why}"))?;
                if !word.is_visible() || (self.expect.may_be_rotten)(self.home.id, word) {
                    continue;
                }
                let (key, start, end) =
                    self.entry(slot, word).map_err(|why| format!("{word} in {slot:?}: {why}"))?;
                if let Some(other) = keys.insert(key, slot) {
                    return Err(format!("{} is in {other:?} and in {slot:?}", String::from_utf8_lossy(key)));
                }
                if let Some((_, other)) = entries.insert(start, (end, slot)) {
                    return Err(format!("{other:?} and {slot:?} name one entry"));
                }
                checked.keys += 1;
                checked.live_bytes += end - start;
            }
        }
        let ends = entries.values().zip(entries.keys().skip(1));
        for ((end, slot), next) in ends {
            if end > next {
                return Err(format!("the entry of {slot:?} ends at {end}, and the next begins at {next}"));
            }
        }
        self.extents()
    }

    fn replicas(&self, slot: SlotAddr, word: Word) -> Result<(), String> {
        if !self.expect.is_sound {
            return Ok(());
        }
        if word.is_tentative() {
            return Err(format!("{word} is left over"));
        }
        for (rank, backup) in self.backups.iter().enumerate() {
            let Some(backup) = backup else { continue };
            let held = backup.slot(slot).word();
            if held != word {
                return Err(format!("the primary has {word}, backup {rank} has {held}"));
            }
        }
        Ok(())
    }

    /// A live entry is complete on every replica, of a key that belongs here, in space that its writer was given.
    fn entry(&self, slot: SlotAddr, word: Word) -> Result<(&[u8], u64, u64), String> {
        let (client, key, len) = self.primary.entry(word)?;
        let hash = KeyHash::of(key);
        if self.map.route(hash) != (self.home.id, slot.partition) {
            return Err("it is of a key of another home or partition".into());
        }
        let mut candidates = self.plan.candidates(hash).into_iter();
        if !candidates.any(|c| c.slots(&[0; COMBINED_LEN]).any(|(index, ..)| index == slot.index)) {
            return Err("its key does not belong into this slot".into());
        }
        if word.fingerprint() != hash.fingerprint() {
            return Err("its fingerprint is not its key's".into());
        }
        for backup in self.backups.iter().flatten().filter(|b| b.slot(slot).word() == word) {
            let (_, copy, _) = backup.entry(word).map_err(|why| format!("a backup's copy: {why}"))?;
            if copy != key {
                return Err("a backup's copy is of another key".into());
            }
        }
        let start = word.pointer().offset();
        let extent = |at: u64| self.primary.extent(self.plan.extent_of(BlockAddr(at)));
        let first = extent(start);
        let is_granted = matches!(first.state(), ExtentState::Open | ExtentState::Sealed);
        let step = self.plan.geometry().extent_len as usize;
        let is_one =
            (start..start + len).step_by(step).chain([start + len - 1]).all(|at| extent(at) == first);
        if !is_granted || !is_one || first.owner() != client {
            return Err(format!(
                "{len} bytes of {client} do not lie in one grant of its own, but in {first:?}"
            ));
        }
        Ok((key, start, start + len))
    }

    /// Every extent is free, or was granted in this life to one owner; a backup's table says no more than the primary's. A backup
    /// may say that an extent is open of which the primary knows that it is sealed: what is sealed counts, whoever knows it.
    fn extents(&self) -> Result<(), String> {
        for extent in 0..self.plan.extents() {
            let word = self.primary.extent(extent);
            match word.state() {
                ExtentState::Unknown(_) => return Err(format!("extent {extent}: {word:?} is no record")),
                ExtentState::Open if self.expect.is_left => {
                    return Err(format!("extent {extent} has leaked: {word:?}, {} has left", word.owner()));
                }
                ExtentState::Free | ExtentState::Open | ExtentState::Sealed => {}
            }
            // An entry is counted once, as its size class says: 64 bytes at most are too much, and none is shorter than that.
            let dead = self.primary.word(self.primary.segment.extent_dead_bytes(extent));
            let most =
                if word.state() == ExtentState::Free { 0 } else { 2 * self.plan.geometry().extent_len };
            if dead > most {
                return Err(format!("extent {extent}: {dead} bytes of {word:?} are dead"));
            }
            for backup in self.backups.iter().flatten() {
                let said = backup.extent(extent);
                let is_late = (said.owner(), said.generation()) == (word.owner(), word.generation());
                if said.state() != ExtentState::Free && !is_late {
                    return Err(format!("extent {extent}: the primary has {word:?}, a backup {said:?}"));
                }
            }
        }
        Ok(())
    }
}
