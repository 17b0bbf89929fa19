//! `docs/config.md`, made from the schema.

use std::fmt::Write;

use crate::environment::IGNORED_VARIABLES;
use crate::schema::{KEYS, SECTIONS};
use crate::{Loaded, render_toml};

/// The reference of all keys, in Markdown.
pub fn render_markdown() -> String {
    let mut page = String::from(
        "# Configuration\n\
        \n\
        <!-- Made from crates/config/src/schema.rs. Do not edit: run `FARROW_BLESS=1 cargo test -p farrow-config`. -->\n\
        \n\
        Every key can be set in a TOML file, by an environment variable and by a flag. A flag beats the environment,\n\
        which beats the file, which beats the default. `farrow config show` prints every value with its origin.\n\
        \n\
        - The **file** is the one that `--config PATH` names, or else `FARROW_CONFIG`, or else `./farrow.toml` if there\n  \
          is one. An unknown key or section is an error.\n\
        - The **variable** of `section.key` is `FARROW_SECTION_KEY`, its **flag** `--section-key`, with hyphens.\n\
        - A **size** has a unit (`B`, `KiB`, `MiB`, `GiB`, `TiB`) or is a number of bytes; a **time** always has one\n  \
          (`ns`, `us`, `ms`, `s`, `m`, `h`). Both are whole numbers.\n\
        - A **list** has commas between its items in a variable or flag, and is an array of strings in TOML. A flag\n  \
          of a list may be repeated.\n\
        - Empty text unsets what is optional, so a variable or flag can undo what the file says.\n",
    );
    for section in SECTIONS {
        write!(page, "\n## `[{}]`\n\n{}\n\n", section.name, section.doc).expect("a string takes everything");
        page.push_str("| key, flag, variable | meaning | accepted | default |\n| --- | --- | --- | --- |\n");
        for key in KEYS.iter().filter(|key| key.section == section.name) {
            let default =
                if key.default.is_empty() { "none".to_owned() } else { format!("`{}`", key.default) };
            writeln!(
                page,
                "| `{}`<br>`--{}`<br>`{}` | {} | {} | {default} |",
                key.path(),
                key.flag(),
                key.variable(),
                key.doc,
                key.kind.accepted()
            )
            .expect("a string takes everything");
        }
    }
    page.push_str(
        "\n## Other variables\n\n\
        A variable `FARROW_...` that names one of the sections above, or resembles one of its variables, and sets no\n\
        key is an error. These set no key and are left alone:\n\n\
        | variable | for |\n| --- | --- |\n",
    );
    for (name, purpose) in IGNORED_VARIABLES {
        writeln!(page, "| `{name}` | {purpose} |").expect("a string takes everything");
    }
    page.push_str(
        "\n## The secret\n\n\
        All memory nodes and clients of a cluster hold the same secret; the control plane hands out nothing to anybody\n\
        else. Make it once and copy the file:\n\n\
        ```sh\n(umask 077; head -c 32 /dev/urandom | base64 > farrow.secret)\n```\n\n\
        White space around it does not count, it has at least 16 bytes, and a file to which others than its owner and\n\
        group have access is refused. It is never shown.\n",
    );
    let defaults = render_toml(&Loaded::from_config(crate::Config::default()));
    write!(page, "\n## A file with every default\n\n```toml\n{defaults}```\n")
        .expect("a string takes everything");
    page
}
