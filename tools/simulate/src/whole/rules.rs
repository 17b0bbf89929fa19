//! Which verbs may change a field: read from what `farrow_layout` says of it, so that the document, the code and the
//! shadow memory cannot differ.

use farrow_layout::{FieldDoc, Part};

/// Which verbs may change a field, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) write: bool,
    pub(super) cas: bool,
    pub(super) faa: bool,
    pub(super) at_primary: bool,
    pub(super) at_backups: bool,
}

impl Rule {
    const NO_VERB: Rule = Rule { write: false, cas: false, faa: false, at_primary: false, at_backups: false };

    /// As a field's `written` says: verbs are in capitals, places are named; what a daemon stores is no verb.
    fn of(field: &FieldDoc) -> Rule {
        let text = field.written;
        let (write, cas, faa) = (text.contains("WRITE"), text.contains("CAS"), text.contains("FAA"));
        if !(write || cas || faa) {
            return Rule::NO_VERB;
        }
        let only_backups = text.contains("(store). At a backup:");
        let only_primary = text.contains("at the primary only") || text.ends_with("at the primary");
        Rule { write, cas, faa, at_primary: !only_backups, at_backups: !only_primary }
    }
}

/// Which verbs may change a part of memory. Blocks have rules of their own.
pub(super) fn rule(part: &Part) -> Rule {
    match part {
        Part::Superblock(field) | Part::Header(field) | Part::Bucket(field) => Rule::of(field),
        Part::Slot(_, field) | Part::Extent(_, field) => Rule::of(field),
        Part::Block(_) => Rule { write: true, at_primary: true, at_backups: true, ..Rule::NO_VERB },
        Part::Nothing => Rule::NO_VERB,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farrow_layout::{Bucket, Described, EntryHeader, ExtentRecord, SegmentHeader, Slot, Superblock};

    fn of<T: Described>(name: &str) -> Rule {
        Rule::of(T::FIELDS.iter().find(|f| f.name == name).expect("a field of that name"))
    }

    #[test]
    fn the_layout_says_who_writes_what() {
        let nothing = Rule::NO_VERB;
        let everywhere = Rule { at_primary: true, at_backups: true, ..nothing };
        assert_eq!(of::<Slot>("word"), Rule { cas: true, ..everywhere });
        assert_eq!(of::<Slot>("committed"), Rule { write: true, at_primary: true, ..nothing });
        assert_eq!(of::<ExtentRecord>("word"), Rule { write: true, at_backups: true, ..nothing });
        assert_eq!(of::<ExtentRecord>("dead_bytes"), Rule { faa: true, at_primary: true, ..nothing });
        assert_eq!(of::<Bucket>("depth"), nothing);
        for field in Superblock::FIELDS.iter().chain(SegmentHeader::FIELDS) {
            assert_eq!(Rule::of(field), nothing, "{}", field.name);
        }
        for field in EntryHeader::FIELDS {
            assert_eq!(Rule::of(field), Rule { write: true, ..everywhere }, "{}", field.name);
        }
    }
}
