//! What must be so once everything has come to rest.

use super::cluster::Cluster;
use super::scenario::Name;
use super::shadow::Shadow;
use farrow_layout::Word;
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
