//! Tables of [`choose`]: given these candidates, this peer and these words of the operator, that order.

use super::super::{Capability, Subnet};
use super::*;
use crate::sys::{AtomicScope, DeviceLimits};

fn capability(atomics: AtomicScope) -> Capability {
    let limits = DeviceLimits {
        max_mr_size: 1 << 40,
        max_mr: 1024,
        max_qp: 1024,
        max_qp_wr: 4096,
        max_cqe: 4096,
        max_sge: 30,
        max_sge_rd: 30,
        max_qp_rd_atomic: 16,
        max_qp_init_rd_atomic: 16,
        atomics,
        ports: 1,
    };
    Capability { limits, active_mtu: 5, lid: 0 }
}

/// RoCE v2 on an active port of `device`, which runs on the network device "net-<device>".
fn roce(device: &str, port: u8, gid_index: u8, address: &str) -> Candidate {
    let address: std::net::IpAddr = address.parse().expect("an address");
    let gid = match address {
        std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        std::net::IpAddr::V6(v6) => v6.octets(),
    };
    Candidate {
        device: device.to_owned(),
        emulated: false,
        transport: Transport::InfiniBand,
        port,
        state: PortState::Active,
        link_layer: LinkLayer::Ethernet,
        gid_index,
        gid: Gid(gid),
        gid_type: GidType::RoceV2,
        netdev: Some(format!("net-{device}")),
        capability: Ok(capability(AtomicScope::Device)),
    }
}

fn infiniband(device: &str) -> Candidate {
    Candidate {
        link_layer: LinkLayer::InfiniBand,
        gid_type: GidType::InfiniBand,
        netdev: None,
        ..roce(device, 1, 0, "fe80::2:c903:0:1")
    }
}

fn toward(peer: &str) -> Toward {
    Toward { peer: peer.parse().expect("an address"), source: None, subnets: Vec::new() }
}

fn routed(peer: &str, source: &str) -> Toward {
    Toward { source: Some(source.parse().expect("an address")), ..toward(peer) }
}

fn with_subnet(toward: Toward, netdev: &str, network: &str, prefix_len: u8) -> Toward {
    let network = network.parse().expect("an address");
    let subnet = Subnet { netdev: netdev.to_owned(), network, prefix_len };
    Toward { subnets: toward.subnets.into_iter().chain([subnet]).collect(), ..toward }
}

/// "device/port/gid" of the accepted ones, best first.
fn accepted(ranking: &Ranking) -> Vec<String> {
    let accepted = ranking.verdicts.iter().filter(|v| matches!(v.outcome, Outcome::Accepted(_)));
    accepted
        .map(|v| format!("{}/{}/{}", v.candidate.device, v.candidate.port, v.candidate.gid_index))
        .collect()
}

fn reason_of_only(candidate: Candidate, overrides: &Overrides) -> String {
    let ranking = choose(vec![candidate], &toward("10.0.0.9"), overrides);
    match &ranking.verdicts[0].outcome {
        Outcome::Refused(reason) => reason.clone(),
        Outcome::Accepted(preference) => panic!("accepted: {preference}"),
    }
}

#[test]
fn the_gid_nearest_to_the_peer_wins() {
    let four = || {
        vec![
            roce("a", 1, 3, "10.4.0.1"),
            roce("b", 1, 3, "10.3.0.1"),
            roce("c", 1, 3, "10.2.0.1"),
            roce("d", 1, 3, "10.1.0.1"),
        ]
    };
    let table = [
        // Nothing known: by name.
        (toward("10.9.9.9"), "a b c d"),
        (toward("10.1.0.1"), "d a b c"),
        (routed("10.9.9.9", "10.2.0.1"), "c a b d"),
        (with_subnet(toward("10.3.0.77"), "net-b", "10.3.0.0", 16), "b a c d"),
        // The kernel's choice of source beats another device on the subnet; owning the address beats both.
        (with_subnet(routed("10.3.0.77", "10.2.0.1"), "net-b", "10.3.0.0", 16), "c b a d"),
        (with_subnet(routed("10.1.0.1", "10.2.0.1"), "net-b", "10.0.0.0", 8), "d c b a"),
        // A subnet of another network device says nothing about this GID.
        (with_subnet(toward("10.3.0.77"), "net-x", "10.3.0.0", 16), "a b c d"),
        // On the subnet of the peer, but this device's address is not.
        (with_subnet(toward("10.3.0.77"), "net-a", "10.3.0.0", 16), "a b c d"),
        (toward("127.0.0.1"), "a b c d"),
    ];
    for (toward, expected) in table {
        let expected: Vec<_> = expected.split(' ').map(|device| format!("{device}/1/3")).collect();
        let ranking = choose(four(), &toward, &Overrides::default());
        assert_eq!(accepted(&ranking), expected, "{toward:?}");
        assert_eq!(ranking.best().expect("accepted").device, &expected[0][..1]);
    }
}

#[test]
fn ipv6_peers_match_ipv6_gids() {
    let both = vec![roce("a", 1, 1, "10.1.0.1"), roce("a", 1, 2, "2001:db8::1")];
    let ranking = choose(both.clone(), &toward("2001:db8::1"), &Overrides::default());
    assert_eq!(accepted(&ranking), ["a/1/2", "a/1/1"]);
    let near = with_subnet(toward("2001:db8::9"), "net-a", "2001:db8::1", 64);
    assert_eq!(accepted(&choose(both, &near, &Overrides::default())), ["a/1/2", "a/1/1"]);
}

#[test]
fn a_gid_without_a_network_device_is_matched_by_address_alone() {
    let unknown = Candidate { netdev: None, ..roce("b", 1, 0, "10.3.0.1") };
    let near = with_subnet(toward("10.3.0.77"), "bond0", "10.3.0.0", 16);
    let ranking = choose(vec![roce("a", 1, 0, "10.4.0.1"), unknown], &near, &Overrides::default());
    assert_eq!(accepted(&ranking), ["b/1/0", "a/1/0"]);
}

#[test]
fn hardware_goes_before_emulation_but_not_before_nearness() {
    let soft = Candidate { emulated: true, ..roce("a_soft", 1, 1, "10.1.0.1") };
    let hard = roce("b_hard", 1, 1, "10.1.0.1");
    let far = roce("a_far", 1, 1, "10.2.0.1");
    let all = vec![soft, hard, far];
    let ranking = choose(all, &toward("10.1.0.1"), &Overrides::default());
    assert_eq!(accepted(&ranking), ["b_hard/1/1", "a_soft/1/1", "a_far/1/1"]);
}

#[test]
fn the_order_of_the_input_does_not_matter_to_the_accepted() {
    let forth = vec![roce("a", 2, 1, "10.1.0.1"), roce("a", 1, 4, "10.1.0.2"), roce("a", 1, 3, "10.1.0.3")];
    let back = forth.iter().rev().cloned().collect();
    let expected = ["a/1/3", "a/1/4", "a/2/1"];
    assert_eq!(accepted(&choose(forth, &toward("10.9.0.1"), &Overrides::default())), expected);
    assert_eq!(accepted(&choose(back, &toward("10.9.0.1"), &Overrides::default())), expected);
}

#[test]
fn link_local_gids_are_refused_on_ethernet_and_normal_on_infiniband() {
    let reason = reason_of_only(roce("a", 1, 0, "fe80::1"), &Overrides::default());
    assert!(reason.contains("link-local") && reason.contains("net-a"), "{reason}");

    let ranking = choose(vec![infiniband("ib")], &toward("10.0.0.1"), &Overrides::default());
    assert_eq!(ranking.verdicts[0].outcome, Outcome::Accepted(Preference::Unrelated));
}

#[test]
fn an_infiniband_gid_that_looks_like_the_peer_is_not_its_address() {
    let ranking = choose(vec![infiniband("ib")], &toward("fe80::2:c903:0:1"), &Overrides::default());
    assert_eq!(ranking.verdicts[0].outcome, Outcome::Accepted(Preference::Unrelated));
}

#[test]
fn each_unfit_candidate_is_told_why() {
    let good = || roce("a", 1, 1, "10.1.0.1");
    let table = [
        (Candidate { gid_type: GidType::RoceV1, ..good() }, "RoCE v1"),
        (Candidate { gid_type: GidType::Unknown("RoCE v3".to_owned()), ..good() }, "RoCE v3"),
        (
            Candidate { gid_type: GidType::RoceV2, link_layer: LinkLayer::InfiniBand, ..good() },
            "not one for this port",
        ),
        (Candidate { state: PortState::Not("DOWN".to_owned()), ..good() }, "ip link set net-a up"),
        (Candidate { state: PortState::Not("INIT".to_owned()), netdev: None, ..good() }, "the port is INIT"),
        (Candidate { transport: Transport::Iwarp, ..good() }, "iWARP"),
        (Candidate { transport: Transport::Other, ..good() }, "neither InfiniBand nor RoCE"),
        (Candidate { capability: Err("no permission".to_owned()), ..good() }, "no permission"),
        (Candidate { capability: Ok(capability(AtomicScope::None)), ..good() }, "no remote atomics"),
    ];
    for (candidate, expected) in table {
        let reason = reason_of_only(candidate.clone(), &Overrides::default());
        assert!(reason.contains(expected), "{reason:?} for {candidate}");
    }
}

#[test]
fn overrides_narrow_the_choice_and_say_so() {
    let all = || {
        vec![
            roce("a", 1, 0, "10.1.0.1"),
            roce("a", 1, 1, "10.1.0.2"),
            roce("a", 2, 0, "10.1.0.3"),
            roce("b", 1, 0, "10.1.0.4"),
        ]
    };
    let only = |device: Option<&str>, port, gid_index| Overrides {
        device: device.map(str::to_owned),
        port,
        gid_index,
    };
    let table = [
        (only(Some("a"), None, None), vec!["a/1/0", "a/1/1", "a/2/0"]),
        (only(None, Some(1), None), vec!["a/1/0", "a/1/1", "b/1/0"]),
        (only(None, None, Some(0)), vec!["a/1/0", "a/2/0", "b/1/0"]),
        (only(Some("a"), Some(1), Some(1)), vec!["a/1/1"]),
        (only(Some("c"), None, None), vec![]),
    ];
    for (overrides, expected) in table {
        let ranking = choose(all(), &toward("10.9.0.1"), &overrides);
        assert_eq!(accepted(&ranking), expected, "{overrides:?}");
        assert_eq!(ranking.verdicts.len(), 4, "nothing is lost");
    }
    let asked = only(Some("c"), None, None);
    assert_eq!(reason_of_only(roce("a", 1, 0, "10.1.0.1"), &asked), "device c was asked for");
    let asked = only(None, Some(2), None);
    assert_eq!(reason_of_only(roce("a", 1, 0, "10.1.0.1"), &asked), "port 2 was asked for");
    let asked = only(None, None, Some(9));
    assert_eq!(reason_of_only(roce("a", 1, 0, "10.1.0.1"), &asked), "GID index 9 was asked for");
}

#[test]
fn a_gid_index_lifts_the_rules_about_gids_and_no_others() {
    let asked = Overrides { gid_index: Some(0), ..Overrides::default() };
    let local = roce("a", 1, 0, "fe80::1");
    let v1 = Candidate { gid_type: GidType::RoceV1, ..roce("b", 1, 0, "10.1.0.1") };
    let ranking = choose(vec![local.clone(), v1], &toward("10.9.0.1"), &asked);
    assert_eq!(accepted(&ranking), ["a/1/0", "b/1/0"]);

    let down = Candidate { state: PortState::Not("DOWN".to_owned()), ..local.clone() };
    assert!(reason_of_only(down, &asked).contains("DOWN"));
    let weak = Candidate { capability: Ok(capability(AtomicScope::None)), ..local };
    assert!(reason_of_only(weak, &asked).contains("atomics"));
}

#[test]
fn refused_candidates_come_last_in_the_order_they_came() {
    let down = |device: &str| Candidate {
        state: PortState::Not("DOWN".to_owned()),
        ..roce(device, 1, 1, "10.1.0.1")
    };
    let all = vec![down("z"), roce("m", 1, 1, "10.2.0.1"), down("a")];
    let ranking = choose(all, &toward("10.1.0.1"), &Overrides::default());
    let order: Vec<_> = ranking.verdicts.iter().map(|v| v.candidate.device.as_str()).collect();
    assert_eq!(order, ["m", "z", "a"]);
    let shown = ranking.to_string();
    assert!(shown.starts_with("+ m port 1 GID 1 (::ffff:10.2.0.1, RoCE v2, net-m): is usable"), "{shown}");
    assert!(
        shown.contains("\n- z port 1 GID 1 (::ffff:10.1.0.1, RoCE v2, net-z): the port is DOWN"),
        "{shown}"
    );
}

#[test]
fn without_an_accepted_candidate_the_error_has_every_reason() {
    let none = choose(Vec::new(), &toward("10.1.0.1"), &Overrides::default());
    let said = none.best().expect_err("nothing there").to_string();
    assert!(said.contains("no RDMA device with an address") && said.contains("another fabric"), "{said}");

    let unfit = vec![
        roce("a", 1, 0, "fe80::1"),
        Candidate { transport: Transport::Iwarp, ..roce("w", 1, 0, "10.1.0.1") },
    ];
    let said =
        choose(unfit, &toward("10.1.0.1"), &Overrides::default()).best().expect_err("unfit").to_string();
    assert!(said.starts_with("no RDMA device can be used toward 10.1.0.1:\n"), "{said}");
    assert!(said.contains("a port 1 GID 0") && said.contains("w port 1 GID 0"), "{said}");
}

#[test]
fn a_gid_told_before_is_found_only_among_the_accepted() {
    let told = roce("a", 1, 2, "10.1.0.1");
    let down = Candidate { state: PortState::Not("DOWN".to_owned()), ..roce("b", 1, 2, "10.2.0.1") };
    let ranking = choose(vec![told.clone(), down.clone()], &toward("10.9.0.1"), &Overrides::default());
    assert_eq!(ranking.with_gid(told.gid), Some(&told));
    assert_eq!(ranking.with_gid(down.gid), None);
}
