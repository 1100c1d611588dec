//! What is refused, what is warned of, and what the defaults are.

use std::path::PathBuf;
use std::time::Duration;

use tracing::Level;
use tracing_subscriber::EnvFilter;

use super::*;
use crate::config::origin::Line;

fn surroundings() -> Surroundings {
    Surroundings {
        hostname: Some("machine\n".to_owned()),
        data_home: PathBuf::from("/home/user/.local/share"),
    }
}

fn resolved(toml: &str) -> Result<Loaded, Refusal> {
    let keys: Keys = toml::from_str(toml).unwrap();
    let mut origins = Origins::default();
    for (key, _) in crate::config::keys::KEYS {
        let start = toml.match_indices(key).map(|(at, _)| at).find(|&at| {
            toml[at + key.len()..].starts_with(" =") && (at == 0 || toml[..at].ends_with('\n'))
        });
        if let Some(at) = start {
            origins.note_file(
                key,
                Path::new("node.toml"),
                Line::at(toml, at..at + key.len()),
            );
        }
    }
    resolve(keys, origins, &surroundings())
}

fn refused(toml: &str) -> String {
    resolved(toml).unwrap_err().to_string()
}

#[test]
fn a_path_that_is_no_text_is_refused() {
    use std::os::unix::ffi::OsStringExt;
    let path = PathBuf::from(std::ffi::OsString::from_vec(b"/data/\xff".to_vec()));
    let keys = Keys {
        directory: Some(path),
        ..Keys::default()
    };
    let refusal = resolve(keys, Origins::default(), &surroundings()).unwrap_err();
    let text = refusal.to_string();
    assert!(
        text.contains("directory = /data/\u{fffd} is not text in UTF-8"),
        "{text}"
    );
}

const CLUSTER: &str = "zk_address = \"127.0.0.1:2181\"\nbind = \"tcp://127.0.0.1:61619\"\n";

fn warnings(toml: &str) -> Vec<String> {
    resolved(toml).unwrap().warnings
}

#[test]
fn without_a_word_it_is_a_standalone_broker_on_loopback() {
    let loaded = resolved("").unwrap();
    let config = loaded.config;
    assert!(config.cluster.is_none());
    assert_eq!(
        config.stomp.unwrap().bind.to_string(),
        "tcp://127.0.0.1:61613"
    );
    assert_eq!(
        config.admin.unwrap().bind.to_string(),
        "tcp://127.0.0.1:8161"
    );
    assert_eq!(config.node, "machine");
    assert_eq!(
        config.directory,
        PathBuf::from("/home/user/.local/share/replicamq/standalone")
    );
    assert_eq!(config.sync, SyncMode::QUORUM_DISK);
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn with_zookeeper_it_is_a_node_of_three() {
    let loaded = resolved("zk_address = \"zk1,zk2\"\nstomp = \"0.0.0.0:61613\"\nnode = \"b-1\"\nhostname = \"one.example\"\nsecurity_token = \"x\"").unwrap();
    let config = loaded.config;
    let cluster = config.cluster.unwrap();
    assert_eq!((cluster.replicas, cluster.weight), (3, 1));
    assert_eq!(cluster.zk_path, "/replicamq");
    // The ancestor's sessions of 2 s ended with every pause.
    assert_eq!(cluster.zk_session_timeout, Duration::from_secs(6));
    assert_eq!(cluster.replication.bind.to_string(), "tcp://0.0.0.0:61619");
    assert_eq!(
        cluster.replication.advertised.to_string(),
        "tcp://one.example:61619"
    );
    assert_eq!(
        config.stomp.unwrap().advertised.to_string(),
        "tcp://one.example:61613"
    );
    assert_eq!(
        config.directory,
        PathBuf::from("/home/user/.local/share/replicamq/b-1")
    );
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn replicas_without_zookeeper_are_refused() {
    assert_eq!(
        refused("# three\nreplicas = 3\n"),
        "node.toml:2: replicas = 3 needs ZooKeeper, and zk_address is not set\n  2 | replicas = 3\n    | ^^^^^^^^\n  cure: set zk_address, as in \"127.0.0.1:2181\", or leave replicas out for a standalone broker"
    );
    assert!(resolved("replicas = 1").is_ok());
}

#[test]
fn a_cluster_key_without_zookeeper_is_refused() {
    for toml in [
        "zk_path = \"/x\"",
        "bind = \"0.0.0.0:61619\"",
        "zk_session_timeout = \"2s\"",
        "zk_password = \"x\"",
        "advertise_replication = \"a:1\"",
    ] {
        let text = refused(toml);
        assert!(
            text.contains("belongs to a cluster node, and zk_address is not set"),
            "{text}"
        );
    }
    assert!(refused("sync = \"remote_disk\"").contains("a standalone broker has none"));
}

#[test]
fn a_lease_as_long_as_the_suspicion_is_refused_with_both_places() {
    let text = refused("lease = \"1s\"\nsuspicion = \"1s\"\n");
    assert!(
        text.starts_with("node.toml:1: lease must be shorter than suspicion: lease = 1s (node.toml:1); suspicion = 1s (node.toml:2)"),
        "{text}"
    );
    let text = refused("lease = \"1s\"\n");
    assert!(text.contains("suspicion = 800ms, the default"), "{text}");
    let text = refused("suspicion = \"400ms\"\n");
    assert!(text.starts_with("node.toml:1: lease must be"), "{text}");
    assert!(refused("heartbeat = \"600ms\"").contains("heartbeat must be shorter than lease"));
    assert!(refused("heartbeat = 0").contains("heartbeat = 0ms"));
}

#[test]
fn a_count_that_cannot_be_a_cluster_is_refused() {
    assert!(refused(&format!("{CLUSTER}replicas = 0")).contains("a cluster has 1 to 9 nodes"));
    assert!(refused(&format!("{CLUSTER}replicas = 10")).contains("a cluster has 1 to 9 nodes"));
    let even = warnings(&format!("{CLUSTER}replicas = 4"));
    assert!(even[0].contains("no more nodes than 3 would"), "{even:?}");
}

#[test]
fn two_listeners_on_one_port_are_refused() {
    let text = refused("admin = \"127.0.0.1:61613\"");
    assert!(
        text.starts_with("node.toml:1: admin and stomp want the same port: admin = tcp://127.0.0.1:61613 (node.toml:1); stomp = tcp://127.0.0.1:61613, the default"),
        "{text}"
    );
    let text = refused(&format!("{CLUSTER}stomp = \"0.0.0.0:61619\""));
    assert!(text.contains("bind and stomp want the same port"), "{text}");
}

#[test]
fn a_secret_is_said_once() {
    let text = refused("security_token = \"hunter2\"\nsecurity_token_file = \"/run/token\"");
    assert!(
        text.contains(
            "security_token and security_token_file = /run/token (node.toml:2) are both set"
        ),
        "{text}"
    );
    assert!(!text.contains("hunter2"), "{text}");
    let text = refused("security_token_file = \"/nonexistent/token\"");
    assert!(text.contains("/nonexistent/token: No such file"), "{text}");
}

#[test]
fn a_token_that_cannot_travel_is_refused() {
    for token in ["two words", "schlüssel"] {
        let text = refused(&format!("security_token = \"{token}\""));
        assert!(text.contains("characters that cannot travel"), "{text}");
        assert!(!text.contains(token), "{text}");
    }
}

#[test]
fn a_secret_file_may_end_its_line() {
    let path = std::env::temp_dir().join(format!("replicamq-token-{}", std::process::id()));
    fs::write(&path, "hunter2\n").unwrap();
    let token = read_secret(&path);
    fs::write(&path, "\n").unwrap();
    let empty = read_secret(&path);
    fs::remove_file(&path).unwrap();
    assert_eq!(token.unwrap().reveal(), "hunter2");
    assert!(empty.unwrap_err().contains("must not be empty"));
}

#[test]
fn an_open_replication_port_without_a_token_is_warned_of() {
    let open = warnings("zk_address = \"a\"\nstomp = \"none\"");
    assert!(
        open.iter()
            .any(|text| text.contains("without a security_token")),
        "{open:?}"
    );
    assert!(warnings(CLUSTER).is_empty());
}

#[test]
fn weak_sync_modes_are_warned_of() {
    let alone = warnings(&format!("{CLUSTER}sync = \"local_disk\""));
    assert!(alone[0].contains("lost with the master"), "{alone:?}");
    let memory = warnings(&format!("{CLUSTER}sync = \"quorum_mem\""));
    assert!(memory[0].contains("lose power together"), "{memory:?}");
}

#[test]
fn limits_that_cannot_work_are_refused() {
    for bytes in ["10", "\"1023\"", "\"32MiB\"", "\"31745k\""] {
        let said = refused(&format!("frame_bytes_max = {bytes}"));
        assert!(said.contains("use 1KiB to 31MiB; larger"), "{said}");
    }
    assert!(resolved("frame_bytes_max = \"31MiB\"").is_ok());
    assert!(refused("connections_max = 0").contains("lets nobody in"));
    for (time, why) in [
        ("0", "no time"),
        ("999ms", "no time"),
        ("601s", "keep others out"),
        ("1h", "keep others out"),
    ] {
        let said = refused(&format!("connect_timeout = \"{time}\""));
        assert!(
            said.contains(why) && said.contains("use 1s to 10m"),
            "{said}"
        );
    }
    for window in [0, 1_023, 16_777_217] {
        assert!(refused(&format!("duplicate_window = {window}")).contains("is out of bounds"));
    }
    assert!(refused("log_segment_bytes = \"1KiB\"").contains("is too small"));
    assert!(refused("log_retention_bytes = \"1MiB\"").contains("less than one log file"));
    assert!(refused("log_retention_age = \"59s\"").contains("use 1m or more"));
    assert!(refused("snapshot_rate = \"1KiB\"").contains("seems to stand still"));
    assert!(refused("log = \"replicamq=loud\"").contains("is not a log filter"));
    assert!(refused("advertise_stomp = \"0.0.0.0:61613\"").contains("nobody can connect to"));
}

#[test]
fn a_client_has_half_a_minute_to_connect_or_as_long_as_is_said() {
    let timeout = |toml| resolved(toml).unwrap().config.limits.connect_timeout;
    assert_eq!(timeout(""), Duration::from_secs(30));
    assert_eq!(timeout("connect_timeout = \"1s\""), Duration::from_secs(1));
    assert_eq!(
        timeout("connect_timeout = \"2500ms\""),
        Duration::from_millis(2_500)
    );
    assert_eq!(
        timeout("connect_timeout = \"10m\""),
        Duration::from_mins(10)
    );
}

/// Whether our own lines, and the ZooKeeper client's, are logged at info and at error.
fn logged(toml: &str) -> [bool; 4] {
    let filter = EnvFilter::try_new(resolved(toml).unwrap().config.log).unwrap();
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).finish();
    tracing::subscriber::with_default(subscriber, || {
        [
            tracing::enabled!(target: "replicamq_cluster::membership", Level::INFO),
            tracing::enabled!(target: "replicamq_cluster::membership", Level::ERROR),
            tracing::enabled!(target: "zookeeper_client::session", Level::INFO),
            tracing::enabled!(target: "zookeeper_client::session", Level::ERROR),
        ]
    })
}

#[test]
fn the_zookeeper_client_is_quiet_unless_a_filter_says_otherwise() {
    assert_eq!(logged(""), [true, true, false, true]);
    assert_eq!(logged("log = \"info\""), [true; 4]);
    assert_eq!(logged("log = \"error\""), [false, true, false, true]);
    assert_eq!(
        logged("log = \"off,zookeeper_client=info\""),
        [false, false, true, true]
    );
}

#[test]
fn the_effective_configuration_names_its_sources() {
    let loaded = resolved(&format!("{CLUSTER}security_token = \"hunter2\"")).unwrap();
    let text = loaded.to_toml();
    assert!(text.contains("replicas = 3\n"), "{text}");
    assert!(text.contains("# node.toml:2\n"), "{text}");
    assert!(text.contains("security_token = \"***\""), "{text}");
    let again: Keys = toml::from_str(&text).unwrap();
    assert_eq!(again.replicas, Some(3));
}

#[test]
fn a_directory_that_cannot_be_one_is_refused() {
    let empty = refused("directory = \"\"");
    assert!(empty.contains("directory is empty") && empty.contains("cure: name a directory"));
    let file = refused("directory = \"/proc/self/cmdline\"");
    assert!(
        file.contains("directory = /proc/self/cmdline is a file"),
        "{file}"
    );
    assert!(resolved("directory = \"/nonexistent/yet\"").is_ok());
    assert!(resolved("directory = \"/proc/self\"").is_ok());
}

#[test]
fn a_log_filter_names_levels_that_there_are() {
    for log in [
        "loud",
        "info,loud",
        "",
        "info,",
        "replicamq=loud",
        "replicamq_store",
        "error,[session]=trace",
        "1Zgeӕ=ment-bytes",
    ] {
        let said = refused(&format!("log = \"{log}\""));
        assert!(
            said.contains("write a level (off, error, warn, info, debug, trace)"),
            "{log}: {said}"
        );
    }
    for log in ["WARN", "off", "info, replicamq_store=debug"] {
        assert!(resolved(&format!("log = \"{log}\"")).is_ok(), "{log}");
    }
}

#[test]
fn how_many_destinations_and_durables_there_may_be_is_bounded() {
    let limits = resolved("").unwrap().config.limits;
    assert_eq!(
        (limits.destinations_max, limits.durables_max),
        (10_000, 10_000)
    );
    let set = resolved("destinations_max = 7\ndurables_max = 1000000").unwrap();
    let limits = set.config.limits;
    assert_eq!(
        (limits.destinations_max, limits.durables_max),
        (7, 1_000_000)
    );
    for key in ["destinations_max", "durables_max"] {
        for count in [0, 1_000_001] {
            let said = refused(&format!("{key} = {count}"));
            assert!(
                said.contains(&format!("{key} = {count} is out of bounds")),
                "{said}"
            );
            assert!(said.contains("cure: use 1 to 1000000"), "{said}");
        }
    }
}
