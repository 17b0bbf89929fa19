//! What is going on, for people.

use crate::{Coordinator, Instant};
use farrow_control::coordination::{CoordinatorStatus, OrderStatus, ProcessStatus};
use farrow_control::map::HomeEntry;
use farrow_layout::{ClientId, HomeId};
use std::collections::BTreeSet;

impl Coordinator {
    /// What is going on. `store` says where the state is kept.
    pub fn status(&self, now: Instant, store: &str) -> CoordinatorStatus {
        let left_ms = |heard: Instant| (heard + self.settings.lease_ns).since(now) / 1_000_000;
        let clients = |process| {
            let own = self.state.clients.iter().filter(move |(_, owner)| **owner == process);
            own.map(|(&client, _)| client).collect::<Vec<ClientId>>()
        };
        let processes = self.watchers.iter().map(|(&process, watcher)| ProcessStatus {
            process,
            who: watcher.who.clone(),
            clients: clients(process),
            left_ms: left_ms(watcher.heard),
        });
        let orders = self.state.orders.iter().map(|entry| OrderStatus {
            order: entry.order.clone(),
            agent: entry.agent,
            progress: self.progress.get(&entry.order.id).copied(),
        });
        CoordinatorStatus {
            map: self.state.map.clone(),
            store: store.to_owned(),
            lease_ms: self.settings.lease_ns / 1_000_000,
            leases: self.heard.iter().map(|(&node, &heard)| (node, left_ms(heard))).collect(),
            processes: processes.collect(),
            orders: orders.collect(),
            stuck: self.remarks(now),
            counts: self.counts,
        }
    }

    /// What somebody should do something about. What concerns the whole cluster is said of its first home.
    fn remarks(&self, now: Instant) -> Vec<(HomeId, String)> {
        let mut remarks: Vec<_> = self.why_not_formed(now).map(|why| (HomeId(0), why)).into_iter().collect();
        remarks.extend(self.stuck(now));
        for home in &self.state.map.homes {
            remarks.extend(self.remark(home, now).map(|why| (home.id, why)));
        }
        remarks
    }

    fn remark(&self, home: &HomeEntry, now: Instant) -> Option<String> {
        let map = &self.state.map;
        if home.members.is_empty() {
            return Some("all of its nodes were lost: what was in it is gone".into());
        }
        let silent: Vec<_> =
            home.members.iter().map(|m| m.node).filter(|&n| self.has_lapsed(n, now)).collect();
        if !silent.is_empty() {
            // Those that are silent are not passed over while another home would have nobody left.
            let names: Vec<_> = silent.iter().map(|n| n.to_string()).collect();
            return Some(format!(
                "{} silent and may hold the last copy of something: waited for",
                names.join(", ")
            ));
        }
        let domains: BTreeSet<_> =
            home.members.iter().map(|m| &map.nodes[usize::from(m.node.0)].domain).collect();
        (domains.len() < home.members.len()).then(|| {
            format!("its {} members are in {} failure domains only", home.members.len(), domains.len())
        })
    }
}
