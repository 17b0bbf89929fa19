//! A process's way to the coordinator that leads.

use crate::session::{DialError, connect_tcp};
use farrow_control::coordination::{Ask, Denial, Tell};
use farrow_control::{Channel, Limits, Secret};
use std::fmt;
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// The shortest time that an attempt to connect gets, however little is left.
const SHORTEST_DIAL: Duration = Duration::from_millis(20);

/// Asks whichever coordinator leads. It connects when it has to, and again at the first call after an error. One thread at a
/// time; a long poll wants a caller of its own.
pub struct Caller {
    coordinators: Vec<String>,
    secret: Secret,
    who: String,
    /// Which address is tried first.
    next: usize,
    connected: Option<Connected>,
}

struct Connected {
    address: String,
    name: String,
    lease: Duration,
    channel: Channel<TcpStream>,
}

/// Why a coordinator did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// None of them can be reached, or none leads. Nothing was carried out.
    #[error("no coordinator leads: {}", .tried.join("; "))]
    NoLeader {
        /// What became of each attempt.
        tried: Vec<String>,
    },
    /// The answer did not come: the request may have been carried out, or may be yet.
    #[error("coordinator {address} did not answer: {source}")]
    NoAnswer {
        /// Whom it was sent to.
        address: String,
        /// What is wrong.
        #[source]
        source: farrow_control::Error,
    },
    /// It said no. Nothing was carried out.
    #[error("coordinator {address}: {denial}")]
    Denied {
        /// Who said so.
        address: String,
        /// Its reason.
        #[source]
        denial: Denial,
    },
    /// The answer does not fit the question.
    #[error("coordinator {address} gave an answer that does not fit the question: {what}")]
    Confused {
        /// As dialled.
        address: String,
        /// In words.
        what: String,
    },
}

impl CallError {
    /// The coordinator's reason, if it is one that said no.
    pub fn denial(&self) -> Option<&Denial> {
        match self {
            CallError::Denied { denial, .. } => Some(denial),
            _ => None,
        }
    }
}

/// Why an attempt at one coordinator came to nothing.
enum Miss {
    /// In words.
    Unreachable(String),
    /// It does not lead; perhaps it knows who does.
    Follows(Option<String>),
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connected = self.connected.as_ref().map(|it| it.address.as_str());
        f.debug_struct("Caller")
            .field("coordinators", &self.coordinators)
            .field("connected", &connected)
            .finish()
    }
}

impl Caller {
    /// For the coordinators at these addresses. Connects to nobody yet. `who` is program and purpose, as they show it.
    pub fn new(coordinators: Vec<String>, secret: Secret, who: &str) -> Caller {
        Caller { coordinators, secret, who: who.to_owned(), next: 0, connected: None }
    }

    /// The coordinators to try from now on, if any are given.
    pub fn set_coordinators(&mut self, coordinators: &[String]) {
        if !coordinators.is_empty() && coordinators != self.coordinators {
            self.coordinators = coordinators.to_vec();
            self.next = 0;
        }
    }

    /// How long a lease is, as the coordinator said that was connected to last.
    pub fn lease(&self) -> Option<Duration> {
        self.connected.as_ref().map(|it| it.lease)
    }

    /// The cluster's name, as the coordinator said that is connected to.
    pub fn cluster(&self) -> Option<&str> {
        self.connected.as_ref().map(|it| it.name.as_str())
    }

    /// The address of the coordinator that is connected to.
    pub fn leader(&self) -> Option<&str> {
        self.connected.as_ref().map(|it| it.address.as_str())
    }

    /// Makes sure that a coordinator that leads is connected to. Blocks for at most about `within`.
    ///
    /// # Errors
    /// [`CallError::NoLeader`]; nothing was asked.
    pub fn connect(&mut self, within: Duration) -> Result<(), CallError> {
        self.connect_until(Instant::now() + within)
    }

    /// Asks, and waits for the answer. Blocks for at most about `within`, connecting included. A coordinator that turns out
    /// not to lead carries nothing out, so the one that does is asked instead.
    ///
    /// # Errors
    /// [`CallError`], which says whether the request may have been carried out. The next call connects anew if it has to.
    ///
    /// # Cost
    /// One round trip; three more when it has to connect.
    pub fn call(&mut self, ask: &Ask, within: Duration) -> Result<Tell, CallError> {
        let deadline = Instant::now() + within;
        // Once for a channel from before that has ended, once behind a change of leaders.
        for _ in 0..2 {
            self.connect_until(deadline)?;
            let connected = self.connected.as_mut().expect("connected just now");
            let reply = deadline.saturating_duration_since(Instant::now()).max(SHORTEST_DIAL);
            connected.channel.set_limits(Limits { reply, message: reply, ..connected.channel.limits() });
            let address = connected.address.clone();
            match connected.channel.call(ask) {
                Ok(Tell::Denied(Denial::NotLeading { leader })) => self.turn_to(leader),
                Ok(Tell::Denied(denial)) => return Err(CallError::Denied { address, denial }),
                Ok(tell) => return Ok(tell),
                Err(source) => {
                    self.connected = None;
                    self.next += 1;
                    return Err(CallError::NoAnswer { address, source });
                }
            }
        }
        Err(CallError::NoLeader { tried: vec!["the one that led has just stopped to".into()] })
    }

    /// An answer that was not expected, as an error.
    pub fn confused(&self, tell: &Tell) -> CallError {
        let what = format!("{tell:?}").chars().take(80).collect();
        CallError::Confused { address: self.leader().unwrap_or("nobody").to_owned(), what }
    }

    /// Ends the connection, if there is one.
    pub fn disconnect(&mut self) {
        self.connected = None;
    }

    fn turn_to(&mut self, leader: Option<String>) {
        self.connected = None;
        let known = leader.and_then(|leader| self.coordinators.iter().position(|c| *c == leader));
        self.next = known.unwrap_or(self.next + 1);
    }

    fn connect_until(&mut self, deadline: Instant) -> Result<(), CallError> {
        if self.connected.is_some() {
            return Ok(());
        }
        let count = self.coordinators.len();
        let mut tried = Vec::new();
        // Each one once, and once more whoever the first round has pointed to.
        for attempt in 0..2 * count {
            let left = deadline.saturating_duration_since(Instant::now());
            if attempt > 0 && left.is_zero() {
                break;
            }
            let address = self.coordinators[self.next % count].clone();
            // One that is silent must leave time for the others.
            let share = (left / (count.saturating_sub(attempt).max(1) as u32)).max(SHORTEST_DIAL);
            match self.dial(&address, share) {
                Ok(connected) => {
                    self.next %= count;
                    self.connected = Some(connected);
                    return Ok(());
                }
                Err(Miss::Unreachable(why)) => {
                    tried.push(why);
                    self.next += 1;
                }
                Err(Miss::Follows(leader)) => {
                    let led_by = leader.as_deref().unwrap_or("nobody that it knows of");
                    tried.push(format!("{address} does not lead, {led_by} does"));
                    self.turn_to(leader);
                }
            }
        }
        if tried.is_empty() {
            tried.push("there are no addresses of coordinators".into());
        }
        tried.dedup();
        Err(CallError::NoLeader { tried })
    }

    fn dial(&self, address: &str, within: Duration) -> Result<Connected, Miss> {
        let miss = |why: String| Miss::Unreachable(format!("{address}: {why}"));
        let tcp = connect_tcp(address, within).map_err(|e| match e {
            DialError::Connect { source, .. } => miss(source.to_string()),
            other => miss(other.to_string()),
        })?;
        let limits = Limits { handshake: within, message: within, reply: within, ..Limits::default() };
        let mut channel =
            Channel::connect(tcp, &self.secret, limits).map_err(|source| miss(source.to_string()))?;
        match channel.call(&Ask::Hello { who: self.who.clone() }) {
            Ok(Tell::Welcome { name, lease_ms }) => {
                let lease = Duration::from_millis(lease_ms);
                Ok(Connected { address: address.to_owned(), name, lease, channel })
            }
            Ok(Tell::Denied(Denial::NotLeading { leader })) => Err(Miss::Follows(leader)),
            Ok(other) => Err(miss(format!("it answered {other:?}"))),
            Err(source) => Err(miss(source.to_string())),
        }
    }
}
