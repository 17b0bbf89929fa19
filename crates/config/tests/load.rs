//! Default, file, environment and flags together, as a program meets them.

use std::path::{Path, PathBuf};

use clap::Command;
use farrow_config::{ConfigError, FileChoice, KEYS, Loaded, Origin, Problem, SECTIONS, args, load_in};
use tempfile::TempDir;

const ALL: &[&str] = &["cluster", "node", "coordinator", "fabric", "client", "log"];

fn load_with(directory: &Path, variables: &[(&str, &str)], flags: &[&str]) -> Result<Loaded, ConfigError> {
    let matches = args(Command::new("farrow"), ALL).get_matches_from([&["farrow"], flags].concat());
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    load_in(directory, &matches, variables)
}

fn directory(file: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("farrow.toml"), file).unwrap();
    directory
}

fn problems(file: &str, variables: &[(&str, &str)], flags: &[&str]) -> String {
    load_with(directory(file).path(), variables, flags)
        .expect_err("the configuration was accepted")
        .to_string()
}

#[test]
fn nothing_set_is_all_default() {
    let empty = tempfile::tempdir().unwrap();
    let loaded = load_with(empty.path(), &[("PATH", "/bin"), ("FARROWS", "3")], &[]).unwrap();
    assert_eq!(loaded.config, farrow_config::Config::default());
    assert_eq!(loaded.file(), &FileChoice::None);
    assert!(loaded.entries().all(|(_, _, origin)| *origin == Origin::Default));
    assert_eq!(
        loaded.file().to_string(),
        "no configuration file (no --config, no FARROW_CONFIG, no ./farrow.toml)"
    );
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let here = directory(
        "\n[cluster]\nname = 'file'\n\n[client]\nthreads = 2\ndeadline = '5s'\n[log]\nlevel='warn'\n",
    );
    let variables = [("FARROW_CLIENT_THREADS", "3"), ("FARROW_CLIENT_DEADLINE", "6s")];
    let loaded = load_with(here.path(), &variables, &["--client-deadline", "7s"]).unwrap();

    assert_eq!(loaded.config.node.max_clients, 256);
    assert_eq!(loaded.origin("node", "max_clients"), &Origin::Default);
    assert_eq!(loaded.config.cluster.name, "file");
    assert_eq!(loaded.origin("cluster", "name").to_string(), "file ./farrow.toml:3");
    assert_eq!(loaded.origin("log", "level").to_string(), "file ./farrow.toml:9");
    assert_eq!(loaded.config.client.threads, 3);
    assert_eq!(loaded.origin("client", "threads").to_string(), "environment FARROW_CLIENT_THREADS");
    assert_eq!(loaded.config.client.deadline.as_secs(), 7);
    assert_eq!(loaded.origin("client", "deadline").to_string(), "flag --client-deadline");
}

#[test]
fn every_key_can_be_set_in_all_three_places() {
    for key in KEYS {
        let toml = match key.kind {
            farrow_config::Kind::Integer { .. } | farrow_config::Kind::Ratio | farrow_config::Kind::Bool => {
                key.example.to_owned()
            }
            farrow_config::Kind::List => format!("['{}']", key.example.replace(',', "', '")),
            _ => format!("'{}'", key.example),
        };
        // Some are only valid together with another: 0.0.0.0 with an address to dial, formatting with a file.
        let also = match key.path().as_str() {
            "node.listen" | "coordinator.listen" => "advertise = 'a:1'\n",
            "node.reformat" => "memory_file = '/dev/shm/m'\n",
            _ => "",
        };
        let here = directory(&format!("[{}]\n{also}{} = {toml}\n", key.section, key.name));
        let other =
            directory(&if also.is_empty() { String::new() } else { format!("[{}]\n{also}", key.section) });
        let in_file = load_with(here.path(), &[], &[]).unwrap();
        let in_variable = load_with(other.path(), &[(&key.variable(), key.example)], &[]).unwrap();
        let flag = format!("--{}", key.flag());
        let in_flag = load_with(other.path(), &[], &[&flag, key.example]).unwrap();
        assert_ne!(in_file.config, farrow_config::Config::default(), "{}", key.path());
        assert_eq!(in_file.config, in_variable.config, "{}", key.path());
        assert_eq!(in_file.config, in_flag.config, "{}", key.path());
        assert!(matches!(in_file.origin(key.section, key.name), Origin::File { .. }));
        assert!(matches!(in_variable.origin(key.section, key.name), Origin::Environment { .. }));
        assert!(matches!(in_flag.origin(key.section, key.name), Origin::Flag { .. }));
    }
}

#[test]
fn file_is_chosen_by_flag_then_variable_then_place() {
    let here = directory("[cluster]\nname = 'found'\n");
    std::fs::write(here.path().join("v.toml"), "[cluster]\nname = 'variable'\n").unwrap();
    std::fs::write(here.path().join("f.toml"), "[cluster]\nname = 'flag'\n").unwrap();
    let variable = [("FARROW_CONFIG", "v.toml")];

    let loaded = load_with(here.path(), &variable, &["--config", "f.toml"]).unwrap();
    assert_eq!(
        (loaded.config.cluster.name.as_str(), loaded.file()),
        ("flag", &FileChoice::Flag("f.toml".into()))
    );
    let loaded = load_with(here.path(), &variable, &[]).unwrap();
    assert_eq!(loaded.config.cluster.name, "variable");
    assert_eq!(loaded.file().to_string(), "configuration file v.toml (named by FARROW_CONFIG)");
    let loaded = load_with(here.path(), &[("FARROW_CONFIG", "")], &[]).unwrap();
    assert_eq!(loaded.config.cluster.name, "found");
    assert_eq!(loaded.file().path(), Some(PathBuf::from("./farrow.toml").as_path()));
}

#[test]
fn file_that_was_named_must_be_there() {
    let here = tempfile::tempdir().unwrap();
    let error = load_with(here.path(), &[], &["--config", "gone.toml"]).unwrap_err().to_string();
    assert!(
        error.starts_with("cannot read configuration file gone.toml (named by --config): No such file"),
        "{error}"
    );
    let error = load_with(here.path(), &[("FARROW_CONFIG", "gone.toml")], &[]).unwrap_err().to_string();
    assert!(error.contains("(named by FARROW_CONFIG)"), "{error}");
}

#[test]
fn unknown_names_are_errors_with_a_suggestion() {
    type Variables = &'static [(&'static str, &'static str)];
    let cases: &[(&str, Variables, &str)] = &[
        (
            "[cluster]\n\nblocksize = '1MiB'",
            &[],
            "file ./farrow.toml:3: there is no key `cluster.blocksize`, did you mean cluster.block_size?",
        ),
        ("[clutser]", &[], "file ./farrow.toml:1: there is no section `clutser`, did you mean [cluster]?"),
        ("threads = 3", &[], "there is no section `threads`, did you mean threads below [client]?"),
        ("[cluster]\nthreads = 3", &[], "there is no key `cluster.threads`, did you mean client.threads?"),
        ("[log]\ncolour = true", &[], "there is no key `log.colour`; [log] has level, format"),
        (
            "[metrics]",
            &[],
            "there is no section `metrics`; there are cluster, node, coordinator, fabric, client, log",
        ),
        ("log = 'info'", &[], "there is no key `log`, but a section: write [log] and its keys below"),
        (
            "",
            &[("FARROW_CLUSTER_NODE", "a:1")],
            "environment FARROW_CLUSTER_NODE: there is no variable `FARROW_CLUSTER_NODE`, \
             did you mean FARROW_CLUSTER_NODES?",
        ),
        ("", &[("FARROW_LOG_XYZ", "1")], "there are FARROW_LOG_LEVEL, FARROW_LOG_FORMAT"),
        ("", &[("FARROW_LOG", "debug")], "there is no variable `FARROW_LOG`"),
        ("", &[("FARROW_CLIENTS_THREADS", "2")], "did you mean FARROW_CLIENT_THREADS?"),
    ];
    for (file, variables, expected) in cases {
        let message = problems(file, variables, &[]);
        assert!(message.contains(expected), "{message}\n  instead of\n{expected}");
    }
}

#[test]
fn variables_of_other_tools_are_left_alone() {
    let variables = [
        ("FARROW_RXE_DEVICE", "rxe0"),
        ("FARROW_GUEST_MEMORY", "4G"),
        ("FARROW_BLESS", "1"),
        ("FARROW_HOME", "/opt"),
    ];
    load_with(directory("").path(), &variables, &[]).unwrap();
}

#[test]
fn wrong_values_name_key_value_place_and_what_is_accepted() {
    assert_eq!(
        problems("[cluster]\nblock_size = \"64KB\"\n", &[], &[]),
        "cluster.block_size = \"64KB\" (file ./farrow.toml:2): `KB` may mean 1000 or 1024, write KiB for 1024 bytes; \
         accepted: a size such as 64KiB, 8GiB or a number of bytes, 64KiB to 16MiB"
    );
    assert_eq!(
        problems("", &[("FARROW_CLIENT_THREADS", "many")], &[]),
        "client.threads = \"many\" (environment FARROW_CLIENT_THREADS): it is not a whole number; \
         accepted: a whole number, 1 to 256"
    );
    assert_eq!(
        problems("", &[], &["--fabric-gid-index", "-2"]),
        "fabric.gid_index = \"-2\" (flag --fabric-gid-index): it is too small; accepted: a whole number, -1 to 255"
    );
    assert_eq!(
        problems("", &[], &["--log-level", "inf"]),
        "log.level = \"inf\" (flag --log-level): there is no such choice, did you mean info?; \
         accepted: one of error, warn, info, debug, trace"
    );
}

#[test]
fn toml_types_are_strict() {
    for (line, reason) in [
        ("[client]\nthreads = '2'", "it is a string"),
        ("[client]\nthreads = 2.5", "it is a float"),
        ("[client]\ndeadline = 2", "its unit is missing"),
        ("[client]\ncache_stale_ratio = '0.1'", "it is a string"),
        ("[cluster]\nnodes = 'a:1,b:1'", "it is a string"),
        ("[cluster]\nnodes = ['a:1', 2]", "it contains an integer"),
        ("[cluster]\nname = 3", "it is an integer"),
        ("[cluster]\nname = true", "it is a boolean"),
        ("[cluster]\nname = 2026-01-01", "it is a date"),
        ("[cluster]\nname.first = 'x'", "it is a table"),
        ("[cluster]\nname = ''", "it is empty"),
        ("[cluster]\nblock_size = -1", "it does not begin with a number"),
        ("[cluster]\nmax_keys = 99999999999999999999", "it exceeds 64 bits"),
        ("[cluster]\npolicy = 'ec:4,2'", "not supported yet"),
    ] {
        let message = problems(line, &[], &[]);
        assert!(message.contains(reason) && message.contains("farrow.toml:2"), "{line}: {message}");
    }
    let loaded = load_with(
        directory("[cluster]\nblock_size = 0x10_0000\n[client]\ncache_stale_ratio = 1\n").path(),
        &[],
        &[],
    );
    let config = loaded.unwrap().config;
    assert_eq!((config.cluster.block_size, config.client.cache_stale_ratio), (1 << 20, 1.0));
}

#[test]
fn syntax_errors_name_the_line_and_do_not_quote_it() {
    let message = problems("[cluster]\nname = 'x'\nsecret = \"hunter2hunter2\n", &[], &[]);
    assert!(message.starts_with("./farrow.toml:3: "), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
    let message = problems("[cluster]\nname = 'x'\nname = 'y'\n", &[], &[]);
    assert!(message.starts_with("./farrow.toml:3: duplicate key"), "{message}");
}

#[test]
fn wrong_secret_is_not_shown() {
    let message = problems("[cluster]\nsecret = 123456789012345678\n", &[], &[]);
    assert!(message.contains("cluster.secret = (not shown)"), "{message}");
    assert!(!message.contains("123456789"), "{message}");
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_layers() {
    let message = problems(
        "[cluster]\nbogus = 1\npolicy = 'raid'\n[node]\nmemory = 'big'\n",
        &[("FARROW_LOG_LEVEL", "loud")],
        &["--client-spin", "9"],
    );
    let lines: Vec<_> = message.lines().collect();
    assert_eq!(lines.len(), 5, "{message}");
    for (line, name) in
        lines.iter().zip(["cluster.bogus", "cluster.policy", "node.memory", "log.level", "client.spin"])
    {
        assert!(line.contains(name), "{line}");
    }
}

#[test]
fn conflicts_say_where_both_sides_come_from() {
    let error = load_with(
        directory("[cluster]\nsecret_file = 'x'\n").path(),
        &[("FARROW_CLUSTER_SECRET", "0123456789abcdef")],
        &[],
    )
    .unwrap_err();
    assert!(matches!(error.problems(), [Problem::Conflict { .. }]));
    assert_eq!(
        error.to_string(),
        "cluster.secret and cluster.secret_file are both set: set one of them \
         (cluster.secret: environment FARROW_CLUSTER_SECRET; cluster.secret_file: file ./farrow.toml:2)"
    );
}

#[test]
fn empty_variable_undoes_what_the_file_sets() {
    let here = directory("[cluster]\nnodes = ['a:1', 'b:1', 'c:1']\n[fabric]\ndevice = 'mlx5_0'\n");
    let loaded =
        load_with(here.path(), &[("FARROW_FABRIC_DEVICE", ""), ("FARROW_CLUSTER_NODES", "")], &[]).unwrap();
    assert_eq!(loaded.config.fabric.device, None);
    assert!(loaded.config.cluster.nodes.is_empty());
    let message = problems("", &[("FARROW_CLUSTER_NAME", "")], &[]);
    assert!(message.contains("it is empty"), "{message}");
}

#[test]
fn list_flags_take_commas_and_repetition() {
    let loaded = load_with(
        directory("").path(),
        &[],
        &["--cluster-nodes", "a:1,b:1", "--cluster-nodes=c:1", "--fabric-gid-index", "-1"],
    )
    .unwrap();
    assert_eq!(loaded.config.cluster.nodes, ["a:1", "b:1", "c:1"]);
}

#[test]
fn value_that_is_not_unicode_is_refused() {
    let message = problems("", &[("FARROW_CLUSTER_SECRET", "0123456789abcdef\u{fffd}")], &[]);
    assert!(message.contains("it is not UTF-8") && !message.contains("0123"), "{message}");
}

#[test]
fn command_has_the_flags_of_its_sections_only() {
    let mut command = args(Command::new("farrow"), &["log"]);
    assert!(command.clone().try_get_matches_from(["farrow", "--log-level", "debug"]).is_ok());
    assert!(command.clone().try_get_matches_from(["farrow", "--node-memory", "1GiB"]).is_err());
    let help = command.render_long_help().to_string();
    assert!(help.contains("Section log:"), "{help}");
    assert!(help.contains("Least severe message that is logged."), "{help}");
    assert!(help.contains("[default: info] [env: FARROW_LOG_LEVEL]"), "{help}");
    assert!(help.contains("Accepted: one of error, warn, info, debug, trace"), "{help}");

    // What the command lacks as a flag still comes from the other places.
    let matches = command.try_get_matches_from(["farrow"]).unwrap();
    let variables = [("FARROW_NODE_MEMORY".to_owned(), "2GiB".to_owned())];
    let loaded = load_in(directory("").path(), &matches, variables.into_iter()).unwrap();
    assert_eq!(loaded.config.node.memory, 2 << 30);
}

#[test]
fn sections_of_the_tests_are_all_there_are() {
    assert_eq!(SECTIONS.iter().map(|section| section.name).collect::<Vec<_>>(), ALL);
    args(Command::new("farrow"), ALL).debug_assert();
}
