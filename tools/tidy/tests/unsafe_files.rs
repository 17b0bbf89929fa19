//! Unsafe code stays in the leaf files that docs/safety.md lists, and every block carries its argument.

use std::collections::BTreeSet;

fn code_of(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(|line| line.split("//").next().unwrap_or_default())
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == word)
}

#[test]
fn unsafe_code_lives_where_the_safety_page_says() {
    let root = farrow_tidy::root();
    let page = std::fs::read_to_string(root.join("docs/safety.md")).unwrap();
    let listed: BTreeSet<String> = page
        .lines()
        .filter_map(|l| l.strip_prefix("| `"))
        .filter_map(|l| l.split('`').next())
        .map(str::to_owned)
        .collect();
    let mut found = BTreeSet::new();
    for dir in ["crates", "tools"] {
        for path in farrow_tidy::files(&root.join(dir), ".rs") {
            let relative = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            if !relative.starts_with("tools/tidy/") && code_of(&text).any(|line| has_word(line, "unsafe")) {
                found.insert(relative);
            }
        }
    }
    let unlisted: Vec<_> = found.difference(&listed).collect();
    let stale: Vec<_> = listed.difference(&found).collect();
    assert!(unlisted.is_empty(), "unsafe code that docs/safety.md does not list: {unlisted:#?}");
    assert!(stale.is_empty(), "docs/safety.md lists files without unsafe code: {stale:#?}");
}
