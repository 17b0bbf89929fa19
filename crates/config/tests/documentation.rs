//! `docs/config.md` says what the schema says.

use std::path::Path;

#[test]
fn reference_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/config.md");
    let page = farrow_config::render_markdown();
    if std::env::var_os("FARROW_BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/config.md differs from the schema: run `FARROW_BLESS=1 cargo test -p farrow-config` and commit it"
    );
}

#[test]
fn reference_names_every_key_flag_and_variable() {
    let page = farrow_config::render_markdown();
    for key in farrow_config::KEYS {
        for name in [key.path(), format!("--{}", key.flag()), key.variable()] {
            assert!(page.contains(&format!("`{name}`")), "{name}");
        }
    }
}
