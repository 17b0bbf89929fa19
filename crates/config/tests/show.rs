//! What is shown of a configuration, and that it can be read back.

use farrow_config::{Config, KEYS, Kind, Loaded, SecretText, Value, render_table, render_toml, to_json};
use proptest::prelude::*;

fn busy() -> Config {
    let mut config = Config::default();
    config.cluster.name = "quoted \"name\" with \\ and 'both'".to_owned();
    config.cluster.nodes = vec!["a:1".to_owned(), "b:1".to_owned(), "[::1]:1".to_owned()];
    config.cluster.secret_file = Some("/etc/farrow/secret".into());
    config.node.memory = (3 << 20) + 1;
    config.fabric.device = Some("mlx5_0".to_owned());
    config.fabric.gid_index = 3;
    config.client.cache_stale_ratio = 1.0;
    config.client.spin = std::time::Duration::ZERO;
    config
}

#[test]
fn toml_loads_back_identically() {
    for config in [Config::default(), busy()] {
        let file = render_toml(&Loaded::from_config(config.clone()));
        assert_eq!(Config::from_toml_str(&file).unwrap(), config, "{file}");
    }
}

#[test]
fn toml_comments_lead_every_key() {
    let file = render_toml(&Loaded::from_config(Config::default()));
    for key in KEYS {
        assert!(file.contains(&format!("# {}\n# Accepted: ", key.doc)), "{}", key.path());
    }
    assert!(file.contains("\n# device = \"mlx5_0\"\n"), "what is not set is shown by its example");
    assert!(file.contains("\nblock_size = \"256KiB\"\n"));
}

#[test]
fn secret_is_shown_nowhere() {
    let mut config = Config::default();
    config.cluster.secret = Some(SecretText::new("hunter2hunter2hunter2"));
    let loaded = Loaded::from_config(config);
    let (table, toml, json) = (render_table(&loaded), render_toml(&loaded), to_json(&loaded).to_string());
    for shown in [&table, &toml, &json, &format!("{loaded:?}")] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    assert!(table.contains("(set)"), "{table}");
    assert!(json.contains("\"(set)\""), "{json}");
    assert!(toml.contains("# secret is set and not shown"), "{toml}");
    assert_eq!(Config::from_toml_str(&toml).unwrap().cluster.secret, None);
}

#[test]
fn table_is_aligned_and_tells_origins() {
    let table = render_table(&Loaded::from_config(busy()));
    let lines: Vec<Vec<char>> = table.lines().map(|line| line.chars().collect()).collect();
    assert_eq!(lines.len(), KEYS.len() + 1);
    let header: String = lines[0].iter().collect();
    for title in ["VALUE", "ORIGIN", "MEANING"] {
        let column = header.find(title).unwrap();
        for line in &lines {
            assert_eq!(line[column - 2..column], [' ', ' '], "{}", line.iter().collect::<String>());
            assert_ne!(line[column], ' ', "{}", line.iter().collect::<String>());
        }
    }
    let device = table.lines().find(|line| line.starts_with("fabric.device ")).unwrap();
    assert!(device.contains(" mlx5_0 ") && device.contains(" program "), "{device}");
    let port = table.lines().find(|line| line.starts_with("fabric.port ")).unwrap();
    assert!(port.contains(" default "), "{port}");
}

#[test]
fn json_has_every_key_with_value_and_origin() {
    let json = to_json(&Loaded::from_config(busy()));
    for key in KEYS {
        let entry = &json["config"][key.section][key.name];
        assert!(entry["origin"].is_string(), "{}", key.path());
    }
    assert_eq!(json["file"], serde_json::Value::Null);
    assert_eq!(json["config"]["cluster"]["nodes"]["value"][2], "[::1]:1");
    assert_eq!(json["config"]["cluster"]["secret"]["value"], serde_json::Value::Null);
    assert_eq!(json["config"]["cluster"]["block_size"]["value"], "256KiB");
    assert_eq!(json["config"]["fabric"]["gid_index"]["value"], 3);
    assert_eq!(json["config"]["client"]["spin"]["value"], "0s");
}

#[test]
fn entries_follow_the_schema() {
    let loaded = Loaded::from_config(Config::default());
    for ((key, value, _), expected) in loaded.entries().zip(KEYS) {
        assert_eq!(key.path(), expected.path());
        assert_eq!(value, expected.default_value());
        assert_eq!(matches!(value, Value::Unset), expected.default.is_empty() && expected.kind != Kind::List);
    }
}

proptest! {
    #[test]
    fn any_text_loads_back(name in "\\PC{1,30}|[\\x00-\\x7f]{1,30}", device in "[ -~\n\t]{1,20}", ratio in 0.0..=1.0_f64) {
        let mut config = Config::default();
        config.cluster.name = name;
        config.fabric.device = Some(device);
        config.client.cache_stale_ratio = ratio;
        let file = render_toml(&Loaded::from_config(config.clone()));
        prop_assert_eq!(Config::from_toml_str(&file).unwrap(), config, "{}", file);
    }

    #[test]
    fn no_file_panics(text in "[\\[\\]a-z_=\"' \n0-9.#{},]{0,80}") {
        let _ = Config::from_toml_str(&text);
    }
}
