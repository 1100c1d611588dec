//! Variables that look like a key's and are none: a misspelt one would do nothing, in silence.

use super::keys::KEYS;
use super::refusal::Refusal;
use super::value::closest;

const PREFIX: &str = "REPLICAMQ_";

/// What the other commands and the scripts around them listen to.
pub(crate) const OTHERS: [&str; 5] = [
    "REPLICAMQ_BIN",
    "REPLICAMQ_BROKER",
    "REPLICAMQ_CONFIG",
    "REPLICAMQ_NODE_ADMIN",
    "REPLICAMQ_PASSCODE",
];

/// Refuses what is most likely a key that was misspelt. Anything else, such as what an
/// orchestrator sets for a service of this name, is warned of.
pub(super) fn check(names: impl Iterator<Item = String>) -> Result<Vec<String>, Refusal> {
    let keys = || KEYS.iter().map(|(_, variable)| *variable);
    let mut warnings = Vec::new();
    for name in names.filter(|name| name.starts_with(PREFIX)) {
        if keys().chain(OTHERS).any(|known| known == name) {
            continue;
        }
        // The prefix is always right, and would make everything look near.
        let known: Vec<&str> = keys()
            .chain(OTHERS)
            .map(|name| &name[PREFIX.len()..])
            .collect();
        if let Some(near) = closest(&name[PREFIX.len()..], &known) {
            return Err(Refusal::new(name, "no key has this variable".to_owned())
                .cure(&format!("did you mean {PREFIX}{near}?")));
        }
        warnings.push(format!(
            "{name} is set, and no key has this variable: see `replicamq serve --help`"
        ));
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(names: &[&str]) -> Result<Vec<String>, String> {
        check(names.iter().map(ToString::to_string)).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn a_misspelt_variable_is_refused_with_the_right_one() {
        let misspelt = ["PATH", "REPLICAMQ_REPLICAS", "REPLICAMQ_ZK_ADRESS"];
        assert_eq!(
            checked(&misspelt).unwrap_err(),
            "REPLICAMQ_ZK_ADRESS: no key has this variable\n  cure: did you mean REPLICAMQ_ZK_ADDRESS?"
        );
    }

    #[test]
    fn a_variable_for_something_else_is_warned_of() {
        assert_eq!(
            checked(&["HOME", "REPLICAMQ_BROKER", "REPLICAMQ_SYNC"]),
            Ok(Vec::new())
        );
        let warnings = checked(&["REPLICAMQ_SERVICE_HOST", "REPLICAMQ_PORT"]).unwrap();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(
            warnings[0].starts_with("REPLICAMQ_SERVICE_HOST is set"),
            "{warnings:?}"
        );
    }
}
