//! Client processes: they watch, get ids for their clients, and may be lost.

use crate::{Coordinator, Instant};
use farrow_control::coordination::{Denial, News, ProcessId, Task};
use farrow_layout::{ClientId, Epoch};

/// Lost processes that are remembered. One that comes back later finds its clients' ids refused by the nodes.
const MAX_LOST_KEPT: usize = 4096;
/// Characters of a program's name that are kept.
const MAX_WHO_LEN: usize = 128;

/// A process that has a lease.
#[derive(Clone, Debug)]
pub(crate) struct Watcher {
    pub(crate) heard: Instant,
    pub(crate) who: String,
}

impl Coordinator {
    /// A client process is there: its lease runs from `now`. A process that was lost needs another name.
    ///
    /// # Errors
    /// [`Denial::ProcessLost`].
    pub fn watch(&mut self, now: Instant, process: ProcessId, who: &str) -> Result<(), Denial> {
        self.check_process(process)?;
        let who = who.chars().filter(|c| !c.is_control()).take(MAX_WHO_LEN).collect();
        // A lease of a predecessor's may be longer.
        let heard = self.watchers.get(&process).map_or(now, |known| known.heard.max(now));
        self.watchers.insert(process, Watcher { heard, who });
        Ok(())
    }

    /// What a process that has the map of `epoch` is to be told of what is stored; nothing yet if there is no news and the answer
    /// is not due.
    ///
    /// # Errors
    /// [`Denial::ProcessLost`]: it was taken for lost since it asked.
    pub fn news_for_process(
        &self,
        process: ProcessId,
        epoch: Epoch,
        is_due: bool,
    ) -> Result<Option<News>, Denial> {
        self.stored.check_process(process)?;
        let map = self.map_after(epoch).filter(|_| self.stored.is_formed());
        Ok((is_due || map.is_some()).then(|| News { map, orders: Vec::new() }))
    }

    /// An id that no client had before.
    ///
    /// # Errors
    /// [`Denial::ProcessLost`]; [`Denial::Bad`] when there are no more ids.
    pub fn new_client(&mut self, now: Instant, process: ProcessId) -> Result<ClientId, Denial> {
        self.check_process(process)?;
        if ClientId(self.state.next_client).is_agent() {
            return Err(Denial::Bad("this cluster has no more ids for clients: found another one".into()));
        }
        let unknown = || Watcher { heard: now, who: String::new() };
        let watcher = self.watchers.entry(process).or_insert_with(unknown);
        watcher.heard = watcher.heard.max(now);
        let state = self.state_mut();
        let client = ClientId(state.next_client);
        state.next_client += 1;
        state.clients.insert(client, process);
        Ok(client)
    }

    /// A client has left every node. One that has left already, or was cleaned up behind, may leave again.
    ///
    /// # Errors
    /// [`Denial::Bad`]: it is another process's client.
    pub fn leave_client(
        &mut self,
        process: ProcessId,
        client: ClientId,
        is_clean: bool,
    ) -> Result<(), Denial> {
        match self.state.clients.get(&client) {
            None => return Ok(()),
            Some(owner) if *owner != process => {
                return Err(Denial::Bad(format!("{client} is not a client of process {process}")));
            }
            Some(_) if self.is_recovered(client) => return Ok(()),
            Some(_) => {}
        }
        let state = self.state_mut();
        match is_clean {
            true => drop(state.clients.remove(&client)),
            false => drop(state.add_order(Task::RecoverClient { client })),
        }
        Ok(())
    }

    pub(crate) fn check_process(&self, process: ProcessId) -> Result<(), Denial> {
        self.state.check_process(process)
    }

    /// Whether there is an order to clean up behind the client.
    pub(crate) fn is_recovered(&self, client: ClientId) -> bool {
        self.state.orders.iter().any(|entry| entry.order.task == Task::RecoverClient { client })
    }

    /// Takes processes for lost whose leases are over. One without clients is just forgotten.
    pub(crate) fn lose_processes(&mut self, now: Instant) {
        if self.is_isolated {
            return;
        }
        let lease = self.settings.lease_ns;
        let over: Vec<_> = self
            .watchers
            .iter()
            .filter(|(_, w)| now >= w.heard + lease)
            .map(|(&process, _)| process)
            .collect();
        for process in over {
            self.watchers.remove(&process);
            if self.state.clients.values().any(|&owner| owner == process) {
                self.counts.processes_lost += 1;
                let lost = &mut self.state_mut().lost_processes;
                lost.push_back(process);
                if lost.len() > MAX_LOST_KEPT {
                    lost.pop_front();
                }
            }
        }
    }

    /// Orders to clean up behind the clients of processes that are lost.
    pub(crate) fn plan_recoveries(&mut self) {
        let clients = self.state.clients.iter().filter(|(_, owner)| self.check_process(**owner).is_err());
        let wanted: Vec<_> = clients.map(|(&client, _)| client).filter(|&c| !self.is_recovered(c)).collect();
        for client in wanted {
            self.state_mut().add_order(Task::RecoverClient { client });
        }
    }
}
