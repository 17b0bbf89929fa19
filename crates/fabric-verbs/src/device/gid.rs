//! The 128-bit address of a port.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// A global identifier. On RoCE v2 it is an IP address; IPv4 in its mapped form.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gid(pub [u8; 16]);

impl Gid {
    /// From the kernel's eight groups of four digits. Nothing if it is something else.
    pub fn parse(text: &str) -> Option<Gid> {
        let text = text.trim();
        let eight_groups = text.len() == 39 && text.split(':').count() == 8;
        let address: Ipv6Addr = eight_groups.then(|| text.parse().ok())??;
        Some(Gid(address.octets()))
    }

    /// Whether the table's place is empty.
    pub fn is_empty(self) -> bool {
        self.0 == [0; 16]
    }

    /// Whether it is valid on one link only. On Ethernet that means an address made of the MAC, which no
    /// router and no other subnet knows; on InfiniBand it is the default subnet, and normal.
    pub fn is_link_local(self) -> bool {
        Ipv6Addr::from(self.0).is_unicast_link_local()
    }

    /// The IP address it stands for on RoCE v2.
    pub fn to_ip(self) -> IpAddr {
        Ipv6Addr::from(self.0).to_canonical()
    }
}

impl fmt::Display for Gid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ipv6Addr::from(self.0).fmt(f)
    }
}

impl fmt::Debug for Gid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How packets look on the wire that carry a GID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GidType {
    /// InfiniBand's own.
    InfiniBand,
    /// Ethernet frames of their own type, which no router forwards.
    RoceV1,
    /// UDP.
    RoceV2,
    /// A word of the kernel that is not known here.
    Unknown(String),
}

impl fmt::Display for GidType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GidType::InfiniBand => "InfiniBand",
            GidType::RoceV1 => "RoCE v1",
            GidType::RoceV2 => "RoCE v2",
            GidType::Unknown(word) => word,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gids_are_read_as_the_kernel_writes_them() {
        let gid = Gid::parse("0000:0000:0000:0000:0000:ffff:0a09:0001\n").expect("a GID");
        assert_eq!(gid.to_ip(), IpAddr::from([10, 9, 0, 1]));
        assert_eq!(gid.to_string(), "::ffff:10.9.0.1");
        assert!(!gid.is_link_local());
        assert!(!gid.is_empty());

        let local = Gid::parse("fe80:0000:0000:0000:1022:7dff:fe12:4141").expect("a GID");
        assert!(local.is_link_local());
        assert!(Gid::parse("0000:0000:0000:0000:0000:0000:0000:0000").expect("a GID").is_empty());
    }

    #[test]
    fn other_texts_are_not_gids() {
        for text in ["", "::1", "fe80::1", "0000:0000:0000:0000:0000:ffff:0a09:000g", "10.9.0.1"] {
            assert_eq!(Gid::parse(text), None, "{text}");
        }
    }
}
