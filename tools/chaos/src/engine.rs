//! Faults, one after the other and sometimes several at once, never taking more copies away than there are to spare.

use crate::deployment::Deployment;
use crate::fault::Fault;
use crate::net::{self, Cut};
use crate::now_ns;
use anyhow::{Context, Result, bail, ensure};
use rand::Rng;
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};
use std::time::Duration;

/// The clients, as far as faults befall them.
pub trait Crew {
    /// How many there are.
    fn count(&self) -> usize;
    /// Kills one, and has another take its place. Returns the name of the one that is gone.
    ///
    /// # Errors
    /// No other can be started.
    fn kill(&mut self, which: usize) -> Result<String>;
    /// Stops one, or lets it run on.
    fn pause(&mut self, which: usize, is_paused: bool);
    /// Looks after them.
    ///
    /// # Errors
    /// One has ended by itself.
    fn check(&mut self) -> Result<()>;
}

/// No clients that a fault could befall.
pub struct NoCrew;

impl Crew for NoCrew {
    fn count(&self) -> usize {
        0
    }

    fn kill(&mut self, _: usize) -> Result<String> {
        bail!("there are no clients")
    }

    fn pause(&mut self, _: usize, _: bool) {}

    fn check(&mut self) -> Result<()> {
        Ok(())
    }
}

/// What is to happen.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where choices come from. The faults of two runs with one seed are alike as far as the cluster's state is.
    pub random: SmallRng,
    /// How long faults are begun.
    pub duration: Duration,
    /// The kinds to choose from.
    pub faults: Vec<Fault>,
    /// How long redundancy may take to come back before the run fails.
    pub patience: Duration,
    /// The longest rest between two faults; the shortest is an eighth of it.
    pub rest: Duration,
    /// Whether a fault of clients or of the coordinator may fall into the time in which copies are restored.
    pub together: bool,
}

/// A fault that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strike {
    /// Its kind.
    pub fault: Fault,
    /// Whom it befell.
    pub target: String,
    /// When, by [`now_ns`].
    pub at_ns: u64,
    /// When what was killed had been started again, or ran on.
    pub over_ns: Option<u64>,
    /// When every home had all of its copies again, and nothing more was to be done.
    pub whole_ns: Option<u64>,
    /// Whether another fault happened meanwhile.
    pub is_mixed: bool,
}

/// What is said while it happens.
#[derive(Debug)]
pub enum Event<'a> {
    /// A fault.
    Struck(&'a Strike),
    /// Its consequences are mended.
    Mended(&'a Strike),
    /// A node that was passed over started again.
    Again(usize),
    /// Nothing new; said often.
    Tick,
}

/// What is to be undone.
enum Undo {
    StartNode(usize),
    Heal(Cut),
    ResumeNode(usize),
    ResumeClient(usize),
    StartCoordinator(usize),
    ResumeCoordinator(usize),
}

struct Due {
    at_ns: u64,
    undo: Undo,
    strike: usize,
}

struct Engine<'a> {
    deployment: &'a mut Deployment,
    crew: &'a mut dyn Crew,
    random: SmallRng,
    due: Vec<Due>,
    strikes: Vec<Strike>,
    paused_clients: Vec<usize>,
}

/// Lets faults happen, waits until their consequences are mended, and says what happened.
///
/// # Errors
/// Redundancy does not come back within the plan's patience, or somebody ends by itself who should not.
pub fn run(
    deployment: &mut Deployment,
    crew: &mut dyn Crew,
    plan: &Plan,
    told: &mut dyn FnMut(Event<'_>),
) -> Result<Vec<Strike>> {
    let faults = possible(plan, deployment, crew)?;
    let random = plan.random.clone();
    let (due, strikes, paused_clients) = (Vec::new(), Vec::new(), Vec::new());
    let mut engine = Engine { deployment, crew, random, due, strikes, paused_clients };
    let begin = now_ns();
    let end = begin + plan.duration.as_nanos() as u64;
    let patience = plan.patience.as_nanos() as u64;
    let mut next_ns = begin + engine.rest(plan.rest);
    let mut wanted = engine.choose(&faults);
    loop {
        std::thread::sleep(Duration::from_millis(2));
        told(Event::Tick);
        engine.undo()?;
        engine.crew.check()?;
        for number in engine.deployment.supervise()? {
            told(Event::Again(number));
        }
        engine.mend(told);
        let now = now_ns();
        let open = engine.strikes.iter().filter(|s| s.whole_ns.is_none());
        if let Some(late) = open.min_by_key(|s| s.at_ns).filter(|s| now - s.at_ns > patience) {
            let missing =
                engine.deployment.missing_since(late.at_ns).unwrap_or_else(|| "orders are not done".into());
            bail!(
                "{} of {} is not mended after {:?}: {missing}\n{}",
                late.fault,
                late.target,
                plan.patience,
                engine.deployment.explain()
            );
        }
        let is_quiet = engine.strikes.iter().all(|s| s.whole_ns.is_some());
        if now >= end {
            if is_quiet && engine.due.is_empty() {
                return Ok(engine.strikes);
            }
            continue;
        }
        if now < next_ns {
            continue;
        }
        if !is_quiet && wanted.copies() > 0 {
            // While copies are restored, something else may happen; the other fault has to wait.
            let others: Vec<_> = faults.iter().copied().filter(|f| f.copies() == 0).collect();
            match others.is_empty() || !plan.together {
                true => {
                    next_ns = now + engine.rest(plan.rest);
                    continue;
                }
                false if engine.random.random_bool(0.5) => wanted = engine.choose(&others),
                false => {
                    next_ns = now + engine.rest(plan.rest);
                    continue;
                }
            }
        }
        if !is_quiet && !plan.together {
            next_ns = now + engine.rest(plan.rest);
            continue;
        }
        if engine.strike(wanted, is_quiet)? {
            told(Event::Struck(engine.strikes.last().expect("one was added")));
        }
        next_ns = now_ns() + engine.rest(plan.rest);
        wanted = engine.choose(&faults);
    }
}

/// Those faults of the plan that this cluster can bear.
fn possible(plan: &Plan, deployment: &Deployment, crew: &dyn Crew) -> Result<Vec<Fault>> {
    let settings = deployment.settings();
    let mut faults = plan.faults.clone();
    faults.retain(|fault| {
        fault.copies() < settings.copies
            && (!fault.is_of_client() || crew.count() > 0)
            && (!fault.is_partition() || settings.is_partitioned)
    });
    ensure!(!faults.is_empty(), "none of the faults can befall this cluster");
    Ok(faults)
}

impl Engine<'_> {
    fn choose(&mut self, faults: &[Fault]) -> Fault {
        *faults.choose(&mut self.random).expect("there is one")
    }

    fn rest(&mut self, longest: Duration) -> u64 {
        let longest = longest.as_nanos() as u64;
        self.random.random_range(longest / 8..=longest)
    }

    /// Up to three leases.
    fn pause(&mut self) -> u64 {
        let lease = self.deployment.settings().lease.as_nanos() as u64;
        self.random.random_range(lease / 4..=3 * lease)
    }

    /// Until a process that was killed is started again: from at once to two leases.
    fn absence(&mut self) -> u64 {
        let lease = self.deployment.settings().lease.as_nanos() as u64;
        self.random.random_range(lease / 10..=2 * lease)
    }

    /// Does it, unless nobody is there whom it could befall just now.
    fn strike(&mut self, fault: Fault, is_quiet: bool) -> Result<bool> {
        let index = self.strikes.len();
        let mut undo = Vec::new();
        let at_ns;
        let target = match fault {
            Fault::NodeKill | Fault::PairKill | Fault::NodePause | Fault::NodeCut => {
                let victims = self.victims(fault.copies());
                if victims.len() < fault.copies() {
                    return Ok(false);
                }
                let is_killed = matches!(fault, Fault::NodeKill | Fault::PairKill);
                let length = if is_killed { self.absence() } else { self.pause() };
                at_ns = now_ns();
                for &number in &victims {
                    undo.push(match fault {
                        Fault::NodePause => {
                            self.deployment.pause_node(number, true);
                            (length, Undo::ResumeNode(number))
                        }
                        Fault::NodeCut => {
                            net::set(Cut::Node(number), true)?;
                            (length, Undo::Heal(Cut::Node(number)))
                        }
                        _ => {
                            self.deployment.kill_node(number);
                            (length, Undo::StartNode(number))
                        }
                    });
                }
                victims.iter().map(|n| format!("node {n}")).collect::<Vec<_>>().join(" and ")
            }
            Fault::ClientKill | Fault::ClientPause => {
                let all = 0..self.crew.count();
                let free: Vec<_> = all.filter(|c| !self.paused_clients.contains(c)).collect();
                let Some(&which) = free.choose(&mut self.random) else { return Ok(false) };
                at_ns = now_ns();
                if fault == Fault::ClientKill {
                    self.crew.kill(which)?
                } else {
                    self.crew.pause(which, true);
                    self.paused_clients.push(which);
                    undo.push((self.pause(), Undo::ResumeClient(which)));
                    format!("client {which}")
                }
            }
            Fault::CoordinatorKill | Fault::CoordinatorPause | Fault::CoordinatorCut => {
                let leader = if self.is_cut() { None } else { self.deployment.leader() };
                let Some(leader) = leader else { return Ok(false) };
                at_ns = now_ns();
                if fault == Fault::CoordinatorKill {
                    self.deployment.kill_coordinator(leader);
                    undo.push((self.absence(), Undo::StartCoordinator(leader)));
                } else if fault == Fault::CoordinatorCut {
                    net::set(Cut::Everybody, true)?;
                    undo.push((self.pause(), Undo::Heal(Cut::Everybody)));
                } else {
                    self.deployment.pause_coordinator(leader, true);
                    undo.push((self.pause(), Undo::ResumeCoordinator(leader)));
                }
                "the coordinator".to_owned()
            }
        };
        for (length, undo) in undo {
            self.due.push(Due { at_ns: at_ns + length, undo, strike: index });
        }
        for open in self.strikes.iter_mut().filter(|s| s.whole_ns.is_none()) {
            open.is_mixed = true;
        }
        let over_ns = (!self.due.iter().any(|d| d.strike == index)).then_some(at_ns);
        self.strikes.push(Strike { fault, target, at_ns, over_ns, whole_ns: None, is_mixed: !is_quiet });
        Ok(true)
    }

    fn is_cut(&self) -> bool {
        self.due.iter().any(|due| matches!(due.undo, Undo::Heal(Cut::Everybody)))
    }

    /// Nodes to befall: mostly such as hold copies.
    fn victims(&mut self, count: usize) -> Vec<usize> {
        let deployment = &*self.deployment;
        let all = 0..deployment.node_count();
        let known: Vec<_> =
            all.filter(|&n| deployment.is_running(n) && deployment.identity(n).is_some()).collect();
        let mut members: Vec<_> = known.iter().copied().filter(|&n| deployment.is_member(n)).collect();
        if self.random.random_bool(0.1) || members.len() < count {
            members = known;
        }
        members.shuffle(&mut self.random);
        members.truncate(count);
        members
    }

    fn undo(&mut self) -> Result<()> {
        let now = now_ns();
        while let Some(position) = self.due.iter().position(|due| due.at_ns <= now) {
            let due = self.due.swap_remove(position);
            match due.undo {
                Undo::StartNode(number) => self.deployment.start_node(number)?,
                Undo::Heal(cut) => net::set(cut, false)?,
                Undo::ResumeNode(number) => self.deployment.pause_node(number, false),
                Undo::ResumeClient(which) => {
                    self.paused_clients.retain(|&c| c != which);
                    self.crew.pause(which, false);
                }
                Undo::StartCoordinator(number) => {
                    self.deployment.start_coordinator(number).context("after a kill")?;
                }
                Undo::ResumeCoordinator(number) => self.deployment.pause_coordinator(number, false),
            }
            if !self.due.iter().any(|other| other.strike == due.strike) {
                self.strikes[due.strike].over_ns = Some(now_ns());
            }
        }
        Ok(())
    }

    /// Notes which strikes' consequences are mended.
    fn mend(&mut self, told: &mut dyn FnMut(Event<'_>)) {
        for index in 0..self.strikes.len() {
            let strike = &self.strikes[index];
            let (None, Some(over_ns)) = (strike.whole_ns, strike.over_ns) else { continue };
            let Some(seen) = self.deployment.watch().latest().filter(|seen| seen.asked_ns > over_ns) else {
                continue;
            };
            if self.deployment.missing_since(over_ns).is_none() && crate::is_idle(&seen.status) {
                self.strikes[index].whole_ns = Some(now_ns());
                told(Event::Mended(&self.strikes[index]));
            }
        }
    }
}
