//! A key's two combined buckets, as read.

use crate::{Context, Failure};
use farrow_fabric::{Buffer, Chain, Fabric};
use farrow_layout::{COMBINED_LEN, Candidate, CombinedBucket, SegmentPlan, SlotAddr, SlotIndex};

/// One of a key's combined buckets and local memory for its bytes.
#[derive(Clone, Debug)]
pub struct Bucket {
    place: CombinedBucket,
    buffer: Buffer,
}

/// Both of a key's combined buckets, with local memory to read them into, again and again.
#[derive(Clone, Debug)]
pub struct BucketPair {
    partition: u32,
    buckets: [Bucket; 2],
}

impl BucketPair {
    /// Local memory for the buckets of the context's key.
    pub(crate) fn new<F: Fabric>(cx: &Context<'_, F>) -> Result<BucketPair, Failure> {
        let [a, b] = cx.plan().candidates(cx.hash);
        let buffers = cx.fabric.buffers();
        let bucket = |place| Ok::<_, Failure>(Bucket { place, buffer: buffers.take(COMBINED_LEN)? });
        Ok(BucketPair { partition: cx.partition, buckets: [bucket(a)?, bucket(b)?] })
    }

    /// Adds the READs of both, at the member whose segment this is.
    pub(crate) fn read(&self, chain: Chain, segment: &SegmentPlan) -> Chain {
        self.buckets
            .iter()
            .fold(chain, |chain, b| chain.read(segment.bucket(self.partition, b.place), b.buffer.whole()))
    }

    /// All slots of both, in the order in which they were read.
    pub fn candidates(&self) -> Vec<Candidate> {
        let mut all = Vec::with_capacity(28);
        for (bucket, b) in self.buckets.iter().enumerate() {
            b.buffer.with(|bytes| {
                all.extend(b.place.slots(bytes).map(|(index, main, slot)| Candidate {
                    index,
                    bucket,
                    main,
                    slot,
                }));
            });
        }
        all
    }

    /// The address of one of its slots.
    pub fn slot(&self, index: SlotIndex) -> SlotAddr {
        SlotAddr { partition: self.partition, index }
    }
}
