//! This process's end of RDMA: one port for all of its links, found when it is first needed.

use farrow_fabric_verbs::device::{Overrides, Toward, candidates, choose};
use farrow_fabric_verbs::{LinkOptions, Port, sys};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

/// What the user insists on, and the port that was found. Cheap to clone; clones find the same port.
#[derive(Clone, Debug, Default)]
pub struct Rdma(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    overrides: Overrides,
    depth: Option<u32>,
    inline: Option<u32>,
    found: OnceLock<Result<(Arc<Port>, String), String>>,
}

impl Rdma {
    /// As the configuration says: device, port and GID index override the choice; `depth` bounds what each link has
    /// outstanding, `inline` what a WRITE carries in its work request.
    pub fn new(
        device: Option<String>,
        port: Option<u8>,
        gid_index: Option<u8>,
        depth: u32,
        inline: u32,
    ) -> Rdma {
        Rdma(Arc::new(Inner {
            overrides: Overrides { device, port, gid_index },
            depth: Some(depth),
            inline: Some(inline),
            found: OnceLock::new(),
        }))
    }

    /// The port, and why it: chosen toward the first node that anybody asked about.
    ///
    /// # Errors
    /// In words: why there is none.
    pub(crate) fn toward(&self, peer: IpAddr) -> Result<(Arc<Port>, String), String> {
        self.0.found.get_or_init(|| self.find(peer)).clone()
    }

    fn find(&self, peer: IpAddr) -> Result<(Arc<Port>, String), String> {
        sys::Verbs::load().map_err(|e| e.to_string())?;
        let ranking =
            choose(candidates().map_err(|e| e.to_string())?, &Toward::observe(peer), &self.0.overrides);
        let best = ranking.best().map_err(|e| e.to_string())?;
        let why = ranking.verdicts.first().map(|v| v.outcome.to_string()).unwrap_or_default();
        let port = Port::open(best).map_err(|e| e.to_string())?;
        Ok((port, format!("{best}: {why}")))
    }

    /// The port that was found, if any was asked for.
    pub(crate) fn port(&self) -> Option<Arc<Port>> {
        self.0.found.get()?.as_ref().ok().map(|(port, _)| port.clone())
    }

    pub(crate) fn link_options(&self, port: &Port) -> LinkOptions {
        let usual = LinkOptions::default();
        LinkOptions {
            depth: self.0.depth.unwrap_or(usual.depth),
            inline: self.0.inline.unwrap_or(usual.inline),
            // An emulated device acknowledges when it gets the processor.
            timeout: if port.candidate().emulated { 16 } else { usual.timeout },
            ..usual
        }
    }
}
