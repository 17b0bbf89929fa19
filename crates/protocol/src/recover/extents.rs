//! The open extents of a lost client: the same on all members, then sealed.

use super::merge::{differing, merge};
use super::{OpenGrant, QuietGrant};
use crate::{Failure, Home, Member};
use farrow_fabric::{Buffer, Chain, Fabric, Link, Meter, join_all};
use farrow_layout::{BlockAddr, ClientId, ExtentState, ExtentWord, Plan};

/// Bytes of one READ or WRITE.
const PIECE: u64 = 256 << 10;

/// Makes all members alike in `grants` and seals them at the backups. Returns what is to be sealed at the primary, and how many
/// bytes were written. No slot of any member may name an entry there that does not on all of them.
pub(super) async fn quieten<F: Fabric>(
    fabric: &F,
    meter: &Meter,
    home: &Home<F::Link>,
    client: ClientId,
    grants: &[OpenGrant],
) -> Result<(Vec<QuietGrant>, u64), Failure> {
    let mut grants = grants.to_vec();
    grants.sort_by_key(|grant| grant.first);
    let (mut quiet, mut copied) = (Vec::new(), 0);
    for together in neighbours(home.primary().segment.plan(), &grants) {
        let (used, wrote) = make_alike(fabric, meter, home, together).await?;
        copied += wrote;
        for grant in together {
            seal_at_backups(meter, home, client, *grant).await?;
            let extent_len = home.primary().segment.plan().geometry().extent_len;
            let (skipped, len) =
                ((grant.first - together[0].first) * extent_len, u64::from(grant.count) * extent_len);
            quiet.push(QuietGrant { grant: *grant, used: used.saturating_sub(skipped).min(len) });
        }
    }
    Ok((quiet, copied))
}

/// Ascending grants that follow each other in one block. What a new primary's daemon knows of a grant of several extents may be one
/// grant for each, and entries lie across them.
fn neighbours<'a>(plan: &Plan, grants: &'a [OpenGrant]) -> impl Iterator<Item = &'a [OpenGrant]> {
    let per_block = plan.extents_per_block();
    grants.chunk_by(move |a, b| {
        a.first + u64::from(a.count) == b.first && a.first / per_block == b.first / per_block
    })
}

/// Answers to the end of what was written, from the first extent on, and how many bytes had to be copied.
async fn make_alike<F: Fabric>(
    fabric: &F,
    meter: &Meter,
    home: &Home<F::Link>,
    grants: &[OpenGrant],
) -> Result<(u64, u64), Failure> {
    let plan = home.primary().segment.plan();
    let start = plan.extent_start(grants[0].first).0;
    let len = grants.iter().map(|grant| u64::from(grant.count)).sum::<u64>() * plan.geometry().extent_len;
    let take = |_| fabric.buffers().take(PIECE.min(len) as usize);
    let buffers: Vec<Buffer> = home.members().iter().map(take).collect::<Result<_, _>>()?;
    let mut copies = vec![Vec::with_capacity(len as usize); buffers.len()];
    for at in (start..start + len).step_by(PIECE as usize) {
        let piece = PIECE.min(start + len - at) as usize;
        let posted = home.members().iter().zip(&buffers).map(|(member, buffer)| {
            let chain = Chain::new().read(member.segment.block_bytes(BlockAddr(at)), buffer.slice(0, piece));
            meter.post(&member.link, chain)
        });
        for answer in join_all(posted.collect::<Vec<_>>()).await {
            answer.map_err(Failure::harmless)?;
        }
        for (copy, buffer) in copies.iter_mut().zip(&buffers) {
            buffer.with(|bytes| copy.extend_from_slice(&bytes[..piece]));
        }
    }
    let merged = merge(&copies);
    let mut copied = 0;
    for ((member, copy), buffer) in home.members().iter().zip(&copies).zip(&buffers) {
        let Some(range) = differing(&merged.bytes, copy) else { continue };
        for from in range.clone().step_by(PIECE as usize) {
            let bytes = &merged.bytes[from..range.end.min(from + PIECE as usize)];
            write(meter, member, buffer, BlockAddr(start + from as u64), bytes).await?;
            copied += bytes.len() as u64;
        }
    }
    Ok((merged.used as u64, copied))
}

async fn write<L: Link>(
    meter: &Meter,
    member: &Member<L>,
    buffer: &Buffer,
    at: BlockAddr,
    bytes: &[u8],
) -> Result<(), Failure> {
    buffer.with_mut(|out| out[..bytes.len()].copy_from_slice(bytes));
    let chain = Chain::new().write(member.segment.block_bytes(at), buffer.slice(0, bytes.len()));
    meter.post(&member.link, chain).await.map_err(Failure::harmless)?;
    Ok(())
}

/// Says at the backups that the grant is sealed, as the primary's record will.
async fn seal_at_backups<L: Link>(
    meter: &Meter,
    home: &Home<L>,
    client: ClientId,
    grant: OpenGrant,
) -> Result<(), Failure> {
    for extent in grant.first..grant.first + u64::from(grant.count) {
        let record = Chain::new().read_word(home.primary().segment.extent_record(extent));
        let answers = meter.post(&home.primary().link, record).await.map_err(Failure::harmless)?;
        let word = ExtentWord::from_raw(answers[0]);
        let is_open = (word.state(), word.owner()) == (ExtentState::Open, client);
        if !is_open {
            // Its owner's own word, sent before it was evicted, or another agent was faster.
            continue;
        }
        let posted = home.backups().iter().map(|member| {
            let at = member.segment.extent_record(extent);
            meter.post(&member.link, Chain::new().write_word(at, word.sealed().raw()))
        });
        for answer in join_all(posted.collect::<Vec<_>>()).await {
            answer.map_err(Failure::harmless)?;
        }
    }
    Ok(())
}
