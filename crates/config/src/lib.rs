//! One schema for the TOML file, the flags, the environment and the documentation.
//!
//! [`schema`](KEYS) lists every key once: its section, kind, default and meaning. From it come the keys of
//! `farrow.toml`, the flags `--section-key`, the variables `FARROW_SECTION_KEY`, `docs/config.md` and what
//! `farrow config show` prints. A flag beats the environment, which beats the file, which beats the default, and
//! every value remembers its [`Origin`].
//!
//! ```
//! let command = farrow_config::args(clap::Command::new("farrow"), &["cluster", "node"]);
//! let matches = command.get_matches_from(["farrow", "--node-memory", "8GiB"]);
//! let loaded = farrow_config::load(&matches, farrow_config::environment())?;
//! assert_eq!(loaded.config.node.memory, 8 << 30);
//! assert_eq!(loaded.origin("node", "memory").to_string(), "flag --node-memory");
//! # Ok::<(), farrow_config::ConfigError>(())
//! ```

#![forbid(unsafe_code)]

mod address;
mod choice;
mod environment;
mod error;
mod file;
mod flags;
mod kind;
mod load;
mod origin;
mod quantity;
mod reference;
mod schema;
mod secret;
mod show;
mod suggest;
mod validate;
mod value;

pub use choice::{Commit, Hugepages, LogFormat, LogLevel, Require, Transport};
pub use environment::{IGNORED_VARIABLES, environment};
pub use error::{ConfigError, Problem};
pub use farrow_layout::Policy;
pub use file::{DEFAULT_FILE, FileChoice};
pub use flags::args;
pub use kind::Kind;
pub use load::{Loaded, load, load_in};
pub use origin::Origin;
pub use quantity::{parse_duration, parse_size, print_duration, print_size};
pub use reference::render_markdown;
pub use schema::{Client, Cluster, Config, Coordinator, Fabric, KEYS, Key, Log, Node, SECTIONS, Section};
pub use secret::{SecretError, SecretText};
pub use show::{render_table, render_toml, to_json};
pub use value::Value;
