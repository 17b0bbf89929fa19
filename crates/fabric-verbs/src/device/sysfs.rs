//! Reads what the kernel shows of RDMA devices in `/sys/class/infiniband`.
//!
//! ```text
//!   rxe0/node_type                     1: CA
//!   rxe0/parent                        (emulated devices only) the network device they run on
//!   rxe0/ports/1/state                 4: ACTIVE
//!   rxe0/ports/1/link_layer            Ethernet
//!   rxe0/ports/1/gids/1                0000:0000:0000:0000:0000:ffff:0a09:0001
//!   rxe0/ports/1/gid_attrs/types/1     RoCE v2
//!   rxe0/ports/1/gid_attrs/ndevs/1     wire0
//! ```

use std::fs;
use std::io;
use std::path::Path;

use super::{Candidate, Gid, GidType, LinkLayer, PortState, Transport};

/// All GIDs of all ports under `root`, by device, port and index. Their limits are not known yet. A `root`
/// that does not exist is a machine without RDMA: an empty list.
///
/// Places of the GID table that are empty or unreadable (they belong to another network namespace) are left
/// out.
///
/// # Errors
/// `root` exists and could not be read.
pub fn scan(root: &Path) -> io::Result<Vec<Candidate>> {
    let mut found = Vec::new();
    for device in sorted_names(root)? {
        let at = root.join(&device);
        let emulated = at.join("parent").exists();
        let transport = transport(&word(&at.join("node_type")).unwrap_or_default());
        for port in sorted_numbers(&at.join("ports"))? {
            let at = at.join("ports").join(port.to_string());
            let state = port_state(&word(&at.join("state")).unwrap_or_default());
            let link_layer = link_layer(&word(&at.join("link_layer")).unwrap_or_default());
            for gid_index in sorted_numbers(&at.join("gids"))? {
                let index = gid_index.to_string();
                let gid = word(&at.join("gids").join(&index)).and_then(|text| Gid::parse(&text));
                let Some(gid) = gid.filter(|gid| !gid.is_empty()) else { continue };
                let attrs = at.join("gid_attrs");
                let gid_type = word(&attrs.join("types").join(&index));
                found.push(Candidate {
                    device: device.clone(),
                    emulated,
                    transport,
                    port,
                    state: state.clone(),
                    link_layer,
                    gid_index,
                    gid,
                    gid_type: gid_type_of(gid_type, link_layer),
                    netdev: word(&attrs.join("ndevs").join(&index)),
                    capability: Err("the device was not opened".to_owned()),
                });
            }
        }
    }
    Ok(found)
}

fn transport(node_type: &str) -> Transport {
    match after_colon(node_type) {
        "CA" => Transport::InfiniBand,
        "RNIC" => Transport::Iwarp,
        _ => Transport::Other,
    }
}

fn port_state(state: &str) -> PortState {
    match after_colon(state) {
        "ACTIVE" => PortState::Active,
        "" => PortState::Not("unknown".to_owned()),
        other => PortState::Not(other.to_owned()),
    }
}

fn link_layer(word: &str) -> LinkLayer {
    if word == "InfiniBand" { LinkLayer::InfiniBand } else { LinkLayer::Ethernet }
}

/// The kernel has one word for InfiniBand and RoCE v1; the link layer tells which is meant. InfiniBand ports
/// of some drivers have no types at all.
fn gid_type_of(word: Option<String>, link_layer: LinkLayer) -> GidType {
    match (word.as_deref(), link_layer) {
        (None | Some("IB/RoCE v1"), LinkLayer::InfiniBand) => GidType::InfiniBand,
        (Some("IB/RoCE v1"), LinkLayer::Ethernet) => GidType::RoceV1,
        (Some("RoCE v2"), _) => GidType::RoceV2,
        (Some(other), _) => GidType::Unknown(other.to_owned()),
        (None, LinkLayer::Ethernet) => GidType::Unknown("unknown type".to_owned()),
    }
}

/// "4: ACTIVE" is "ACTIVE".
fn after_colon(text: &str) -> &str {
    text.split_once(':').map_or(text, |(_, word)| word).trim()
}

/// The content of a small file without its line end. Nothing if it is unreadable or empty: the kernel
/// answers EINVAL for table places that are not in use.
fn word(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn sorted_names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        // Names that are not UTF-8 cannot be device names; the kernel allows none.
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Numbers above 255 fit neither a port nor the GID index of a queue pair, and are left out.
fn sorted_numbers(dir: &Path) -> io::Result<Vec<u8>> {
    let mut numbers: Vec<u8> = sorted_names(dir)?.iter().filter_map(|name| name.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    /// Writes `files` (path, content) below a fresh directory.
    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("files are in directories")).expect("made");
            fs::write(path, content).expect("written");
        }
        root
    }

    #[test]
    fn soft_roce_is_read() {
        let root = tree(&[
            ("rxe0/node_type", "1: CA\n"),
            ("rxe0/parent", "wire0\n"),
            ("rxe0/ports/1/state", "4: ACTIVE\n"),
            ("rxe0/ports/1/link_layer", "Ethernet\n"),
            ("rxe0/ports/1/gids/0", "fe80:0000:0000:0000:1022:7dff:fe12:4141\n"),
            ("rxe0/ports/1/gids/1", "0000:0000:0000:0000:0000:ffff:0a09:0001\n"),
            ("rxe0/ports/1/gids/2", "0000:0000:0000:0000:0000:0000:0000:0000\n"),
            ("rxe0/ports/1/gid_attrs/types/0", "RoCE v2\n"),
            ("rxe0/ports/1/gid_attrs/types/1", "RoCE v2\n"),
            ("rxe0/ports/1/gid_attrs/ndevs/0", "wire0\n"),
            ("rxe0/ports/1/gid_attrs/ndevs/1", "wire0\n"),
        ]);
        let found = scan(root.path()).expect("readable");
        assert_eq!(found.len(), 2, "{found:?}");
        let ipv4 = &found[1];
        assert_eq!((ipv4.device.as_str(), ipv4.port, ipv4.gid_index), ("rxe0", 1, 1));
        assert!(ipv4.emulated);
        assert_eq!(ipv4.transport, Transport::InfiniBand);
        assert_eq!(ipv4.state, PortState::Active);
        assert_eq!(ipv4.link_layer, LinkLayer::Ethernet);
        assert_eq!(ipv4.gid_type, GidType::RoceV2);
        assert_eq!(ipv4.gid.to_ip(), IpAddr::from([10, 9, 0, 1]));
        assert_eq!(ipv4.netdev.as_deref(), Some("wire0"));
        assert!(found[0].gid.is_link_local());
        assert_eq!(ipv4.to_string(), "rxe0 port 1 GID 1 (::ffff:10.9.0.1, RoCE v2, wire0)");
    }

    #[test]
    fn hardware_with_two_ports_both_roce_versions_and_many_gids_is_in_order() {
        let root = tree(&[
            ("mlx5_1/node_type", "1: CA\n"),
            ("mlx5_1/ports/1/state", "1: DOWN\n"),
            ("mlx5_1/ports/1/link_layer", "Ethernet\n"),
            ("mlx5_1/ports/1/gids/3", "0000:0000:0000:0000:0000:ffff:c0a8:0001\n"),
            ("mlx5_1/ports/1/gids/10", "2001:0db8:0000:0000:0000:0000:0000:0001\n"),
            ("mlx5_1/ports/1/gids/300", "2001:0db8:0000:0000:0000:0000:0000:0002\n"),
            ("mlx5_1/ports/1/gid_attrs/types/3", "IB/RoCE v1\n"),
            ("mlx5_1/ports/1/gid_attrs/types/10", "RoCE v3\n"),
            ("mlx5_1/ports/2/state", "4: ACTIVE\n"),
            ("mlx5_1/ports/2/link_layer", "Ethernet\n"),
            ("mlx5_1/ports/2/gids/0", "0000:0000:0000:0000:0000:ffff:c0a8:0002\n"),
            ("mlx5_0/node_type", "4: RNIC\n"),
            ("mlx5_0/ports/1/gids/0", "0000:0000:0000:0000:0000:ffff:c0a8:0003\n"),
        ]);
        let found = scan(root.path()).expect("readable");
        let order: Vec<_> = found.iter().map(|c| (c.device.as_str(), c.port, c.gid_index)).collect();
        assert_eq!(order, [("mlx5_0", 1, 0), ("mlx5_1", 1, 3), ("mlx5_1", 1, 10), ("mlx5_1", 2, 0)]);
        assert_eq!(found[0].transport, Transport::Iwarp);
        assert_eq!(found[0].state, PortState::Not("unknown".to_owned()));
        assert_eq!(found[1].state, PortState::Not("DOWN".to_owned()));
        assert_eq!(found[1].gid_type, GidType::RoceV1);
        assert_eq!(found[1].netdev, None);
        assert!(!found[1].emulated);
        assert_eq!(found[2].gid_type, GidType::Unknown("RoCE v3".to_owned()));
        assert_eq!(found[3].gid_type, GidType::Unknown("unknown type".to_owned()));
    }

    #[test]
    fn infiniband_gids_are_infiniband_with_and_without_a_type() {
        let root = tree(&[
            ("mlx4_0/node_type", "1: CA\n"),
            ("mlx4_0/ports/1/state", "4: ACTIVE\n"),
            ("mlx4_0/ports/1/link_layer", "InfiniBand\n"),
            ("mlx4_0/ports/1/gids/0", "fe80:0000:0000:0000:0002:c903:0000:0001\n"),
            ("mlx4_0/ports/1/gids/1", "fe80:0000:0000:0000:0002:c903:0000:0002\n"),
            ("mlx4_0/ports/1/gid_attrs/types/0", "IB/RoCE v1\n"),
        ]);
        let found = scan(root.path()).expect("readable");
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|c| c.gid_type == GidType::InfiniBand));
        assert!(found.iter().all(|c| c.link_layer == LinkLayer::InfiniBand));
    }

    #[test]
    fn a_machine_without_rdma_has_no_candidates() {
        let root = tree(&[]);
        assert!(scan(&root.path().join("infiniband")).expect("absent is empty").is_empty());
        assert!(scan(root.path()).expect("empty").is_empty());
    }

    #[test]
    fn damaged_entries_are_left_out() {
        let root = tree(&[
            ("odd0/ports/1/gids/0", "not a gid\n"),
            ("odd0/ports/1/gids/x", "0000:0000:0000:0000:0000:ffff:0a09:0001\n"),
            ("odd0/ports/one/gids/0", "0000:0000:0000:0000:0000:ffff:0a09:0001\n"),
            ("odd1/node_type", "\n"),
        ]);
        assert!(scan(root.path()).expect("readable").is_empty());
    }
}
