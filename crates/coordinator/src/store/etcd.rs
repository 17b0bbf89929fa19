//! The state in etcd, for several coordinators: whoever holds a key there leads.
//!
//! ```text
//! farrow/CLUSTER/leader   the leader's address, bound to an etcd lease: it vanishes when nobody renews that
//! farrow/CLUSTER/state    written only in a transaction that compares the leader key's creation with the writer's own
//! ```
//!
//! So a coordinator that was passed over stores nothing any more, however late it wakes up. And it answers nobody beyond the
//! end of its etcd lease, counted from before it asked for it: its successor may grant leases from then on.

use super::text::{decode, encode};
use super::{Campaign, Store, StoreError};
use crate::State;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use std::time::Duration;

/// How long the etcd lease of the leader is: how long nothing is decided when it dies without a word. etcd grants no less than
/// two seconds with its default election timeout, and one request to a server that is away may take half of that.
const TERM: Duration = Duration::from_secs(3);
/// For one request to one server of etcd.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
const REQUEST_TIMEOUT: Duration = Duration::from_millis(1500);
/// Longest answer that is read, in bytes. etcd takes requests of 1.5 MiB, so no state is longer.
const MAX_ANSWER: u64 = 8 << 20;

/// The state in etcd, through its JSON gateway (version 3.4 and later), without authentication.
pub struct EtcdStore {
    servers: Vec<String>,
    /// Which one is asked first.
    next: usize,
    cluster: String,
    agent: ureq::Agent,
    led: Option<Led>,
}

#[derive(Clone, Copy)]
struct Led {
    lease: i64,
    /// The revision in which the leader key was made; none while this one only tries to.
    created: Option<i64>,
}

impl EtcdStore {
    /// The state of `cluster` in the etcd that `servers` (`http://host:port`) make. Asks nobody yet.
    pub fn new(servers: Vec<String>, cluster: &str) -> EtcdStore {
        let config = ureq::Agent::config_builder()
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(REQUEST_TIMEOUT))
            .http_status_as_error(false)
            .proxy(None)
            .build();
        let agent = config.into();
        let servers = servers.into_iter().map(|s| s.trim_end_matches('/').to_owned()).collect();
        EtcdStore { servers, next: 0, cluster: cluster.to_owned(), agent, led: None }
    }

    fn key(&self, name: &str) -> String {
        BASE64.encode(format!("farrow/{}/{name}", self.cluster))
    }

    /// Asks one server after the other until one answers. What is asked may have been carried out more than once.
    fn ask(&mut self, path: &str, body: &Value) -> Result<Value, StoreError> {
        let mut complaints = Vec::new();
        for _ in 0..self.servers.len() {
            let server = &self.servers[self.next % self.servers.len()];
            let request = self.agent.post(format!("{server}{path}")).content_type("application/json");
            let answer = request.send(body.to_string()).and_then(|mut response| {
                let text = response.body_mut().with_config().limit(MAX_ANSWER).read_to_string()?;
                Ok((response.status(), text))
            });
            let answer = match answer {
                Ok((status, text)) if status.is_success() => Ok(text),
                Ok((status, text)) => Err(format!("status {status}: {}", text.trim())),
                Err(error) => Err(error.to_string()),
            };
            match answer.and_then(|text| serde_json::from_str(&text).map_err(|e| format!("not JSON: {e}"))) {
                Ok(answer) => return Ok(answer),
                Err(why) => complaints.push(format!("{server}: {why}")),
            }
            self.next += 1;
        }
        Err(StoreError::Failed(format!("etcd does not answer: {}", complaints.join("; "))))
    }

    fn range(&self, name: &str) -> Value {
        json!({ "request_range": { "key": self.key(name) } })
    }

    /// That the leader key was made in this revision; 0 is that there is none.
    fn leader_is_of(&self, revision: i64) -> Value {
        json!([{
            "key": self.key("leader"),
            "target": "CREATE",
            "result": "EQUAL",
            "create_revision": revision.to_string(),
        }])
    }

    /// A lease to bind the leader key to: the one from before, if it lives.
    fn lease(&mut self) -> Result<i64, StoreError> {
        if let Some(led) = self.led
            && self.ttl(led.lease)? > 0
        {
            return Ok(led.lease);
        }
        self.led = None;
        let granted = self.ask("/v3/lease/grant", &json!({ "TTL": TERM.as_secs().to_string() }))?;
        let lease = number(&granted["ID"]).ok_or_else(|| confused(&granted))?;
        self.led = Some(Led { lease, created: None });
        Ok(lease)
    }

    /// Renews a lease. Says how many seconds it has then; 0 if it is over.
    fn ttl(&mut self, lease: i64) -> Result<i64, StoreError> {
        let kept = self.ask("/v3/lease/keepalive", &json!({ "ID": lease.to_string() }))?;
        Ok(number(&kept["result"]["TTL"]).unwrap_or(0))
    }

    fn state_in(&self, response: &Value) -> Result<Option<Box<State>>, StoreError> {
        let Some(value) = response["response_range"]["kvs"][0]["value"].as_str() else { return Ok(None) };
        let bytes = BASE64.decode(value).map_err(|e| e.to_string());
        let unusable =
            |why| StoreError::Unusable(format!("the state of the coordinator in {}: {why}", self.describe()));
        bytes.and_then(|bytes| decode(&bytes)).map(|state| Some(Box::new(state))).map_err(unusable)
    }
}

impl Store for EtcdStore {
    fn describe(&self) -> String {
        format!("etcd {} (farrow/{}/state)", self.servers.join(","), self.cluster)
    }

    fn campaign(&mut self, advertised: &str) -> Result<Campaign, StoreError> {
        let leader = self.ask("/v3/kv/range", &json!({ "key": self.key("leader") }))?;
        let own = self.led.map(|led| led.lease);
        if let Some(there) = leader["kvs"].get(0)
            && (own.is_none() || number(&there["lease"]) != own)
        {
            return Ok(Campaign::Follows(text(&there["value"])));
        }
        let lease = self.lease()?;
        let put = json!({ "request_put": {
            "key": self.key("leader"),
            "value": BASE64.encode(advertised),
            "lease": lease.to_string(),
        } });
        // An attempt whose answer was lost may have made the key already: its lease says so.
        let answer = self.ask(
            "/v3/kv/txn",
            &json!({
                "compare": self.leader_is_of(0),
                "success": [put, self.range("state")],
                "failure": [self.range("leader"), self.range("state")],
            }),
        )?;
        let is_new = answer["succeeded"] == true;
        let there = &answer["responses"][0]["response_range"]["kvs"][0];
        let created = match is_new {
            true => number(&answer["header"]["revision"]),
            false if number(&there["lease"]) == Some(lease) => number(&there["create_revision"]),
            false => return Ok(Campaign::Follows(text(&there["value"]))),
        };
        let created = created.ok_or_else(|| confused(&answer))?;
        let state = self.state_in(&answer["responses"][1])?;
        self.led = Some(Led { lease, created: Some(created) });
        Ok(Campaign::Leads(state))
    }

    fn keep(&mut self) -> Result<Option<Duration>, StoreError> {
        let Some(Led { lease, created: Some(_) }) = self.led else { return Err(StoreError::Deposed) };
        match self.ttl(lease)? {
            ttl @ 1.. => {
                let term = Duration::from_secs(ttl as u64);
                // etcd's clock may be faster than ours.
                Ok(Some(term - term / 16))
            }
            _ => {
                self.led = None;
                Err(StoreError::Deposed)
            }
        }
    }

    fn store(&mut self, state: &State) -> Result<(), StoreError> {
        let Some(Led { created: Some(created), .. }) = self.led else { return Err(StoreError::Deposed) };
        let put =
            json!({ "request_put": { "key": self.key("state"), "value": BASE64.encode(encode(state)) } });
        let answer =
            self.ask("/v3/kv/txn", &json!({ "compare": self.leader_is_of(created), "success": [put] }))?;
        match answer["succeeded"] == true {
            true => Ok(()),
            false => {
                self.led = None;
                Err(StoreError::Deposed)
            }
        }
    }

    fn resign(&mut self) {
        if let Some(led) = self.led.take() {
            // If it cannot be told, the lease runs out.
            let _ = self.ask("/v3/lease/revoke", &json!({ "ID": led.lease.to_string() }));
        }
    }
}

/// The gateway writes 64-bit numbers as texts, and leaves those out that are 0.
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

fn text(value: &Value) -> Option<String> {
    let bytes = BASE64.decode(value.as_str()?).ok()?;
    String::from_utf8(bytes).ok()
}

fn confused(answer: &Value) -> StoreError {
    StoreError::Failed(format!("etcd gave an answer that does not fit the question: {answer}"))
}
