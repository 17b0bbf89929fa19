//! The schema: every key there is, once.
//!
//! One table makes the typed structs, [`KEYS`] and the way between the two, so that none of them can forget a key.
//! To add a key, add a line; then bless `docs/config.md`.

use std::path::PathBuf;
use std::time::Duration;

use farrow_layout::Policy;

use crate::choice::{Commit, Hugepages, LogFormat, LogLevel, Require, Transport};
use crate::secret::SecretText;
use crate::value::{Field, Value};
use crate::{ConfigError, Kind, file, load, validate};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

const MICROSECOND: Duration = Duration::from_micros(1);
const SECOND: Duration = Duration::from_secs(1);

/// One key of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The section it lies in.
    pub section: &'static str,
    /// Its name within the section.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// The default, as it would be written in a flag; empty for a value that is not set.
    pub default: &'static str,
    /// A value somebody might write.
    pub example: &'static str,
    /// What it means, in one line.
    pub doc: &'static str,
}

impl Key {
    /// The name in messages and documents: `section.key`.
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// The flag without its dashes in front: `section-key`.
    pub fn flag(&self) -> String {
        format!("{}-{}", self.section, self.name).replace('_', "-")
    }

    /// The environment variable: `FARROW_SECTION_KEY`.
    pub fn variable(&self) -> String {
        format!("FARROW_{}_{}", self.section, self.name).to_ascii_uppercase()
    }

    /// The default as a value.
    pub fn default_value(&self) -> Value {
        self.kind.parse(self.default).expect("the schema's defaults fit their kinds, which a test checks")
    }
}

/// One section of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Its name.
    pub name: &'static str,
    /// What it is for, in one line.
    pub doc: &'static str,
}

/// Position of a key in [`KEYS`].
///
/// # Panics
/// When there is no such key.
pub(crate) fn key_index(section: &str, name: &str) -> usize {
    KEYS.iter()
        .position(|key| key.section == section && key.name == name)
        .unwrap_or_else(|| panic!("the schema has no key {section}.{name}"))
}

impl Config {
    /// Reads a configuration from the text of a TOML file, checked; what it does not set has its default.
    ///
    /// # Errors
    /// Everything that is wrong with the text.
    pub fn from_toml_str(text: &str) -> Result<Config, ConfigError> {
        load::from_layers(vec![file::settings(text, "<text>".as_ref())], file::FileChoice::None)
            .map(|loaded| loaded.config)
    }

    /// Checks a configuration that was put together by a program: each value by itself, and all together.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::unless_empty(validate::program(self))
    }
}

impl Default for Config {
    fn default() -> Config {
        Config::from_values(&KEYS.iter().map(Key::default_value).collect::<Vec<_>>())
    }
}

impl Node {
    /// The address that clients dial: `advertise`, or else `listen`.
    pub fn advertised(&self) -> &str {
        self.advertise.as_deref().unwrap_or(&self.listen)
    }
}

impl Coordinator {
    /// The address that others dial: `advertise`, or else `listen`.
    pub fn advertised(&self) -> &str {
        self.advertise.as_deref().unwrap_or(&self.listen)
    }
}

impl Fabric {
    /// The chosen port of the device, if one was chosen.
    pub fn chosen_port(&self) -> Option<u8> {
        (self.port != 0).then_some(self.port)
    }

    /// The chosen index into the GID table, if one was chosen.
    pub fn chosen_gid_index(&self) -> Option<u8> {
        u8::try_from(self.gid_index).ok()
    }
}

/// A doc comment's text without the space that follows its slashes.
const fn trim(doc: &'static str) -> &'static str {
    doc.split_at(1).1
}

macro_rules! schema {
    ($(
        #[doc = $section_doc:literal]
        $section:ident: $Section:ident {
            $(
                #[doc = $doc:literal]
                $name:ident: $type:ty = $kind:expr, $default:literal, $example:literal;
            )*
        }
    )*) => {
        /// The whole configuration, typed.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config {
            $(
                #[doc = $section_doc]
                pub $section: $Section,
            )*
        }

        $(
            #[doc = $section_doc]
            #[derive(Clone, Debug, PartialEq)]
            pub struct $Section {
                $(
                    #[doc = $doc]
                    pub $name: $type,
                )*
            }

            impl Default for $Section {
                fn default() -> $Section {
                    Config::default().$section
                }
            }
        )*

        /// All sections, in the order of documents.
        pub const SECTIONS: &[Section] =
            &[$(Section { name: stringify!($section), doc: trim($section_doc) }),*];

        /// All keys, section by section, in the order of documents.
        pub const KEYS: &[Key] = &[$($(
            Key {
                section: stringify!($section),
                name: stringify!($name),
                kind: $kind,
                default: $default,
                example: $example,
                doc: trim($doc),
            },
        )*)*];

        impl Config {
            /// Takes values in the order of [`KEYS`], each of its key's kind.
            pub(crate) fn from_values(values: &[Value]) -> Config {
                assert_eq!(values.len(), KEYS.len(), "one value for each key");
                let mut values = values.iter();
                // Fields of a struct expression are evaluated in the order written here, which is that of KEYS.
                Config {
                    $($section: $Section {
                        $($name: Field::from_value(values.next().expect("counted above")),)*
                    },)*
                }
            }

            /// The values in the order of [`KEYS`].
            pub(crate) fn to_values(&self) -> Vec<Value> {
                let mut kinds = KEYS.iter().map(|key| key.kind);
                vec![$($(
                    Field::to_value(&self.$section.$name, kinds.next().expect("one key for each field")),
                )*)*]
            }
        }
    };
}

schema! {
    /// What all memory nodes and clients of a cluster must agree on.
    cluster: Cluster {
        /// Name of the cluster, for reports and for telling two clusters apart.
        name: String = Kind::Text, "farrow", "shop";
        /// Control addresses of all memory nodes, the same list in the same order everywhere; not needed with cluster.coordinators.
        nodes: Vec<String> = Kind::List, "", "10.0.0.1:7400,10.0.0.2:7400,10.0.0.3:7400";
        /// Control addresses of the coordinators; with them nodes register and are replaced when they are lost.
        coordinators: Vec<String> = Kind::List, "", "10.0.0.1:7300,10.0.0.2:7300";
        /// The cluster's secret itself; seen by whoever may list processes, so prefer secret_file.
        secret: Option<SecretText> = Kind::Secret, "", "a-secret-of-16-bytes-or-more";
        /// File that holds the cluster's secret; nobody but its owner and group may have access.
        secret_file: Option<PathBuf> = Kind::OptionalText, "", "/etc/farrow/secret";
        /// Redundancy of the table: how many copies of every value and of the index.
        policy: Policy = Kind::Policy, "replicate:3", "replicate:2";
        /// Commit protocol of a PUT: colocated takes one round trip, snapshot is FUSEE's baseline.
        commit: Commit = Kind::Choice(Commit::NAMES), "colocated", "snapshot";
        /// Homes whose primary lies on each memory node.
        homes_per_node: u32 = Kind::Integer { min: 1, max: 64 }, "2", "4";
        /// Keys the cluster is made for; sizes the index.
        max_keys: u64 = Kind::Integer { min: 1, max: 1 << 40 }, "1000000", "50000000";
        /// Bytes of a block, a power of two.
        block_size: u64 = Kind::Size { min: 64 * KIB, max: 16 * MIB }, "256KiB", "1MiB";
        /// Bytes of a block that a client holds open at a time; a multiple of 64, at most block_size.
        extent_size: u64 = Kind::Size { min: 64, max: 16 * MIB }, "64KiB", "16KiB";
        /// Memory nodes that a coordinator waits for before it places homes; later ones are spares.
        nodes_to_form: u16 = Kind::Integer { min: 1, max: 1024 }, "3", "5";
        /// Lost memory nodes whose copies the others keep room for, as long as enough nodes are left.
        headroom_nodes: u16 = Kind::Integer { min: 0, max: 64 }, "1", "2";
        /// Fewest copies that a write is accepted with while others are lost; 0 is one less than cluster.policy says.
        write_floor: u8 = Kind::Integer { min: 0, max: 7 }, "0", "1";
    }
    /// A memory node.
    node: Node {
        /// Address the control plane listens on; port 0 takes any free one.
        listen: String = Kind::Text, "127.0.0.1:7400", "0.0.0.0:7400";
        /// Address that clients dial, as in cluster.nodes; without it, the address listened on.
        advertise: Option<String> = Kind::OptionalText, "", "10.0.0.1:7400";
        /// What the node fails together with, such as a rack; without it, the host of its address.
        domain: Option<String> = Kind::OptionalText, "", "rack-7";
        /// Memory to register and hand out.
        memory: u64 = Kind::Size { min: MIB, max: 64 * TIB }, "1GiB", "64GiB";
        /// Huge pages behind that memory: auto falls back to small pages and says so.
        hugepages: Hugepages = Kind::Choice(Hugepages::NAMES), "auto", "require";
        /// Take all of that memory at the start; otherwise each page when it is first written, by whoever writes it.
        populate: bool = Kind::Bool, "true", "false";
        /// File on tmpfs or hugetlbfs to hold that memory instead of an anonymous one; it outlives the daemon.
        memory_file: Option<PathBuf> = Kind::OptionalText, "", "/dev/shm/farrow.mem";
        /// Format node.memory_file anew at the start; everything in it is lost.
        reformat: bool = Kind::Bool, "false", "true";
        /// Clients served at a time.
        max_clients: u32 = Kind::Integer { min: 1, max: 4096 }, "256", "1024";
    }
    /// A coordinator.
    coordinator: Coordinator {
        /// Address that nodes and clients are heard on; port 0 takes any free one.
        listen: String = Kind::Text, "127.0.0.1:7300", "0.0.0.0:7300";
        /// Address that others dial, as in cluster.coordinators; without it, the address listened on.
        advertise: Option<String> = Kind::OptionalText, "", "10.0.0.8:7300";
        /// Where the state is kept: file:PATH for one coordinator, etcd:http://HOST:PORT,... for several.
        store: String = Kind::Text, "file:farrow-coordinator.state", "etcd:http://10.0.0.8:2379,http://10.0.0.9:2379";
        /// How long a node or a client process is believed to be there after its last word.
        lease: Duration = Kind::Duration { min: Duration::from_millis(50), max: Duration::from_secs(60) }, "1s", "500ms";
        /// Bytes a second that each order to restore copies may take while clients work; 0 is no cap.
        restore_bandwidth: u64 = Kind::Size { min: 0, max: TIB }, "1GiB", "200MiB";
    }
    /// How memory is reached.
    fabric: Fabric {
        /// Way to the memory: auto prefers shared memory on the same host, then RDMA.
        transport: Transport = Kind::Choice(Transport::NAMES), "auto", "rdma";
        /// Refuse to start when this transport cannot be used, instead of falling back.
        require: Require = Kind::Choice(Require::NAMES), "none", "rdma";
        /// RDMA device; without it, the first that has an active port.
        device: Option<String> = Kind::OptionalText, "", "mlx5_0";
        /// Port of the RDMA device; 0 takes the first active one.
        port: u8 = Kind::Integer { min: 0, max: 255 }, "0", "1";
        /// Index into the port's GID table; -1 finds a RoCE v2 address by itself.
        gid_index: i16 = Kind::Integer { min: -1, max: 255 }, "-1", "3";
        /// Verbs outstanding on each link.
        queue_depth: u32 = Kind::Integer { min: 1, max: 1024 }, "128", "256";
        /// Largest WRITE that travels inside its work request, if the device allows as much.
        inline: u32 = Kind::Size { min: 0, max: 4096 }, "220", "64";
    }
    /// A client.
    client: Client {
        /// How long an operation may take before its outcome is reported as unknown or refused.
        deadline: Duration = Kind::Duration { min: MICROSECOND, max: Duration::from_secs(3600) }, "2s", "200ms";
        /// Keys whose slots are remembered, so that a GET of them takes one round trip.
        cache_entries: u64 = Kind::Integer { min: 0, max: 1 << 32 }, "262144", "1000000";
        /// Share of stale answers above which a key's slot is read first, as in FUSEE's adaptive cache.
        cache_stale_ratio: f64 = Kind::Ratio, "0.1", "0.25";
        /// Threads that run operations, each with links of its own.
        threads: u32 = Kind::Integer { min: 1, max: 256 }, "1", "8";
        /// How long an idle thread polls before it sleeps until an event.
        spin: Duration = Kind::Duration { min: Duration::ZERO, max: SECOND }, "50us", "0s";
        /// Whether to write where so many nodes were lost that fewer copies are left than the cluster's floor.
        allow_under_replicated: bool = Kind::Bool, "false", "true";
    }
    /// What is logged.
    log: Log {
        /// Least severe message that is logged.
        level: LogLevel = Kind::Choice(LogLevel::NAMES), "info", "debug";
        /// Form of a message: text for people, json for machines.
        format: LogFormat = Kind::Choice(LogFormat::NAMES), "text", "json";
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_default_and_example_fits_its_kind() {
        for key in KEYS {
            assert_eq!(key.kind.parse(key.default).err(), None, "default of {}", key.path());
            assert_eq!(key.kind.parse(key.example).err(), None, "example of {}", key.path());
            assert_ne!(key.example, key.default, "the example of {} shows nothing new", key.path());
        }
    }

    #[test]
    fn defaults_are_valid_together() {
        Config::default().validate().unwrap();
    }

    #[test]
    fn names_are_unique_and_variables_stay_unambiguous() {
        assert_eq!(KEYS.iter().map(Key::path).collect::<HashSet<_>>().len(), KEYS.len());
        assert_eq!(KEYS.iter().map(Key::flag).collect::<HashSet<_>>().len(), KEYS.len());
        assert_eq!(KEYS.iter().map(Key::variable).collect::<HashSet<_>>().len(), KEYS.len());
    }

    #[test]
    fn names_follow_one_rule() {
        let key = &KEYS[key_index("cluster", "homes_per_node")];
        assert_eq!(key.path(), "cluster.homes_per_node");
        assert_eq!(key.flag(), "cluster-homes-per-node");
        assert_eq!(key.variable(), "FARROW_CLUSTER_HOMES_PER_NODE");
    }

    #[test]
    fn documentation_is_one_line_that_ends_as_a_sentence() {
        for key in KEYS {
            assert!(key.doc.ends_with('.') && !key.doc.contains('\n'), "{}", key.path());
            assert!(!key.doc.starts_with(' '), "{}", key.path());
            assert!(!key.doc.contains('|'), "{} would break a table of docs/config.md", key.path());
        }
    }

    #[test]
    fn values_and_structs_are_two_forms_of_one_thing() {
        let values: Vec<_> = KEYS.iter().map(|key| key.kind.parse(key.example).unwrap()).collect();
        assert_eq!(Config::from_values(&values).to_values(), values);
    }

    #[test]
    fn defaults_are_what_the_design_says() {
        let config = Config::default();
        assert_eq!(config.cluster.name, "farrow");
        assert_eq!(config.cluster.policy, Policy::Replicate { copies: 3 });
        assert_eq!(config.cluster.block_size, 256 << 10);
        assert_eq!(config.cluster.secret, None);
        assert_eq!(config.node.memory, 1 << 30);
        assert_eq!(config.node.advertised(), "127.0.0.1:7400");
        assert_eq!((config.fabric.chosen_port(), config.fabric.chosen_gid_index()), (None, None));
        assert_eq!(config.fabric.inline, 220);
        assert_eq!(config.client.deadline, Duration::from_secs(2));
        assert_eq!(config.client.spin, Duration::from_micros(50));
        assert_eq!(Log::default().level, LogLevel::Info);
    }
}
