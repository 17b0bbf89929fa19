//! Keys that are one of a few words.

use std::fmt;

use crate::Kind;
use crate::value::{Field, Value};

macro_rules! choices {
    ($(
        $(#[$meta:meta])*
        $Choice:ident { $($(#[$variant_meta:meta])* $Variant:ident = $name:literal,)* }
    )*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $Choice {
            $($(#[$variant_meta])* $Variant,)*
        }

        impl $Choice {
            /// The words, as they are written in a configuration.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// The word for this choice.
            pub const fn name(self) -> &'static str {
                match self { $($Choice::$Variant => $name,)* }
            }
        }

        impl fmt::Display for $Choice {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl Field for $Choice {
            fn from_value(value: &Value) -> $Choice {
                match value {
                    $(Value::Choice($name) => $Choice::$Variant,)*
                    other => panic!("the schema gives {} the value {other:?}", stringify!($Choice)),
                }
            }

            fn to_value(&self, kind: Kind) -> Value {
                assert_eq!(kind, Kind::Choice($Choice::NAMES));
                Value::Choice(self.name())
            }
        }
    )*};
}

choices! {
    /// How a PUT commits.
    Commit {
        /// Entry and slot on the same node, in one chain: one round trip.
        Colocated = "colocated",
        /// FUSEE's SNAPSHOT: backups first, then the primary.
        Snapshot = "snapshot",
    }
    /// Huge pages behind a memory node's memory.
    Hugepages {
        /// Where there are some.
        Auto = "auto",
        /// Or do not start.
        Require = "require",
        /// Never.
        Off = "off",
    }
    /// The way to a node's memory.
    Transport {
        /// Shared memory on the same host, else RDMA.
        Auto = "auto",
        /// RDMA verbs, Soft-RoCE included.
        Rdma = "rdma",
        /// Shared memory: the same host only.
        Shm = "shm",
    }
    /// A transport without which nothing starts.
    Require {
        /// Any will do.
        None = "none",
        /// RDMA verbs.
        Rdma = "rdma",
        /// Shared memory.
        Shm = "shm",
    }
    /// The least severe message that is logged.
    LogLevel {
        /// Something failed.
        Error = "error",
        /// Something is wrong and was lived with.
        Warn = "warn",
        /// What an operator wants to know.
        Info = "info",
        /// What a developer wants to know.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
    /// The form of log messages.
    LogFormat {
        /// For people.
        Text = "text",
        /// For machines, a JSON object a line.
        Json = "json",
    }
}
