//! What a target holds already.

use farrow_layout::{ExtentState, ExtentWord, NodeId};

/// The sealed extents that were copied to a target, each as the life of it that was copied. Belongs to one target as long as
/// that keeps its memory.
#[derive(Debug, Default)]
pub struct Copied {
    source: Option<NodeId>,
    /// By extent; free: nothing was copied.
    words: Vec<ExtentWord>,
    pub(super) has_index: bool,
}

impl Copied {
    /// Nothing yet.
    pub fn new() -> Copied {
        Copied::default()
    }

    /// Goes on with copies from `source`; what another node was the source of is copied again.
    ///
    /// Members agree on all that a slot names, not on every byte: what was written and never named may lie on one of them.
    pub(super) fn continue_from(&mut self, source: NodeId, extents: u64) {
        if self.source != Some(source) {
            self.words.clear();
        }
        self.source = Some(source);
        self.words.resize(extents as usize, ExtentWord::FREE);
    }

    /// Whether the target holds the bytes of `extent`, of which the source's record says `word`.
    pub(super) fn has(&self, extent: u64, word: ExtentWord) -> bool {
        word.state() == ExtentState::Sealed && self.words.get(extent as usize) == Some(&word)
    }

    /// The target holds the bytes that `extent` had while its record said `word`.
    pub(super) fn note(&mut self, extent: u64, word: ExtentWord) {
        // What is open changes still.
        if word.state() == ExtentState::Sealed {
            self.words[extent as usize] = word;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrow_layout::ClientId;

    #[test]
    fn only_what_was_sealed_when_it_was_copied_from_this_source_need_not_be_copied_again() {
        let open = ExtentWord::FREE.opened(ClientId(1));
        let mut copied = Copied::new();
        copied.continue_from(NodeId(1), 4);
        copied.note(2, open);
        assert!(!copied.has(2, open) && !copied.has(2, open.sealed()));
        copied.note(2, open.sealed());
        assert!(copied.has(2, open.sealed()));
        assert!(!copied.has(2, open.sealed().opened(ClientId(1)).sealed()), "another life");
        copied.continue_from(NodeId(1), 4);
        assert!(copied.has(2, open.sealed()));
        copied.continue_from(NodeId(2), 4);
        assert!(!copied.has(2, open.sealed()), "another source");
    }
}
