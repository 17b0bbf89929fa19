//! How this machine's IP network reaches a peer: what a GID is weighed against.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;

/// The peer's address, and what this machine knows of the way there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toward {
    /// The address dialled; on the side that accepts, its own address that was dialled.
    pub peer: IpAddr,
    /// The own address that the kernel would send from, if there is a route.
    pub source: Option<IpAddr>,
    /// The subnets this machine is on.
    pub subnets: Vec<Subnet>,
}

impl Toward {
    /// Asks the kernel. Sends nothing.
    pub fn observe(peer: IpAddr) -> Toward {
        let peer = peer.to_canonical();
        Toward { peer, source: source_toward(peer), subnets: subnets(Path::new("/proc/net")) }
    }
}

/// A range of addresses that a network device reaches without a router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// The network device.
    pub netdev: String,
    /// Any address within.
    pub network: IpAddr,
    /// Leading bits that all addresses within share.
    pub prefix_len: u8,
}

impl Subnet {
    /// Whether `address` is within.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differs = network.to_bits() ^ address.to_bits();
                differs.leading_zeros() >= u32::from(self.prefix_len)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differs = network.to_bits() ^ address.to_bits();
                differs.leading_zeros() >= u32::from(self.prefix_len)
            }
            _ => false,
        }
    }
}

/// Connecting a UDP socket makes the kernel choose a route and a source address, and nothing else.
fn source_toward(peer: IpAddr) -> Option<IpAddr> {
    const DISCARD: u16 = 9;
    let any: IpAddr =
        if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
    socket.connect(SocketAddr::new(peer, DISCARD)).ok()?;
    socket.local_addr().ok().map(|own| own.ip().to_canonical())
}

/// The subnets in the kernel's tables below `proc_net`. A missing table (no IPv6) has none.
fn subnets(proc_net: &Path) -> Vec<Subnet> {
    let table = |name| fs::read_to_string(proc_net.join(name)).unwrap_or_default();
    let ipv4 = table("route");
    let ipv6 = table("if_inet6");
    ipv4.lines().filter_map(ipv4_subnet).chain(ipv6.lines().filter_map(ipv6_subnet)).collect()
}

/// A line of `/proc/net/route`, if it is of a subnet on the link: no router, and not everything.
fn ipv4_subnet(line: &str) -> Option<Subnet> {
    const UP: u32 = 1;
    const VIA_ROUTER: u32 = 2;
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [netdev, destination, _, flags, _, _, _, mask, ..] = fields[..] else { return None };
    // Addresses are printed as one number in the byte order of the machine.
    let address =
        |hex| u32::from_str_radix(hex, 16).ok().map(|number: u32| Ipv4Addr::from(number.to_ne_bytes()));
    let (network, mask) = (address(destination)?, address(mask)?);
    let flags = u32::from_str_radix(flags, 16).ok()?;
    let on_link = flags & UP != 0 && flags & VIA_ROUTER == 0 && mask.to_bits() != 0;
    let prefix_len = u8::try_from(mask.to_bits().leading_ones()).expect("at most 32");
    on_link.then(|| Subnet { netdev: netdev.to_owned(), network: network.into(), prefix_len })
}

/// A line of `/proc/net/if_inet6`: an address of this machine. Those of one link only tell nothing: every
/// network device is on that "subnet".
fn ipv6_subnet(line: &str) -> Option<Subnet> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [address, _, prefix_len, _, _, netdev] = fields[..] else { return None };
    let network = Ipv6Addr::from_bits(u128::from_str_radix(address, 16).ok()?);
    let prefix_len = u8::from_str_radix(prefix_len, 16).ok().filter(|len| *len <= 128)?;
    (!network.is_unicast_link_local()).then(|| Subnet {
        netdev: netdev.to_owned(),
        network: network.into(),
        prefix_len,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(netdev: &str, network: &str, prefix_len: u8) -> Subnet {
        Subnet { netdev: netdev.to_owned(), network: network.parse().expect("an address"), prefix_len }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_kernels_tables_are_read() {
        let root = tempfile::tempdir().expect("a directory");
        let route = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
             eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
             wire0\t0000090A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
             eth1\t0000FEA9\t0100A8C0\t0003\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
             down\t0000100A\t00000000\t0000\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        let if_inet6 = "fe8000000000000010227dfffe124141 03 40 20 80    wire0\n\
             20010db8000000000000000000000001 03 40 00 80    wire0\n\
             00000000000000000000000000000001 01 80 10 80       lo\n";
        fs::write(root.path().join("route"), route).expect("written");
        fs::write(root.path().join("if_inet6"), if_inet6).expect("written");
        let expected =
            [subnet("wire0", "10.9.0.0", 24), subnet("wire0", "2001:db8::1", 64), subnet("lo", "::1", 128)];
        assert_eq!(subnets(root.path()), expected);
    }

    #[test]
    fn missing_and_damaged_tables_have_no_subnets() {
        let root = tempfile::tempdir().expect("a directory");
        assert_eq!(subnets(root.path()), []);
        fs::write(root.path().join("route"), "wire0\tzz\t0\t0001\t0\t0\t0\tyy\n\nx\n").expect("written");
        fs::write(root.path().join("if_inet6"), "1 2 3\nzz 03 40 20 80 a\n1 03 ff 20 80 a\n")
            .expect("written");
        assert_eq!(subnets(root.path()), []);
    }

    #[test]
    fn containment_counts_leading_bits() {
        let table = [
            ("10.9.0.0", 24, "10.9.0.255", true),
            ("10.9.0.0", 24, "10.9.1.0", false),
            ("10.9.0.7", 32, "10.9.0.7", true),
            ("10.9.0.7", 32, "10.9.0.6", false),
            ("0.0.0.0", 0, "255.1.2.3", true),
            ("10.9.0.0", 24, "::1", false),
            ("2001:db8::1", 64, "2001:db8::ffff", true),
            ("2001:db8::1", 64, "2001:db8:0:1::1", false),
            ("2001:db8::1", 64, "10.9.0.1", false),
        ];
        for (network, prefix_len, address, expected) in table {
            let within = subnet("x", network, prefix_len).contains(address.parse().expect("an address"));
            assert_eq!(within, expected, "{address} in {network}/{prefix_len}");
        }
    }

    #[test]
    fn the_way_to_this_machine_starts_at_itself() {
        let toward = Toward::observe("::ffff:127.0.0.1".parse().expect("an address"));
        assert_eq!(toward.peer, IpAddr::from([127, 0, 0, 1]));
        assert_eq!(toward.source, Some(IpAddr::from([127, 0, 0, 1])));
    }
}
