//! The shadow memory: knows for each slot which words it held on which node, and stops a run that breaks an invariant.

use super::cluster::{Cluster, entry_touch, open_entry, slot_touch};
use farrow_fabric_sim::{Access, AccessKind, Memory, Observer, Touch};
use farrow_layout::*;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Every word that a slot held in this view of the home, by node and slot, in order.
#[derive(Clone, Default)]
pub struct Shadow(Rc<RefCell<Known>>);

#[derive(Default)]
struct Known {
    held: BTreeMap<(NodeId, SlotIndex), Vec<Word>>,
    /// The members of the view, the primary first.
    nodes: Vec<NodeId>,
    /// Agents that may take a backup's word back.
    taking_back: Vec<usize>,
}

impl Shadow {
    /// A shadow that looks on from now on.
    pub fn attach(cluster: &Cluster) -> Shadow {
        let shadow = Shadow::default();
        let mut index = BTreeMap::new();
        for slot in cluster.slots() {
            index.insert(cluster.segment().slot(slot).0, slot);
            for node in &cluster.nodes {
                shadow.0.borrow_mut().held.insert((*node, slot.index), vec![cluster.word(*node, slot)]);
            }
        }
        shadow.0.borrow_mut().nodes = cluster.coordinator.nodes();
        cluster.coordinator.tell(&shadow);
        let (plan, looked_at) = (cluster.plan, Vec::new());
        cluster.world.observe(Watch { shadow: shadow.clone(), plan, index, looked_at });
        shadow
    }

    /// A view of `nodes` begins: a fence has ended all verbs of those before, so words of theirs may come again.
    pub fn begin_view(&self, nodes: Vec<NodeId>, word: impl Fn(NodeId, SlotIndex) -> Word) {
        let mut known = self.0.borrow_mut();
        let before = std::mem::replace(&mut known.nodes, nodes.clone());
        for ((node, slot), held) in &mut known.held {
            if nodes.contains(node) && !before.contains(node) {
                *held = vec![word(*node, *slot)];
            }
            held.drain(..held.len() - 1);
        }
    }

    /// Whoever has this fabric recovers a lost client, and may take a word of it back from a backup.
    pub fn may_take_back(&self, fabric: usize) {
        self.0.borrow_mut().taking_back.push(fabric);
    }

    /// Whether a slot held a word at a node, now or before.
    pub fn has_held(&self, node: NodeId, slot: SlotAddr, word: Word) -> bool {
        self.0.borrow().held[&(node, slot.index)].contains(&word)
    }

    /// Invariant 2: whatever is answered is on every replica, or something later is.
    pub fn assert_everywhere(&self, slot: SlotAddr, word: Word) {
        let known = self.0.borrow();
        for node in &known.nodes {
            let held = &known.held[&(*node, slot.index)];
            let last = held.last().expect("a slot holds something");
            assert!(
                held.contains(&word) || last.version().is_newer_than(word.version()),
                "{word} in slot {} was answered, but {node} never held it: {held:?}",
                slot.index.0
            );
        }
    }
}

struct Watch {
    shadow: Shadow,
    plan: Plan,
    /// Slots by the address of their words.
    index: BTreeMap<u64, SlotAddr>,
    looked_at: Vec<Touch>,
}

impl Observer for Watch {
    fn on_access(&mut self, access: &Access, memory: &Memory) {
        self.looked_at.clear();
        match access.kind {
            AccessKind::Read { .. } | AccessKind::NotSwapped { .. } => {}
            AccessKind::Added { .. } => panic!("nobody adds in these protocols: {access:?}"),
            AccessKind::Write { len } => self.wrote(access, memory, len),
            AccessKind::Swapped { old, new } => {
                let slot = self.index.get(&access.at.0);
                let slot = *slot.unwrap_or_else(|| panic!("a CAS on what is no slot's word: {access:?}"));
                self.swapped(access, slot, Word::from_raw(old), Word::from_raw(new), memory);
            }
        }
    }

    fn looked_at(&self) -> &[Touch] {
        &self.looked_at
    }
}

impl Watch {
    fn swapped(&mut self, access: &Access, slot: SlotAddr, old: Word, new: Word, memory: &Memory) {
        let node = access.node;
        let mut known = self.shadow.0.borrow_mut();
        let primary = known.nodes[0];
        let may_take_back = node != primary && known.taking_back.contains(&access.client);
        let held = known.held.get_mut(&(node, slot.index)).expect("every slot of every node is known");
        assert_eq!(held.last(), Some(&old), "slot {} of {node}", slot.index.0);
        if may_take_back && held.len() > 1 && held[held.len() - 2] == new {
            // As if the lost client's chain had never come here: nobody was answered from a backup.
            held.pop();
            return;
        }
        let recent = &held[held.len().saturating_sub(6)..];
        assert!(!held.contains(&new), "{new} recurs in slot {} of {node}, after {recent:?}", slot.index.0);
        held.push(new);
        assert!(!new.is_tentative() || node == primary, "{new}: tentative words lie at the primary alone");
        if !new.is_empty() {
            self.looked_at.push(entry_touch(&self.plan, node, new));
            let entry = open_entry(&self.plan, memory, new);
            let (key, _) = entry.unwrap_or_else(|why| {
                panic!("{new} names an entry that {node} does not hold, in slot {}: {why}", slot.index.0)
            });
            let mains = self.plan.candidates(KeyHash::of(&key));
            let fits = mains.into_iter().any(|c| c.slots(&[0; COMBINED_LEN]).any(|(i, ..)| i == slot.index));
            assert!(fits, "{new} is of a key that does not belong into slot {}", slot.index.0);
        }
    }

    fn wrote(&mut self, access: &Access, memory: &Memory, len: usize) {
        // The table of extents, and the blocks.
        let is_index = access.at.0 < self.plan.segment(0).extent_record(0).0;
        if !is_index || !self.shadow.0.borrow().nodes.contains(&access.node) {
            return;
        }
        // Below the blocks clients write committed words, one at a time, and agents whole groups, in which nothing but
        // committed words changes.
        assert!(access.at.0.is_multiple_of(8) && len.is_multiple_of(8), "a WRITE of half a word: {access:?}");
        for at in (access.at.0..access.at.0 + len as u64).step_by(8) {
            let word = Word::from_raw(memory.word(RemoteAddr(at)));
            if let Some(slot) = self.index.get(&at) {
                let known = self.shadow.0.borrow();
                let held = known.held[&(access.node, slot.index)].last();
                assert_eq!(held, Some(&word), "slot {} is overwritten: {access:?}", slot.index.0);
            } else if let Some(slot) = at.checked_sub(8).and_then(|at| self.index.get(&at)) {
                self.committed(access.node, *slot, word);
            } else {
                assert!(word == Word::ZERO, "a WRITE to what is no committed word: {access:?}");
            }
        }
    }

    fn committed(&mut self, node: NodeId, slot: SlotAddr, word: Word) {
        let nodes = &self.shadow.0.borrow().nodes;
        assert_eq!(node, nodes[0], "committed words are written at the primary");
        self.looked_at.extend(nodes.iter().map(|node| slot_touch(&self.plan, *node, slot)));
        self.shadow.assert_everywhere(slot, word);
    }
}
