//! The first bytes of a node's memory.

use crate::described::layout;
use crate::plan::{Geometry, GeometryError, Plan};
use crate::{Epoch, Incarnation, NodeId, Policy};
use zerocopy::{FromBytes, IntoBytes};

/// The format of everything in this crate. It moves only with a note in `docs/adr`.
pub const FORMAT_VERSION: u32 = 1;
/// What a formatted memory begins with.
pub const SUPERBLOCK_MAGIC: u64 = u64::from_le_bytes(*b"FARROWDM");

layout! {
    /// The first bytes of a node's memory, padded to 4096. Each client READs it over every new link: that proves the
    /// path, and that both sides speak of the same memory.
    pub struct Superblock: 128 bytes {
        /// "FARROWDM".
        0 => magic: u64, "the daemon, last when it formats: store", "constant while any client is joined";
        /// See `FORMAT_VERSION`.
        8 => format: u32, "the daemon, when it formats: store", "checksum";
        /// CRC-32C of all other bytes but the magic.
        12 => checksum: u32, "the daemon, when it formats: store", "it is one";
        /// Hash of the cluster's name.
        16 => cluster: u64, "the daemon, when it formats: store", "checksum";
        /// This life of this memory.
        24 => incarnation: u64, "the daemon, when it formats: store", "checksum";
        /// The epoch at that time.
        32 => epoch: u64, "the daemon, when it formats: store", "checksum";
        /// Length of the memory.
        40 => memory_len: u64, "the daemon, when it formats: store", "checksum";
        /// Length of a segment.
        48 => segment_len: u64, "the daemon, when it formats: store", "checksum";
        /// Length of a block.
        56 => block_len: u64, "the daemon, when it formats: store", "checksum";
        /// Length of an extent.
        64 => extent_len: u64, "the daemon, when it formats: store", "checksum";
        /// Groups of buckets in a partition.
        72 => groups: u64, "the daemon, when it formats: store", "checksum";
        /// Partitions in a segment.
        80 => partitions: u32, "the daemon, when it formats: store", "checksum";
        /// Segments in this memory.
        84 => segments: u32, "the daemon, when it formats: store", "checksum";
        /// The node.
        88 => node: u16, "the daemon, when it formats: store", "checksum";
        /// Copies of each value and each slot.
        90 => copies: u16, "the daemon, when it formats: store", "checksum";
        /// Zero.
        92 => reserved: u32, "nobody yet", "checksum";
        /// Zero.
        96 => reserved2: [u64; 4], "nobody yet", "checksum";
    }
}

/// Why a memory is not one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuperblockError {
    /// It does not begin like a formatted memory.
    #[error("this memory is not Farrow's: it begins with {0:016x}")]
    Magic(u64),
    /// Another version of Farrow formatted it.
    #[error(
        "this memory has format {found}, this program reads format {FORMAT_VERSION}: use the program that wrote it, or format it anew"
    )]
    Format {
        /// The version found.
        found: u32,
    },
    /// Torn or corrupt.
    #[error("the superblock is corrupt (checksum {found:08x}, its bytes make {computed:08x})")]
    Checksum {
        /// As it says.
        found: u32,
        /// As its bytes say.
        computed: u32,
    },
    /// Sizes that contradict each other.
    #[error("the superblock's sizes contradict each other: {0}")]
    Geometry(#[from] GeometryError),
}

impl Superblock {
    /// Bytes of the structure.
    pub const LEN: usize = size_of::<Superblock>();
    /// Bytes set aside for it.
    pub const SPACE: u64 = 4096;

    /// The superblock of a node's memory.
    pub fn new(
        cluster: u64,
        node: NodeId,
        incarnation: Incarnation,
        epoch: Epoch,
        memory_len: u64,
        plan: &Plan,
    ) -> Superblock {
        let g = plan.geometry();
        let mut it = Superblock {
            magic: SUPERBLOCK_MAGIC,
            format: FORMAT_VERSION,
            checksum: 0,
            cluster,
            incarnation: incarnation.0,
            epoch: epoch.0,
            memory_len,
            segment_len: g.segment_len,
            block_len: g.block_len,
            extent_len: g.extent_len,
            groups: g.groups,
            partitions: g.partitions,
            segments: plan.segments_in(memory_len),
            node: node.0,
            copies: g.policy.copies() as u16,
            reserved: 0,
            reserved2: [0; 4],
        };
        it.checksum = it.computed();
        it
    }

    fn computed(&self) -> u32 {
        let plain = Superblock { checksum: 0, ..*self };
        crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &plain.as_bytes()[8..]) as u32
    }

    /// Reads a superblock; bytes that are not one say why.
    ///
    /// # Panics
    /// If fewer than [`Superblock::LEN`] bytes are given.
    pub fn open(bytes: &[u8]) -> Result<Superblock, SuperblockError> {
        let it = Superblock::read_from_bytes(&bytes[..Self::LEN]).expect("the length fits");
        if it.magic != SUPERBLOCK_MAGIC {
            return Err(SuperblockError::Magic(it.magic));
        }
        if it.format != FORMAT_VERSION {
            return Err(SuperblockError::Format { found: it.format });
        }
        let computed = it.computed();
        if computed != it.checksum {
            return Err(SuperblockError::Checksum { found: it.checksum, computed });
        }
        Plan::new(it.geometry())?;
        Ok(it)
    }

    /// The sizes that all nodes of the cluster share.
    pub fn geometry(&self) -> Geometry {
        Geometry {
            policy: Policy::Replicate { copies: self.copies.clamp(1, Policy::MAX_COPIES as u16) as u8 },
            segment_len: self.segment_len,
            partitions: self.partitions,
            groups: self.groups,
            block_len: self.block_len,
            extent_len: self.extent_len,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Superblock {
        let plan = Plan::new(Geometry::for_tests()).unwrap();
        Superblock::new(1, NodeId(2), Incarnation(3), Epoch(4), 64 << 20, &plan)
    }

    #[test]
    fn it_opens_as_written() {
        let it = sample();
        assert_eq!(Superblock::open(it.as_bytes()), Ok(it));
        assert_eq!(it.geometry(), Geometry::for_tests());
    }

    #[test]
    fn another_format_is_refused_by_number() {
        let mut it = sample();
        it.format = 77;
        assert_eq!(Superblock::open(it.as_bytes()), Err(SuperblockError::Format { found: 77 }));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let it = sample();
        for bit in 0..Superblock::LEN * 8 {
            let mut bytes = it.as_bytes().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Superblock::open(&bytes).is_err(), "bit {bit}");
        }
    }
}
