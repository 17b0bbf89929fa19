//! The key behind a slot.

use anyhow::Result;
use farrow_client::LocalClient;
use farrow_fabric::{Chain, Fabric, Link};
use farrow_layout::{EntryHeader, KeyHash, MAX_KEY_LEN, SegmentPlan, SlotAddr, Word};
use farrow_transport::AnyLink;

/// What a slot's word leads to.
pub enum Found {
    /// This key.
    Key(Vec<u8>),
    /// Nothing any more.
    Gone,
    /// Bytes that are no entry of this slot, on any member; in words.
    Corrupt(String),
}

/// Times that a slot may change under our eyes. A newer value is as good: the key is what is looked for.
const ATTEMPTS: usize = 16;

/// The key of the entry that `word`, read in `slot`, names. `members`: links and segments of the home, the primary
/// first.
pub async fn find(
    client: &LocalClient,
    members: &[(&AnyLink, &SegmentPlan)],
    slot: SlotAddr,
    word: Word,
) -> Result<Found> {
    let mut word = word;
    for _ in 0..ATTEMPTS {
        for (link, segment) in members {
            if let Some(key) = key_at(client, link, segment, slot, word).await? {
                return Ok(Found::Key(key));
            }
        }
        let (link, segment) = members[0];
        let now = link.post(Chain::new().read_word(segment.slot(slot))).await?[0];
        if now == word.raw() {
            return Ok(Found::Corrupt(format!("no member has an entry behind {word}")));
        }
        word = Word::from_raw(now);
        if !word.is_visible() {
            return Ok(Found::Gone);
        }
    }
    Ok(Found::Gone)
}

/// The key at one member, if the bytes there are an entry that belongs into `slot`. Its value is not looked at: the
/// checksum is checked when it is read.
async fn key_at(
    client: &LocalClient,
    link: &AnyLink,
    segment: &SegmentPlan,
    slot: SlotAddr,
    word: Word,
) -> Result<Option<Vec<u8>>> {
    let plan = client.plan();
    let Some(room) = word.class().and_then(|class| plan.entry_read_len(word.pointer(), class)) else {
        return Ok(None);
    };
    let len = room.min(EntryHeader::LEN + MAX_KEY_LEN);
    let buffer = client.fabric().buffers().take(len)?;
    link.post(Chain::new().read(segment.entry(word.pointer()), buffer.whole())).await?;
    let key = buffer.with(|bytes| {
        let header = EntryHeader::parse(bytes, room).ok()?;
        bytes.get(EntryHeader::LEN..EntryHeader::LEN + usize::from(header.key_len)).map(<[u8]>::to_vec)
    });
    Ok(key.filter(|key| belongs(client, key, slot, word)))
}

/// Whether a key's hash leads to the slot and to the word's fingerprint.
fn belongs(client: &LocalClient, key: &[u8], slot: SlotAddr, word: Word) -> bool {
    let hash = KeyHash::of(key);
    let (_, partition) = client.map().route(hash);
    let bytes = [0; farrow_layout::COMBINED_LEN];
    let is_candidate =
        |bucket: farrow_layout::CombinedBucket| bucket.slots(&bytes).any(|(index, ..)| index == slot.index);
    hash.fingerprint() == word.fingerprint()
        && partition == slot.partition
        && client.plan().candidates(hash).into_iter().any(is_candidate)
}
