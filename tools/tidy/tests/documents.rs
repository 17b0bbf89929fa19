//! Documents name files that exist, and nothing names this or that machine.

#[test]
fn links_between_documents_lead_somewhere() {
    let root = farrow_tidy::root();
    let mut broken = Vec::new();
    for path in farrow_tidy::files(&root, ".md") {
        let text = std::fs::read_to_string(&path).unwrap();
        for part in text.split("](").skip(1) {
            let target = part.split(')').next().unwrap_or_default().split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            if !path.parent().unwrap().join(target).exists() {
                broken.push(format!("{}: {target}", path.strip_prefix(&root).unwrap().display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn source_files_stay_readable() {
    let root = farrow_tidy::root();
    let mut long = Vec::new();
    for dir in ["crates", "tools"] {
        for path in farrow_tidy::files(&root.join(dir), ".rs") {
            let lines = std::fs::read_to_string(&path).unwrap().lines().count();
            if lines > 900 {
                long.push(format!("{} has {lines} lines: what is its second noun?", path.display()));
            }
        }
    }
    assert!(long.is_empty(), "{long:#?}");
}
