//! What must be so once everything has come to rest.

use super::cluster::Cluster;
use super::scenario::Name;
use super::shadow::Shadow;
use farrow_layout::{BlockAddr, ExtentWord, NodeId, Word};
use std::collections::BTreeMap;

/// Checks all slots. With `is_sound`, no client was stopped: then every replica agrees on every slot that names something.
/// A client that stopped may have changed backups alone; the next writer, who wins at the primary, overwrites that. With
/// `is_tidy`, no link was lost either: a client that does not know whether its tentative insert took place starts over.
pub fn check(cluster: &Cluster, shadow: &Shadow, names: &[Name], is_sound: bool, is_tidy: bool) {
    let nodes = cluster.coordinator.nodes();
    let mut homes: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    let ours: Vec<_> = names.iter().map(|n| cluster.key(*n)).collect();
    for slot in cluster.slots() {
        let words: Vec<Word> = nodes.iter().map(|n| cluster.word(*n, slot)).collect();
        let word = words[0];
        for (node, held) in nodes.iter().zip(&words).skip(1) {
            // Were the primary lost now, this backup would bring back what was replaced or deleted long ago.
            let is_stale = held.is_visible() && *held != word && shadow.has_held(nodes[0], slot, *held);
            assert!(!is_stale, "slot {}: the primary has {word}, but {node} still {held}", slot.index.0);
        }
        assert!(!is_tidy || !word.is_tentative(), "slot {}: {word} is left over", slot.index.0);
        if !word.is_visible() {
            continue;
        }
        let (key, _) = cluster.entry(nodes[0], word).expect("the primary's entry is whole");
        let agrees = |w: &Word| *w == word || !is_sound && w.version().steps_from(word.version()) == 1;
        if is_sound || ours.contains(&&key[..]) {
            assert!(words.iter().all(agrees), "slot {}: replicas differ: {words:?}", slot.index.0);
        }
        for node in &nodes[1..] {
            if cluster.word(*node, slot) == word {
                let (copy, _) = cluster.entry(*node, word).expect("a backup's entry is whole");
                assert_eq!(copy, key);
            }
        }
        if let Some(other) = homes.insert(key.clone(), slot.index.0) {
            panic!("{} is in slots {other} and {}", String::from_utf8_lossy(&key), slot.index.0);
        }
    }
}

/// A client that was recovered has left nothing on a backup alone, and no claim.
pub fn check_recovered(cluster: &Cluster, clients: &[u32]) {
    let nodes = cluster.coordinator.nodes();
    let is_own = |word: Word| {
        let extent = cluster.plan.extent_of(BlockAddr(word.pointer().offset()));
        !word.is_empty() && clients.iter().any(|client| u64::from(client - 1) == extent)
    };
    for slot in cluster.slots() {
        let word = cluster.word(nodes[0], slot);
        assert!(!(word.is_tentative() && is_own(word)), "slot {}: {word} is left over", slot.index.0);
        for node in &nodes[1..] {
            let held = cluster.word(*node, slot);
            // Whoever changed the slot since may have stopped before it came here.
            let is_left = is_own(held) && held != word && !word.version().is_newer_than(held.version());
            assert!(!is_left, "slot {}: {node} still has {held}, the primary {word}", slot.index.0);
        }
    }
}

/// No backup says more of an extent than the primary. A client that stopped may have sealed its own at backups alone.
pub fn check_tables(cluster: &Cluster, is_sound: bool) {
    let nodes = cluster.coordinator.nodes();
    for extent in 0..cluster.plan.extents() {
        let at = cluster.segment().extent_record(extent);
        let record = |node: NodeId| ExtentWord::from_raw(cluster.world.memory(node).word(at));
        for node in &nodes[1..] {
            let (primary, backup) = (record(nodes[0]), record(*node));
            let is_sealing = !is_sound && primary.sealed() == backup;
            assert!(
                !backup.is_ahead_of(primary) || is_sealing,
                "extent {extent}: {backup:?}, at the primary {primary:?}"
            );
        }
    }
}
