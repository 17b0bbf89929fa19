//! The allocator of one home, at its primary: extents of blocks, handed out and sealed.
//!
//! ```text
//!  block   | extent | extent | extent | extent |
//!            granted  granted   left ──────────▶      a block is handed out from its front, so what is left of it is its
//!                                                     tail: blocks are freed as wholes, single extents never
//! ```
//!
//! Invariants: an extent is granted at most once in a life of its block; a grant lies within one block; all extents of a
//! grant have one generation; the table in remote memory says what [`Extents`] says, before the grant is told to
//! anybody. The table is there for others: nothing is decided on what it holds, for clients can write it, but by the node that
//! becomes the home's primary and knows nothing else ([`Extents::adopt`]).

use crate::OwnMemory;
use farrow_control::message::{ExtentGrant, Refusal};
use farrow_layout::{ClientId, ExtentState, ExtentWord, HomeId, SegmentPlan};
use std::collections::{BTreeMap, BTreeSet};

/// All extents of one home. Their table lies in memory `M`.
#[derive(Debug)]
pub(crate) struct Extents<M> {
    home: HomeId,
    segment: SegmentPlan,
    memory: M,
    /// Of each extent, as in the table.
    words: Vec<ExtentWord>,
    /// Blocks from here on were never used.
    next_block: u64,
    /// Free extents in a row within a block that was begun: how many, and the first. The tail of each block; and holes, where a
    /// lost primary had granted what nobody announced.
    begun: BTreeSet<(u64, u64)>,
    /// Open grants by their first extent.
    open: BTreeMap<u64, Open>,
    open_count: u64,
    sealed_used: u64,
}

/// A grant that was not sealed yet.
#[derive(Clone, Copy, Debug)]
struct Open {
    count: u32,
    owner: ClientId,
    generation: u32,
    /// A single extent of a grant that another primary gave: how many there were of it is not known.
    is_adopted: bool,
}

/// Bytes by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// In extents that nobody has.
    pub free: u64,
    /// In open extents.
    pub open: u64,
    /// Of `open`, those whose owner is not joined.
    pub orphaned: u64,
    /// Appended, in sealed extents.
    pub sealed: u64,
    /// Extents that were ever handed out all lie below this one.
    pub reached: u64,
}

impl<M: OwnMemory> Extents<M> {
    /// All extents are free. The table in `memory` is zero.
    pub(crate) fn new(home: HomeId, segment: SegmentPlan, memory: M) -> Extents<M> {
        let count = usize::try_from(segment.plan().extents()).expect("what was mapped can be counted");
        Extents {
            home,
            segment,
            memory,
            words: vec![ExtentWord::FREE; count],
            next_block: 0,
            begun: BTreeSet::new(),
            open: BTreeMap::new(),
            open_count: 0,
            sealed_used: 0,
        }
    }

    /// The extents of a home of which this node becomes the primary, from the table in its memory. What is not what a table
    /// holds counts as sealed: nobody gets it.
    pub(crate) fn adopt(home: HomeId, segment: SegmentPlan, memory: M) -> Extents<M> {
        let mut it = Extents::new(home, segment, memory);
        let plan = *it.segment.plan();
        let (per_block, extent_len) = (plan.extents_per_block(), plan.geometry().extent_len);
        for extent in 0..plan.extents() {
            let word = ExtentWord::from_raw(it.memory.load_word(it.segment.extent_record(extent)));
            it.words[extent as usize] = word;
            match word.state() {
                ExtentState::Free => continue,
                ExtentState::Open => {
                    let (owner, generation) = (word.owner(), word.generation());
                    it.open.insert(extent, Open { count: 1, owner, generation, is_adopted: true });
                    it.open_count += 1;
                }
                // How full it is nobody has noted here.
                ExtentState::Sealed | ExtentState::Unknown(_) => it.sealed_used += extent_len,
            }
            it.next_block = extent / per_block + 1;
        }
        for block in 0..it.next_block {
            let is_free = |extent: &u64| it.words[*extent as usize].state() == ExtentState::Free;
            let (mut at, end) = (block * per_block, (block + 1) * per_block);
            while at < end {
                let free = (at..end).take_while(is_free).count() as u64;
                if free > 0 {
                    it.begun.insert((free, at));
                }
                at += free.max(1);
            }
        }
        it
    }

    /// What `owner` has open.
    pub(crate) fn open_of(&self, owner: ClientId) -> Vec<ExtentGrant> {
        let open = self.open.iter().filter(|(_, open)| open.owner == owner);
        open.map(|(first, open)| self.described(*first, open)).collect()
    }

    /// Who has something open; one for each grant.
    pub(crate) fn owners(&self) -> impl Iterator<Item = ClientId> + '_ {
        self.open.values().map(|open| open.owner)
    }

    fn described(&self, first: u64, open: &Open) -> ExtentGrant {
        let plan = self.segment.plan();
        ExtentGrant {
            first,
            count: open.count,
            start: plan.extent_start(first),
            len: u64::from(open.count) * plan.geometry().extent_len,
            generation: open.generation,
        }
    }

    /// Hands out the fewest extents that hold `bytes`. Of the blocks begun, the one with the least left that is enough is
    /// taken, and a new block only when there is none: few blocks are open, and large tails stay whole.
    ///
    /// # Errors
    /// [`Refusal::NoSpace`]; [`Refusal::Bad`] when no block holds as much.
    pub(crate) fn open(&mut self, owner: ClientId, bytes: u64) -> Result<ExtentGrant, Refusal> {
        let geometry = *self.segment.plan().geometry();
        let per_block = self.segment.plan().extents_per_block();
        if bytes == 0 || bytes > geometry.block_len {
            let block = geometry.block_len;
            return Err(Refusal::Bad(format!(
                "{bytes} bytes asked for, of a block of {block}: ask for 1 to {block}"
            )));
        }
        let count = bytes.div_ceil(geometry.extent_len);
        let (left, first) = match self.begun.range((count, 0)..).next() {
            Some(begun) => *begun,
            None => self.begin_block(per_block)?,
        };
        self.begun.remove(&(left, first));
        if left > count {
            self.begun.insert((left - count, first + count));
        }
        Ok(self.grant(owner, first, count))
    }

    fn begin_block(&mut self, per_block: u64) -> Result<(u64, u64), Refusal> {
        let plan = self.segment.plan();
        if self.next_block == plan.blocks() {
            let block_len = plan.geometry().block_len;
            return Err(Refusal::NoSpace { home: self.home, blocks: plan.blocks(), block_len });
        }
        let block = self.next_block;
        self.next_block += 1;
        Ok((per_block, block * per_block))
    }

    fn grant(&mut self, owner: ClientId, first: u64, count: u64) -> ExtentGrant {
        let oldest = self.words(first, count).iter().max_by_key(|word| word.generation());
        // One word for all of them, beyond each of their generations.
        let word = oldest.expect("a grant has extents").opened(owner);
        self.set(first, count, word);
        let open = Open { count: count as u32, owner, generation: word.generation(), is_adopted: false };
        let before = self.open.insert(first, open);
        assert!(before.is_none(), "extent {first} of home {} was granted twice", self.home);
        self.open_count += count;
        self.described(first, &open)
    }

    /// Notes that nothing will be appended to `grant` any more. Sealing again what its owner has sealed is fine.
    ///
    /// # Errors
    /// [`Refusal::Bad`]: `grant` was not granted to `owner`, or not like this.
    pub(crate) fn seal(&mut self, owner: ClientId, grant: &ExtentGrant, used: u64) -> Result<(), Refusal> {
        let bad = |why: String| Err(Refusal::Bad(why));
        let plan = *self.segment.plan();
        let count = u64::from(grant.count);
        let end = grant.first.checked_add(count).filter(|end| *end <= plan.extents() && count > 0);
        let Some(end) = end else {
            return bad(format!(
                "home {} has no extents {} and the {count} from there",
                self.home, grant.first
            ));
        };
        let len = count * plan.geometry().extent_len;
        if (grant.start, grant.len) != (plan.extent_start(grant.first), len) || used > len {
            return bad(format!(
                "{used} bytes used of extents {}..{end}: the sizes contradict each other",
                grant.first
            ));
        }
        let asked = (grant.count, owner, grant.generation);
        let is_asked_for = |extent: u64| {
            let open = self.open.get(&extent);
            open.is_some_and(|o| o.is_adopted && (o.owner, o.generation) == (owner, grant.generation))
        };
        match self.open.get(&grant.first) {
            Some(open) if (open.count, open.owner, open.generation) == asked => {}
            Some(open) if open.is_adopted && (grant.first..end).all(is_asked_for) => {}
            Some(open) => {
                return bad(format!(
                    "extents {}..{end} of home {} are not open for client {owner} in generation {} (there are {} for client \
                     {} in generation {})",
                    grant.first, self.home, grant.generation, open.count, open.owner, open.generation
                ));
            }
            None => return self.is_sealed(owner, grant),
        }
        let word = self.words[grant.first as usize].sealed();
        self.set(grant.first, count, word);
        for extent in grant.first..end {
            self.open.remove(&extent);
        }
        self.open_count -= count;
        self.sealed_used += used;
        Ok(())
    }

    /// A client that lost the answer to a seal asks again.
    fn is_sealed(&self, owner: ClientId, grant: &ExtentGrant) -> Result<(), Refusal> {
        use ExtentState::Sealed;
        let sealed = |word: &ExtentWord| {
            (word.state(), word.owner(), word.generation()) == (Sealed, owner, grant.generation)
        };
        if self.words(grant.first, grant.count.into()).iter().all(sealed) {
            return Ok(());
        }
        Err(Refusal::Bad(format!(
            "extent {} of home {} is not open for client {owner} in generation {}",
            grant.first, self.home, grant.generation
        )))
    }

    /// Bytes by what they are for.
    pub(crate) fn usage(&self, is_joined: impl Fn(ClientId) -> bool) -> Usage {
        let plan = self.segment.plan();
        let bytes = |extents: u64| extents * plan.geometry().extent_len;
        let left: u64 = self.begun.iter().map(|(left, _)| left).sum();
        let never = (plan.blocks() - self.next_block) * plan.extents_per_block();
        let orphaned = self.open.values().filter(|open| !is_joined(open.owner));
        Usage {
            free: bytes(left + never),
            open: bytes(self.open_count),
            orphaned: bytes(orphaned.map(|open| u64::from(open.count)).sum()),
            sealed: self.sealed_used,
            reached: self.next_block * plan.extents_per_block(),
        }
    }

    /// What is known of each extent.
    pub(crate) fn all_words(&self) -> &[ExtentWord] {
        &self.words
    }

    fn words(&self, first: u64, count: u64) -> &[ExtentWord] {
        &self.words[first as usize..(first + count) as usize]
    }

    fn set(&mut self, first: u64, count: u64, word: ExtentWord) {
        for extent in first..first + count {
            self.words[extent as usize] = word;
            self.memory.store_word(self.segment.extent_record(extent), word.raw());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::own_memory::offset;
    use farrow_fabric::Mapping;
    use farrow_fabric_shm::{Hugepages, NodeMemory};
    use farrow_layout::{Geometry, Plan};
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    const BLOCK: u64 = 64 << 10;
    const EXTENT: u64 = 16 << 10;

    fn extents() -> Extents<Arc<Mapping>> {
        let geometry = Geometry { segment_len: 1 << 20, groups: 2, ..Geometry::for_tests() };
        let plan = Plan::new(geometry).unwrap();
        assert_eq!((plan.geometry().block_len, plan.geometry().extent_len), (BLOCK, EXTENT));
        let memory = NodeMemory::create(plan.memory_for(1), Hugepages::Off).unwrap();
        Extents::new(HomeId(0), plan.segment(0), memory.mapping())
    }

    fn in_table(extents: &Extents<Arc<Mapping>>, extent: u64) -> ExtentWord {
        let at = offset(extents.segment.extent_record(extent));
        ExtentWord::from_raw(extents.memory.word(at).load(Ordering::Acquire))
    }

    const ME: ClientId = ClientId(7);

    #[test]
    fn a_block_that_was_begun_is_filled_before_another() {
        let mut it = extents();
        let big = it.open(ME, 3 * EXTENT).unwrap();
        assert_eq!((big.first, big.count, big.len), (0, 3, 3 * EXTENT));
        let next = it.open(ME, 2 * EXTENT).unwrap();
        assert_eq!(next.first, 4, "two do not fit the first block");
        assert_eq!(it.open(ME, 1).unwrap().first, 3, "one fits the tail of the first");
        assert_eq!(it.open(ME, EXTENT + 1).unwrap().first, 6);
        assert_eq!(it.open(ME, BLOCK).unwrap().first, 8);
        assert_eq!(it.usage(|_| true).reached, 12);
    }

    #[test]
    fn the_table_says_who_owns_an_extent() {
        let mut it = extents();
        let grant = it.open(ME, 2 * EXTENT).unwrap();
        for extent in 0..2 {
            let word = in_table(&it, extent);
            assert_eq!(
                (word.state(), word.owner(), word.generation()),
                (ExtentState::Open, ME, grant.generation)
            );
        }
        assert_eq!(in_table(&it, 2), ExtentWord::FREE);
        it.seal(ME, &grant, 100).unwrap();
        let word = in_table(&it, 1);
        assert_eq!(
            (word.state(), word.owner(), word.generation()),
            (ExtentState::Sealed, ME, grant.generation)
        );
        assert_eq!(it.usage(|_| true).sealed, 100);
    }

    #[test]
    fn extents_of_different_ages_get_one_generation() {
        let mut it = extents();
        it.words[1] = ExtentWord::FREE.opened(ME).opened(ME).sealed();
        let grant = it.open(ME, 2 * EXTENT).unwrap();
        assert_eq!(grant.generation, 3);
        assert_eq!([0, 1].map(|extent| in_table(&it, extent).generation()), [3, 3]);
    }

    #[test]
    fn seals_that_were_not_granted_are_refused() {
        let mut it = extents();
        let grant = it.open(ME, 2 * EXTENT).unwrap();
        let before = it.usage(|_| true);
        let wrong: [fn(&mut ExtentGrant); 9] = [
            |g| g.first = 1,
            |g| g.first = u64::MAX,
            |g| g.count = 1,
            |g| g.count = 0,
            |g| g.count = u32::MAX,
            |g| g.start.0 += 64,
            |g| g.len = EXTENT,
            |g| g.generation += 1,
            |g| (g.first, g.count, g.len, g.start.0) = (2, 1, EXTENT, 2 * EXTENT),
        ];
        for (i, spoil) in wrong.iter().enumerate() {
            let mut grant = grant;
            spoil(&mut grant);
            assert!(matches!(it.seal(ME, &grant, 0), Err(Refusal::Bad(_))), "spoil {i}");
        }
        assert!(it.seal(ClientId(8), &grant, 0).is_err(), "a foreign extent");
        assert!(it.seal(ME, &grant, 2 * EXTENT + 1).is_err(), "more than there is");
        assert_eq!(it.usage(|_| true), before);
        it.seal(ME, &grant, 2 * EXTENT).unwrap();
        it.seal(ME, &grant, 1).expect("a repeated seal is fine");
        assert_eq!(it.usage(|_| true).sealed, 2 * EXTENT, "and counts once");
        assert!(it.seal(ClientId(8), &grant, 0).is_err());
    }

    #[test]
    fn lengths_that_no_block_has_are_refused() {
        let mut it = extents();
        for bytes in [0, BLOCK + 1, u64::MAX] {
            assert!(matches!(it.open(ME, bytes), Err(Refusal::Bad(_))), "{bytes}");
        }
        assert_eq!(it.usage(|_| true).reached, 0);
    }

    #[test]
    fn orphans_are_those_whose_owner_is_gone() {
        let mut it = extents();
        it.open(ME, 1).unwrap();
        it.open(ClientId(8), 2 * EXTENT).unwrap();
        let usage = it.usage(|client| client == ME);
        assert_eq!((usage.open, usage.orphaned), (3 * EXTENT, 2 * EXTENT));
    }

    #[test]
    fn a_new_primary_knows_what_the_table_says() {
        let mut before = extents();
        let large = before.open(ME, 2 * EXTENT).unwrap();
        let lost = before.open(ClientId(8), EXTENT).unwrap();
        let full = before.open(ME, EXTENT).unwrap();
        before.seal(ME, &full, 100).unwrap();
        // Granted, but never announced at the one who takes over.
        before.set(lost.first, 1, ExtentWord::FREE);

        let mut it = Extents::adopt(HomeId(0), before.segment, before.memory.clone());
        assert_eq!(it.open_of(ME).len(), 2, "each extent by itself");
        let usage = it.usage(|_| true);
        assert_eq!((usage.open, usage.sealed, usage.reached), (2 * EXTENT, EXTENT, 4));
        assert_eq!(it.open(ClientId(9), 1).unwrap().first, lost.first, "the hole is filled");
        assert!(it.seal(ClientId(8), &large, 0).is_err());
        it.seal(ME, &large, 5).expect("its owner seals it as it was granted");
        it.seal(ME, &large, 5).expect("and again");
        assert_eq!(it.open(ME, BLOCK).unwrap().first, 4);
    }

    #[test]
    fn what_is_no_record_is_given_to_nobody() {
        let before = extents();
        let wild = ExtentWord::from_raw(7 << 56);
        before.memory.store_word(before.segment.extent_record(1), wild.raw());
        let mut it = Extents::adopt(HomeId(0), before.segment, before.memory.clone());
        let firsts: Vec<_> = (0..3).map(|_| it.open(ME, 1).unwrap().first).collect();
        assert_eq!(firsts, [0, 2, 3]);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Open { owner: u32, bytes: u64 },
        Seal { which: usize, used: u64 },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (1u32..5, 1u64..=BLOCK).prop_map(|(owner, bytes)| Step::Open { owner, bytes }),
            1 => (any::<usize>(), 0u64..=EXTENT).prop_map(|(which, used)| Step::Seal { which, used }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn every_extent_is_granted_at_most_once_and_the_table_agrees(steps in proptest::collection::vec(step(), 1..80)) {
            let mut it = extents();
            let plan = *it.segment.plan();
            let per_block = plan.extents_per_block();
            // Of each extent: its owner, its generation, and whether it was sealed.
            let mut model: Vec<Option<(ClientId, u32, bool)>> = vec![None; plan.extents() as usize];
            let mut open: Vec<(ClientId, ExtentGrant)> = Vec::new();
            let mut sealed_used = 0;
            for step in steps {
                match step {
                    Step::Open { owner, bytes } => {
                        let owner = ClientId(owner);
                        let count = bytes.div_ceil(EXTENT);
                        match it.open(owner, bytes) {
                            Ok(grant) => {
                                prop_assert_eq!(u64::from(grant.count), count, "no more than needed");
                                prop_assert_eq!(grant.len, count * EXTENT);
                                prop_assert_eq!(grant.start.0, grant.first * EXTENT);
                                let last = grant.first + count - 1;
                                prop_assert_eq!(grant.first / per_block, last / per_block, "one block");
                                for extent in grant.first..=last {
                                    let before = model[extent as usize].replace((owner, grant.generation, false));
                                    prop_assert_eq!(before, None, "extent {} twice", extent);
                                }
                                open.push((owner, grant));
                            }
                            Err(Refusal::NoSpace { .. }) => {
                                let fits = |block: &[Option<_>]| block.iter().rev().take_while(|e| e.is_none()).count() as u64 >= count;
                                prop_assert!(!model.chunks(per_block as usize).any(fits), "there was room");
                            }
                            Err(other) => prop_assert!(false, "{other}"),
                        }
                    }
                    Step::Seal { which, used } if !open.is_empty() => {
                        let (owner, grant) = open.swap_remove(which % open.len());
                        prop_assert!(it.seal(ClientId(99), &grant, used).is_err());
                        prop_assert_eq!(it.seal(owner, &grant, used), Ok(()));
                        sealed_used += used;
                        for extent in grant.first..grant.first + u64::from(grant.count) {
                            model[extent as usize].as_mut().unwrap().2 = true;
                        }
                    }
                    Step::Seal { .. } => {}
                }
            }
            for (extent, expected) in model.iter().enumerate() {
                let word = in_table(&it, extent as u64);
                let found = match word.state() {
                    ExtentState::Free => None,
                    state => Some((word.owner(), word.generation(), state == ExtentState::Sealed)),
                };
                prop_assert_eq!(&found, expected, "extent {} in the table", extent);
            }
            let usage = it.usage(|_| true);
            let count = |is: fn(&Option<(ClientId, u32, bool)>) -> bool| model.iter().filter(|e| is(e)).count() as u64 * EXTENT;
            prop_assert_eq!(usage.free, count(|e| e.is_none()));
            prop_assert_eq!(usage.open, count(|e| e.is_some_and(|e| !e.2)));
            prop_assert_eq!(usage.sealed, sealed_used);
        }
    }
}
