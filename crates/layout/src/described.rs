//! The macro that defines a structure together with its access discipline, and the document made of it.

use std::fmt::Write;

/// One field of a structure in remote memory: where it lies, who writes it how, why a reader may trust it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldDoc {
    /// The field's name.
    pub name: &'static str,
    /// Bytes from the start of the structure.
    pub offset: usize,
    /// Length in bytes.
    pub size: usize,
    /// Who writes it, when, with which verb.
    pub written: &'static str,
    /// Why it is read safely.
    pub safe_because: &'static str,
}

/// A structure that says of each byte who writes it and why it can be read.
pub trait Described {
    /// The structure's name.
    const NAME: &'static str;
    /// What it is, in a few sentences.
    const DOC: &'static str;
    /// Its length in bytes.
    const LEN: usize;
    /// Its fields in order of offset; together they cover every byte.
    const FIELDS: &'static [FieldDoc];
}

/// Defines a `repr(C)` structure without padding whose offsets and size are checked at compile time.
macro_rules! layout {
    (
        $(#[doc = $doc:literal])*
        pub struct $name:ident: $len:literal bytes {
            $(
                $(#[doc = $fdoc:literal])*
                $offset:literal => $field:ident: $ty:ty, $written:literal, $safe:literal;
            )+
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq,
            zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout,
        )]
        #[repr(C)]
        pub struct $name {
            $( $(#[doc = $fdoc])* pub $field: $ty, )+
        }

        const _: () = {
            assert!(core::mem::size_of::<$name>() == $len);
            $( assert!(core::mem::offset_of!($name, $field) == $offset); )+
        };

        impl $crate::Described for $name {
            const NAME: &'static str = stringify!($name);
            const DOC: &'static str = concat!($($doc, "\n"),*);
            const LEN: usize = $len;
            const FIELDS: &'static [$crate::FieldDoc] = &[
                $( $crate::FieldDoc {
                    name: stringify!($field),
                    offset: $offset,
                    size: core::mem::size_of::<$ty>(),
                    written: $written,
                    safe_because: $safe,
                }, )+
            ];
        }
    };
}
pub(crate) use layout;

/// The table of one structure, as Markdown.
fn render_one<T: Described>(out: &mut String) {
    let _ = writeln!(
        out,
        "## {} ({} bytes)\n\n{}",
        T::NAME,
        T::LEN,
        T::DOC.lines().map(str::trim).collect::<Vec<_>>().join("\n")
    );
    let _ = writeln!(out, "\n| offset | bytes | field | written by, with | read safely because |");
    let _ = writeln!(out, "| ---: | ---: | --- | --- | --- |");
    for f in T::FIELDS {
        let _ = writeln!(
            out,
            "| {} | {} | `{}` | {} | {} |",
            f.offset, f.size, f.name, f.written, f.safe_because
        );
    }
    let _ = writeln!(out);
}

/// `docs/layout.md`: all structures with their access discipline. A test compares the file with this text.
pub fn render_markdown() -> String {
    let mut out = String::from(
        "# Layout of remote memory\n\n\
         Generated from `crates/layout` (`FARROW_BLESS=1 cargo test -p farrow-layout`); do not edit.\n\n\
         All numbers are little-endian. A pointer counts units of 64 bytes from the start of a segment's block \
         area. \"Word\" means an aligned 8-byte word, which never tears; anything longer may.\n\n",
    );
    out.push_str(crate::word::WORD_DOC);
    render_one::<crate::Superblock>(&mut out);
    render_one::<crate::SegmentHeader>(&mut out);
    render_one::<crate::Bucket>(&mut out);
    render_one::<crate::Slot>(&mut out);
    render_one::<crate::ExtentRecord>(&mut out);
    render_one::<crate::EntryHeader>(&mut out);
    out.push_str(
        "# Shared-memory control page\n\nNot remote memory: these bytes lie in a second mapping that `fabric-shm` shares \
         between a node and its clients on one host. They are loads and stores of CPUs, never verbs.\n\n",
    );
    render_one::<crate::ShmControl>(&mut out);
    render_one::<crate::ShmLink>(&mut out);
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers_every_byte<T: Described>() {
        let mut next = 0;
        for f in T::FIELDS {
            assert_eq!(f.offset, next, "{}::{} leaves a hole or overlaps", T::NAME, f.name);
            next = f.offset + f.size;
        }
        assert_eq!(next, T::LEN, "{} ends early", T::NAME);
    }

    #[test]
    fn fields_cover_every_byte_of_every_structure() {
        covers_every_byte::<crate::Superblock>();
        covers_every_byte::<crate::SegmentHeader>();
        covers_every_byte::<crate::Bucket>();
        covers_every_byte::<crate::Slot>();
        covers_every_byte::<crate::ExtentRecord>();
        covers_every_byte::<crate::EntryHeader>();
        covers_every_byte::<crate::ShmControl>();
        covers_every_byte::<crate::ShmLink>();
    }

    #[test]
    fn the_document_is_the_code() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/layout.md");
        let fresh = render_markdown();
        if std::env::var_os("FARROW_BLESS").is_some() {
            std::fs::write(path, &fresh).expect("docs/ is writable");
        }
        let checked_in = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            checked_in == fresh,
            "docs/layout.md is stale: run FARROW_BLESS=1 cargo test -p farrow-layout"
        );
    }
}
