//! What fuzzers call: a file, flags and the names of variables as a user may have written them.
//! Refused with words, or a configuration within the bounds that its keys state. See
//! `replicamq-fuzzing`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Command, FromArgMatches};
use replicamq_core::MESSAGE_BYTES_MAX;
use replicamq_fuzzing::Input;

use super::keys::{KEYS, Keys};
use super::origin::Origins;
use super::resolve::{Surroundings, resolve};
use super::{Config, Listen, Loaded, Refusal, file, variables};

const FLAGS_MAX: usize = 4;
const VARIABLES_MAX: usize = 3;

/// First variables and flags, then the file.
pub(crate) fn configuration(data: &[u8]) {
    let mut input = Input::new(data);
    let names: Vec<String> = (0..input.below(VARIABLES_MAX))
        .map(|_| name(&mut input))
        .collect();
    let flags: Vec<OsString> = (0..input.below(FLAGS_MAX))
        .map(|_| flag(&mut input))
        .collect();
    match variables::check(names.into_iter()) {
        Ok(warnings) => assert!(warnings.iter().all(|warning| !warning.is_empty())),
        Err(refusal) => has_words(&refusal),
    }
    let Some((given, mut origins)) = given(flags) else {
        return;
    };
    let text = String::from_utf8_lossy(input.rest());
    match file::parse(&text, Path::new("node.toml"), &mut origins) {
        Ok(keys) => match load(given.or(keys), origins) {
            Ok(loaded) => is_sound(&loaded),
            Err(refusal) => has_words(&refusal),
        },
        Err(refusal) => has_words(&refusal),
    }
}

fn name(input: &mut Input<'_>) -> String {
    match input.below(3) {
        0 => format!("REPLICAMQ_{}", input.text()),
        1 => KEYS[input.below(KEYS.len())].1.to_owned(),
        _ => input.text(),
    }
}

/// A flag as the operating system hands it over: any bytes but NUL.
fn flag(input: &mut Input<'_>) -> OsString {
    let (key, _) = KEYS[input.below(KEYS.len())];
    let mut flag = format!("--{}=", key.replace('_', "-")).into_bytes();
    flag.extend(input.bytes().iter().filter(|byte| **byte != 0));
    OsString::from_vec(flag)
}

/// `None`: clap refused a flag, with its own words.
fn given(flags: Vec<OsString>) -> Option<(Keys, Origins)> {
    if flags.is_empty() {
        return Some(Default::default());
    }
    let command = Keys::augment_args(Command::new("serve").no_binary_name(true));
    let matches = match command.try_get_matches_from(flags) {
        Ok(matches) => matches,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return None;
        }
    };
    let keys = Keys::from_arg_matches(&matches).expect("what matched is well typed");
    Some((keys, Origins::from_matches(&matches)))
}

fn load(mut keys: Keys, origins: Origins) -> Result<Loaded, Refusal> {
    // A file of this machine is no matter of the input.
    for path in [&mut keys.security_token_file, &mut keys.zk_password_file] {
        *path = path
            .take()
            .filter(|path| path.is_relative() && !path.exists());
    }
    let surroundings = Surroundings {
        hostname: Some("machine".to_owned()),
        data_home: PathBuf::from("/nonexistent"),
    };
    resolve(keys, origins, &surroundings)
}

fn has_words(refusal: &Refusal) {
    let text = refusal.to_string();
    assert!(text.contains(": "), "{text}");
}

fn is_sound(loaded: &Loaded) {
    let config = &loaded.config;
    names_are_plain(config);
    bounds_hold(config);
    assert!(!config.directory.as_os_str().is_empty());
    let shown = loaded.to_toml();
    let mut origins = Origins::default();
    let keys = file::parse(&shown, Path::new("shown.toml"), &mut origins);
    let again = load(keys.expect("what is shown is a file"), origins);
    let again = again.expect("what is shown is a configuration");
    assert_eq!(again.to_toml().lines().count(), shown.lines().count());
    let without_secrets = |config: &Config| {
        let cluster = config.cluster.as_ref();
        let cluster = cluster.map(|cluster| (cluster.replicas, cluster.zk_path.clone()));
        let directory = config.directory.to_string_lossy().into_owned();
        let listens = (config.stomp.clone(), config.admin.clone());
        (
            config.node.clone(),
            directory,
            listens,
            config.limits,
            cluster,
        )
    };
    assert_eq!(without_secrets(&again.config), without_secrets(config));
    assert_eq!(again.config.intervals, config.intervals);
}

fn names_are_plain(config: &Config) {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    assert!((1..=64).contains(&config.node.len()) && config.node.chars().all(plain));
    if let Some(token) = &config.security_token {
        assert!(token.reveal().bytes().all(|byte| byte.is_ascii_graphic()));
    }
    for listen in [&config.stomp, &config.admin].into_iter().flatten() {
        can_be_reached(listen);
    }
    if let Some(cluster) = &config.cluster {
        can_be_reached(&cluster.replication);
        assert!((1..=9).contains(&cluster.replicas));
        assert!(!cluster.zk_servers.is_empty() && cluster.zk_path.starts_with('/'));
        assert!(cluster.zk_session_timeout >= Duration::from_millis(500));
    }
}

fn can_be_reached(listen: &Listen) {
    assert!(!listen.advertised.is_unspecified());
    assert!(!listen.bind.host.is_empty() && !listen.advertised.host.is_empty());
}

fn bounds_hold(config: &Config) {
    let (intervals, limits) = (&config.intervals, &config.limits);
    assert!(!intervals.heartbeat.is_zero());
    assert!(intervals.heartbeat < intervals.lease && intervals.lease < intervals.suspicion);
    assert!((1 << 10..MESSAGE_BYTES_MAX).contains(&limits.frame_bytes_max));
    assert!(limits.connections_max > 0);
    let timeouts = Duration::from_secs(1)..=Duration::from_mins(10);
    assert!(timeouts.contains(&limits.connect_timeout));
    assert!((1 << 10..=1 << 24).contains(&limits.duplicate_window));
    for named in [limits.destinations_max, limits.durables_max] {
        assert!((1..=1_000_000).contains(&named));
    }
    assert!(limits.log_segment_bytes >= 1 << 20);
    assert!(limits.log_retention_bytes >= limits.log_segment_bytes);
    assert!(limits.snapshot_rate == 0 || limits.snapshot_rate >= 64 << 10);
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_corpus_of_configurations_passes() {
        replicamq_fuzzing::replay("configuration", super::configuration);
    }
}
