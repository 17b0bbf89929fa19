//! The node's memory: made or found.

use crate::StartError;
use farrow_config::{Hugepages, Node};
use farrow_control::map::ClusterMap;
use farrow_fabric_shm::{MemoryError, NodeMemory, PageKind};
use farrow_layout::{NodeId, SUPERBLOCK_MAGIC, Superblock, SuperblockError};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two words about the memory that is being taken.
const SAY_EVERY: Duration = Duration::from_secs(2);

/// Makes the memory that `config` asks for, for the member `node` of a static cluster. It is zeroed.
///
/// # Errors
/// There is not enough; or the memory file holds something, and may not be formatted anew.
pub(crate) fn make(config: &Node, map: &ClusterMap, node: NodeId) -> Result<NodeMemory, StartError> {
    let memory = make_unless(config, |path| describe(path, config.memory, map, node))?;
    populate(config, &memory)?;
    Ok(memory)
}

/// As [`make`], before it is known what the node will be.
///
/// # Errors
/// As [`make`].
pub(crate) fn make_blank(config: &Node) -> Result<NodeMemory, StartError> {
    let memory = make_unless(config, |_| {
        Ok("holds memory of an earlier run; a coordinated cluster has copied what it needs of it. Start with \
            node.reformat = true to use the file again"
            .into())
    })?;
    populate(config, &memory)?;
    Ok(memory)
}

fn populate(config: &Node, memory: &NodeMemory) -> Result<(), StartError> {
    if !config.populate {
        return Ok(());
    }
    // Hundreds of gigabytes take minutes, and whoever waits wants to see that it goes on.
    let said = Mutex::new(Instant::now());
    memory.populate(|done| {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.elapsed() >= SAY_EVERY {
            *said = Instant::now();
            tracing::info!(percent = done * 100 / memory.len(), "taking the memory (node.populate)");
        }
    })?;
    Ok(())
}

fn make_unless(
    config: &Node,
    describe: impl Fn(&Path) -> Result<String, StartError>,
) -> Result<NodeMemory, StartError> {
    let Some(path) = &config.memory_file else {
        let hugepages = match config.hugepages {
            Hugepages::Auto => farrow_fabric_shm::Hugepages::Auto,
            Hugepages::Require => farrow_fabric_shm::Hugepages::Require,
            Hugepages::Off => farrow_fabric_shm::Hugepages::Off,
        };
        return Ok(NodeMemory::create(config.memory, hugepages)?);
    };
    if config.reformat {
        remove(path)?;
    }
    let memory = match NodeMemory::open_file(path, config.memory) {
        Ok(memory) if !memory.is_kept() => memory,
        Ok(_) | Err(MemoryError::OtherLength { .. }) => {
            let found = describe(path)?;
            return Err(StartError::MemoryFile { path: path.clone(), found });
        }
        Err(error) => return Err(error.into()),
    };
    if config.hugepages == Hugepages::Require && memory.pages().kind == PageKind::Small {
        let why = format!("node.hugepages is require, but {}", memory.pages().note);
        return Err(MemoryError::NoHugepages { why }.into());
    }
    Ok(memory)
}

/// Removes the file, unless a daemon has it. Cutting it instead would kill whoever still maps it.
fn remove(path: &Path) -> Result<(), StartError> {
    let error = |what| move |source: io::Error| StartError::File { what, path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(error("open")(source)),
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            return Err(MemoryError::InUse { path: path.to_owned() }.into());
        }
        Err(source) => return Err(error("lock")(source.into())),
    }
    if file.metadata().map_err(error("read"))?.len() > 0 {
        let bytes = first_bytes(&file).map_err(error("read"))?;
        // A mistyped path must not cost somebody their file.
        if !bytes.is_some_and(|bytes| bytes[..8] == [0; 8] || bytes[..8] == SUPERBLOCK_MAGIC.to_le_bytes()) {
            return Err(StartError::MemoryFile { path: path.to_owned(), found: FOREIGN.to_owned() });
        }
    }
    std::fs::remove_file(path).map_err(error("remove"))
}

const FOREIGN: &str =
    "is not Farrow's, and is not overwritten: set another node.memory_file, or remove that file";

const TO_GIVE_UP: &str = "To give it up, start once with node.reformat = true: everything in it is lost. To keep it, set \
                          another node.memory_file";

/// What a memory file holds and what to do, in words that complete "file X ...".
fn describe(path: &Path, memory_len: u64, map: &ClusterMap, node: NodeId) -> Result<String, StartError> {
    let error = |source| StartError::File { what: "read", path: path.to_owned(), source };
    let file = File::open(path).map_err(error)?;
    let len = file.metadata().map_err(error)?.len();
    let Some(bytes) = first_bytes(&file).map_err(error)? else {
        return Ok(FOREIGN.into());
    };
    let give_up = |found: String| Ok(format!("{found}. {TO_GIVE_UP}"));
    let found = match Superblock::open(&bytes) {
        Ok(found) => found,
        Err(SuperblockError::Magic(0)) => {
            return give_up(
                "holds zeroes where formatted memory begins: its formatting was interrupted".into(),
            );
        }
        Err(SuperblockError::Magic(_)) => return Ok(FOREIGN.into()),
        Err(why) => return give_up(format!("cannot be used: {why}")),
    };
    if found.cluster != map.cluster_id() {
        return give_up(format!("holds memory of another cluster than \"{}\"", map.name));
    }
    if found.node != node.0 {
        return give_up(format!("holds memory of node {}, and this is node {node}", NodeId(found.node)));
    }
    if found.geometry() != map.geometry || len < memory_len {
        return give_up(format!(
            "holds memory of another geometry ({len} bytes, {:?}; configured are {memory_len} bytes, {:?})",
            found.geometry(),
            map.geometry
        ));
    }
    give_up(
        "holds this node's memory from an earlier run, which this release cannot take up again: that needs a recovery \
         from the other members"
            .into(),
    )
}

/// The bytes where a superblock would be; `None` when the file is shorter.
fn first_bytes(mut file: &File) -> io::Result<Option<[u8; Superblock::LEN]>> {
    let mut bytes = [0; Superblock::LEN];
    match file.read_exact(&mut bytes) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{format, hosted};
    use crate::own_memory::offset;
    use farrow_control::map::{CommitKind, Shape};
    use farrow_layout::{Epoch, HomeId, Incarnation, Plan, Policy, SegmentHeader};
    use zerocopy::{FromBytes, IntoBytes};

    fn map() -> ClusterMap {
        ClusterMap::of(&Shape {
            name: "test".into(),
            commit: CommitKind::Colocated,
            policy: Policy::Replicate { copies: 2 },
            nodes: vec!["a:1".into(), "b:1".into(), "c:1".into()],
            homes_per_node: 2,
            max_keys: 1000,
            memory_len: 16 << 20,
            block_len: 64 << 10,
            extent_len: 16 << 10,
        })
        .unwrap()
    }

    #[test]
    fn formatted_memory_says_whose_it_is() {
        let map = map();
        let plan = map.plan().unwrap();
        let node = NodeId(1);
        let memory = NodeMemory::create(16 << 20, farrow_fabric_shm::Hugepages::Off).unwrap();
        format(&memory.mapping(), memory.len(), &map, node, Incarnation(7));

        let mut bytes = [0; Superblock::LEN];
        memory.mapping().copy_out(0, &mut bytes);
        let superblock = Superblock::open(&bytes).unwrap();
        assert_eq!((superblock.node, superblock.incarnation, superblock.epoch), (1, 7, 1));
        assert_eq!(superblock.geometry(), map.geometry);
        assert_eq!((superblock.cluster, superblock.memory_len), (map.cluster_id(), 16 << 20));

        let hosted = hosted(&map, node);
        assert_eq!(hosted.len(), 4);
        for hosted in hosted {
            let mut bytes = [0; size_of::<SegmentHeader>()];
            memory.mapping().copy_out(offset(plan.segment(hosted.segment).header()), &mut bytes);
            let header = SegmentHeader::read_from_bytes(&bytes).unwrap();
            assert_eq!(header.magic, SegmentHeader::MAGIC);
            assert_eq!((HomeId(header.home), header.rank), (hosted.home, hosted.rank));
            assert_eq!(Epoch(header.epoch), map.epoch);
            let member = map.homes[usize::from(header.home)].members[usize::from(header.rank)];
            assert_eq!((member.node, member.segment), (node, hosted.segment));
        }
    }

    #[test]
    fn what_a_file_holds_is_told_apart() {
        let map = map();
        let plan = map.plan().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m");
        let len: u64 = 64 << 10;
        let holding = |bytes: &[u8]| {
            let mut whole = bytes.to_vec();
            whole.resize(len as usize, 0);
            std::fs::write(&path, whole).unwrap();
            describe(&path, len, &map, NodeId(1)).unwrap()
        };
        let block =
            |cluster, node| Superblock::new(cluster, NodeId(node), Incarnation(7), Epoch(1), len, &plan);
        let ours = block(map.cluster_id(), 1);
        assert!(holding(ours.as_bytes()).contains("from an earlier run"));
        assert!(holding(block(1, 1).as_bytes()).contains("another cluster than \"test\""));
        assert!(holding(block(map.cluster_id(), 2).as_bytes()).contains("node n2, and this is node n1"));
        assert!(holding(b"#!/bin/sh").contains("not Farrow's"));
        assert!(holding(&[]).contains("interrupted"));
        assert!(holding(Superblock { format: 9, ..ours }.as_bytes()).contains("format 9"));
        assert!(holding(Superblock { epoch: 9, ..ours }.as_bytes()).contains("corrupt"));
        let mut other = map.geometry;
        other.block_len *= 2;
        let other = Plan::new(other).unwrap();
        let other = Superblock::new(map.cluster_id(), NodeId(1), Incarnation(7), Epoch(1), len, &other);
        assert!(holding(other.as_bytes()).contains("another geometry"));
    }
}
